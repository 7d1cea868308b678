package onepass

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// A check is a rule as walk goes by it, at one node of the places.
type check struct {
	places  []int // what the value is
	kinds   Kinds
	doubt   Kinds
	integer bool

	enums  []enumCheck
	text   *stringCheck
	number *numberCheck
	object *objectCheck // never nil
	array  *arrayCheck  // never nil

	combined             bool // with one of these, which are about the same value
	all, any, one        []*check
	not, when, then, els *check

	// By kind of the value, the check that stands for this one. It saves reading a value
	// again where only one rule of an anyOf or oneOf is about its kind.
	byKind *[6]*check
}

type objectCheck struct {
	min, max int
	members  []member       // by name, those that something is known of
	known    []string       // the names of members
	index    map[string]int // of members by name
	required []uint64       // bits of members
	patterns []patternCheck
	names    *check // nil: any
	other    *check // for a member that is neither in members nor matches a pattern

	dependentRequired []dependency
	dependent         []dependency

	// next holds, by the index of a member plus one, the index of the member that came
	// after it the last time; at 0, of the first. Records of one origin have their
	// members in one order.
	next []atomic.Int32
}

type member struct {
	literal string // `"name":`
	index   int
	check   *check
	also    []*check // further checks of the same value
	allowed int      // what the check of names says: yes, no, unknown
}

type patternCheck struct {
	pattern *pattern
	check   *check
	place   *check // the same, and the value is at the node of other members
}

// A dependency holds if there is a member.
type dependency struct {
	member int
	needs  []int  // members
	check  *check // of the object
}

type arrayCheck struct {
	min, max    int
	unique      bool
	first       []*check
	other       *check
	contains    *check // nil: none
	minContains int
	maxContains int
}

// anything is the check of any value that is no place.
var anything = func() *check {
	c := &check{kinds: EveryKind}
	c.object = &objectCheck{min: -1, max: -1, other: c}
	c.array = &arrayCheck{min: -1, max: -1, other: c}
	return c
}()

// A compiler makes checks of rules.
type compiler struct {
	made  map[ruleAt]*check
	later []func() // what needs complete checks
	fails bool
}

type ruleAt struct {
	rule *Rule
	node *node
}

// compile returns the check of a whole record, or nil if the rule or the places are
// beyond it.
func compile(rule *Rule, places [][]string) *check {
	var ps []pointer
	for i, tokens := range places {
		ps = append(ps, pointer{i, tokens})
	}
	count := 0
	root := newNode(ps, &count)
	if count > maxNodes {
		return nil
	}
	cm := &compiler{made: map[ruleAt]*check{}}
	c := cm.check(rule, root)
	for len(cm.later) > 0 {
		f := cm.later[0]
		cm.later = cm.later[1:]
		f()
	}
	if cm.fails {
		return nil
	}
	return c
}

// check returns the check of a rule at a node, which may be nil.
func (cm *compiler) check(r *Rule, n *node) *check {
	if r == nil && n == nil {
		return anything
	}
	if c := cm.made[ruleAt{r, n}]; c != nil {
		return c
	}
	if r != nil && r.isBare() && r.Kinds == EveryKind && len(r.All) == 1 && len(r.Any)+len(r.One) == 0 {
		return cm.check(r.All[0], n) // a bare $ref
	}
	c := new(check)
	cm.made[ruleAt{r, n}] = c
	if r == nil {
		r = &Rule{Kinds: EveryKind}
	}
	c.places, c.kinds, c.doubt, c.integer = n.marks(), r.Kinds, r.Doubt, r.Integer
	c.enums = newEnums(r.Enums)
	c.text = newStringCheck(r.String)
	c.number = newNumberCheck(r.Number)
	c.object = cm.object(r.Object, n)
	c.array = cm.array(r.Array, n)
	if cm.byKind(c, r, n) {
		return c
	}
	c.all, c.any, c.one = cm.checks(r.All), cm.checks(r.Any), cm.checks(r.One)
	c.combined = len(c.all)+len(c.any)+len(c.one) > 0 || r.Not != nil || r.If != nil
	if r.Not != nil {
		c.not = cm.check(r.Not, nil)
	}
	if r.If != nil {
		c.when, c.then, c.els = cm.check(r.If, nil), cm.check(r.Then, nil), cm.check(r.Else, nil)
	}
	return c
}

func (cm *compiler) checks(rules []*Rule) (cs []*check) {
	for _, r := range rules {
		cs = append(cs, cm.check(r, nil))
	}
	return cs
}

// byKind fills c for a rule that is nothing but a choice, and in which each kind of values
// has one rule at most. A null beside something else is the most frequent of these.
func (cm *compiler) byKind(c *check, r *Rule, n *node) bool {
	choice := slices.Concat(r.Any, r.One)
	if !r.isBare() || len(r.All) > 0 || (len(r.Any) > 0) == (len(r.One) > 0) {
		return false
	}
	var taken Kinds
	for _, branch := range choice {
		kinds := branch.accepts()
		if taken&kinds != 0 {
			return false
		}
		taken |= kinds
	}
	c.kinds &= taken
	c.byKind = new([6]*check)
	for _, branch := range choice {
		for kinds := branch.accepts(); kinds != 0; kinds &= kinds - 1 {
			c.byKind[bits.TrailingZeros8(uint8(kinds))] = cm.check(branch, n)
		}
	}
	return true
}

// isBare tells whether the rule says nothing but kinds, All, Any and One.
func (r *Rule) isBare() bool {
	return len(r.Enums) == 0 && r.Doubt == 0 && !r.Integer && r.String == nil && r.Number == nil &&
		r.Object == nil && r.Array == nil && r.Not == nil && r.If == nil
}

// accepts returns the kinds of which the rule may accept values.
func (r *Rule) accepts() Kinds {
	if r == nil {
		return EveryKind
	}
	kinds := r.Kinds
	for _, e := range r.Enums {
		kinds &= e.kinds()
	}
	for _, a := range r.All {
		kinds &= a.accepts()
	}
	return kinds
}

func (cm *compiler) object(r *ObjectRule, n *node) *objectCheck {
	if r == nil && n == nil {
		return anything.object
	}
	if r == nil {
		r = &ObjectRule{MinProperties: -1, MaxProperties: -1}
	}
	c := &objectCheck{min: r.MinProperties, max: r.MaxProperties, index: map[string]int{}, other: cm.check(r.Additional, n.rest())}
	if r.Names != nil {
		c.names = cm.check(r.Names, nil)
	}
	for _, p := range r.Patterns {
		c.patterns = append(c.patterns, patternCheck{p.Pattern.ready(), cm.check(p.Rule, nil), cm.check(p.Rule, n.rest())})
	}
	c.known = r.known(n)
	for i, name := range c.known {
		if !utf8.ValidString(name) {
			cm.fails = true // no text of a record has it
		}
		c.index[name] = i
		c.members = append(c.members, cm.member(c, r, n, name, i))
	}
	c.required = make([]uint64, (len(c.members)+63)/64)
	for _, name := range r.Required {
		c.required[c.index[name]/64] |= 1 << (c.index[name] % 64)
	}
	for _, name := range slices.Sorted(maps.Keys(r.DependentRequired)) {
		d := dependency{member: c.index[name]}
		for _, need := range r.DependentRequired[name] {
			d.needs = append(d.needs, c.index[need])
		}
		c.dependentRequired = append(c.dependentRequired, d)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Dependent)) {
		c.dependent = append(c.dependent, dependency{member: c.index[name], check: cm.check(r.Dependent[name], nil)})
	}
	c.next = make([]atomic.Int32, len(c.members)+1)
	for i := range c.members {
		c.next[i].Store(int32(i))
	}
	return c
}

// known returns the names of members that the rule or the places tell apart, in order.
func (r *ObjectRule) known(n *node) []string {
	names := map[string]bool{}
	add := func(more ...string) {
		for _, name := range more {
			names[name] = true
		}
	}
	add(r.Required...)
	for name := range r.Properties {
		add(name)
	}
	for name, needs := range r.DependentRequired {
		add(name)
		add(needs...)
	}
	for name := range r.Dependent {
		add(name)
	}
	if n != nil {
		for name := range n.named {
			if utf8.ValidString(name) {
				add(name)
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// member returns the member of c with that name.
func (cm *compiler) member(c *objectCheck, r *ObjectRule, n *node, name string, index int) member {
	var rules []*Rule
	if rule, ok := r.Properties[name]; ok {
		rules = append(rules, rule)
	}
	for _, p := range r.Patterns {
		if p.Pattern.re.MatchString(name) {
			rules = append(rules, p.Rule)
		}
	}
	if len(rules) == 0 {
		rules = append(rules, r.Additional)
	}
	literal := quote(name)
	m := member{literal: literal + ":", index: index, check: cm.check(rules[0], n.child(name)), also: cm.checks(rules[1:])}
	if c.names != nil {
		cm.later = append(cm.later, func() { c.members[index].allowed = judgeText(literal, c.names) })
	}
	return m
}

// quote returns a name as a literal of JSON.
func quote(name string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(name) {
		switch c := name[i]; {
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(rune(c)))
		case c < ' ':
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func (cm *compiler) array(r *ArrayRule, n *node) *arrayCheck {
	if r == nil && n == nil {
		return anything.array
	}
	if r == nil {
		r = &ArrayRule{MinItems: -1, MaxItems: -1}
	}
	c := &arrayCheck{min: r.MinItems, max: r.MaxItems, unique: r.Unique, minContains: r.MinContains, maxContains: r.MaxContains}
	// Elements up to the last that has a place by its index, or a rule of its own.
	first := len(r.Prefix)
	for token := range n.names() {
		if i, ok := elementIndex(token); ok {
			first = max(first, i+1)
		}
	}
	if first > maxNodes {
		cm.fails = true
		return c
	}
	for i := range first {
		rule := r.Items
		if i < len(r.Prefix) {
			rule = r.Prefix[i]
		}
		c.first = append(c.first, cm.check(rule, n.child(fmt.Sprint(i))))
	}
	c.other = cm.check(r.Items, n.rest())
	if r.Contains != nil {
		c.contains = cm.check(r.Contains, nil)
	}
	return c
}

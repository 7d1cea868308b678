//go:build !race

package integration

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
)

// A twinVerdict is what the rules for twins ask for (DESIGN, "Twins: one thing under two
// keys"), worked out record by record. Keys are those of the snapshot.
type twinVerdict struct {
	*twinRound
	moves   twinMoves                  // a fresh key begins with freshTwin
	clashes map[string]map[string]bool // by collection and key: these refuse the restore
	certain map[string]map[string]bool // those of them that depend on no other
	maybe   map[string]map[string]bool // these are named with them, or not
	unsure  string                     // why the rules leave open what comes of it
	matched map[string]bool            // the collections that are done
}

// freshTwin begins the keys that stand for those of the store. They are integers.
const freshTwin = "90000"

// verdict works out what comes of a round.
func (r *twinRound) verdict() *twinVerdict {
	v := &twinVerdict{twinRound: r, moves: twinMoves{}, clashes: map[string]map[string]bool{}, maybe: map[string]map[string]bool{}, matched: map[string]bool{}}
	for _, t := range r.schema.collections {
		v.moves[t.Name], v.clashes[t.Name], v.maybe[t.Name] = map[string]string{}, map[string]bool{}, map[string]bool{}
	}
	for _, t := range r.schema.restoreOrder() {
		v.match(t)
		v.matched[t.Name] = true
	}
	v.taint()
	if r.skipClashes && v.clashed() && (r.schema.wrong(r.result(v.moves, v.clashes)) != "" || r.schema.wrong(r.result(v.moves, v.maybe)) != "") {
		v.unsure = "what is left out changes what others meet"
	}
	for _, t := range r.schema.collections {
		if r.strategyOf(t) == backup.Replace && r.strategies != nil {
			v.unsure = "another strategy may keep what refers to what is deleted"
		}
	}
	return v
}

// reaches tells whether references lead from a collection to another.
func (s *twinSchema) reaches(from, to string, seen map[string]bool) bool {
	if seen == nil {
		seen = map[string]bool{}
	}
	seen[from] = true
	return from == to || slices.ContainsFunc(s.table(from).Refs, func(f backup.Ref) bool { return !seen[f.Collection] && s.reaches(f.Collection, to, seen) })
}

// taint makes unsure what refers to a clash, and to what refers to one: where that comes to
// be is open.
func (v *twinVerdict) taint() {
	certain := map[string]map[string]bool{}
	for name, keys := range v.clashes {
		certain[name] = maps.Clone(keys)
	}
	for again := true; again; {
		again = false
		for _, t := range v.schema.collections {
			for key, r := range v.saved[t.Name] {
				for _, f := range t.Refs {
					refersTo(r, f, func(to string, _ func(string)) {
						if (!v.maybe[t.Name][key] || certain[t.Name][key]) && (v.clashes[f.Collection][to] || v.maybe[f.Collection][to]) && (f.Collection != t.Name || to != key) {
							v.maybe[t.Name][key], again = true, true
							delete(certain[t.Name], key)
						}
					})
				}
			}
		}
	}
	v.certain = certain
}

// restoreOrder returns the collections in the order of restore: as declared, but that
// each comes after those that it refers to.
func (s *twinSchema) restoreOrder() (order []*twinTable) {
	seen := map[string]bool{}
	var visit func(t *twinTable)
	visit = func(t *twinTable) {
		if seen[t.Name] {
			return
		}
		seen[t.Name] = true
		for _, f := range t.Refs {
			visit(s.table(f.Collection))
		}
		order = append(order, t)
	}
	for _, i := range s.order {
		visit(s.collections[i])
	}
	return order
}

func (v *twinVerdict) clash(t *twinTable, key string) { v.clashes[t.Name][key] = true }

func (v *twinVerdict) clashed() bool {
	for _, keys := range v.clashes {
		if len(keys) > 0 {
			return true
		}
	}
	return false
}

// A twinMatch decides about the records of one collection.
type twinMatch struct {
	*twinVerdict
	t       *twinTable
	uniques []string // that can be used
	selfs   []string // those of them that refer to the collection itself
	byKey   bool
	merge   bool
	arrives map[string]string // snapshot key → key once its parents have moved
	back    map[string]string // its reverse
	decided map[string]bool
	doing   map[string]bool
	circle  map[string]bool
	claims  map[string][]string // host key → snapshot keys of its twins
	wanted  map[string][]string // host key → snapshot keys that it is a candidate for
	fresh   int
}

func (v *twinVerdict) match(t *twinTable) {
	m := &twinMatch{twinVerdict: v, t: t, merge: v.strategyOf(t) == backup.Merge, arrives: map[string]string{}, back: map[string]string{},
		decided: map[string]bool{}, doing: map[string]bool{}, circle: map[string]bool{}, claims: map[string][]string{}, wanted: map[string][]string{}}
	for _, f := range t.Refs {
		if slices.Contains(t.keyFields(), fieldsOf(f.Pointer)[0]) && !v.matched[f.Collection] {
			v.unsure = "its key holds what comes later"
		}
	}
	for key, r := range v.saved[t.Name] {
		now := t.keyOf(v.moves.rewritten(t, r))
		if m.back[now] != "" {
			v.unsure = "two keys become one, of a record that is left out"
		}
		m.arrives[key], m.back[now] = now, key
		if now != key {
			v.moves[t.Name][key] = now
		}
	}
	if v.strategyOf(t) == backup.Replace || len(v.found[t.Name]) == 0 || len(t.Unique) == 0 {
		return
	}
	m.byKey = !v.foreign || !t.numbered
	for _, u := range t.Unique {
		usable, self := true, false
		for _, f := range t.Refs {
			holds := slices.ContainsFunc(fieldsOf(f.Pointer), func(name string) bool { return slices.Contains(fieldsOf(u), name) })
			self = self || holds && f.Collection == t.Name
			if holds && f.Collection != t.Name && v.schema.reaches(f.Collection, t.Name, nil) {
				v.unsure = "which of two collections comes first is open, and the store may say it"
			}
			usable = usable && !(holds && f.Collection != t.Name && !v.matched[f.Collection])
		}
		if usable {
			m.uniques = append(m.uniques, u)
		}
		if usable && self {
			m.selfs = append(m.selfs, u)
		}
	}
	selfs := map[string]bool{}
	for _, f := range t.Refs {
		if f.Collection == t.Name && slices.ContainsFunc(m.selfs, func(u string) bool { return slices.Contains(fieldsOf(u), fieldsOf(f.Pointer)[0]) }) {
			selfs[f.Pointer] = true
		}
	}
	if len(selfs) > 1 {
		v.unsure = "of two references to the collection itself, one may match nothing"
	}
	keys := slices.Sorted(maps.Keys(v.saved[t.Name]))
	for _, key := range keys {
		m.findCircle(key)
	}
	for _, key := range keys {
		m.decide(key)
	}
	m.contest()
}

// parents returns the records that a record's Uniques make it wait for.
func (m *twinMatch) parents(key string) (parents []string) {
	for _, f := range m.t.Refs {
		if f.Collection != m.t.Name {
			continue
		}
		used := slices.ContainsFunc(m.selfs, func(u string) bool {
			return slices.ContainsFunc(fieldsOf(u), func(name string) bool { return slices.Contains(fieldsOf(f.Pointer), name) })
		})
		if !used {
			continue
		}
		refersTo(m.saved[m.t.Name][key], f, func(to string, _ func(string)) {
			if m.saved[m.t.Name][to] != nil {
				parents = append(parents, to)
			}
		})
	}
	return parents
}

// findCircle finds out whether a record comes back to itself.
func (m *twinMatch) findCircle(key string) {
	seen := map[string]bool{}
	next := m.parents(key)
	for len(next) > 0 {
		at := next[0]
		next = next[1:]
		if at == key {
			m.circle[key] = true
			return
		}
		if !seen[at] {
			seen[at] = true
			next = append(next, m.parents(at)...)
		}
	}
}

// now returns a record of the snapshot once all have moved that decide about it.
func (m *twinMatch) now(key string) twinRecord {
	if !m.circle[key] {
		for _, p := range m.parents(key) {
			m.decide(p)
		}
	}
	return m.moves.rewritten(m.t, m.saved[m.t.Name][key])
}

// decide says what becomes of a record.
func (m *twinMatch) decide(key string) {
	if m.decided[key] || m.doing[key] {
		return
	}
	m.doing[key] = true
	r := m.now(key)
	m.decided[key] = true
	t, arrives := m.t, m.arrives[key]
	for _, p := range m.parents(key) {
		if m.circle[p] && !m.circle[key] {
			m.unsure = "what hangs on a circle may be matched or not"
		}
	}
	var twins []string
	has := false
	for _, u := range m.uniques {
		if m.circle[key] && slices.Contains(m.selfs, u) {
			continue
		}
		value, ok := t.unique(r, u)
		has = has || ok
		for _, host := range slices.Sorted(maps.Keys(m.found[t.Name])) {
			if !ok || m.byKey && host == arrives || slices.Contains(twins, host) {
				continue
			}
			if theirs, ok := t.unique(m.later(host), u); ok && theirs == value {
				twins = append(twins, host)
			}
		}
	}
	for _, host := range twins {
		m.wanted[host] = append(m.wanted[host], key)
	}
	if !m.byKey {
		m.decideWithoutKey(key, r, twins, has)
		return
	}
	switch there := m.found[t.Name][arrives] != nil; {
	case there && (len(twins) == 0 || !m.merge):
	case there || len(twins) > 1:
		m.clash(t, key)
	case len(twins) == 1:
		if twins[0] == key {
			m.unsure = "what it refers to would give it another key, and its twin gives it back"
		}
		m.claims[twins[0]] = append(m.claims[twins[0]], key)
		m.moves[t.Name][key] = twins[0]
	}
}

// later returns a record of the host as it is in the end state.
func (m *twinMatch) later(host string) twinRecord {
	r := m.found[m.t.Name][host]
	if from, ok := m.back[host]; ok && m.byKey && m.merge {
		return mergedTwin(r, m.now(from))
	}
	return r
}

// decideWithoutKey decides about a record whose key is a number of another installation.
func (m *twinMatch) decideWithoutKey(key string, r twinRecord, twins []string, has bool) {
	there := m.found[m.t.Name][key]
	switch {
	case len(twins) > 1:
		m.clash(m.t, key)
	case len(twins) == 1:
		m.claims[twins[0]] = append(m.claims[twins[0]], key)
		if twins[0] != key {
			m.moves[m.t.Name][key] = twins[0]
		}
	case there == nil:
	case has:
		m.fresh++
		m.moves[m.t.Name][key] = fmt.Sprint(freshTwin, m.fresh)
	default:
		if len(m.uniques) < len(m.t.Unique) {
			m.unsure = "its Unique matches nothing, which may count as none"
		}
		if slices.ContainsFunc(m.t.Refs, func(f backup.Ref) bool { return !m.matched[f.Collection] }) {
			m.unsure = "what it refers to moves later"
		}
		if r.text() != there.text() {
			m.clash(m.t, key)
		}
	}
}

// contest finds the records of the host that more than one of the snapshot's would become.
func (m *twinMatch) contest() {
	for host, keys := range m.claims {
		if _, byKey := m.back[host]; len(keys) == 1 && !(byKey && m.byKey) {
			continue
		}
		for _, key := range keys {
			m.clash(m.t, key)
		}
	}
	for _, keys := range m.wanted {
		if len(keys) < 2 {
			continue
		}
		for _, key := range keys {
			m.maybe[m.t.Name][key] = true
		}
		if !m.byKey && m.merge {
			m.unsure = "what one twin merges another may be free of"
		}
	}
}

// mergedTwin returns what Merge makes of two records.
func mergedTwin(existing, incoming twinRecord) twinRecord {
	r := existing.clone()
	for name, v := range incoming.clone() {
		mine, ok := r[name].(map[string]any)
		theirs, too := v.(map[string]any)
		if ok && too {
			r[name] = map[string]any(mergedTwin(mine, theirs))
		} else {
			r[name] = v
		}
	}
	return r
}

// result returns the state that the moves lead to, without the records of out.
func (r *twinRound) result(moves twinMoves, out map[string]map[string]bool) twinState {
	state := r.found.clone()
	for _, t := range r.schema.collections {
		strategy := r.strategyOf(t)
		if strategy == backup.Replace {
			state[t.Name] = map[string]twinRecord{}
		}
		for key, saved := range r.saved[t.Name] {
			now := moves.of(t.Name, key)
			incoming := t.under(moves.rewritten(t, saved), now)
			switch there := r.found[t.Name][now]; {
			case out[t.Name][key]:
				if there := r.found[t.Name][key]; there != nil && strategy == backup.Replace {
					state[t.Name][key] = there
				}
			case there == nil || strategy == backup.Replace:
				state[t.Name][now] = incoming
			case strategy == backup.Merge && t.Shape == backup.Map:
				state[t.Name][now] = incoming
			case strategy == backup.Merge:
				state[t.Name][now] = mergedTwin(there, incoming)
			}
		}
	}
	return state
}

// String says what the verdict is.
func (v *twinVerdict) String() string {
	var b strings.Builder
	for _, t := range v.schema.collections {
		fmt.Fprintf(&b, "%s: moves %v, clashes %v; ", t.Name, v.moves[t.Name], slices.Sorted(maps.Keys(v.clashes[t.Name])))
	}
	return b.String() + v.unsure
}

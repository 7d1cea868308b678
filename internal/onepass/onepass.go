// Package onepass reads a record once, from its first byte to its last, and says yes only
// where it is sure: the record is strict and compact JSON, a rule accepts it, and these
// are the places of its key, its references and its secrets.
//
// Where it is not sure it says no more than that. Then the checks of packages codec and
// validate decide, which are slower and write every error. So what this package does not
// know costs speed and never truth.
//
// rule.go says what a rule is. check.go makes of a rule and places what walk.go goes by.
// The other files are about one kind of value each.
package onepass

import "sync"

// Limits bound what a Pass accepts.
type Limits struct {
	Depth  int // of nested objects and arrays
	Values int // in one record, itself included
}

// The longest number, and the most digits in its exponent. Any IEEE 754 number
// fits, and arithmetic stays fast.
const (
	MaxNumber   = 1024
	MaxExponent = 4
)

// maxDepth is less than what the decoder of package codec allows.
const maxDepth = 9000

// A Mark is a place in a record.
type Mark struct {
	Place      int // the index of the pointer that names it
	Start, End int // of the value in the text
}

// A Pass reads records of one kind. It is safe for concurrent use.
type Pass struct {
	root *check // nil: nothing is accepted
}

// New returns a Pass for a rule. places are JSON Pointers as their tokens without escapes,
// and the token "*" stands for any member or element.
func New(rule *Rule, places [][]string) *Pass {
	return &Pass{root: compile(rule, places)}
}

// Read reads a record. It returns true only if text is one value of strict JSON in valid
// UTF-8 without white space, within the limits and those that package codec has for
// numbers, if no object has two members of one name, and if the rule accepts it. How
// large the text may be is for the caller to check.
//
// Read appends the places that the record has to marks, in the order in which they begin
// in the text, and the outer before the inner. After false the marks mean nothing.
func (p *Pass) Read(text []byte, limits Limits, marks []Mark) ([]Mark, bool) {
	if p.root == nil {
		return marks, false
	}
	w := walks.Get().(*walk)
	w.text, w.marks = text, marks
	w.depth, w.values = min(limits.Depth, maxDepth), limits.Values
	w.again = maxAgain*len(text) + leastAgain
	ok := w.value(0, p.root) == len(text)
	marks = w.marks
	w.reset()
	walks.Put(w)
	return marks, ok
}

var walks = sync.Pool{New: func() any { return new(walk) }}

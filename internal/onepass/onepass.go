// Package onepass reads a record once, from its first byte to its last, and says yes only
// where it is sure: the record is strict and compact JSON, a rule accepts it, and these
// are the places of its key, its references and its secrets.
//
// Where it is not sure it says no more than that. Then the checks of packages codec and
// validate decide, which are slower and write every error. So what this package does not
// know costs speed and never truth.
package onepass

// A Rule accepts values, as a JSON Schema does. The nil Rule accepts every value.
type Rule struct{}

// Limits bound what a Pass accepts.
type Limits struct {
	Depth  int // of nested objects and arrays
	Values int // in one record, itself included
}

// A Mark is a place in a record.
type Mark struct {
	Place      int // the index of the pointer that names it
	Start, End int // of the value in the text
}

// A Pass reads records of one kind. It is safe for concurrent use.
type Pass struct{}

// New returns a Pass for a rule. places are JSON Pointers as their tokens without escapes,
// and the token "*" stands for any member or element. No place lies inside another.
func New(rule *Rule, places [][]string) *Pass { return &Pass{} }

// Read reads a record. It returns true only if text is one value of strict JSON in valid
// UTF-8 without white space, within the limits and those that package codec has for
// numbers, if no object has two members of one name, and if the rule accepts it. It
// appends the places that the record has to marks, in the order of the text. After false
// the marks mean nothing.
func (p *Pass) Read(text []byte, limits Limits, marks []Mark) ([]Mark, bool) {
	return marks, false
}

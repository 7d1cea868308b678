package onepass

import (
	"math/big"
	"slices"
)

// An enumCheck is an Enum whose values are found fast.
type enumCheck struct {
	literals string // the first bytes of those of null, true and false that are in it
	strings  []string
	many     map[string]bool // the strings, if there are more than a few
	integers []int64
	numbers  []*big.Rat
	doubt    Kinds
}

func newEnums(enums []Enum) (cs []enumCheck) {
	for _, e := range enums {
		c := enumCheck{strings: e.Strings, numbers: e.Numbers, doubt: e.Doubt}
		for word, in := range map[string]bool{"n": e.Null, "t": e.True, "f": e.False} {
			if in {
				c.literals += word
			}
		}
		if len(e.Strings) > few {
			c.many = map[string]bool{}
			for _, s := range e.Strings {
				c.many[s] = true
			}
		}
		for _, n := range e.Numbers {
			if n.IsInt() && n.Num().IsInt64() {
				c.integers = append(c.integers, n.Num().Int64())
			}
		}
		cs = append(cs, c)
	}
	return cs
}

// kinds returns the kinds of the values in an Enum.
func (e *Enum) kinds() Kinds {
	kinds := e.Doubt
	if e.Null {
		kinds |= Null
	}
	if e.True || e.False {
		kinds |= Boolean
	}
	if len(e.Numbers) > 0 {
		kinds |= Number
	}
	if len(e.Strings) > 0 {
		kinds |= String
	}
	return kinds
}

// literal tells whether a null, true, false, object or array is in the set. It begins
// with the byte c.
func (e *enumCheck) literal(c byte, kind Kinds) int {
	if e.doubt&kind != 0 {
		return unknown
	}
	for i := range len(e.literals) {
		if e.literals[i] == c {
			return yes
		}
	}
	return no
}

func (e *enumCheck) hasString(text []byte) bool {
	if e.many != nil {
		return e.many[string(text)]
	}
	for _, s := range e.strings {
		if s == string(text) {
			return true
		}
	}
	return false
}

func (e *enumCheck) hasNumber(n *decimal) bool {
	if n.isInteger {
		return slices.Contains(e.integers, n.whole)
	}
	value := n.rat()
	return slices.ContainsFunc(e.numbers, func(r *big.Rat) bool { return r.Cmp(value) == 0 })
}

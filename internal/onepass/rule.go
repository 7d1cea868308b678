package onepass

import "math/big"

// Kinds are kinds of JSON values.
type Kinds uint8

const (
	Null Kinds = 1 << iota
	Boolean
	Number
	String
	Array
	Object

	EveryKind = Null | Boolean | Number | String | Array | Object
)

// A Rule accepts values, as a JSON Schema does. The nil Rule accepts every value. What a
// Rule says of strings counts for strings alone, and so on for the other kinds.
//
// A Rule may contain itself: in its members and elements, but not in All, Any, One, Not,
// If, Then, Else and Dependent, which are about the same value.
type Rule struct {
	Kinds   Kinds // of the values that it accepts
	Doubt   Kinds // the Rule does not tell all about values of these kinds, so that none of them is accepted
	Integer bool  // numbers must be integers; 1.0 and 1e2 are integers

	Enums  []Enum // the value must be in each
	String *StringRule
	Number *NumberRule
	Object *ObjectRule
	Array  *ArrayRule

	All, Any, One  []*Rule // unless empty: each, at least one, exactly one accepts the value
	Not            *Rule   // must not accept the value, unless it is nil
	If, Then, Else *Rule   // If decides, unless it is nil, which of the other two must accept the value
}

// An Enum is a set of values.
type Enum struct {
	Null, True, False bool
	Numbers           []*big.Rat
	Strings           []string
	Doubt             Kinds // it has values of these kinds that are not told
}

// A StringRule is about strings. A length of -1 does not matter.
type StringRule struct {
	MinLength, MaxLength int // in code points
	Pattern              *Pattern
	Format               *Format
}

// A Format is a format of JSON Schema.
type Format struct {
	Name  string
	Valid func(text string) bool
}

// A NumberRule is about numbers. What is nil does not matter.
type NumberRule struct {
	Minimum, ExclusiveMinimum *big.Rat
	Maximum, ExclusiveMaximum *big.Rat
	MultipleOf                *big.Rat // more than 0
}

// An ObjectRule is about objects. A count of -1 does not matter.
type ObjectRule struct {
	MinProperties, MaxProperties int
	Required                     []string
	Properties                   map[string]*Rule
	Patterns                     []PatternRule
	Additional                   *Rule // for members that are neither in Properties nor match a pattern
	Names                        *Rule // for the names of all members
	DependentRequired            map[string][]string
	Dependent                    map[string]*Rule // for the object, if it has a member of that name
}

// A PatternRule is for the members of an object whose names match a pattern.
type PatternRule struct {
	Pattern *Pattern
	Rule    *Rule
}

// An ArrayRule is about arrays. A count of -1 does not matter.
type ArrayRule struct {
	MinItems, MaxItems       int
	Unique                   bool
	Prefix                   []*Rule // for the first elements
	Items                    *Rule   // for the others
	Contains                 *Rule   // unless it is nil, it is counted how many elements it accepts
	MinContains, MaxContains int
}

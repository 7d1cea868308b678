package onepass

import (
	"math"
	"math/big"
)

// A decimal is a number in a text. Where its whole part is short, most questions have an
// answer without arithmetic on numbers of any size.
type decimal struct {
	text      []byte
	short     bool  // whole and fraction tell all: there is no exponent, and few digits
	isInteger bool  // short, and the fraction is 0
	whole     int64 // the number, rounded towards 0
	negative  bool
}

// maxDigits is how many digits always fit in an int64.
const maxDigits = 18

// scanNumber reads the number that begins at b[i], and returns the index behind it, or -1
// if it is not a number of strict JSON within the limits.
func scanNumber(b []byte, i int) (n decimal, end int) {
	start := i
	if b[i] == '-' {
		n.negative = true
		i++
	}
	first := i
	for i < len(b) && isDigit(b[i]) {
		if i < first+maxDigits {
			n.whole = n.whole*10 + int64(b[i]-'0')
		}
		i++
	}
	if i == first || b[first] == '0' && i > first+1 {
		return n, -1
	}
	if n.negative {
		n.whole = -n.whole
	}
	n.short = i <= first+maxDigits
	n.isInteger = n.short
	if i < len(b) && b[i] == '.' {
		i++
		first = i
		for i < len(b) && isDigit(b[i]) {
			n.isInteger = n.isInteger && b[i] == '0'
			i++
		}
		if i == first {
			return n, -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		n.short, n.isInteger = false, false
		if i = scanExponent(b, i+1); i < 0 {
			return n, -1
		}
	}
	if i-start > MaxNumber {
		return n, -1
	}
	n.text = b[start:i]
	return n, i
}

// scanExponent reads what follows the letter E of a number.
func scanExponent(b []byte, i int) int {
	if i < len(b) && (b[i] == '+' || b[i] == '-') {
		i++
	}
	first := i
	for i < len(b) && b[i] == '0' {
		i++
	}
	digits := i
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	if i == first || i > digits+MaxExponent {
		return -1
	}
	return i
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// rat returns the number that a well-formed text is.
func rat(text []byte) *big.Rat {
	r, _ := new(big.Rat).SetString(string(text))
	return r
}

func (n *decimal) rat() *big.Rat { return rat(n.text) }

// A numberCheck is a NumberRule with bounds in whole numbers beside the exact ones.
type numberCheck struct {
	NumberRule
	least, most int64 // of integers
	floor, ceil int64 // other numbers that lie between these two are within the bounds
	step        int64 // MultipleOf if it is an integer, or 0
}

func newNumberCheck(r *NumberRule) *numberCheck {
	if r == nil {
		return nil
	}
	c := &numberCheck{NumberRule: *r, least: math.MinInt64, most: math.MaxInt64, floor: math.MinInt64, ceil: math.MaxInt64}
	if m := r.Minimum; m != nil {
		up := clamp(new(big.Int).Neg(floor(new(big.Rat).Neg(m))))
		c.least, c.floor = up, up
	}
	if m := r.ExclusiveMinimum; m != nil {
		c.least = max(c.least, clamp(new(big.Int).Add(floor(m), big.NewInt(1))))
		c.floor = max(c.floor, clamp(new(big.Int).Neg(floor(new(big.Rat).Neg(m)))))
	}
	if m := r.Maximum; m != nil {
		down := clamp(floor(m))
		c.most, c.ceil = down, down
	}
	if m := r.ExclusiveMaximum; m != nil {
		below := new(big.Int).Neg(floor(new(big.Rat).Neg(m)))
		c.most = min(c.most, clamp(below.Sub(below, big.NewInt(1))))
		c.ceil = min(c.ceil, clamp(floor(m)))
	}
	if m := r.MultipleOf; m != nil && m.IsInt() && m.Num().IsInt64() {
		c.step = m.Num().Int64()
	}
	return c
}

// floor returns the largest integer that is not more than r.
func floor(r *big.Rat) *big.Int { return new(big.Int).Div(r.Num(), r.Denom()) }

// clamp returns the int64 that is next to i. A short number is on the same side of both.
func clamp(i *big.Int) int64 {
	switch {
	case i.IsInt64():
		return i.Int64()
	case i.Sign() < 0:
		return math.MinInt64
	}
	return math.MaxInt64
}

// number reads the number that begins at an index.
func (w *walk) number(at int, c *check) int {
	n, end := scanNumber(w.text, at)
	if end < 0 {
		return unknown
	}
	if c.integer && !n.isInteger && (n.short || !n.rat().IsInt()) {
		return no
	}
	for i := range c.enums {
		if !c.enums[i].hasNumber(&n) {
			return no
		}
	}
	if c.number != nil && !c.number.accepts(&n) {
		return no
	}
	return end
}

func (c *numberCheck) accepts(n *decimal) bool {
	if n.isInteger && (c.step != 0 || c.MultipleOf == nil) {
		return c.least <= n.whole && n.whole <= c.most && (c.step == 0 || n.whole%c.step == 0)
	}
	if n.short && c.MultipleOf == nil {
		floor := n.whole
		if n.negative {
			floor--
		}
		if c.floor <= floor && floor+1 <= c.ceil {
			return true
		}
	}
	return c.acceptsExactly(n.rat())
}

func (c *numberCheck) acceptsExactly(value *big.Rat) bool {
	switch {
	case c.Minimum != nil && value.Cmp(c.Minimum) < 0,
		c.ExclusiveMinimum != nil && value.Cmp(c.ExclusiveMinimum) <= 0,
		c.Maximum != nil && value.Cmp(c.Maximum) > 0,
		c.ExclusiveMaximum != nil && value.Cmp(c.ExclusiveMaximum) >= 0,
		c.MultipleOf != nil && !new(big.Rat).Quo(value, c.MultipleOf).IsInt():
		return false
	}
	return true
}

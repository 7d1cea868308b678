package sqlstore

import (
	"errors"
	"fmt"
	"slices"
)

// Kinds is what a column can be taken for. Its first is what Auto stands for.
type kinds []Kind

// A typeRule says what columns of an SQL type can be taken for.
type typeRule struct {
	kinds kinds
	key   kinds // in a key; none if the type is not for keys
}

// settleKind replaces Auto, or checks what the host says. keyTypes names the types
// that a key can have.
func (c *column) settleKind(r typeRule, keyTypes string) error {
	can := r.kinds
	if c.key {
		if c.OmitNull {
			return errors.New("a key cannot be left out: take OmitNull from it in Table.Columns")
		}
		if can = r.key; len(can) == 0 {
			return fmt.Errorf("a key cannot be %s: it is %s", c.declaredType(), keyTypes)
		}
	}
	switch {
	case c.Kind == Auto:
		c.Kind = can[0]
	case slices.Contains(can, c.Kind):
	case c.key:
		return fmt.Errorf("a key that is %s cannot be %v", c.declaredType(), c.Kind)
	default:
		return fmt.Errorf("declared %s it cannot be %v", c.declaredType(), c.Kind)
	}
	return nil
}

// settleDocument makes a JSON column one of documents: NULL is no value at all
// there, and null is the JSON text null.
func (c *column) settleDocument() {
	if c.Kind == JSON || c.Kind == JSONBytes {
		c.document = true
		c.OmitNull = !c.lone
	}
}

// declaredType names the type of the column.
func (c *column) declaredType() string {
	if c.declared == "" {
		return "without a type"
	}
	return c.declared
}

// A family is what types of a server have in common.
type family int

const (
	other family = iota
	integers
	decimals
	floats
	texts
	labels // of ENUM and SET
	binaries
	documents // JSON
	moments   // date and time
)

// jsonTypes are what is read of columns of a kind, whatever their type is.
var jsonTypes = map[Kind]jsonType{
	Text:      typed("string"),
	Integer:   typed("integer"),
	Real:      typed("number"),
	Bool:      typed("boolean"),
	JSON:      {},
	JSONBytes: {},
	Blob:      {types: []string{"string"}, base64: true},
}

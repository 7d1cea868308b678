package sqlstore

import (
	"errors"
	"fmt"
	"slices"
)

// kinds are what a column can be taken for. The first is what Auto stands for.
type kinds []Kind

// A typeRule says what columns of an SQL type can be taken for.
type typeRule struct {
	kinds kinds
	key   kinds // the same in a key; empty if a key cannot have the type
}

// These rules are of types that PostgreSQL and MariaDB have both.
var (
	integerRule  = typeRule{kinds{Integer, Real, Bool, Text}, kinds{Integer, Text}}
	textRule     = typeRule{kinds{Text, JSON, JSONBytes}, kinds{Text}}
	onlyTextRule = typeRule{kinds: kinds{Text}}
	uuidRule     = typeRule{kinds{Text}, kinds{Text}}
	documentRule = typeRule{kinds: kinds{JSON, JSONBytes, Text}}
)

// settleKind replaces Auto, or checks what the host says. keyTypes names the types of
// keys for an error.
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

// settleDocument makes a JSON column hold documents. Its null is the JSON text null, and
// its NULL is no value at all.
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

// A family groups types of a server that are treated alike.
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

// jsonTypes are the schemas of the kinds, unless the type of the column says more.
var jsonTypes = map[Kind]jsonType{
	Text:      typed("string"),
	Integer:   typed("integer"),
	Real:      typed("number"),
	Bool:      typed("boolean"),
	JSON:      {},
	JSONBytes: {},
	Blob:      {types: []string{"string"}, base64: true},
	Hex:       typed("string"),
}

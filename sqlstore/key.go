package sqlstore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
)

// keyColumns returns the columns of the key, in its order.
func (t *table) keyColumns() []*column {
	columns := make([]*column, len(t.keys))
	for part, i := range t.keys {
		columns[part] = t.columns[i]
	}
	return columns
}

// keyNames returns the quoted names of the columns of the key, each with something
// before it, and with commas between them.
func (t *table) keyNames(before string) string {
	var names []string
	for _, c := range t.keyColumns() {
		names = append(names, before+c.quoted)
	}
	return strings.Join(names, ", ")
}

// unique tells whether one of indexes, each the names of its columns, is on the key.
func (t *table) unique(indexes [][]string) bool {
	for _, names := range indexes {
		if len(names) == len(t.keys) && !slices.ContainsFunc(t.keyColumns(), func(c *column) bool { return !slices.Contains(names, c.Name) }) {
			return true
		}
	}
	return false
}

// notUnique is the error of a key without an index such as is needed.
func (t *table) notUnique(such string) error {
	return fmt.Errorf("the key column %q is not unique by itself: it needs a unique index on it alone%s", t.keyColumns()[0].Name, such)
}

// key returns the identity of the row.
func (r *row) key(d Dialect) (string, error) {
	c := r.t.columns[r.t.keys[0]]
	key, err := d.keyText(c, r.cells[r.keys[0]])
	if err != nil {
		return "", r.t.fail("", c, err)
	}
	return key, nil
}

var errKey = fmt.Errorf("%w: the column cannot hold this key", backup.ErrInvalid)

// keyArgs appends what is stored for an identity. If no row can have it, it returns
// the error, with the column that is the matter, and args as they were.
func (t *table) keyArgs(d Dialect, args []any, key string) ([]any, *column, error) {
	c := t.columns[t.keys[0]]
	arg, ok := d.keyArg(c, key)
	if !ok {
		return args, c, errKey
	}
	return append(args, arg), nil, nil
}

// keyTexts returns the expressions of the texts of a key, for an error: each column
// between before and after. A row of a table that is not declared has no key.
func (t *table) keyTexts(before, after string) []string {
	if t == nil {
		return []string{"'a row'"}
	}
	var texts []string
	for _, c := range t.keyColumns() {
		texts = append(texts, before+c.quoted+after)
	}
	return texts
}

// scanKey scans the texts of a key, and what follows them.
func scanKey(row interface{ Scan(...any) error }, parts int, more ...any) (key string, err error) {
	return key, row.Scan(append([]any{&key}, more...)...)
}

package sqlstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/codec"
)

// The key of a table is one column, whose text is the identity of a record, or several.
// The texts of several are joined as the library joins them.

// keyColumns returns the columns of the key, in its order.
func (t *table) keyColumns() []*column {
	columns := make([]*column, len(t.keys))
	for part, i := range t.keys {
		columns[part] = t.columns[i]
	}
	return columns
}

// keyNames returns the quoted names of the columns of the key, with commas between them.
// before is a prefix of each.
func (t *table) keyNames(before string) string {
	var names []string
	for _, c := range t.keyColumns() {
		names = append(names, before+c.quoted)
	}
	return strings.Join(names, ", ")
}

var errNoPrimary = errors.New("there is no primary key: name the columns that are unique together in Table.Key")

// findKey returns the indexes of the columns of the key, and marks these columns.
// primary names the columns of the primary key.
func (d Table) findKey(columns []*column, primary []string, excluded map[int]bool) (keys []int, err error) {
	names := primary
	switch {
	case d.Key != "" && findColumn(columns, d.Key) >= 0:
		names = []string{d.Key} // it may have a comma in its name
	case d.Key != "":
		names = strings.Split(d.Key, ",")
	case len(primary) == 0:
		return nil, errNoPrimary
	}
	if d.Value != "" && len(names) > 1 {
		return nil, fmt.Errorf("the key has %d columns, and that of a Map is a single one: name it in Table.Key", len(names))
	}
	for _, name := range names {
		i := findColumn(columns, name)
		switch {
		case i < 0:
			return nil, fmt.Errorf("there is no key column %q that is not generated", name)
		case excluded[i]:
			return nil, fmt.Errorf("the key column %q is excluded", name)
		case columns[i].key:
			return nil, fmt.Errorf("the key has the column %q twice", name)
		}
		keys = append(keys, i)
		columns[i].key = true
	}
	return keys, nil
}

// unique tells whether one of the indexes is on the key alone. Each index is the names
// of its columns.
func (t *table) unique(indexes [][]string) bool {
	for _, names := range indexes {
		if len(names) == len(t.keys) && !slices.ContainsFunc(t.keyColumns(), func(c *column) bool { return !slices.Contains(names, c.Name) }) {
			return true
		}
	}
	return false
}

// notUnique returns the error for a key without a unique index. such is what else the
// index must be.
func (t *table) notUnique(such string) error {
	if len(t.keys) == 1 {
		return fmt.Errorf("the key column %s is not unique by itself: it needs a unique index on it alone%s", t.keyWords(), such)
	}
	return fmt.Errorf("the key columns %s are not unique together: they need a unique index on them alone%s", t.keyWords(), such)
}

// keyWords names the columns of the key for an error.
func (t *table) keyWords() string {
	var names []string
	for _, c := range t.keyColumns() {
		names = append(names, fmt.Sprintf("%q", c.Name))
	}
	return strings.Join(names, ", ")
}

// key returns the identity of the row.
func (r *row) key(d Dialect) (string, error) {
	if len(r.keys) == 1 {
		key, err := r.part(d, 0)
		if err != nil {
			return "", r.t.fail("", r.t.columns[r.t.keys[0]], err)
		}
		return key, nil
	}
	parts, others := make([]string, len(r.keys)), []string(nil)
	var failed error
	at := 0
	for part := range r.keys {
		text, err := r.part(d, part)
		switch {
		case err == nil:
			parts[part] = text
			others = append(others, fmt.Sprintf("%q %q", r.t.columns[r.t.keys[part]].Name, text))
		case failed == nil:
			failed, at = err, part
		}
	}
	if failed != nil {
		return "", r.t.fail("", r.t.columns[r.t.keys[at]], fmt.Errorf("%w (in the row with %s)", failed, strings.Join(others, ", ")))
	}
	return codec.JoinKey(parts), nil
}

var errNull = errors.New("a key cannot be NULL")

// part returns the text of a column of the key.
func (r *row) part(d Dialect, part int) (string, error) {
	cell := r.cells[r.keys[part]]
	if cell == nil {
		return "", errNull
	}
	return d.keyText(r.t.columns[r.t.keys[part]], cell)
}

var errKey = fmt.Errorf("%w: the column cannot hold this key", backup.ErrInvalid)

// keyArgs appends what is stored for an identity: a value for each column of the key. If
// no row can have that identity, it returns args unchanged, the column that cannot hold
// its part, and an error.
func (t *table) keyArgs(d Dialect, args []any, key string) ([]any, *column, error) {
	if len(t.keys) == 1 {
		c := t.columns[t.keys[0]]
		arg, ok := d.keyArg(c, key)
		if !ok {
			return args, c, errKey
		}
		return append(args, arg), nil, nil
	}
	parts, ok := codec.SplitKey(key, len(t.keys))
	if !ok {
		return args, nil, fmt.Errorf("%w: the key has not the %d parts of that of table %q: Key of the Collection and Key of the Table must name the same columns in the same order", backup.ErrInvalid, len(t.keys), t.plain)
	}
	before := len(args)
	for part, i := range t.keys {
		arg, ok := d.keyArg(t.columns[i], parts[part])
		if !ok {
			return args[:before], t.columns[i], errKey
		}
		args = append(args, arg)
	}
	return args, nil, nil
}

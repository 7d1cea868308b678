package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/sqljson"
)

// A table is a declared table with what the database says about it.
type table struct {
	collection string
	name       string    // quoted
	plain      string    // as it is in the database
	columns    []*column // the columns of a record, in the order of the table
	keys       []int     // the indexes of the columns of the key, in the order of the key
	value      int       // index of the value of a Map, -1 for a List

	order       string         // the expressions that sort the rows
	selected    string         // the expressions that read the columns
	selectedKey string         // the expressions that read the key
	index       map[string]int // the columns by the names of their members
	defaults    int            // how many columns have a default
	fills       []int          // the columns without one that take NULL for a value of their own

	// For a database that checks foreign keys at each step.
	unless       string    // " AND …": the condition under which a row can be deleted now
	unlessAtLast string    // the same without what only the database can judge
	referrers    []string  // the tables that keep rows from being deleted
	loose        []*column // references to declared tables that can wait

	initial [][]byte // by column, the JSON that a record gets which lacks the member; nil: not known

	written bool // a record was put
	whole   bool // a record has all columns of its row
	crowded bool // of the last rows that were tried together, most had to wait

	lite sqliteTable
	pg   pgTable
	my   mariadbTable
}

type column struct {
	Column
	quoted    string
	declared  string // type; in SQLite in capitals
	def       string // the SQL of its default, empty for NULL
	nullable  bool
	key       bool   // part of the key
	lone      bool   // the value of a Map
	document  bool   // it holds JSON documents, in which null is not NULL
	looked    bool   // the kind is what look has found
	wraps     bool   // values that the kind has no form for are wrapped
	textBytes bool   // it wraps bytes that are not UTF-8, and the others are text
	read      string // the expression that reads it exactly as it is stored

	lite sqliteColumn
	pg   pgColumn
	my   mariadbColumn

	prefix      []byte // "name": with quotes and colon
	name        string // "name" with quotes
	defaultSlot int    // its number among the columns with a default, -1 without one
}

// describe looks up a declared table in the database.
func (s Store) describe(ctx context.Context, tx transaction, declared Table) (*table, error) {
	if declared.Collection == "" {
		return nil, errors.New("sqlstore: a Table without Collection")
	}
	t, err := s.lookUp(ctx, tx, declared)
	if err != nil {
		return nil, fmt.Errorf("sqlstore: collection %q in table %q: %w", declared.Collection, tableName(declared), explain(s.Dialect, contextError(ctx, err)))
	}
	return t, t.prepare(s.Dialect)
}

func (s Store) lookUp(ctx context.Context, tx transaction, declared Table) (*table, error) {
	t, err := tx.find(ctx, tableName(declared))
	if err != nil {
		return nil, err
	}
	t.collection = declared.Collection
	columns, err := tx.columns(ctx, t)
	if err != nil {
		return nil, err
	}
	primary, unique, err := tx.keys(ctx, t, columns)
	if err != nil {
		return nil, err
	}
	if err := t.declare(declared, columns, primary); err != nil {
		return nil, err
	}
	t.whole = len(t.columns) == len(columns)
	var errs []error
	for i, c := range t.columns {
		if err := s.Dialect.settle(c, i); err != nil {
			errs = append(errs, fmt.Errorf("column %q: %w", c.Name, err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if err := tx.complete(ctx, t, columns); err != nil {
		return nil, err
	}
	if !t.unique(unique) {
		return nil, t.notUnique(s.Dialect.uniqueIndex())
	}
	var order []string
	for _, c := range t.keyColumns() {
		order = append(order, s.Dialect.orderBy(t, c))
	}
	t.order = strings.Join(order, ", ")
	return t, nil
}

// tableName returns the name that a declaration has for its table.
func tableName(t Table) string { return cmp.Or(t.Name, t.Collection) }

// readings returns the schema and the table that a name may stand for. An empty schema
// is the current one.
func readings(name string) [][2]string {
	all := [][2]string{{"", name}}
	if schema, table, ok := strings.Cut(name, "."); ok {
		all = append(all, [2]string{schema, table})
	}
	return all
}

// prepare works out what each record needs.
func (t *table) prepare(d Dialect) error {
	t.index = map[string]int{}
	var exprs, keys []string
	for i, c := range t.columns {
		exprs = append(exprs, c.read)
		c.defaultSlot = -1
		if c.def != "" && !c.OmitNull && !c.key {
			c.defaultSlot = t.defaults
			t.defaults++
		} else if d.fills(c) && !c.key {
			t.fills = append(t.fills, i)
		}
		var err error
		if c.prefix, err = sqljson.AppendString(nil, c.Field); err != nil {
			return fmt.Errorf("sqlstore: table %q: name of the column %q: %w", t.plain, c.Name, err)
		}
		c.name = string(c.prefix)
		c.prefix = append(c.prefix, ':')
		if _, ok := t.index[c.Field]; ok {
			return fmt.Errorf("sqlstore: table %q: two columns with the member %q", t.plain, c.Field)
		}
		t.index[c.Field] = i
	}
	t.selected = strings.Join(exprs, ", ")
	for _, c := range t.keyColumns() {
		keys = append(keys, c.read)
	}
	t.selectedKey = strings.Join(keys, ", ")
	return nil
}

// declare applies what the host says about the columns of the table. columns are those
// of the database, and primary names those of the primary key.
func (t *table) declare(d Table, columns []*column, primary []string) error {
	for _, c := range columns {
		c.Field = c.Name
	}
	for _, given := range d.Columns {
		i := findColumn(columns, given.Name)
		if i < 0 {
			return fmt.Errorf("there is no column %q", given.Name)
		}
		c := columns[i]
		c.Field, c.Kind, c.OmitNull = cmp.Or(given.Field, c.Name), given.Kind, given.OmitNull
	}
	excluded := map[int]bool{}
	for _, name := range d.Exclude {
		i := findColumn(columns, name)
		if i < 0 {
			return fmt.Errorf("there is no column %q to exclude", name)
		}
		excluded[i] = true
	}
	keys, err := d.findKey(columns, primary, excluded)
	if err != nil {
		return err
	}
	value := -1
	if d.Value != "" {
		if value = findColumn(columns, d.Value); value < 0 || columns[value].key {
			return fmt.Errorf("there is no value column %q", d.Value)
		}
		columns[value].lone = true
		columns[value].OmitNull = false
	}
	t.keys, t.value = make([]int, len(keys)), -1
	for i, c := range columns {
		if excluded[i] && i != value || value >= 0 && i != value && !c.key {
			continue
		}
		if part := slices.Index(keys, i); part >= 0 {
			t.keys[part] = len(t.columns)
		}
		if i == value {
			t.value = len(t.columns)
		}
		t.columns = append(t.columns, c)
	}
	return nil
}

// findColumn returns the index of a column, or -1. The case of the name matters only if
// the names of two columns differ in nothing else.
func findColumn(columns []*column, name string) int {
	if i := slices.IndexFunc(columns, func(c *column) bool { return c.Name == name }); i >= 0 {
		return i
	}
	return slices.IndexFunc(columns, func(c *column) bool { return strings.EqualFold(c.Name, name) })
}

// fail says which record of the table err is about.
func (t *table) fail(key string, c *column, err error) error {
	pointer := ""
	if c != nil && t.value < 0 {
		pointer = c.pointer()
	}
	return &backup.RecordError{Collection: t.collection, Key: key, Pointer: pointer, Offset: -1, Err: err}
}

// pointer returns the JSON Pointer of the column in a record.
func (c *column) pointer() string {
	return "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(c.Field)
}

var errUnknown = errors.New("the store has no such collection: declare its table in Store.Tables")

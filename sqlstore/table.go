package sqlstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/sqljson"
)

// A table is a declared one after a look at the database.
type table struct {
	collection string
	name       string    // quoted
	plain      string    // as it is in the database
	columns    []*column // those of a record, in the order of the table
	keys       []int     // indexes in columns of those that are the key, in its order
	value      int       // index of the value of a Map, -1 for a List
	resolves   bool      // a constraint may have an ON CONFLICT clause, which would drop rows silently

	order       string         // the expressions that rows are read in the order of
	selected    string         // the columns to read: "a", "b"
	selectedKey string         // those of the key
	index       map[string]int // columns by the name of their member
	defaults    int            // how many columns have one

	// What a database that looks at foreign keys at each step makes necessary.
	unless    string    // " AND …": rows that must not be deleted yet
	referrers []string  // tables with rows for which that is so
	loose     []*column // refer to declared tables, and may do so later

	written bool // a record was put

	pg pgTable
	my mariadbTable
}

type column struct {
	Column
	quoted   string
	declared string // type, in capitals
	affinity affinity
	def      string // the SQL of its default, empty for NULL
	key      bool   // part of the key
	lone     bool   // the value of a Map
	read     string // the expression that reads it exactly as it is stored

	pg pgColumn
	my mariadbColumn

	prefix      []byte // "name": with quotes and colon
	name        string // the name with its quotes
	defaultSlot int    // numbers the columns with a default, -1 for one without
}

// prepare works out what is needed again and again.
func (t *table) prepare() error {
	t.index = map[string]int{}
	var exprs, keys []string
	for i, c := range t.columns {
		exprs = append(exprs, c.read)
		c.defaultSlot = -1
		if c.def != "" && !c.OmitNull && !c.key {
			c.defaultSlot = t.defaults
			t.defaults++
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

// declare applies what the host says about the columns of the table, which come
// as the database has them, and so do the names of those in the primary key.
func (t *table) declare(d Table, columns []*column, primary []string) error {
	find := func(name string) int {
		if i := slices.IndexFunc(columns, func(c *column) bool { return c.Name == name }); i >= 0 {
			return i
		}
		return slices.IndexFunc(columns, func(c *column) bool { return strings.EqualFold(c.Name, name) })
	}
	for _, given := range d.Columns {
		i := find(given.Name)
		if i < 0 {
			return fmt.Errorf("there is no column %q", given.Name)
		}
		c := columns[i]
		c.Kind, c.OmitNull = given.Kind, given.OmitNull
		if given.Field != "" {
			c.Field = given.Field
		}
	}
	excluded := map[int]bool{}
	for _, name := range d.Exclude {
		i := find(name)
		if i < 0 {
			return fmt.Errorf("there is no column %q to exclude", name)
		}
		excluded[i] = true
	}
	names, err := d.declaredKey(primary, func(name string) bool { return name != "" && find(name) >= 0 })
	if err != nil {
		return err
	}
	keys, value := make([]int, len(names)), -1
	for part, name := range names {
		i := find(name)
		switch {
		case i < 0:
			return fmt.Errorf("there is no key column %q that is not generated", name)
		case excluded[i]:
			return fmt.Errorf("the key column %q is excluded", name)
		case columns[i].key:
			return fmt.Errorf("the key has the column %q twice", name)
		}
		keys[part], columns[i].key = i, true
	}
	if d.Value != "" {
		if value = find(d.Value); value < 0 || columns[value].key {
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

// fail says which record of the table err is about.
func (t *table) fail(key string, c *column, err error) error {
	pointer := ""
	if c != nil && t.value < 0 {
		pointer = "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(c.Field)
	}
	return &backup.RecordError{Collection: t.collection, Key: key, Pointer: pointer, Offset: -1, Err: err}
}

var errUnknown = errors.New("the store has no such collection: declare its table in Store.Tables")

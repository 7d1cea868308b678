//go:build !race

package integration

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// A randomSchema is what a host may have in its database. Tables and columns are
// named by their numbers. Nothing in it changes once it is made.
type randomSchema struct {
	database
	tables   []randomTable
	triggers []randomTrigger
	choices  choices
	many     bool // rows
	enforced bool // SQLite: the host's connection has foreign keys on
}

type randomTable struct {
	name       string
	columns    []randomColumn
	key        []int
	uniques    []randomUnique
	references []randomReference
	undeclared bool // in no collection
	gone       bool // not in the database: the shrunk case can do without it
	rowless    bool // SQLite: WITHOUT ROWID
}

type randomColumn struct {
	name    string
	number  bool // or else text
	null    bool
	fold    bool   // to its collation "a" and "A" are the same
	auto    bool   // a key that the database makes up
	preset  string // DEFAULT
	choices []any  // the values that it gets
}

type randomUnique struct {
	name       string
	columns    []int
	where      int    // the column that is 1 in the rows concerned, or -1
	lower      bool   // "a" and "A" are the same in the first column
	nullsSame  bool   // NULLS NOT DISTINCT
	index      bool   // CREATE UNIQUE INDEX, or else a constraint
	deferrable string // as it stands in the constraint
}

type randomReference struct {
	name                string
	columns             []int
	parent              int
	to                  []int // columns of the parent
	onDelete, onUpdate  string
	deferrable          string
	toKey, shared, next bool // to the key; with a column of the own key; to a later table
}

// A randomTrigger is one of these:
//
//   - "stamp" sets a column unless the statement has changed it,
//   - "counter" keeps the number of children in the parent,
//   - "audit" adds a row to a table that is not declared,
//   - "default" adds a row to a declared table for each new row,
//   - "overwrite" sets a column whatever the statement says,
//   - "ignore" leaves out what the statement does, and "forbid" refuses it.
type randomTrigger struct {
	what      string
	table     int
	event     string
	child     int // of a counter and of a default
	reference int // of the child
}

// choices are the values that columns get.
type choices struct{ numbers, keys, names, codes, notes, few, ones []any }

// fewChoices make rows clash with each other.
var fewChoices = choices{
	numbers: []any{1, 2, 3, 4, 5, 6, 7, 8},
	keys:    []any{"a", "b", "c", "d", "e", "f", "A", "B"},
	names:   []any{"ann", "Ann", "bob", "BOB", "carol", "dave", "eve", "fay"},
	codes:   []any{"c1", "c2", "c3", "c4", "c5", "c6", "c7"},
	notes:   []any{"", "x", "y", "z"},
	few:     []any{1, 2, 3},
	ones:    []any{0, 0, 1},
}

// manyChoices are for more rows than a batch takes.
var manyChoices = func() choices {
	c := choices{notes: fewChoices.notes, ones: []any{0, 0, 0, 1}}
	for i := range 600 {
		c.numbers, c.keys = append(c.numbers, i+1), append(c.keys, fmt.Sprint("k", i))
		c.names, c.codes = append(c.names, fmt.Sprint("name ", i)), append(c.codes, fmt.Sprint("c", i))
	}
	c.few = c.numbers[:25]
	return c
}()

// A dice makes random choices.
type dice struct{ *rand.Rand }

func (r dice) in(n, of int) bool { return r.IntN(of) < n }

func oneOf[T any](r dice, choices ...T) T { return choices[r.IntN(len(choices))] }

// schema makes a random schema.
func (r dice) schema(d database) *randomSchema {
	s := &randomSchema{database: d, choices: fewChoices, enforced: r.in(1, 2)}
	if s.many = r.in(1, 25); s.many {
		s.choices = manyChoices
	}
	names := []string{"alpha", "beta", "gamma", "delta"}
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	n := 2 + r.IntN(3)
	for i := range n {
		s.tables = append(s.tables, r.table(s, names[i]))
	}
	for i := range n {
		for range r.IntN(3) {
			r.reference(s, i, n)
		}
	}
	for i := range n {
		r.uniques(s, i)
	}
	r.triggersOf(s, n)
	for i := range r.IntN(3) {
		r.undeclared(s, fmt.Sprint("host", i+1), n)
	}
	for i := range s.tables {
		t := &s.tables[i]
		for j := range t.uniques {
			t.uniques[j].name = fmt.Sprint(t.name, "_u", j+1)
		}
		for j := range t.references {
			t.references[j].name = fmt.Sprint(t.name, "_f", j+1)
		}
	}
	return s
}

// table makes a table without references.
func (r dice) table(s *randomSchema, name string) randomTable {
	t := randomTable{name: name}
	number := func(name string) randomColumn {
		return randomColumn{name: name, number: true, choices: s.choices.numbers}
	}
	text := func(name string, choices []any) randomColumn { return randomColumn{name: name, choices: choices} }
	switch r.IntN(5) {
	case 0, 1:
		t.columns = append(t.columns, number("id"))
		t.columns[0].auto = r.in(1, 2)
	case 2:
		t.columns = append(t.columns, text("id", s.choices.keys))
	case 3:
		tenant := number("tenant")
		tenant.choices = []any{1, 2}
		t.columns = append(t.columns, tenant, text("id", s.choices.keys))
	case 4:
		a, b := number("a"), number("b")
		a.choices, b.choices = s.choices.few, s.choices.few
		t.columns = append(t.columns, a, b)
	}
	for i := range t.columns {
		t.key = append(t.key, i)
	}
	t.rowless = s.name == "SQLite" && !t.columns[0].auto && r.in(1, 6)
	optional := func(c randomColumn, in, of int) {
		c.null = r.in(in, of)
		t.columns = append(t.columns, c)
	}
	optional(text("name", s.choices.names), 1, 3)
	if r.in(2, 3) {
		t.columns[len(t.columns)-1].fold = s.name != "PostgreSQL" && r.in(1, 3)
	}
	if r.in(2, 3) {
		optional(text("code", s.choices.codes), 1, 2)
	}
	if r.in(1, 2) {
		optional(number("pos"), 1, 4)
	}
	if r.in(1, 3) {
		flag := number("flag")
		flag.choices, flag.preset = s.choices.ones, "0"
		t.columns = append(t.columns, flag)
	}
	if r.in(1, 2) {
		optional(text("note", s.choices.notes), 1, 2)
	}
	return t
}

func (t *randomTable) column(name string) int {
	return slices.IndexFunc(t.columns, func(c randomColumn) bool { return c.name == name })
}

func (t *randomTable) isKey(column int) bool { return slices.Contains(t.key, column) }

// plainUnique returns the number of a unique constraint on one column that a foreign key
// can refer to, or -1.
func (t *randomTable) plainUnique(column int) int {
	return slices.IndexFunc(t.uniques, func(u randomUnique) bool {
		return len(u.columns) == 1 && u.columns[0] == column && u.where < 0 && !u.lower && u.deferrable == "" && !u.nullsSame
	})
}

// reference adds a foreign key to table i, to one of the first n tables.
func (r dice) reference(s *randomSchema, i, n int) {
	t := &s.tables[i]
	f := randomReference{parent: r.IntN(i + 1)}
	if i+1 < n && r.in(1, 8) {
		f.parent, f.next = i+1+r.IntN(n-i-1), true
	}
	parent := &s.tables[f.parent]
	f.to, f.toKey = parent.key, true
	if code := parent.column("code"); code >= 0 && r.in(1, 2) {
		f.to, f.toKey = []int{code}, false
		if parent.plainUnique(code) < 0 {
			parent.uniques = append(parent.uniques, randomUnique{columns: f.to, where: -1})
		}
	}
	null := f.next || r.in(3, 5)
	for part, c := range f.to {
		column := parent.columns[c]
		if own := t.column("tenant"); part == 0 && len(f.to) == 2 && own >= 0 && column.name == "tenant" && r.in(1, 2) {
			f.columns, f.shared = append(f.columns, own), true
			continue
		}
		column.name = fmt.Sprintf("r%d_%s", len(t.references)+1, column.name)
		column.null, column.auto, column.preset = null, false, ""
		f.columns = append(f.columns, len(t.columns))
		t.columns = append(t.columns, column)
	}
	actions := []string{"", "", "CASCADE", "NO ACTION", "RESTRICT"}
	if null && !f.shared {
		actions = append(actions, "SET NULL", "SET NULL")
	}
	f.onDelete, f.onUpdate = oneOf(r, actions...), oneOf(r, actions...)
	if !f.toKey && r.in(1, 3) {
		f.onUpdate = "CASCADE"
	}
	// Rows that must refer to each other go in by one statement, or when all are there.
	circular := f.parent == i && !null && s.many
	if s.name == "PostgreSQL" && (circular || r.in(1, 3)) {
		f.deferrable = oneOf(r, " DEFERRABLE", " DEFERRABLE INITIALLY DEFERRED")
	}
	if circular && f.onDelete == "RESTRICT" {
		f.onDelete = ""
	}
	if circular && f.onUpdate == "RESTRICT" {
		f.onUpdate = ""
	}
	t.references = append(t.references, f)
	if !f.shared && r.in(1, 6) {
		t.uniques = append(t.uniques, randomUnique{columns: f.columns, where: -1})
	}
}

// uniques adds unique constraints to a declared table.
func (r dice) uniques(s *randomSchema, i int) {
	t := &s.tables[i]
	name, pos, flag, scope := t.column("name"), t.column("pos"), t.column("flag"), t.column("tenant")
	if scope < 0 && len(t.references) > 0 && len(t.references[0].columns) == 1 && r.in(1, 2) {
		scope = t.references[0].columns[0]
	}
	add := func(u randomUnique) {
		if u.where < 0 && !u.lower && s.name == "PostgreSQL" {
			u.nullsSame = r.in(1, 6)
			if r.in(1, 5) {
				u.deferrable = oneOf(r, " DEFERRABLE", " DEFERRABLE INITIALLY DEFERRED")
			}
		}
		u.index = u.deferrable == "" && (u.where >= 0 || u.lower || r.in(1, 3))
		t.uniques = append(t.uniques, u)
	}
	scoped := func(column int) []int {
		if scope >= 0 && r.in(2, 3) {
			return []int{scope, column}
		}
		return []int{column}
	}
	if r.in(2, 3) {
		u := randomUnique{columns: scoped(name), where: -1}
		if s.name != "MariaDB" && len(u.columns) == 1 {
			u.lower = r.in(1, 3)
		}
		if s.name != "MariaDB" && flag >= 0 && r.in(1, 4) {
			u.where = flag
		}
		add(u)
	}
	if pos >= 0 && r.in(2, 3) {
		add(randomUnique{columns: scoped(pos), where: -1})
	}
	if flag >= 0 && s.name != "MariaDB" && r.in(2, 3) {
		add(randomUnique{columns: scoped(flag)[:1], where: flag})
	}
}

// triggersOf adds triggers, and what they need.
func (r dice) triggersOf(s *randomSchema, n int) {
	if r.in(2, 5) {
		return
	}
	kinds := []string{"stamp", "stamp", "counter", "counter", "audit", "audit", "default", "default", "overwrite", "forbid"}
	if s.name != "MariaDB" {
		kinds = append(kinds, "ignore")
	}
	audited := false
	for range 1 + r.IntN(2) {
		trigger := randomTrigger{what: oneOf(r, kinds...), table: r.IntN(n), event: oneOf(r, "INSERT", "UPDATE", "DELETE")}
		if slices.ContainsFunc(s.triggers, func(t randomTrigger) bool { return t.what == trigger.what }) {
			continue
		}
		t := &s.tables[trigger.table]
		switch trigger.what {
		case "stamp", "overwrite":
			t.columns = append(t.columns, randomColumn{name: trigger.what, preset: "''", choices: []any{"s1", "s2", "s3"}})
		case "audit":
			audited = true
		case "ignore":
			trigger.event = oneOf(r, "UPDATE", "DELETE")
		case "counter":
			if !r.counter(s, &trigger, n) {
				continue
			}
		case "default":
			if len(t.key) != 1 {
				continue
			}
			r.defaults(s, &trigger)
		}
		s.triggers = append(s.triggers, trigger)
	}
	if audited {
		id := randomColumn{name: "id", number: true, auto: true, choices: s.choices.numbers}
		what := randomColumn{name: "what", null: true, choices: s.choices.notes}
		s.tables = append(s.tables, randomTable{name: "audit", columns: []randomColumn{id, what}, key: []int{0}, undeclared: true})
	}
}

// counter picks a reference whose parent is to count its children.
func (r dice) counter(s *randomSchema, trigger *randomTrigger, n int) bool {
	for range 10 {
		child := r.IntN(n)
		if len(s.tables[child].references) == 0 {
			continue
		}
		reference := r.IntN(len(s.tables[child].references))
		parent := s.tables[child].references[reference].parent
		if parent == child {
			continue
		}
		trigger.table, trigger.child, trigger.reference = parent, child, reference
		t := &s.tables[parent]
		t.columns = append(t.columns, randomColumn{name: "n", number: true, preset: "0", choices: []any{0, 1, 2, 3}})
		return true
	}
	return false
}

// defaults adds the table that gets a row for each new row of another.
func (r dice) defaults(s *randomSchema, trigger *randomTrigger) {
	owner := s.tables[trigger.table].columns[s.tables[trigger.table].key[0]]
	owner.name, owner.auto = "owner", false
	t := randomTable{
		name: oneOf(r, "prefs", "all_prefs"),
		columns: []randomColumn{
			{name: "id", number: true, auto: true, choices: s.choices.numbers}, owner,
			{name: "theme", preset: "'light'", choices: []any{"light", "dark", "blue"}},
		},
		key:        []int{0},
		references: []randomReference{{columns: []int{1}, parent: trigger.table, to: s.tables[trigger.table].key, toKey: true, onDelete: oneOf(r, "", "CASCADE")}},
	}
	if r.in(2, 3) {
		t.uniques = append(t.uniques, randomUnique{columns: []int{1}, where: -1})
	}
	trigger.child, trigger.reference = len(s.tables), 0
	s.tables = append(s.tables, t)
}

// undeclared adds a table of the host that refers to a declared one.
func (r dice) undeclared(s *randomSchema, name string, n int) {
	f := randomReference{parent: r.IntN(n), toKey: true}
	parent := &s.tables[f.parent]
	f.to = parent.key
	if code := parent.column("code"); code >= 0 && parent.plainUnique(code) >= 0 && r.in(1, 4) {
		f.to, f.toKey = []int{code}, false
	}
	t := randomTable{name: name, columns: []randomColumn{{name: "id", number: true, choices: s.choices.numbers}}, key: []int{0}, undeclared: true}
	null := r.in(2, 3)
	for _, c := range f.to {
		column := parent.columns[c]
		column.name, column.null, column.auto, column.preset = "r_"+column.name, null, false, ""
		f.columns = append(f.columns, len(t.columns))
		t.columns = append(t.columns, column)
	}
	t.columns = append(t.columns, randomColumn{name: "note", null: true, choices: s.choices.notes})
	actions := []string{"CASCADE", "CASCADE", "CASCADE", "", "RESTRICT"}
	if null {
		actions = append(actions, "SET NULL", "SET NULL", "SET NULL")
	}
	f.onDelete = oneOf(r, actions...)
	if s.name == "PostgreSQL" && r.in(1, 4) {
		f.deferrable = " DEFERRABLE"
	}
	t.references = append(t.references, f)
	s.tables = append(s.tables, t)
}

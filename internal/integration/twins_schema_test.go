//go:build !race

package integration

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
)

// A twinSchema is what two installations of an application have in common.
type twinSchema struct {
	database                 // name "map" without a database
	collections []*twinTable // parents first, as far as there is no circle
	order       []int        // of the declaration
}

// A twinTable is a collection, and how a store keeps it.
type twinTable struct {
	backup.Collection
	fields   []twinField
	numbered bool            // the store makes the keys up
	ownKey   bool            // no part of the key is a reference
	loose    map[string]bool // what is declared, and the database does not hold: "/name"
}

type twinField struct {
	name string
	kind string // "integer", "text", "json" or "array"
	null bool
	pool []any
}

const (
	twinSecret = "hush-" // all secrets begin so
	twinHome   = "home"  // the setting that refers to a record
)

var twinPools = map[string][]any{
	"id": {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, "key": {"a", "b", "c", "d", "e", "f", "g", "h", "i", "A", "B", "7"}, "tenant": {"x", "y"}, "slug": {"s1", "s2", "s3", "s4"},
	"name":  {"ann", "bob", "cy", "dee", "eve", "fay", "gus", "hal", "Ann", "BOB"},
	"email": {"a@x", "A@X", "b@x", "B@x", "c@x", "d@x", "e@x", "f@x", "g@x"},
	"token": {twinSecret + "1", twinSecret + "2", twinSecret + "3", twinSecret + "4", twinSecret + "5", twinSecret + "6"},
	"note":  {"", "p", "q", "r"},
}

// memberOf returns the name of the member that a pointer is about.
func memberOf(pointer string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(pointer, "/"), "/")
	return name
}

// fieldsOf returns the members that pointers with commas between them are about.
func fieldsOf(pointers string) (names []string) {
	for _, p := range strings.Split(strings.TrimPrefix(pointers, "fold:"), ",") {
		names = append(names, memberOf(p))
	}
	return names
}

func (s *twinSchema) table(name string) *twinTable {
	i := slices.IndexFunc(s.collections, func(t *twinTable) bool { return t.Name == name })
	return s.collections[i]
}

func (t *twinTable) field(name string) *twinField {
	i := slices.IndexFunc(t.fields, func(f twinField) bool { return f.name == name })
	if i < 0 {
		return nil
	}
	return &t.fields[i]
}

// keyFields returns the members that the key consists of.
func (t *twinTable) keyFields() []string {
	if t.Shape == backup.Map {
		return nil
	}
	return fieldsOf(t.Key)
}

// app returns the declaration.
func (s *twinSchema) app() *backup.App {
	app := &backup.App{Name: "twins", Version: "1.0.0", SchemaVersion: 1}
	for _, i := range s.order {
		app.Collections = append(app.Collections, s.collections[i].Collection)
	}
	return app
}

// twinSchema makes a random schema.
func (r dice) twinSchema(d database) *twinSchema {
	s := &twinSchema{database: d}
	names := []string{"alpha", "beta", "gamma", "delta"}
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	n := 1 + r.IntN(4)
	for i := range n {
		s.collections = append(s.collections, r.twinTable(s, names[i]))
	}
	for i := range n {
		r.twinReferences(s, i, n)
		r.twinUniques(s.collections[i])
	}
	if singles := s.singles(n); len(singles) > 0 && r.in(1, 3) {
		parent := oneOf(r, singles...)
		s.collections = append(s.collections, &twinTable{
			Collection: backup.Collection{Name: "settings", Shape: backup.Map, Refs: []backup.Ref{{Pointer: "/" + twinHome, Collection: parent.Name}}},
		})
	}
	s.order = r.Perm(len(s.collections))
	return s
}

// singles returns those of the first n tables whose key has one part.
func (s *twinSchema) singles(n int) (singles []*twinTable) {
	for _, t := range s.collections[:n] {
		if len(t.keyFields()) == 1 {
			singles = append(singles, t)
		}
	}
	return singles
}

// twinTable makes a table with its key, and fields that are no references.
func (r dice) twinTable(s *twinSchema, name string) *twinTable {
	t := &twinTable{Collection: backup.Collection{Name: name}, ownKey: true, loose: map[string]bool{}}
	key := func(name, kind, pool string) {
		f := twinField{name: name, kind: kind}
		for _, v := range twinPools[pool] {
			f.pool = append(f.pool, twinValue(v))
		}
		t.fields = append(t.fields, f)
	}
	refer := func(name string, parent *twinTable) {
		t.fields = append(t.fields, twinField{name: name, kind: parent.field(parent.keyFields()[0]).kind})
		t.Refs = append(t.Refs, backup.Ref{Pointer: "/" + name, Collection: parent.Name})
		t.ownKey = false
	}
	singles := s.singles(len(s.collections))
	switch kind := r.IntN(10); {
	case kind == 0 && len(singles) > 0: // preferences of a user
		refer("owner", oneOf(r, singles...))
	case kind == 1 && len(singles) > 0: // a table that joins two
		refer("one", oneOf(r, singles...))
		refer("two", oneOf(r, singles...))
	case kind == 2 && len(singles) > 0:
		refer("of", oneOf(r, singles...))
		key("slug", "text", "slug")
	case kind == 3:
		key("tenant", "text", "tenant")
		key("id", "text", "slug")
	case kind <= 5:
		key("id", "text", "key")
	case kind == 6:
		key("id", "integer", "id")
	default:
		key("id", "integer", "id")
		t.numbered = true
	}
	var pointers []string
	for _, f := range t.fields {
		pointers = append(pointers, "/"+f.name)
	}
	t.Key = strings.Join(pointers, ",")
	add := func(name string, in, of int) {
		f := twinField{name: name, kind: "text", null: r.in(in, of)}
		f.pool = append(f.pool, twinPools[name]...)
		t.fields = append(t.fields, f)
	}
	add("name", 1, 4)
	if r.in(2, 3) {
		add("email", 1, 2)
	}
	if r.in(1, 4) {
		add("token", 1, 2)
		t.Secrets = []string{"/token"}
	}
	add("note", 1, 3)
	if r.in(1, 3) {
		t.fields = append(t.fields, twinField{name: "more", kind: "json"})
	}
	return t
}

// twinReferences adds references to table i, most of them to the tables before it.
func (r dice) twinReferences(s *twinSchema, i, n int) {
	t := s.collections[i]
	for range r.IntN(3) {
		parent, null := s.collections[r.IntN(i+1)], r.in(3, 4)
		if i+1 < n && r.in(1, 5) {
			parent = s.collections[i+1+r.IntN(n-i-1)] // a circle, if that one refers to this
			null = true
		}
		var pointers []string
		for _, k := range parent.keyFields() {
			f := twinField{name: fmt.Sprintf("r%d_%s", len(t.Refs), k), kind: parent.field(k).kind, null: null || parent == t}
			t.fields, pointers = append(t.fields, f), append(pointers, "/"+f.name)
		}
		t.Refs = append(t.Refs, backup.Ref{Pointer: strings.Join(pointers, ","), Collection: parent.Name})
	}
	if singles := s.singles(i + 1); len(singles) > 0 && r.in(1, 5) {
		t.fields = append(t.fields, twinField{name: "members", kind: "array"})
		t.Refs = append(t.Refs, backup.Ref{Pointer: "/members/*", Collection: oneOf(r, singles...).Name})
	}
}

// twinUniques declares what is unique in a table.
func (r dice) twinUniques(t *twinTable) {
	candidates := []string{"/name", "/name"}
	if t.field("email") != nil {
		candidates = append(candidates, "/email", "fold:/email", "/name,/email")
	}
	if t.field("token") != nil {
		candidates = append(candidates, "/token")
	}
	if t.field("tenant") != nil {
		candidates = append(candidates, "/tenant,/name")
	}
	for _, f := range t.Refs {
		if strings.Contains(f.Pointer, "*") || f.Pointer == t.Key {
			continue
		}
		candidates = append(candidates, f.Pointer+",/name", "/name,"+f.Pointer)
		if r.in(1, 4) {
			candidates = append(candidates, f.Pointer)
		}
	}
	r.Shuffle(len(candidates), func(i, j int) { candidates[i], candidates[j] = candidates[j], candidates[i] })
	for _, u := range candidates[:min(len(candidates), oneOf(r, 0, 1, 1, 1, 2, 2, 3))] {
		same := func(other string) bool {
			return slices.Equal(slices.Sorted(slices.Values(fieldsOf(u))), slices.Sorted(slices.Values(fieldsOf(other))))
		}
		if !slices.ContainsFunc(t.Unique, same) {
			t.Unique = append(t.Unique, u)
			t.loose[u] = r.in(1, 3)
		}
	}
}

// create returns the statements that make the tables.
func (s *twinSchema) create() string {
	types := map[string]string{"integer": "INTEGER", "text": "TEXT", "json": "JSON", "array": "JSON"}
	if s.name == "PostgreSQL" {
		types = map[string]string{"integer": "BIGINT", "text": "TEXT", "json": "JSONB", "array": "JSONB"}
	}
	var b, constraints strings.Builder
	for _, t := range s.collections {
		if t.Shape == backup.Map {
			fmt.Fprintf(&b, "CREATE TABLE settings (key TEXT PRIMARY KEY NOT NULL, value %s NOT NULL);\n", types["json"])
			continue
		}
		var parts []string
		single := len(t.keyFields()) == 1
		for _, f := range t.fields {
			part := f.name + " " + types[f.kind]
			switch isKey := single && slices.Contains(t.keyFields(), f.name); {
			case isKey && t.numbered:
				part = map[string]string{"SQLite": "id INTEGER PRIMARY KEY AUTOINCREMENT", "PostgreSQL": "id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"}[s.name]
			case isKey && s.name == "SQLite" && f.kind == "integer":
				part = f.name + " INT PRIMARY KEY NOT NULL" // which is not that of the row
			case isKey:
				part += " PRIMARY KEY NOT NULL"
			case !f.null:
				part += " NOT NULL"
			}
			parts = append(parts, part)
		}
		if !single {
			parts = append(parts, "PRIMARY KEY ("+strings.Join(t.keyFields(), ", ")+")")
		}
		for n, u := range t.Unique {
			if t.loose[u] {
				continue
			}
			columns := strings.Join(fieldsOf(u), ", ")
			if strings.HasPrefix(u, "fold:") {
				columns = map[string]string{"SQLite": columns + " COLLATE NOCASE", "PostgreSQL": "lower(" + columns + ")"}[s.name]
			}
			fmt.Fprintf(&constraints, "CREATE UNIQUE INDEX %s_u%d ON %s (%s);\n", t.Name, n, t.Name, columns)
		}
		for _, f := range t.Refs {
			if strings.Contains(f.Pointer, "*") {
				continue
			}
			key := fmt.Sprintf("FOREIGN KEY (%s) REFERENCES %s (%s) DEFERRABLE INITIALLY DEFERRED",
				strings.Join(fieldsOf(f.Pointer), ", "), f.Collection, strings.Join(s.table(f.Collection).keyFields(), ", "))
			if s.name == "PostgreSQL" {
				fmt.Fprintf(&constraints, "ALTER TABLE %s ADD %s;\n", t.Name, key)
			} else {
				parts = append(parts, key)
			}
		}
		fmt.Fprintf(&b, "CREATE TABLE %s (%s);\n", t.Name, strings.Join(parts, ", "))
	}
	return b.String() + constraints.String()
}

//go:build !race

package integration

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// A uniqueCase is a table with unique values, and states of it. Each is reached from each.
type uniqueCase struct {
	name   string
	schema string // of the table items, whose key is id
	only   string // the databases; empty for all
	states []string
}

var uniqueCases = []uniqueCase{
	{"a chain of names", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, name VARCHAR(20) NOT NULL UNIQUE)`, "", []string{
		"('u1','alice'),('u2','bob')", "('u1','bob'),('u2','carol')", "('u1','carol'),('u2','alice')"}},
	{"names exchanged, and a cycle of three", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, name VARCHAR(20) UNIQUE)`, "", []string{
		"('a','x'),('b','y'),('c','z')", "('a','y'),('b','x'),('c','z')", "('a','y'),('b','z'),('c','x')", "('a','x'),('b',NULL),('d','z')"}},
	{"names of two characters", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, name VARCHAR(2) NOT NULL UNIQUE CHECK (length(name) <= 2))`, "PostgreSQL MariaDB", []string{
		"('a','x'),('b','y'),('c','z')", "('a','y'),('b','x'),('c','z')"}},
	{"positions", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, pos INT NOT NULL UNIQUE)`, "", []string{
		"('a',1),('b',2),('c',3)", "('b',1),('c',2)", "('a',2),('b',3),('c',4),('n',1)", "('a',3),('b',2),('c',1)", "('a',2),('b',1),('c',3)"}},
	{"positions that are checked", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, pos SMALLINT NOT NULL UNIQUE CHECK (pos > 0 AND pos < 10))`, "", []string{
		"('a',1),('b',2),('c',3)", "('a',2),('b',1),('c',3)", "('a',2),('b',3),('c',1)"}},
	{"positions without a free one", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, pos SMALLINT NOT NULL UNIQUE CHECK (pos > 0 AND pos < 4))`, "", []string{
		"('a',1),('b',2),('c',3)", "('a',2),('b',1),('c',3)", "('a',2),('b',3),('c',1)"}},
	{"left and right", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, side ENUM('left','right') NOT NULL UNIQUE)`, "MariaDB", []string{"('a','left'),('b','right')", "('a','right'),('b','left')"}},
	{"positions in lists", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, list INT NOT NULL, pos INT NOT NULL, UNIQUE (list, pos))`, "", []string{
		"('a',1,1),('b',1,2),('c',2,1),('d',2,2)", "('a',1,2),('b',1,1),('c',2,2),('d',2,1)", "('a',2,2),('b',2,1),('c',1,2),('d',1,1)"}},
	{"two unique columns", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, name VARCHAR(20) NOT NULL UNIQUE, mail VARCHAR(50) UNIQUE)`, "", []string{
		"('a','x','1'),('b','y','2'),('c','z',NULL)", "('a','y','2'),('b','x','1'),('c','z',NULL)", "('a','y','1'),('b','z','2'),('c','x','3')"}},
	{"a number beside the key", `CREATE TABLE items (number INTEGER NOT NULL PRIMARY KEY, id VARCHAR(9) NOT NULL UNIQUE, name VARCHAR(20) UNIQUE)`, "", []string{
		"(1,'a','x'),(2,'b','y')", "(2,'a','x'),(1,'b','y')", "(2,'a','y'),(3,'b','x')", "(1,'c','x'),(2,'d','y')"}},
	{"a default that moves", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, is_default BOOLEAN NOT NULL CHECK (is_default IN (false, true))); CREATE UNIQUE INDEX one ON items (is_default) WHERE is_default`, "SQLite PostgreSQL", []string{
		"('a',true),('b',false),('c',false)", "('a',false),('b',true),('c',false)", "('a',false),('b',false),('c',true)", "('b',true),('c',false)"}},
	{"one default for each owner", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, owner VARCHAR(9) NOT NULL, is_default INT); CREATE UNIQUE INDEX one ON items (owner) WHERE is_default = 1`, "SQLite PostgreSQL", []string{
		"('a','x',1),('b','x',0),('c','y',1),('d','y',NULL)", "('a','y',1),('b','x',1),('c','y',0),('d','x',0)", "('a','y',0),('b','x',0),('c','x',1),('d','y',1)"}},
	{"one that is active, and rows hang on it", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, owner VARCHAR(9) NOT NULL CHECK (owner IN ('x', 'y')), state VARCHAR(9) NOT NULL CHECK (state IN ('active', 'past'))); CREATE UNIQUE INDEX one ON items (owner) WHERE state = 'active';
		CREATE TABLE hang (item VARCHAR(9) REFERENCES items (id) ON DELETE CASCADE)`, "SQLite PostgreSQL", []string{
		"('a','x','active'),('b','y','active')", "('a','y','active'),('b','x','active')", "('a','x','past'),('b','x','active')"}},
	{"names of what is not deleted", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, name VARCHAR(20) NOT NULL, deleted_at VARCHAR(20)); CREATE UNIQUE INDEX live ON items (name) WHERE deleted_at IS NULL`, "SQLite PostgreSQL", []string{
		"('a','x',NULL),('b','x','then'),('c','y',NULL)", "('a','x','then'),('b','x',NULL),('c','y','then')", "('a','y',NULL),('b','y','then'),('c','x',NULL)"}},
	{"names in any case", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, name VARCHAR(20) NOT NULL); CREATE UNIQUE INDEX ci ON items (lower(name))`, "SQLite PostgreSQL", []string{
		"('a','X'),('b','y')", "('a','Y'),('b','x')", "('a','x'),('b','Y')"}},
	{"an expression over two columns", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, a VARCHAR(20) NOT NULL, b INT); CREATE UNIQUE INDEX ab ON items ((a || coalesce(b, 0)))`, "SQLite PostgreSQL", []string{
		"('a','X',1),('b','y',NULL)", "('a','y',0),('b','X',1)"}},
	{"NOCASE", `CREATE TABLE items (id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL COLLATE NOCASE UNIQUE)`, "SQLite", []string{"('a','X'),('b','y')", "('a','Y'),('b','x')"}},
	{"STRICT", `CREATE TABLE items (id TEXT PRIMARY KEY NOT NULL, n INTEGER NOT NULL UNIQUE, r REAL NOT NULL UNIQUE, t TEXT NOT NULL UNIQUE, b BLOB NOT NULL UNIQUE) STRICT`, "SQLite", []string{
		"('a',1,1.5,'x',x'01'),('b',2,2.5,'y',x'02')", "('a',2,2.5,'y',x'02'),('b',1,1.5,'x',x'01')"}},
	{"conflict clauses", `CREATE TABLE items (id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL UNIQUE ON CONFLICT REPLACE, pos INT NOT NULL UNIQUE ON CONFLICT IGNORE)`, "SQLite", []string{
		"('a','x',1),('b','y',2),('c','z',3)", "('a','y',2),('b','z',3),('c','x',1)"}},
	{"a generated column", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, name VARCHAR(20) NOT NULL, low VARCHAR(20) GENERATED ALWAYS AS (lower(name)) STORED UNIQUE)`, "", []string{
		"('a','X'),('b','y')", "('a','Y'),('b','x')"}},
	{"a member of a document", `CREATE TABLE items (id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, n TEXT GENERATED ALWAYS AS (json_extract(name, '$.n')) STORED NOT NULL UNIQUE)`, "SQLite", []string{
		`('a','{"n":"x"}'),('b','{"n":"y"}')`, `('a','{"n":"y"}'),('b','{"n":"x"}')`}},
	{"a collation", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, name VARCHAR(20) COLLATE utf8mb4_general_ci NOT NULL UNIQUE)`, "MariaDB", []string{"('a','X'),('b','é')", "('a','E'),('b','x')", "('a','x'),('b','e')"}},
	{"a prefix", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, name VARCHAR(20) NOT NULL, UNIQUE (name(3)))`, "MariaDB", []string{"('a','abcdef'),('b','uvwxyz')", "('a','uvw'),('b','abc')"}},
	{"types of MariaDB", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY, u UUID NOT NULL UNIQUE, d DATETIME NOT NULL UNIQUE, e ENUM('p','q','r') NOT NULL UNIQUE, b VARBINARY(4) NOT NULL UNIQUE, f DECIMAL(6,2) NOT NULL UNIQUE, day DATE NOT NULL UNIQUE,
		changed TIMESTAMP NOT NULL DEFAULT '2001-01-01 00:00:00' ON UPDATE CURRENT_TIMESTAMP)`, "MariaDB", []string{
		"('a','" + id1 + "','2024-01-01 00:00:00','p','1',1.25,'2024-01-01','2020-01-01 00:00:00'),('b','" + id2 + "','2024-01-02 00:00:00','q','2',2.25,'2024-01-02','2020-01-01 00:00:00')",
		"('a','" + id2 + "','2024-01-02 00:00:00','q','2',2.25,'2024-01-02','2020-01-01 00:00:00'),('b','" + id1 + "','2024-01-01 00:00:00','p','1',1.25,'2024-01-01','2020-01-01 00:00:00')"}},
	{"one NULL", `CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT UNIQUE NULLS NOT DISTINCT)`, "PostgreSQL", []string{"('a',NULL),('b','x'),('c','y')", "('a','x'),('b',NULL),('c','y')", "('a','y'),('b','x'),('c',NULL)"}},
	{"citext", `CREATE EXTENSION citext; CREATE TABLE items (id TEXT PRIMARY KEY, name citext NOT NULL UNIQUE)`, "PostgreSQL", []string{"('a','X'),('b','y')", "('a','Y'),('b','x')"}},
	{"a collation of PostgreSQL", `CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false); CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT COLLATE ci NOT NULL UNIQUE)`, "PostgreSQL", []string{"('a','X'),('b','y')", "('a','Y'),('b','x')"}},
	{"deferrable", `CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE DEFERRABLE, pos INT NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED)`, "PostgreSQL", []string{"('a','x',1),('b','y',2)", "('a','y',2),('b','x',1)"}},
	{"exclusion", `CREATE TABLE items (id TEXT PRIMARY KEY, span int4range NOT NULL, EXCLUDE USING gist (span WITH &&))`, "PostgreSQL", []string{
		"('a','[1,5)'),('b','[5,9)')", "('a','[5,9)'),('b','[1,5)')", "('a','[1,7)'),('b','[7,8)')", "('a','[2,3)'),('c','[3,9)')"}},
	{"exclusion of rooms", `CREATE EXTENSION btree_gist; CREATE TABLE items (id TEXT PRIMARY KEY, room INT NOT NULL, span tsrange, EXCLUDE USING gist (room WITH =, span WITH &&))`, "PostgreSQL", []string{
		"('a',1,'[2024-01-01,2024-01-05)'),('b',2,'[2024-01-01,2024-01-09)')", "('a',2,'[2024-01-03,2024-01-05)'),('b',1,'[2024-01-01,2024-01-09)')"}},
	{"types of PostgreSQL", `CREATE TYPE mood AS ENUM ('p','q','r'); CREATE DOMAIN small AS int2 CHECK (value < 50); CREATE TABLE items (id TEXT PRIMARY KEY, u UUID NOT NULL UNIQUE, d timestamptz NOT NULL UNIQUE, e mood NOT NULL UNIQUE, b bytea NOT NULL UNIQUE,
		f numeric(6,2) NOT NULL UNIQUE, day date NOT NULL UNIQUE, j jsonb NOT NULL UNIQUE, r float8 NOT NULL UNIQUE, n small NOT NULL UNIQUE, a int[] NOT NULL UNIQUE, i inet NOT NULL UNIQUE, k interval NOT NULL UNIQUE)`, "PostgreSQL", []string{
		"('a','" + id1 + "','2024-01-01 00:00:00Z','p','1',1.25,'2024-01-01','[1]',1.5,1,'{1}','10.0.0.1','1 day'),('b','" + id2 + "','2024-01-02 00:00:00Z','q','2',2.25,'2024-01-02','[2]',2.5,2,'{2}','10.0.0.2','2 days')",
		"('a','" + id2 + "','2024-01-02 00:00:00Z','q','2',2.25,'2024-01-02','[2]',2.5,2,'{2}','10.0.0.2','2 days'),('b','" + id1 + "','2024-01-01 00:00:00Z','p','1',1.25,'2024-01-01','[1]',1.5,1,'{1}','10.0.0.1','1 day')"}},
}

func (c uniqueCase) store(t *testing.T, d database, state string) sqlstore.Store {
	schema := c.schema
	if d.name == "SQLite" {
		schema = strings.ReplaceAll(schema, "BOOLEAN NOT NULL CHECK (is_default IN (false, true))", "BOOLEAN NOT NULL CHECK (is_default IN (0, 1))")
	}
	s := sqlstore.Store{DB: d.open(t, schema), Dialect: d.dialect, Tables: []sqlstore.Table{{Collection: "items", Key: "id"}}}
	if state != "" {
		exec(t, s.DB, "INSERT INTO items"+c.columns()+" VALUES "+state)
	}
	return s
}

func (c uniqueCase) columns() string {
	if strings.Contains(c.schema, "GENERATED ALWAYS AS (") {
		return " (id, name)"
	}
	return ""
}

// become makes a store have these records, as dump returns them, in one transaction.
func become(t *testing.T, s sqlstore.Store, collection string, want []string) error {
	return s.Update(t.Context(), func(w backup.Writer) error {
		var gone []string
		for key, err := range w.Keys(t.Context(), collection) {
			if err != nil {
				return err
			}
			if !slices.Contains(keysOf(want), key) {
				gone = append(gone, key)
			}
		}
		if err := w.Delete(t.Context(), collection, gone); err != nil {
			return err
		}
		return w.Put(t.Context(), collection, recordsOf(want))
	})
}

// recordsOf returns the records that dump has returned.
func recordsOf(dumped []string) (records []backup.Record) {
	for _, r := range dumped {
		key, value, _ := strings.Cut(r, " {")
		records = append(records, record(key, "{"+value))
	}
	return records
}

func TestUniqueValuesMoveBetweenRecordsInOneTransaction(t *testing.T) {
	inEach(t, func(t *testing.T, d database) {
		for _, c := range uniqueCases {
			if c.only != "" && !strings.Contains(c.only, d.name) {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				var states [][]string
				s := c.store(t, d, "")
				for _, state := range c.states {
					exec(t, s.DB, "DELETE FROM items; INSERT INTO items"+c.columns()+" VALUES "+state)
					states = append(states, dump(t, s, "items"))
				}
				for from := range states {
					for to := range states {
						for _, backward := range []bool{false, true} {
							require.NoError(t, become(t, s, "items", states[from]))
							want := slices.Clone(states[to])
							if backward {
								slices.Reverse(want)
							}
							require.NoError(t, become(t, s, "items", want), "from state %d to %d", from, to)
							require.Equal(t, states[to], dump(t, s, "items"))
						}
					}
				}
			})
		}
	})
}

func settle(t *testing.T, w backup.Writer) error {
	return w.(interface{ Settle(context.Context) error }).Settle(t.Context())
}

// clashes returns the errors about records in an error.
func clashes(err error) (found []*backup.RecordError) {
	switch e := err.(type) {
	case *backup.RecordError:
		return []*backup.RecordError{e}
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			found = append(found, clashes(err)...)
		}
	case interface{ Unwrap() error }:
		return clashes(e.Unwrap())
	}
	return found
}

func TestUniqueValuesThatClashNameBothRecords(t *testing.T) {
	inEach(t, func(t *testing.T, d database) {
		for _, c := range []struct{ name, schema, only, state, put, want, constraint string }{
			{"a name", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, name VARCHAR(20) NOT NULL); CREATE UNIQUE INDEX items_name ON items (name)`, "",
				"('a','secret'),('b','y')", `c {"id":"c","name":"secret"}`, "c a", "unique index items_name (name)"},
			{"two that come", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, name VARCHAR(20) NOT NULL); CREATE UNIQUE INDEX items_name ON items (name)`, "",
				"('a','secret'),('b','y')", `a {"id":"a","name":"new"}|c {"id":"c","name":"secret"}|d {"id":"d","name":"secret"}`, "d c", "unique index items_name (name)"},
			{"beside others that move", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, name VARCHAR(20) NOT NULL); CREATE UNIQUE INDEX items_name ON items (name)`, "",
				"('a','x'),('b','y'),('c','secret')", `a {"id":"a","name":"y"}|b {"id":"b","name":"x"}|d {"id":"d","name":"secret"}|e {"id":"e","name":"secret"}`, "d c, e c", "unique index items_name (name)"},
			{"an own row", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, name VARCHAR(20), list INT, pos INT, UNIQUE (list, pos))`, "",
				"('a','x',1,1),('b','y',1,2)", `b {"id":"b","name":"secret","list":1,"pos":1}`, "b a", "(list, pos)"},
			{"a key of numbers", `CREATE TABLE items (id INTEGER PRIMARY KEY NOT NULL, name VARCHAR(20) UNIQUE)`, "", "(1,'secret'),(2,'y')", `7 {"id":7,"name":"secret"}`, "7 1", "name"},
			{"an expression", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, name VARCHAR(20)); CREATE UNIQUE INDEX ci ON items (lower(name))`, "SQLite PostgreSQL",
				"('a','SECRET'),('b','y')", `c {"id":"c","name":"secret"}`, "c a", "unique index ci"},
			{"a partial index", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, name VARCHAR(20), gone INT); CREATE UNIQUE INDEX live ON items (name) WHERE gone IS NULL`, "SQLite PostgreSQL",
				"('a','secret',NULL),('b','secret',1)", `c {"id":"c","name":"secret","gone":null}`, "c a", "unique index live (name)"},
			{"a collation", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY, name VARCHAR(20) COLLATE utf8mb4_general_ci UNIQUE)`, "MariaDB", "('a','SECRET'),('b','y')", `c {"id":"c","name":"secret"}`, "c a", "name"},
			{"a key that its collation takes for the same", `CREATE TABLE items (id VARCHAR(9) COLLATE utf8mb4_general_ci PRIMARY KEY, name VARCHAR(20))`, "MariaDB", "('a','x'),('b','y')", `A {"id":"A","name":"secret"}`, "A a", "PRIMARY"},
			{"a generated column", `CREATE TABLE items (id VARCHAR(9) PRIMARY KEY NOT NULL, name VARCHAR(20), low VARCHAR(20) GENERATED ALWAYS AS (lower(name)) STORED UNIQUE)`, "", "('a','SECRET'),('b','y')", `c {"id":"c","name":"secret"}`, "c a", "low"},
			{"one NULL", `CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT, CONSTRAINT one UNIQUE NULLS NOT DISTINCT (name))`, "PostgreSQL", "('a',NULL),('b','y')", `c {"id":"c","name":null}`, "c a", "unique index one (name)"},
			{"citext", `CREATE SCHEMA e; CREATE EXTENSION citext SCHEMA e; CREATE TABLE items (id TEXT PRIMARY KEY, name e.citext UNIQUE)`, "PostgreSQL", "('a','SECRET'),('b','y')", `c {"id":"c","name":"secret"}`, "c a", "unique index items_name_key (name)"},
			{"exclusion", `CREATE TABLE items (id TEXT PRIMARY KEY, span int4range, CONSTRAINT apart EXCLUDE USING gist (span WITH &&))`, "PostgreSQL", "('a','[1,4)'),('b','[7,9)')", `c {"id":"c","span":"[3,5)"}`, "c a", "constraint apart (span WITH &&)"},
			{"deferrable", `CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT CONSTRAINT later UNIQUE DEFERRABLE)`, "PostgreSQL", "('c','secret'),('b','y')", `a {"id":"a","name":"secret"}`, "a c", "unique index later (name)"},
			{"deferrable exclusion", `CREATE TABLE items (id TEXT PRIMARY KEY, span int4range, CONSTRAINT apart EXCLUDE USING gist (span WITH &&) DEFERRABLE)`, "PostgreSQL", "('c','[1,4)'),('b','[7,9)')", `a {"id":"a","span":"[3,5)"}`, "a c", "constraint apart (span WITH &&)"},
		} {
			if c.only != "" && !strings.Contains(c.only, d.name) {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				s := uniqueCase{schema: c.schema}.store(t, d, c.state)
				before := dump(t, s, "items")
				var settled error
				err := s.Update(t.Context(), func(w backup.Writer) error {
					if err := w.Put(t.Context(), "items", recordsOf(strings.Split(c.put, "|"))); err != nil {
						return err
					}
					settled = settle(t, w)
					return nil
				})
				require.ErrorIs(t, settled, backup.ErrClash)
				require.ErrorIs(t, err, backup.ErrClash)
				require.ErrorIs(t, err, backup.ErrRolledBack)
				var named []string
				for _, about := range clashes(settled) {
					require.Equal(t, "items", about.Collection)
					require.ErrorIs(t, about, backup.ErrClash)
					if c.constraint == "PRIMARY" {
						require.ErrorContains(t, about, "VARBINARY")
					} else {
						require.ErrorContains(t, about, "rename one of the two, or leave one out")
					}
					require.ErrorContains(t, about, c.constraint)
					named = append(named, about.Key+" "+about.With)
				}
				require.Equal(t, c.want, strings.Join(named, ", "))
				require.NotContains(t, strings.ToLower(settled.Error()), "secret")
				t.Log(settled)
				require.Equal(t, before, dump(t, s, "items"))
			})
		}
	})
}

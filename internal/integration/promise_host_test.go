//go:build !race

package integration

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/sqlstore"
)

// A randomHost is a database that one round after another uses.
type randomHost struct {
	database
	connect func() (*sql.DB, error)
}

func newRandomHost(t *testing.T, d database) randomHost {
	h := randomHost{database: d}
	switch d.name {
	case "SQLite":
		path := filepath.Join(testtime.MemoryDir(t), "test.db")
		h.connect = func() (*sql.DB, error) {
			return sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(off)&_pragma=foreign_keys(1)")
		}
	case "PostgreSQL":
		// Another DB for each round, since its connections remember statements.
		_, url := newPostgres(t, "")
		h.connect = func() (*sql.DB, error) { return sql.Open("pgx", url) }
	case "MariaDB":
		_, config := newMariaDB(t, "SELECT 1")
		h.connect = func() (*sql.DB, error) { return sql.Open("mysql", config.FormatDSN()) }
	}
	return h
}

// clear returns the statements that remove everything that a round has left.
func (h randomHost) clear(ctx context.Context, db *sql.DB) (string, error) {
	if h.name == "PostgreSQL" {
		return "DROP SCHEMA public CASCADE; CREATE SCHEMA public", nil
	}
	list := map[string]string{
		"SQLite":  "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
		"MariaDB": "SELECT table_name FROM information_schema.tables WHERE table_schema = database()",
	}[h.name]
	rows, err := db.QueryContext(ctx, list)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var drop []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return "", err
		}
		drop = append(drop, "DROP TABLE "+name)
	}
	return h.withoutChecks(strings.Join(append(drop, "SELECT 1"), ";\n")), rows.Err()
}

// withoutChecks has statements run without foreign keys, and on PostgreSQL without
// triggers.
func (h randomHost) withoutChecks(statements string) string {
	statements = strings.TrimRight(statements, ";\n")
	switch h.name {
	case "SQLite":
		return "PRAGMA foreign_keys = OFF; BEGIN;\n" + statements + ";\nCOMMIT; PRAGMA foreign_keys = ON"
	case "PostgreSQL":
		return "SET session_replication_role = replica;\n" + statements + ";\nRESET session_replication_role"
	}
	return "SET foreign_key_checks = 0; SET sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO';\n" + statements + ";\nSET foreign_key_checks = 1"
}

// open makes the tables in the database, and nothing else.
func (h randomHost) open(ctx context.Context, s *randomSchema) (*sql.DB, error) {
	db, err := h.connect()
	if err != nil {
		return nil, err
	}
	clear, err := h.clear(ctx, db)
	if err == nil {
		_, err = db.ExecContext(ctx, clear)
	}
	if err == nil {
		_, err = db.ExecContext(ctx, h.withoutChecks(s.create()))
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// fill returns the statements that put the database in a state.
func (s *randomSchema) fill(state randomState) string {
	var b strings.Builder
	for i := range s.tables {
		t := &s.tables[i]
		if t.gone {
			continue
		}
		fmt.Fprintf(&b, "DELETE FROM %s;\n", t.name)
		for n, row := range state[i] {
			if n == 0 {
				fmt.Fprintf(&b, "INSERT INTO %s VALUES", t.name)
			} else {
				b.WriteString(",")
			}
			var values []string
			for _, v := range row {
				values = append(values, literal(v))
			}
			fmt.Fprintf(&b, " (%s)", strings.Join(values, ", "))
		}
		if len(state[i]) > 0 {
			b.WriteString(";\n")
		}
		if s.name == "PostgreSQL" && t.columns[t.key[0]].auto {
			fmt.Fprintf(&b, "SELECT setval(pg_get_serial_sequence('%s', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM %s), false);\n", t.name, t.name)
		}
	}
	return b.String() + "SELECT 1"
}

// load puts the database in a state, past all triggers, and makes sure that the database
// takes it for valid.
func (h randomHost) load(ctx context.Context, db *sql.DB, s *randomSchema, state randomState) error {
	create, drop := s.createTriggers()
	if h.name == "PostgreSQL" {
		var there bool
		if err := db.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_trigger WHERE NOT tgisinternal)").Scan(&there); err != nil {
			return err
		}
		if drop = nil; there {
			create = nil // they do not run while checks are off
		}
	}
	if h.name == "SQLite" && !s.enforced {
		create = append(create, "PRAGMA foreign_keys = OFF")
	}
	for _, statement := range append(append(drop, h.withoutChecks(s.fill(state))), create...) {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%w: %s", err, statement)
		}
	}
	for i := range s.tables {
		t := &s.tables[i]
		for _, f := range t.references {
			if t.gone {
				continue
			}
			parent := &s.tables[f.parent]
			var set, same []string
			for n, c := range f.columns {
				set = append(set, "c."+t.columns[c].name+" IS NOT NULL")
				same = append(same, "p."+parent.columns[f.to[n]].name+" = c."+t.columns[c].name)
			}
			query := fmt.Sprintf("SELECT count(*) FROM %s c WHERE %s AND NOT EXISTS (SELECT 1 FROM %s p WHERE %s)", t.name, strings.Join(set, " AND "), parent.name, strings.Join(same, " AND "))
			var n int
			if err := db.QueryRowContext(ctx, query).Scan(&n); err != nil {
				return fmt.Errorf("%w: %s", err, query)
			}
			if n > 0 {
				return fmt.Errorf("%s: %d rows dangle", f.name, n)
			}
		}
	}
	return nil
}

// A heldState is what a database holds: for each table, rows by their keys, and for each
// row the texts of its columns.
type heldState []map[string][]string

func (s *randomSchema) held(state randomState) heldState {
	held := make(heldState, len(s.tables))
	for i := range s.tables {
		held[i] = map[string][]string{}
		for _, row := range state[i] {
			texts := make([]string, len(row))
			for c, v := range row {
				texts[c] = "NULL"
				switch v := v.(type) {
				case string:
					texts[c] = strconv.Quote(v)
				case int:
					texts[c] = strconv.Itoa(v)
				}
			}
			held[i][s.tables[i].keyText(texts)] = texts
		}
	}
	return held
}

// keyText returns the key of a record.
func (t *randomTable) keyText(texts []string) string {
	var parts []string
	for _, k := range t.key {
		part := texts[k]
		if text, err := strconv.Unquote(part); err == nil && !t.columns[k].number {
			part = text
		}
		parts = append(parts, part)
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return joined(parts...)
}

// read returns what the database holds.
func (h randomHost) read(ctx context.Context, db *sql.DB, s *randomSchema) (heldState, error) {
	held := make(heldState, len(s.tables))
	for i := range s.tables {
		held[i] = map[string][]string{}
		if s.tables[i].gone {
			continue
		}
		if err := s.tables[i].read(ctx, db, held[i]); err != nil {
			return nil, err
		}
	}
	return held, nil
}

func (t *randomTable) read(ctx context.Context, db *sql.DB, into map[string][]string) error {
	var all []int
	for c := range t.columns {
		all = append(all, c)
	}
	rows, err := db.QueryContext(ctx, "SELECT "+t.list(all, "")+" FROM "+t.name)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		cells, dest, texts := make([]sql.NullString, len(all)), make([]any, len(all)), make([]string, len(all))
		for c := range cells {
			dest[c] = &cells[c]
		}
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		for c, cell := range cells {
			texts[c] = cell.String
			if !cell.Valid {
				texts[c] = "NULL"
			} else if !t.columns[c].number {
				texts[c] = strconv.Quote(cell.String)
			}
		}
		into[t.keyText(texts)] = texts
	}
	return rows.Err()
}

// app returns the store and the App of the schema: described, or made by hand.
func (h randomHost) app(ctx context.Context, db *sql.DB, s *randomSchema, described bool, order []int) (sqlstore.Store, *backup.App, error) {
	store := sqlstore.Store{DB: db, Dialect: h.dialect, Wire: wire(h.dialect)}
	app := &backup.App{Name: "promise", Version: "1.0.0", SchemaVersion: 1}
	if described {
		for _, t := range s.tables {
			if t.undeclared {
				store.Exclude = append(store.Exclude, t.name)
			}
		}
		var err error
		store, app.Collections, err = store.Describe(ctx)
		for i := range app.Collections {
			app.Collections[i].Unique = nil // this test is about keys: see TestTwoInstallationsBecomeOne
		}
		return store, app, err
	}
	for _, i := range order {
		t := &s.tables[i]
		if t.undeclared || t.gone {
			continue
		}
		c := backup.Collection{Name: t.name, Key: "/" + t.list(t.key, "")}
		c.Key = strings.ReplaceAll(c.Key, ", ", ",/")
		for _, f := range t.references {
			if f.toKey {
				c.Refs = append(c.Refs, backup.Ref{Pointer: strings.ReplaceAll("/"+t.list(f.columns, ""), ", ", ",/"), Collection: s.tables[f.parent].name})
			}
		}
		store.Tables = append(store.Tables, sqlstore.Table{Collection: t.name})
		app.Collections = append(app.Collections, c)
	}
	return store, app, nil
}

// jsonText returns the text of a JSON value as it is in a heldState.
func jsonText(v json.RawMessage) string {
	if string(v) == "null" {
		return "NULL"
	}
	var text string
	if json.Unmarshal(v, &text) == nil {
		return strconv.Quote(text)
	}
	return string(v)
}

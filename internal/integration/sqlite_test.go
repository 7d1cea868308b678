package integration

import (
	"context"
	"database/sql"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// open returns a new database with the given schema.
func open(t testing.TB, schema string) *sql.DB {
	return openFile(t, filepath.Join(t.TempDir(), "test.db"), "", schema)
}

func openFile(t testing.TB, path, params, schema string) *sql.DB {
	t.Helper()
	if !strings.Contains(params, "journal_mode") {
		params += "&_pragma=journal_mode(WAL)"
	}
	db, err := sql.Open("sqlite", "file:"+path+"?"+strings.TrimPrefix(params, "&"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	exec(t, db, schema)
	return db
}

func exec(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	_, err := db.Exec(query, args...)
	require.NoError(t, err)
}

// dump returns the JSON of the records of a collection, in order.
func dump(t testing.TB, store backup.DataSource, collection string) []string {
	t.Helper()
	records, err := tryDump(store, collection)
	require.NoError(t, err)
	return records
}

func tryDump(store backup.DataSource, collection string) (records []string, err error) {
	ctx := context.Background()
	err = store.View(ctx, func(r backup.Reader) error {
		for rec, err := range r.Records(ctx, collection) {
			if err != nil {
				return err
			}
			records = append(records, rec.Key+" "+string(rec.Value))
		}
		return nil
	})
	return records, err
}

func put(store backup.Sink, collection string, records ...backup.Record) error {
	ctx := context.Background()
	return store.Update(ctx, func(w backup.Writer) error { return w.Put(ctx, collection, records) })
}

func record(key, value string) backup.Record {
	return backup.Record{Key: key, Value: []byte(value)}
}

func store(db *sql.DB, tables ...sqlstore.Table) sqlstore.Store {
	return sqlstore.Store{DB: db, Dialect: sqlstore.SQLite, Tables: tables}
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

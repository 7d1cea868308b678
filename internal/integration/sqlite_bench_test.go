package integration

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

const benchRows = 100_000

const benchSchema = `CREATE TABLE servers (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	host TEXT NOT NULL,
	port INTEGER NOT NULL DEFAULT 22,
	enabled BOOLEAN NOT NULL,
	load REAL,
	labels JSON,
	note TEXT,
	created_at DATETIME NOT NULL
)`

// benchRecords have about 250 bytes each.
func benchRecords(n int) []backup.Record {
	records := make([]backup.Record, n)
	for i := range records {
		id := fmt.Sprintf("srv-%08d", i)
		records[i] = record(id, fmt.Sprintf(`{"id":%q,"name":"server number %d","host":"host-%d.lab.example.org","port":%d,"enabled":%t,"load":%g,"labels":{"rack":%d,"tags":["nas","backup"]},"note":"A note of some words, with an \"escape\" in it, as people write.","created_at":"2024-01-15 10:30:00"}`,
			id, i, i, 1024+i%60000, i%2 == 0, float64(i)/7, i%40))
	}
	return records
}

func putAll(ctx context.Context, s backup.Sink, records []backup.Record) error {
	return s.Update(ctx, func(w backup.Writer) error {
		for len(records) > 0 {
			n := min(500, len(records))
			if err := w.Put(ctx, "servers", records[:n]); err != nil {
				return err
			}
			records = records[n:]
		}
		return nil
	})
}

func benchStore(b *testing.B, records []backup.Record) (*sql.DB, sqlstore.Store) {
	db := open(b, benchSchema)
	s := store(db, sqlstore.Table{Collection: "servers"})
	require.NoError(b, putAll(b.Context(), s, records))
	return db, s
}

func BenchmarkSQLiteRead(b *testing.B) {
	_, s := benchStore(b, benchRecords(benchRows))
	b.ReportAllocs()
	for b.Loop() {
		n, size := 0, 0
		err := s.View(b.Context(), func(r backup.Reader) error {
			for rec, err := range r.Records(b.Context(), "servers") {
				if err != nil {
					return err
				}
				n++
				size += len(rec.Value)
			}
			return nil
		})
		require.NoError(b, err)
		require.Equal(b, benchRows, n)
		b.SetBytes(int64(size))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchRows), "ns/record")
}

func BenchmarkSQLitePut(b *testing.B) {
	records := benchRecords(benchRows)
	dir := b.TempDir()
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		i++
		path := filepath.Join(dir, fmt.Sprintf("%d.db", i))
		db, err := sql.Open("sqlite", path)
		require.NoError(b, err)
		exec(b, db, benchSchema)
		b.StartTimer()
		require.NoError(b, putAll(b.Context(), store(db, sqlstore.Table{Collection: "servers"}), records))
		b.StopTimer()
		require.NoError(b, db.Close())
		require.NoError(b, os.Remove(path))
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchRows), "ns/record")
}

func BenchmarkSQLiteLookup(b *testing.B) {
	records := benchRecords(benchRows)
	_, s := benchStore(b, records)
	keys := make([]string, 0, 500)
	for b.Loop() {
		err := s.Update(b.Context(), func(w backup.Writer) error {
			for i := 0; i < len(records); i += 500 {
				keys = keys[:0]
				for _, r := range records[i : i+500] {
					keys = append(keys, r.Key)
				}
				found, err := w.Lookup(b.Context(), "servers", keys)
				if err != nil {
					return err
				}
				require.Len(b, found, 500)
			}
			return nil
		})
		require.NoError(b, err)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchRows), "ns/record")
}

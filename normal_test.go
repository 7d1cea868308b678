package backup_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

// A shortStore keeps one number with fewer digits than it may have in a snapshot.
type shortStore struct{ backuptest.MapStore }

type (
	shortWriter struct {
		backup.Writer
		normal
	}
	shortReader struct {
		backup.Reader
		normal
	}
	normal struct{}
)

func short(value []byte) []byte {
	return bytes.ReplaceAll(value, []byte("9.999999999999999e+22"), []byte("1e+23"))
}

func (s shortStore) View(ctx context.Context, read func(backup.Reader) error) error {
	return s.MapStore.View(ctx, func(r backup.Reader) error { return read(shortReader{Reader: r}) })
}

func (s shortStore) Update(ctx context.Context, write func(backup.Writer) error) error {
	return s.MapStore.Update(ctx, func(w backup.Writer) error { return write(shortWriter{Writer: w}) })
}

func (normal) Normalize(_ context.Context, _ string, records []backup.Record) error {
	for i, r := range records {
		records[i].Value = short(r.Value)
	}
	return nil
}

func (w shortWriter) Put(ctx context.Context, collection string, records []backup.Record) error {
	var shorter []backup.Record
	for _, r := range records {
		shorter = append(shorter, backup.Record{Key: r.Key, Value: short(r.Value)})
	}
	return w.Writer.Put(ctx, collection, shorter)
}

func TestANumberThatAStoreWritesOtherwiseIsNoChange(t *testing.T) {
	app := &backup.App{Name: "things", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "things", Key: "/id"}}}
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, backuptest.MapStore{"things": {"1": `{"id":"1","v":9.999999999999999e+22}`, "2": `{"id":"2","v":2}`}}, backup.BackupOptions{})
	require.NoError(t, err)
	s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file.Bytes()), backup.OpenOptions{})
	require.NoError(t, err)
	defer s.Close()
	for _, strategy := range []backup.Strategy{backup.Replace, backup.Merge, backup.SkipDuplicates} {
		store := shortStore{backuptest.MapStore{"things": {"2": `{"id":"2","v":3}`}}}
		report, err := app.Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: strategy})
		require.NoError(t, err)
		require.EqualValues(t, 1, report.Collections[0].Added)
		require.Zero(t, report.Collections[0].Altered)
		require.Contains(t, store.MapStore["things"]["1"], "1e+23")
		store.MapStore["things"]["2"] = `{"id":"2","v":2}`
		report, err = app.Restore(t.Context(), s, store, backup.RestoreOptions{Strategy: strategy})
		require.NoError(t, err)
		require.False(t, report.Changed(), "%+v", report)
		require.EqualValues(t, 2, report.Collections[0].Unchanged)
	}
	_, err = app.Drill(t.Context(), s, shortStore{backuptest.MapStore{"things": {}}}, backup.RestoreOptions{})
	require.NoError(t, err)
}

package backup_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

// benchSchema is like what a host declares: ten fields, a few formats and
// bounds, nothing else allowed.
const benchSchema = `{
	"type": "object",
	"required": ["id", "name", "host", "port", "user", "status", "created_at"],
	"additionalProperties": false,
	"properties": {
		"id": {"type": "string", "pattern": "^[a-z0-9-]{1,64}$"},
		"name": {"type": "string", "minLength": 1, "maxLength": 200},
		"host": {"type": "string", "minLength": 1, "maxLength": 253},
		"port": {"type": "integer", "minimum": 1, "maximum": 65535},
		"user": {"type": "string"},
		"status": {"enum": ["online", "offline", "unknown"]},
		"description": {"type": ["string", "null"]},
		"tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": true},
		"priority": {"type": "integer", "minimum": 0},
		"created_at": {"type": "string", "format": "date-time"}
	}
}`

func benchApp(schema string) *backup.App {
	return &backup.App{Name: "bench", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "servers", Key: "/id", Schema: []byte(schema)},
	}}
}

// generated is a DataSource of records of about 250 bytes that takes no memory.
type generated int

func (n generated) View(ctx context.Context, read func(backup.Reader) error) error { return read(n) }

func (n generated) Records(ctx context.Context, collection string) iter.Seq2[backup.Record, error] {
	return func(yield func(backup.Record, error) bool) {
		var buf []byte
		for i := range int(n) {
			buf = fmt.Appendf(buf[:0], `{"id":"srv-%08d","name":"node %d","host":"10.%d.%d.%d","port":%d,"user":"tomo","status":"online","description":"rack %d, second shelf, behind the door with the sign","tags":["rack-%d","production"],"priority":%d,"created_at":"2024-01-15T10:30:00Z"}`,
				i, i, i>>16&255, i>>8&255, i&255, 1+i%65535, i/40, i/40, i%10)
			if !yield(backup.Record{Value: buf}, nil) {
				return
			}
		}
	}
}

const benchRecords = 20_000

func BenchmarkBackup(b *testing.B) {
	for _, v := range []struct{ name, schema string }{{"validated", benchSchema}, {"without schema", ""}} {
		b.Run(v.name, func(b *testing.B) {
			app := benchApp(v.schema)
			for b.Loop() {
				m, err := app.Backup(b.Context(), io.Discard, generated(benchRecords), backup.BackupOptions{})
				require.NoError(b, err)
				b.SetBytes(m.Bytes)
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, v := range []struct{ name, schema string }{{"validated", benchSchema}, {"without schema", ""}} {
		b.Run(v.name, func(b *testing.B) {
			app := benchApp(v.schema)
			var buf bytes.Buffer
			_, err := app.Backup(b.Context(), &buf, generated(benchRecords), backup.BackupOptions{})
			require.NoError(b, err)
			b.SetBytes(int64(buf.Len()))
			for b.Loop() {
				s, err := backup.OpenSnapshot(b.Context(), bytes.NewReader(buf.Bytes()), backup.OpenOptions{})
				require.NoError(b, err)
				_, err = app.Verify(b.Context(), s, backup.RestoreOptions{})
				require.NoError(b, err)
				s.Close()
			}
		})
	}
}

func BenchmarkOpenSnapshot(b *testing.B) {
	var buf bytes.Buffer
	_, err := benchApp("").Backup(b.Context(), &buf, generated(benchRecords), backup.BackupOptions{})
	require.NoError(b, err)
	b.SetBytes(int64(buf.Len()))
	for b.Loop() {
		s, err := backup.OpenSnapshot(b.Context(), bytes.NewReader(buf.Bytes()), backup.OpenOptions{})
		require.NoError(b, err)
		s.Close()
	}
}

// sealedApp has three secret fields, and records of an older schema version if it is not 1.
func sealedApp(version int) *backup.App {
	a := benchApp(benchSchema)
	a.SchemaVersion = version
	a.Collections[0].Secrets = []string{"/host", "/user", "/description"}
	for from := 1; from < version; from++ {
		a.Migrators = append(a.Migrators, backup.Migration(from, func(_ context.Context, collection string, r backup.Record, emit func(string, backup.Record) error) error {
			var server map[string]any
			if err := json.Unmarshal(r.Value, &server); err != nil {
				return err
			}
			r.Value, _ = json.Marshal(server)
			return emit(collection, r)
		}))
	}
	return a
}

func BenchmarkBackupSealed(b *testing.B) {
	for b.Loop() {
		m, err := sealedApp(1).Backup(b.Context(), io.Discard, generated(benchRecords), backup.BackupOptions{Recipients: sealed})
		require.NoError(b, err)
		b.SetBytes(m.Bytes)
	}
}

// What opens secrets or migrates is done once for a restore.
func BenchmarkRestore(b *testing.B) {
	for name, version := range map[string]int{"sealed": 1, "sealed and migrated": 2} {
		b.Run(name, func(b *testing.B) {
			var buf bytes.Buffer
			_, err := sealedApp(1).Backup(b.Context(), &buf, generated(benchRecords), backup.BackupOptions{Recipients: sealed})
			require.NoError(b, err)
			b.SetBytes(int64(buf.Len()))
			for b.Loop() {
				s, err := backup.OpenSnapshot(b.Context(), bytes.NewReader(buf.Bytes()), backup.OpenOptions{Identities: []backup.Identity{testKey("k")}})
				require.NoError(b, err)
				_, err = sealedApp(version).Restore(b.Context(), s, abyss{}, backup.RestoreOptions{})
				require.NoError(b, err)
				s.Close()
			}
		})
	}
}

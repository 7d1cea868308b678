package backuptest

import (
	"bytes"
	"testing"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/niltest"
	"github.com/tomo-project/backup/location"
)

// Nothing that is nil makes what tests use panic.
func TestWhatIsNilIsAnError(t *testing.T) {
	niltest.Run(t, niltest.Package{
		Funcs: map[string]any{
			"CheckStore": CheckStore, "CheckLocation": CheckLocation,
			"Vectors": Vectors, "VectorApp": VectorApp, "VectorStore": VectorStore,
		},
		Receivers: func(*testing.T) []any {
			store := MapStore{"servers": {}}
			return []any{
				&Faulty{Source: store, Sink: store}, &FaultyLocation{Location: MapLocation{}},
				store, RuledStore{MapStore: store}, MapLocation{}, &Vector{},
			}
		},
		Args: func(*testing.T) []any {
			return []any{
				"name.json", bytes.NewReader(nil),
				func(backup.Reader) error { return nil }, func(backup.Writer) error { return nil },
				func() Store { return MapStore{} }, func() location.Location { return MapLocation{} },
			}
		},
		TypedNils: []any{(*bytes.Reader)(nil), (*Faulty)(nil), (*FaultyLocation)(nil)},
		Optional:  []string{"Vector.Trusted", "Faulty.Err", "Faulty.Do", "FaultyLocation.Err", "FaultyLocation.Do"},
		Skip: map[string]string{
			"TestStore": "it fails a test", "TestLocation": "it fails a test",
			"RuleError": "without an Err it is no error",
		},
	})
	var none MapStore
	for _, err := range []error{
		none.Update(t.Context(), func(w backup.Writer) error {
			return w.Put(t.Context(), "servers", []backup.Record{{Key: "a", Value: []byte(`{}`)}})
		}),
		MapLocation(nil).Put(t.Context(), "name.json", bytes.NewReader(nil)),
		CheckStore(func() Store { return nil }, Fixture{}),
		CheckLocation(func() location.Location { return nil }),
	} {
		if err == nil {
			t.Error("what is nil is not an error")
		}
	}
}

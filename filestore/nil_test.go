package filestore

import (
	"testing"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/niltest"
)

// Nothing that is nil makes a Store panic.
func TestWhatIsNilIsAnError(t *testing.T) {
	niltest.Run(t, niltest.Package{
		Receivers: func(t *testing.T) []any {
			s := newStore(t)
			return []any{&s, &Collection{Name: "servers"}}
		},
		Args: func(*testing.T) []any {
			return []any{"key", func(backup.Reader) error { return nil }, func(backup.Writer) error { return nil }}
		},
		Optional: []string{"Collection.Encode", "Collection.Decode"},
		Skip:     map[string]string{"Store.Lock": "it waits for itself"},
	})
}

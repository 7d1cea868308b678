package kvstore_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/niltest"
	"github.com/tomo-project/backup/kvstore"
)

// Nothing that is nil makes a Store panic.
func TestWhatIsNilIsAnError(t *testing.T) {
	niltest.Run(t, niltest.Package{
		Receivers: func(*testing.T) []any {
			s, _ := newStore(nil)
			return []any{&s}
		},
		Args: func(*testing.T) []any {
			return []any{func(backup.Reader) error { return nil }, func(backup.Writer) error { return nil }}
		},
		TypedNils: []any{(*mean)(nil)},
	})
	s := kvstore.Store{DB: emptyDB{}}
	require.ErrorIs(t, s.View(t.Context(), func(backup.Reader) error { return nil }), backup.ErrInvalid)
	require.ErrorIs(t, s.Update(t.Context(), func(backup.Writer) error { return nil }), backup.ErrInvalid)
}

// An emptyDB has no transactions.
type emptyDB struct{}

func (emptyDB) View(_ context.Context, read func(kvstore.Tx) error) error { return read(nil) }

func (emptyDB) Update(_ context.Context, write func(kvstore.WriteTx) error) error { return write(nil) }

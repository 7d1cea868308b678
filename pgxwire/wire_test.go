package pgxwire

import (
	"bytes"
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/niltest"
)

// Tests with a server are in internal/integration.

func TestWhatIsNilIsAnError(t *testing.T) {
	niltest.Run(t, niltest.Package{
		Receivers: func(*testing.T) []any { return []any{Wire{}} },
		Args:      func(*testing.T) []any { return []any{"SELECT 1", bytes.NewReader(nil)} },
		TypedNils: []any{(*bytes.Reader)(nil)},
	})
}

func TestAnotherDriverIsAnErrorThatSaysWhatToDo(t *testing.T) {
	for _, driver := range []any{nil, "another driver", new(sql.DB)} {
		_, err := Wire{}.Query(t.Context(), driver, "SELECT 1")
		require.ErrorContains(t, err, "open the database with github.com/jackc/pgx/v5/stdlib")
		err = Wire{}.Copy(t.Context(), driver, "COPY t FROM STDIN", bytes.NewReader(nil))
		require.ErrorContains(t, err, "open the database with github.com/jackc/pgx/v5/stdlib")
	}
}

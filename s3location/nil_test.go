package s3location

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/tomo-project/backup/internal/niltest"
)

// Nothing that is nil makes a Location panic.
func TestWhatIsNilIsAnError(t *testing.T) {
	niltest.Run(t, niltest.Package{
		Receivers: func(t *testing.T) []any {
			return []any{locationAt(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })}
		},
		Args:      func(*testing.T) []any { return []any{"name.json", bytes.NewReader(nil)} },
		TypedNils: []any{(*bytes.Reader)(nil)},
	})
}

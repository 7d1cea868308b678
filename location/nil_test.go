package location

import (
	"bytes"
	"testing"

	"github.com/tomo-project/backup/internal/niltest"
)

// Nothing that is nil makes a Dir panic.
func TestWhatIsNilIsAnError(t *testing.T) {
	niltest.Run(t, niltest.Package{
		Funcs:     map[string]any{"CheckName": CheckName},
		Receivers: func(t *testing.T) []any { return []any{Dir(t.TempDir())} },
		Args:      func(*testing.T) []any { return []any{"name.json", bytes.NewReader(nil)} },
		TypedNils: []any{(*bytes.Reader)(nil)},
	})
}

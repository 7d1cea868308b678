package joined_test

import (
	"testing"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/niltest"
)

func TestWhatIsNilIsAnError(t *testing.T) {
	niltest.Run(t, niltest.Package{
		Receivers: func(*testing.T) []any {
			return []any{newPair().Store}
		},
		Args: func(*testing.T) []any {
			return []any{
				func(backup.Reader) error { return nil },
				func(backup.Writer) error { return nil },
				backup.Store(newPair()),
			}
		},
	})
}

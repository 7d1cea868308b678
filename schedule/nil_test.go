package schedule_test

import (
	"testing"
	"time"

	"github.com/tomo-project/backup/internal/niltest"
	"github.com/tomo-project/backup/schedule"
)

// A Location that is nil is the zone of the machine, and no schedule panics.
func TestWhatIsNilIsNoPanic(t *testing.T) {
	niltest.Run(t, niltest.Package{
		Receivers: func(*testing.T) []any {
			return []any{&schedule.Hourly{}, &schedule.Daily{}, &schedule.Weekly{}, &schedule.Monthly{}}
		},
		Args:     func(*testing.T) []any { return []any{time.Time{}} },
		Optional: []string{"Daily.Location", "Weekly.Location", "Monthly.Location", "Hourly.Location"},
	})
}

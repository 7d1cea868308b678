package integration

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// What robfig/cron makes of an expression is a Schedule, on the clock of the host.
func TestAParsedCronExpressionIsASchedule(t *testing.T) {
	newYork, err := time.LoadLocation("America/New_York")
	require.NoError(t, err)
	nightly, err := cron.ParseStandard("30 3 * * *")
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2000, 3, 31, 12, 0, 0, 0, time.UTC)))
		app := &backup.App{Name: "notes", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "notes", Key: "/id"}}}
		m := &manager.Manager{App: app, Source: backuptest.MapStore{"notes": {}}, Locations: []location.Location{backuptest.MapLocation{}}, Schedule: nightly, TimeZone: newYork}
		ctx, cancel := context.WithTimeout(t.Context(), 5*24*time.Hour)
		defer cancel()
		require.ErrorIs(t, m.Run(ctx), context.DeadlineExceeded)
		list, err := m.List(t.Context())
		require.NoError(t, err)
		var times []string
		for _, b := range list[:len(list)-1] { // without the first, which was made at once
			times = append(times, b.CreatedAt.In(newYork).Format("02 15:04 MST"))
		}
		require.Equal(t, []string{"05 03:30 EDT", "04 03:30 EDT", "03 03:30 EDT", "02 03:30 EDT", "01 03:30 EST"}, times)
		next, err := m.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, "06 03:30 EDT", next.In(newYork).Format("02 15:04 MST"))
	})
}

package schedule_test

import (
	"fmt"
	"time"

	"github.com/tomo-project/backup/schedule"
)

// A backup is due at 02:30 every day, also in the night in which that time is skipped.
func ExampleDaily() {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	var schedule schedule.Schedule = schedule.Daily{At: 2*time.Hour + 30*time.Minute, Location: berlin}

	// In the night of the 31st the clock goes from 02:00 to 03:00.
	t := time.Date(2024, 3, 29, 12, 0, 0, 0, berlin)
	for range 3 {
		t = schedule.Next(t)
		fmt.Println(t)
	}
	// Output:
	// 2024-03-30 02:30:00 +0100 CET
	// 2024-03-31 03:00:00 +0200 CEST
	// 2024-04-01 02:30:00 +0200 CEST
}

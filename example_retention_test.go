package backup_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/tomo-project/backup"
)

// A policy with three rules keeps a backup if one of them does, and says why.
func ExampleRetention_Decide() {
	day := func(d int) backup.Dated {
		at := time.Date(2024, 1, d, 10, 30, 0, 0, time.UTC)
		return backup.Dated{Name: at.Format(time.DateOnly), CreatedAt: at}
	}
	backups := []backup.Dated{day(1), day(12), day(13), day(14), day(15)}

	policy := backup.Retention{Last: 2, Monthly: 12, Within: 2 * 24 * time.Hour}
	for _, d := range policy.Decide(backups, time.Now()) {
		verb := "delete"
		if d.Keep {
			verb = "keep"
		}
		fmt.Printf("%s %s: %s\n", verb, d.Name, strings.Join(d.Reasons, "; "))
	}
	// Output:
	// keep 2024-01-15: newest good one; among the last 2; within 2 days of the newest; newest of month 2024-01 (monthly 1 of 12)
	// keep 2024-01-14: among the last 2; within 2 days of the newest
	// keep 2024-01-13: within 2 days of the newest
	// delete 2024-01-12: not among the last 2; older than 2 days before the newest; not the newest of month 2024-01 (monthly)
	// delete 2024-01-01: not among the last 2; older than 2 days before the newest; not the newest of month 2024-01 (monthly)
}

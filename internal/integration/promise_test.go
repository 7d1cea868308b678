//go:build !race

package integration

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tomo-project/backup/internal/testtime"
)

const (
	shrunk = 3  // failures are made smaller
	most   = 30 // failures are enough
)

// refusedRounds are rounds whose valid end state cannot be reached yet. The plan says so
// and names the records. PostgreSQL, 197: a code comes under a new key while the row that
// refers to it waits for another change, and the foreign key is not DEFERRABLE.
var refusedRounds = map[string][]uint64{"PostgreSQL": {197}}

// TestAPlanThatSaysYesIsARestoreThatWorks restores random data into random schemas. A
// failure has the number of its round in its name: BACKUP_SEED=12 runs only round 12, and
// BACKUP_SEED=1-500 these.
func TestAPlanThatSaysYesIsARestoreThatWorks(t *testing.T) {
	inEach(t, func(t *testing.T, d database) {
		short := map[string]uint64{"SQLite": 60, "PostgreSQL": 12, "MariaDB": 8}[d.name]
		long := map[string]uint64{"SQLite": 2000, "PostgreSQL": 200, "MariaDB": 200}[d.name]
		first, last, patience := seeds(t, short, long)
		h := newRandomHost(t, d)
		applied, failed := 0, 0
		for seed := first; seed <= last; seed++ {
			if failed == most && os.Getenv("BACKUP_SEED") == "" {
				t.Fatalf("%d rounds of %d have failed: the others do not run", failed, seed-first)
			}
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				round := newRandomRound(d, seed)
				yes, b := round.play(t.Context(), h)
				if yes {
					applied++
				}
				if b == nil {
					return
				}
				if b.step == "plan" && slices.Contains(refusedRounds[d.name], seed) {
					t.Logf("%s, round %d is refused, as is known: %s", d.name, seed, b.what)
					return
				}
				t.Errorf("%s, round %d: %s: %s\n%s", d.name, seed, b.step, b.what, round)
				if failed++; failed <= shrunk {
					round, b := round.shrink(b, patience, func(r *randomRound) *brokenPromise { _, b := r.play(t.Context(), h); return b })
					t.Logf("a smaller round: %s: %s\n%s", b.step, b.what, round)
				}
			})
		}
		t.Logf("%d of %d rounds were restored and taken back, and %d failed", applied, last-first+1, failed)
		if rounds := int(last - first + 1); rounds >= 50 && applied < rounds/2 {
			t.Error("too few: the test shows little")
		}
	})
}

// seeds returns the first and the last round, and how long a failure is made smaller.
func seeds(t *testing.T, short, long uint64) (first, last uint64, patience time.Duration) {
	first, last, patience = 1, testtime.Pick(t, short, long), 10*time.Second
	seeds := os.Getenv("BACKUP_SEED")
	if seeds == "" {
		return first, last, patience
	}
	from, to, several := strings.Cut(seeds, "-")
	if !several {
		to, patience = from, time.Minute
	}
	var err error
	if first, err = strconv.ParseUint(from, 10, 64); err != nil {
		t.Fatal(err)
	}
	if last, err = strconv.ParseUint(to, 10, 64); err != nil {
		t.Fatal(err)
	}
	return first, last, patience
}

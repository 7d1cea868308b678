//go:build !race

package integration

import (
	"fmt"
	"os"
	"testing"
)

// TestTwoInstallationsBecomeOne restores what one installation has into another that has
// diverged from it, or was set up anew. A failure has the number of its round in its name:
// BACKUP_SEED=12 runs only round 12, and BACKUP_SEED=1-500 these.
func TestTwoInstallationsBecomeOne(t *testing.T) {
	for _, d := range append([]database{{name: "map"}}, databases[:2]...) {
		t.Run(d.name, func(t *testing.T) {
			short := map[string]uint64{"map": 100, "SQLite": 40, "PostgreSQL": 6}[d.name]
			long := map[string]uint64{"map": 3000, "SQLite": 1500, "PostgreSQL": 150}[d.name]
			first, last, patience := seeds(t, short, long)
			h := newTwinHost(t, d)
			applied, failed, rekeyed := 0, 0, 0
			for seed := first; seed <= last; seed++ {
				if failed == most && os.Getenv("BACKUP_SEED") == "" {
					t.Fatalf("%d rounds of %d have failed: the others do not run", failed, seed-first)
				}
				t.Run(fmt.Sprint(seed), func(t *testing.T) {
					round := newTwinRound(d, seed)
					yes, b := round.play(t.Context(), h)
					if yes {
						applied++
						for _, moves := range round.verdict().moves {
							rekeyed += len(moves)
						}
					}
					if b == nil {
						return
					}
					t.Errorf("%s, round %d: %s: %s\n%s", d.name, seed, b.step, b.what, round)
					if failed++; failed <= shrunk {
						round, b := round.shrink(b, patience, func(r *twinRound) *brokenPromise { _, b := r.play(t.Context(), h); return b })
						t.Logf("a smaller round: %s: %s\n%s", b.step, b.what, round)
					}
				})
			}
			rounds := int(last - first + 1)
			t.Logf("%d of %d rounds were restored and taken back, with %d records under other keys, and %d failed", applied, rounds, rekeyed, failed)
			if rounds >= 50 && (applied < rounds/2 || rekeyed < rounds/2) {
				t.Error("too few: the test shows little")
			}
		})
	}
}

// Package testtime says how long a test may take. Two things decide: the
// environment variable BACKUP_LONG_TESTS, which .ci/run sets, and the race
// detector, under which code is ten times as slow.
package testtime

import (
	"os"
	"testing"
)

const variable = "BACKUP_LONG_TESTS"

// Long says whether the long form of the tests is wanted: BACKUP_LONG_TESTS is
// set, and the race detector is off.
func Long() bool { return os.Getenv(variable) != "" && !Race }

// Pick returns how much of its work a test does: long if the long form of the
// tests is wanted, or else short. The test logs which of them it is.
func Pick[T any](t testing.TB, short, long T) T {
	t.Helper()
	if Long() {
		return long
	}
	t.Logf("%v of %v: set %s=1 for all, without the race detector", short, long, variable)
	return short
}

// OnlyLong skips a test that has no short form.
func OnlyLong(t testing.TB) {
	t.Helper()
	if !Long() {
		t.Skipf("takes long: set %s=1 to run it, without the race detector", variable)
	}
}

// NotForRace skips a test under the race detector: it takes long, and nothing in
// it happens at the same time as something else.
func NotForRace(t testing.TB) {
	t.Helper()
	if Race {
		t.Skip("takes long and has one goroutine: run it without -race")
	}
}

// Every returns the step of a loop over all places of something: 1 if the long form of
// the tests is wanted, or else n.
func Every(t testing.TB, n int) int {
	t.Helper()
	if Long() {
		return 1
	}
	t.Logf("every %dth: set %s=1 for all, without the race detector", n, variable)
	return n
}

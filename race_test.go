//go:build race

package backup_test

// raceEnabled: what only takes long is shortened, since all is slower by a
// magnitude. The tests run without the race detector too.
const raceEnabled = true

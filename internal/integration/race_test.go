//go:build race

package integration

// raceEnabled: what only takes long is shortened, since all is slower by a
// magnitude. The tests run without the race detector too.
const raceEnabled = true

//go:build race

package testtime

// Race says whether the race detector is on.
const Race = true

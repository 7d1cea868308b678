package backuptest

import (
	"context"
	"testing"

	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/location"
)

// TestLocation checks every rule in the documentation of [location.Location] and
// [location.File], each in a subtest. Each call of new must return a new, empty
// location.
//
// If the location is a [location.Locker], TestLocation also checks the rules of
// Locker, and if it is a [location.Watcher], that of Watcher. It skips them if Lock or Watch
// returns an error that wraps errors.ErrUnsupported.
func TestLocation(t *testing.T, new func(t *testing.T) location.Location) {
	t.Helper()
	testRules(t, locationRules, func(ctx context.Context, t *testing.T) *place { return &place{new(t), ctx} })
}

// CheckLocation is [TestLocation] outside of a test. It joins a [*RuleError] for
// each broken rule, and returns nil if the location keeps them all.
func CheckLocation(new func() location.Location) error {
	if err := fault.Missing("the function new", new); err != nil {
		return err
	}
	return checkRules(locationRules, func(ctx context.Context) *place { return &place{new(), ctx} })
}

var locationRules = []rule[*place]{
	{"every method refuses a name that CheckName refuses, before it reads or changes anything", (*place).refusesNames},
	{"every method accepts a name that CheckName accepts", (*place).acceptsNames},
	{"Put stores exactly the bytes that its reader delivers", (*place).roundTrip},
	{"Put returns fs.ErrExist if the name is taken, and does not change the existing file", (*place).neverOverwrites},
	{"if its reader fails, Put returns the error of the reader and stores nothing", (*place).readerFails},
	{"Put ends soon after its context is done, returns the error of the context and stores nothing", (*place).cancelPut},
	{"if several Puts of one name run at the same time, exactly one succeeds", (*place).onePutWins},
	{"no method shows a file before its Put is complete", (*place).wholeOrNot},
	{"Open returns fs.ErrNotExist if there is no such file", (*place).openMissing},
	{"Delete returns fs.ErrNotExist if there is no such file", (*place).deleteMissing},
	{"after Delete the name is free again", (*place).nameIsFreeAgain},
	{"the caller may close an opened file at any time, even before its end", (*place).closeEarly},
	{"an opened file that can seek delivers the right bytes at every position", (*place).seeks},
	{"List returns every file with its size, in the order of names", (*place).lists},
	{"several goroutines may use a location at the same time", (*place).concurrent},
	{"if the context is done, every method returns the error of the context and changes nothing", (*place).cancelled},
	{"while a lock is taken, Lock returns ErrBusy at once and names the holder", (*place).lockExcludes},
	{"locks with different names do not exclude each other", (*place).lockNames},
	{"a lock is not a file: no method shows it, and its name stays free for a file", (*place).lockIsNoFile},
	{"a Watcher names every file that was stored or deleted since it was last asked", (*place).tellsChanges},
}

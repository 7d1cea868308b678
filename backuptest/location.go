package backuptest

import (
	"context"
	"testing"

	"github.com/tomo-project/backup"
)

// TestLocation holds a location against every rule in the documentation of
// [backup.Location] and [backup.File], and of [backup.Locker] if it is one, each
// in a subtest. new returns an empty location, another one at each call. A
// Locker whose Lock returns an error that wraps errors.ErrUnsupported counts as
// none.
func TestLocation(t *testing.T, new func(t *testing.T) backup.Location) {
	t.Helper()
	testRules(t, locationRules, func(ctx context.Context, t *testing.T) *place { return &place{new(t), ctx} })
}

// CheckLocation is TestLocation without a test: it returns the broken rules,
// each a [*RuleError], joined.
func CheckLocation(new func() backup.Location) error {
	return checkRules(locationRules, func(ctx context.Context) *place { return &place{new(), ctx} })
}

var locationRules = []rule[*place]{
	{"a name that CheckName refuses is refused before anything is touched", (*place).refusesNames},
	{"a name that CheckName accepts is accepted", (*place).acceptsNames},
	{"Put stores what its reader delivers", (*place).roundTrip},
	{"Put returns fs.ErrExist if the name is taken and leaves what is there alone", (*place).neverOverwrites},
	{"Put returns the error of its reader and stores nothing", (*place).readerFails},
	{"Put ends soon after its context is done, with its error, and stores nothing", (*place).cancelPut},
	{"of several Puts of one name at a time one succeeds", (*place).onePutWins},
	{"nothing is seen of a file before its Put is done", (*place).wholeOrNot},
	{"Open returns fs.ErrNotExist if there is no such file", (*place).openMissing},
	{"Delete returns fs.ErrNotExist if there is no such file", (*place).deleteMissing},
	{"a name is free again after Delete", (*place).nameIsFreeAgain},
	{"an opened file may be closed at any time", (*place).closeEarly},
	{"an opened file that seeks delivers the same in any order", (*place).seeks},
	{"List returns every file in the order of names", (*place).lists},
	{"several goroutines may use a location at a time", (*place).concurrent},
	{"every method returns the error of a context that is done, and does nothing", (*place).cancelled},
	{"Lock returns ErrBusy at once and tells by whom until the lock is free", (*place).lockExcludes},
	{"locks of different names do not exclude each other", (*place).lockNames},
	{"a lock is no file", (*place).lockIsNoFile},
}

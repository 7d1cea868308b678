package backuptest

import (
	"context"
	"testing"

	"github.com/tomo-project/backup"
)

// A Store is both halves of what a host plugs in.
type Store interface {
	backup.DataSource
	backup.Sink
}

// TestStore holds a store against every rule in the documentation of
// [backup.DataSource], [backup.Reader], [backup.Sink] and [backup.Writer], each
// in a subtest. new returns an empty store, another one at each call.
func TestStore(t *testing.T, new func(t *testing.T) Store, f Fixture) {
	t.Helper()
	if err := f.check(); err != nil {
		t.Fatal(err)
	}
	testRules(t, storeRules, func(ctx context.Context, t *testing.T) *harness {
		return newHarness(ctx, f, func() Store { return new(t) })
	})
}

// CheckStore is TestStore without a test: it returns the broken rules, each a
// [*RuleError], joined.
func CheckStore(new func() Store, f Fixture) error {
	if err := f.check(); err != nil {
		return err
	}
	return checkRules(storeRules, func(ctx context.Context) *harness { return newHarness(ctx, f, new) })
}

var storeRules = []rule[*harness]{
	{"View calls read once and returns its error", (*harness).viewCallsReadOnce},
	{"a collection without records is an empty sequence", (*harness).emptyCollections},
	{"every record comes back once and unchanged", (*harness).roundTrip},
	{"the order of records depends on the data alone", (*harness).order},
	{"a sequence may be abandoned at any record and started again", (*harness).abandon},
	{"an unknown collection is an error", (*harness).unknownCollection},
	{"a sequence ends with an error soon after its context is done", (*harness).cancelRead},
	{"a View is one point in time of all collections while the host goes on writing", (*harness).viewIsOnePoint},
	{"changes are not seen outside before they are committed", (*harness).isolation},
	{"Update commits if write returns nil", (*harness).commits},
	{"Update rolls back and returns the error if write returns one", (*harness).rollsBackOnError},
	{"Update rolls back if write panics, and the store goes on working", (*harness).rollsBackOnPanic},
	{"Update rolls back and returns an error if its context is done before the commit", (*harness).rollsBackOnCancel},
	{"write starts from a fresh transaction each time it is called", (*harness).concurrentUpdates},
	{"a transaction sees its own changes", (*harness).ownChanges},
	{"Keys yields every key once", (*harness).keysOnce},
	{"Lookup returns what exists, with its Key, and leaves out absent keys", (*harness).lookup},
	{"Put overwrites the whole record", (*harness).overwrite},
	{"Put does not keep the memory of records", (*harness).putKeepsNothing},
	{"Delete ignores keys that do not exist and removes no others", (*harness).deletes},
	{"batches of any size are accepted, empty ones too", (*harness).batches},
	{"any text may be a key, and each is another key", (*harness).oddKeys},
	{"keys that differ in one part are two keys", (*harness).oddParts},
	{"what is backed up with its secrets sealed is the same in the store that it is restored into", (*harness).wholeBackup},
}

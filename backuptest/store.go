package backuptest

import (
	"context"
	"testing"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
)

// A Store is the DataSource and the Sink of a host in one value.
type Store interface {
	backup.DataSource
	backup.Sink
}

// TestStore checks every rule in the documentation of [backup.DataSource],
// [backup.Reader], [backup.Sink] and [backup.Writer], each in a subtest. Each call
// of new must return a new, empty store.
func TestStore(t *testing.T, new func(t *testing.T) Store, f Fixture) {
	t.Helper()
	if err := f.check(); err != nil {
		t.Fatal(err)
	}
	testRules(t, storeRules, func(ctx context.Context, t *testing.T) *harness {
		return newHarness(ctx, f, func() Store { return new(t) })
	})
}

// CheckStore is [TestStore] outside of a test. It joins a [*RuleError] for each
// broken rule, and returns nil if the store keeps them all.
func CheckStore(new func() Store, f Fixture) error {
	if err := fault.Missing("the function new", new); err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	return checkRules(storeRules, func(ctx context.Context) *harness { return newHarness(ctx, f, new) })
}

var storeRules = []rule[*harness]{
	{"View calls read exactly once and returns the error of read", (*harness).viewCallsReadOnce},
	{"a collection without records yields no records, no keys and no error", (*harness).emptyCollections},
	{"every record is read exactly once, with its value unchanged", (*harness).roundTrip},
	{"two stores with the same data yield their records in the same order", (*harness).order},
	{"the caller may stop a sequence of records at any record and start it again", (*harness).abandon},
	{"every call that names an unknown collection returns an error", (*harness).unknownCollection},
	{"a sequence ends with an error soon after its context is done", (*harness).cancelRead},
	{"a View shows all collections at one point in time while the host goes on writing", (*harness).viewIsOnePoint},
	{"nobody outside a transaction sees its changes before the commit", (*harness).isolation},
	{"Update commits the changes if write returns nil", (*harness).commits},
	{"if write returns an error, Update rolls back and returns that error", (*harness).rollsBackOnError},
	{"if write panics, Update rolls back, and the store still works afterwards", (*harness).rollsBackOnPanic},
	{"if the context is done before the commit, Update rolls back and returns an error", (*harness).rollsBackOnCancel},
	{"write gets a fresh transaction each time it is called, and no Update is lost", (*harness).concurrentUpdates},
	{"a transaction sees its own changes", (*harness).ownChanges},
	{"Keys yields every key exactly once", (*harness).keysOnce},
	{"Lookup returns the records that exist, each with its Key, and leaves out keys without a record", (*harness).lookup},
	{"Put replaces the whole record that has the same key", (*harness).overwrite},
	{"Put does not use the memory of its records after it has returned", (*harness).putKeepsNothing},
	{"Delete removes exactly the records under its keys, and ignores keys without a record", (*harness).deletes},
	{"Put, Lookup and Delete accept batches of any size, and empty batches", (*harness).batches},
	{"any text may be a key, and two different texts are two different keys", (*harness).oddKeys},
	{"two keys of several parts are different if they differ in one part", (*harness).oddParts},
	{"a Writer that is a Reader shows what its transaction sees", (*harness).readsItsTransaction},
	{"uniqueness holds at the commit and not at each step", (*harness).uniqueAtCommit},
	{"a clash over a unique value fails with the names of both records, and changes nothing", (*harness).clash},
	{"a reference that dangles fails with the name of its record and changes nothing, unless it is allowed", (*harness).danglingReference},
	{"Settle refuses what the commit would, and may be called again after more changes", (*harness).settles},
	{"an Update that only tries leaves the store as it was", (*harness).triesOnly},
	{"Effects and Parents answer for every collection", (*harness).effectsAndParents},
	{"NewKeys is unsupported for any number of records or for none, and the transaction goes on", (*harness).saysItNumbersNone},
	{"NewKeys returns as many keys as it is asked for, which no record has and no call has returned before", (*harness).freshKeys},
	{"NewKeys leaves no trace: on the same data it returns the same keys in every transaction", (*harness).keysLeaveNoTrace},
	{"a backup with sealed secrets restores the same records into another store", (*harness).wholeBackup},
}

package backuptest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/codec"
)

// A Store is both halves of what a host plugs in.
type Store interface {
	backup.DataSource
	backup.Sink
}

// A Fixture tells the conformance suite what the stores under test hold.
type Fixture struct {
	// Collections are names of collections that the store knows, each after
	// those that its records refer to.
	Collections []string

	// Record returns a sample record: number is its identity, from 0 to 1999,
	// and revision, 0 or 1, one of two values for it. It is a pure function. Two
	// numbers have different keys; the revisions of a number have the same key
	// and different values, and revision 1 lacks a member that revision 0 has
	// where the store allows that. A record may refer to the records of the same
	// number in collections before its own, and to no others.
	//
	// Values are in the form in which the store gives them back: JSON that is
	// equal but for white space and the order of members, and with every digit
	// of every number.
	Record func(collection string, number, revision int) backup.Record

	// WithKey returns a sample record with the given key, which has spaces,
	// quotes, letters of all kinds or the look of SQL or of a path. Where it
	// returns the zero Record, and if it is nil, such keys are not tested. Its
	// records refer to nothing.
	WithKey func(collection, key string) backup.Record

	// WithParts returns a sample record whose key has several parts, as the rows of a
	// table that joins two others do: the first two are the texts first and second,
	// such as WithKey is given, integers and empty ones too, and others are always the
	// same. Where it returns the zero Record, and if it is nil, such keys are not
	// tested. Its records refer to nothing.
	WithParts func(collection, first, second string) backup.Record

	// App declares Collections, and perhaps others, as the host does. With it a
	// whole backup is made and restored into another store. The records of
	// revision 0 must be valid, and where a collection has Secrets some must be
	// texts of 8 characters or more that are in no other field. Nil means that no
	// backup is tried; a store that does something with secrets needs it.
	App *backup.App

	// Unknown is the name of a collection that the store does not know. Empty
	// means "no_such_collection".
	Unknown string

	// Blocking says that writers have to wait while a View is open, so that the
	// host stands still during a backup. A store should do better.
	Blocking bool
}

// A RuleError says which rule of the interfaces of package backup a store has
// broken, and how.
type RuleError struct {
	Rule string // in words, "Delete ignores keys that do not exist"
	Err  error
}

// Error returns the rule and what was seen.
func (e *RuleError) Error() string { return fmt.Sprintf("rule broken: %s: %v", e.Rule, e.Err) }

// Unwrap returns what was seen.
func (e *RuleError) Unwrap() error { return e.Err }

// TestStore holds a store against every rule in the documentation of
// [backup.DataSource], [backup.Reader], [backup.Sink] and [backup.Writer], each
// in a subtest. new returns an empty store, another one at each call.
func TestStore(t *testing.T, new func(t *testing.T) Store, f Fixture) {
	t.Helper()
	if err := f.check(); err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		t.Run(strings.ReplaceAll(rule.name, " ", "_"), func(t *testing.T) {
			if err := rule.run(func() Store { return new(t) }, f); err != nil {
				t.Error(err)
			}
		})
	}
}

// CheckStore is TestStore without a test: it returns the broken rules, each a
// [*RuleError], joined.
func CheckStore(new func() Store, f Fixture) error {
	if err := f.check(); err != nil {
		return err
	}
	var errs []error
	for _, rule := range rules {
		errs = append(errs, rule.run(new, f))
	}
	return errors.Join(errs...)
}

func (f Fixture) check() error {
	if len(f.Collections) == 0 || f.Record == nil {
		return errors.New("backuptest: a Fixture needs Collections and Record")
	}
	for _, c := range f.Collections {
		a, b, other := f.Record(c, 0, 0), f.Record(c, 0, 1), f.Record(c, 1, 0)
		switch {
		case a.Key == "" || a.Key != b.Key || a.Key == other.Key:
			return fmt.Errorf("backuptest: Fixture.Record of %s: the revisions of a record must share a key that no other has, got %q, %q and %q", c, a.Key, b.Key, other.Key)
		case equalJSON(a.Value, b.Value):
			return fmt.Errorf("backuptest: Fixture.Record of %s: the revisions must have different values", c)
		}
	}
	for _, c := range f.Collections {
		if _, err := f.withParts(c); err != nil {
			return err
		}
	}
	if f.App == nil {
		return nil
	}
	if err := f.App.Validate(); err != nil {
		return fmt.Errorf("backuptest: Fixture.App: %w", err)
	}
	for _, c := range f.Collections {
		i := slices.IndexFunc(f.App.Collections, func(declared backup.Collection) bool { return declared.Name == c })
		switch {
		case i < 0:
			return fmt.Errorf("backuptest: Fixture.App does not declare %s", c)
		case len(f.App.Collections[i].Secrets) > 0 && len(f.secrets(f.App.Collections[i])) == 0:
			return fmt.Errorf("backuptest: Fixture.Record of %s: no record has a secret that is a text of 8 characters or more", c)
		}
	}
	return nil
}

type rule struct {
	name  string
	check func(*harness) error
}

func (r rule) run(new func() Store, f Fixture) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &RuleError{r.name, fmt.Errorf("panic: %v", p)}
		}
	}()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if f.Unknown == "" {
		f.Unknown = "no_such_collection"
	}
	h := &harness{Fixture: f, new: new, ctx: ctx, store: new()}
	if err := r.check(h); err != nil {
		return &RuleError{r.name, err}
	}
	return nil
}

// patience is how long the suite waits for what may rightly be blocked.
const patience = time.Second

const many = 2000

// backedUp is how many records of each collection are in a whole backup.
const backedUp = 50

var rules = []rule{
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

// A harness is one store under test.
type harness struct {
	Fixture
	new   func() Store
	ctx   context.Context
	store Store
}

// state is what a store holds: collection → records in the order they came.
type state map[string][]backup.Record

// records returns samples from to to-1 of a collection.
func (h *harness) records(collection string, from, to, revision int) []backup.Record {
	var rs []backup.Record
	for i := from; i < to; i++ {
		r := h.Record(collection, i, revision)
		rs = append(rs, backup.Record{Key: r.Key, Value: bytes.Clone(r.Value)})
	}
	return rs
}

func keysOf(records []backup.Record) []string {
	var keys []string
	for _, r := range records {
		keys = append(keys, r.Key)
	}
	return keys
}

// want is the state of a store that holds samples from to to-1.
func (h *harness) want(from, to, revision int) state {
	s := state{}
	for _, c := range h.Collections {
		s[c] = h.records(c, from, to, revision)
	}
	return s
}

func (h *harness) putAll(w backup.Writer, from, to, revision int) error {
	for _, c := range h.Collections {
		for batch := range slices.Chunk(h.records(c, from, to, revision), 100) {
			if err := w.Put(h.ctx, c, batch); err != nil {
				return fmt.Errorf("Put into %s: %w", c, err)
			}
		}
	}
	return nil
}

func (h *harness) deleteAll(w backup.Writer, from, to int) error {
	for _, c := range slices.Backward(h.Collections) {
		for batch := range slices.Chunk(h.records(c, from, to, 0), 100) {
			if err := w.Delete(h.ctx, c, keysOf(batch)); err != nil {
				return fmt.Errorf("Delete from %s: %w", c, err)
			}
		}
	}
	return nil
}

// fill puts samples into a store in one transaction.
func (h *harness) fill(from, to, revision int) error {
	if err := h.store.Update(h.ctx, func(w backup.Writer) error { return h.putAll(w, from, to, revision) }); err != nil {
		return fmt.Errorf("Update that puts %d records into each collection: %w", to-from, err)
	}
	return nil
}

func (h *harness) read(r backup.Reader) (state, error) {
	s := state{}
	for _, c := range h.Collections {
		s[c] = nil
		for rec, err := range r.Records(h.ctx, c) {
			if err != nil {
				return nil, fmt.Errorf("Records of %s: %w", c, err)
			}
			s[c] = append(s[c], backup.Record{Key: rec.Key, Value: bytes.Clone(rec.Value)})
		}
	}
	return s, nil
}

func (h *harness) state() (state, error) {
	var s state
	err := h.store.View(h.ctx, func(r backup.Reader) (err error) {
		s, err = h.read(r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("View: %w", err)
	}
	return s, nil
}

// expect compares what the store holds with want, in any order.
func (h *harness) expect(want state) error {
	got, err := h.state()
	if err != nil {
		return err
	}
	return h.compare(got, want)
}

// compare identifies records by their values: a Reader need not give the keys
// of a List.
func (h *harness) compare(got, want state) error {
	for _, c := range h.Collections {
		if err := compareRecords(got[c], want[c], false); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	return nil
}

func compareRecords(got, want []backup.Record, keys bool) error {
	text := func(r backup.Record) string {
		if keys {
			return fmt.Sprintf("%q: %s", r.Key, normal(r.Value))
		}
		return normal(r.Value)
	}
	left := map[string]int{}
	for _, r := range want {
		left[text(r)]++
	}
	for _, r := range got {
		left[text(r)]--
	}
	var wrong []string
	for text, n := range left {
		switch {
		case n > 0:
			wrong = append(wrong, "missing "+text)
		case n < 0:
			wrong = append(wrong, "unexpected "+text)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	shown := wrong[:min(len(wrong), 4)]
	return fmt.Errorf("got %d records, want %d: %s", len(got), len(want), strings.Join(shown, "; "))
}

// normal is the text of a value without white space and with its members in
// order. Numbers keep their digits.
func normal(value []byte) string {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return fmt.Sprintf("not JSON: %q", value)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Sprintf("not JSON: %q", value)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprintf("not JSON: %q", value)
	}
	return strings.TrimSpace(b.String())
}

func equalJSON(a, b []byte) bool { return normal(a) == normal(b) }

var errProbe = errors.New("the error that the function returned")

func (h *harness) viewCallsReadOnce() error {
	calls := 0
	err := h.store.View(h.ctx, func(backup.Reader) error { calls++; return errProbe })
	if calls != 1 {
		return fmt.Errorf("read was called %d times", calls)
	}
	if !errors.Is(err, errProbe) {
		return fmt.Errorf("read returned an error, View returned %v", err)
	}
	if err := h.store.View(h.ctx, func(backup.Reader) error { return nil }); err != nil {
		return fmt.Errorf("read returned nil, View returned %w", err)
	}
	ctx, cancel := context.WithCancel(h.ctx)
	cancel()
	err = h.store.View(ctx, func(r backup.Reader) error {
		for _, err := range r.Records(ctx, h.Collections[0]) {
			if err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err == nil {
		return errors.New("the context was done before View was called, and it returned nil")
	}
	return nil
}

func (h *harness) emptyCollections() error {
	if err := h.expect(state{}); err != nil {
		return fmt.Errorf("a new store should be empty: %w", err)
	}
	return h.update(func(w backup.Writer) error {
		for _, c := range h.Collections {
			keys, err := collect(w, h.ctx, c)
			if err != nil {
				return err
			}
			if len(keys) > 0 {
				return fmt.Errorf("Keys of the empty collection %s: %q", c, keys)
			}
		}
		return nil
	})
}

func (h *harness) roundTrip() error {
	for revision := range 2 {
		if err := h.fill(0, 50, revision); err != nil {
			return err
		}
		if err := h.expect(h.want(0, 50, revision)); err != nil {
			return err
		}
	}
	return nil
}

func (h *harness) order() error {
	if err := h.fill(0, 60, 0); err != nil {
		return err
	}
	first, err := h.state()
	if err != nil {
		return err
	}
	again, err := h.state()
	if err != nil {
		return err
	}
	if err := sameOrder(first, again); err != nil {
		return fmt.Errorf("two reads of the same data: %w", err)
	}
	// The same data, come about in another way.
	other := &harness{Fixture: h.Fixture, ctx: h.ctx, store: h.new()}
	err = other.store.Update(h.ctx, func(w backup.Writer) error {
		for i := 59; i >= 0; i-- {
			if err := other.putAll(w, i, i+1, 1); err != nil {
				return err
			}
		}
		if err := other.deleteAll(w, 20, 40); err != nil {
			return err
		}
		return other.putAll(w, 0, 60, 0)
	})
	if err != nil {
		return err
	}
	second, err := other.state()
	if err != nil {
		return err
	}
	if err := sameOrder(first, second); err != nil {
		return fmt.Errorf("two stores of the same data with different histories: %w", err)
	}
	return nil
}

func sameOrder(a, b state) error {
	for c := range a {
		if len(a[c]) != len(b[c]) {
			return fmt.Errorf("%s: %d records and then %d", c, len(a[c]), len(b[c]))
		}
		for i := range a[c] {
			if !bytes.Equal(a[c][i].Value, b[c][i].Value) {
				return fmt.Errorf("%s: record number %d was %s and then %s", c, i, a[c][i].Value, b[c][i].Value)
			}
		}
	}
	return nil
}

func (h *harness) abandon() error {
	if err := h.fill(0, 40, 0); err != nil {
		return err
	}
	return h.store.View(h.ctx, func(r backup.Reader) error {
		for _, c := range h.Collections {
			seq := r.Records(h.ctx, c)
			for _, stop := range []int{1, 20, 40} {
				n := 0
				for _, err := range seq {
					if err != nil {
						return fmt.Errorf("%s: %w", c, err)
					}
					if n++; n == stop {
						break
					}
				}
			}
			n := 0
			for _, err := range seq {
				if err != nil {
					return fmt.Errorf("%s, started again: %w", c, err)
				}
				n++
			}
			if n != 40 {
				return fmt.Errorf("%s has 40 records, the sequence started again yields %d", c, n)
			}
		}
		got, err := h.read(r)
		if err != nil {
			return err
		}
		return h.compare(got, h.want(0, 40, 0))
	})
}

func (h *harness) unknownCollection() error {
	err := h.store.View(h.ctx, func(r backup.Reader) error {
		var seen error
		for rec, err := range r.Records(h.ctx, h.Unknown) {
			switch {
			case seen != nil:
				return errors.New("Records goes on after an error")
			case err == nil:
				return errors.New("Records yields a record of an unknown collection")
			case rec.Key != "" || rec.Value != nil:
				return errors.New("Records yields a record beside an error")
			}
			seen = err
		}
		if seen == nil {
			return errors.New("Records is an empty sequence")
		}
		return nil
	})
	if err != nil {
		return err
	}
	sample := h.Record(h.Collections[0], 0, 0)
	calls := map[string]func(backup.Writer) error{
		"Put": func(w backup.Writer) error {
			return w.Put(h.ctx, h.Unknown, []backup.Record{sample})
		},
		"Delete": func(w backup.Writer) error {
			return w.Delete(h.ctx, h.Unknown, []string{sample.Key})
		},
		"Lookup": func(w backup.Writer) error {
			_, err := w.Lookup(h.ctx, h.Unknown, []string{sample.Key})
			return err
		},
		"Keys": func(w backup.Writer) error {
			_, err := collect(w, h.ctx, h.Unknown)
			return err
		},
	}
	for name, call := range calls {
		var got error
		// The error of the call is returned, as a caller does: some databases
		// refuse to go on in a transaction after a failed statement.
		_ = h.store.Update(h.ctx, func(w backup.Writer) error { got = call(w); return errors.Join(got, errProbe) })
		if got == nil {
			return fmt.Errorf("%s accepts it", name)
		}
	}
	return nil
}

func (h *harness) cancelRead() error {
	if err := h.fill(0, many, 0); err != nil {
		return err
	}
	c := h.Collections[0]
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	n := 0
	var got error
	_ = h.store.View(ctx, func(r backup.Reader) error {
		for _, err := range r.Records(ctx, c) {
			if got != nil {
				return errors.New("goes on")
			}
			if got = err; err != nil {
				continue
			}
			if n++; n == 5 {
				cancel()
				// Databases learn of it in a goroutine of their own.
				time.Sleep(10 * time.Millisecond)
			}
		}
		return got
	})
	if n == many || got == nil {
		return fmt.Errorf("Records: cancelled at record 5 of %d, it yielded %d and the error %v", many, n, got)
	}
	ctx, cancel = context.WithCancel(h.ctx)
	defer cancel()
	n, got = 0, nil
	_ = h.store.Update(ctx, func(w backup.Writer) error {
		for _, err := range w.Keys(ctx, c) {
			if got = err; err != nil {
				break
			}
			if n++; n == 5 {
				cancel()
				time.Sleep(10 * time.Millisecond)
			}
		}
		return errors.Join(got, errProbe)
	})
	if n == many && got == nil {
		return fmt.Errorf("Keys: cancelled at key 5 of %d, it yielded all without an error", many)
	}
	return nil
}

func (h *harness) viewIsOnePoint() error {
	if err := h.fill(0, 300, 0); err != nil {
		return err
	}
	updated := make(chan error, 1)
	started := false
	err := h.store.View(h.ctx, func(r backup.Reader) error {
		// A View may be fixed by its first read.
		for _, err := range r.Records(h.ctx, h.Collections[0]) {
			if err != nil {
				return err
			}
			break
		}
		started = true
		go func() {
			updated <- h.store.Update(h.ctx, func(w backup.Writer) error {
				if err := h.deleteAll(w, 0, 100); err != nil {
					return err
				}
				return errors.Join(h.putAll(w, 100, 200, 1), h.putAll(w, 300, 310, 0))
			})
		}()
		select {
		case err := <-updated:
			updated <- nil
			if err != nil {
				return fmt.Errorf("an Update during the View: %w", err)
			}
		case <-time.After(patience):
			if !h.Blocking {
				return fmt.Errorf("an Update during the View waits for its end (a store that cannot do better says so with Fixture.Blocking)")
			}
		}
		got, err := h.read(r)
		if err != nil {
			return err
		}
		if err := h.compare(got, h.want(0, 300, 0)); err != nil {
			return fmt.Errorf("the View shows the state before the Update and must go on to do so: %w", err)
		}
		return nil
	})
	if started {
		select {
		case e := <-updated:
			err = errors.Join(err, e)
		case <-time.After(10 * patience):
			err = errors.Join(err, errors.New("an Update that waits for the end of the View does not go on then"))
		}
	}
	if err != nil {
		return err
	}
	want := h.want(200, 310, 0)
	for _, c := range h.Collections {
		want[c] = append(want[c], h.records(c, 100, 200, 1)...)
	}
	if err := h.expect(want); err != nil {
		return fmt.Errorf("the next View shows the state after the Update: %w", err)
	}
	return nil
}

func (h *harness) isolation() error {
	if err := h.fill(0, 10, 0); err != nil {
		return err
	}
	type result struct {
		state state
		err   error
	}
	seen := make(chan result, 1)
	looked, waited := false, false
	err := h.store.Update(h.ctx, func(w backup.Writer) error {
		if err := errors.Join(h.putAll(w, 0, 5, 1), h.putAll(w, 10, 15, 0)); err != nil {
			return err
		}
		if looked { // write may be called again
			return nil
		}
		looked = true
		go func() {
			s, err := h.state()
			seen <- result{s, err}
		}()
		select {
		case r := <-seen:
			seen <- r
		case <-time.After(patience):
			waited = true
		}
		return nil
	})
	if !looked {
		return err
	}
	got := <-seen
	if err := errors.Join(err, got.err); err != nil {
		return err
	}
	if waited {
		return nil // the View began when the Update was over
	}
	if err := h.compare(got.state, h.want(0, 10, 0)); err != nil {
		return fmt.Errorf("a View during the Update: %w", err)
	}
	return nil
}

func (h *harness) update(write func(backup.Writer) error) error {
	return h.store.Update(h.ctx, write)
}

func (h *harness) commits() error {
	if err := h.fill(0, 10, 0); err != nil {
		return err
	}
	if err := h.expect(h.want(0, 10, 0)); err != nil {
		return err
	}
	if err := h.update(func(w backup.Writer) error { return h.deleteAll(w, 5, 10) }); err != nil {
		return err
	}
	return h.expect(h.want(0, 5, 0))
}

// change alters what fill(0, 10, 0) has made, in every way.
func (h *harness) change(w backup.Writer) error {
	return errors.Join(h.putAll(w, 0, 3, 1), h.deleteAll(w, 3, 6), h.putAll(w, 10, 20, 0))
}

// unchanged checks that the store is as fill(0, 10, 0) has left it, and that it
// still works.
func (h *harness) unchanged() error {
	if err := h.expect(h.want(0, 10, 0)); err != nil {
		return fmt.Errorf("the host is not as it was: %w", err)
	}
	if err := h.fill(10, 12, 0); err != nil {
		return fmt.Errorf("the store does not work any more: %w", err)
	}
	return h.expect(h.want(0, 12, 0))
}

func (h *harness) rollsBackOnError() error {
	if err := h.fill(0, 10, 0); err != nil {
		return err
	}
	err := h.update(func(w backup.Writer) error { return errors.Join(h.change(w), errProbe) })
	if !errors.Is(err, errProbe) {
		return fmt.Errorf("write returned an error, Update returned %v", err)
	}
	return h.unchanged()
}

func (h *harness) rollsBackOnPanic() error {
	if err := h.fill(0, 10, 0); err != nil {
		return err
	}
	err := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		return h.update(func(w backup.Writer) error {
			if err := h.change(w); err != nil {
				return err
			}
			panic("write panics")
		})
	}()
	if err == nil {
		return errors.New("write panicked and Update returned nil")
	}
	done := make(chan error, 1)
	go func() { done <- h.unchanged() }()
	select {
	case err := <-done:
		return err
	case <-time.After(10 * patience):
		return errors.New("the store hangs afterwards")
	}
}

func (h *harness) rollsBackOnCancel() error {
	if err := h.fill(0, 10, 0); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	err := h.store.Update(ctx, func(w backup.Writer) error {
		err := h.change(w)
		cancel()
		return err
	})
	if err == nil {
		return errors.New("cancelled in write, Update returned nil")
	}
	if err := h.expect(h.want(0, 10, 0)); err != nil {
		return fmt.Errorf("cancelled in write, the host is not as it was: %w", err)
	}
	if err := h.store.Update(ctx, h.change); err == nil {
		return errors.New("cancelled before, Update returned nil")
	}
	return h.unchanged()
}

func (h *harness) concurrentUpdates() error {
	const writers, each = 4, 5
	errs, dirty := make([]error, writers), make([]error, writers)
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			from := i * each
			errs[i] = h.update(func(w backup.Writer) error {
				for _, c := range h.Collections {
					found, err := w.Lookup(h.ctx, c, keysOf(h.records(c, from, from+each, 0)))
					if err != nil {
						return err
					}
					if len(found) > 0 {
						dirty[i] = fmt.Errorf("%s: write finds what it has put itself when it was called before", c)
					}
				}
				return h.putAll(w, from, from+each, 0)
			})
		})
	}
	group.Wait()
	if err := errors.Join(dirty...); err != nil {
		return err
	}
	want := state{}
	for i, err := range errs {
		if err != nil {
			continue // a store may give up; then nothing of it may be there
		}
		for _, c := range h.Collections {
			want[c] = append(want[c], h.records(c, i*each, (i+1)*each, 0)...)
		}
	}
	if len(want) == 0 {
		return fmt.Errorf("of %d updates at the same time none succeeded: %w", writers, errs[0])
	}
	if err := h.expect(want); err != nil {
		return fmt.Errorf("after updates at the same time, of which some may fail: %w", err)
	}
	return nil
}

func (h *harness) ownChanges() error {
	if err := h.fill(0, 10, 0); err != nil {
		return err
	}
	return h.update(func(w backup.Writer) error {
		if err := h.change(w); err != nil {
			return err
		}
		for _, c := range h.Collections {
			want := append(h.records(c, 0, 3, 1), h.records(c, 6, 20, 0)...)
			keys, err := collect(w, h.ctx, c)
			if err != nil {
				return err
			}
			if err := sameKeys(keys, keysOf(want)); err != nil {
				return fmt.Errorf("Keys of %s: %w", c, err)
			}
			if err := h.lookupIs(w, c, keysOf(h.records(c, 0, 20, 0)), want); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h *harness) lookupIs(w backup.Writer, collection string, keys []string, want []backup.Record) error {
	got, err := w.Lookup(h.ctx, collection, keys)
	if err != nil {
		return fmt.Errorf("Lookup in %s: %w", collection, err)
	}
	if err := compareRecords(got, want, true); err != nil {
		return fmt.Errorf("Lookup in %s: %w", collection, err)
	}
	return nil
}

func collect(w backup.Writer, ctx context.Context, collection string) ([]string, error) {
	var keys []string
	for key, err := range w.Keys(ctx, collection) {
		if err != nil {
			return nil, fmt.Errorf("Keys of %s: %w", collection, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func sameKeys(got, want []string) error {
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("got %.300q, want %.300q", got, want)
	}
	return nil
}

func (h *harness) keysOnce() error {
	if err := h.fill(0, 30, 0); err != nil {
		return err
	}
	return h.update(func(w backup.Writer) error {
		for _, c := range h.Collections {
			for _, err := range w.Keys(h.ctx, c) {
				if err != nil {
					return err
				}
				break
			}
			keys, err := collect(w, h.ctx, c)
			if err != nil {
				return err
			}
			if err := sameKeys(keys, keysOf(h.records(c, 0, 30, 0))); err != nil {
				return fmt.Errorf("%s: %w", c, err)
			}
		}
		return nil
	})
}

func (h *harness) lookup() error {
	if err := h.fill(0, 20, 0); err != nil {
		return err
	}
	return h.update(func(w backup.Writer) error {
		for _, c := range h.Collections {
			all := h.records(c, 0, 40, 0)
			if err := h.lookupIs(w, c, keysOf(all), all[:20]); err != nil {
				return err
			}
			if err := h.lookupIs(w, c, keysOf(all[20:]), nil); err != nil {
				return err
			}
			if err := h.lookupIs(w, c, keysOf(all[7:8]), all[7:8]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (h *harness) overwrite() error {
	for _, revision := range []int{0, 1, 0} {
		if err := h.fill(0, 10, revision); err != nil {
			return err
		}
		if err := h.expect(h.want(0, 10, revision)); err != nil {
			return err
		}
	}
	return nil
}

func (h *harness) putKeepsNothing() error {
	err := h.update(func(w backup.Writer) error {
		for _, c := range h.Collections {
			records := h.records(c, 0, 20, 0)
			if err := w.Put(h.ctx, c, records); err != nil {
				return err
			}
			for i := range records {
				scribble(records[i].Value)
				records[i] = backup.Record{}
			}
			if err := h.lookupIs(w, c, keysOf(h.records(c, 0, 20, 0)), h.records(c, 0, 20, 0)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return h.expect(h.want(0, 20, 0))
}

func (h *harness) deletes() error {
	if err := h.fill(0, 10, 0); err != nil {
		return err
	}
	if err := h.update(func(w backup.Writer) error { return h.deleteAll(w, 10, 20) }); err != nil {
		return err
	}
	if err := h.expect(h.want(0, 10, 0)); err != nil {
		return err
	}
	for _, from := range []int{6, 4} {
		if err := h.update(func(w backup.Writer) error { return h.deleteAll(w, from, 10) }); err != nil {
			return err
		}
		if err := h.expect(h.want(0, from, 0)); err != nil {
			return err
		}
	}
	return nil
}

func (h *harness) batches() error {
	err := h.update(func(w backup.Writer) error {
		for _, c := range h.Collections {
			if err := errors.Join(w.Put(h.ctx, c, nil), w.Delete(h.ctx, c, nil)); err != nil {
				return fmt.Errorf("an empty batch: %w", err)
			}
			if err := h.lookupIs(w, c, nil, nil); err != nil {
				return fmt.Errorf("an empty batch: %w", err)
			}
		}
		for _, c := range h.Collections {
			if err := w.Put(h.ctx, c, h.records(c, 0, many, 0)); err != nil {
				return fmt.Errorf("Put of %d records: %w", many, err)
			}
		}
		for _, c := range h.Collections {
			half := h.records(c, 500, 1000, 0)
			if err := h.lookupIs(w, c, keysOf(half), half); err != nil {
				return err
			}
		}
		for _, c := range slices.Backward(h.Collections) {
			if err := w.Delete(h.ctx, c, keysOf(h.records(c, 1000, many, 0))); err != nil {
				return fmt.Errorf("Delete of %d keys: %w", many-1000, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return h.expect(h.want(0, 1000, 0))
}

// Keys that are easily mistaken for something else, or for one another.
var oddKeys = []string{
	"a", "A", "a ", " a", "a b", "1", "01", "1.0", "1e0", "null", "true", "*", "%", "_", "a%", "a_",
	"'", "''", `"`, "`", `\`, `\\`, `\n`, "\n", "\t", "'; DROP TABLE servers; --", "?", "$1", ":a",
	".", "..", "../a", "/", "a/b", "~", "~0", "~1", "#", "&amp;", "<a>", "{}", "[]", "a,b", "a=b", `["a","b"]`, `["a", "b"]`, `"a","b"`,
	"é", "e\u0301", "ß", "ss", "ı", "İ", "日本語", "🚀", "👩‍🚀", "\u200b", "\u2028", "\ufeff", "\u202e", "\x7f", "\U0010ffff",
}

func (h *harness) oddKeys() error {
	if h.WithKey == nil {
		return nil
	}
	return h.toldApart(func(collection string) (records []backup.Record) {
		for _, key := range oddKeys {
			if r := h.WithKey(collection, key); r.Key != "" {
				records = append(records, r)
			}
		}
		return records
	})
}

// Parts of keys that are easily mistaken for each other, or where one ends. There is
// an even number of them.
var oddParts = []string{"1", "01", "-1", "a", "A", "a ", "", "a,b", `a","b`, `"`, `\`, "[", "é", "\u2028<&>\x7f"}

func (h *harness) oddParts() error {
	if h.WithParts == nil {
		return nil
	}
	return h.toldApart(func(collection string) []backup.Record {
		records, _ := h.withParts(collection) // checked before
		return records
	})
}

// withParts returns a record for each two of oddParts.
func (f Fixture) withParts(collection string) (records []backup.Record, err error) {
	if f.WithParts == nil {
		return nil, nil
	}
	for _, first := range oddParts {
		for _, second := range oddParts {
			r := f.WithParts(collection, first, second)
			if r.Key == "" {
				continue
			}
			var parts []string
			err := json.Unmarshal([]byte(r.Key), &parts)
			if err != nil || len(parts) < 2 || parts[0] != first || parts[1] != second || codec.JoinKey(parts) != r.Key {
				return nil, fmt.Errorf("backuptest: Fixture.WithParts of %s: the key is %s, want a JSON array like %s, escaped and spaced as in it", collection, r.Key, codec.JoinKey([]string{first, second}))
			}
			records = append(records, r)
		}
	}
	return records, nil
}

// toldApart checks that the records of a collection, each with another key, are
// found, kept and deleted one by one.
func (h *harness) toldApart(records func(collection string) []backup.Record) error {
	want := state{}
	err := h.update(func(w backup.Writer) error {
		clear(want)
		for _, c := range h.Collections {
			want[c] = records(c)
			for _, r := range want[c] {
				if err := w.Put(h.ctx, c, []backup.Record{r}); err != nil {
					return fmt.Errorf("%s: Put of the key %q: %w", c, r.Key, err)
				}
			}
			if err := h.lookupIs(w, c, keysOf(want[c]), want[c]); err != nil {
				return err
			}
			keys, err := collect(w, h.ctx, c)
			if err != nil {
				return err
			}
			if err := sameKeys(keys, keysOf(want[c])); err != nil {
				return fmt.Errorf("Keys of %s: %w", c, err)
			}
			for _, r := range want[c] {
				if err := h.lookupIs(w, c, []string{r.Key}, []backup.Record{r}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := h.expect(want); err != nil {
		return err
	}
	rest := state{}
	err = h.update(func(w backup.Writer) error {
		clear(rest)
		for _, c := range h.Collections {
			for i, r := range want[c] {
				if i%2 == 1 {
					rest[c] = append(rest[c], r)
				} else if err := w.Delete(h.ctx, c, []string{r.Key}); err != nil {
					return fmt.Errorf("%s: Delete of the key %q: %w", c, r.Key, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return h.expect(rest)
}

func (h *harness) wholeBackup() error {
	if h.App == nil {
		return nil
	}
	if err := h.fill(0, backedUp, 0); err != nil {
		return err
	}
	want := h.want(0, backedUp, 0)
	key := backup.Passphrase([]byte("conformance"))
	var file bytes.Buffer
	if _, err := h.App.Backup(h.ctx, &file, h.store, backup.BackupOptions{Only: h.Collections, Recipients: []backup.Recipient{key}}); err != nil {
		return err
	}
	for _, c := range h.App.Collections {
		if !slices.Contains(h.Collections, c.Name) {
			continue
		}
		for _, secret := range h.secrets(c) {
			if bytes.Contains(file.Bytes(), []byte(secret)) {
				return fmt.Errorf("%s: a secret is in the backup in clear", c.Name)
			}
		}
	}
	if err := h.expect(want); err != nil {
		return fmt.Errorf("the store that is backed up: %w", err)
	}
	s, err := backup.OpenSnapshot(h.ctx, bytes.NewReader(file.Bytes()), backup.OpenOptions{Identities: []backup.Identity{key}})
	if err != nil {
		return err
	}
	defer s.Close()
	other := &harness{Fixture: h.Fixture, ctx: h.ctx, store: h.new()}
	for again := range 2 {
		report, err := h.App.Restore(h.ctx, s, other.store, backup.RestoreOptions{Strategy: backup.Replace})
		if err != nil {
			return fmt.Errorf("restore into another store: %w", err)
		}
		if err := other.expect(want); err != nil {
			return fmt.Errorf("restored into another store: %w", err)
		}
		for _, c := range report.Collections {
			if changed := c.Added + c.Updated + c.Deleted; again > 0 && changed > 0 {
				return fmt.Errorf("%s: restoring the same again changes %d records", c.Name, changed)
			}
		}
	}
	return nil
}

// secrets returns the texts among the secrets of a whole backup that are not in
// it by chance, as JSON has them between the quotes.
func (f Fixture) secrets(c backup.Collection) (found []string) {
	for i := range backedUp {
		r := f.Record(c.Name, i, 0)
		d := json.NewDecoder(bytes.NewReader(r.Value))
		d.UseNumber()
		var value any
		if d.Decode(&value) != nil {
			continue // which the other rules will say
		}
		if c.Shape == backup.Map {
			value = map[string]any{r.Key: value}
		}
		for _, pointer := range c.Secrets {
			for _, secret := range at(value, strings.Split(pointer, "/")[1:]) {
				if text, ok := secret.(string); ok && len(text) >= 8 {
					quoted, _ := json.Marshal(text)
					found = append(found, strings.Trim(normal(quoted), `"`))
				}
			}
		}
	}
	return found
}

// at returns the places in a decoded value that the tokens of a JSON Pointer
// name.
func at(value any, tokens []string) (found []any) {
	if len(tokens) == 0 {
		return []any{value}
	}
	token := strings.NewReplacer("~1", "/", "~0", "~").Replace(tokens[0])
	switch value := value.(type) {
	case map[string]any:
		for name, v := range value {
			if token == "*" || token == name {
				found = append(found, at(v, tokens[1:])...)
			}
		}
	case []any:
		for i, v := range value {
			if token == "*" || token == strconv.Itoa(i) {
				found = append(found, at(v, tokens[1:])...)
			}
		}
	}
	return found
}

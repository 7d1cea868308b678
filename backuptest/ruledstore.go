package backuptest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
)

// A RuledStore is a [MapStore] with rules of its own, as the database of a host has
// them. It is the reference of how a store keeps them:
//
//	store := backuptest.RuledStore{
//		MapStore: backuptest.MapStore{"users": {}, "notes": {}},
//		Unique:   map[string][]string{"users": {"/name"}},
//		Refs:     map[string][]backup.Ref{"notes": {{Pointer: "/user", Collection: "users"}}},
//	}
//
// It checks uniqueness and references at the commit and in Settle, and not at each
// step. What was broken when the transaction began may stay so.
//
// Its Writer is also a [backup.Reader], and has Settle, Effects, Parents, AllowDangling and
// NewKeys. When Settle or a trigger has failed, the transaction is dead, as in
// many databases: all later calls fail, and so does the commit.
//
// The pointers lead into the value of a record, also where the collection is a Map.
type RuledStore struct {
	MapStore

	// Unique has for each collection what no two records share: the value at a JSON
	// Pointer, or the values at several pointers with commas between them. A record
	// in which a value is null or absent clashes with no other.
	Unique map[string][]string

	// Refs has the references of each collection.
	Refs map[string][]backup.Ref

	// Numbered names the collections whose keys the store numbers. NewKeys is unsupported
	// for all others.
	Numbered []string

	// Triggers has what runs, in this order, when a record of a collection changes.
	Triggers map[string][]Trigger
}

// A Trigger runs by itself when a record changes: it changes more, or refuses.
type Trigger struct {
	Name string // what Effects returns

	// Do is called after Put or Delete has changed a record, before the next one. It
	// makes changes with w, which run no trigger. It undoes the change if it puts or
	// deletes the record as it was Before. With an error it refuses the change.
	Do func(ctx context.Context, w backup.Writer, c Change) error
}

// A Change is what Put or Delete did to a record.
type Change struct {
	Collection, Key string
	Before, After   json.RawMessage // nil if there was or is no record
}

// Update implements [backup.Sink].
func (s RuledStore) Update(ctx context.Context, write func(backup.Writer) error) error {
	if err := fault.Missing("write", write); err != nil {
		return err
	}
	return s.MapStore.Update(ctx, func(plain backup.Writer) error {
		w := &ruledWriter{mapWriter: plain.(*mapWriter), rules: s}
		w.before = maps.Clone(w.data)
		w.reader.data = w.data
		defer func() { w.reader.over = true }()
		if err := write(w); err != nil {
			return err
		}
		if err := w.Settle(ctx); err != nil {
			return fmt.Errorf("%w: %w", backup.ErrRolledBack, err)
		}
		return nil
	})
}

type ruledWriter struct {
	*mapWriter
	rules    RuledStore
	before   MapStore // the state when the transaction began
	reader   mapReader
	dangling bool           // whether references may dangle
	numbers  map[string]int // collection → the last number that NewKeys has given
}

func (w *ruledWriter) Records(ctx context.Context, collection string) iter.Seq2[backup.Record, error] {
	return func(yield func(backup.Record, error) bool) {
		if err := w.ready(); err != nil {
			yield(backup.Record{}, err)
			return
		}
		w.loops++
		defer func() { w.loops-- }()
		w.reader.Records(ctx, collection)(yield)
	}
}

func (w *ruledWriter) Put(ctx context.Context, collection string, records []backup.Record) error {
	if _, err := w.begin(ctx, collection); err != nil {
		return err
	}
	if err := checkPut(records); err != nil {
		return err
	}
	for _, r := range records {
		err := w.change(ctx, collection, r.Key, func() error {
			return w.mapWriter.Put(ctx, collection, []backup.Record{r})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *ruledWriter) Delete(ctx context.Context, collection string, keys []string) error {
	if _, err := w.begin(ctx, collection); err != nil {
		return err
	}
	for _, key := range keys {
		err := w.change(ctx, collection, key, func() error {
			return w.mapWriter.Delete(ctx, collection, []string{key})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// change changes one record and runs the triggers.
func (w *ruledWriter) change(ctx context.Context, collection, key string, change func() error) error {
	now := func() json.RawMessage {
		if value, ok := w.data[collection][key]; ok {
			return json.RawMessage(value)
		}
		return nil
	}
	c := Change{Collection: collection, Key: key, Before: now()}
	if err := change(); err != nil {
		return err
	}
	if c.After = now(); c.Before == nil && c.After == nil {
		return nil
	}
	for _, t := range w.rules.Triggers[collection] {
		if err := t.Do(ctx, w.mapWriter, c); err != nil {
			return w.fail(broken(collection, key, "", fmt.Errorf("trigger %s: %w", t.Name, err)))
		}
	}
	return nil
}

// fail ends the transaction.
func (w *ruledWriter) fail(err error) error {
	w.failed = fmt.Errorf("the transaction has failed: %w", err)
	return err
}

// Settle checks the rules for the records as they are now. The commit does no more.
func (w *ruledWriter) Settle(ctx context.Context) error {
	if err := cmp.Or(w.ready(), ctx.Err()); err != nil {
		return err
	}
	now, err := w.rules.check(w.data, w.before)
	if err != nil || len(now) == 0 {
		return err
	}
	before, err := w.rules.check(w.before, w.before)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, e := range before {
		known[e.Error()] = true
	}
	var errs []error
	for _, e := range now {
		if !known[e.Error()] && !(w.dangling && errors.Is(e, backup.ErrDangling)) {
			errs = append(errs, e)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return w.fail(errors.Join(errs...))
}

func (w *ruledWriter) Effects(ctx context.Context, collection string) (names []string, err error) {
	if _, err := w.begin(ctx, collection); err != nil {
		return nil, err
	}
	for _, t := range w.rules.Triggers[collection] {
		names = append(names, t.Name)
	}
	return names, nil
}

func (w *ruledWriter) Parents(ctx context.Context, collection string) (parents []string, err error) {
	if _, err := w.begin(ctx, collection); err != nil {
		return nil, err
	}
	for _, ref := range w.rules.Refs[collection] {
		if ref.Collection != collection && !slices.Contains(parents, ref.Collection) {
			parents = append(parents, ref.Collection)
		}
	}
	return parents, nil
}

func (w *ruledWriter) AllowDangling(allow bool) { w.dangling = allow }

// NewKeys counts on from the greatest number that is a key.
func (w *ruledWriter) NewKeys(ctx context.Context, collection string, n int) ([]string, error) {
	records, err := w.begin(ctx, collection)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(w.rules.Numbered, collection) {
		return nil, fmt.Errorf("%w: the store does not number %s", errors.ErrUnsupported, collection)
	}
	if w.numbers == nil {
		w.numbers = map[string]int{}
	}
	for key := range records {
		if number, err := strconv.Atoi(key); err == nil {
			w.numbers[collection] = max(w.numbers[collection], number)
		}
	}
	keys := make([]string, n)
	for i := range keys {
		w.numbers[collection]++
		keys[i] = strconv.Itoa(w.numbers[collection])
	}
	return keys, nil
}

// check returns the records of data that break a rule. Of two that clash it blames
// the record that has changed since before, and the second by key if both have.
func (s RuledStore) check(data, before MapStore) (found []*backup.RecordError, err error) {
	for _, collection := range slices.Sorted(maps.Keys(data)) {
		var kept, changed []string
		for _, key := range slices.Sorted(maps.Keys(data[collection])) {
			if old, ok := before[collection][key]; ok && old == data[collection][key] {
				kept = append(kept, key)
			} else {
				changed = append(changed, key)
			}
		}
		keys := append(kept, changed...)
		for _, unique := range s.Unique[collection] {
			clashes, err := clashing(data, collection, keys, unique)
			if err != nil {
				return nil, err
			}
			found = append(found, clashes...)
		}
		for _, ref := range s.Refs[collection] {
			missing, err := dangling(data, collection, keys, ref)
			if err != nil {
				return nil, err
			}
			found = append(found, missing...)
		}
	}
	return found, nil
}

// clashing returns an error for each record that has the value of one before it.
func clashing(data MapStore, collection string, keys []string, unique string) (found []*backup.RecordError, err error) {
	owners := map[string]string{} // value → key
	for _, key := range keys {
		value, err := uniqueValue(unique, data[collection][key])
		if err != nil {
			return nil, broken(collection, key, unique, err)
		}
		owner, taken := owners[value]
		switch {
		case value == "":
		case taken:
			e := broken(collection, key, unique, fmt.Errorf("%w: change one of the two records", backup.ErrClash))
			e.With = owner
			found = append(found, e)
		default:
			owners[value] = key
		}
	}
	return found, nil
}

// dangling returns an error for each reference to a record that does not exist.
func dangling(data MapStore, collection string, keys []string, ref backup.Ref) (found []*backup.RecordError, err error) {
	for _, key := range keys {
		targets, err := targetsOf(ref, data[collection][key])
		if err != nil {
			return nil, broken(collection, key, ref.Pointer, err)
		}
		for _, target := range targets {
			if _, ok := data[ref.Collection][target]; !ok {
				found = append(found, broken(collection, key, ref.Pointer, fmt.Errorf("%w: there is no %q in %s", backup.ErrDangling, target, ref.Collection)))
			}
		}
	}
	return found, nil
}

func broken(collection, key, pointer string, err error) *backup.RecordError {
	return &backup.RecordError{Collection: collection, Key: key, Pointer: pointer, Offset: -1, Err: err}
}

// uniqueValue returns one text for the values at the pointers, or "" if a value is
// null or absent.
func uniqueValue(pointers, record string) (string, error) {
	key, value, err := parse(pointers, record)
	if err != nil {
		return "", err
	}
	var parts []string
	for _, p := range key {
		part := codec.Get(value, p)
		if part == nil || string(part) == "null" {
			return "", nil
		}
		parts = append(parts, string(codec.Canonical(nil, part)))
	}
	return codec.JoinKey(parts), nil
}

// targetsOf returns the keys of the records that a record refers to.
func targetsOf(ref backup.Ref, record string) (targets []string, err error) {
	key, value, err := parse(ref.Pointer, record)
	if err != nil {
		return nil, err
	}
	if len(key) > 1 {
		target, ok, err := key.Reference(value)
		if ok {
			targets = append(targets, target)
		}
		return targets, err
	}
	err = codec.Find(value, key, func(_ string, start, end int) error {
		if string(value[start:end]) == "null" {
			return nil
		}
		target, err := codec.Identity(value[start:end])
		targets = append(targets, target)
		return err
	})
	return targets, err
}

func parse(pointers, record string) (codec.Key, []byte, error) {
	key, err := codec.ParseKey(pointers)
	if err != nil {
		return nil, nil, err
	}
	value, err := codec.Compact(nil, []byte(record), codec.Defaults)
	return key, value, err
}

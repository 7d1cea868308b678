package backuptest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/codec"
)

// A Fixture describes the data of the stores under test.
type Fixture struct {
	// Collections are names of collections that the store knows. A collection
	// comes after the collections that its records refer to.
	Collections []string

	// Record returns a sample record. It must be a pure function.
	//
	// number, from 0 to 1999, is the identity of the record: two numbers have
	// different keys. revision, 0 or 1, selects one of two values: both revisions
	// of a number have the same key and different values. Where the store allows
	// it, revision 1 lacks a member that revision 0 has.
	//
	// A record may refer only to records with the same number, in collections
	// before its own.
	//
	// The store must give a value back as Record returns it, with every digit of
	// every number. Only white space and the order of members may differ.
	Record func(collection string, number, revision int) backup.Record

	// WithKey returns a sample record with the given key. The suite passes keys with
	// spaces, quotes or letters of many scripts, and keys that look like SQL or like
	// a path. WithKey returns the zero Record for a key that the collection cannot
	// have. If WithKey is nil, the suite tests no such keys. The records must refer
	// to nothing.
	WithKey func(collection, key string) backup.Record

	// WithParts returns a sample record whose key has several parts, like the key
	// of a table that joins two other tables. The first two parts are first and
	// second; any further parts are always the same. The suite passes unusual
	// texts, integers and the empty text. WithParts returns the zero Record for
	// parts that the collection cannot have. If WithParts is nil, the suite tests no
	// such keys. The records must refer to nothing.
	WithParts func(collection, first, second string) backup.Record

	// WithUnique returns the sample record number, from 0 to 9, with value, from 0 to 9,
	// in a field that must be unique: two records with one value clash. It has the key
	// of Record, and refers to what Record may refer to. WithUnique returns the zero
	// Record for a collection without such a field. If WithUnique is nil, the suite does
	// not test uniqueness.
	WithUnique func(collection string, number, value int) backup.Record

	// Dangling returns a sample record that refers to a record that does not exist. Its
	// key is none of Record's. Dangling returns the zero Record for a collection in
	// which the store enforces no reference. If Dangling is nil, the suite does not test
	// references.
	Dangling func(collection string) backup.Record

	// App declares Collections as the host does, and may declare others. The suite
	// makes a whole backup with it and restores the backup into another store. If
	// App is nil, the suite does not try this; set App if the store treats secrets
	// in a special way.
	//
	// The records of revision 0 must be valid. If a collection has Secrets, some of
	// them must be texts of 8 characters or more that occur in no other field.
	App *backup.App

	// Unknown is the name of a collection that the store does not know. Empty
	// means "no_such_collection".
	Unknown string

	// Blocking says that a View blocks every Update until it ends. The host then
	// stands still during a backup, so a store should avoid this.
	Blocking bool
}

// check returns an error if the suite could not test a store with f.
func (f Fixture) check() error {
	if len(f.Collections) == 0 || f.Record == nil {
		return errors.New("backuptest: set Collections and Record of the Fixture")
	}
	for _, c := range f.Collections {
		a, b, other := f.Record(c, 0, 0), f.Record(c, 0, 1), f.Record(c, 1, 0)
		switch {
		case a.Key == "" || a.Key != b.Key || a.Key == other.Key:
			return fmt.Errorf("backuptest: Fixture.Record of %s: the two revisions of record 0 must share a key that record 1 does not have, but the keys are %q, %q and %q", c, a.Key, b.Key, other.Key)
		case equalJSON(a.Value, b.Value):
			return fmt.Errorf("backuptest: Fixture.Record of %s: the two revisions of a record must have different values", c)
		}
	}
	for _, c := range f.Collections {
		if _, err := f.withParts(c); err != nil {
			return err
		}
		if err := f.checkRules(c); err != nil {
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
			return fmt.Errorf("backuptest: Fixture.App does not declare the collection %s", c)
		case len(f.App.Collections[i].Secrets) > 0 && len(f.secrets(f.App.Collections[i])) == 0:
			return fmt.Errorf("backuptest: Fixture.Record of %s: none of the first %d records has a secret text of 8 characters or more; add a secret to one of them", c, backedUp)
		}
	}
	return nil
}

// checkRules checks the samples for the rules of the store.
func (f Fixture) checkRules(collection string) error {
	if f.WithUnique != nil {
		a, b := f.WithUnique(collection, 0, 0), f.WithUnique(collection, 0, 1)
		switch key := f.Record(collection, 0, 0).Key; {
		case a.Key == "" && b.Key == "":
		case a.Key != key || b.Key != key:
			return fmt.Errorf("backuptest: Fixture.WithUnique of %s: record 0 must have the key of Fixture.Record, %q, but has %q and %q", collection, key, a.Key, b.Key)
		case equalJSON(a.Value, b.Value):
			return fmt.Errorf("backuptest: Fixture.WithUnique of %s: the record is the same with two unique values", collection)
		}
	}
	if f.Dangling != nil {
		key := f.Dangling(collection).Key
		for number := range many {
			if key != "" && key == f.Record(collection, number, 0).Key {
				return fmt.Errorf("backuptest: Fixture.Dangling of %s: the key %q is that of record %d of Fixture.Record", collection, key, number)
			}
		}
	}
	return nil
}

// many is the number of records in a large batch.
const many = 2000

// backedUp is the number of records of each collection in a whole backup.
const backedUp = 50

// oddParts are parts of keys that a store easily confuses, or whose end it easily
// misses. Their number is even: toldApart deletes every other record, so the second
// part alone decides which records stay.
var oddParts = []string{"1", "01", "-1", "a", "A", "a ", "", "a,b", `a","b`, `"`, `\`, "[", "é", "\u2028<&>\x7f"}

// withParts returns a record for each pair of oddParts.
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
				return nil, fmt.Errorf("backuptest: Fixture.WithParts of %s: the key is %s; make it with backup.JoinKey, so that it begins like %s", collection, r.Key, codec.JoinKey([]string{first, second}))
			}
			records = append(records, r)
		}
	}
	return records, nil
}

// secrets returns the secret texts of a whole backup as JSON writes them between the
// quotes. It leaves out short texts, which a backup may contain by chance.
func (f Fixture) secrets(c backup.Collection) (found []string) {
	var pointers []codec.Pointer
	for _, text := range c.Secrets {
		if p, err := codec.ParsePointer(text); err == nil { // Validate refuses all others
			pointers = append(pointers, p)
		}
	}
	for i := range backedUp {
		r := f.Record(c.Name, i, 0)
		value := []byte(r.Value)
		if c.Shape == backup.Map {
			value = fmt.Appendf(nil, "{%s:%s}", codec.Quote(r.Key), value)
		}
		var compact bytes.Buffer
		if json.Compact(&compact, value) != nil {
			continue // other rules report it
		}
		_ = codec.Find(compact.Bytes(), pointers, func(_ string, start, end int) error {
			var text string
			if json.Unmarshal(compact.Bytes()[start:end], &text) == nil && len(text) >= 8 {
				quoted := codec.Quote(text)
				found = append(found, string(quoted[1:len(quoted)-1]))
			}
			return nil
		})
	}
	return found
}

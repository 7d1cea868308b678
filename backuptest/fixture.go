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

const many = 2000

// backedUp is how many records of each collection are in a whole backup.
const backedUp = 50

// Parts of keys that are easily mistaken for each other, or where one ends. There is
// an even number of them.
var oddParts = []string{"1", "01", "-1", "a", "A", "a ", "", "a,b", `a","b`, `"`, `\`, "[", "é", "\u2028<&>\x7f"}

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

// secrets returns the texts among the secrets of a whole backup that are not in
// it by chance, as JSON has them between the quotes.
func (f Fixture) secrets(c backup.Collection) (found []string) {
	var pointers []codec.Pointer
	for _, text := range c.Secrets {
		if p, err := codec.ParsePointer(text); err == nil { // else Validate has refused it
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
			continue // which the other rules will say
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

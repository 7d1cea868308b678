package backup

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/seal"
)

const (
	// maxKeys is how many wrapped keys a snapshot may have. Each of them costs the
	// reader a key derivation.
	maxKeys = 16

	// maxKeyIDs is how many names of keys are shown.
	maxKeyIDs = 64
)

// wrapFor wraps the data key for each of the recipients.
func wrapFor(key []byte, recipients []Recipient) ([]json.RawMessage, error) {
	if len(recipients) > maxKeys {
		return nil, fmt.Errorf("%w: %d recipients, the most is %d", ErrLimit, len(recipients), maxKeys)
	}
	var keys []json.RawMessage
	for _, r := range recipients {
		wrapped, err := r.Wrap(key)
		if err != nil {
			return nil, fmt.Errorf("wrap the key of the snapshot: %w", err)
		}
		if wrapped, err = codec.Compact(nil, wrapped, hostLimits); err != nil || keyType(wrapped) == "" {
			return nil, fmt.Errorf("%w: the Recipient %T returned a wrapped key that is no JSON object with a type", ErrInvalid, r)
		}
		keys = append(keys, wrapped)
	}
	if err := checkKeys(keys); err != nil {
		return nil, fmt.Errorf("wrap the key of the snapshot: %w", err)
	}
	return keys, nil
}

// checkKeys checks the wrapped keys before anything is derived: their form, and what it
// takes to try them all.
func checkKeys(keys []json.RawMessage) error {
	var work int64
	for i, wrapped := range keys {
		cost, err := seal.CheckWrapped(wrapped)
		switch {
		case errors.Is(err, seal.ErrLimits):
			return fmt.Errorf("%w: wrapped key %d of %d: %w; %s", ErrLimit, i+1, len(keys), err, notOurs)
		case err != nil:
			return fmt.Errorf("%w: wrapped key %d of %d: %w; use another backup", ErrDamaged, i+1, len(keys), err)
		}
		work += cost.Work()
	}
	if work > seal.MaxWork {
		return fmt.Errorf("%w: to try its %d wrapped keys goes over %s of memory in all passes, the most is %s; %s",
			ErrLimit, len(keys), seal.Bytes(work), seal.Bytes(seal.MaxWork), notOurs)
	}
	return nil
}

const notOurs = "this library does not make such snapshots: make sure that this one is yours, or use another backup"

// A lock is a wrapped key, and what a try of it takes.
type lock struct {
	wrapped json.RawMessage
	cost    seal.Cost
}

// locks returns the wrapped keys in the order in which they are tried: the cheap first.
func (s *Snapshot) locks() (locks []lock) {
	for _, wrapped := range s.encryption.Keys {
		cost, _ := seal.CheckWrapped(wrapped) // checkKeys has seen its errors
		locks = append(locks, lock{wrapped, cost})
	}
	slices.SortStableFunc(locks, func(a, b lock) int {
		if p, q := byPassphrase(a.wrapped), byPassphrase(b.wrapped); s.proofFirst && p != q {
			if p { // a passphrase also proves the snapshot
				return -1
			}
			return 1
		}
		return cmp.Compare(a.cost.Work(), b.cost.Work())
	})
	return locks
}

// KeyCosts says what it takes to try the wrapped keys of the snapshot, for a person: a
// text such as "passphrase: 64 MiB of memory, 3 passes" for each key that takes more
// than next to nothing.
func (s *Snapshot) KeyCosts() []string {
	if s == nil || s.encryption == nil {
		return nil
	}
	var costs []string
	for _, l := range s.locks() {
		if l.cost != (seal.Cost{}) {
			costs = append(costs, seal.PassphraseID+": "+l.cost.String())
		}
	}
	return costs
}

// unwrapKey unwraps the data key with the first identity that fits. Other forms of a
// passphrase are tried when no key fits as it was given.
func (s *Snapshot) unwrapKey(ctx context.Context, identities []Identity, progress func(Progress)) error {
	t := tries{locks: s.locks(), progress: progress}
	fits, err := t.all(ctx, identities, seal.MaxTries)
	tooMany := t.skipped
	if !fits && err == nil && t.broken == nil {
		fits, err = t.all(ctx, otherForms(identities), min(t.spent+seal.MaxForms, seal.MaxTries))
	}
	switch {
	case err != nil:
		return err
	case fits:
		s.key, s.byPassphrase = t.key, t.byPassphrase
		return nil
	case t.broken != nil:
		return t.broken
	case tooMany:
		return fmt.Errorf("%w: to try all of the given keys goes over more than %s of memory in all passes; give only the key that was in use when the snapshot was made", ErrLimit, seal.Bytes(seal.MaxTries))
	}
	return fmt.Errorf("%w: none of the given keys opens this snapshot, which takes %s; try the key that was in use when it was made", ErrWrongKey, seal.NameKeys(keyIDs(s.encryption.Keys)))
}

// otherForms returns the identities for other forms of passphrases (see [Identity]).
func otherForms(identities []Identity) (others []Identity) {
	for _, id := range identities {
		if f, ok := id.(interface{ OtherForms() []Identity }); ok {
			others = append(others, f.OtherForms()...)
		}
	}
	return others
}

// tries are the tries to open one snapshot.
type tries struct {
	locks    []lock
	progress func(Progress)

	spent   int64
	broken  error // of a wrapped key; another may fit all the same
	skipped bool  // a try would have taken too much

	key          []byte
	byPassphrase bool
}

// all tries all identities on all locks until one fits, as long as all tries take no
// more than most. Its error says that no more is to be tried.
func (t *tries) all(ctx context.Context, identities []Identity, most int64) (fits bool, err error) {
	var total int64
	for _, l := range t.locks {
		total += l.cost.Work()
	}
	for _, l := range t.locks {
		for _, id := range identities {
			if err := ctx.Err(); err != nil {
				return false, err // an Unwrap may take seconds
			}
			if t.spent+l.cost.Work() > most {
				t.skipped = true
				continue
			}
			if t.progress != nil && l.cost.Work() > 0 {
				t.progress(Progress{Phase: "key", Bytes: min(t.spent, total), Total: total})
			}
			key, err := id.Unwrap(l.wrapped)
			if err == nil {
				t.key, t.byPassphrase = key, byPassphrase(l.wrapped)
				return true, nil
			}
			if !errors.Is(err, seal.ErrOtherType) {
				if t.spent += l.cost.Work(); l.cost.Memory >= seal.UsualMemory {
					runtime.GC() // so that the memory of two tries is never held at once
				}
			}
			switch {
			case errors.Is(err, ErrWrongKey):
			case errors.Is(err, ErrDamaged), errors.Is(err, ErrLimit):
				t.broken = cmp.Or(t.broken, err)
			default:
				return false, err
			}
		}
	}
	return false, nil
}

// keyType returns the type of a wrapped key, empty if it has none.
func keyType(wrapped json.RawMessage) (name string) {
	if value := codec.Get(wrapped, codec.Pointer{"type"}); value == nil || codec.Unmarshal(value, &name) != nil {
		return ""
	}
	return name
}

// keyIDs names the keys that open one of the wrapped keys.
func keyIDs(keys []json.RawMessage) []string {
	var ids []string
	add := func(id string) {
		if id = fault.Shorten(id); !slices.Contains(ids, id) && len(ids) < maxKeyIDs {
			ids = append(ids, id)
		}
	}
	for _, wrapped := range keys {
		named := namedKeys(wrapped)
		switch kind := keyType(wrapped); {
		case kind == seal.TypePassphrase:
			add(seal.PassphraseID)
		case kind != "" && len(named) == 0:
			add("a key of type " + kind)
		}
		for _, id := range named {
			add(id)
		}
	}
	return ids
}

// namedKeys returns the names of the keys that a wrapped key says open it. They are
// for people: nothing proves them.
func namedKeys(wrapped json.RawMessage) (ids []string) {
	if value := codec.Get(wrapped, codec.Pointer{"ids"}); value == nil || codec.Unmarshal(value, &ids) != nil {
		return nil
	}
	return ids
}

package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tomo-project/backup/internal/keyset"
)

// seen remembers the keys of all records so far, and the references to keys that
// had not come yet.
type seen struct {
	keys map[string]*keyset.Set // of the collections that take part

	// values has the hashes of the values of each Unique of a collection.
	values map[string][]*keyset.Set

	open    openRefs
	least   int  // how many bytes in open are worth a look
	bounded bool // open is given up when it takes too much memory, and not moved to a file
	over    bool // open was given up: the snapshot is read again when all keys are known
}

// How much memory the references to records that have not come yet may take, if they can
// be moved to a file, and if the snapshot has to be read again for them.
const (
	maxOpenBytes  = 1 << 20
	maxAgainBytes = 4 << 20
)

func newSeen(collections []*collection) *seen {
	s := &seen{keys: make(map[string]*keyset.Set), values: make(map[string][]*keyset.Set), open: openRefs{cols: collections}}
	for _, col := range collections {
		s.keys[col.Name] = keyset.New()
		for range col.uniques {
			s.values[col.Name] = append(s.values[col.Name], keyset.New())
		}
	}
	return s
}

// admit remembers the keys and the references of the valid records of a batch that skip,
// if not nil, does not keep out. It adds to p what is wrong with the others, and calls f for
// each of these before.
func (s *seen) admit(b *batch, p *problems, skip func(i int) bool, f func(i int)) error {
	targets := make([]*keyset.Set, len(b.col.refs))
	for i, r := range b.col.refs {
		targets[i] = s.keys[r.Collection]
	}
	for i := range b.items {
		r, n := &b.items[i], &b.notes[i]
		if n.left = n.err != nil || skip != nil && skip(i); n.left {
			continue
		}
		found := findings{total: n.wrong}
		if n.wrong == 0 {
			if pointer, err := s.take(b, n); err != nil {
				r.key = string(n.key)
				found = findings{[]*RecordError{b.col.problem(r, pointer, err)}, 1}
			}
		} else if p.room() > 0 {
			found = b.col.examine(r, p.room())
		}
		if n.left = found.total > 0; n.left {
			f(i)
			if err := p.addAll(b.col.Name, found); err != nil {
				return err
			}
			continue
		}
		if !n.sure || slices.ContainsFunc(b.pad.links[n.first:n.last], func(l link) bool {
			return targets[l.ref] != nil && !targets[l.ref].HasBytes(l.key)
		}) {
			r.key = string(n.key)
			s.addRefs(b.col, r)
		}
	}
	return nil
}

// take remembers the key and the unique values of a record. If another record has one of
// them, it returns an error, and remembers none.
func (s *seen) take(b *batch, n *note) (pointer string, err error) {
	keys, values := s.keys[b.col.Name], s.values[b.col.Name]
	if len(values) == 0 && keys.AddBytes(n.key) {
		return "", nil
	}
	if len(values) == 0 || keys.HasBytes(n.key) {
		return "", errors.New("another record has the same key")
	}
	hashes := b.pad.values[n.value : n.value+len(values)]
	for i, set := range values {
		if hashes[i] != 0 && set.HasHash(hashes[i]) {
			u := b.col.uniques[i]
			return u.declared, fmt.Errorf("another record has the same %s", u.declared)
		}
	}
	keys.AddBytes(n.key)
	for i, set := range values {
		if hashes[i] != 0 {
			set.AddHash(hashes[i])
		}
	}
	return "", nil
}

// addRefs remembers the references of a record to collections that take part.
func (s *seen) addRefs(col *collection, r *item) {
	if len(col.refs) == 0 || s.over {
		return
	}
	col.eachRef(col.view(r.key, r.value), func(target, ref, pointer string, err error) {
		if keys := s.keys[target]; err == nil && keys != nil && !keys.Has(ref) && !s.over {
			s.add(openRef{col, r.key, r.offset, col.inside(r.key, pointer), target, ref})
		}
	})
}

// add adds a reference. From time to time it drops those whose target has come since.
func (s *seen) add(o openRef) {
	most := maxOpenBytes
	if s.bounded {
		most = maxAgainBytes
	}
	if s.open.add(o); len(s.open.buf) < max(most, s.least) {
		return
	}
	s.open.drop(func(h heldRef) bool { return s.keys[h.target.Name].HasBytes(h.ref) })
	if len(s.open.buf) > most/2 {
		if s.bounded {
			s.open, s.over = openRefs{}, true
		} else {
			s.open.spill()
		}
	}
	s.least = 2 * len(s.open.buf)
}

// dangling returns the references whose target never came.
func (s *seen) dangling(tolerate bool) (*problems, error) {
	p := &problems{tolerate: tolerate}
	err := s.open.all(func(h heldRef) error {
		if keys := s.keys[h.target.Name]; keys == nil || keys.HasBytes(h.ref) {
			return nil
		}
		return p.add(h.problem())
	})
	if err == errTooMany {
		err = nil
	}
	return p, err
}

// dangling returns the references in the snapshot that point to no record there.
func (in *incoming) dangling(ctx context.Context) (*problems, error) {
	if !in.seen.over {
		return in.seen.dangling(in.opts.AllowDangling)
	}
	p := &problems{tolerate: in.opts.AllowDangling}
	for _, col := range in.collections {
		if len(col.refs) == 0 {
			continue
		}
		err := in.eachBatch(ctx, col, func(b *batch) (err error) {
			for i := range b.items {
				r := &b.items[i]
				col.eachRef(col.view(r.key, r.value), func(target, ref, pointer string, wrong error) {
					keys := in.seen.keys[target]
					if err != nil || wrong != nil || keys == nil || keys.Has(ref) {
						return
					}
					err = p.add(openRef{col, r.key, r.offset, col.inside(r.key, pointer), target, ref}.problem())
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err == errTooMany {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

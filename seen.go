package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/keyset"
)

// seen remembers the keys of all records so far, and the references to keys that
// had not come yet.
type seen struct {
	keys map[string]*keyset.Set // of the collections that take part

	open    []openRef
	bytes   int  // that open takes, about
	swept   int  // bytes after open was swept last
	bounded bool // open is given up when it takes more than maxOpenBytes
	over    bool // open was given up
}

// maxOpenBytes is how much memory the references in a snapshot may take that have not
// come yet. If they take more, the snapshot is read again when all keys are known.
const maxOpenBytes = 8 << 20

type openRef struct {
	from        *collection
	key         string
	offset      int64
	pointer     string
	target, ref string
}

func newSeen(collections []*collection) *seen {
	s := &seen{keys: make(map[string]*keyset.Set)}
	for _, col := range collections {
		s.keys[col.Name] = keyset.New()
	}
	return s
}

// admit remembers the keys and the references of the valid records of a batch that skip,
// if not nil, does not keep out. It calls f with what is wrong with one of the others.
func (s *seen) admit(b *batch, skip func(i int) bool, f func(i int, found []*RecordError) error) error {
	keys := s.keys[b.col.Name]
	targets := make([]*keyset.Set, len(b.col.refs))
	for i, r := range b.col.refs {
		targets[i] = s.keys[r.Collection]
	}
	for i := range b.items {
		r, n := &b.items[i], &b.notes[i]
		if n.left = n.err != nil || skip != nil && skip(i); n.left {
			continue
		}
		found := n.found
		if len(found) == 0 && !keys.AddBytes(n.key) {
			r.key = string(n.key)
			found = []*RecordError{b.col.problem(r, "", errors.New("another record has the same key"))}
		}
		if n.left = len(found) > 0; n.left {
			if err := f(i, found); err != nil {
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
	s.open = append(s.open, o)
	if s.bytes += o.bytes(); s.bytes < maxOpenBytes || s.bytes < 2*s.swept {
		return
	}
	s.bytes = 0
	s.open = slices.DeleteFunc(s.open, func(o openRef) bool {
		came := s.keys[o.target].Has(o.ref)
		if !came {
			s.bytes += o.bytes()
		}
		return came
	})
	if s.swept = s.bytes; s.bounded && s.bytes > maxOpenBytes/2 {
		s.open, s.over = nil, true
	}
}

// bytes returns about how much memory a reference takes.
func (o openRef) bytes() int { return 128 + len(o.key) + len(o.pointer) + len(o.ref) }

// dangling returns the references whose target never came.
func (s *seen) dangling(tolerate bool) *problems {
	p := &problems{tolerate: tolerate}
	for _, o := range s.open {
		if keys := s.keys[o.target]; keys == nil || keys.Has(o.ref) {
			continue
		}
		if p.add(o.problem()) != nil {
			break
		}
	}
	return p
}

// dangling returns the references in the snapshot that point to no record there.
func (in *incoming) dangling(ctx context.Context) (*problems, error) {
	if !in.seen.over {
		return in.seen.dangling(in.opts.AllowDangling), nil
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

func (o openRef) problem() *RecordError {
	return &RecordError{Collection: o.from.Name, Key: o.key, Pointer: cut(o.pointer), Offset: o.offset,
		Err: fmt.Errorf("there is no %q in %s", fault.Shorten(o.ref), o.target)}
}

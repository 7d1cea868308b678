package filestore

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/tomo-project/backup"
)

var errOver = errors.New("filestore: used after its function returned")

// A view reads collections.
type view struct {
	folder *folder // only in an Update, which loads each set on demand
	sets   map[string]*set
	over   bool
}

func (v *view) end() {
	v.over = true
	for _, s := range v.sets {
		s.close()
	}
}

func (v *view) set(ctx context.Context, collection string) (*set, error) {
	if v.over {
		return nil, errOver
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s := v.sets[collection]; s != nil {
		return s, s.err
	}
	if v.folder != nil {
		for _, c := range v.folder.collections {
			if c.Name == collection {
				s, err := v.folder.load(ctx, c)
				if err != nil {
					s.close()
					return nil, err
				}
				v.sets[collection] = s
				return s, nil
			}
		}
	}
	return nil, fmt.Errorf("filestore: unknown collection %q", collection)
}

// Records implements [backup.Reader].
func (v *view) Records(ctx context.Context, collection string) iter.Seq2[backup.Record, error] {
	return func(yield func(backup.Record, error) bool) {
		s, err := v.set(ctx, collection)
		if err != nil {
			yield(backup.Record{}, err)
			return
		}
		for _, key := range s.sorted() {
			if err := ctx.Err(); err != nil {
				yield(backup.Record{}, err)
				return
			}
			value, err := s.value(key)
			if err != nil {
				yield(backup.Record{Key: key}, s.about(key, err))
				return
			}
			if !yield(backup.Record{Key: key, Value: value}, nil) {
				return
			}
		}
	}
}

// A writer changes collections. Values wait in the spool until Settle or the commit.
type writer struct {
	view
	failed  error  // the first failure; nothing is committed after it
	stage   *stage // has all changes; nil if there are none
	settled bool   // nothing has changed since stage was made
}

func (w *writer) fail(err error) error {
	if w.failed == nil {
		w.failed = err
	}
	return err
}

// Keys implements [backup.Writer].
func (w *writer) Keys(ctx context.Context, collection string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		s, err := w.set(ctx, collection)
		if err != nil {
			yield("", w.fail(err))
			return
		}
		for key := range s.entries {
			if err := ctx.Err(); err != nil {
				yield("", w.fail(err))
				return
			}
			if !yield(key, nil) {
				return
			}
		}
	}
}

// Lookup implements [backup.Writer].
func (w *writer) Lookup(ctx context.Context, collection string, keys []string) ([]backup.Record, error) {
	s, err := w.set(ctx, collection)
	if err != nil {
		return nil, w.fail(err)
	}
	var found []backup.Record
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return nil, w.fail(err)
		}
		if _, ok := s.entries[key]; !ok {
			continue
		}
		value, err := s.value(key)
		if err != nil {
			return nil, w.fail(s.about(key, err))
		}
		found = append(found, backup.Record{Key: key, Value: value})
	}
	return found, nil
}

// Put implements [backup.Writer].
func (w *writer) Put(ctx context.Context, collection string, records []backup.Record) error {
	s, err := w.set(ctx, collection)
	if err != nil {
		return w.fail(err)
	}
	w.settled = false
	for _, r := range records {
		if err := ctx.Err(); err != nil {
			return w.fail(err)
		}
		if err := s.put(r); err != nil {
			return w.fail(s.about(r.Key, err))
		}
	}
	return nil
}

// Delete implements [backup.Writer].
func (w *writer) Delete(ctx context.Context, collection string, keys []string) error {
	s, err := w.set(ctx, collection)
	if err != nil {
		return w.fail(err)
	}
	w.settled = false
	for _, key := range keys {
		if _, ok := s.entries[key]; ok {
			delete(s.entries, key)
			s.changed[key] = true
		}
	}
	return nil
}

// Settle prepares all of the commit but the exchange of the folders. So a plan finds out
// that a folder is a mount point, that the disk is full, or that a file has no valid
// name. After it only the exchange is left.
func (w *writer) Settle(ctx context.Context) error {
	if w.over {
		return errOver
	}
	if w.failed != nil || w.settled {
		return w.failed
	}
	if err := w.discard(); err != nil {
		return w.fail(err)
	}
	var err error
	if w.stage, err = w.folder.prepare(ctx, w.sets); err != nil {
		w.stage = nil
		return w.fail(err)
	}
	w.settled = true
	return nil
}

// commit exchanges the folders if anything has changed.
func (w *writer) commit(ctx context.Context) error {
	if err := w.Settle(ctx); err != nil || w.stage == nil {
		return err
	}
	err := w.stage.commit(ctx)
	if errors.Is(err, errStuck) {
		w.stage = nil // it may be the folder now
	}
	return err
}

// discard removes the stage, or after an exchange the old folder.
func (w *writer) discard() error {
	if w.stage == nil {
		return nil
	}
	name := w.stage.name
	w.stage = nil
	if err := w.folder.remove(name); err != nil {
		return w.folder.failed("remove what was prepared for", "", err)
	}
	return nil
}

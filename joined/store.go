// Package joined makes one store of several: for a host that keeps its rows in a
// database, and beside it the files that users have uploaded. Both then belong to one
// backup, and come back with one restore.
//
//	store := &joined.Store{Parts: []joined.Part{
//		{Store: database, Collections: []string{"users", "notes"}},
//		{Store: files, Collections: []string{"attachments"}},
//	}}
//
// # What is one step, and what is not
//
// No two stores can commit in one step. An Update does all that can be done before: it
// lets every part check and prepare its commit, and then commits the parts one after
// another, in the order of Parts. If anything fails before the first commit, nothing is
// changed. A failure between two commits is rare, as all is prepared: the disk fails, or
// the process is killed. The earlier parts then have the changes, and the later ones do
// not. The error says which, and a restore ends with [backup.ErrUncertain]. The same
// restore, carried out again, completes what is missing. The Undo of a Manager brings back
// what was there before, in all parts.
//
// State first the part whose commit is the most likely to fail, and last the one whose
// commit is only a rename: the database first, the files last. A store that finds
// conflicts with other writers only at its commit, such as Badger, must be the first.
//
// # One point in time
//
// A View shows each part at one point in time. The parts begin one right after another,
// the last of Parts first. What a host changes in two parts, it changes one after the
// other, and a View may begin in between. If a part is a folder of package filestore,
// the host holds its lock while it changes both. Then only the moment is left between
// the copy of the files and the beginning of the next part.
package joined

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
)

// A Store is a [backup.DataSource] and a [backup.Sink] over the collections of several
// stores. It is safe for concurrent use if they are. It must not be copied.
//
// Updates of one Store come one after another, and no View begins during an Update. So
// the function of an Update must call neither.
type Store struct {
	// Parts are the stores, in the order in which an Update commits them. Each store is
	// one part.
	Parts []Part

	turn turn
}

// A Part is a store with some of the collections.
type Part struct {
	Store backup.Store

	// Collections are those in Store, as far as they belong to the joined store. A
	// collection is in one part only.
	Collections []string
}

var _ backup.Store = (*Store)(nil)

// View calls read with a Reader on a View of each part.
func (s *Store) View(ctx context.Context, read func(backup.Reader) error) error {
	of, err := s.check("read", read)
	if err != nil {
		return err
	}
	if err := s.turn.take(ctx); err != nil {
		return err
	}
	give := sync.OnceFunc(s.turn.give)
	defer give()
	r := reader{of, make([]backup.Reader, len(s.Parts))}
	called := false
	// The order of the locks is that of Update, so that nobody waits for ever.
	var begin func(i int) error
	begin = func(i int) error {
		if i < 0 {
			give()
			called = true
			return read(r)
		}
		return s.Parts[i].Store.View(ctx, func(inner backup.Reader) error {
			if err := fault.Missing(fmt.Sprintf("the Reader of %s", s.Parts[i].names()), inner); err != nil {
				return err
			}
			r.parts[i] = inner
			return begin(i - 1)
		})
	}
	err = begin(len(s.Parts) - 1)
	if err == nil && !called {
		err = errors.New("joined: the View of a part returned without calling read")
	}
	return err
}

// mostRuns is how often an Update begins, if a part begins its transaction again.
const mostRuns = 10

// Update calls write with a Writer on a transaction in each part. The Writer has the
// optional methods of the parts, and is a Reader if the Writer of each part is. If a part
// repeats its transaction, all begin again and write is called again, up to ten times.
//
// Update commits as the package comment says. Once the first commit has begun, it no
// longer matters whether ctx is done. If some parts have the changes and others do not,
// the error says which, and does not wrap [backup.ErrRolledBack].
func (s *Store) Update(ctx context.Context, write func(backup.Writer) error) error {
	of, err := s.check("write", write)
	if err != nil {
		return err
	}
	if err := s.turn.take(ctx); err != nil {
		return err
	}
	defer s.turn.give()
	for range mostRuns {
		r := &run{parts: s.Parts, of: of, write: write}
		if err = r.update(ctx); r.repeats == nil {
			return err
		}
		err = fault.RolledBack(fmt.Errorf("joined: the store of %s has begun its transaction again %d times because of others; try again when less is written", r.repeats.names(), mostRuns))
	}
	return err
}

// check checks the declaration. It returns the number of the part of each collection.
func (s *Store) check(what string, f any) (map[string]int, error) {
	if s == nil || len(s.Parts) == 0 {
		return nil, fmt.Errorf("%w: a joined.Store needs Parts", backup.ErrInvalid)
	}
	of := map[string]int{}
	for i, p := range s.Parts {
		if err := fault.Missing(fmt.Sprintf("Parts[%d].Store of a joined.Store", i), p.Store); err != nil {
			return nil, err
		}
		if len(p.Collections) == 0 {
			return nil, fmt.Errorf("%w: Parts[%d] of a joined.Store has no Collections", backup.ErrInvalid, i)
		}
		for _, c := range p.Collections {
			if other, taken := of[c]; taken {
				return nil, fmt.Errorf("%w: the collection %q is in Parts[%d] and in Parts[%d] of a joined.Store", backup.ErrInvalid, c, other, i)
			}
			of[c] = i
		}
	}
	return of, fault.Missing(what, f)
}

// A turn is a lock that a context can end the wait for.
type turn struct {
	made  sync.Once
	taken chan struct{}
}

func (t *turn) take(ctx context.Context) error {
	t.made.Do(func() { t.taken = make(chan struct{}, 1) })
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case t.taken <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *turn) give() { <-t.taken }

// A run is one transaction in each part.
type run struct {
	parts []Part
	of    map[string]int
	write func(backup.Writer) error

	outer   context.Context // of the caller
	ctx     context.Context // of the parts
	keep    func() bool     // from here on, ctx is never done; false if it is already
	writers []backup.Writer

	committed int   // so many parts, the first of them, have committed
	failed    error // why a part has not, or may not have
	repeats   *Part // begins its transaction again
}

func (r *run) update(ctx context.Context) error {
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	r.outer, r.ctx, r.keep = ctx, inner, context.AfterFunc(ctx, cancel)
	defer r.keep()
	r.writers = make([]backup.Writer, len(r.parts))
	err := r.begin(len(r.parts) - 1)
	if r.failed != nil {
		return r.failed
	}
	if over := ctx.Err(); err != nil && over != nil && !errors.Is(err, over) {
		err = fmt.Errorf("%w: %w", over, err) // the parts do not know of a deadline
	}
	return err
}

var (
	errAgain = errors.New("joined: all parts begin again")
	errLate  = errors.New("the store wants to begin its transaction again, which is too late")
)

// begin begins a transaction in a part, and inside it those of the parts before. So the
// first part commits first.
func (r *run) begin(i int) error {
	if i < 0 {
		return r.inside()
	}
	var inside error
	calls := 0
	err := r.parts[i].Store.Update(r.ctx, func(w backup.Writer) error {
		switch calls++; {
		case r.committed > 0:
			return errLate
		case calls > 1:
			r.repeats = &r.parts[i]
			return errAgain
		}
		if inside = fault.Missing(fmt.Sprintf("the Writer of %s", r.parts[i].names()), w); inside == nil {
			r.writers[i] = w
			inside = r.begin(i - 1)
		}
		return inside
	})
	switch {
	case calls == 0 && err == nil:
		return fmt.Errorf("joined: the store of %s did nothing: its Update returned without calling write", r.parts[i].names())
	case inside != nil || calls == 0 || r.repeats != nil:
		return cmp.Or(err, inside, errAgain)
	case err != nil:
		r.failed = r.explain(i, err)
		return r.failed
	}
	r.committed = i + 1
	return nil
}

// inside calls write, and has every part prepare its commit.
func (r *run) inside() error {
	w := &writer{of: r.of, parts: r.writers}
	if err := r.write(w.whole()); err != nil {
		return err
	}
	// A call that failed may have changed a part.
	if err := w.Settle(r.outer); err != nil {
		return fault.RolledBack(err)
	}
	if !r.keep() {
		return fault.RolledBack(r.outer.Err())
	}
	return nil
}

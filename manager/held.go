package manager

import (
	"context"
	"io"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
)

// A checkFunc returns an error if a hold is lost. A process may have slept past its lease,
// and must not change anything that another process is working on.
type checkFunc func(ctx context.Context) error

// A heldLocation is a Location that an operation holds. It checks the hold right before it
// stores or deletes a file, and again before a file that it stores is complete.
type heldLocation struct {
	location.Location
	check checkFunc
}

func (l heldLocation) Put(ctx context.Context, name string, r io.Reader) error {
	if err := l.check(ctx); err != nil {
		return err
	}
	return l.Location.Put(ctx, name, &heldReader{r, func() error { return l.check(ctx) }})
}

func (l heldLocation) Delete(ctx context.Context, name string) error {
	if err := l.check(ctx); err != nil {
		return err
	}
	return l.Location.Delete(ctx, name)
}

// A heldReader ends only if the hold is not lost.
type heldReader struct {
	io.Reader
	check func() error
}

func (r *heldReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		if lost := r.check(); lost != nil {
			return n, lost
		}
	}
	return n, err
}

// heldKey is the key of the checkFunc of an operation in its context.
type heldKey struct{}

// holding checks all holds of the operation that ctx is of.
func holding(ctx context.Context) error {
	if check, ok := ctx.Value(heldKey{}).(checkFunc); ok {
		return check(ctx)
	}
	return nil
}

// A heldSink checks the holds of the operation right before the host commits.
type heldSink struct{ backup.Sink }

func (s heldSink) Update(ctx context.Context, write func(backup.Writer) error) error {
	return s.Sink.Update(ctx, func(w backup.Writer) error {
		if err := write(w); err != nil {
			return err
		}
		if err := holding(ctx); err != nil {
			return notCommitted{err}
		}
		return nil
	})
}

// notCommitted says that the host has not committed, because a hold was lost.
type notCommitted struct{ error }

func (e notCommitted) Unwrap() []error { return []error{e.error, backup.ErrRolledBack} }

package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
)

// An operation is one run of a method of the Manager.
type operation struct {
	*Manager
	name  string
	start time.Time
	sites []*site // that take part: for one that changes something, those that are held
	down  []Copy  // the others
}

// begin starts an operation that only looks.
func (m *Manager) begin(ctx context.Context, name string) (*operation, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	return &operation{Manager: m, name: name, start: time.Now(), sites: m.sites()}, nil
}

func (o *operation) emit(ctx context.Context, e Event, more ...slog.Attr) {
	e.Operation = o.name
	o.Manager.emit(ctx, e, more...)
}

// progress passes on what a part of the operation reports.
func (o *operation) progress(ctx context.Context, also func(backup.Progress)) func(backup.Progress) {
	return func(p backup.Progress) {
		if also != nil {
			also(p)
		}
		if o.OnEvent != nil {
			o.emit(ctx, Event{Kind: EventProgress, Progress: &p})
		}
	}
}

// done tells how the operation ended, and gives its error a beginning.
func (o *operation) done(ctx context.Context, e Event, err error) error {
	e.Kind = EventDone
	if err = lost(ctx, err); err != nil {
		err = fmt.Errorf("%s: %w", o.name, err)
		e.Kind, e.Err = EventFailed, err
	}
	o.emit(ctx, e, slog.Duration("took", time.Since(o.start)))
	return err
}

// lost adds to an error why an operation was stopped: because it could not hold
// a location any longer.
func lost(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// failed tells of a failure at one location that does not end the operation.
func (o *operation) failed(ctx context.Context, p *site, name string, err error) Copy {
	if ctx.Err() == nil {
		o.emit(ctx, Event{Kind: EventFailed, Backup: name, Location: p.name, Err: err})
	}
	return Copy{p.name, err}
}

// hold begins an operation that changes something: it takes this Manager and
// all locations that can be had, or fails with ErrBusy. The context that it
// returns ends when a location is lost.
func (m *Manager) hold(ctx context.Context, name string) (_ *operation, _ context.Context, release func(), err error) {
	o, err := m.begin(ctx, name)
	if err != nil {
		return nil, ctx, nil, err
	}
	holder := describeHolder(name, o.start)
	ctx, cancel := context.WithCancelCause(ctx)
	undo := []func(){func() { cancel(context.Canceled) }}
	release = func() {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
	}
	fail := func(err error) (*operation, context.Context, func(), error) {
		release()
		return nil, ctx, nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := m.enter(holder); err != nil {
		return fail(err)
	}
	undo = append(undo, m.leave)
	held := o.sites[:0:0]
	for _, p := range o.sites {
		unlock, err := m.lock(ctx, cancel, p, holder)
		if err == nil {
			undo = append(undo, unlock)
			held = append(held, p)
			err = ctx.Err()
		}
		switch {
		case ctx.Err() != nil:
			return fail(ctx.Err())
		case errors.Is(err, location.ErrBusy):
			return fail(err)
		case err != nil:
			o.down = append(o.down, o.failed(ctx, p, "", err))
		}
	}
	if o.sites = held; len(held) == 0 {
		errs := []error{}
		for _, c := range o.down {
			errs = append(errs, fmt.Errorf("%s: %w", c.Location, c.Err))
		}
		return fail(fmt.Errorf("no location can be used: %w", errors.Join(errs...)))
	}
	return o, ctx, release, nil
}

// describeHolder tells a person who holds what since when.
func describeHolder(operation string, since time.Time) string {
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown host"
	}
	return fmt.Sprintf("%s, process %d on %s, since %s", operation, os.Getpid(), host, since.UTC().Format("2006-01-02 15:04:05 UTC"))
}

func (m *Manager) enter(holder string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.holder != "" {
		return fmt.Errorf("%w: %s", location.ErrBusy, m.holder)
	}
	m.holder = holder
	return nil
}

func (m *Manager) leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.holder = ""
}

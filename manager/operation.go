package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/location"
)

// An operation is one run of a method of the Manager.
type operation struct {
	*Manager
	name  string
	start time.Time
	sites []*site // the sites that take part; those that are held if it changes something
	down  []Copy  // the other locations, and why they take no part
	holds bool    // it holds the sites

	asked *catalog // what the sites had when they were last asked; nil: not yet

	watched bool      // every change is told since before they were asked, see memo
	learned int       // the lessons of the Manager then
	newest  time.Time // the CreatedAt of the newest backup, if asked is that of a memo
}

// begin starts an operation that needs no hold.
func (m *Manager) begin(ctx context.Context, name string) (*operation, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	return &operation{Manager: m, name: name, start: time.Now(), sites: m.sites()}, nil
}

// hold starts an operation that changes something. It holds this Manager and all
// locations that answer, or fails with ErrBusy. The context that it returns ends when
// the hold on a location is lost.
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
	held, checks := o.sites[:0:0], []checkFunc(nil)
	for _, s := range o.sites {
		unlock, check, err := s.lock(ctx, cancel, m.App.Name, holder)
		if err == nil {
			undo = append(undo, func() { o.giveBack(ctx, s, unlock) })
			held, checks = append(held, &site{heldLocation{s.Location, check}, s.name}), append(checks, check)
			err = ctx.Err()
		}
		switch {
		case ctx.Err() != nil:
			return fail(ctx.Err())
		case errors.Is(err, location.ErrBusy):
			return fail(err)
		case err != nil:
			o.down = append(o.down, o.failed(ctx, s, "", err))
		}
	}
	if o.sites = held; len(held) == 0 {
		return fail(fault.Other(fmt.Errorf("no location can be used: %w", errors.Join(o.downErrors()...))))
	}
	o.holds = true
	return o, context.WithValue(ctx, heldKey{}, checkFunc(func(ctx context.Context) error {
		for _, check := range checks {
			if err := check(ctx); err != nil {
				return err
			}
		}
		return nil
	})), release, nil
}

// describeHolder tells a person which operation of which process holds something, and
// since when.
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

// giveBack ends the hold on a site. If that fails, the next operation may find the site
// busy, so the host is told.
func (o *operation) giveBack(ctx context.Context, s *site, unlock func() error) {
	if err := unlock(); err != nil {
		o.emit(ctx, Event{Kind: EventFailed, Location: s.name, Err: fmt.Errorf("give back the hold: %w", err)})
	}
}

// downErrors returns why locations take no part.
func (o *operation) downErrors() []error {
	var errs []error
	for _, c := range o.down {
		errs = append(errs, fmt.Errorf("%s: %w", c.Location, c.Err))
	}
	return errs
}

// emit tells the host and the log of an event in this operation.
func (o *operation) emit(ctx context.Context, e Event, more ...slog.Attr) {
	e.Operation = o.name
	o.Manager.emit(ctx, e, more...)
}

// progress returns a function that passes progress on to the caller's function, which
// may be nil, and to OnEvent.
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

// failed tells of a failure at one location that does not end the operation. After ctx
// is done it tells nothing, since then everything fails.
func (o *operation) failed(ctx context.Context, s *site, name string, err error) Copy {
	if ctx.Err() == nil {
		o.emit(ctx, Event{Kind: EventFailed, Backup: name, Location: s.name, Err: err})
	}
	return Copy{s.name, err}
}

// done tells how the operation ended, and puts the name of the operation before its
// error.
func (o *operation) done(ctx context.Context, e Event, err error) error {
	e.Kind = EventDone
	if err = withCause(ctx, err); err != nil {
		err = fmt.Errorf("%s: %w", o.name, err)
		e.Kind, e.Err = EventFailed, err
	}
	o.emit(ctx, e, slog.Duration("took", time.Since(o.start)))
	return err
}

// withCause adds to an error why ctx ended: the hold on a location may have been lost.
func withCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

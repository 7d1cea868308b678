package backuphttp

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// Run, and what runs in it.

// A running is one call of Run.
type running struct {
	ctx  context.Context
	open bool           // something can be started
	wait sync.WaitGroup // for all that uses it
	stop func()         // the scheduled backups, and waits until they have ended; nil: there are none
}

// pause stops the scheduled backups. They are paused and resumed by Run, and by what
// runs alone in it.
func (r *running) pause() {
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
}

var (
	errStopped   = errors.New("the server is starting or stopping, so nothing can be started; try again in a moment")
	errScheduled = fmt.Errorf("%w: a scheduled backup is being made; wait until it has ended", location.ErrBusy)
)

// Run makes scheduled backups, in the place of the Run of the Manager, and does what
// people start on the page until ctx is done. It returns the error of ctx when what was
// running has ended: that is cancelled, and the library leaves nothing half done. A
// change of the settings takes effect at once. Uploads and what else people were
// looking at are forgotten at the end.
//
// It must run once at a time, or it returns another error, and may be called again.
// The AfterRestore of a Manager is part of what it waits for, and must not wait for
// it.
func (h *Handler) Run(ctx context.Context) error {
	r := &running{ctx: ctx}
	h.mu.Lock()
	if h.running != nil {
		h.mu.Unlock()
		return errors.New("backuphttp: Run runs already")
	}
	h.running = r
	h.mu.Unlock()

	h.reload(ctx)
	h.resume(r)
	h.mu.Lock()
	r.open = true
	h.mu.Unlock()
	for tick := time.NewTicker(time.Minute); ctx.Err() == nil; {
		select {
		case <-ctx.Done():
			tick.Stop()
		case <-tick.C:
			h.expire()
		}
	}
	h.mu.Lock()
	r.open = false
	h.mu.Unlock()
	r.wait.Wait()
	r.pause()
	h.forgetAll()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running = nil
	h.tell()
	return ctx.Err()
}

// resume starts the scheduled backups, unless they are started.
func (h *Handler) resume(r *running) {
	m := h.now()
	if m.Schedule == nil || r.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(r.ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := m.Run(ctx); ctx.Err() == nil {
			h.event(manager.Event{Kind: manager.EventFailed, Operation: "run", Time: time.Now(), Err: err})
		}
	}()
	r.stop = func() { cancel(); <-ended }
}

// runs tells whether Run runs, be it that it is ending.
func (h *Handler) runs() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running != nil
}

// ending tells whether Run has been told to end.
func (h *Handler) ending() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running == nil || h.running.ctx.Err() != nil
}

// join lets a request use what lives as long as Run. Its context ends with that.
func (h *Handler) join(ctx context.Context) (_ context.Context, leave func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.running
	if r == nil || !r.open || r.ctx.Err() != nil {
		return nil, nil, errStopped
	}
	r.wait.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	forget := context.AfterFunc(r.ctx, cancel)
	return ctx, sync.OnceFunc(func() { forget(); cancel(); r.wait.Done() }), nil
}

// alone has Run do something while nothing else runs there. The channel gets its
// error when it has ended; it does not end with whoever has asked for it. t may be
// nil.
func (h *Handler) alone(what string, t *task, do func(ctx context.Context) error) (<-chan error, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.running
	switch {
	case r == nil || !r.open || r.ctx.Err() != nil:
		return nil, errStopped
	case h.busy != "":
		return nil, fmt.Errorf("%w: %s is under way; wait until it has ended", location.ErrBusy, h.busy)
	case h.scheduled != nil:
		return nil, errScheduled
	}
	h.busy, h.current = what, t
	if t != nil {
		h.add(t)
	}
	r.wait.Add(1)
	ended := make(chan error, 1)
	go func() {
		defer r.wait.Done()
		err := h.unharmed(what, func() error { return do(r.ctx) })
		h.mu.Lock()
		if h.busy, h.current = "", nil; t != nil {
			h.end(t, err)
		}
		h.mu.Unlock()
		ended <- err
	}()
	return ended, nil
}

// unharmed makes an error of a panic, which must not take the server with it.
func (h *Handler) unharmed(what string, do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = h.hide(what, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	return do()
}

// aside has Run do what is no job, and waits for it.
func (h *Handler) aside(ctx context.Context, what string, do func(ctx context.Context) error) error {
	ended, err := h.alone(what, nil, do)
	if err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done(): // it goes on
		return ctx.Err()
	}
}

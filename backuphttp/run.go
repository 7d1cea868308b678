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
	wait sync.WaitGroup // for everything that runs in it
	stop func()         // stops the scheduled backups and waits for their end; nil: there are none
}

// pause stops the scheduled backups. Only Run, and what runs alone in it, may pause and
// resume them.
func (r *running) pause() {
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
}

var (
	errStopped   = errors.New("nothing can be started while the server is starting or stopping; try again in a moment")
	errScheduled = fmt.Errorf("%w: a scheduled backup is being made; wait until it has ended", location.ErrBusy)
)

// Run does what people start on the page, and makes the scheduled backups, so do not
// call Run of the Manager as well. A change of the settings takes effect at once.
//
// When ctx is done, Run cancels what is running, waits for its end, and returns the
// error of ctx. The library leaves nothing half done. Run then forgets the uploads and
// all other backups that people were looking into.
//
// Run may be called again after it has ended. It returns another error if it runs
// already. It waits for the AfterRestore of the Manager, so AfterRestore must not wait
// for Run.
func (h *Handler) Run(ctx context.Context) error {
	if err := h.given(); err != nil {
		return err
	}
	r := &running{ctx: ctx}
	h.mu.Lock()
	if h.running != nil {
		h.mu.Unlock()
		return errors.New("backuphttp: Run runs already")
	}
	h.running = r
	h.mu.Unlock()

	h.reload(ctx, false)
	h.resume(r)
	if m := h.now(); m.Schedule == nil { // Run of the Manager asks by itself
		r.wait.Go(func() { h.askKeys(ctx, m) })
	}
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

// askKeys asks whether the newest backup is sealed with another key, before a person makes
// a backup.
func (h *Handler) askKeys(ctx context.Context, m *manager.Manager) {
	k, _ := m.CheckKeys(ctx)
	if k.String() == "" || ctx.Err() != nil {
		return
	}
	if h.opts.Logger != nil {
		h.opts.Logger.WarnContext(ctx, "the keys have changed since the newest backup was made", "backup", k.Backup, "details", k.String())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.manager == m {
		h.otherKey = k.String()
	}
}

// resume starts the scheduled backups, unless they are running already.
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

// runs tells whether Run has been called and has not returned yet.
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

// join has Run wait for a request, until the request calls leave. The context that it
// returns ends with Run.
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

// alone has Run do something while nothing else runs there. The channel gets the error
// of do at its end. do goes on even if the request has ended. t is nil if do is no job.
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

// unharmed turns a panic into an error, so that the server goes on.
func (h *Handler) unharmed(what string, do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = h.hide(what, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	return do()
}

// aside has Run do something that is no job, and waits for its end.
func (h *Handler) aside(ctx context.Context, what string, do func(ctx context.Context) error) error {
	ended, err := h.alone(what, nil, do)
	if err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done(): // do goes on
		return ctx.Err()
	}
}

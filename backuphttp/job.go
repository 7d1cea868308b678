package backuphttp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/tomo-project/backup"
)

// What runs in Run: jobs, which people see, what takes its turn with them and is done
// at once, and the scheduled backups.

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

// A task is a job with what nobody is told.
type task struct {
	job
	err     error
	version int64 // of Handler.tasks, when it changed last

	// Of a scheduled backup: the backup that is being made, and where it is.
	name   string
	copies []backup.Copy
}

// A failure is one of a scheduled backup.
type failure struct {
	at   time.Time
	text string
	of   *task
}

const (
	mostTasks    = 20
	mostFailures = 1000
)

var (
	errStopped   = errors.New("the server is starting or stopping, so nothing can be started; try again in a moment")
	errScheduled = fmt.Errorf("%w: a scheduled backup is being made; wait until it has ended", backup.ErrBusy)
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
			h.event(backup.Event{Kind: backup.EventFailed, Operation: "run", Time: time.Now(), Err: err})
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
		return nil, fmt.Errorf("%w: %s is under way; wait until it has ended", backup.ErrBusy, h.busy)
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

// start has Run do a job, and waits a moment for it. That it could not begin or
// has done nothing, because somebody else is at it or the plan is stale, is an error
// if it shows by then.
func (h *Handler) start(ctx context.Context, kind, name string, do func(ctx context.Context, t *task) error) (job, error) {
	t := &task{job: job{ID: rand.Text(), Kind: kind, Backup: name, Started: time.Now()}}
	ended, err := h.alone(names[kind], t, func(ctx context.Context) error { return do(ctx, t) })
	if err != nil {
		return job{}, err
	}
	moment := time.NewTimer(h.moment)
	defer moment.Stop()
	select {
	case err := <-ended:
		if errors.Is(err, backup.ErrBusy) || errors.Is(err, backup.ErrStale) {
			return job{}, err
		}
	case <-moment.C:
	case <-ctx.Done():
	}
	return h.job(t.ID)
}

// names are what people call the kinds of jobs.
var names = map[string]string{
	"create":  "a backup",
	"verify":  "the verification of a backup",
	"restore": "a restore",
	"undo":    "the undoing of a restore",
	"prune":   "the deletion of old backups",
	"salvage": "the salvage of a damaged backup",
}

// operations are what the library calls what these kinds of jobs do.
var operations = map[string]string{
	"create":  "create",
	"verify":  "verify",
	"restore": "restore",
	"undo":    "restore",
	"prune":   "prune",
}

// event takes what a Manager tells of its operations.
func (h *Handler) event(e backup.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch t := h.current; {
	case e.Operation == "run":
		h.scheduledEvent(e)
	case t == nil || e.Kind != backup.EventProgress:
	case e.Operation == operations[t.Kind]:
		t.Progress = e.Progress
		h.touch(t)
	}
}

// scheduledEvent makes a job of what the schedule has the Manager do.
func (h *Handler) scheduledEvent(e backup.Event) {
	t := h.scheduled
	switch {
	case e.Kind == backup.EventStarted:
		h.scheduled = &task{job: job{ID: rand.Text(), Kind: "scheduled", Started: e.Time}}
		h.add(h.scheduled)
	case e.Kind == backup.EventDone:
		if t == nil { // it has failed to prune, and is done all the same
			i := slices.IndexFunc(h.failures, func(f failure) bool { return f.of == h.lastScheduled() })
			if i < 0 {
				return
			}
			t = h.failures[i].of
			h.failures = slices.Delete(h.failures, i, i+1)
		}
		made := backup.Backup{Name: e.Backup, Manifest: e.Manifest, Trigger: backup.TriggerScheduled}
		if m := e.Manifest; m != nil {
			made.CreatedAt, made.Bytes = m.CreatedAt, m.Bytes
		}
		if t.name == e.Backup {
			made.Copies = t.copies
		}
		t.Backup, t.Made, h.scheduled = e.Backup, &made, nil
		h.end(t, t.err)
	case e.Kind == backup.EventFailed && e.Location == "":
		if t == nil { // it could not begin
			t = &task{job: job{ID: rand.Text(), Kind: "scheduled", Started: e.Time}}
			h.add(t)
		}
		h.scheduled = nil
		h.end(t, e.Err)
		if !errors.Is(e.Err, context.Canceled) {
			h.failures = append(h.failures, failure{*t.Ended, t.Error, t})
			h.failures = h.failures[max(0, len(h.failures)-mostFailures):]
		}
	case t == nil:
	case e.Kind == backup.EventProgress:
		t.Progress = e.Progress
		h.touch(t)
	case e.Backup != "" && (e.Kind == backup.EventStored || e.Kind == backup.EventFailed):
		// Older ones follow, where a location lacked them.
		if t.name == "" {
			t.name = e.Backup
		}
		if t.name == e.Backup {
			t.copies = append(t.copies, backup.Copy{Location: e.Location, Err: e.Err})
		}
	}
}

// lastScheduled returns the newest scheduled backup that has ended.
func (h *Handler) lastScheduled() *task {
	for _, t := range slices.Backward(h.tasks) {
		if t.Kind == "scheduled" && t.Ended != nil {
			return t
		}
	}
	return nil
}

// add takes a task among those that are remembered.
func (h *Handler) add(t *task) {
	h.tasks = append(slices.Clip(h.tasks), t)
	for i := 0; len(h.tasks) > mostTasks && i < len(h.tasks); {
		if old := h.tasks[i]; old == h.current || old == h.scheduled || old == t {
			i++
			continue
		}
		h.tasks = slices.Delete(h.tasks, i, i+1)
	}
	h.touch(t)
}

// touch tells that a task has changed.
func (h *Handler) touch(t *task) {
	h.version++
	t.version = h.version
	h.tell()
}

// tell wakes those who watch.
func (h *Handler) tell() {
	for w := range h.watchers {
		select {
		case w <- struct{}{}:
		default: // it is awake already
		}
	}
}

// end has a task come to its end.
func (h *Handler) end(t *task, err error) {
	now := time.Now()
	if t.Ended == nil {
		t.Ended = &now
	}
	t.err, t.Error, t.Code = err, "", ""
	switch {
	case errors.Is(err, context.Canceled):
		t.Error, t.Code = "it was stopped before its end, because the server stops or its settings were changed; nothing was left half done", "stopped"
	case err != nil:
		t.Error = err.Error()
		_, t.Code = classify(err)
	}
	h.touch(t)
}

// update changes a job.
func (h *Handler) update(t *task, change func(j *job)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&t.job)
	h.touch(t)
}

// job returns a job that runs, or is still remembered.
func (h *Handler) job(id string) (job, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.tasks {
		if t.ID == id {
			return t.job, nil
		}
	}
	return job{}, notFound("there is no such job any more: only the last %d are remembered, and as long as the server runs", mostTasks)
}

// jobs returns those that are remembered, newest first.
func (h *Handler) jobs() []job {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]job, 0, len(h.tasks))
	for _, t := range slices.Backward(h.tasks) {
		list = append(list, t.job)
	}
	return list
}

// changed returns the jobs that have changed since a version, and the version that it
// is now; from 0 on, the one that runs, or else the last one.
func (h *Handler) changed(version int64) ([]job, int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []job
	for _, t := range h.tasks {
		if t.version > version {
			list = append(list, t.job)
		}
	}
	if version == 0 && len(list) > 0 {
		list = list[len(list)-1:]
		if t := h.active(); t != nil {
			list[0] = t.job
		}
	}
	return list, h.version
}

// active returns the task that runs, nil if there is none.
func (h *Handler) active() *task {
	if h.current != nil {
		return h.current
	}
	return h.scheduled
}

// atWork returns the ID of the job that runs, empty if there is none.
func (h *Handler) atWork() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.active(); t != nil {
		return t.ID
	}
	return ""
}

// watch returns a channel that is sent to when a job has changed, or Run has ended.
func (h *Handler) watch() (changed <-chan struct{}, stop func()) {
	w := make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[w] = true
	return w, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, w)
	}
}

// create makes a backup with these optional collections.
func (h *Handler) create(ctx context.Context, include []string) (job, error) {
	for _, name := range include {
		if !slices.ContainsFunc(h.now().App.Collections, func(c backup.Collection) bool { return c.Name == name }) {
			return job{}, fmt.Errorf("%w: there is no collection %q to include", backup.ErrInvalid, brief(name))
		}
	}
	return h.start(ctx, "create", "", func(ctx context.Context, t *task) error {
		b, err := h.now().Create(ctx, backup.BackupOptions{Include: include})
		if b.Name != "" {
			h.update(t, func(j *job) { j.Backup, j.Made = b.Name, &b })
		}
		return err
	})
}

// verify reads every copy of a backup.
func (h *Handler) verify(ctx context.Context, name string) (job, error) {
	if _, err := h.find(ctx, name); err != nil {
		return job{}, err
	}
	return h.start(ctx, "verify", name, func(ctx context.Context, t *task) error {
		m := h.now()
		m.List(ctx) // so that it knows the file as it is, and remembers what is found
		found, err := m.Verify(ctx, name)
		h.update(t, func(j *job) {
			j.Verified = found
			if delete(h.verdicts, name); err == nil {
				h.verdicts[name] = verdict{at: time.Now()}
			}
		})
		return err
	})
}

// find returns a backup of the list.
func (h *Handler) find(ctx context.Context, name string) (backup.Backup, error) {
	backups, err := h.now().List(ctx)
	for _, b := range backups {
		if b.Name == name {
			return b, nil
		}
	}
	return backup.Backup{}, errors.Join(notFound("there is no backup %q", brief(name)), err)
}

// file opens the file of a backup, to be downloaded.
func (h *Handler) file(ctx context.Context, name string) (io.ReadCloser, backup.Backup, error) {
	b, err := h.find(ctx, name)
	if err != nil {
		return nil, b, err
	}
	r, err := h.now().OpenFile(ctx, name)
	return r, b, err
}

// delete deletes a backup. For the only good one it takes the name of the app.
func (h *Handler) delete(ctx context.Context, name, confirm string) error {
	return h.aside(ctx, "the deletion of a backup", func(ctx context.Context) error {
		m := h.now()
		backups, err := m.List(ctx)
		if err != nil && backups == nil {
			return err
		}
		if onlyGood(h.judged(backups)) == name && confirm != m.App.Name {
			return invalid("confirm", "%s is the only good backup: to delete it all the same, type %s", name, m.App.Name)
		}
		if err := m.Delete(ctx, name); err != nil {
			return err
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.verdicts, name)
		return nil
	})
}

// accept says that it is all right what a backup has lost.
func (h *Handler) accept(ctx context.Context, name string) error {
	return h.aside(ctx, "the acceptance of a loss", func(ctx context.Context) error { return h.now().Accept(ctx, name) })
}

// prune applies retention.
func (h *Handler) prune(ctx context.Context) (job, error) {
	return h.start(ctx, "prune", "", func(ctx context.Context, t *task) error {
		pruned, err := h.now().Prune(ctx, backup.PruneOptions{})
		h.update(t, func(j *job) { j.Pruned = pruned })
		return err
	})
}

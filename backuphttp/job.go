package backuphttp

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// The jobs that people start and watch, and that are remembered for a while.

// A task is a job, with what only the Handler knows of it.
type task struct {
	job
	err     error
	version int64 // Handler.version at its last change

	// For a scheduled backup: its name, and the locations where it is stored.
	name   string
	copies []manager.Copy
}

// mostTasks is how many jobs are remembered.
const mostTasks = 20

// names are the names of the kinds of jobs for people.
var names = map[string]string{
	"create":  "a backup",
	"verify":  "the verification of a backup",
	"restore": "a restore",
	"undo":    "the undoing of a restore",
	"prune":   "the deletion of old backups",
	"salvage": "the salvage of a damaged backup",
}

// operations are the names of the kinds of jobs in the events of the library.
var operations = map[string]string{
	"create":  "create",
	"verify":  "verify",
	"restore": "restore",
	"undo":    "restore",
	"prune":   "prune",
}

// start has Run do a job, and waits a moment for its end. If the job could do nothing,
// because a location is busy or the plan is stale, and that shows within the moment,
// start returns the error.
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
		if errors.Is(err, location.ErrBusy) || errors.Is(err, backup.ErrStale) {
			return job{}, err
		}
	case <-moment.C:
	case <-ctx.Done():
	}
	return h.job(t.ID)
}

// event handles an event of a Manager.
func (h *Handler) event(e manager.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch t := h.current; {
	case e.Operation == "run":
		h.scheduledEvent(e)
	case t == nil || e.Kind != manager.EventProgress:
	case e.Operation == operations[t.Kind]:
		t.Progress = e.Progress
		h.touch(t)
	}
}

// add remembers a task, and forgets the oldest ones that have ended.
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

// touch marks a task as changed.
func (h *Handler) touch(t *task) {
	h.version++
	t.version = h.version
	h.tell()
}

// tell wakes all who watch.
func (h *Handler) tell() {
	for w := range h.watchers {
		select {
		case w <- struct{}{}:
		default: // it is woken already
		}
	}
}

// end marks a task as ended.
func (h *Handler) end(t *task, err error) {
	now := time.Now()
	if t.Ended == nil {
		t.Ended = &now
	}
	t.err, t.Error, t.Code = err, "", ""
	switch {
	case errors.Is(err, context.Canceled):
		t.Error, t.Code = "it was stopped because the server stops or its settings were changed; nothing is left half done; start it again", "stopped"
	case err != nil:
		t.Error = err.Error()
		_, t.Code = classify(err)
	}
	h.touch(t)
}

// update changes the job of a task.
func (h *Handler) update(t *task, change func(j *job)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&t.job)
	h.touch(t)
}

// job returns a job that is remembered.
func (h *Handler) job(id string) (job, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.tasks {
		if t.ID == id {
			return t.job, nil
		}
	}
	return job{}, notFound("this job is not known any more: the server remembers the last %d jobs, until it restarts", mostTasks)
}

// jobs returns the jobs that are remembered, newest first.
func (h *Handler) jobs() []job {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]job, 0, len(h.tasks))
	for _, t := range slices.Backward(h.tasks) {
		list = append(list, t.job)
	}
	return list
}

// changed returns the jobs that have changed since a version, and the version of now.
// Since version 0, that is only the job that runs, or else the last job.
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

// active returns the task that runs, or nil.
func (h *Handler) active() *task {
	if h.current != nil {
		return h.current
	}
	return h.scheduled
}

// atWork returns the ID of the job that runs, or "".
func (h *Handler) atWork() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.active(); t != nil {
		return t.ID
	}
	return ""
}

// watch returns a channel that gets a value when a job has changed or Run has ended.
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

package backuphttp

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/tomo-project/backup/manager"
)

// The scheduled backups, which people watch as they watch jobs.

// A failure is a scheduled backup that failed.
type failure struct {
	at   time.Time
	text string
	of   *task
}

// mostFailures is how many failures are remembered.
const mostFailures = 1000

// scheduledEvent handles an event of the Run of a Manager. The caller holds the lock of
// the Handler.
func (h *Handler) scheduledEvent(e manager.Event) {
	t := h.scheduled
	switch {
	case e.Kind == manager.EventOtherKey:
		h.otherKey = e.Text
	case e.Kind == manager.EventStarted:
		h.scheduled = &task{job: job{ID: rand.Text(), Kind: "scheduled", Started: e.Time}}
		h.add(h.scheduled)
	case e.Kind == manager.EventDone:
		h.scheduledDone(e)
	case e.Kind == manager.EventFailed && e.Location == "":
		if t == nil { // the backup could not begin
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
	case e.Kind == manager.EventProgress:
		t.Progress = e.Progress
		h.touch(t)
	case e.Backup != "" && (e.Kind == manager.EventStored || e.Kind == manager.EventFailed):
		// Copies of older backups may follow, for locations that lack them.
		if t.name == "" {
			t.name = e.Backup
		}
		if t.name == e.Backup {
			t.copies = append(t.copies, manager.Copy{Location: e.Location, Err: e.Err})
		}
	}
}

// scheduledDone handles the event that a scheduled backup is made.
func (h *Handler) scheduledDone(e manager.Event) {
	t := h.scheduled
	if t == nil { // pruning has failed before this event, but the backup is made
		i := slices.IndexFunc(h.failures, func(f failure) bool { return f.of == h.lastScheduled() })
		if i < 0 {
			return
		}
		t = h.failures[i].of
		h.failures = slices.Delete(h.failures, i, i+1)
	}
	made := manager.Backup{Name: e.Backup, Manifest: e.Manifest, Trigger: manager.TriggerScheduled}
	if m := e.Manifest; m != nil {
		made.CreatedAt, made.Bytes = m.CreatedAt, m.Bytes
	}
	if t.name == e.Backup {
		made.Copies = t.copies
	}
	t.Backup, t.Made, h.scheduled = e.Backup, &made, nil
	h.end(t, t.err)
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

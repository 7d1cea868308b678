package backuphttp

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/tomo-project/backup/manager"
)

// Scheduled backups, as jobs.

// A failure is one of a scheduled backup.
type failure struct {
	at   time.Time
	text string
	of   *task
}

// mostFailures is how many of them are remembered.
const mostFailures = 1000

// scheduledEvent makes a job of what the schedule has the Manager do.
func (h *Handler) scheduledEvent(e manager.Event) {
	t := h.scheduled
	switch {
	case e.Kind == manager.EventStarted:
		h.scheduled = &task{job: job{ID: rand.Text(), Kind: "scheduled", Started: e.Time}}
		h.add(h.scheduled)
	case e.Kind == manager.EventDone:
		if t == nil { // it has failed to prune, and is done all the same
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
	case e.Kind == manager.EventFailed && e.Location == "":
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
	case e.Kind == manager.EventProgress:
		t.Progress = e.Progress
		h.touch(t)
	case e.Backup != "" && (e.Kind == manager.EventStored || e.Kind == manager.EventFailed):
		// Older ones follow, where a location lacked them.
		if t.name == "" {
			t.name = e.Backup
		}
		if t.name == e.Backup {
			t.copies = append(t.copies, manager.Copy{Location: e.Location, Err: e.Err})
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

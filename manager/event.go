package manager

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/tomo-project/backup"
)

// An Event tells what a [Manager] is doing: for the log, and for the host's
// notifications and metrics. Beside Kind, Operation and Time those fields are set
// that its Kind names, and Backup and Location where there is one. It holds no
// secret.
type Event struct {
	Kind      EventKind `json:"kind"`
	Operation string    `json:"operation"` // "create", "restore", "undo", "prune", "delete", "accept", "verify", "drill", "rehearse", "rewrap" or "run"
	Time      time.Time `json:"time"`

	Backup   string        `json:"backup,omitempty"`   // the name of the backup concerned
	Location string        `json:"location,omitempty"` // what the event is about, if it is one location
	Duration time.Duration `json:"duration_ns,omitempty"`
	Err      error         `json:"-"` // of Failed

	Progress  *backup.Progress `json:"progress,omitempty"`
	Manifest  *backup.Manifest `json:"manifest,omitempty"`
	Decisions []Decision       `json:"decisions,omitempty"`
	Deleted   []string         `json:"deleted,omitempty"` // names of backups
	Shrunk    []Shrink         `json:"shrunk,omitempty"`
	Report    *backup.Report   `json:"report,omitempty"`
	Drill     *DrillReport     `json:"drill,omitempty"`
	Slot      time.Time        `json:"slot,omitzero"`
}

// MarshalJSON adds the member error, the text of Err, if there is one.
func (e Event) MarshalJSON() ([]byte, error) {
	type plain Event
	return json.Marshal(struct {
		plain
		Error string `json:"error,omitempty"`
	}{plain(e), errorText(e.Err)})
}

// errorText is what JSON says of an error.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// An EventKind is what an [Event] is about.
type EventKind string

const (
	EventStarted   EventKind = "started"   // an operation began
	EventProgress  EventKind = "progress"  // now and then; sets Progress
	EventStored    EventKind = "stored"    // a copy of a backup is at a Location and was read back; sets Backup, Location, Manifest
	EventDone      EventKind = "done"      // an operation came to a good end; sets Duration, and Manifest or Report of what it did
	EventFailed    EventKind = "failed"    // an operation failed, or only its part at Location; sets Err
	EventMissed    EventKind = "missed"    // the machine was off, or busy, at Slot, and the backup is made up for now; sets Slot
	EventShrunk    EventKind = "shrunk"    // Backup has lost most of a collection; sets Shrunk. Nothing is pruned until it is accepted
	EventPruned    EventKind = "pruned"    // retention was applied at Location; sets Decisions, with the reasons, and Deleted
	EventDrill     EventKind = "drill"     // Backup was restored into a scratch store and compared; sets Drill
	EventRehearsal EventKind = "rehearsal" // it is time for a person to prove that their key opens the backups: Manager.Rehearse
)

// emit tells the host and the log of an event.
func (m *Manager) emit(ctx context.Context, e Event) {
	e.Time = time.Now()
	if m.OnEvent != nil {
		m.OnEvent(e)
	}
	if m.Logger == nil || e.Kind == EventProgress {
		return
	}
	level := slog.LevelInfo
	attrs := []slog.Attr{slog.String("operation", e.Operation)}
	text := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	text("backup", e.Backup)
	text("location", e.Location)
	switch e.Kind {
	case EventStarted:
		level = slog.LevelDebug
	case EventFailed:
		level = slog.LevelError
		if errors.Is(e.Err, context.Canceled) {
			level = slog.LevelWarn
		}
		text("error", e.Err.Error())
	case EventRehearsal:
		level = slog.LevelWarn
	case EventMissed:
		level = slog.LevelWarn
		text("slot", e.Slot.UTC().Format(time.RFC3339))
	case EventShrunk:
		level = slog.LevelWarn
		text("lost", shrinks(e.Shrunk))
	case EventPruned:
		for _, d := range e.Decisions {
			if slices.Contains(e.Deleted, d.Name) {
				m.Logger.LogAttrs(ctx, level, "backup deleted", slog.String("operation", e.Operation), slog.String("backup", d.Name),
					slog.String("location", e.Location), slog.String("reasons", strings.Join(d.Reasons, "; ")))
			}
		}
	case EventDrill:
		attrs = append(attrs, slog.Duration("age", e.Drill.Age), slog.Duration("restored_in", e.Drill.Took))
	case EventDone:
		attrs = append(attrs, slog.Duration("took", e.Duration))
	}
	if e.Manifest != nil {
		attrs = append(attrs, slog.Int64("bytes", e.Manifest.Bytes))
	}
	m.Logger.LogAttrs(ctx, level, cmp.Or(messages[e.Kind], string(e.Kind)), attrs...)
}

var messages = map[EventKind]string{
	EventStarted:   "backup operation started",
	EventStored:    "backup stored",
	EventDone:      "backup operation done",
	EventFailed:    "backup operation failed",
	EventMissed:    "scheduled backup missed, made up for now",
	EventShrunk:    "backup has shrunk, nothing is pruned until it is accepted",
	EventPruned:    "retention applied",
	EventDrill:     "backup proven to restore",
	EventRehearsal: "somebody should prove that their key opens the backups",
}

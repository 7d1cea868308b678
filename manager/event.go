package manager

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tomo-project/backup"
)

// An Event tells what a [Manager] is doing, for the host's notifications and metrics. No
// Event has a secret in it.
type Event struct {
	Kind EventKind

	// Operation is the operation that is running: "create", "copy database", "run",
	// "restore" (of Restore and Apply), "undo", "prune", "delete", "accept", "rewrap",
	// "verify", "drill", "rehearse", "extract", "plan", "open", "history" or "find". Whatever
	// Run does is "run".
	Operation string

	Time time.Time

	Backup   string           // the name of a backup; empty: no backup in particular
	Location string           // the name of a Location; empty: no Location in particular
	Text     string           // of EventMissed, EventShrunk and EventOtherKey, and of EventDone if a restore left records otherwise than in the backup: what a person should know, in a line
	Err      error            // of EventFailed
	Progress *backup.Progress // of EventProgress
	Manifest *backup.Manifest // of EventStored, if it is known, and of EventDone if a backup was made
}

// An EventKind says what an [Event] is about.
type EventKind string

const (
	// EventStarted: an operation began. List, Open, Plan, Probe, History, Find, KeyOf and a
	// dry run of Prune have no such event.
	EventStarted EventKind = "started"

	// EventProgress: an operation has come further.
	EventProgress EventKind = "progress"

	// EventStored: a copy of Backup is at Location and was read back.
	EventStored EventKind = "stored"

	// EventDone: an operation came to a good end. Backup is what it made or was about.
	EventDone EventKind = "done"

	// EventFailed: an operation failed with Err. If Location is set, the operation failed
	// only there and may go on. In Run it may be the pruning that failed, after the backup
	// was made; EventDone follows.
	EventFailed EventKind = "failed"

	// EventMissed: the machine was off or busy at the time in Text, when a backup was due.
	// It is made now.
	EventMissed EventKind = "missed"

	// EventShrunk: Backup has lost most of the collections in Text. Nothing is pruned
	// until a person accepts that.
	EventShrunk EventKind = "shrunk"

	// EventOtherKey: the keys have changed since Backup, the newest, was made, as Text says.
	// Run goes on, since a backup with a second key is better than none. If no key opens
	// Backup, no Run of this Manager prunes anything.
	EventOtherKey EventKind = "other key"

	// EventPruned: Retention was applied at Location. If EventFailed follows, maybe only in part.
	EventPruned EventKind = "pruned"

	// EventDrill: Backup was restored into a scratch store and compared.
	EventDrill EventKind = "drill"

	// EventRehearsal: it is time for a person to prove with [Manager.Rehearse] that their
	// key opens the backups.
	EventRehearsal EventKind = "rehearsal"
)

// messages are the texts of events in the log.
var messages = map[EventKind]string{
	EventStarted:   "backup operation started",
	EventStored:    "backup stored",
	EventDone:      "backup operation done",
	EventFailed:    "backup operation failed",
	EventMissed:    "scheduled backup missed, made up for now",
	EventShrunk:    "backup has shrunk, nothing is pruned until it is accepted",
	EventOtherKey:  "THE KEYS HAVE CHANGED since the newest backup was made",
	EventPruned:    "retention applied",
	EventDrill:     "backup proven to restore",
	EventRehearsal: "somebody should prove that their key opens the backups",
}

// emit tells the host and the log of an event. The attributes are for the log only.
func (m *Manager) emit(ctx context.Context, e Event, more ...slog.Attr) {
	e.Time = time.Now()
	if m.OnEvent != nil {
		m.OnEvent(e)
	}
	if m.Logger == nil || e.Kind == EventProgress {
		return
	}
	attrs := []slog.Attr{slog.String("operation", e.Operation)}
	text := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	text("backup", e.Backup)
	text("location", e.Location)
	text("details", e.Text)
	if e.Err != nil {
		text("error", e.Err.Error())
	}
	if e.Manifest != nil {
		attrs = append(attrs, slog.Int64("bytes", e.Manifest.Bytes))
	}
	m.Logger.LogAttrs(ctx, e.level(), cmp.Or(messages[e.Kind], string(e.Kind)), append(attrs, more...)...)
}

func (e Event) level() slog.Level {
	switch e.Kind {
	case EventStarted:
		return slog.LevelDebug
	case EventFailed:
		if !errors.Is(e.Err, context.Canceled) {
			return slog.LevelError
		}
		return slog.LevelWarn
	case EventMissed, EventShrunk, EventOtherKey, EventRehearsal:
		return slog.LevelWarn
	case EventDone:
		if e.Text != "" {
			return slog.LevelWarn
		}
	}
	return slog.LevelInfo
}

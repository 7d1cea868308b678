package manager

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tomo-project/backup"
)

// An Event tells what a [Manager] is doing: for the host's notifications and metrics.
// The log gets the same in more detail. An Event holds no secret.
type Event struct {
	Kind      EventKind
	Operation string // the method that is running: "create", "restore", "run" …
	Time      time.Time

	Backup   string           // the name of the backup concerned; empty: none
	Location string           // the location concerned; empty: none, or all
	Text     string           // of Missed and Shrunk: what a person should know, in a line
	Err      error            // of Failed
	Progress *backup.Progress // of Progress
	Manifest *backup.Manifest // of Stored, and of Done where a backup was made
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
	EventDone      EventKind = "done"      // an operation came to a good end; sets Backup and Manifest of what it made
	EventFailed    EventKind = "failed"    // an operation failed, or only its part at Location; sets Err
	EventMissed    EventKind = "missed"    // the machine was off, or busy, and the backup is made up for now; Text is the time that it was due
	EventShrunk    EventKind = "shrunk"    // Backup has lost most of the collections in Text. Nothing is pruned until it is accepted
	EventPruned    EventKind = "pruned"    // retention was applied at Location
	EventDrill     EventKind = "drill"     // Backup was restored into a scratch store and compared
	EventRehearsal EventKind = "rehearsal" // it is time for a person to prove that their key opens the backups: Manager.Rehearse
)

// emit tells the host and the log of an event. Further attributes are for the log.
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
	case EventMissed, EventShrunk, EventRehearsal:
		return slog.LevelWarn
	}
	return slog.LevelInfo
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

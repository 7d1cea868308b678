package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
)

// A Shrink says that a backup has lost most of a collection against the backup
// before it.
type Shrink struct {
	Collection string `json:"collection"`
	Was        int64  `json:"was"` // records in the backup before
	Is         int64  `json:"is"`
}

// String returns "servers: 0, was 214".
func (s Shrink) String() string { return fmt.Sprintf("%s: %d, was %d", s.Collection, s.Is, s.Was) }

// shrinks puts losses in a line for a person.
func shrinks(list []Shrink) string {
	var texts []string
	for _, s := range list {
		texts = append(texts, s.String())
	}
	return strings.Join(texts, ", ")
}

// flag says of each backup which collections it has lost most of against those
// before it: all of at least two records, or more than half and ten at the least
// of the most that one had. The comparison begins at the time of the newest that
// a person has accepted. Damaged backups count as those before, as long as they tell their
// counts. Snapshots made before a restore, which show what was to go, and
// salvaged ones count on neither side.
func (c *catalog) flag(accepted time.Time) {
	most := make(map[string]int64)
	for i := len(c.backups) - 1; i >= 0; i-- {
		b := &c.backups[i]
		if b.Manifest == nil || b.Trigger == TriggerBeforeRestore || b.Manifest.Salvaged != nil || b.CreatedAt.Before(accepted) {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(b.Manifest.Records)) {
			is, was := b.Manifest.Records[name], most[name]
			if !b.Damaged && (is == 0 && was >= 2 || was-is >= 10 && is < was/2) {
				b.Shrunk = append(b.Shrunk, Shrink{name, was, is})
			}
			most[name] = max(is, was)
		}
	}
}

// ErrShrunk: a backup has lost most of a collection against the one before, and nothing
// is deleted until a person has looked.
var ErrShrunk = errors.New("backup has shrunk")

// Accept says that a person has looked at a backup that has shrunk, and that this
// loss and those before it are all right: Prune goes on. A mark beside the copies
// of the backup remembers it, also when the backup is gone. A backup that has not shrunk is an error.
func (m *Manager) Accept(ctx context.Context, name string) error {
	o, ctx, release, err := m.hold(ctx, "accept")
	if err != nil {
		return err
	}
	defer release()
	o.emit(ctx, Event{Kind: EventStarted, Backup: name})
	return o.done(ctx, Event{Backup: name}, o.accept(ctx, name))
}

func (o *operation) accept(ctx context.Context, name string) error {
	c, err := o.listHeld(ctx)
	if err != nil {
		return err
	}
	b := find(c.backups, name)
	switch {
	case b == nil:
		return fmt.Errorf("no location has %s: %w", fault.Shorten(name), fs.ErrNotExist)
	case c.has(markAccepted, name):
		return nil
	case len(b.Shrunk) == 0:
		return fmt.Errorf("%w: %s has not shrunk, so there is nothing to accept", backup.ErrInvalid, name)
	}
	return o.mark(ctx, *b, markAccepted)
}

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

// A Shrink says that a backup has lost most of the records of a collection.
type Shrink struct {
	Collection string `json:"collection"`
	Was        int64  `json:"was"` // the most records that an earlier backup had
	Is         int64  `json:"is"`  // records in this backup
}

// String returns "servers: 0, was 214".
func (s Shrink) String() string { return fmt.Sprintf("%s: %d, was %d", s.Collection, s.Is, s.Was) }

// shrinks puts several losses in a line.
func shrinks(list []Shrink) string {
	var texts []string
	for _, s := range list {
		texts = append(texts, s.String())
	}
	return strings.Join(texts, ", ")
}

// ErrShrunk says that a backup has lost most of the records of a collection. Nothing is
// deleted until a person has looked and accepts the loss.
var ErrShrunk = errors.New("backup has shrunk")

// ErrRekeyed says that a backup is sealed with another key than those before it. Nothing is
// deleted until a person accepts that, or has opened a backup with the new key.
var ErrRekeyed = errors.New("the key of the backups has changed")

// flag sets Shrunk of each backup. Each collection is compared with the most records that
// an earlier backup had in it, so that it cannot shrink bit by bit. It has shrunk if it had
// at least two records and has none now, or if it has lost at least ten records and more
// than half. The comparison begins with the newest backup that a person has accepted, and
// if that is Partial, only of the collections that it has. If that backup is gone, the
// comparison begins with the first that is not dated before it. The mark of a backup that
// is gone does not count if it is of the future: a clock was wrong.
//
// A damaged backup is not flagged, but later backups are compared with it if its counts
// are known. A backup from before a restore shows what was to go, and a salvaged backup
// lacks what could not be saved; both are left out, and so are backups of other installations.
func (c *catalog) flag(now time.Time) {
	accepted := c.accepted(now)
	c.most = make(map[string]int64)
	shrunk := make(map[string][]Shrink)
	for i := len(c.backups) - 1; i >= 0; i-- {
		b := &c.backups[i]
		if b.Shrunk = c.losses(b, func(collection string) bool { return i <= accepted(collection) }); len(b.Shrunk) > 0 {
			shrunk[b.Name] = b.Shrunk
		}
	}
	for _, there := range c.at {
		for i := range there {
			there[i].Shrunk = shrunk[there[i].Name]
		}
	}
}

// losses returns what a backup has lost since those before it, and counts its records for
// those after it. compared tells whether the comparison has come to a collection.
func (c *catalog) losses(b *Backup, compared func(collection string) bool) (lost []Shrink) {
	if b.Foreign || b.Manifest == nil || b.Trigger == TriggerBeforeRestore || b.Manifest.Salvaged != nil {
		return nil
	}
	for name, is := range b.Manifest.Records {
		if !compared(name) {
			continue
		}
		was := c.most[name]
		if !b.Damaged && (is == 0 && was >= 2 || was-is >= 10 && is < was/2) {
			lost = append(lost, Shrink{name, was, is})
		}
		c.most[name] = max(is, was)
	}
	slices.SortFunc(lost, func(a, b Shrink) int { return strings.Compare(a.Collection, b.Collection) })
	return lost
}

// accepted returns the index of the backup that the comparison begins with, by collection:
// that of the newest backup with the collection that a person has accepted. A backup that
// is gone may have had them all.
func (c *catalog) accepted(now time.Time) func(collection string) int {
	all := len(c.backups) - 1
	some := make(map[string]int)
	for i := all; i >= 0; i-- {
		switch b := c.backups[i]; {
		case b.Foreign || !c.has(markAccepted, b.Name):
		case !b.Partial:
			all = i
		default:
			for collection := range b.Manifest.Records {
				some[collection] = i
			}
		}
	}
	gone := c.latest(markAccepted, now, func(name string) bool { return c.find(name) == nil && c.mine(name) })
	for all >= 0 && c.backups[all].CreatedAt.Before(gone) {
		all--
	}
	return func(collection string) int {
		if i, ok := some[collection]; ok {
			return min(i, all)
		}
		return all
	}
}

// lostIn returns what a new backup has lost, which is not in the catalog.
func (c *catalog) lostIn(b Backup) []Shrink {
	newest := !slices.ContainsFunc(c.backups, func(old Backup) bool { return !old.CreatedAt.Before(b.CreatedAt) })
	if newest && len(c.marked[markAccepted]) == 0 { // it is compared with all others
		with := catalog{most: maps.Clone(c.most)}
		return with.losses(&b, func(string) bool { return true })
	}
	with := catalog{backups: append(slices.Clone(c.backups), b), marked: c.marked}
	newestFirst(with.backups)
	with.flag(time.Now())
	return find(with.backups, b.Name).Shrunk
}

// Accept says that a person has looked at a backup that has shrunk, and that this loss
// and all losses before it are right, so that Prune goes on. A mark beside the copies of
// the backup remembers it, even when the backup is deleted. To accept a backup again is no
// error. If the backup is Rekeyed, Accept also says that its key is right, and so are those
// of the backups before it. The error wraps
// [backup.ErrInvalid] if the backup has neither shrunk nor another key, and
// fs.ErrNotExist if no Location has it. It may be [location.ErrBusy].
func (m *Manager) Accept(ctx context.Context, name string) error {
	o, ctx, release, err := m.hold(ctx, "accept")
	if err != nil {
		return err
	}
	defer release()
	o.emit(ctx, Event{Kind: EventStarted, Backup: name})
	return o.done(ctx, Event{Backup: name}, o.accept(ctx, name))
}

// A notShrunk is the name of a backup that cannot be accepted. The request is invalid, and
// not the data of the backup.
type notShrunk string

func (n notShrunk) Error() string {
	return string(n) + " has not shrunk, so there is nothing to accept"
}

func (n notShrunk) Unwrap() error { return backup.ErrInvalid }

func (o *operation) accept(ctx context.Context, name string) error {
	c, err := o.listHeld(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(c.backups, func(b Backup) bool { return b.Name == name })
	if i < 0 {
		return fmt.Errorf("no location has %s: %w", fault.Shorten(name), fs.ErrNotExist)
	}
	b := c.backups[i]
	switch {
	case b.Rekeyed:
		if err := o.acceptKeys(ctx, c.backups[i:]); err != nil || len(b.Shrunk) == 0 {
			return err
		}
	case c.has(markAccepted, name):
		return nil
	case len(b.Shrunk) == 0:
		return notShrunk(name)
	}
	return o.mark(ctx, b, markAccepted)
}

package manager

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tomo-project/backup/internal/filename"
	"github.com/tomo-project/backup/location"
)

// A catalog is what the locations hold.
type catalog struct {
	backups []Backup                          // one for all copies of a backup, newest first
	at      map[string][]Backup               // by location: each as it is there, with that one Copy
	marked  map[mark]map[string]filename.Name // by the names of backups of the App
	notes   map[string]bool                   // names of backups of the App that have one somewhere
	errs    map[string]error                  // by location: why it could not be asked
}

// List returns the backups of the App at all Locations, newest first, one entry
// for all copies of a backup: with its time, size, trigger and counts of records
// in Manifest, and in Copies where it is and whether it is whole there. Files
// that are not backups of the App are left alone and not shown.
//
// Whole means here that the file begins and ends as it was written, or that
// nothing else is known since Verify, Prune or a restore has read it; Verify
// reads all of it. Of a compressed or encrypted backup List takes what the file
// beside it says, and opens no key: an encrypted one without that file is there
// with its name and size only. A file is opened for that only if it has changed since the
// last time; from a folder, 10,000 are read in about a second at first.
//
// Where a Location is down, or does not answer for a minute, List returns what
// the others have together with an error that names it.
func (m *Manager) List(ctx context.Context) ([]Backup, error) {
	o, err := m.begin(ctx, "list")
	if err != nil {
		return nil, err
	}
	c, err := o.list(ctx)
	if c == nil {
		return nil, err
	}
	for i := range c.backups {
		if b := &c.backups[i]; b.Manifest != nil { // which is remembered
			manifest := b.Manifest.Clone()
			b.Manifest = &manifest
		}
	}
	if err != nil {
		return c.backups, fmt.Errorf("list: %w", err)
	}
	return c.backups, nil
}

// list asks all locations side by side. Its error joins theirs; the catalog is
// nil if ctx is done.
func (o *operation) list(ctx context.Context) (*catalog, error) {
	c := &catalog{at: make(map[string][]Backup), marked: make(map[mark]map[string]filename.Name), notes: make(map[string]bool), errs: make(map[string]error)}
	for _, kind := range marks {
		c.marked[kind] = make(map[string]filename.Name)
	}
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, p := range o.sites {
		wait.Go(func() {
			backups, files, err := o.listAt(ctx, p)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				c.errs[p.name] = err
			}
			c.at[p.name] = backups
			for _, f := range files {
				o.beside(c, f.Name)
			}
		})
	}
	wait.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var errs []error
	merged := make(map[string]*Backup)
	for _, p := range o.sites {
		if err := c.errs[p.name]; err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
		for _, b := range c.at[p.name] {
			b.Copies = slices.Clone(b.Copies)
			if known := merged[b.Name]; known != nil {
				known.merge(b)
			} else {
				merged[b.Name] = &b
			}
		}
	}
	c.backups = make([]Backup, 0, len(merged))
	for _, b := range merged {
		c.backups = append(c.backups, *b)
	}
	slices.SortFunc(c.backups, newestFirst)
	c.flag(c.latest(markAccepted))
	shrunk := make(map[string][]Shrink)
	for _, b := range c.backups {
		shrunk[b.Name] = b.Shrunk
	}
	for _, there := range c.at {
		for i := range there {
			there[i].Shrunk = shrunk[there[i].Name]
		}
	}
	return c, errors.Join(errs...)
}

// beside takes note of a file that stands beside a backup of the App, if it is one.
func (m *Manager) beside(c *catalog, file string) {
	ending := path.Ext(file)
	name := strings.TrimSuffix(file, ending)
	named, ours := filename.Parse(m.App.Name, name)
	switch marked := c.marked[mark(ending)]; {
	case !ours:
	case ending == noteEnding:
		c.notes[name] = true
	case marked != nil:
		marked[name] = named
	}
}

// has tells whether a backup has a mark anywhere.
func (c *catalog) has(kind mark, name string) bool {
	_, found := c.marked[kind][name]
	return found
}

// listHeld is list for an operation that changes something. Locations that
// cannot be asked take no more part in it.
func (o *operation) listHeld(ctx context.Context) (*catalog, error) {
	c, err := o.list(ctx)
	if c == nil {
		return nil, err
	}
	asked := o.sites[:0:0]
	for _, p := range o.sites {
		if err := c.errs[p.name]; err != nil {
			o.down = append(o.down, o.failed(ctx, p, "", err))
			continue
		}
		asked = append(asked, p)
	}
	if o.sites = asked; len(asked) == 0 {
		return nil, err
	}
	return c, nil
}

// find returns the backup of a name, nil if there is none.
func find(backups []Backup, name string) *Backup {
	if i := slices.IndexFunc(backups, func(b Backup) bool { return b.Name == name }); i >= 0 {
		return &backups[i]
	}
	return nil
}

// forget takes a backup out of the catalog.
func (c *catalog) forget(name string) {
	is := func(b Backup) bool { return b.Name == name }
	c.backups = slices.DeleteFunc(c.backups, is)
	for at := range c.at {
		c.at[at] = slices.DeleteFunc(c.at[at], is)
	}
}

// merge adds what another location has under the same name.
func (b *Backup) merge(other Backup) {
	c := other.Copies[0]
	switch {
	case b.Damaged && !other.Damaged:
		other.Copies = append(b.Copies, c)
		*b = other
		return
	case !b.Damaged && !other.Damaged && b.differs(other):
		c.Err = fmt.Errorf("it is another backup than %s at %s, under the same name", b.Name, b.Copies[0].Location)
	case b.Manifest == nil && !other.Damaged:
		other.Copies = append(b.Copies, c)
		*b = other
		return
	}
	b.Copies = append(b.Copies, c)
}

// differs tells whether two backups under one name are known not to be the same.
func (b *Backup) differs(other Backup) bool {
	known := func(a, b string) bool { return a != "" && b != "" }
	switch {
	case known(b.sha256, other.sha256):
		return b.sha256 != other.sha256
	case b.Manifest == nil || other.Manifest == nil:
		return b.Bytes != other.Bytes
	case b.Manifest.Encrypted || b.sha256 != "" || other.sha256 != "":
		return b.Bytes != other.Bytes || !b.CreatedAt.Equal(other.CreatedAt)
	}
	return b.Manifest.SHA256 != other.Manifest.SHA256
}

// listAt returns the backups at one site, in any order, and all files there.
func (o *operation) listAt(ctx context.Context, p *site) (backups []Backup, files []location.File, err error) {
	files, err = p.files(ctx)
	if err != nil {
		return nil, nil, err
	}
	found := make([]*Backup, len(files))
	notes := notesOf(files)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	type at struct {
		i     int
		named filename.Name
	}
	next := make(chan at)
	for range min(8, len(files)) {
		wait.Go(func() {
			for at := range next {
				f := file{files[at.i], at.named}
				b, err := o.look(ctx, p, f, notes[f.Name])
				if found[at.i] = b; errors.Is(err, errNoAnswer) {
					cancel(err)
				}
			}
		})
	}
	for i, f := range files {
		named, ours := filename.Parse(o.App.Name, f.Name)
		if !ours || ctx.Err() != nil {
			continue
		}
		if b, ok := o.remember(p, file{f, named}, notes[f.Name]); ok {
			found[i] = b
			continue
		}
		next <- at{i, named}
	}
	close(next)
	wait.Wait()
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	o.forget(p, files, notes)
	for _, b := range found {
		if b != nil {
			backups = append(backups, *b)
		}
	}
	return backups, files, nil
}

// genuine tells whether a backup says of itself what its name says: that it is
// one of this App, of that time, and has its digest or has one beside it. Only such a backup counts
// for retention and for the schedule.
func (m *Manager) genuine(b Backup) bool {
	return b.Manifest != nil && b.Manifest.Application == m.App.Name && (b.Manifest.SHA256 != "" || b.sha256 != "") &&
		b.CreatedAt.Truncate(time.Second).Equal(b.named.At)
}

// latest returns the time in the name of the newest backup with a mark, zero if
// there is none.
func (c *catalog) latest(kind mark) time.Time {
	var latest time.Time
	for _, name := range c.marked[kind] {
		if name.At.After(latest) {
			latest = name.At
		}
	}
	return latest
}

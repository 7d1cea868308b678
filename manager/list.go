package manager

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tomo-project/backup/internal/filename"
	"github.com/tomo-project/backup/location"
)

// List returns the backups of the App at all Locations, newest first. An entry stands
// for all copies of a backup. It has the time, the size, the trigger, and in Manifest the
// counts of records. Its Copies say where the backup is and whether it is whole there.
// Files that are not backups of the App are left alone and not shown.
//
// Whole means that the file begins and ends as it was written. Of a file that this Manager
// has listed before, it also means what Verify, Prune, Open or another method has found out
// since; Verify reads every copy to its end. What List says of a compressed or encrypted backup it
// takes from the note beside the file, so it needs no key, and tries none: Backup.KeyState
// says whether a key is known to open the backup. InClear tells of secrets that
// nothing protects. Of an encrypted backup without
// a note it knows the name and the size only. List opens a file only if the file has
// changed since the last List; the first 10,000 files of a folder take about a second.
//
// If a Location is down, or does not answer for a minute, List returns what the other
// Locations have, and an error that names that Location.
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
		if b := &c.backups[i]; b.Manifest != nil { // the Manager remembers this one
			manifest := b.Manifest.Clone()
			b.Manifest = &manifest
		}
	}
	if err != nil {
		return c.backups, fmt.Errorf("list: %w", err)
	}
	return c.backups, nil
}

// A catalog is what the locations hold.
type catalog struct {
	backups []Backup                          // one for all copies of a backup, newest first
	at      map[string][]Backup               // by location: its backups, each with the Copy there only
	marked  map[mark]map[string]filename.Name // the names of the backups that have a mark somewhere
	times   map[string]time.Time              // by the name of a mark: when it was put last, as far as a Location tells
	notes   map[string]bool                   // the names of the backups that have a note somewhere
	stems   map[string]bool                   // the names of backups, without their endings, that are in use somewhere
	readmes map[string]int64                  // by location: the size of its README; absent: it has none
	errs    map[string]error                  // by location: why it could not be asked

	brief  bool // it is that of a memo, without the backups
	unsure bool // the next list may find something else although no file has changed, or there is something to be mended

	byName map[string]*Backup // of backups; nil: not made yet
	most   map[string]int64   // by collection: the most records that count for the next backup, see flag
}

// listHeld is list for an operation that changes something. Locations that cannot be
// asked take no more part in it. The catalog is nil if there is an error.
func (o *operation) listHeld(ctx context.Context) (*catalog, error) {
	c, err := o.list(ctx)
	if c == nil || !o.setAside(ctx, c) {
		return nil, err
	}
	return c, nil
}

// setAside lets locations that could not be asked take no more part in the operation. It
// returns false if none is left.
func (o *operation) setAside(ctx context.Context, c *catalog) bool {
	asked := o.sites[:0:0]
	for _, s := range o.sites {
		if err := c.errs[s.name]; err != nil {
			o.down = append(o.down, o.failed(ctx, s, "", err))
			continue
		}
		asked = append(asked, s)
	}
	o.sites = asked
	return len(asked) > 0
}

// catalog returns what the sites had when this operation last asked them.
func (o *operation) catalog(ctx context.Context) (*catalog, error) {
	if o.asked == nil {
		if c, err := o.list(ctx); c == nil {
			return nil, err
		}
	}
	return o.asked, ctx.Err()
}

// list asks all locations side by side. Its error joins theirs. The catalog is nil if
// ctx is done.
func (o *operation) list(ctx context.Context) (*catalog, error) {
	c := &catalog{
		at:      make(map[string][]Backup),
		marked:  make(map[mark]map[string]filename.Name),
		times:   make(map[string]time.Time),
		notes:   make(map[string]bool),
		stems:   make(map[string]bool),
		readmes: make(map[string]int64),
		errs:    make(map[string]error),
	}
	for _, kind := range marks {
		c.marked[kind] = make(map[string]filename.Name)
	}
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, s := range o.sites {
		wait.Go(func() {
			found, err := o.listAt(ctx, s)
			mu.Lock()
			defer mu.Unlock()
			c.at[s.name] = found.backups
			for _, f := range found.ours {
				c.stems[f.named.Stem] = true
			}
			if err != nil {
				c.errs[s.name] = err
				return
			}
			c.unsure = c.unsure || !found.sure
			for _, f := range found.others {
				c.addBeside(o.App.Name, s, f)
			}
		})
	}
	wait.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var errs []error
	for _, s := range o.sites {
		if err := c.errs[s.name]; err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	o.doubt(c)
	for _, there := range c.at {
		for i := range there {
			there[i].Rekeyed = !there[i].Foreign && c.has(markRekeyed, there[i].Name)
		}
	}
	c.join(o.sites)
	c.flag(o.start)
	if len(c.marked[markVerified]) > 0 {
		for i := range c.backups {
			c.backups[i].VerifiedAt = c.markedWhen(c.backups[i].named, markVerified, o.start)
		}
	}
	o.asked = c
	return c, errors.Join(errs...)
}

// lookers is how many files are looked into side by side. If as many do not answer, or
// one does not and none has answered, the location is given up.
const lookers = 8

// A listing is what is at one site.
type listing struct {
	backups []Backup        // in any order
	ours    []file          // of the backups
	others  []location.File // all other files
	sure    bool            // every file of a backup was looked into, and will be remembered
}

// listAt lists one site. It returns the files with an error too if only the backups could
// not be looked into.
func (o *operation) listAt(ctx context.Context, s *site) (l listing, err error) {
	files, err := s.files(ctx)
	if err != nil {
		return listing{}, err
	}
	l.ours, l.others = o.backupFiles(o.finished(ctx, s, files))
	ours := l.ours
	found := make([]*Backup, len(ours))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	unknown := make(chan int)
	var answers, silent atomic.Int64
	for range min(lookers, len(ours)) {
		wait.Go(func() {
			for i := range unknown {
				b, err := o.look(ctx, s, ours[i])
				if found[i] = b; !errors.Is(err, errNoAnswer) {
					answers.Add(1)
				} else if silent.Add(1) >= lookers || answers.Load() == 0 {
					cancel(err)
				}
			}
		})
	}
	for i, f := range ours {
		if ctx.Err() != nil {
			break
		}
		if b, known := o.recall(s, f); known {
			found[i] = b
			continue
		}
		unknown <- i
	}
	close(unknown)
	wait.Wait()
	if ctx.Err() != nil {
		return l, context.Cause(ctx)
	}
	l.sure = o.forget(s, ours)
	l.backups = make([]Backup, 0, len(found))
	for _, b := range found {
		if b != nil {
			l.backups = append(l.backups, *b)
		}
	}
	return l, nil
}

// addBeside adds a file to the catalog if it is a note or a mark of a backup of the app, or
// the README.
func (c *catalog) addBeside(app string, s *site, file location.File) {
	ending := path.Ext(file.Name)
	name := strings.TrimSuffix(file.Name, ending)
	named, ours := filename.Parse(app, name)
	switch marked := c.marked[mark(ending)]; {
	case file.Name == readmeName(app):
		c.readmes[s.name] = file.Bytes
	case !ours:
	case ending == noteEnding:
		c.notes[name] = true
	case ending == writingEnding:
		c.unsure = true
	case marked != nil:
		marked[name] = named
		if file.ModTime.After(c.times[file.Name]) {
			c.times[file.Name] = file.ModTime
		}
	}
}

// join makes one entry of all copies of a backup.
func (c *catalog) join(sites []*site) {
	joined := make(map[string]int) // by name: the index of its entry
	c.backups = []Backup{}
	for i, s := range sites {
		c.backups = slices.Grow(c.backups, max(0, len(c.at[s.name])-len(c.backups)))
		for _, b := range c.at[s.name] {
			b.Copies = slices.Clip(b.Copies) // merge appends to them
			if known, ok := joined[b.Name]; ok {
				c.backups[known].merge(b)
				continue
			}
			if i < len(sites)-1 { // nobody asks after the last
				joined[b.Name] = len(c.backups)
			}
			c.backups = append(c.backups, b)
		}
	}
	newestFirst(c.backups)
}

// merge adds what another location has under the same name.
func (b *Backup) merge(other Backup) {
	c := other.Copies[0]
	b.OtherKey, b.opened = b.OtherKey || other.OtherKey, b.opened || other.opened
	if !b.Damaged && !other.Damaged && b.differs(other) {
		good := slices.IndexFunc(b.Copies, func(c Copy) bool { return c.Err == nil })
		c.Err = fmt.Errorf("it is another backup than %s at %s, under the same name", b.Name, b.Copies[good].Location)
	} else if !other.Damaged && (b.Damaged || b.Manifest == nil) {
		other.Copies, other.OtherKey, other.opened = append(b.Copies, c), b.OtherKey, b.opened
		*b = other
		return
	}
	b.Copies = append(b.Copies, c)
}

// differs tells whether two backups of one name are known to be different.
func (b *Backup) differs(other Backup) bool {
	switch {
	case b.sha256 != "" && other.sha256 != "":
		return b.sha256 != other.sha256
	case b.Manifest == nil || other.Manifest == nil:
		return b.Bytes != other.Bytes
	case b.Manifest.Encrypted || b.sha256 != "" || other.sha256 != "":
		return b.Bytes != other.Bytes || !b.CreatedAt.Equal(other.CreatedAt)
	}
	return b.Manifest.SHA256 != other.Manifest.SHA256
}

// genuine tells whether a backup says of itself what its name says: that it is of this
// App and of that time. It must have a digest, in itself or in its note. Only such a
// backup counts for retention and for the schedule.
func (m *Manager) genuine(b Backup) bool {
	return b.Manifest != nil && b.Manifest.Application == m.App.Name && (b.Manifest.SHA256 != "" || b.sha256 != "") &&
		b.CreatedAt.Truncate(time.Second).Equal(b.named.At)
}

// find returns the backup of a name, or nil.
func find(backups []Backup, name string) *Backup {
	if i := slices.IndexFunc(backups, func(b Backup) bool { return b.Name == name }); i >= 0 {
		return &backups[i]
	}
	return nil
}

// find returns the backup of a name, or nil, for who asks for many.
func (c *catalog) find(name string) *Backup {
	if c.byName == nil {
		c.byName = make(map[string]*Backup, len(c.backups))
		for i := range c.backups {
			c.byName[c.backups[i].Name] = &c.backups[i]
		}
	}
	return c.byName[name]
}

// has tells whether a backup has a mark anywhere.
func (c *catalog) has(kind mark, name string) bool {
	_, found := c.marked[kind][name]
	return found
}

// markedWhen returns when a backup got a mark, or nil if it has none. A mark is not older
// than its backup, and a time after now is of a wrong clock.
func (c *catalog) markedWhen(name filename.Name, kind mark, now time.Time) *time.Time {
	if !c.has(kind, name.String()) || name.At.After(now) {
		return nil
	}
	at := name.At
	if put := c.times[name.String()+string(kind)].UTC(); put.After(at) && !put.After(now) {
		at = put
	}
	return &at
}

// latest returns the time of the newest mark that counts, or zero. The time of a mark is
// that in the name of its backup. A mark of the future does not count: a clock was wrong.
// Nor does a partial backup that was accepted, since it says nothing of the rest.
func (c *catalog) latest(kind mark, now time.Time, counts func(name string) bool) time.Time {
	var latest time.Time
	for name, named := range c.marked[kind] {
		if named.At.After(now.Add(skew)) || !counts(name) {
			continue
		}
		if b := c.find(name); kind == markAccepted && b != nil && b.Partial {
			continue
		}
		if named.At.After(latest) {
			latest = named.At
		}
	}
	return latest
}

// mine tells whether a mark is about a backup of this installation. If the backup is gone,
// it is unless another installation has backups here too.
func (c *catalog) mine(name string) bool {
	if b := c.find(name); b != nil {
		return !b.Foreign
	}
	return !c.shared()
}

// shared tells whether another installation has backups at the locations.
func (c *catalog) shared() bool {
	return slices.ContainsFunc(c.backups, func(b Backup) bool { return b.Foreign })
}

// own returns the backups of this installation.
func own(backups []Backup) []Backup {
	return slices.DeleteFunc(slices.Clone(backups), func(b Backup) bool { return b.Foreign })
}

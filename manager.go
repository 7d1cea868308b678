package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Manager is what a server runs: it keeps the backups of an App at its
// Locations, makes them on a Schedule, applies Retention, restores with a way
// back, and proves that backups restore (guide, "Automated Backups" to
// "Disaster Recovery"). A struct literal with App, Source, Sink and Locations
// will do. It must not be copied or changed once it is used, and may be used by
// several goroutines.
//
// # One at a time
//
// Create, Restore, Apply, Undo, Prune and Accept change something, and one of
// them runs at a time: in this Manager, and among all processes that share one
// of its Locations. Another one returns at once an error that wraps ErrBusy and
// says who is at it since when. A process that was killed holds nobody up: a
// folder is freed by the system, and at a Location that is no [Locker] a hold
// ends by itself after ten minutes (clocks must agree to within some minutes).
// List, Next, Open, Verify, Plan and Drill never wait and hold nobody up.
//
// # Several locations
//
// A backup is made at the first Location that takes it and copied from there to
// the others side by side. What was stored is read back before it counts. A
// Location that is down, or does not answer within a minute, stops nothing: what
// it lacks, or has only damaged, is filled in by a later Create or Run, as far as
// Retention would keep it there.
//
// The Locations are those of one installation. Another one that keeps backups of
// the same App there would take them for its own.
type Manager struct {
	App    *App
	Source DataSource // what is backed up
	Sink   Sink       // what is restored to; usually the same store

	// Locations are where backups are kept, the fastest first: "Multiple
	// locations" of the guide. Their names (see [Location]) must differ. What a
	// restore replaces is stored at the first while the host's transaction is
	// open.
	Locations []Location

	// MinCopies is how many Locations must have a backup for it to count as
	// made. With fewer, Create returns an error, although the copies that it
	// could make are kept. 0 means 1.
	MinCopies int

	// Recipients are those who can open the secrets of the backups made here,
	// and Identities open them. Both are the same for a passphrase.
	Recipients []Recipient
	Identities []Identity

	// Schedule says when Run makes a backup, and Scheduled what it takes; the
	// Recipients, Limits, CreatedAt and Metadata of Scheduled are not used.
	Schedule  Schedule
	Scheduled BackupOptions

	// Jitter delays each scheduled backup by a random time of up to this, so
	// that many installs do not load a shared Location all at once.
	Jitter time.Duration

	// Retention says which scheduled backups Prune keeps; manual ones are kept
	// unless it is told otherwise.
	Retention Retention

	// KeepBeforeRestore is how many of the snapshots that a restore makes before
	// it changes anything are kept. 0 means 5, and all of them if Retention has
	// no rules.
	KeepBeforeRestore int

	// AfterRestore, if not nil, is called when a restore has changed something, so
	// that the host restarts or drops what it had in memory: for it, time went back.
	// What it returns is in Report.AfterRestore; the restore stands either way.
	AfterRestore func(ctx context.Context, r Report) error

	// Scratch makes an empty store for Drill, and what removes it again. It must
	// not be the host's own.
	Scratch func(ctx context.Context) (store Store, remove func() error, err error)

	// CheckDrill, if not nil, holds the host's own assertions against the data
	// that a drill has restored.
	CheckDrill func(ctx context.Context, restored DataSource) error

	// DrillSchedule says how often Run puts a new backup to a drill: the first
	// scheduled one after each of its times, and the following ones until one
	// passes. Until then Run prunes nothing. Nil means never.
	DrillSchedule Schedule

	// Limits bound what is written and accepted. The zero value has the defaults.
	Limits Limits

	// TempDir is for copies of backups that cannot be read in place. Empty means
	// os.TempDir.
	TempDir string

	// OnEvent, if not nil, is told what happens, in the goroutine in which it
	// happens, sometimes of several at a time. It must not block.
	OnEvent func(Event)

	// Logger, if not nil, gets the same, but for progress.
	Logger *slog.Logger

	checked sync.Once
	wrong   error // what check found

	mu     sync.Mutex
	holder string // of this Manager; empty: nobody
	seen   map[seenFile]seenManifest
}

// A Store is both halves of what a host plugs in.
type Store interface {
	DataSource
	Sink
}

// What makes a backup, in its metadata: "trigger".
const (
	TriggerManual        = "manual"
	TriggerScheduled     = "scheduled"
	TriggerBeforeRestore = "before restore"
)

const (
	metaTrigger = "trigger"
	metaSlot    = "scheduled_for" // the time of the Schedule that a scheduled backup was made for
)

// A Copy is what is known of a backup at one Location.
type Copy struct {
	Location string

	// Err says why the backup is not there, or not whole. Nil: it is there, and
	// nothing is known against it.
	Err error
}

// MarshalJSON returns the members location and error, which is absent if nil.
func (c Copy) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Location string `json:"location"`
		Error    string `json:"error,omitempty"`
	}{c.Location, errorText(c.Err)})
}

// A site is a Location of a Manager under its name.
type site struct {
	Location
	name string
}

func (m *Manager) sites() []*site {
	sites := make([]*site, len(m.Locations))
	for i, l := range m.Locations {
		p := &site{l, fmt.Sprintf("location %d", i+1)}
		if s, ok := l.(fmt.Stringer); ok {
			p.name = s.String()
		}
		sites[i] = p
	}
	return sites
}

// check refuses a Manager that cannot work, before anything is done. Since a
// Manager is not changed once it is used, it is checked once.
func (m *Manager) check() error {
	m.checked.Do(func() { m.wrong = m.examine() })
	return m.wrong
}

func (m *Manager) examine() error {
	var errs []error
	switch {
	case m.App == nil:
		return errors.New("manager: App is nil")
	case len(m.Locations) == 0:
		errs = append(errs, errors.New("no Locations: there is nowhere to keep backups"))
	case m.MinCopies < 0 || m.MinCopies > len(m.Locations):
		errs = append(errs, fmt.Errorf("MinCopies is %d, and there are %d Locations", m.MinCopies, len(m.Locations)))
	}
	names := make(map[string]bool)
	for _, p := range m.sites() {
		if p.Location == nil {
			errs = append(errs, fmt.Errorf("%s is nil", p.name))
		} else if names[p.name] {
			errs = append(errs, fmt.Errorf("two Locations are called %s", p.name))
		}
		names[p.name] = true
	}
	if m.KeepBeforeRestore < 0 {
		errs = append(errs, fmt.Errorf("KeepBeforeRestore is %d", m.KeepBeforeRestore))
	}
	errs = append(errs, m.App.Validate(), m.Retention.Validate())
	for _, s := range []Schedule{m.Schedule, m.DrillSchedule} {
		if v, ok := s.(interface{ Validate() error }); ok {
			errs = append(errs, v.Validate())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	return nil
}

// An operation is one run of a method of the Manager.
type operation struct {
	*Manager
	name  string
	start time.Time
	sites []*site // that take part: for one that changes something, those that are held
	down  []Copy  // the others
}

// begin starts an operation that only looks.
func (m *Manager) begin(ctx context.Context, name string) (*operation, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	return &operation{Manager: m, name: name, start: time.Now(), sites: m.sites()}, nil
}

func (o *operation) emit(ctx context.Context, e Event) {
	e.Operation = o.name
	o.Manager.emit(ctx, e)
}

// progress passes on what a part of the operation reports.
func (o *operation) progress(ctx context.Context, also func(Progress)) func(Progress) {
	return func(p Progress) {
		if also != nil {
			also(p)
		}
		if o.OnEvent != nil {
			o.emit(ctx, Event{Kind: EventProgress, Progress: &p})
		}
	}
}

// done tells how the operation ended, and gives its error a beginning.
func (o *operation) done(ctx context.Context, e Event, err error) error {
	e.Kind, e.Duration = EventDone, time.Since(o.start)
	if err = lost(ctx, err); err != nil {
		err = fmt.Errorf("%s: %w", o.name, err)
		e.Kind, e.Err = EventFailed, err
	}
	o.emit(ctx, e)
	return err
}

// lost adds to an error why an operation was stopped: because it could not hold
// a location any longer.
func lost(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// remove takes a file away that must not stay, also when ctx is done.
func (p *site) remove(ctx context.Context, name string) error {
	_, err := within(context.WithoutCancel(ctx), func(ctx context.Context) (struct{}, error) {
		return struct{}{}, p.Delete(ctx, name)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// failed tells of a failure at one location that does not end the operation.
func (o *operation) failed(ctx context.Context, p *site, name string, err error) Copy {
	if ctx.Err() == nil {
		o.emit(ctx, Event{Kind: EventFailed, Backup: name, Location: p.name, Err: err})
	}
	return Copy{p.name, err}
}

// Create makes a backup and stores it at all Locations: guide, "Create Backup".
// The Recipients and Limits of opts are those of the Manager where they are not
// set; the trigger in its Metadata is "manual" where there is none. Then it fills
// in what Locations lack of older backups; a failure of that is an Event only.
//
// The Copies of the result name each Location, with the reason where the backup
// is not there. It returns ErrBusy, the errors of [App.Backup], and an error if
// there are fewer copies than MinCopies.
func (m *Manager) Create(ctx context.Context, opts BackupOptions) (Backup, error) {
	o, ctx, release, err := m.hold(ctx, "create")
	if err != nil {
		return Backup{}, err
	}
	defer release()
	o.emit(ctx, Event{Kind: EventStarted})
	opts.Metadata = maps.Clone(opts.Metadata)
	if opts.Metadata[metaTrigger] == "" {
		opts.Metadata = with(opts.Metadata, metaTrigger, TriggerManual)
	}
	b, err := o.create(ctx, opts)
	return b, o.done(ctx, Event{Backup: b.Name, Manifest: b.Manifest}, err)
}

func with(m map[string]string, name, value string) map[string]string {
	if m == nil {
		m = make(map[string]string)
	}
	m[name] = value
	return m
}

// create makes a backup, copies it, and fills in what is missing elsewhere.
func (o *operation) create(ctx context.Context, opts BackupOptions) (Backup, error) {
	if o.Source == nil {
		return Backup{}, errors.New("the Manager has no Source to back up")
	}
	opts.Progress = o.progress(ctx, opts.Progress)
	b, first, err := o.store(ctx, o.Source, opts)
	if err != nil {
		return Backup{}, err
	}
	b.Copies = o.spread(ctx, b, first)
	c, err := o.listHeld(ctx)
	if ctx.Err() != nil {
		return b, ctx.Err()
	}
	if err != nil { // it was told of, and the backup is made
		return b, o.enough(b)
	}
	if i := c.find(b.Name); i >= 0 {
		b.Shrunk = c.backups[i].Shrunk
	}
	if len(b.Shrunk) > 0 {
		o.emit(ctx, Event{Kind: EventShrunk, Backup: b.Name, Shrunk: b.Shrunk})
	}
	c.forget(b.Name) // it was copied just now, as far as that goes
	o.fill(ctx, c)
	return b, o.enough(b)
}

// enough returns an error if there are fewer copies of a backup than MinCopies.
func (o *operation) enough(b Backup) error {
	var errs []error
	for _, c := range b.Copies {
		if c.Err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.Location, c.Err))
		}
	}
	if n, min := len(b.Copies)-len(errs), max(1, o.MinCopies); n < min {
		return fmt.Errorf("%s is at %d of %d locations, and %d are needed: %w", b.Name, n, len(b.Copies), min, errors.Join(errs...))
	}
	return nil
}

// store makes a backup of src at the first location that takes it. The Copies
// of the result are that one, and those that did not take it.
func (o *operation) store(ctx context.Context, src DataSource, opts BackupOptions) (Backup, *site, error) {
	if opts.Recipients == nil {
		opts.Recipients = o.Recipients
	}
	if opts.Limits == (Limits{}) {
		opts.Limits = o.Limits
	}
	var copies []Copy
	var errs []error
	for _, c := range o.down {
		errs = append(errs, fmt.Errorf("%s: %w", c.Location, c.Err))
	}
	for _, p := range o.sites {
		manifest, name, err := o.storeAt(ctx, p, src, opts)
		if err == nil {
			o.emit(ctx, Event{Kind: EventStored, Backup: name, Location: p.name, Manifest: &manifest})
			b := backupOf(name, &manifest)
			b.Copies = append(copies, Copy{Location: p.name})
			return b, p, nil
		}
		var put *putError
		if ctx.Err() != nil || !errors.As(err, &put) {
			return Backup{}, nil, err
		}
		errs = append(errs, fmt.Errorf("%s: %w", p.name, put.err))
		copies = append(copies, o.failed(ctx, p, name, put.err))
	}
	return Backup{}, nil, fmt.Errorf("no location took the backup: %w", errors.Join(errs...))
}

// A putError is a failure of the location, as against one of the backup.
type putError struct{ err error }

func (e *putError) Error() string { return e.err.Error() }
func (e *putError) Unwrap() error { return e.err }

// storeAt makes a backup at one location, under the first name that is free,
// and reads it back.
func (o *operation) storeAt(ctx context.Context, p *site, src DataSource, opts BackupOptions) (Manifest, string, error) {
	if opts.CreatedAt.IsZero() {
		opts.CreatedAt = time.Now()
	}
	taken, err := o.taken(ctx)
	if err != nil {
		return Manifest{}, "", err
	}
	for n := 1; ; n++ {
		name := o.App.BackupName(opts.CreatedAt)
		if n > 1 {
			name = fmt.Sprintf("%s-%d.json", strings.TrimSuffix(name, ".json"), n)
		}
		if taken[name] {
			continue
		}
		manifest, err := o.write(ctx, p, name, src, opts)
		var put *putError
		if errors.As(err, &put) && errors.Is(err, fs.ErrExist) && n < 1000 && ctx.Err() == nil {
			continue // somebody who does not ask for the hold
		}
		if err == nil {
			if err = o.readBack(ctx, p, name, manifest); err != nil {
				err = &putError{errors.Join(err, p.remove(ctx, name))}
			}
		}
		return manifest, name, err
	}
}

// taken returns the names that are in use anywhere: a backup has one name at
// all locations.
func (o *operation) taken(ctx context.Context) (map[string]bool, error) {
	names := make(map[string]bool)
	for _, p := range o.sites {
		files, _ := within(ctx, p.List) // one that is down has no say
		for _, f := range files {
			names[f.Name] = true
		}
	}
	return names, ctx.Err()
}

// write streams a backup into a location.
func (o *operation) write(ctx context.Context, p *site, name string, src DataSource, opts BackupOptions) (Manifest, error) {
	pr, pw := io.Pipe()
	put := make(chan error, 1)
	go func() {
		err := p.Put(ctx, name, pr)
		stopped := err
		if err == nil {
			stopped = errors.New("it took no more before the end")
		}
		pr.CloseWithError(&putError{stopped})
		put <- err
	}()
	// A host that panics in its Source must not leave the location waiting.
	defer pw.CloseWithError(errors.New("the backup was abandoned"))
	manifest, err := o.App.Backup(ctx, pw, src, opts)
	pw.CloseWithError(err)
	stored := <-put
	switch {
	case err != nil:
		return Manifest{}, err
	case stored != nil:
		return Manifest{}, &putError{stored}
	}
	return manifest, nil
}

// readBack holds what a location stored against what was written.
func (o *operation) readBack(ctx context.Context, p *site, name string, want Manifest) error {
	s, err := o.openAt(ctx, p, name, nil)
	if err != nil {
		return fmt.Errorf("read back what was stored: %w", err)
	}
	defer s.Close()
	if got := s.Manifest(); got.SHA256 != want.SHA256 || got.Bytes != want.Bytes {
		return fmt.Errorf("read back what was stored: %w: it has %d bytes with SHA-256 %s, written were %d with %s", ErrDamaged, got.Bytes, got.SHA256, want.Bytes, want.SHA256)
	}
	return nil
}

// openAt opens a backup at a location.
func (o *operation) openAt(ctx context.Context, p *site, name string, identities []Identity) (*Snapshot, error) {
	r, err := p.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	s, err := OpenSnapshot(ctx, r, OpenOptions{Identities: identities, Limits: o.Limits, TempDir: o.TempDir, Progress: o.progress(ctx, nil)})
	if err != nil {
		r.Close()
		return nil, err
	}
	s.under = r
	return s, nil
}

// spread copies a backup to all locations that it has no Copy of, side by side.
// It returns all Copies, in the order of Locations.
func (o *operation) spread(ctx context.Context, b Backup, from *site) []Copy {
	var wait sync.WaitGroup
	copies := make([]Copy, len(o.Locations))
	for i, p := range o.Manager.sites() {
		known := b.at(p)
		if known == nil {
			known = (&Backup{Copies: o.down}).at(p)
		}
		if known != nil {
			copies[i] = *known
			continue
		}
		wait.Go(func() {
			if err := o.copy(ctx, b, from, p); err != nil {
				copies[i] = o.failed(ctx, p, b.Name, err)
				return
			}
			copies[i] = Copy{Location: p.name}
		})
	}
	wait.Wait()
	return copies
}

// copy takes a backup from one location to another and reads it back.
func (o *operation) copy(ctx context.Context, b Backup, from, to *site) error {
	r, err := from.Open(ctx, b.Name)
	if err != nil {
		return fmt.Errorf("copy from %s: %w", from.name, err)
	}
	defer r.Close()
	if err := to.Put(ctx, b.Name, blaming{r, from}); err != nil {
		return err
	}
	if err := o.readBack(ctx, to, b.Name, *b.Manifest); err != nil {
		err = errors.Join(err, to.remove(ctx, b.Name))
		if source := o.readBack(ctx, from, b.Name, *b.Manifest); source != nil {
			o.learn(from, b.Name, source)
			err = fmt.Errorf("copy from %s: %w", from.name, source)
		}
		return err
	}
	o.emit(ctx, Event{Kind: EventStored, Backup: b.Name, Location: to.name, Manifest: b.Manifest})
	return nil
}

// A blaming reader says which location its errors come from.
type blaming struct {
	r    io.Reader
	from *site
}

func (b blaming) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("copy from %s: %w", b.from.name, err)
	}
	return n, err
}

// fill copies to each location those backups that others have and it lacks, as
// far as retention would keep them there. A copy that is damaged is replaced: it
// is the other one that is worth keeping.
func (o *operation) fill(ctx context.Context, c *catalog) {
	for _, to := range o.sites {
		there := slices.Clone(c.at[to.name])
		for _, b := range c.backups {
			if b.source(o.sites) == nil {
				continue
			}
			switch known := b.at(to); {
			case known == nil:
				there = append(there, b)
			case errors.Is(known.Err, ErrDamaged):
				there = slices.DeleteFunc(there, func(old Backup) bool { return old.Name == b.Name })
				there = append(there, b)
			}
		}
		if len(there) == len(c.at[to.name]) && !slices.ContainsFunc(there, func(b Backup) bool { return b.damagedAt(to) }) {
			continue
		}
		for _, d := range o.decide(there, PruneOptions{}) {
			if b := d.Backup; d.Keep && (b.at(to) == nil || b.damagedAt(to)) {
				if err := o.fillIn(ctx, b, to); err != nil {
					o.failed(ctx, to, d.Name, fmt.Errorf("fill in what is missing: %w", err))
					break // the location, or the way to it, is not well
				}
			}
		}
	}
}

// fillIn copies a backup to a location that lacks it, or has it damaged.
func (o *operation) fillIn(ctx context.Context, b Backup, to *site) error {
	from := b.source(o.sites)
	if from == nil {
		return nil // damaged everywhere
	}
	if b.damagedAt(to) {
		if err := o.readBack(ctx, from, b.Name, *b.Manifest); err != nil {
			o.learn(from, b.Name, err)
			return fmt.Errorf("copy from %s: %w", from.name, err)
		}
		if err := to.Delete(ctx, b.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return o.copy(ctx, b, from, to)
}

// damagedAt tells whether the copy at a site is known to be damaged.
func (b *Backup) damagedAt(p *site) bool {
	c := b.at(p)
	return c != nil && errors.Is(c.Err, ErrDamaged)
}

// find returns the index of a backup, or -1.
func (c *catalog) find(name string) int {
	return slices.IndexFunc(c.backups, func(b Backup) bool { return b.Name == name })
}

// forget takes a backup out of the catalog.
func (c *catalog) forget(name string) {
	is := func(b Backup) bool { return b.Name == name }
	c.backups = slices.DeleteFunc(c.backups, is)
	for at := range c.at {
		c.at[at] = slices.DeleteFunc(c.at[at], is)
	}
}

// mark puts a mark beside every copy of a backup. One is enough.
func (o *operation) mark(ctx context.Context, b Backup, kind mark) error {
	var errs []error
	put := 0
	for _, p := range o.sites {
		if c := b.at(p); c == nil || c.Err != nil {
			continue
		}
		if err := p.Put(ctx, b.Name+string(kind), bytes.NewReader(nil)); err != nil && !errors.Is(err, fs.ErrExist) {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
			continue
		}
		put++
	}
	if put > 0 {
		return nil
	}
	return errors.Join(errs...)
}

// at returns what is known of the backup at a site, nil if it is not there.
func (b *Backup) at(p *site) *Copy {
	for i := range b.Copies {
		if b.Copies[i].Location == p.name {
			return &b.Copies[i]
		}
	}
	return nil
}

// source returns the first site with a copy that seems whole.
func (b *Backup) source(sites []*site) *site {
	for _, p := range sites {
		if c := b.at(p); c != nil && c.Err == nil {
			return p
		}
	}
	return nil
}

// Open opens a backup for reading, restoring or looking at it: the first copy
// that is whole, with the Identities of the Manager. The caller closes it. The
// name must be that of a backup of the App; the error wraps fs.ErrNotExist if no
// Location has it.
func (m *Manager) Open(ctx context.Context, name string) (*Snapshot, error) {
	o, err := m.begin(ctx, "open")
	if err != nil {
		return nil, err
	}
	s, _, err := o.open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return s, nil
}

func (o *operation) open(ctx context.Context, name string) (*Snapshot, *site, error) {
	if _, ok := o.App.ParseBackupName(name); !ok {
		return nil, nil, fmt.Errorf("not the name of a backup of %s: %w", o.App.Name, fs.ErrNotExist)
	}
	var errs, missing []error
	for _, p := range o.sites {
		s, err := o.openAt(ctx, p, name, o.Identities)
		if err == nil {
			s.name = name
			return s, p, nil
		}
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			// It may be the folder that is missing, which says nothing of the file.
			if _, err := within(ctx, p.List); err == nil {
				missing = append(missing, fmt.Errorf("%s: %w", p.name, fs.ErrNotExist))
				continue
			}
			err = fmt.Errorf("cannot be asked: %v", err)
		}
		o.learn(p, name, err)
		errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
	}
	if len(errs) == 0 {
		errs = missing
	}
	return nil, nil, errors.Join(errs...)
}

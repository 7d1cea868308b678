package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tomo-project/backup/internal/codec"
)

// A seenFile is a file as it was when it was looked into. One that is not known
// to change its time when it changes is never taken for seen.
type seenFile struct {
	location, name string
	bytes          int64
	modTime        time.Time
}

// A seenManifest is what was found in it.
type seenManifest struct {
	manifest *Manifest // nil: unreadable
	err      error     // why it is not whole; nil: nothing is known against it
}

// List returns the backups of the App at all Locations, newest first, one entry
// for all copies of a backup: with its time, size, trigger and counts of records
// in Manifest, and in Copies where it is and whether it is whole there. Files
// that are not backups of the App are left alone and not shown.
//
// Whole means here that the file begins and ends as it was written, or that
// nothing else is known since Verify, Prune or a restore has read it; Verify
// reads all of it. What was looked at once is looked at again only when it
// changes, so that 10,000 backups are listed in well under a second.
//
// Where a Location is down List returns what the others have together with an
// error that names it.
func (m *Manager) List(ctx context.Context) ([]Backup, error) {
	o, err := m.begin(ctx, "list")
	if err != nil {
		return nil, err
	}
	backups, err := o.list(ctx)
	if err != nil {
		return backups, fmt.Errorf("list: %w", err)
	}
	return backups, nil
}

// list also tells which backups have shrunk.
func (o *operation) list(ctx context.Context) ([]Backup, error) {
	found := make([][]Backup, len(o.sites)) // each with one copy
	marked := make([][]string, len(o.sites))
	errs := make([]error, len(o.sites))
	var wait sync.WaitGroup
	for i, p := range o.sites {
		wait.Go(func() {
			var err error
			if found[i], marked[i], err = o.listAt(ctx, p); err != nil {
				errs[i] = fmt.Errorf("%s: %w", p.name, err)
			}
		})
	}
	wait.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	accepted := make(map[string]bool)
	for _, name := range slices.Concat(marked...) {
		accepted[name] = true
	}
	byName := make(map[string]*Backup)
	for _, b := range slices.Concat(found...) {
		if known := byName[b.Name]; known != nil {
			known.merge(b)
		} else {
			byName[b.Name] = &b
		}
	}
	backups := make([]Backup, 0, len(byName))
	for _, b := range byName {
		backups = append(backups, *b)
	}
	slices.SortFunc(backups, newestFirst)
	for i := range backups {
		if !accepted[backups[i].Name] {
			backups[i].Shrunk = shrunk(backups[i:], backups[i])
		}
	}
	return backups, errors.Join(errs...)
}

// merge adds what another location has under the same name.
func (b *Backup) merge(other Backup) {
	c := other.Copies[0]
	switch {
	case b.Damaged && !other.Damaged:
		other.Copies = append(b.Copies, c)
		*b = other
		return
	case !b.Damaged && !other.Damaged && b.Manifest.SHA256 != other.Manifest.SHA256:
		c.Err = fmt.Errorf("it is another backup than %s at %s, under the same name", b.Name, b.Copies[0].Location)
	}
	b.Copies = append(b.Copies, c)
}

// listAt returns the backups at one site, in any order, and the names of those
// that are marked as accepted.
func (o *operation) listAt(ctx context.Context, p *site) (backups []Backup, accepted []string, err error) {
	files, err := p.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	found := make([]*Backup, len(files))
	var wait sync.WaitGroup
	next := make(chan int)
	for range min(8, len(files)) {
		wait.Go(func() {
			for i := range next {
				found[i] = o.look(ctx, p, files[i])
			}
		})
	}
	for i, f := range files {
		name, marks := strings.CutSuffix(f.Name, acceptedSuffix)
		if _, ours := o.App.ParseBackupName(name); !ours || ctx.Err() != nil {
			continue
		}
		if marks {
			accepted = append(accepted, name)
			continue
		}
		if b, ok := o.remember(p, f); ok {
			found[i] = b
			continue
		}
		next <- i
	}
	close(next)
	wait.Wait()
	o.forget(p, files)
	for _, b := range found {
		if b != nil {
			backups = append(backups, *b)
		}
	}
	return backups, accepted, ctx.Err()
}

// remember returns what was found in a file before, nil if it is not ours.
func (m *Manager) remember(p *site, f File) (*Backup, bool) {
	m.mu.Lock()
	seen, ok := m.seen[seenFile{p.name, f.Name, f.Bytes, f.ModTime}]
	m.mu.Unlock()
	if !ok {
		return nil, false
	}
	return m.entry(p, f, seen), true
}

// forget drops what is known of files that are no longer there.
func (m *Manager) forget(p *site, files []File) {
	there := make(map[seenFile]bool, len(files))
	for _, f := range files {
		there[seenFile{p.name, f.Name, f.Bytes, f.ModTime}] = true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.seen {
		if k.location == p.name && !there[k] {
			delete(m.seen, k)
		}
	}
}

// learn takes note that a copy was read and found damaged, or with a nil error
// that nothing is known against it any more.
func (m *Manager) learn(p *site, name string, err error) {
	if err != nil && !errors.Is(err, ErrDamaged) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, s := range m.seen {
		if k.location == p.name && k.name == name {
			s.err = err
			m.seen[k] = s
		}
	}
}

// look opens a file and looks at both its ends. It returns nil for a file that
// is not ours, and for one that has gone meanwhile.
func (o *operation) look(ctx context.Context, p *site, f File) *Backup {
	manifest, err := o.peek(ctx, p, f.Name)
	if ctx.Err() != nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	seen := seenManifest{manifest, err}
	// An error that is not about the content may pass.
	about := err == nil || errors.Is(err, ErrDamaged) || errors.Is(err, ErrFormat) || errors.Is(err, ErrTooNew) || errors.Is(err, ErrLimit)
	if about && !f.ModTime.IsZero() {
		o.mu.Lock()
		if o.seen == nil {
			o.seen = make(map[seenFile]seenManifest)
		}
		o.seen[seenFile{p.name, f.Name, f.Bytes, f.ModTime}] = seen
		o.mu.Unlock()
	}
	return o.entry(p, f, seen)
}

// entry makes an entry of the list of what was found in a file.
func (m *Manager) entry(p *site, f File, seen seenManifest) *Backup {
	if seen.manifest != nil && seen.manifest.Application != "" && seen.manifest.Application != m.App.Name {
		return nil
	}
	b := backupOf(f.Name, seen.manifest)
	if seen.manifest == nil {
		b.CreatedAt, _ = m.App.ParseBackupName(f.Name)
	}
	b.Bytes = f.Bytes
	b.Damaged = seen.err != nil
	b.Copies = []Copy{{p.name, seen.err}}
	return &b
}

func backupOf(name string, m *Manifest) Backup {
	b := Backup{Name: name, Manifest: m}
	if m != nil {
		b.CreatedAt, b.Bytes, b.Trigger = m.CreatedAt, m.Bytes, m.Metadata[metaTrigger]
	}
	return b
}

// peek reads the manifest of a backup: from both ends of it where that will do,
// else, for one that does not end as written or cannot be read in places,
// from all of it.
func (o *operation) peek(ctx context.Context, p *site, name string) (*Manifest, error) {
	r, err := p.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var head *Manifest
	if at, ok := r.(interface {
		io.ReaderAt
		io.Seeker
	}); ok {
		size, err := at.Seek(0, io.SeekEnd)
		if err != nil {
			return nil, err
		}
		members, ended, err := codec.Peek(at, size, checkFormat)
		if err != nil {
			return nil, fromCodec(err)
		}
		// The counts stand in the last member, which is read for its digest only.
		s := &Snapshot{}
		var sum integrity
		if ended {
			err = codec.Unmarshal(members["integrity"], &sum)
		}
		if err = cmp.Or(err, s.header(&codec.Document{Members: members, Bytes: size})); err == nil {
			head = &s.manifest
			head.Records = sum.Records
		}
		if ended {
			return head, err
		}
		if _, err := at.Seek(0, io.SeekStart); err != nil {
			return head, err
		}
	}
	s, err := OpenSnapshot(ctx, r, OpenOptions{Limits: o.Limits, TempDir: o.TempDir})
	if err != nil {
		return head, err
	}
	defer s.Close()
	manifest := s.Manifest()
	return &manifest, nil
}

// acceptedSuffix ends the name of the mark that Accept leaves beside a backup.
const acceptedSuffix = ".accepted"

// shrunk holds a backup against the ones before it and says which collections
// it has lost most of: all of at least two records, or more than half and ten at
// the least. Of a list, newest first, it takes what is older than b, damaged ones
// too where they still tell their counts. Snapshots made before a restore count
// on neither side: what they show was to go.
func shrunk(list []Backup, b Backup) []Shrink {
	counts := func(b Backup) bool {
		return b.Manifest != nil && b.Trigger != TriggerBeforeRestore && b.Manifest.Salvaged == nil
	}
	if !counts(b) || b.Damaged {
		return nil
	}
	var losses []Shrink
	for name, is := range b.Manifest.Records {
		for _, before := range list {
			was, has := int64(0), false
			if counts(before) && newestFirst(b, before) < 0 {
				was, has = before.Manifest.Records[name]
			}
			if !has {
				continue
			}
			if is == 0 && was >= 2 || was-is >= 10 && is < was/2 {
				losses = append(losses, Shrink{name, was, is})
			}
			break
		}
	}
	slices.SortFunc(losses, func(a, b Shrink) int { return strings.Compare(a.Collection, b.Collection) })
	return losses
}

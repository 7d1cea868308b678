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
	"github.com/tomo-project/backup/internal/filename"
	"github.com/tomo-project/backup/location"
)

// A file is the file of a backup at a location, with its note.
type file struct {
	location.File
	named filename.Name
	note  *location.File // nil: none
}

// backupFiles parts the files at a location into those that are named as backups of the
// App, and the others.
func (m *Manager) backupFiles(files []location.File) (ours []file, others []location.File) {
	notes := make(map[string]*location.File)
	for _, f := range files {
		if named, ok := filename.Parse(m.App.Name, f.Name); ok {
			ours = append(ours, file{File: f, named: named})
			continue
		}
		others = append(others, f)
		if name, ok := strings.CutSuffix(f.Name, noteEnding); ok {
			notes[name] = &f
		}
	}
	if len(notes) > 0 {
		for i := range ours {
			ours[i].note = notes[ours[i].Name]
		}
	}
	return ours, others
}

// A fileState is what tells that a file and its note are as they were.
type fileState struct {
	bytes   int64
	modTime time.Time
	note    time.Time // the ModTime of the note; zero: no note
}

func (f file) state() fileState {
	state := fileState{bytes: f.Bytes, modTime: f.ModTime}
	if f.note != nil {
		state.note = f.note.ModTime
	}
	return state
}

// remembers tells whether a change of the file or of its note would show, so that what
// was found in it may be remembered.
func (f file) remembers() bool {
	return !f.ModTime.IsZero() && (f.note == nil || !f.note.ModTime.IsZero())
}

// A finding is what a Manager has found in a file.
type finding struct {
	manifest *backup.Manifest // nil: it cannot be read, or the file is encrypted and has no note
	err      error            // why the file is not whole; nil: nothing is known to be wrong with it
	sha256   string           // of the file, if its note says so
	key      KeyState         // what a try of the Identities has found; empty: none was made
}

// A seenFile is a file that a Manager has looked into.
type seenFile struct {
	was fileState // when the Manager looked
	finding
	made  bool    // entry is that of the finding
	entry *Backup // nil: it is of another application
}

// recall returns what was found in a file before. known is false if the file was never
// looked into, or has changed since.
func (m *Manager) recall(s *site, f file) (b *Backup, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := m.seen[s.name][f.Name]
	if seen == nil || seen.was != f.state() {
		delete(m.seen[s.name], f.Name)
		return nil, false
	}
	if !seen.made {
		seen.entry, seen.made = m.entry(s, f, seen.finding), true
	}
	if seen.entry == nil {
		return nil, true
	}
	found := *seen.entry
	found.Copies = slices.Clone(found.Copies)
	return &found, true
}

// remember keeps what was found in a file for recall.
func (m *Manager) remember(s *site, f file, found finding) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil {
		m.seen = make(map[string]map[string]*seenFile)
	}
	if m.seen[s.name] == nil {
		m.seen[s.name] = make(map[string]*seenFile)
	}
	m.seen[s.name][f.Name] = &seenFile{was: f.state(), finding: found}
}

// amend changes what is remembered of a file, if it is.
func (m *Manager) amend(s *site, name string, change func(*finding)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if seen := m.seen[s.name][name]; seen != nil {
		change(&seen.finding)
		seen.made = false
		m.lessons++
	}
}

// look finds out about a file from its note, or from its beginning and its end. It
// returns nil for a file that is not a backup of the App after all, and for a file that
// was deleted meanwhile.
func (o *operation) look(ctx context.Context, s *site, f file) (*Backup, error) {
	found, err := within(ctx, func(ctx context.Context, alive func()) (finding, error) {
		if !f.named.Plain() {
			found, err := o.lookBeside(ctx, s, f, alive)
			if found.manifest != nil || err != nil || f.named.Encrypted || f.named.Database {
				return found, err
			}
		}
		manifest, err := o.peek(ctx, s, f.named, alive)
		return finding{manifest: manifest}, err
	}, nil)
	if ctx.Err() != nil || errors.Is(err, fs.ErrNotExist) {
		return nil, ctx.Err()
	}
	found.err = err
	// An error that is not about the content may be gone the next time.
	lasts := err == nil || errors.Is(err, backup.ErrDamaged) || errors.Is(err, backup.ErrFormat) || errors.Is(err, backup.ErrTooNew) || errors.Is(err, backup.ErrLimit)
	if lasts && f.remembers() {
		o.remember(s, f, found)
	}
	return o.entry(s, f, found), err
}

// lookBeside takes what is in a backup from its note. Without a note of this backup it
// finds no manifest.
func (o *operation) lookBeside(ctx context.Context, s *site, f file, alive func()) (finding, error) {
	if f.note == nil {
		return finding{}, nil
	}
	n, err := o.readNote(ctx, s, f.named, alive)
	switch {
	case errors.Is(err, errBadNote), errors.Is(err, fs.ErrNotExist):
		return finding{}, nil
	case err != nil:
		return finding{}, err
	}
	found := finding{manifest: &n.Manifest, sha256: n.SHA256}
	if f.Bytes < 0 {
		return found, errors.New("the location cannot tell how large the file is; check the drive")
	}
	if n.Bytes != f.Bytes {
		return found, fmt.Errorf("%w: the file has %d bytes, but %d bytes were written; try another copy or an older backup", backup.ErrDamaged, f.Bytes, n.Bytes)
	}
	return found, nil
}

// peek reads the manifest of a backup, as [backup.Peek] does. A file that is not what its
// name says is damaged: somebody has put it there in the place of another.
func (o *operation) peek(ctx context.Context, s *site, name filename.Name, alive func()) (*backup.Manifest, error) {
	r, err := s.Open(ctx, name.String())
	if err != nil {
		return nil, err
	}
	r = lively(r, alive)
	defer r.Close()
	m, err := backup.Peek(ctx, r, backup.OpenOptions{Limits: o.Limits, TempDir: o.TempDir})
	if m != nil && kindOf(m) != name.Kind {
		return nil, fmt.Errorf("%w: it is compressed or encrypted in another way than its name says", backup.ErrDamaged)
	}
	return m, fault.Other(err) // the file is there
}

// entry makes an entry of the list. It returns nil for a file of another application.
func (m *Manager) entry(s *site, f file, found finding) *Backup {
	if found.manifest != nil && found.manifest.Application != "" && found.manifest.Application != m.App.Name {
		return nil
	}
	b := m.newBackup(f.named, found.manifest)
	b.Bytes, b.sha256 = max(0, f.Bytes), found.sha256
	b.Damaged, b.OtherKey, b.opened = found.err != nil, found.key == KeyWrong, found.key == KeyOpens
	b.InClear, b.Foreign = m.inClear(found.manifest), m.foreign(found.manifest)
	b.Copies = []Copy{{s.name, found.err}}
	return &b
}

// foreign tells whether a snapshot is of another installation.
func (m *Manager) foreign(in *backup.Manifest) bool {
	return in != nil && in.Installation != "" && m.Installation != "" && in.Installation != m.Installation
}

// inClear tells whether the secrets of a snapshot, if it has any, stand in clear.
func (m *Manager) inClear(in *backup.Manifest) bool {
	if in == nil || in.Sealed || in.Encrypted || in.Database {
		return false
	}
	return slices.ContainsFunc(m.App.Collections, func(c backup.Collection) bool { return len(c.Secrets) > 0 && in.Records[c.Name] > 0 })
}

// learn remembers that a copy was read to its end. err says that it is damaged or not
// authentic; a nil error says that it is good. Any other error says nothing about it.
func (m *Manager) learn(s *site, name string, err error) {
	if err != nil && !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrUnauthentic) {
		return
	}
	m.amend(s, name, func(found *finding) { found.err = err })
}

// forget drops what is known of files that are no longer at a site. It returns whether all
// files there are remembered.
func (m *Manager) forget(s *site, there []file) (all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := m.seen[s.name]
	left := 0
	for _, f := range there {
		if seen[f.Name] != nil {
			left++
		}
	}
	all = left == len(there)
	if left == len(seen) {
		return all
	}
	names := make(map[string]bool, len(there))
	for _, f := range there {
		names[f.Name] = true
	}
	maps.DeleteFunc(seen, func(name string, _ *seenFile) bool { return !names[name] })
	return all
}

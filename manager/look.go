package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/filename"
	"github.com/tomo-project/backup/location"
)

// What is found out about one file at a location, and remembered as long as the file
// stays the same: from both its ends, or from the note beside it.

// A file is that of a backup at a location.
type file struct {
	location.File
	named filename.Name
}

// A seenFile is a file as it was when it was looked into. One that is not known
// to change its time when it changes is never taken for seen.
type seenFile struct {
	location, name string
	bytes          int64
	modTime        time.Time
	note           time.Time // of the file beside it; zero if there is none
}

// A seenManifest is what was found in it.
type seenManifest struct {
	manifest *backup.Manifest // nil: unreadable, or encrypted and without a note
	err      error            // why it is not whole; nil: nothing is known against it
	sha256   string           // of the file, if a note tells
}

// notesOf returns the notes among files, by the names that they belong to.
func notesOf(files []location.File) map[string]*location.File {
	notes := make(map[string]*location.File)
	for i := range files {
		if name, ok := strings.CutSuffix(files[i].Name, noteEnding); ok {
			notes[name] = &files[i]
		}
	}
	return notes
}

// seenAs is how a file with its note is remembered.
func (p *site) seenAs(f location.File, note *location.File) seenFile {
	seen := seenFile{location: p.name, name: f.Name, bytes: f.Bytes, modTime: f.ModTime}
	if note != nil {
		seen.note = note.ModTime
	}
	return seen
}

// remember returns what was found in a file before, nil if it is not ours.
func (m *Manager) remember(p *site, f file, note *location.File) (*Backup, bool) {
	m.mu.Lock()
	seen, ok := m.seen[p.seenAs(f.File, note)]
	m.mu.Unlock()
	if !ok {
		return nil, false
	}
	return m.entry(p, f, seen), true
}

// forget drops what is known of files that are no longer there.
func (m *Manager) forget(p *site, files []location.File, notes map[string]*location.File) {
	there := make(map[seenFile]bool, len(files))
	for _, f := range files {
		there[p.seenAs(f, notes[f.Name])] = true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.seen {
		if k.location == p.name && !there[k] {
			delete(m.seen, k)
		}
	}
}

// learn takes note that a copy was read and found damaged or not authentic, or with a nil error
// that nothing is known against it any more.
func (m *Manager) learn(p *site, name string, err error) {
	if err != nil && !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrUnauthentic) {
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
func (o *operation) look(ctx context.Context, p *site, f file, beside *location.File) (*Backup, error) {
	seen, err := within(ctx, func(ctx context.Context, alive func()) (seenManifest, error) {
		if !f.named.Plain() {
			seen, err := o.lookBeside(ctx, p, f, beside, alive)
			if seen.manifest != nil || err != nil || f.named.Encrypted || f.named.Database {
				return seen, err
			}
		}
		manifest, err := o.peek(ctx, p, f.Name, alive)
		return seenManifest{manifest: manifest}, err
	}, nil)
	if ctx.Err() != nil || errors.Is(err, fs.ErrNotExist) {
		return nil, ctx.Err()
	}
	seen.err = err
	// An error that is not about the content may pass.
	about := err == nil || errors.Is(err, backup.ErrDamaged) || errors.Is(err, backup.ErrFormat) || errors.Is(err, backup.ErrTooNew) || errors.Is(err, backup.ErrLimit)
	if about && !f.ModTime.IsZero() && (beside == nil || !beside.ModTime.IsZero()) {
		o.mu.Lock()
		if o.seen == nil {
			o.seen = make(map[seenFile]seenManifest)
		}
		o.seen[p.seenAs(f.File, beside)] = seen
		o.mu.Unlock()
	}
	return o.entry(p, f, seen), err
}

// lookBeside finds out about a backup from its note. There is no manifest if it
// has none, or one that is not its own.
func (o *operation) lookBeside(ctx context.Context, p *site, f file, beside *location.File, alive func()) (seenManifest, error) {
	if beside == nil {
		return seenManifest{}, nil
	}
	n, err := o.readNote(ctx, p, f.named, alive)
	switch {
	case errors.Is(err, errBadNote), errors.Is(err, fs.ErrNotExist):
		return seenManifest{}, nil
	case err != nil:
		return seenManifest{}, err
	case n.Bytes != f.Bytes:
		return seenManifest{manifest: &n.Manifest, sha256: n.SHA256}, fmt.Errorf("%w: the file has %d bytes, and had %d when it was written; try another copy or an older backup", backup.ErrDamaged, f.Bytes, n.Bytes)
	}
	return seenManifest{manifest: &n.Manifest, sha256: n.SHA256}, nil
}

// entry makes an entry of the list of what was found in a file.
func (m *Manager) entry(p *site, f file, seen seenManifest) *Backup {
	if seen.manifest != nil && seen.manifest.Application != "" && seen.manifest.Application != m.App.Name {
		return nil
	}
	b := backupOf(f.named, seen.manifest)
	b.Bytes, b.sha256 = f.Bytes, seen.sha256
	b.Damaged = seen.err != nil
	b.Copies = []Copy{{p.name, seen.err}}
	return &b
}

// peek reads the manifest of a backup, as [backup.Peek] does.
func (o *operation) peek(ctx context.Context, p *site, name string, alive func()) (*backup.Manifest, error) {
	r, err := p.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	r = lively(r, alive)
	defer r.Close()
	return backup.Peek(ctx, r, backup.OpenOptions{Limits: o.Limits, TempDir: o.TempDir})
}

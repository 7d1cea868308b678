package manager

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/filename"
	"github.com/tomo-project/backup/internal/stream"
)

// What an encrypted backup holds cannot be told without a key, and of a
// compressed one not without reading all of it. So a note stands beside it, in
// clear: a file with the name of the backup and this ending (FORMAT.md,
// "Compressed and encrypted files").
const noteEnding = ".manifest"

// A note says what a List, the schedule and retention go by, and the digest of
// the file, so that who has no key can tell whether it is whole. Names of keys are
// in it, and numbers of records; no record is.
type note struct {
	Bytes    int64           `json:"bytes"`
	SHA256   string          `json:"sha256"`
	Manifest backup.Manifest `json:"manifest"`
}

// noteOf makes the note of a backup: nil if it needs none, or nobody knows what
// would have to be in it.
func (o *operation) noteOf(b Backup) ([]byte, error) {
	if b.sha256 == "" || b.Manifest == nil || kindOf(b.Manifest).Plain() {
		return nil, nil
	}
	m := b.Manifest.Clone()
	// What these say of records is for who made the backup, and the digest of an
	// encrypted document would tell whether a guess at all of it is right.
	m.SHA256, m.Authentic, m.LeftOut, m.Dangling = "", "", nil, nil
	text, err := json.Marshal(note{b.Bytes, b.sha256, m})
	if err == nil && len(text) > codec.HeaderBytes {
		err = fmt.Errorf("%w: what stands beside %s has %d bytes, the most is %d", backup.ErrLimit, b.Name, len(text), codec.HeaderBytes)
	}
	return text, err
}

// check holds a file that was read against what was written.
func (n note) check(size int64, sum string) error {
	if size != n.Bytes || sum != n.SHA256 {
		return fmt.Errorf("%w: the file has %d bytes with SHA-256 %s, written were %d with %s; try another copy or an older backup", backup.ErrDamaged, size, sum, n.Bytes, n.SHA256)
	}
	return nil
}

// putNote puts the note of a backup beside it.
func (o *operation) putNote(ctx context.Context, p *site, b Backup) error {
	text, err := o.noteOf(b)
	if text == nil || err != nil {
		return err
	}
	err = p.Put(ctx, b.Name+noteEnding, bytes.NewReader(text))
	if errors.Is(err, fs.ErrExist) { // left from a backup of this name that is gone
		if err = p.remove(ctx, b.Name+noteEnding); err == nil {
			err = p.Put(ctx, b.Name+noteEnding, bytes.NewReader(text))
		}
	}
	return err
}

// readNote returns the note beside a backup.
func (o *operation) readNote(ctx context.Context, p *site, name filename.Name, alive func()) (n note, err error) {
	r, err := p.Open(ctx, name.String()+noteEnding)
	if err != nil {
		return n, err
	}
	r = lively(r, alive)
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, codec.HeaderBytes+1))
	if err != nil {
		return n, err
	}
	fail := func(why any) (note, error) {
		return note{}, fmt.Errorf("%w: %s%s: %v", errBadNote, name, noteEnding, why)
	}
	if len(text) > codec.HeaderBytes {
		return fail("too large")
	}
	limits := codec.Defaults
	limits.RecordBytes = codec.HeaderBytes
	if text, err = codec.Compact(nil, text, limits); err == nil {
		err = codec.Unmarshal(text, &n)
	}
	if err != nil {
		return fail(fault.Shorten(err.Error()))
	}
	m := &n.Manifest
	switch {
	case m.Application != o.App.Name || !m.CreatedAt.Truncate(time.Second).Equal(name.At) || kindOf(m) != name.Kind:
		return fail("it is of another backup")
	case n.Bytes < 0 || !codec.IsDigest(n.SHA256):
		return fail("no size, or no digest")
	}
	m.SHA256, m.Authentic, m.LeftOut, m.Dangling = "", "", nil, nil // which is not known
	return n, nil
}

// errBadNote: what stands beside a backup is not what was put there. That says
// nothing about the backup.
var errBadNote = errors.New("not what was put beside the backup")

// digest reads a file at a site.
func (p *site) digest(ctx context.Context, name string) (size int64, sum string, err error) {
	type result struct {
		size int64
		sum  string
	}
	found, err := within(ctx, func(ctx context.Context, alive func()) (result, error) {
		r, err := p.Open(ctx, name)
		if err != nil {
			return result{}, err
		}
		defer r.Close()
		h := sha256.New()
		n, err := io.Copy(h, stream.WithContext(ctx, lively(r, alive)))
		return result{n, hex.EncodeToString(h.Sum(nil))}, err
	}, nil)
	return found.size, found.sum, err
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

// A mark is an empty file beside a backup that remembers something of it: the
// name of the backup with this ending.
type mark string

const (
	markAccepted  mark = ".accepted"  // a person has looked at what it has lost
	markRestored  mark = ".restored"  // the restore that it was made for took place
	markDrilled   mark = ".drilled"   // it has passed a drill
	markRehearsed mark = ".rehearsed" // a person has opened it with their key
)

var marks = []mark{markAccepted, markRestored, markDrilled, markRehearsed}

// outlives tells whether the newest of these marks stays when its backup goes.
func (k mark) outlives() bool { return k == markAccepted || k == markDrilled || k == markRehearsed }

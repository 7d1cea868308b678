package manager

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/filename"
)

// noteEnding is what the name of a note has after the name of its backup (FORMAT.md,
// "Compressed and encrypted files").
const noteEnding = ".manifest"

// A note is a file beside a compressed or encrypted backup, in clear. It has what List,
// the schedule and retention need, so that they need no key and need not decompress the
// backup. It has the digest of the file, so that anybody can check the file without a
// key. It has the names of keys and the numbers of records, but no record.
type note struct {
	Bytes    int64           `json:"bytes"`
	SHA256   string          `json:"sha256"`
	Manifest backup.Manifest `json:"manifest"`
}

// errBadNote: a note is not the one that was written for its backup. That says nothing
// about the backup.
var errBadNote = errors.New("not the note of this backup")

// putNote puts the note of a backup beside it, if it needs a note.
func (o *operation) putNote(ctx context.Context, s *site, b Backup) error {
	text, err := noteOf(b)
	if text == nil || err != nil {
		return err
	}
	err = s.Put(ctx, b.Name+noteEnding, bytes.NewReader(text))
	if errors.Is(err, fs.ErrExist) { // left from an earlier backup of this name
		if err = s.remove(ctx, b.Name+noteEnding); err == nil {
			err = s.Put(ctx, b.Name+noteEnding, bytes.NewReader(text))
		}
	}
	return err
}

// noteOf makes the note of a backup. It returns nil if the backup needs no note, or if
// too little is known of it to make one.
func noteOf(b Backup) ([]byte, error) {
	if b.sha256 == "" || b.Manifest == nil || kindOf(b.Manifest).Plain() {
		return nil, nil
	}
	text, err := json.Marshal(note{b.Bytes, b.sha256, publicManifest(*b.Manifest)})
	if err == nil && len(text) > codec.HeaderBytes {
		err = fmt.Errorf("%w: the note of %s has %d bytes, and at most %d are allowed", backup.ErrLimit, b.Name, len(text), codec.HeaderBytes)
	}
	return text, err
}

// publicManifest returns a copy of a manifest without what only the maker of the backup
// may see. LeftOut, Dangling and metaRecords name records. The digest of an encrypted document would
// tell whether somebody has guessed all that is in it.
func publicManifest(m backup.Manifest) backup.Manifest {
	m = m.Clone()
	m.SHA256, m.Authentic, m.LeftOut, m.Dangling = "", "", nil, nil
	delete(m.Metadata, metaRecords)
	return m
}

// askNote returns the note beside a backup. It waits for the location only so long.
func (o *operation) askNote(ctx context.Context, s *site, name filename.Name) (note, error) {
	return within(ctx, func(ctx context.Context, alive func()) (note, error) { return o.readNote(ctx, s, name, alive) }, nil)
}

// readNote returns the note beside a backup, or an error that wraps errBadNote or
// fs.ErrNotExist, or an error of the location.
func (o *operation) readNote(ctx context.Context, s *site, name filename.Name, alive func()) (n note, err error) {
	r, err := s.Open(ctx, name.String()+noteEnding)
	if err != nil {
		return n, err
	}
	r = lively(r, alive)
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, codec.HeaderBytes+1))
	if err != nil {
		return n, err
	}
	fail := func(why string) (note, error) {
		return note{}, fmt.Errorf("%w: %s%s: %s", errBadNote, name, noteEnding, why)
	}
	if len(text) > codec.HeaderBytes {
		return fail("it is too large")
	}
	limits := codec.Defaults
	limits.RecordBytes = codec.HeaderBytes
	if text, err = codec.Compact(nil, text, limits); err == nil {
		err = codec.Unmarshal(text, &n)
	}
	if err != nil {
		return fail(fault.Shorten(err.Error()))
	}
	m := n.Manifest
	switch {
	case m.Application != o.App.Name || !m.CreatedAt.Truncate(time.Second).Equal(name.At) || kindOf(&m) != name.Kind:
		return fail("it is of another backup")
	case n.Bytes < 0 || !codec.IsDigest(n.SHA256):
		return fail("it has no size or no digest")
	case (m.Installation != "" || m.Serial != 0) && codec.CheckOrigin(m.Installation, m.Serial) != nil:
		return fail("it has an origin that no backup can have")
	}
	m.CreatedAt = m.CreatedAt.UTC() // the offset may be one that cannot be written
	n.Manifest = publicManifest(m)  // no note of ours has the rest
	return n, nil
}

// contents are those that the file of the backup should have.
func (n *note) contents() contents { return contents{n.Bytes, n.SHA256} }

// check returns ErrDamaged if a file does not have the contents that its note says.
func (n *note) check(c contents) error {
	if err := c.check(n.contents()); err != nil {
		return fmt.Errorf("%w; try another copy or an older backup", err)
	}
	return nil
}

// checkFile reads a file at a site and checks it against its note.
func (n *note) checkFile(ctx context.Context, s *site, name filename.Name) error {
	c, err := s.digest(ctx, name.String())
	if err != nil {
		return err
	}
	return n.check(c)
}

// A mark is the ending of an empty file beside a backup that remembers something about
// that backup. The name of the file is that of the backup with this ending.
type mark string

const (
	markAccepted  mark = ".accepted"  // a person has accepted what the backup has lost
	markRestored  mark = ".restored"  // the restore that it was made for took place
	markDrilled   mark = ".drilled"   // it has passed a drill
	markRehearsed mark = ".rehearsed" // a person has opened it with their key
	markVerified  mark = ".verified"  // it was opened and read to its end, and all was good
	markRekeyed   mark = ".rekeyed"   // it is sealed with another key than the backup before it
)

var marks = []mark{markAccepted, markRestored, markDrilled, markRehearsed, markVerified, markRekeyed}

// renews tells whether a mark says when something was done the last time, and not the first.
func (k mark) renews() bool { return k == markRehearsed || k == markVerified }

// outlives tells whether the newest mark of a kind stays when its backup is deleted.
func (k mark) outlives() bool { return k != markRestored && k != markRekeyed }

// mark puts a mark beside every good copy of a backup. It returns an error if there is
// no mark anywhere afterwards.
func (o *operation) mark(ctx context.Context, b Backup, kind mark) error {
	var errs []error
	marked := false
	for _, s := range o.sites {
		if !b.goodAt(s) {
			continue
		}
		if err := s.putMark(ctx, b.Name, kind); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
			continue
		}
		marked = true
	}
	switch {
	case marked:
		return nil
	case errs == nil:
		return fmt.Errorf("no location that can be used has a good copy of %s", b.Name)
	}
	return errors.Join(errs...)
}

// putMark puts a mark beside a backup. A mark that is there stays, or is put anew if it
// renews.
func (s *site) putMark(ctx context.Context, name string, kind mark) error {
	put := func() error { return s.Put(ctx, name+string(kind), bytes.NewReader(nil)) }
	err := put()
	if errors.Is(err, fs.ErrExist) && kind.renews() {
		if err = s.remove(ctx, name+string(kind)); err == nil {
			err = put()
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// noteVerified remembers what reading a copy to its end has found, for Status. The copy may
// be at a place that cannot be written to: then this process alone knows.
func (o *operation) noteVerified(ctx context.Context, s *site, name string, m backup.Manifest, err error) {
	switch {
	case err != nil && !damage(err), err == nil && len(o.Identities) == 0 && (m.Sealed || m.Encrypted):
		return // nothing is known, or nobody has opened it
	case err != nil:
		err = s.remove(ctx, name+string(markVerified))
	default:
		err = s.putMark(ctx, name, markVerified)
	}
	if err != nil && o.Logger != nil {
		o.Logger.LogAttrs(ctx, slog.LevelDebug, "what was verified cannot be noted", slog.String("backup", name), slog.String("location", s.name), slog.String("error", err.Error()))
	}
}

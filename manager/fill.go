package manager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"github.com/tomo-project/backup"
)

// spread copies a new backup side by side to all locations that have not been tried. The
// result has a Copy for each of the Locations.
func (o *operation) spread(ctx context.Context, b Backup, from *site) Backup {
	var wait sync.WaitGroup
	copies := make([]Copy, len(o.Locations))
	copied := make([]*site, len(copies))
	for i, s := range o.Manager.sites() {
		if known := o.known(b, s); known != nil {
			copies[i] = *known
			continue
		}
		copies[i].Location = s.name
		copied[i] = o.sites[slices.IndexFunc(o.sites, func(held *site) bool { return held.name == s.name })]
		wait.Go(func() { copies[i].Err = o.copy(ctx, b, from, copied[i]) })
	}
	wait.Wait()
	for i, to := range copied { // one after the other, since room is made by asking all of them
		if to == nil {
			continue
		}
		if err := o.copyAgain(ctx, b, from, to, copies[i].Err); err != nil {
			copies[i] = o.failed(ctx, to, b.Name, err)
		} else {
			copies[i].Err = nil
		}
	}
	if kindOf(b.Manifest).Plain() {
		b.sha256 = "" // no note keeps it
	}
	b.Copies = copies
	for _, s := range o.sites {
		if b.goodAt(s) {
			o.explain(ctx, s)
		}
	}
	return b
}

// copyAgain makes room where a copy has failed because the disk is full, and copies once
// more. It returns the last error.
func (o *operation) copyAgain(ctx context.Context, b Backup, from, to *site, err error) error {
	if full(err) && o.makeRoom(ctx, to, b) {
		return o.copy(ctx, b, from, to)
	}
	return err
}

// known returns what is known of a backup at a site, or nil.
func (o *operation) known(b Backup, s *site) *Copy {
	return copyAt(slices.Concat(b.Copies, o.down), s)
}

// copy copies a backup with its note from one location to another and reads it back.
func (o *operation) copy(ctx context.Context, b Backup, from, to *site) error {
	r, err := from.open(ctx, b.Name)
	if err != nil {
		return fmt.Errorf("copy from %s: %w", from.name, err)
	}
	defer r.Close()
	text, err := noteOf(b)
	if err == nil && text != nil { // without a note to come, the file is whole by itself
		err = to.beginWriting(ctx, b.named, o.Installation)
	}
	if err != nil {
		return err
	}
	if err := o.copyFile(ctx, b, r, from, to); err != nil {
		return err
	}
	to.endWriting(ctx, b.named)
	o.emit(ctx, Event{Kind: EventStored, Backup: b.Name, Location: to.name, Manifest: b.Manifest})
	return nil
}

// copyFile copies the file of a backup. After an error nothing of it is left, or the mark
// of its writer says that it is not whole.
func (o *operation) copyFile(ctx context.Context, b Backup, r io.Reader, from, to *site) error {
	d := newDigester()
	if err := to.Put(ctx, b.Name, io.TeeReader(blaming{r, from}, d)); err != nil {
		to.endWriting(ctx, b.named)
		return err
	}
	if b.noDigest() { // it has no note, so all that is known is what was read
		b.Bytes, b.sha256 = d.bytes, d.contents().sha256
	}
	if err := o.readBack(ctx, to, b); err != nil {
		err = errors.Join(err, to.undoWriting(ctx, b.named))
		if source := o.readBack(ctx, from, b); source != nil {
			o.learn(from, b.Name, source)
			err = fmt.Errorf("copy from %s: %w", from.name, source)
		}
		return err
	}
	if err := o.putNote(ctx, to, b); err != nil {
		return errors.Join(err, to.undoWriting(ctx, b.named))
	}
	return nil
}

// A blaming reader says in its errors which location they come from.
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

// fill copies to each location the backups that it lacks and that retention would keep
// there. A damaged copy is replaced, since the good copy at another location is worth
// more. It returns the copies of one backup afterwards.
func (o *operation) fill(ctx context.Context, c *catalog, concerned Backup) []Copy {
	copies := o.copiesOf(concerned)
	for _, to := range o.sites {
		for _, b := range o.lacking(ctx, c, to) {
			err := o.fillIn(ctx, c, b, to)
			if full(err) && o.makeRoom(ctx, to, b) {
				err = o.fillIn(ctx, c, b, to)
			}
			if b.Name == concerned.Name {
				copyAt(copies, to).Err = err
			}
			if err != nil {
				o.failed(ctx, to, b.Name, fmt.Errorf("fill in what is missing: %w", err))
				break // the location, or the way to it, is not well
			}
		}
	}
	return copies
}

// copiesOf returns a Copy for each of the Locations.
func (o *operation) copiesOf(b Backup) []Copy {
	var copies []Copy
	for _, s := range o.Manager.sites() {
		c := o.known(b, s)
		if c == nil {
			c = &Copy{s.name, fmt.Errorf("it has no copy: %w", fs.ErrNotExist)}
		}
		copies = append(copies, *c)
	}
	return copies
}

// lacking returns the backups to copy to a location: those that retention would keep there,
// and those that are Rekeyed. It also puts back notes that are missing there.
func (o *operation) lacking(ctx context.Context, c *catalog, to *site) []Backup {
	lacks := make(map[string]Backup)
	there := sync.OnceValue(func() map[string]Backup {
		named := make(map[string]Backup, len(c.at[to.name]))
		for _, b := range c.at[to.name] {
			named[b.Name] = b
		}
		return named
	})
	for i := range c.backups {
		b := &c.backups[i]
		if b.Foreign {
			continue
		}
		if b.sha256 != "" && b.at(to) != nil { // it has a note somewhere
			if old, ok := there()[b.Name]; ok && !old.Damaged && old.sha256 == "" {
				c.unsure = true
				if err := o.restoreNote(ctx, to, *b); err != nil {
					o.failed(ctx, to, b.Name, err)
				}
			}
		}
		if b.firstGood(o.sites) != nil && (b.at(to) == nil || b.damagedAt(to)) {
			lacks[b.Name] = *b
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	c.unsure = true
	filled := slices.DeleteFunc(slices.Clone(c.at[to.name]), func(old Backup) bool { _, again := lacks[old.Name]; return again })
	filled = slices.AppendSeq(filled, maps.Values(lacks))
	var missing []Backup
	for _, d := range o.decide(filled, PruneOptions{}) {
		if _, wanted := lacks[d.Name]; wanted && (d.Keep || d.Rekeyed) { // what holds Prune up holds it up there too
			missing = append(missing, d.Backup)
		}
	}
	return missing
}

// restoreNote puts the note of a backup beside it. A process that was killed may have
// stored the backup and not the note.
func (o *operation) restoreNote(ctx context.Context, to *site, b Backup) error {
	c, err := to.digest(ctx, b.Name)
	if err != nil {
		return err
	}
	if c != b.contents() {
		return fmt.Errorf("it is another backup than elsewhere under the name %s", b.Name)
	}
	return o.putNote(ctx, to, b)
}

// fillIn copies a backup with its note and marks to a location that lacks it or has it
// damaged.
func (o *operation) fillIn(ctx context.Context, c *catalog, b Backup, to *site) error {
	from := b.firstGood(o.sites)
	if b.damagedAt(to) {
		err := o.readBack(ctx, from, b)
		if err == nil && o.RequireProof {
			_, _, err = o.verify(ctx, from, b.named, backup.RestoreOptions{AllowDangling: true})
		}
		if err != nil {
			o.learn(from, b.Name, err)
			return fmt.Errorf("copy from %s: %w", from.name, err)
		}
		if err := to.drop(ctx, b.named); err != nil {
			return err
		}
	}
	if err := o.copy(ctx, b, from, to); err != nil {
		return err
	}
	for _, kind := range marks {
		if c.has(kind, b.Name) {
			if err := to.putMark(ctx, b.Name, kind); err != nil {
				return err
			}
		}
	}
	return nil
}

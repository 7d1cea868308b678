package manager

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"github.com/tomo-project/backup"
)

// spread copies a backup to all locations that it has no Copy of, side by side.
// The result has all Copies, in the order of Locations.
func (o *operation) spread(ctx context.Context, b Backup, from *site) Backup {
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
	if kindOf(b.Manifest).Plain() {
		b.sha256 = "" // it is not kept
	}
	b.Copies = copies
	return b
}

// copy takes a backup from one location to another and reads it back.
func (o *operation) copy(ctx context.Context, b Backup, from, to *site) error {
	r, err := from.openFile(ctx, b.Name)
	if err != nil {
		return fmt.Errorf("copy from %s: %w", from.name, err)
	}
	defer r.Close()
	sum := &digester{h: sha256.New()}
	if err := to.Put(ctx, b.Name, io.TeeReader(blaming{r, from}, sum)); err != nil {
		return err
	}
	if b.Manifest == nil && b.sha256 == "" { // encrypted, and nothing is known but what is there
		b.Bytes, b.sha256 = sum.n, sum.String()
	}
	if err := o.readBack(ctx, to, b); err != nil {
		err = errors.Join(err, to.drop(ctx, b.named))
		if source := o.readBack(ctx, from, b); source != nil {
			o.learn(from, b.Name, source)
			err = fmt.Errorf("copy from %s: %w", from.name, source)
		}
		return err
	}
	if err := o.putNote(ctx, to, b); err != nil {
		return errors.Join(err, to.drop(ctx, b.named))
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
// is the other one that is worth keeping. It returns what came of one of them.
func (o *operation) fill(ctx context.Context, c *catalog, concerned Backup) []Copy {
	copies := o.copiesOf(concerned)
	for _, to := range o.sites {
		there := slices.Clone(c.at[to.name])
		lacks := false
		for _, b := range c.backups {
			if lost := find(there, b.Name); lost != nil && !lost.Damaged && lost.sha256 == "" && b.sha256 != "" {
				if err := o.restoreNote(ctx, to, b); err != nil {
					o.failed(ctx, to, b.Name, err)
				}
			}
			if b.source(o.sites) == nil || b.at(to) != nil && !b.damagedAt(to) {
				continue
			}
			there = slices.DeleteFunc(there, func(old Backup) bool { return old.Name == b.Name })
			there = append(there, b)
			lacks = true
		}
		if !lacks {
			continue
		}
		for _, d := range o.decide(there, PruneOptions{}) {
			b := d.Backup
			if !d.Keep || b.at(to) != nil && !b.damagedAt(to) || b.source(o.sites) == nil {
				continue
			}
			err := o.fillIn(ctx, c, b, to)
			if b.Name == concerned.Name {
				for i := range copies {
					if copies[i].Location == to.name {
						copies[i].Err = err
					}
				}
			}
			if err != nil {
				o.failed(ctx, to, d.Name, fmt.Errorf("fill in what is missing: %w", err))
				break // the location, or the way to it, is not well
			}
		}
	}
	return copies
}

// restoreNote puts the note of a backup beside it where somebody was killed between
// the two, if it is its own.
func (o *operation) restoreNote(ctx context.Context, to *site, b Backup) error {
	if err := o.stored(ctx, to, b); err != nil {
		return fmt.Errorf("it is another backup than elsewhere under the name %s: %w", b.Name, err)
	}
	return o.putNote(ctx, to, b)
}

// copiesOf returns a Copy for each location, in their order.
func (o *operation) copiesOf(b Backup) []Copy {
	var copies []Copy
	for _, p := range o.Manager.sites() {
		c := b.at(p)
		if c == nil {
			c = (&Backup{Copies: o.down}).at(p)
		}
		if c == nil {
			c = &Copy{p.name, fmt.Errorf("it has no copy: %w", fs.ErrNotExist)}
		}
		copies = append(copies, *c)
	}
	return copies
}

// fillIn copies a backup with its marks to a location that lacks it, or has it
// damaged.
func (o *operation) fillIn(ctx context.Context, c *catalog, b Backup, to *site) error {
	from := b.source(o.sites)
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
			if err := to.Put(ctx, b.Name+string(kind), bytes.NewReader(nil)); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
	}
	return nil
}

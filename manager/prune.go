package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/tomo-project/backup"
)

// PruneOptions say what Prune does. The zero value applies Retention to scheduled backups.
type PruneOptions struct {
	// DryRun decides and verifies as Prune does, and deletes nothing.
	DryRun bool

	// Manual applies Retention to manual backups as if they were scheduled.
	Manual bool
}

// A Pruned says what Prune did, or would do, at one Location.
type Pruned struct {
	Location  string     `json:"location"`
	Decisions []Decision `json:"decisions"`         // newest first
	Proven    []string   `json:"proven,omitempty"`  // the backups to keep that were verified before anything was deleted
	Deleted   []string   `json:"deleted,omitempty"` // oldest first
	Err       error      `json:"-"`                 // what stopped it
}

// MarshalJSON adds the member error, the text of Err, if there is one.
func (p Pruned) MarshalJSON() ([]byte, error) {
	type plain Pruned
	return json.Marshal(struct {
		plain
		Error string `json:"error,omitempty"`
	}{plain(p), errorText(p.Err)})
}

// Prune applies Retention at each Location to the backups that are there (guide, "Backup
// Retention"). Retention applies to scheduled backups, to copies of the database by
// themselves, and to manual backups if opts say so. Of the backups from before a restore
// the newest KeepBeforeRestore are kept. Everything else is kept: a backup whose trigger
// is not known, that has no digest, or that does not say of itself what its name says.
// Partial backups are judged by themselves too, so that they never take the place of a
// full one. The newest good backup that has a collection is always kept, so that backups
// of a part do not push out the only backup of the rest.
//
// Before Prune deletes anything at a Location, it verifies the newest good backups that
// are to stay there, as Verify does. If a backup turns out to be damaged, Prune decides
// anew without it. If it cannot be verified for another reason, nothing is deleted there.
// The oldest backup is deleted first. A DryRun verifies too, so that its decisions are
// those of Prune.
//
// While a backup has shrunk and no person has accepted that (see Accept), nothing is
// deleted anywhere, since its predecessors may be all that is left. Then the error wraps
// ErrShrunk. Nor is anything deleted while a backup is Rekeyed, since its predecessors may be
// all that somebody can open. Then the error wraps ErrRekeyed. The decisions are returned with an error too. A Location that is down is no
// error, but has an entry with Err. Prune may return [location.ErrBusy], but not with DryRun.
func (m *Manager) Prune(ctx context.Context, opts PruneOptions) ([]Pruned, error) {
	if opts.DryRun {
		o, err := m.begin(ctx, "prune")
		if err != nil {
			return nil, err
		}
		pruned, err := o.prune(ctx, opts)
		if err != nil {
			err = fmt.Errorf("prune: %w", err)
		}
		return pruned, err
	}
	o, ctx, release, err := m.hold(ctx, "prune")
	if err != nil {
		return nil, err
	}
	defer release()
	o.emit(ctx, Event{Kind: EventStarted})
	pruned, err := o.prune(ctx, opts)
	return pruned, o.done(ctx, Event{}, err)
}

func (o *operation) prune(ctx context.Context, opts PruneOptions) ([]Pruned, error) {
	list := o.listHeld
	if opts.DryRun {
		list = o.list
	}
	c, err := list(ctx)
	if c == nil {
		return nil, err
	}
	var result []Pruned
	var errs []error
	if err := o.heldUp(c); err != nil {
		errs = append(errs, err)
	}
	held := len(errs) > 0
	deletes := !opts.DryRun && !held
	for _, s := range o.sites {
		r := Pruned{Location: s.name, Err: c.errs[s.name]}
		if r.Err == nil {
			if there := c.at[s.name]; held {
				r.Decisions = o.decide(there, opts)
			} else if r.Decisions, r.Proven, r.Err = o.proven(ctx, s, there, opts); r.Err == nil && deletes {
				r.Deleted, r.Err = o.delete(ctx, s, r.Decisions)
			}
			if r.Err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", s.name, r.Err))
			}
			if deletes && (r.Err == nil || len(r.Deleted) > 0) {
				o.emit(ctx, Event{Kind: EventPruned, Location: s.name}, slog.Any("deleted", r.Deleted))
			}
		}
		result = append(result, r)
	}
	for _, c := range o.down {
		result = append(result, Pruned{Location: c.Location, Err: c.Err})
	}
	if deletes {
		o.tidy(ctx, c, result)
	}
	return result, errors.Join(errs...)
}

// heldUp returns an error if nothing may be deleted until a person has looked. To accept
// the newest backup that the error is about is to accept those before it.
func (o *operation) heldUp(c *catalog) error {
	var errs []error
	if i := slices.IndexFunc(c.backups, func(b Backup) bool { return len(b.Shrunk) > 0 }); i >= 0 {
		b := c.backups[i]
		errs = append(errs, fmt.Errorf("%w: %s (%s): nothing is deleted until somebody has looked; restore what is missing, or accept the loss", ErrShrunk, b.Name, shrinks(b.Shrunk)))
	}
	if i := slices.IndexFunc(c.backups, func(b Backup) bool { return b.Rekeyed }); i >= 0 {
		errs = append(errs, fmt.Errorf("%w: %s takes another key than the backups before it, so nothing is deleted; if the key is mistyped, give the right one, and delete what was made with the wrong one; if it has changed on purpose, accept the backup, or open it in a rehearsal", ErrRekeyed, c.backups[i].Name))
	} else if o.isRekeying() {
		errs = append(errs, fmt.Errorf("%w: the keys that are in use now do not open the newest backup, so nothing is deleted", ErrRekeyed))
	}
	return errors.Join(errs...)
}

// tidy deletes the notes and marks of backups that no longer exist anywhere. It leaves the
// newest mark of a kind that outlives its backup. With the backups of another installation
// around it leaves all marks whose backups others have deleted, and no other mark.
func (o *operation) tidy(ctx context.Context, c *catalog, pruned []Pruned) {
	listed := make(map[string]bool)
	left := make(map[string]bool)
	for _, b := range c.backups {
		listed[b.Name] = true
		for _, copied := range b.Copies {
			i := slices.IndexFunc(pruned, func(r Pruned) bool { return r.Location == copied.Location })
			if i < 0 || !slices.Contains(pruned[i].Deleted, b.Name) {
				left[b.Name] = true
			}
		}
	}
	remove := func(name, ending string) {
		if left[name] || len(o.down) > 0 && !listed[name] { // a location that is down may have it
			return
		}
		for _, s := range o.sites {
			if err := s.remove(ctx, name+ending); err != nil {
				o.failed(ctx, s, name, fmt.Errorf("delete its note or mark: %w", err))
			}
		}
	}
	for _, kind := range marks {
		var latest time.Time
		if kind.outlives() {
			latest = c.latest(kind, o.start, c.mine)
		}
		for name, named := range c.marked[kind] {
			theirs := !listed[name] && c.shared() // perhaps: nobody can tell
			if !theirs && (!named.At.Equal(latest) || c.shared()) {
				remove(name, string(kind))
			}
		}
	}
	for name := range c.notes {
		remove(name, noteEnding)
	}
}

// proven decides, and verifies first what the deletion relies on: see unproven. A backup
// that turns out to be damaged or not authentic counts as damaged in the next decision.
func (o *operation) proven(ctx context.Context, s *site, backups []Backup, opts PruneOptions) ([]Decision, []string, error) {
	var proven []string
	for {
		decisions := o.decide(backups, opts)
		d := o.unproven(decisions, opts, proven)
		if d == nil {
			return decisions, proven, nil
		}
		m, _, err := o.verify(ctx, s, d.named, backup.RestoreOptions{AllowDangling: true})
		if err == nil && o.RequireProof && m.Authentic == "" {
			err = fmt.Errorf("%w: only a key can tell whether it is authentic", backup.ErrNoKey)
		}
		switch {
		case ctx.Err() != nil:
			return decisions, proven, ctx.Err()
		case err == nil:
			proven = append(proven, d.Name)
			continue
		case !damage(err):
			return decisions, proven, fmt.Errorf("nothing is deleted, because %s, the newest that would be kept, cannot be proven good: %w", d.Name, err)
		}
		if !opts.DryRun {
			o.failed(ctx, s, d.Name, err)
		}
		for i := range backups {
			if backups[i].Name == d.Name {
				backups[i].Damaged = true
			}
		}
	}
}

// damage tells whether an error is about the backup itself, and would be the same for
// whoever reads it.
func damage(err error) bool {
	return errors.Is(err, backup.ErrDamaged) || errors.Is(err, backup.ErrFormat) || errors.Is(err, backup.ErrInvalid) || errors.Is(err, backup.ErrUnauthentic)
}

// unproven returns the next backup that must be verified before the decisions are carried
// out, or nil: the newest good backup with a collection that a backup to delete has. If a
// proof is required, that is every backup to keep, since forged backups would otherwise
// take the places of good ones.
func (o *operation) unproven(decisions []Decision, opts PruneOptions, proven []string) *Decision {
	deletes := slices.ContainsFunc(decisions, func(d Decision) bool { return !d.Keep })
	for _, class := range classes {
		var list []Decision
		lost := make(map[string]bool)
		for _, d := range decisions {
			if o.class(d.Backup, opts) != class {
				continue
			}
			list = append(list, d)
			if o.RequireProof && deletes && d.Keep && !d.coming && !d.Damaged && !slices.Contains(proven, d.Name) {
				return &d
			}
			if !d.Keep {
				lost[anything] = true
				for name := range d.Manifest.Records {
					lost[name] = true
				}
			}
		}
		for _, a := range anchors(list) {
			if lost[a.collection] && !slices.Contains(proven, list[a.index].Name) {
				return &list[a.index]
			}
		}
	}
	return nil
}

// delete carries out the decisions, oldest first, so that the newest backups are there
// whatever stops it.
func (o *operation) delete(ctx context.Context, s *site, decisions []Decision) (deleted []string, err error) {
	for _, d := range slices.Backward(decisions) {
		if d.Keep {
			continue
		}
		if err := ctx.Err(); err != nil {
			return deleted, err
		}
		if err := s.drop(ctx, d.named); err != nil {
			return deleted, fmt.Errorf("delete %s: %w", d.Name, err)
		}
		deleted = append(deleted, d.Name)
		if o.Logger != nil {
			o.Logger.LogAttrs(ctx, slog.LevelInfo, "backup deleted", slog.String("operation", o.name), slog.String("backup", d.Name),
				slog.String("location", s.name), slog.String("reasons", strings.Join(d.Reasons, "; ")))
		}
	}
	return deleted, nil
}

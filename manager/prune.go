package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
)

// PruneOptions say what Prune does. The zero value applies Retention to
// scheduled backups.
type PruneOptions struct {
	// DryRun decides, and deletes nothing.
	DryRun bool

	// Manual applies Retention to manual backups too, as if they were scheduled.
	Manual bool
}

// Pruned is what Prune did, or would do, at one Location.
type Pruned struct {
	Location  string     `json:"location"`
	Decisions []Decision `json:"decisions"`         // newest first
	Proven    []string   `json:"proven,omitempty"`  // the newest that are kept: they were read and verified first
	Deleted   []string   `json:"deleted,omitempty"` // oldest first
	Err       error      `json:"-"`                 // what kept it from going on
}

// MarshalJSON adds the member error, the text of Err, if there is one.
func (p Pruned) MarshalJSON() ([]byte, error) {
	type plain Pruned
	return json.Marshal(struct {
		plain
		Error string `json:"error,omitempty"`
	}{plain(p), errorText(p.Err)})
}

// Prune applies Retention at each Location to the backups there, by what that
// Location has (guide, "Backup Retention"). Scheduled backups are subject to it,
// and manual ones only if opts say so; of the snapshots from before a restore the
// newest KeepBeforeRestore stay. Copies of the database are subject to Retention as
// backups are, each kind for itself. Whatever else is there is kept: backups without a
// known trigger, and such as do not say of themselves what their name says or
// have no digest. The newest good backup that has a collection is always kept, so
// that selective ones do not push out all that others have.
//
// Before anything is deleted at a Location, the newest good backups that would be
// kept there are read and verified with all that Verify checks. If one turns out
// to be damaged the decision is made anew without it; if one cannot be verified
// for another reason, nothing is deleted there. What is deleted goes oldest first.
//
// While a backup has shrunk and is not accepted nothing is deleted anywhere, and
// the error wraps ErrShrunk: its predecessors may be all that is left (see
// Accept). The decisions are returned also with an error. A Location that is down
// is no error: it has an entry with Err at the end of the result.
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
	// The newest that has shrunk: to accept it is to accept those before it.
	if i := slices.IndexFunc(c.backups, func(b Backup) bool { return len(b.Shrunk) > 0 }); i >= 0 {
		b := c.backups[i]
		errs = append(errs, fmt.Errorf("%w: %s (%s): nothing is deleted until somebody has looked; restore what is missing, or accept the loss", ErrShrunk, b.Name, shrinks(b.Shrunk)))
	}
	waits := len(errs) > 0
	for _, p := range o.sites {
		r := Pruned{Location: p.name, Err: c.errs[p.name]}
		if r.Err == nil {
			if there := c.at[p.name]; opts.DryRun || waits {
				r.Decisions = o.decide(there, opts)
			} else if r.Decisions, r.Proven, r.Err = o.proven(ctx, p, there, opts); r.Err == nil {
				r.Deleted, r.Err = o.delete(ctx, p, r.Decisions)
			}
			if r.Err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", p.name, r.Err))
			}
			if !opts.DryRun && !waits {
				o.emit(ctx, Event{Kind: EventPruned, Location: p.name}, slog.Any("deleted", r.Deleted))
			}
		}
		result = append(result, r)
	}
	for _, c := range o.down {
		result = append(result, Pruned{Location: c.Location, Err: c.Err})
	}
	if !opts.DryRun && !waits {
		o.tidy(ctx, c, result)
	}
	return result, errors.Join(errs...)
}

// tidy takes away what stands beside backups that are gone, but for the newest
// mark of a kind that outlives its backup.
func (o *operation) tidy(ctx context.Context, c *catalog, pruned []Pruned) {
	gone := make(map[string]bool)
	left := make(map[string]bool)
	for _, b := range c.backups {
		gone[b.Name] = true
		for _, copied := range b.Copies {
			i := slices.IndexFunc(pruned, func(r Pruned) bool { return r.Location == copied.Location })
			if i < 0 || !slices.Contains(pruned[i].Deleted, b.Name) {
				left[b.Name] = true
			}
		}
	}
	remove := func(name, ending string) {
		if left[name] || len(o.down) > 0 && !gone[name] {
			return
		}
		for _, p := range o.sites {
			if err := p.remove(ctx, name+ending); err != nil {
				o.failed(ctx, p, name, fmt.Errorf("delete what stood beside it: %w", err))
			}
		}
	}
	for _, kind := range marks {
		latest := c.latest(kind)
		for name, named := range c.marked[kind] {
			if !kind.outlives() || !named.At.Equal(latest) {
				remove(name, string(kind))
			}
		}
	}
	for name := range c.notes {
		remove(name, noteEnding)
	}
}

// proven decides, and verifies the newest good backup of each class that has one
// to delete; where a proof is required all that are kept, or somebody's forgeries
// would take the places of good ones. What is found damaged or not authentic takes
// no part in the next decision.
func (o *operation) proven(ctx context.Context, p *site, backups []Backup, opts PruneOptions) ([]Decision, []string, error) {
	var proven []string
	for {
		decisions := o.decide(backups, opts)
		d := o.unproven(decisions, opts, proven)
		if d == nil {
			return decisions, proven, nil
		}
		m, _, err := o.verify(ctx, p, d.named, backup.RestoreOptions{AllowDangling: true})
		if err == nil && o.RequireProof && m.Authentic == "" {
			err = fmt.Errorf("%w: it takes a key to tell whether it is authentic", backup.ErrNoKey)
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
		o.failed(ctx, p, d.Name, err)
		for i := range backups {
			if backups[i].Name == d.Name {
				backups[i].Damaged = true
			}
		}
	}
}

// damage tells whether an error is about a backup itself, whoever reads it.
func damage(err error) bool {
	return errors.Is(err, backup.ErrDamaged) || errors.Is(err, backup.ErrFormat) || errors.Is(err, backup.ErrInvalid) || errors.Is(err, backup.ErrUnauthentic)
}

// unproven returns a backup that has to be proven before the decisions are
// carried out: the newest good one of a collection that a backup to delete has.
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
			if o.RequireProof && deletes && d.Keep && !d.Damaged && !slices.Contains(proven, d.Name) {
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

// delete deletes what is not kept, oldest first, so that whatever ends it the
// newest are there.
func (o *operation) delete(ctx context.Context, p *site, decisions []Decision) (deleted []string, err error) {
	for _, d := range slices.Backward(decisions) {
		if d.Keep {
			continue
		}
		if err := ctx.Err(); err != nil {
			return deleted, err
		}
		if err := p.drop(ctx, d.named); err != nil {
			return deleted, fmt.Errorf("delete %s: %w", d.Name, err)
		}
		deleted = append(deleted, d.Name)
		if o.Logger != nil {
			o.Logger.LogAttrs(ctx, slog.LevelInfo, "backup deleted", slog.String("operation", o.name), slog.String("backup", d.Name),
				slog.String("location", p.name), slog.String("reasons", strings.Join(d.Reasons, "; ")))
		}
	}
	return deleted, nil
}

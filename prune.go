package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
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

// Prune applies Retention at each Location to the backups there (guide, "Backup
// Retention"). Scheduled backups are subject to it, and manual ones only if
// opts say so; of the snapshots from before a restore the newest
// KeepBeforeRestore stay. Whatever else is there, backups without a known
// trigger too, is kept.
//
// Before anything is deleted at a Location, the newest good backup that would be
// kept there is read and verified with all that Verify checks. If it turns out
// to be damaged the decision is made anew without it; if none verifies, nothing
// is deleted there. What is deleted goes oldest first.
//
// While a backup has shrunk and is not accepted nothing is deleted anywhere, and
// the error wraps ErrShrunk: its predecessors may be all that is left (see
// Accept). The decisions are returned also with an error.
func (m *Manager) Prune(ctx context.Context, opts PruneOptions) ([]Pruned, error) {
	var o *operation
	var err error
	if opts.DryRun {
		o, err = m.begin(ctx, "prune")
	} else {
		var release func()
		if o, ctx, release, err = m.hold(ctx, "prune"); err == nil {
			defer release()
		}
	}
	if err != nil {
		return nil, err
	}
	o.emit(ctx, Event{Kind: EventStarted})
	pruned, err := o.prune(ctx, opts)
	return pruned, o.done(ctx, Event{}, err)
}

func (o *operation) prune(ctx context.Context, opts PruneOptions) ([]Pruned, error) {
	backups, listErr := o.list(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var result []Pruned
	errs := []error{listErr}
	for _, b := range backups {
		if len(b.Shrunk) > 0 {
			errs = append(errs, fmt.Errorf("%w: %s (%s): nothing is deleted until somebody has looked; restore what is missing, or accept the loss", ErrShrunk, b.Name, shrinks(b.Shrunk)))
		}
	}
	waits := len(errs) > 1
	for _, p := range o.sites {
		there := there(backups, p)
		r := Pruned{Location: p.name}
		if opts.DryRun || waits {
			r.Decisions = o.decide(there, opts)
		} else if r.Decisions, r.Proven, r.Err = o.proven(ctx, p, there, opts); r.Err == nil {
			r.Deleted, r.Err = o.delete(ctx, p, r.Decisions)
		}
		if r.Err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, r.Err))
		}
		if !opts.DryRun && !waits {
			o.emit(ctx, Event{Kind: EventPruned, Location: p.name, Decisions: r.Decisions, Err: r.Err})
		}
		result = append(result, r)
	}
	for _, c := range o.down {
		result = append(result, Pruned{Location: c.Location, Err: c.Err})
	}
	return result, errors.Join(errs...)
}

// there returns the backups with a copy at a site, as they are there.
func there(backups []Backup, p *site) []Backup {
	var list []Backup
	for _, b := range backups {
		if c := b.at(p); c != nil {
			b.Damaged = c.Err != nil
			list = append(list, b)
		}
	}
	return list
}

// class tells which rules a backup is subject to: those of the trigger that is
// returned, none if it is empty.
func (o *operation) class(b Backup, opts PruneOptions) string {
	switch {
	case b.Manifest == nil || b.Manifest.Application != o.App.Name:
		return ""
	case b.Trigger == TriggerManual && opts.Manual:
		return TriggerScheduled
	case b.Trigger == TriggerScheduled, b.Trigger == TriggerBeforeRestore:
		return b.Trigger
	}
	return ""
}

// decide says for each of the backups at one site what becomes of it.
func (o *operation) decide(backups []Backup, opts PruneOptions) []Decision {
	policies := map[string]Retention{TriggerScheduled: o.Retention}
	if o.KeepBeforeRestore > 0 || !o.Retention.keepsAll() {
		policies[TriggerBeforeRestore] = Retention{Last: o.KeepBeforeRestore}
		if o.KeepBeforeRestore == 0 {
			policies[TriggerBeforeRestore] = Retention{Last: 5}
		}
	}
	classes := make(map[string][]Backup)
	var decisions []Decision
	for _, b := range backups {
		if class := o.class(b, opts); class != "" {
			classes[class] = append(classes[class], b)
			continue
		}
		reason := "no trigger that retention applies to"
		switch {
		case b.Manifest == nil:
			reason = "unreadable, it may be anything"
		case b.Trigger == TriggerManual:
			reason = "made by hand"
		}
		decisions = append(decisions, Decision{Backup: b, Keep: true, Reasons: []string{reason}})
	}
	for class, list := range classes {
		decisions = append(decisions, policies[class].Decide(list, time.Now())...)
	}
	slices.SortFunc(decisions, func(a, b Decision) int { return newestFirst(a.Backup, b.Backup) })
	return decisions
}

// proven decides, and verifies the newest good backup of each class that has one
// to delete. What is found damaged takes no part in the next decision.
func (o *operation) proven(ctx context.Context, p *site, backups []Backup, opts PruneOptions) ([]Decision, []string, error) {
	var proven []string
	for {
		decisions := o.decide(backups, opts)
		d := o.unproven(decisions, opts, proven)
		if d == nil {
			return decisions, proven, nil
		}
		_, _, err := o.verify(ctx, p, d.Name, RestoreOptions{AllowDangling: true})
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
	return errors.Is(err, ErrDamaged) || errors.Is(err, ErrFormat) || errors.Is(err, ErrInvalid)
}

// unproven returns the newest good backup that is kept, of a class of which
// others are deleted, unless it is proven. Without a good one it is an error to
// delete, which Decide does not.
func (o *operation) unproven(decisions []Decision, opts PruneOptions, proven []string) *Decision {
	for _, class := range []string{TriggerScheduled, TriggerBeforeRestore} {
		var newest *Decision
		deletes := false
		for i := range decisions {
			d := &decisions[i]
			if o.class(d.Backup, opts) != class {
				continue
			}
			deletes = deletes || !d.Keep
			if d.Keep && !d.Damaged && newest == nil {
				newest = d
			}
		}
		if deletes && newest != nil && !slices.Contains(proven, newest.Name) {
			return newest
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
		if err := p.Delete(ctx, d.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return deleted, fmt.Errorf("delete %s: %w", d.Name, err)
		}
		deleted = append(deleted, d.Name)
		if err := p.Delete(ctx, d.Name+acceptedSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return deleted, fmt.Errorf("delete the mark of %s: %w", d.Name, err)
		}
	}
	return deleted, nil
}

// Accept says that a person has looked at a backup that has shrunk, and that the
// loss is all right: Prune goes on. A mark beside the backup remembers it.
func (m *Manager) Accept(ctx context.Context, name string) error {
	o, ctx, release, err := m.hold(ctx, "accept")
	if err != nil {
		return err
	}
	defer release()
	o.emit(ctx, Event{Kind: EventStarted, Backup: name})
	return o.done(ctx, Event{Backup: name}, o.accept(ctx, name))
}

func (o *operation) accept(ctx context.Context, name string) error {
	backups, listErr := o.list(ctx)
	i := slices.IndexFunc(backups, func(b Backup) bool { return b.Name == name })
	if i < 0 {
		return errors.Join(fmt.Errorf("no location has %s: %w", shorten(name), fs.ErrNotExist), listErr)
	}
	var errs []error
	for _, p := range o.sites {
		if backups[i].at(p) == nil {
			continue
		}
		err := p.Put(ctx, name+acceptedSuffix, bytes.NewReader(nil))
		if err == nil || errors.Is(err, fs.ErrExist) {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
	}
	return errors.Join(errs...)
}

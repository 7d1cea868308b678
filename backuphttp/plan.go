package backuphttp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

// lookUndo plans to take back the last restore.
func (h *Handler) lookUndo(ctx context.Context) (restoreInfo, error) {
	r := &restore{info: restoreInfo{Undo: true, State: "ok"}}
	info, err := h.begin(ctx, r, func(ctx context.Context) (restoreInfo, error) { return h.replan(ctx, r, planInput{Full: true}) })
	if errors.Is(err, fs.ErrNotExist) {
		err = notFound("there is nothing to undo: no restore has changed anything here, or the backup from before the restore is gone")
	}
	if !needsKey(err) {
		return info, err
	}
	// A person has to give the key, as for any other backup.
	backups, _ := h.now().List(ctx)
	if name := undoes(backups, time.Now()); name != "" {
		return h.look(ctx, name)
	}
	return info, err
}

// plan makes a plan of what a person has chosen to restore.
func (h *Handler) plan(ctx context.Context, id string, in planInput) (restoreInfo, error) {
	r, ctx, release, err := h.take(ctx, id)
	if err != nil {
		return restoreInfo{}, err
	}
	defer release()
	return h.replan(ctx, r, in)
}

// replan makes a new plan. The caller has the turn at the restore.
func (h *Handler) replan(ctx context.Context, r *restore, in planInput) (restoreInfo, error) {
	m := h.now()
	var plan *manager.Plan
	end := r.end
	switch opts, err := in.options(); {
	case r.info.Undo:
		in = planInput{Full: true}
		if plan, end, err = outlive(h, ctx, m.PlanUndo); err != nil {
			return restoreInfo{}, err
		}
	case err != nil:
		return restoreInfo{}, err
	case r.snapshot == nil:
		return restoreInfo{}, r.problem
	default:
		if plan, err = m.Plan(ctx, r.snapshot, opts); err != nil {
			return restoreInfo{}, err
		}
	}
	r.dropPlan()
	r.plan, r.planned, r.end = plan, m, end
	if in.Only == nil {
		in.Only = []string{}
	}
	report := plan.Report()
	p := planInfo{ID: rand.Text(), Input: in, Report: report}
	if in.Full {
		p.Confirm = m.App.Name
	}
	for _, c := range report.Collections {
		p.Changes += c.Added + c.Updated + c.Deleted + c.Altered + c.Extra
		if c.Deleted+c.Extra > 0 {
			p.Confirm = m.App.Name
		}
	}
	info := r.info
	info.Plan = &p
	if info.Undo {
		h.describeUndo(ctx, m, &info, report)
	}
	return h.setInfo(r, info), nil
}

// describeUndo describes the backup that takes back the last restore.
func (h *Handler) describeUndo(ctx context.Context, m *manager.Manager, info *restoreInfo, report backup.Report) {
	info.Name, info.Collections = report.Backup, nil
	for _, c := range report.Collections {
		info.Collections = append(info.Collections, collectionOf(m.App, c.Name))
	}
	if b, err := h.find(ctx, report.Backup); err == nil {
		info.Manifest = b.Manifest
	}
}

// options returns the choice of a person as options of the library.
func (in planInput) options() (backup.RestoreOptions, error) {
	opts := backup.RestoreOptions{
		AllowDangling:   in.Dangling,
		SkipClashes:     in.Clashes,
		LeaveOutInvalid: in.LeaveOut,
		AllowNewerApp:   in.NewerApp,
		AllowUnknown:    in.Unknown,
		AllowSalvaged:   in.Salvaged,
		TakeOwn:         in.TakeOwn,
		Untried:         in.Untried,
	}
	if in.Full {
		opts.Strategy = backup.Replace
		return opts, nil
	}
	strategy := backup.Strategy(in.Strategy)
	if strategy.Validate() != nil {
		return opts, fmt.Errorf("%w: there is no strategy %q: choose merge, replace or skip-duplicates", backup.ErrInvalid, brief(in.Strategy))
	}
	if len(in.Only) == 0 {
		return opts, fmt.Errorf("%w: nothing is chosen to restore: choose at least one collection", backup.ErrInvalid)
	}
	opts.Only, opts.Strategy = in.Only, strategy
	return opts, nil
}

// changesBytes limits the size of the values on a page of changes. A page has at least
// one change, whatever its size.
const changesBytes = 4 << 20

// changes returns at most most changes of a plan, from the change number from on, and
// whether there are more.
func (h *Handler) changes(ctx context.Context, id, plan string, from, most int) (changes []backup.Change, more bool, err error) {
	r, ctx, release, err := h.take(ctx, id)
	if err != nil {
		return nil, false, err
	}
	defer release()
	if err := r.shows(plan); err != nil {
		return nil, false, err
	}
	changes = []backup.Change{}
	size := 0
	for c, err := range r.plan.ChangesFrom(ctx, from) {
		if ofSystem(err) {
			err = h.spoolFailed(err)
		}
		if err != nil {
			return nil, false, err
		}
		for _, f := range c.Fields {
			size += len(f.Before) + len(f.After)
		}
		if len(changes) == most || len(changes) > 0 && size > changesBytes {
			return changes, true, nil
		}
		changes = append(changes, c)
	}
	return changes, false, nil
}

// Why a plan cannot be shown or applied.
var (
	errNoPlan    = fmt.Errorf("%w: there is no plan: make a plan, and look at it", backup.ErrStale)
	errOtherPlan = fmt.Errorf("%w: there is a new plan now: look at it", backup.ErrStale)
	errStalePlan = fmt.Errorf("%w: the data or the settings have changed since the plan was made, so nothing was done: make a new plan, and look at it", backup.ErrStale)
)

// shows returns an error unless the current plan is the one with this ID, and can still
// be applied.
func (r *restore) shows(plan string) error {
	switch {
	case r.plan == nil:
		return errNoPlan
	case plan != r.info.Plan.ID:
		return errOtherPlan
	case r.info.Plan.Stale:
		return errStalePlan
	}
	return nil
}

// stale marks the plan as stale and returns an error that says so. It makes no new plan,
// so that nobody agrees to a plan that they have not seen.
func (h *Handler) stale(r *restore) error {
	info, p := r.info, *r.info.Plan
	p.Stale = true
	info.Plan = &p
	h.setInfo(r, info)
	return errStalePlan
}

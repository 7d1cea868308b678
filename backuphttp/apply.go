package backuphttp

import (
	"context"
	"errors"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
)

// apply starts the job that applies a plan. If a job applies it already, or has, apply
// returns that job: whoever clicks twice has the plan applied once.
func (h *Handler) apply(ctx context.Context, id, plan, confirm string) (job, error) {
	if j, ok := h.applying(id, plan); ok {
		return j, nil
	}
	r, _, release, err := h.take(ctx, id)
	if err != nil {
		return job{}, err
	}
	if j, ok := h.applying(id, plan); ok { // begun while this request was waiting
		release()
		return j, nil
	}
	if err := h.mayApply(r, plan, confirm); err != nil {
		release()
		return job{}, err
	}
	kind := "restore"
	if r.info.Undo {
		kind = "undo"
	}
	return h.startOn(ctx, r, release, kind, func(ctx context.Context, t *task) error { return h.applyPlan(ctx, r, t) })
}

// mayApply returns an error unless the plan can be applied, and is the one that the person
// has looked at and confirmed.
func (h *Handler) mayApply(r *restore, plan, confirm string) error {
	if err := r.shows(plan); err != nil {
		return err
	}
	if r.planned != h.now() {
		return h.stale(r)
	}
	if want := r.info.Plan.Confirm; want != "" && confirm != want {
		return invalid("confirm", "this replaces or deletes data: to do it, type %s", want)
	}
	return nil
}

// applyPlan is the job of apply.
func (h *Handler) applyPlan(ctx context.Context, r *restore, t *task) error {
	h.appliedBy(r, r.info.Plan.ID, t.ID)
	report, err := r.planned.Apply(ctx, r.plan)
	switch {
	case errors.Is(err, location.ErrBusy): // the plan can be applied later
		h.appliedBy(r, "", "")
		return err
	case errors.Is(err, backup.ErrStale):
		h.appliedBy(r, "", "")
		return h.stale(r)
	}
	r.dropPlan()
	info := r.info
	info.Plan = nil
	h.setInfo(r, info)
	if err != nil {
		return err
	}
	h.update(t, func(j *job) { j.Report = &report })
	h.reload(ctx, true)
	return nil
}

// applying returns the job that applies a plan, or has applied it.
func (h *Handler) applying(id, plan string) (j job, ok bool) {
	h.mu.Lock()
	by := ""
	if r := h.restores[id]; r != nil && r.applied == plan {
		by = r.by
	}
	h.mu.Unlock()
	if by == "" {
		return job{}, false
	}
	j, err := h.job(by)
	return j, err == nil
}

// appliedBy remembers which job applies a plan.
func (h *Handler) appliedBy(r *restore, plan, by string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.applied, r.by = plan, by
}

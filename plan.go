package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"time"

	"github.com/tomo-project/backup/internal/fault"
)

// A Plan is what a restore would do to the host as it is now. It keeps the changes: a few
// in memory, and many in an encrypted temporary file in the TempDir of the Snapshot, until
// Close. Apply uses the Snapshot and the Sink again. [App.Plan] makes one.
type Plan struct {
	// Before and Progress are those of the RestoreOptions. The caller may replace
	// them before a call of Apply.
	Before   func(ctx context.Context, held DataSource, collections []string) error
	Progress func(Progress)

	in      *incoming
	dst     Sink
	report  Report
	settled bool              // the trial has met all that a commit would
	digest  [sha256.Size]byte // of all changes, with the values before and after
	changes *changeLog
}

// Plan says what Restore would do to the host as it is now. It carries the restore
// out in a transaction, reads back what came of it, and rolls back. So what the host
// does not take speaks up here: a unique field, a foreign key, a trigger. Its errors
// are those of Restore but ErrUncertain: a snapshot that cannot be restored has no
// plan. With Untried, Plan only compares.
func (a *App) Plan(ctx context.Context, s *Snapshot, dst Sink, opts RestoreOptions) (*Plan, error) {
	if err := fault.Missing("the Sink", dst); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	start := time.Now()
	in, err := a.prepare(ctx, s, opts)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p := &Plan{Before: opts.Before, Progress: opts.Progress, in: in, dst: dst, changes: &changeLog{dir: s.tempDir, failed: "the plan is good, but its changes could not be kept"}}
	p.report, err = in.transact(ctx, dst, func(w Writer) *comparison {
		_, p.settled = w.(settler)
		p.changes.reset() // a Sink may repeat its transaction
		return &comparison{incoming: in, host: w, write: !opts.Untried, trial: true, digest: sha256.New(), finish: p.keepDigest, each: p.keepChange}
	})
	if err != nil {
		p.changes.drop()
		return nil, fmt.Errorf("plan: %w", err)
	}
	runtime.AddCleanup(p, func(l *changeLog) { l.drop() }, p.changes) // for a plan that nobody closes
	p.report.Duration = time.Since(start)
	return p, nil
}

// keepChange keeps a change for Changes.
func (p *Plan) keepChange(e entry) error {
	p.changes.add(e)
	return nil
}

// keepDigest remembers the digest of all changes.
func (p *Plan) keepDigest(c *comparison) error {
	c.digest.Sum(p.digest[:0])
	return nil
}

// Report says what Apply would do. Its Duration is how long planning took.
func (p *Plan) Report() Report { return p.report }

// Apply does exactly what the plan says. If that is no longer what a restore would
// do, because the host has changed, Apply changes nothing and returns ErrStale. Its
// other errors are those of Restore.
func (p *Plan) Apply(ctx context.Context) (Report, error) {
	if err := p.given(); err != nil {
		return Report{}, fmt.Errorf("restore: %w", err)
	}
	start := time.Now()
	in := p.incoming()
	report, err := in.attempt(ctx, p.dst, func(w Writer) *comparison {
		return &comparison{incoming: in, host: w, write: true, digest: sha256.New(), finish: p.sameDigest, done: p.sameReport}
	})
	if p.settled && !in.opts.Untried && (errors.Is(err, ErrClash) || errors.Is(err, ErrDangling)) && !errors.Is(err, ErrUncertain) {
		err = fmt.Errorf("%w: the host has changed since; nothing was changed, make a new plan: %w", ErrStale, err) // the trial did not meet it
	}
	if err != nil {
		return Report{}, fmt.Errorf("restore: %w", err)
	}
	report.Duration = time.Since(start)
	return report, nil
}

// incoming returns what the plan restores, with the hooks that are set now.
func (p *Plan) incoming() *incoming {
	in := *p.in
	in.opts.Before, in.opts.Progress = p.Before, p.Progress
	return &in
}

// sameDigest refuses changes that are not those of the plan.
func (p *Plan) sameDigest(c *comparison) error {
	if [sha256.Size]byte(c.digest.Sum(nil)) != p.digest {
		return fmt.Errorf("%w: the host has changed since; nothing was changed, make a new plan", ErrStale)
	}
	return nil
}

// sameReport refuses what did not come out as in the trial: a trigger may be new, or go
// by other data.
func (p *Plan) sameReport(c *comparison) error {
	if !p.in.opts.Untried && !reflect.DeepEqual(c.report.Collections, p.report.Collections) {
		return fmt.Errorf("%w: the host does something else with the changes than when they were tried; nothing was changed, make a new plan", ErrStale)
	}
	return nil
}

// Close removes what the plan keeps, and closes its Snapshot, whoever opened it.
func (p *Plan) Close() error {
	if p == nil || p.in == nil {
		return p.given()
	}
	return errors.Join(p.changes.drop(), p.in.snapshot.Close())
}

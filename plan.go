package backup

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"time"

	"github.com/tomo-project/backup/internal/fault"
)

// A Plan is what a restore would do to the host as it is now. It uses its Snapshot
// and Sink again, and takes no memory for the single changes. [App.Plan] makes one.
type Plan struct {
	// Before and Progress are those of the RestoreOptions. The caller may replace
	// them before a call of Apply or Changes.
	Before   func(ctx context.Context, held DataSource, collections []string) error
	Progress func(Progress)

	in      *incoming
	dst     Sink
	report  Report
	settled bool              // the trial has met all that a commit would
	digest  [sha256.Size]byte // of all changes, with the values before and after
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
	p := &Plan{Before: opts.Before, Progress: opts.Progress, in: in, dst: dst}
	p.report, err = in.transact(ctx, dst, func(w Writer) *comparison {
		_, p.settled = w.(settler)
		return &comparison{incoming: in, host: w, write: !opts.Untried, trial: true, digest: sha256.New(), finish: p.keepDigest}
	})
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p.report.Duration = time.Since(start)
	return p, nil
}

// keepDigest remembers the digest of all changes.
func (p *Plan) keepDigest(c *comparison) error {
	c.digest.Sum(p.digest[:0])
	return nil
}

// Report says what Apply would do. Its Duration is how long planning took.
func (p *Plan) Report() Report { return p.report }

// A Change is what happens to one record.
type Change struct {
	Collection string `json:"collection"`
	Key        string `json:"key"`
	Action     Action `json:"action"`

	// With is the key of the host's record that a skipped record clashes with.
	With string `json:"with,omitempty"`

	// Fields are the places in which the two sides differ. If only one side has the
	// record, they are its members.
	Fields []FieldChange `json:"fields,omitempty"`
}

// A FieldChange is a place in which the host's record differs from the record that
// it becomes, or, with Skip, from the snapshot's. Secrets are masked: a secret that
// changes reads "(secret)" on both sides.
type FieldChange struct {
	Pointer string          `json:"pointer"`          // JSON Pointer; empty for the whole record
	Before  json.RawMessage `json:"before,omitempty"` // nil: the host has no such member
	After   json.RawMessage `json:"after,omitempty"`  // nil: the member goes away
}

// Action is what happens to a record. A record that stays as it is has no Change,
// except with Skip.
type Action string

const (
	Add    Action = "add"    // only the snapshot has the record
	Update Action = "update" // both have it, and the host's changes
	Skip   Action = "skip"   // both have it and differ, or it clashes, and the host's stays
	Delete Action = "delete" // only the host has it
)

// Changes yields the changes of the plan, deletions first. It makes the comparison
// again, in a transaction of the Sink that lasts as long as the iteration. It yields
// ErrStale at the end if the host has changed since the plan was made.
func (p *Plan) Changes(ctx context.Context) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		if err := p.given(); err != nil {
			yield(Change{}, fmt.Errorf("plan: %w", err))
			return
		}
		yielded, stopped := 0, false
		in := p.incoming()
		_, err := in.attempt(ctx, p.dst, func(w Writer) *comparison {
			n := 0
			return &comparison{incoming: in, host: w, digest: sha256.New(), finish: p.sameDigest, each: func(c Change) error {
				// A Sink that repeats its transaction comes to the same changes again.
				if n++; n > yielded && !stopped {
					yielded, stopped = n, !yield(c, nil)
				}
				if stopped {
					return errStop
				}
				return nil
			}}
		})
		if err != nil && !stopped {
			yield(Change{}, fmt.Errorf("plan: %w", err))
		}
	}
}

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

// Close closes the Snapshot of the plan, whoever opened it.
func (p *Plan) Close() error {
	if p == nil || p.in == nil {
		return p.given()
	}
	return p.in.snapshot.Close()
}

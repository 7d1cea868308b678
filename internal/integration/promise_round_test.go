//go:build !race

package integration

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/sqlstore"
)

// A randomRound is a schema, what the backup has, what the host has when it is restored,
// and how.
type randomRound struct {
	schema       *randomSchema
	saved, found randomState
	strategy     backup.Strategy
	strategies   []backup.Strategy // of the tables, if not nil
	only         []int             // the tables that are restored; nil means all
	skipClashes  bool
	described    bool  // the collections are those of Describe
	order        []int // or else declared in this order
	atOnce       bool  // Restore, and not Plan and Apply
	redo         bool  // undo the undo
}

func newRandomRound(d database, seed uint64) *randomRound {
	r := dice{rand.New(rand.NewPCG(seed, uint64(len(d.name))))}
	s := r.schema(d)
	round := &randomRound{
		schema: s, saved: r.state(s), strategy: oneOf(r, backup.Replace, backup.Replace, backup.Merge, backup.SkipDuplicates),
		skipClashes: r.in(1, 3), described: r.in(3, 5), atOnce: r.in(1, 3), redo: r.in(1, 3), order: r.Perm(len(s.tables)),
	}
	if r.in(1, 8) {
		for range s.tables {
			round.strategies = append(round.strategies, oneOf(r, backup.Replace, backup.Merge, backup.SkipDuplicates))
		}
	}
	if declared := slices.DeleteFunc(r.Perm(len(s.tables)), func(i int) bool { return s.tables[i].undeclared }); r.in(1, 10) {
		round.only = declared[:1+r.IntN(len(declared))]
	}
	round.found = r.damage(s, round.saved)
	return round
}

func (r *randomRound) options() backup.RestoreOptions {
	opts := backup.RestoreOptions{Strategy: r.strategy}
	for i := range r.strategies {
		if t := &r.schema.tables[i]; !t.undeclared && !t.gone {
			if opts.Strategies == nil {
				opts.Strategies = map[string]backup.Strategy{}
			}
			opts.Strategies[t.name] = r.strategies[i]
		}
	}
	for _, i := range r.only {
		if t := &r.schema.tables[i]; !t.gone {
			opts.Only = append(opts.Only, t.name)
		}
	}
	opts.SkipClashes = r.skipClashes
	return opts
}

// A brokenPromise says at which step of a round, and what.
type brokenPromise struct{ step, what string }

func broken(step, format string, args ...any) *brokenPromise {
	return &brokenPromise{step, fmt.Sprintf(format, args...)}
}

// A playedRound is a round that is carried out.
type playedRound struct {
	*randomRound
	host     randomHost
	db       *sql.DB
	store    sqlstore.Store
	app      *backup.App
	manager  *manager.Manager
	snapshot *backup.Snapshot
	before   heldState // the restore
}

// play carries out a round. applied tells whether there was a plan.
func (r *randomRound) play(ctx context.Context, h randomHost) (applied bool, _ *brokenPromise) {
	db, err := h.open(ctx, r.schema)
	if err != nil {
		return false, broken("set up", "%v", err)
	}
	defer db.Close()
	p := &playedRound{randomRound: r, host: h, db: db}
	if err := h.load(ctx, db, r.schema, r.saved); err != nil {
		return false, broken("set up", "load the state of the backup: %v", err)
	}
	if p.store, p.app, err = h.app(ctx, db, r.schema, r.described, r.order); err != nil {
		return false, broken("describe", "%v", err)
	}
	var file bytes.Buffer
	if _, err := p.app.Backup(ctx, &file, p.store, backup.BackupOptions{}); err != nil {
		return false, broken("back up", "%v", err)
	}
	if p.snapshot, err = backup.OpenSnapshot(ctx, bytes.NewReader(file.Bytes()), backup.OpenOptions{}); err != nil {
		return false, broken("back up", "open the backup: %v", err)
	}
	defer p.snapshot.Close()
	if err := h.load(ctx, db, r.schema, r.found); err != nil {
		return false, broken("set up", "load the state of the host: %v", err)
	}
	p.before = r.schema.held(r.found)
	if b := p.hostIs("set up", p.before); b != nil {
		return false, b
	}
	p.manager = &manager.Manager{App: p.app, Source: p.store, Sink: p.store, Locations: []location.Location{backuptest.MapLocation{}}}
	return p.restore(ctx)
}

// restore makes a plan, carries it out and takes it back.
func (p *playedRound) restore(ctx context.Context) (applied bool, _ *brokenPromise) {
	plan, err := p.manager.Plan(ctx, p.snapshot, p.options())
	if b := p.hostIs("plan", p.before); b != nil {
		return false, b
	}
	if err != nil {
		return false, p.refused(ctx, err)
	}
	said, b := p.said(ctx, plan)
	if b != nil {
		return false, b
	}
	if b := p.hostIs("changes of the plan", p.before); b != nil {
		return false, b
	}
	var report backup.Report
	if p.atOnce {
		report, err = p.manager.Restore(ctx, p.snapshot, p.options())
	} else {
		report, err = p.manager.Apply(ctx, plan)
	}
	if err != nil {
		return false, broken("restore", "the plan said yes, and then: %v", err)
	}
	if said, did := reportText(plan.Report()), reportText(report); said != did {
		return false, broken("report", "of the plan  %s\nof the restore %s", said, did)
	}
	after, err := p.host.read(ctx, p.db, p.schema)
	if err != nil {
		return false, broken("read", "%v", err)
	}
	if b := p.compare("end state", said, after, report); b != nil {
		return false, b
	}
	if b := p.others("end state", p.before, after); b != nil {
		return false, b
	}
	again, err := p.app.Restore(ctx, p.snapshot, p.store, p.options())
	if err != nil {
		return false, broken("restore twice", "%v", err)
	}
	if again.Changed() && !named(report) {
		return false, broken("restore twice", "changes something: %s", reportText(again))
	}
	if !named(report) {
		if b := p.hostIs("restore twice", after); b != nil {
			return false, b
		}
	}
	if report.Changed() {
		return true, p.takeBack(ctx, after)
	}
	return true, nil
}

// takeBack undoes the restore, and maybe the undo.
func (p *playedRound) takeBack(ctx context.Context, restored heldState) *brokenPromise {
	steps := []struct {
		name     string
		from, to heldState
	}{{"undo", restored, p.before}, {"undo the undo", p.before, restored}}
	if !p.redo {
		steps = steps[:1]
	}
	others := restored
	for _, step := range steps {
		report, err := p.manager.Undo(ctx)
		if err != nil && p.spoilt("forbid", "ignore") {
			return p.hostIs(step.name, others)
		}
		if err != nil {
			return broken(step.name, "%v", err)
		}
		after, err := p.host.read(ctx, p.db, p.schema)
		if err != nil {
			return broken("read", "%v", err)
		}
		if b := p.compare(step.name, step.to, after, report); b != nil {
			return b
		}
		if b := p.others(step.name, others, after); b != nil {
			return b
		}
		others = after
	}
	return nil
}

//go:build !race

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// A twinRound is a restore of what one installation has into another.
type twinRound struct {
	schema       *twinSchema
	saved, found twinState
	strategy     backup.Strategy
	strategies   map[string]backup.Strategy
	foreign      bool // they are two installations
	skipClashes  bool
	atOnce       bool           // Restore, and not Plan and Apply
	highest      map[string]int // the highest number that the host has had
}

func newTwinRound(d database, seed uint64) *twinRound {
	r := dice{rand.New(rand.NewPCG(seed, 18))}
	s := r.twinSchema(d)
	round := &twinRound{
		schema: s, strategy: oneOf(r, backup.SkipDuplicates, backup.Merge, backup.SkipDuplicates, backup.Merge, backup.Replace),
		foreign: r.in(1, 2), skipClashes: r.in(1, 3), atOnce: r.in(1, 2), highest: map[string]int{},
	}
	base := r.twinState(s)
	anew := r.in(3, 4)
	round.saved = r.diverge(s, base, anew)
	round.found = r.diverge(s, base, anew)
	if r.in(1, 6) {
		round.found = r.twinState(s)
	}
	for _, t := range s.collections {
		if t.numbered && r.in(1, 3) {
			round.highest[t.Name] = 5 + r.IntN(9)
		}
	}
	if r.in(1, 10) {
		round.strategies = map[string]backup.Strategy{}
		for _, t := range s.collections {
			round.strategies[t.Name] = oneOf(r, backup.SkipDuplicates, backup.Merge, backup.Replace)
		}
	}
	return round
}

func (r *twinRound) strategyOf(t *twinTable) backup.Strategy {
	if s, ok := r.strategies[t.Name]; ok {
		return s
	}
	return r.strategy
}

// installations returns the ids of the two installations.
func (r *twinRound) installations() (from, to string) {
	if r.foreign {
		return "old", "new"
	}
	return "same", "same"
}

func (r *twinRound) options() backup.RestoreOptions {
	_, to := r.installations()
	return backup.RestoreOptions{Strategy: r.strategy, Strategies: r.strategies, SkipClashes: r.skipClashes, Installation: to}
}

// A playedTwins is a round that is carried out.
type playedTwins struct {
	*twinRound
	host     twinHost
	app      *backup.App
	manager  *manager.Manager
	snapshot *backup.Snapshot
	verdict  *twinVerdict
	before   string // all that the host has, as text
}

// play carries out a round. applied tells whether the restore was possible.
func (r *twinRound) play(ctx context.Context, h twinHost) (applied bool, _ *brokenPromise) {
	p := &playedTwins{twinRound: r, host: h, app: r.schema.app(), verdict: r.verdict()}
	store, done, err := h.open(ctx, r)
	if err != nil {
		return false, broken("set up", "%v", err)
	}
	defer done()
	from, to := r.installations()
	var file bytes.Buffer
	seal := backup.BackupOptions{Recipients: []backup.Recipient{plainKey{}}, Installation: from, Serial: 1}
	if _, err := p.app.Backup(ctx, &file, r.schema.store(r.saved), seal); err != nil {
		return false, broken("back up", "%v", err)
	}
	p.snapshot, err = backup.OpenSnapshot(ctx, bytes.NewReader(file.Bytes()), backup.OpenOptions{Identities: []backup.Identity{plainKey{}}})
	if err != nil {
		return false, broken("back up", "open the backup: %v", err)
	}
	defer p.snapshot.Close()
	p.manager = &manager.Manager{
		App: p.app, Source: store, Sink: store, Installation: to, Locations: []location.Location{backuptest.MapLocation{}},
		Recipients: seal.Recipients, Identities: []backup.Identity{plainKey{}}, NoReadme: true,
	}
	if p.before, err = h.dump(ctx, r.schema); err != nil {
		return false, broken("set up", "%v", err)
	}
	return p.restore(ctx)
}

// restore makes a plan, carries it out, does so again, and takes it back.
func (p *playedTwins) restore(ctx context.Context) (applied bool, _ *brokenPromise) {
	plan, err := p.manager.Plan(ctx, p.snapshot, p.options())
	if b := p.hostIs(ctx, "plan", p.before); b != nil {
		return false, b
	}
	if err != nil {
		return false, p.refused(ctx, err)
	}
	defer plan.Close()
	said, b := p.said(ctx, plan)
	if b != nil {
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
	if planned := plan.Report(); !reflect.DeepEqual(planned.Collections, report.Collections) {
		return false, broken("report", "of the plan  %+v\nof the restore %+v", planned.Collections, report.Collections)
	}
	after, err := p.host.read(ctx, p.schema)
	if err != nil {
		return false, broken("read", "%v", err)
	}
	if differs := p.differences(said, after); differs != "" {
		return false, broken("changes of the plan", "lead elsewhere than the restore:\n%s", differs)
	}
	if b := p.check(report, after); b != nil {
		return false, b
	}
	dump, err := p.host.dump(ctx, p.schema)
	if err != nil {
		return false, broken("read", "%v", err)
	}
	again, err := p.app.Restore(ctx, p.snapshot, p.manager.Sink, p.options())
	if err != nil {
		return false, broken("restore twice", "%v", err)
	}
	if again.Changed() && p.skipClashes && p.verdict.unsure != "" {
		return true, nil // what one record clashed with has changed since
	}
	if again.Changed() {
		return false, broken("restore twice", "changes something: %s", mustJSON(again))
	}
	if b := p.hostIs(ctx, "restore twice", dump); b != nil || !report.Changed() {
		return true, b
	}
	if _, err := p.manager.Undo(ctx); err != nil {
		return true, broken("undo", "%v", err)
	}
	return true, p.hostIs(ctx, "undo", p.before)
}

func mustJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// hostIs makes sure that the host has what it should have.
func (p *playedTwins) hostIs(ctx context.Context, step, want string) *brokenPromise {
	got, err := p.host.dump(ctx, p.schema)
	if err != nil {
		return broken("read", "%v", err)
	}
	if got != want {
		return broken(step, "the host is not as it was:\n%s\nwant:\n%s", got, want)
	}
	return nil
}

// refused judges an error of the plan.
func (p *playedTwins) refused(ctx context.Context, err error) *brokenPromise {
	v := p.verdict
	if strings.Contains(err.Error(), twinSecret) {
		return broken("plan", "the error has a secret: %v", err)
	}
	named := map[string]map[string]bool{}
	for _, about := range recordErrors(err) {
		if named[about.Collection] == nil {
			named[about.Collection] = map[string]bool{}
		}
		named[about.Collection][about.Key] = true
	}
	wrong := ""
	switch {
	case v.clashed():
		all, open := true, false
		for _, keys := range v.maybe {
			open = open || len(keys) > 0 // and so is what they contest
		}
		for collection, keys := range v.clashes {
			for key := range v.certain[collection] {
				all = all && named[collection][key]
			}
			for key := range named[collection] {
				if !keys[key] && !v.maybe[collection][key] && v.unsure == "" {
					return broken("plan", "%s %s is named, and is no clash: %v", collection, key, err)
				}
			}
		}
		if !all && !open && v.unsure == "" {
			return broken("plan", "not all clashes are named: %v", err)
		}
	case v.unsure != "":
	default:
		if wrong = p.schema.wrong(p.result(v.moves, nil)); wrong == "" {
			return broken("plan", "refuses a state that is valid: %v", err)
		}
	}
	if p.skipClashes && v.unsure == "" {
		return broken("plan", "clashes are to be skipped (%s): %v", wrong, err)
	}
	if !errors.Is(err, backup.ErrClash) && v.unsure == "" {
		return broken("plan", "the error is no clash (%s): %v", wrong, err)
	}
	if len(named) == 0 {
		return broken("plan", "the error names nothing (%s): %v", wrong, err)
	}
	if _, err := p.manager.Restore(ctx, p.snapshot, p.options()); err == nil {
		return broken("plan", "says no, and the restore works")
	}
	return p.hostIs(ctx, "restore without a plan", p.before)
}

// said returns the state that the changes of a plan lead to.
func (p *playedTwins) said(ctx context.Context, plan *manager.Plan) (twinState, *brokenPromise) {
	said := p.found.clone()
	report := plan.Report()
	if text := mustJSON(report); strings.Contains(text, twinSecret) {
		return nil, broken("changes of the plan", "the report has a secret: %s", text)
	}
	rekeyed, counts := reportedMoves(report), map[string]map[backup.Action]int64{}
	for change, err := range plan.Changes(ctx) {
		if err != nil {
			return nil, broken("changes of the plan", "%v", err)
		}
		text := mustJSON(change)
		if strings.Contains(text, twinSecret) {
			return nil, broken("changes of the plan", "a change has a secret: %s", text)
		}
		t := p.schema.table(change.Collection)
		if counts[t.Name] == nil {
			counts[t.Name] = map[backup.Action]int64{}
		}
		counts[t.Name][change.Action]++
		if change.From != "" && change.Action != backup.Delete && rekeyed.of(t.Name, change.From) != change.Key {
			return nil, broken("changes of the plan", "%s, and in the report it is %s", text, rekeyed.of(t.Name, change.From))
		}
		switch change.Action {
		case backup.Skip:
			continue
		case backup.Delete:
			delete(said[t.Name], change.Key)
			continue
		case backup.Add:
			said[t.Name][change.Key] = twinRecord{}
		}
		row := said[t.Name][change.Key]
		if row == nil {
			return nil, broken("changes of the plan", "%s, which the host does not have", text)
		}
		if change.From == "" && change.Action != backup.Delete && p.saved[t.Name][change.Key] == nil {
			return nil, broken("changes of the plan", "%s, which the snapshot does not have", text)
		}
		for _, f := range change.Fields {
			if err := p.setField(t, change.Key, row, f); err != nil {
				return nil, broken("changes of the plan", "%s: %v", text, err)
			}
		}
	}
	for _, c := range report.Collections {
		n := counts[c.Name]
		if n[backup.Add] != c.Added || n[backup.Update] != c.Updated || n[backup.Skip] != c.Skipped || n[backup.Delete] != c.Deleted {
			return nil, broken("changes of the plan", "%v, and in the report %+v", n, c)
		}
	}
	return said, nil
}

// setField carries out the change of a field.
func (p *playedTwins) setField(t *twinTable, key string, row twinRecord, f backup.FieldChange) error {
	names := strings.Split(strings.TrimPrefix(f.Pointer, "/"), "/")
	if t.Shape == backup.Map {
		names = []string{key}
	}
	object := map[string]any(row)
	for _, name := range names[:len(names)-1] {
		next, ok := object[name].(map[string]any)
		if !ok {
			// An element of an array: what becomes of it is checked by the end state.
			return nil
		}
		object = next
	}
	name := names[len(names)-1]
	if f.After == nil {
		delete(object, name)
		return nil
	}
	v, err := parseTwin(f.After)
	object[name] = v
	return err
}

// reportedMoves returns the keys that a report says have changed.
func reportedMoves(report backup.Report) twinMoves {
	moves := twinMoves{}
	for _, c := range report.Collections {
		moves[c.Name] = c.RekeyedKeys
	}
	return moves
}

// differences compares two states, except for secrets, which a plan masks, and arrays.
func (p *playedTwins) differences(want, got twinState) string {
	var b strings.Builder
	for _, t := range p.schema.collections {
		for key := range union(want[t.Name], got[t.Name]) {
			w, g := t.shown(want[t.Name][key]), t.shown(got[t.Name][key])
			if w != g {
				fmt.Fprintf(&b, "%s %s: want %s, got %s\n", t.Name, key, w, g)
			}
		}
	}
	return b.String()
}

func (t *twinTable) shown(r twinRecord) string {
	if r == nil {
		return "nothing"
	}
	r = r.clone()
	delete(r, "token")
	delete(r, "members")
	return r.text()
}

func union[V any](a, b map[string]V) map[string]bool {
	all := map[string]bool{}
	for key := range a {
		all[key] = true
	}
	for key := range b {
		all[key] = true
	}
	return all
}

//go:build !race

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

// spoilt tells whether a trigger does one of these things.
func (r *randomRound) spoilt(whats ...string) bool {
	return slices.ContainsFunc(r.schema.triggers, func(t randomTrigger) bool { return slices.Contains(whats, t.what) })
}

// wanted returns the state that the strategy asks for. Tables that are not declared are
// empty in it.
func (r *randomRound) wanted() randomState {
	state := make(randomState, len(r.schema.tables))
	for i := range r.schema.tables {
		t := &r.schema.tables[i]
		if t.undeclared {
			continue
		}
		first, second := r.saved[i], r.found[i]
		switch strategy := r.strategyOf(i); {
		case !r.restores(i):
			first = nil
		case strategy == backup.Replace:
			second = nil
		case strategy == backup.SkipDuplicates:
			first, second = second, first
		}
		have := map[string]bool{}
		for _, row := range slices.Concat(first, second) {
			if key := row.keyOf(t); !have[key] {
				have[key] = true
				state[i] = append(state[i], row)
			}
		}
	}
	return state
}

// strategyOf returns the strategy for table i, and restores whether it is restored at all.
func (r *randomRound) strategyOf(i int) backup.Strategy {
	if r.strategies != nil {
		return r.strategies[i]
	}
	return r.strategy
}

func (r *randomRound) restores(i int) bool { return r.only == nil || slices.Contains(r.only, i) }

// deferred tells whether there are unique constraints that load does not have checked.
func (s *randomSchema) deferred() bool {
	return slices.ContainsFunc(s.tables, func(t randomTable) bool {
		return slices.ContainsFunc(t.uniques, func(u randomUnique) bool { return u.deferrable != "" })
	})
}

// forbids tells whether rows of tables that are not declared keep a state from being
// reached. That of a reference to another column than the key is not followed: it may.
func (r *randomRound) forbids(state randomState) bool {
	for i := range r.schema.tables {
		t := &r.schema.tables[i]
		for _, f := range t.references {
			there := f.targets(state)
			for _, row := range r.found[i] {
				values := row.pick(f.columns)
				switch {
				case !t.undeclared || slices.Contains(values, nil):
				case !f.toKey:
					return true
				case f.holds(row, there):
				case f.onDelete != "CASCADE" && f.onDelete != "SET NULL":
					return true
				}
			}
		}
	}
	return false
}

// refused judges an error of the plan.
func (p *playedRound) refused(ctx context.Context, err error) *brokenPromise {
	wanted := p.wanted()
	wrong := p.schema.wrong(wanted)
	spoilt := p.spoilt("forbid", "ignore")
	if wrong == "" && !spoilt && !p.forbids(wanted) {
		return broken("plan", "refuses a state that is valid: %v", err)
	}
	if p.skipClashes && errors.Is(err, backup.ErrClash) {
		return broken("plan", "clashes are to be skipped: %v", err)
	}
	kinds := []error{backup.ErrClash, backup.ErrDangling, backup.ErrInvalid}
	if !spoilt && !slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) }) {
		return broken("plan", "the error is of no kind (%s): %v", wrong, err)
	}
	if !p.names(err) {
		return broken("plan", "the error names nothing (%s): %v", wrong, err)
	}
	_, restore := p.manager.Restore(ctx, p.snapshot, p.options())
	if restore == nil {
		return broken("plan", "says no, and the restore works: %v", err)
	}
	if b := p.hostIs("restore without a plan", p.before); b != nil || wrong == "" || p.schema.deferred() {
		return b
	}
	if p.host.load(ctx, p.db, p.schema, wanted) == nil {
		return broken("set up", "the database takes a state that is held to be wrong: %s", wrong)
	}
	return nil
}

// names tells whether an error names a record, a constraint, or a table of the host that
// refers to records.
func (p *playedRound) names(err error) bool {
	if about := (*backup.RecordError)(nil); errors.As(err, &about) && about.Key != "" {
		return true
	}
	text := err.Error()
	for i, t := range p.schema.tables {
		if t.undeclared && strings.Contains(text, strconv.Quote(t.name)) {
			return true
		}
		for _, u := range t.uniques {
			if strings.Contains(text, u.name) {
				return true
			}
		}
		for _, f := range t.references {
			if strings.Contains(text, f.name) {
				return true
			}
		}
		for key := range p.before[i] {
			if strings.Contains(text, t.name) && strings.Contains(text, strconv.Quote(key)) {
				return true
			}
		}
	}
	return strings.Contains(text, forbidden)
}

// said returns the state that the changes of a plan lead to.
func (p *playedRound) said(ctx context.Context, plan *manager.Plan) (heldState, *brokenPromise) {
	said := make(heldState, len(p.before))
	for i, rows := range p.before {
		said[i] = map[string][]string{}
		for key, texts := range rows {
			said[i][key] = slices.Clone(texts)
		}
	}
	counts := map[string]map[backup.Action]int64{}
	skipped := make([]map[string]bool, len(said))
	for change, err := range plan.Changes(ctx) {
		if err != nil {
			return nil, broken("changes of the plan", "%v", err)
		}
		i := slices.IndexFunc(p.schema.tables, func(t randomTable) bool { return t.name == change.Collection })
		t := &p.schema.tables[i]
		if counts[t.name] == nil {
			counts[t.name], skipped[i] = map[backup.Action]int64{}, map[string]bool{}
		}
		counts[t.name][change.Action]++
		switch change.Action {
		case backup.Skip:
			skipped[i][change.Key] = true
			continue
		case backup.Delete:
			delete(said[i], change.Key)
			continue
		case backup.Add:
			said[i][change.Key] = slices.Repeat([]string{"NULL"}, len(t.columns))
		}
		row := said[i][change.Key]
		if row == nil {
			return nil, broken("changes of the plan", "%s %s %s, which the host does not have", change.Action, change.Collection, change.Key)
		}
		for _, f := range change.Fields {
			c := t.column(strings.TrimPrefix(f.Pointer, "/"))
			if c < 0 {
				return nil, broken("changes of the plan", "%s %s %s: pointer %q", change.Action, change.Collection, change.Key, f.Pointer)
			}
			row[c] = jsonText(f.After)
		}
	}
	for _, c := range plan.Report().Collections {
		n := counts[c.Name]
		off := n[backup.Add] - c.Added + n[backup.Update] - c.Updated + n[backup.Skip] - c.Skipped
		if off < 0 || off > c.Altered || n[backup.Delete]-c.Deleted > c.Extra || n[backup.Delete] < c.Deleted {
			return nil, broken("changes of the plan", "%v, and in the report %+v", n, c)
		}
	}
	wanted := p.wanted()
	want, got := p.schema.held(wanted), slices.Clone(said)
	if p.skipClashes && (p.schema.wrong(wanted) != "" || len(p.schema.triggers) > 0) {
		// What clashes stays as it is, also because a trigger lets a row stay.
		for i, keys := range skipped {
			got[i] = maps.Clone(got[i])
			for key := range keys {
				delete(want[i], key)
				delete(got[i], key)
			}
		}
	}
	if b := p.compare("changes of the plan", want, got, plan.Report()); b != nil {
		return nil, b
	}
	return said, nil
}

// differences compares the declared tables of two states, or the others.
func (p *playedRound) differences(want, got heldState, undeclared bool) (differs []string) {
	for i := range p.schema.tables {
		t := &p.schema.tables[i]
		if t.undeclared != undeclared {
			continue
		}
		keys := maps.Clone(want[i])
		maps.Copy(keys, got[i])
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			if !slices.Equal(want[i][key], got[i][key]) {
				differs = append(differs, fmt.Sprintf("%s %s: want %v, got %v", t.name, key, want[i][key], got[i][key]))
			}
		}
	}
	return differs
}

// hostIs makes sure that the database is in a state.
func (p *playedRound) hostIs(step string, want heldState) *brokenPromise {
	got, err := p.host.read(context.Background(), p.db, p.schema)
	if err != nil {
		return broken("read", "%v", err)
	}
	if differs := append(p.differences(want, got, false), p.differences(want, got, true)...); len(differs) > 0 {
		return broken(step, "the host is not as it was:\n%s", strings.Join(differs, "\n"))
	}
	return nil
}

// compare compares the declared tables with what was said, except for the records that
// the report names.
func (p *playedRound) compare(step string, want, got heldState, report backup.Report) *brokenPromise {
	want, got = slices.Clone(want), slices.Clone(got)
	for i := range p.schema.tables {
		t := &p.schema.tables[i]
		at := slices.IndexFunc(report.Collections, func(c backup.CollectionReport) bool { return c.Name == t.name })
		if at < 0 {
			continue
		}
		keys, all := changedByHost(report.Collections[at])
		if !all {
			want[i], got[i] = nil, nil
			continue
		}
		want[i], got[i] = maps.Clone(want[i]), maps.Clone(got[i])
		for _, key := range keys {
			delete(want[i], key)
			delete(got[i], key)
		}
	}
	if differs := p.differences(want, got, false); len(differs) > 0 {
		return broken(step, "differs, and no report names these:\n%s", strings.Join(differs, "\n"))
	}
	return nil
}

// others makes sure that of the tables that are not declared, only what the actions of
// foreign keys say has changed.
func (p *playedRound) others(step string, before, after heldState) *brokenPromise {
	want := slices.Clone(before)
	after = slices.Clone(after)
	for i := range p.schema.tables {
		t := &p.schema.tables[i]
		if !t.undeclared {
			continue
		}
		want[i] = map[string][]string{}
		for key, row := range before[i] {
			if row = p.acted(t, row, after); row != nil {
				want[i][key] = row
			}
		}
		if t.name == "audit" {
			after[i] = maps.Clone(after[i])
			maps.DeleteFunc(after[i], func(key string, _ []string) bool { return before[i][key] == nil })
		}
	}
	if differs := p.differences(want, after, true); len(differs) > 0 {
		return broken(step, "a table that is not declared:\n%s", strings.Join(differs, "\n"))
	}
	return nil
}

// acted returns what a foreign key leaves of a row of the host.
func (p *playedRound) acted(t *randomTable, row []string, after heldState) []string {
	pick := func(row []string, columns []int) (texts []string) {
		for _, c := range columns {
			texts = append(texts, row[c])
		}
		return texts
	}
	for _, f := range t.references {
		texts := pick(row, f.columns)
		held := slices.Contains(texts, "NULL")
		for _, parent := range after[f.parent] {
			held = held || slices.Equal(pick(parent, f.to), texts)
		}
		switch {
		case held:
		case f.onDelete == "CASCADE":
			return nil
		case f.onDelete == "SET NULL":
			row = slices.Clone(row)
			for _, c := range f.columns {
				row[c] = "NULL"
			}
		}
	}
	return row
}

// reportText returns all of a report but times and names of backups.
func reportText(r backup.Report) string {
	r.Duration, r.UndoneBy = 0, ""
	text, err := json.Marshal(r)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// changedByHost returns the records that the report names as altered, added or removed by
// the host itself, and whether it names all of them.
func changedByHost(c backup.CollectionReport) (keys []string, all bool) {
	keys = slices.Concat(c.AlteredKeys, c.ExtraKeys)
	return keys, int64(len(keys)) == c.Altered+c.Extra
}

// named tells whether a report names records that the host has changed by itself.
func named(r backup.Report) bool {
	return slices.ContainsFunc(r.Collections, func(c backup.CollectionReport) bool {
		keys, all := changedByHost(c)
		return len(keys) > 0 || !all
	})
}

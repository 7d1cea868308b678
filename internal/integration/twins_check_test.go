//go:build !race

package integration

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tomo-project/backup"
)

// check compares what a restore has made with what it says, and with the rules.
func (p *playedTwins) check(report backup.Report, after twinState) *brokenPromise {
	v, moves, out := p.verdict, reportedMoves(report), map[string]map[string]bool{}
	for _, t := range p.schema.collections {
		out[t.Name] = map[string]bool{}
	}
	for _, about := range report.LeftOut {
		out[about.Collection][about.Key] = true
	}
	if wrong := p.schema.wrong(after); wrong != "" {
		return broken("end state", "%s", wrong)
	}
	if v.clashed() && !p.skipClashes && v.unsure == "" {
		return broken("plan", "says yes where there are clashes: %s", v)
	}
	if b := p.checkLost(after, moves, out); b != nil {
		return b
	}
	if v.unsure == "" {
		if b := p.checkMoves(moves, out); b != nil {
			return b
		}
		if b := p.checkLeftOut(out); b != nil {
			return b
		}
	}
	if b := p.checkSense(moves, out); b != nil {
		return b
	}
	want := p.result(moves, out)
	var differs []string
	for _, t := range p.schema.collections {
		for _, key := range slices.Sorted(maps.Keys(union(want[t.Name], after[t.Name]))) {
			w, g := "nothing", "nothing"
			if r := want[t.Name][key]; r != nil {
				w = p.comparable(r)
			}
			if r := after[t.Name][key]; r != nil {
				g = p.comparable(r)
			}
			if w != g {
				differs = append(differs, fmt.Sprintf("%s %s: want %s, got %s", t.Name, key, w, g))
			}
		}
	}
	if len(differs) > 0 {
		return broken("end state", "%s\nwith the keys %v, without %s", strings.Join(differs, "\n"), moves, keysIn(out))
	}
	return p.checkCounts(report, after, moves, out)
}

// comparable returns a record as a database keeps it, where absent is null.
func (p *playedTwins) comparable(r twinRecord) string {
	if p.schema.name == "map" {
		return r.text()
	}
	r = r.clone()
	maps.DeleteFunc(r, func(_ string, v any) bool { return v == nil && len(r) > 1 })
	return r.text()
}

func keysIn(sets map[string]map[string]bool) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		if keys := slices.Sorted(maps.Keys(sets[name])); len(keys) > 0 {
			fmt.Fprintf(&b, "%s %v ", name, keys)
		}
	}
	return b.String()
}

// checkLost makes sure that skip and merge lose nothing that the host has.
func (p *playedTwins) checkLost(after twinState, moves twinMoves, out map[string]map[string]bool) *brokenPromise {
	for _, t := range p.schema.collections {
		strategy := p.strategyOf(t)
		if strategy == backup.Replace {
			continue
		}
		arrived := map[string]bool{}
		for key := range p.saved[t.Name] {
			if !out[t.Name][key] {
				arrived[moves.of(t.Name, key)] = true
			}
		}
		for key, r := range p.found[t.Name] {
			now := after[t.Name][key]
			if now == nil {
				return broken("end state", "%s %s of the host is gone", t.Name, key)
			}
			if (strategy != backup.Merge || !arrived[key]) && p.comparable(now) != p.comparable(r) {
				return broken("end state", "%s %s of the host has changed: %s, and was %s", t.Name, key, now.text(), r.text())
			}
		}
	}
	return nil
}

// checkMoves compares the keys of a report with those that the rules ask for.
func (p *playedTwins) checkMoves(moves twinMoves, out map[string]map[string]bool) *brokenPromise {
	fresh := twinMoves{} // what stands for a fresh key → the key
	for _, t := range p.schema.collections {
		for key, want := range p.verdict.moves[t.Name] {
			if strings.HasPrefix(want, freshTwin) && !out[t.Name][key] {
				if fresh[t.Name] == nil {
					fresh[t.Name] = map[string]string{}
				}
				fresh[t.Name][want] = moves.of(t.Name, key)
			}
		}
	}
	for _, t := range p.schema.collections {
		for key := range p.saved[t.Name] {
			if out[t.Name][key] || p.clashing() {
				continue
			}
			want, got := p.verdict.moves.of(t.Name, key), moves.of(t.Name, key)
			if !t.ownKey {
				// The key follows its parents, which may have fresh keys.
				want = t.keyOf(p.follow(t, p.saved[t.Name][key], fresh))
				if t.Unique != nil && p.verdict.moves.of(t.Name, key) != t.keyOf(p.verdict.moves.rewritten(t, p.saved[t.Name][key])) {
					want = p.verdict.moves.of(t.Name, key) // a twin
				}
			}
			if now, ok := fresh[t.Name][want]; ok {
				want = now
			}
			if want != got {
				return broken("keys", "%s %s should come under %s, and comes under %s: %s", t.Name, key, want, got, p.verdict)
			}
		}
	}
	return nil
}

// clashing tells whether records are left out, on which others may depend.
func (p *playedTwins) clashing() bool { return p.verdict.clashed() }

// follow returns a record that refers to what the verdict says, with fresh keys filled in.
func (p *playedTwins) follow(t *twinTable, r twinRecord, fresh twinMoves) twinRecord {
	return fresh.rewritten(t, p.verdict.moves.rewritten(t, r))
}

// checkLeftOut makes sure that what clashes is left out, and no more than that and what
// refers to it.
func (p *playedTwins) checkLeftOut(out map[string]map[string]bool) *brokenPromise {
	may := map[string]map[string]bool{}
	for _, t := range p.schema.collections {
		may[t.Name] = maps.Clone(p.verdict.clashes[t.Name])
		maps.Copy(may[t.Name], p.verdict.maybe[t.Name])
		for key := range p.verdict.certain[t.Name] {
			if !out[t.Name][key] {
				return broken("left out", "%s %s clashes, and is not left out", t.Name, key)
			}
		}
	}
	wrong := p.schema.wrong(p.result(p.verdict.moves, nil)) != "" // by what matches nothing
	for again := true; again && !wrong; {
		again = false
		for _, t := range p.schema.collections {
			for key, r := range p.saved[t.Name] {
				for _, f := range t.Refs {
					refersTo(r, f, func(to string, _ func(string)) {
						if may[f.Collection][to] && !may[t.Name][key] {
							may[t.Name][key], again = true, true
						}
					})
				}
			}
		}
	}
	for _, t := range p.schema.collections {
		for key := range out[t.Name] {
			if !may[t.Name][key] && !wrong {
				return broken("left out", "%s %s is left out, and clashes with nothing", t.Name, key)
			}
		}
	}
	return nil
}

// checkSense makes sure that each move has a reason, and that nothing refers by its old
// key to a record that is left out, where that is another thing.
func (p *playedTwins) checkSense(moves twinMoves, out map[string]map[string]bool) *brokenPromise {
	for _, t := range p.schema.collections {
		arrived := map[string]string{}
		for _, key := range slices.Sorted(maps.Keys(p.saved[t.Name])) {
			r := p.saved[t.Name][key]
			now := moves.of(t.Name, key)
			if out[t.Name][key] {
				if now != key && p.found[t.Name][now] == nil {
					return broken("keys", "%s %s is left out, and has the new key %s, which is not there", t.Name, key, now)
				}
				continue
			}
			if other, ok := arrived[now]; ok {
				return broken("keys", "%s %s and %s both come under %s", t.Name, other, key, now)
			}
			arrived[now] = key
			incoming := moves.rewritten(t, r)
			if why := p.senseless(t, key, now, incoming); why != "" {
				return broken("keys", "%s %s comes under %s: %s", t.Name, key, now, why)
			}
			if p.strategyOf(t) != backup.Replace && p.found[t.Name][now] != nil && p.strategyOf(t) != backup.Merge {
				continue // the host's stays
			}
			for _, f := range t.Refs {
				parent, astray := p.schema.table(f.Collection), ""
				refersTo(r, f, func(to string, _ func(string)) {
					if out[parent.Name][to] && moves.of(parent.Name, to) == to && p.foreign && parent.numbered && len(parent.Unique) > 0 && p.strategyOf(parent) != backup.Replace {
						astray = to
					}
				})
				if astray != "" {
					return broken("end state", "%s %s refers to %s %s, which was left out", t.Name, key, f.Collection, astray)
				}
			}
		}
		for key := range moves[t.Name] {
			if p.saved[t.Name][key] == nil {
				return broken("keys", "%s %s is said to have another key, and the snapshot does not have it", t.Name, key)
			}
		}
	}
	return nil
}

// senseless tells what is wrong with the key that a record gets.
func (p *playedTwins) senseless(t *twinTable, key, now string, incoming twinRecord) string {
	there := p.found[t.Name][now]
	without := p.foreign && t.numbered && len(t.Unique) > 0 && p.strategyOf(t) != backup.Replace
	twin := there != nil && slices.ContainsFunc(t.Unique, func(u string) bool {
		a, ok := t.unique(incoming, u)
		b, too := t.unique(there, u)
		return ok && too && a == b
	})
	switch {
	case twin && p.strategyOf(t) != backup.Replace:
	case without && now == key && there != nil && t.under(incoming, now).text() != there.text():
		return "that is another thing"
	case now == t.keyOf(incoming):
	case !without:
		return "it is no twin"
	case there != nil:
		return "that is another thing"
	case p.found[t.Name][key] == nil:
		return "its own key is free"
	default:
		n, err := strconv.Atoi(now)
		if err != nil || n <= p.highest[t.Name] {
			return fmt.Sprint("a fresh key is above ", p.highest[t.Name])
		}
		if p.saved[t.Name][now] != nil {
			return "a record of the snapshot has that"
		}
	}
	return ""
}

// checkCounts holds the sums of a report against the states.
func (p *playedTwins) checkCounts(report backup.Report, after twinState, moves twinMoves, out map[string]map[string]bool) *brokenPromise {
	if len(report.Collections) != len(p.schema.collections) {
		return broken("report", "%d collections", len(report.Collections))
	}
	for _, c := range report.Collections {
		t := p.schema.table(c.Name)
		want := backup.CollectionReport{Records: int64(len(p.saved[t.Name])), Rekeyed: int64(len(moves[t.Name]))}
		arrived := map[string]bool{}
		for key, r := range p.saved[t.Name] {
			now := moves.of(t.Name, key)
			there := p.found[t.Name][now]
			if !out[t.Name][key] {
				arrived[now] = true
			}
			switch incoming := t.under(moves.rewritten(t, r), now); {
			case out[t.Name][key]:
				want.Skipped++
			case there == nil:
				want.Added++
			case p.comparable(after[t.Name][now]) != p.comparable(there):
				want.Updated++
			case p.strategyOf(t) == backup.SkipDuplicates && p.comparable(incoming) != p.comparable(there):
				want.Skipped++
			default:
				want.Unchanged++
			}
		}
		for key := range p.found[t.Name] {
			if after[t.Name][key] == nil {
				want.Deleted++
			}
		}
		got := backup.CollectionReport{
			Records: c.Records, Added: c.Added, Updated: c.Updated, Unchanged: c.Unchanged, Skipped: c.Skipped, Deleted: c.Deleted, Rekeyed: c.Rekeyed,
		}
		if !sameCounts(want, got) {
			return broken("report", "%s: want %+v, got %+v", c.Name, want, got)
		}
		if c.Records != c.Added+c.Updated+c.Unchanged+c.Skipped+c.Altered {
			return broken("report", "%s: the sum is not right: %+v", c.Name, c)
		}
		if p.foreign && t.numbered && len(t.Unique) == 0 && p.strategyOf(t) != backup.Replace && len(p.saved[t.Name]) > 0 && len(p.found[t.Name]) > 0 &&
			!slices.ContainsFunc(report.Warnings, func(w string) bool { return strings.Contains(w, t.Name) }) {
			return broken("report", "nothing warns of %s, whose numbers say nothing: %v", t.Name, report.Warnings)
		}
	}
	return nil
}

func sameCounts(a, b backup.CollectionReport) bool {
	return a.Records == b.Records && a.Added == b.Added && a.Updated == b.Updated && a.Unchanged == b.Unchanged &&
		a.Skipped == b.Skipped && a.Deleted == b.Deleted && a.Rekeyed == b.Rekeyed
}

//go:build !race

package integration

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// String returns all that is needed to see what a round does.
func (r *randomRound) String() string {
	create, _ := r.schema.createTriggers()
	for i := range create {
		create[i] += ";\n"
	}
	collections := "of Describe"
	if !r.described {
		var names []string
		for _, i := range r.order {
			if t := &r.schema.tables[i]; !t.undeclared && !t.gone {
				names = append(names, t.name)
			}
		}
		collections = strings.Join(names, ", ")
	}
	opts := r.options()
	return fmt.Sprintf("strategy %s %v, only %v, skip clashes %v, at once %v, collections %s\n-- schema\n%s%s-- the backup\n%s\n-- the host\n%s\n",
		opts.Strategy, opts.Strategies, opts.Only, r.skipClashes, r.atOnce, collections, r.schema.create(), strings.Join(create, ""), r.schema.fill(r.saved), r.schema.fill(r.found))
}

var varying = regexp.MustCompile(`"(\\.|[^"\\])*"|'[^']*'|\d+|alpha|beta|gamma|delta|\S+\.json`)

// kind is the same for failures of one kind.
func (b *brokenPromise) kind() string {
	what := varying.ReplaceAllString(b.what, "…")
	return b.step + ": " + what[:min(len(what), 90)]
}

// shrink returns a smaller round that fails in the same way, and how it fails, as far as
// it finds one in the time that it has.
func (r *randomRound) shrink(b *brokenPromise, most time.Duration, play func(*randomRound) *brokenPromise) (*randomRound, *brokenPromise) {
	end := time.Now().Add(most)
	for again := true; again; {
		again = false
		for at, found := 0, true; found; {
			n := -1
			found = false
			for smaller := range r.smaller {
				// What did not help is tried again only when the rest was.
				if n++; n < at || smaller.schema.wrong(smaller.saved) != "" || smaller.schema.wrong(smaller.found) != "" {
					continue
				}
				if time.Now().After(end) {
					return r, b
				}
				if less := play(smaller); less != nil && less.kind() == b.kind() {
					r, b, at, found, again = smaller, less, n, true, true
					break
				}
			}
		}
	}
	return r, b
}

// smaller yields rounds that lack something each.
func (r *randomRound) smaller(yield func(*randomRound) bool) {
	for n := range r.schema.triggers {
		if !yield(r.with(func(s *randomSchema) { s.triggers = slices.Delete(s.triggers, n, n+1) })) {
			return
		}
	}
	for i := range r.schema.tables {
		if r.unused(i) && !yield(r.with(func(s *randomSchema) { s.tables[i].gone = true })) {
			return
		}
	}
	for i := range r.schema.tables {
		t := &r.schema.tables[i]
		all := map[string]bool{}
		for _, row := range slices.Concat(r.saved[i], r.found[i]) {
			all[row.keyOf(t)] = true
		}
		for size := len(all); size > 0; size /= 2 {
			for keys := range slices.Chunk(slices.Sorted(maps.Keys(all)), size) {
				for _, from := range []struct{ saved, found bool }{{true, true}, {true, false}, {false, true}} {
					if smaller := r.without(i, keys, from.saved, from.found); smaller != nil && !yield(smaller) {
						return
					}
				}
			}
		}
	}
	for i, t := range r.schema.tables {
		for n := range t.references {
			if !r.counted(i) && !yield(r.with(func(s *randomSchema) { s.tables[i].references = slices.Delete(s.tables[i].references, n, n+1) })) {
				return
			}
		}
		for n, u := range t.uniques {
			if !r.referred(i, u) && !yield(r.with(func(s *randomSchema) { s.tables[i].uniques = slices.Delete(s.tables[i].uniques, n, n+1) })) {
				return
			}
		}
	}
}

// without returns a round without some rows of table i, or nil if it has none of them.
func (r *randomRound) without(i int, keys []string, saved, found bool) *randomRound {
	smaller := r.with(func(*randomSchema) {})
	drop := func(state randomState) bool {
		n := len(state[i])
		state[i] = slices.DeleteFunc(state[i], func(row randomRow) bool { return slices.Contains(keys, row.keyOf(&r.schema.tables[i])) })
		r.schema.mend(state)
		return len(state[i]) < n
	}
	if saved && !drop(smaller.saved) || found && !drop(smaller.found) {
		return nil
	}
	return smaller
}

// with returns a copy of the round with another schema.
func (r *randomRound) with(change func(*randomSchema)) *randomRound {
	smaller, s := *r, *r.schema
	s.triggers, s.tables = slices.Clone(s.triggers), slices.Clone(s.tables)
	for i := range s.tables {
		s.tables[i].references, s.tables[i].uniques = slices.Clone(s.tables[i].references), slices.Clone(s.tables[i].uniques)
	}
	change(&s)
	smaller.schema, smaller.saved, smaller.found = &s, r.saved.clone(), r.found.clone()
	return &smaller
}

// unused tells whether a table has no rows, and nothing is about it.
func (r *randomRound) unused(i int) bool {
	t := &r.schema.tables[i]
	audits := func(trigger randomTrigger) bool { return trigger.what == "audit" && t.name == "audit" }
	used := func(trigger randomTrigger) bool {
		return trigger.table == i || trigger.child == i && trigger.what != "audit" || audits(trigger)
	}
	if t.gone || len(r.saved[i])+len(r.found[i]) > 0 || slices.ContainsFunc(r.schema.triggers, used) {
		return false
	}
	for other, t := range r.schema.tables {
		if other != i && !t.gone && slices.ContainsFunc(t.references, func(f randomReference) bool { return f.parent == i }) {
			return false
		}
	}
	return true
}

// counted tells whether a trigger follows a reference of table i.
func (r *randomRound) counted(i int) bool {
	return slices.ContainsFunc(r.schema.triggers, func(t randomTrigger) bool { return t.child == i && (t.what == "counter" || t.what == "default") })
}

// referred tells whether a foreign key needs a unique constraint of table i.
func (r *randomRound) referred(i int, u randomUnique) bool {
	for _, t := range r.schema.tables {
		if !t.gone && slices.ContainsFunc(t.references, func(f randomReference) bool { return f.parent == i && !f.toKey && slices.Equal(f.to, u.columns) }) {
			return true
		}
	}
	return false
}

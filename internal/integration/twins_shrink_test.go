//go:build !race

package integration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tomo-project/backup"
)

// String returns all that is needed to see what a round does.
func (r *twinRound) String() string {
	var b strings.Builder
	from, to := r.installations()
	fmt.Fprintf(&b, "strategy %s %v, skip clashes %v, from %s to %s, at once %v, highest %v\n", r.strategy, r.strategies, r.skipClashes, from, to, r.atOnce, r.highest)
	for _, i := range r.schema.order {
		t := r.schema.collections[i]
		fmt.Fprintf(&b, "%s: key %s, numbered %v, unique %q (%v are not the database's), refs %v\n", t.Name, t.Key, t.numbered, t.Unique, t.loose, t.Refs)
	}
	for _, side := range []struct {
		name  string
		state twinState
	}{{"the snapshot", r.saved}, {"the host", r.found}} {
		fmt.Fprintf(&b, "-- %s\n", side.name)
		for _, t := range r.schema.collections {
			for _, key := range slices.Sorted(maps.Keys(side.state[t.Name])) {
				fmt.Fprintf(&b, "%s %s %s\n", t.Name, key, side.state[t.Name][key].text())
			}
		}
	}
	fmt.Fprintf(&b, "-- the rules\n%s\n", r.verdict())
	return b.String()
}

// shrink returns a smaller round that fails in the same way, and how it fails, as far as
// it finds one in the time that it has.
func (r *twinRound) shrink(b *brokenPromise, most time.Duration, play func(*twinRound) *brokenPromise) (*twinRound, *brokenPromise) {
	end := time.Now().Add(most)
	for again := true; again; {
		again = false
		for smaller := range r.smaller {
			if time.Now().After(end) {
				return r, b
			}
			if smaller.schema.wrong(smaller.saved) != "" || smaller.schema.wrong(smaller.found) != "" {
				continue
			}
			if less := play(smaller); less != nil && less.kind() == b.kind() {
				r, b, again = smaller, less, true
				break
			}
		}
	}
	return r, b
}

func (r *twinRound) with(change func(*twinRound)) *twinRound {
	smaller, s := *r, *r.schema
	smaller.schema, smaller.saved, smaller.found = &s, r.saved.clone(), r.found.clone()
	smaller.strategies, smaller.highest = maps.Clone(r.strategies), maps.Clone(r.highest)
	s.collections = slices.Clone(s.collections)
	for i, t := range s.collections {
		copied := *t
		copied.Unique, copied.Refs, copied.fields = slices.Clone(t.Unique), slices.Clone(t.Refs), slices.Clone(t.fields)
		s.collections[i] = &copied
	}
	change(&smaller)
	return &smaller
}

// smaller yields rounds that lack something each.
func (r *twinRound) smaller(yield func(*twinRound) bool) {
	for i, t := range r.schema.collections {
		referred := slices.ContainsFunc(r.schema.collections, func(other *twinTable) bool {
			return other.Name != t.Name && slices.ContainsFunc(other.Refs, func(f backup.Ref) bool { return f.Collection == t.Name })
		})
		if !referred && len(r.schema.collections) > 1 && !yield(r.with(func(r *twinRound) {
			s := r.schema
			delete(r.saved, t.Name)
			delete(r.found, t.Name)
			delete(r.strategies, t.Name)
			s.collections = slices.Delete(s.collections, i, i+1)
			s.order = slices.DeleteFunc(slices.Clone(s.order), func(at int) bool { return at == i })
			for n, at := range s.order {
				if at > i {
					s.order[n] = at - 1
				}
			}
		})) {
			return
		}
	}
	for _, t := range r.schema.collections {
		for _, key := range slices.Sorted(maps.Keys(union(r.saved[t.Name], r.found[t.Name]))) {
			for _, from := range []struct{ saved, found bool }{{true, true}, {true, false}, {false, true}} {
				if from.saved && r.saved[t.Name][key] == nil || from.found && r.found[t.Name][key] == nil {
					continue
				}
				if !yield(r.with(func(r *twinRound) {
					if from.saved {
						delete(r.saved[t.Name], key)
						r.schema.mend(r.saved)
					}
					if from.found {
						delete(r.found[t.Name], key)
						r.schema.mend(r.found)
					}
				})) {
					return
				}
			}
		}
	}
	for i, t := range r.schema.collections {
		for n := range t.Unique {
			if !yield(r.with(func(r *twinRound) {
				r.schema.collections[i].Unique = slices.Delete(r.schema.collections[i].Unique, n, n+1)
			})) {
				return
			}
		}
		for n, f := range t.Refs {
			held := slices.ContainsFunc(fieldsOf(f.Pointer), func(name string) bool { return slices.Contains(t.keyFields(), name) })
			if !held && t.Shape != backup.Map && !yield(r.with(func(r *twinRound) { r.schema.collections[i].Refs = slices.Delete(r.schema.collections[i].Refs, n, n+1) })) {
				return
			}
		}
	}
	for _, change := range []func(*twinRound){
		func(r *twinRound) { r.strategies = nil }, func(r *twinRound) { r.highest = nil }, func(r *twinRound) { r.skipClashes = false },
		func(r *twinRound) { r.foreign = false }, func(r *twinRound) { r.atOnce = true },
	} {
		if smaller := r.with(change); smaller.flags() != r.flags() && !yield(smaller) {
			return
		}
	}
}

func (r *twinRound) flags() string {
	return fmt.Sprint(r.strategies, r.highest, r.skipClashes, r.foreign, r.atOnce)
}

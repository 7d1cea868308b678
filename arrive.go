package backup

import (
	"fmt"
	"slices"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
)

// Under which keys the records of one collection arrive, by what was decided of them.

// settleKeys finds the texts of the keys, and remembers which records move.
func (m *matching) settleKeys() error {
	texts, err := m.hostKeys()
	if err != nil {
		return err
	}
	fresh, err := m.freshKeys()
	if err != nil {
		return err
	}
	out, n := newMoves(), 0
	err = m.incoming.eachBatch(m.ctx, m.col, func(b *batch) error {
		if n+len(b.items) > len(m.meets) {
			return moreThanBefore(m.col)
		}
		if err := m.rekey(m.col, b); err != nil {
			return err
		}
		for i := range b.items {
			r := &b.items[i]
			to, met := r.key, m.meets[n+i]
			if met.how == isTwin {
				to = texts[met.twin]
				if m.spares(m.col.Name, to) && m.strategy(m.col) != SkipDuplicates {
					met.how = isSpared
				}
			}
			switch {
			case met.how == isNew:
				to, fresh = fresh[0], fresh[1:]
			case met.how > unclear:
				found, _ := m.sightings(n + i)
				if to, err = m.clash(r, found, met.how, texts); err != nil {
					return err
				}
			}
			if source := r.source(); to != source {
				out.add(source, to)
				if met.how == stays || met.how == unclear {
					out.derived[source] = true
				}
			}
		}
		n += len(b.items)
		return m.ctx.Err()
	})
	if err != nil {
		return err
	}
	m.moves[m.col.Name] = out
	if err := m.compareUnclear(out); err != nil {
		return err
	}
	if len(out.to) == 0 {
		delete(m.moves, m.col.Name)
	}
	return nil
}

// compareUnclear compares the records of which no Unique tells whether they are those of the
// host, now that the references in them are known. Those that differ clash.
func (m *matching) compareUnclear(out *moves) error {
	if !slices.ContainsFunc(m.meets, func(met meeting) bool { return met.how == unclear }) {
		return nil
	}
	n := 0
	return m.eachBatch(m.ctx, m.col, func(b *batch) error {
		if n+len(b.items) > len(m.meets) {
			return moreThanBefore(m.col)
		}
		var in []*item
		var keys []string
		for i := range b.items {
			if m.meets[n+i].how == unclear {
				in, keys = append(in, &b.items[i]), append(keys, b.items[i].key)
			}
		}
		n += len(b.items)
		held, err := m.lookup(m.col, keys)
		if err != nil {
			return err
		}
		for _, r := range in {
			if here := held[r.key]; here != nil && codec.Equal(here, r.value) {
				continue
			}
			if _, err := m.clash(r, nil, unclear, nil); err != nil {
				return err
			}
			out.add(r.source(), nowhere)
		}
		return m.ctx.Err()
	})
}

// hostKeys returns the texts of the keys of the host's records that records of the snapshot
// have met, by their hashes.
func (m *matching) hostKeys() (map[uint64]string, error) {
	texts := make(map[uint64]string)
	for i, met := range m.meets {
		switch met.how {
		case isTwin:
			texts[met.twin] = ""
		case hasTwo, hasBoth, isShared, isSpared:
			found, _ := m.sightings(i)
			for _, s := range found {
				texts[s.key] = ""
			}
		}
	}
	if len(texts) == 0 {
		return texts, nil
	}
	for key, err := range m.host.Keys(m.ctx, m.col.Name) {
		if err != nil {
			return nil, fmt.Errorf("read the keys of %s from the host: %w", m.col.Name, err)
		}
		hash := m.hashKey(key)
		if _, wanted := texts[hash]; wanted {
			texts[hash] = key
		}
	}
	return texts, nil
}

// mostFresh is how many keys the store is asked for at a time.
const mostFresh = 1 << 16

// freshKeys returns keys that neither the host nor the snapshot has, for all new records.
func (m *matching) freshKeys() (keys []string, err error) {
	n, asked := 0, 0
	for _, met := range m.meets {
		if met.how == isNew {
			n++
		}
	}
	given := make(map[string]bool)
	for ask := n; len(keys) < n; ask *= 2 {
		ask = min(ask, mostFresh)
		more, err := m.newKeys(ask, given)
		if err != nil {
			return nil, fmt.Errorf("ask the host for %d new keys of %s: %w", ask, m.col.Name, err)
		}
		for _, key := range more {
			if len(keys) < n && !m.seen.keys[m.col.Name].Has(key) && !m.spares(m.col.Name, key) {
				keys = append(keys, key)
			}
		}
		if asked += ask; asked > 2*(n+m.seen.keys[m.col.Name].Len())+2*mostFresh {
			return nil, fmt.Errorf("ask the host for %d new keys of %s: it returned keys of the snapshot only", ask, m.col.Name)
		}
	}
	return keys, nil
}

// newKeys asks the host for new keys, and makes sure that they are new: two records under one
// key would be one. given are those of the calls before.
func (m *matching) newKeys(n int, given map[string]bool) ([]string, error) {
	keys, err := m.host.(numberer).NewKeys(m.ctx, m.col.Name, n)
	if err != nil {
		return nil, err
	}
	if len(keys) != n {
		return nil, fmt.Errorf("it returned %d", len(keys))
	}
	for _, key := range keys {
		if key == nowhere || given[key] {
			return nil, fmt.Errorf("it returned %q, which is empty or was returned before", fault.Shorten(key))
		}
		given[key] = true
	}
	held, err := m.lookup(m.col, keys)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if held[key] != nil {
			return nil, fmt.Errorf("it returned %q, which has a record", fault.Shorten(key))
		}
	}
	return keys, nil
}

// clash names a record that clashes, or leaves it out. It returns the key under which the
// record arrives.
func (m *matching) clash(r *item, found []sighting, how how, texts map[uint64]string) (to string, err error) {
	quote := func(key string) string { return fmt.Sprintf("%q", fault.Shorten(key)) }
	problem := &RecordError{Collection: m.col.Name, Key: r.source(), Offset: r.offset}
	if len(found) > 0 {
		problem.With, problem.Pointer = texts[found[0].key], m.finders[found[0].by].declared.declared
	}
	switch {
	case how == hasTwo:
		problem.Err = fmt.Errorf("%w: %s of the host has the same %s, but %s the same %s", ErrClash,
			quote(problem.With), problem.Pointer, quote(texts[found[1].key]), m.finders[found[1].by].declared.declared)
	case how == unclear || how == hasBoth && m.byUnique:
		problem.With = r.key
		problem.Err = fmt.Errorf("%w: the host has another record under the key %s, and nothing tells whether it is the same", ErrClash, quote(r.key))
	case how == hasBoth:
		problem.Err = fmt.Errorf("%w: %s of the host has the same key, but %s the same %s", ErrClash, quote(r.key), quote(problem.With), problem.Pointer)
	case how == isShared:
		problem.Err = fmt.Errorf("%w: %s of the host has the same %s, but is another record of the snapshot too", ErrClash, quote(problem.With), problem.Pointer)
	case how == isSpared:
		problem.Err = fmt.Errorf("%w: %s of the host has the same %s, and must stay as it is", ErrClash, quote(problem.With), problem.Pointer)
	default:
		problem.Err = fmt.Errorf("%w: with the references that it has in the host, its key becomes %s, as that of another record", ErrClash, quote(r.key))
	}
	to = r.key
	if m.byUnique || how == keyConflict {
		to = nowhere
	}
	if !m.opts.SkipClashes {
		return to, m.clashes.add(problem)
	}
	if m.rejected[m.col.Name][problem.Key] == nil {
		m.leaveBehind(m.col.Name, problem.Key, problem.With, problem)
	}
	return to, nil
}

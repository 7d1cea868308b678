package backup

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tomo-project/backup/internal/codec"
)

// The host may have a record of the snapshot under another key. From the comparison on,
// such a record, and all references to it, have the key of the host.

// moves are the records of a collection that arrive under another key than the snapshot's.
type moves struct {
	to   map[string]string // the snapshot's key → the host's; nowhere if the record is left out, and the host has none
	from map[string]string // the inverse, without nowhere

	// derived has the snapshot's keys of those that only changed with a reference in them.
	derived map[string]bool
}

// nowhere is no key.
const nowhere = ""

func newMoves() *moves {
	return &moves{to: make(map[string]string), from: make(map[string]string), derived: make(map[string]bool)}
}

func (m *moves) add(from, to string) {
	m.to[from] = to
	if to != nowhere {
		m.from[to] = from
	}
}

// checkTwin compares a record with the one of the host whose key it has got. So far, only the
// hashes of their values were compared.
func (c *comparison) checkTwin(col *collection, r *item, existing []byte) error {
	m := c.moves[col.Name]
	if existing == nil || r.from == "" || m == nil || m.derived[r.from] || c.rejected[col.Name][r.from] != nil ||
		slices.ContainsFunc(col.uniques, func(u unique) bool { return u.equal(r.value, existing) }) {
		return nil
	}
	return &RecordError{Collection: col.Name, Key: r.from, Offset: r.offset, With: r.key, Err: errors.New("by chance, two different values look the same; nothing was changed, try again")}
}

// source returns the snapshot's key of the record that arrives under a key of the host, and
// whether there is such a record.
func (c *comparison) source(collection, key string) (from string, ok bool) {
	if m := c.moves[collection]; m != nil {
		if from, ok := m.from[key]; ok {
			return from, true
		}
		if _, away := m.to[key]; away {
			return "", false
		}
	}
	keys := c.seen.keys[collection]
	return key, keys != nil && keys.Has(key)
}

// arrives tells whether a record of the snapshot arrives under a key of the host.
func (c *comparison) arrives(collection, key string) bool {
	_, ok := c.source(collection, key)
	return ok
}

// brings tells whether the restore brings a record under a key of the host.
func (c *comparison) brings(collection, key string) bool {
	from, ok := c.source(collection, key)
	return ok && c.rejected[collection][from] == nil
}

// arrival returns the key under which a record of the snapshot arrives.
func (c *comparison) arrival(collection, key string) string {
	if m := c.moves[collection]; m != nil {
		if to, moved := m.to[key]; moved {
			return to
		}
	}
	return key
}

// rekeys tells whether records of a collection may have to be rewritten.
func (c *comparison) rekeys(col *collection) bool {
	if c.moves[col.Name] != nil {
		return true
	}
	for _, r := range col.refs {
		if c.moves[r.Collection] != nil {
			return true
		}
	}
	return false
}

// rekey gives the records of a batch the keys and the references that they have in the host,
// as far as these are known. It does not change the memory of their values.
func (c *comparison) rekey(col *collection, b *batch) error {
	if !c.rekeys(col) {
		return nil
	}
	for i := range b.items {
		if err := c.rekeyRecord(col, &b.items[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) rekeyRecord(col *collection, r *item) error {
	source, own := r.key, c.moves[col.Name]
	if own != nil {
		if to, moved := own.to[source]; moved && to == nowhere {
			r.from, r.apart = source, true
			return nil
		}
	}
	view := col.view(source, r.value)
	c.findStrays(col, r, view)
	edits := c.newRefs(col, view)
	if to := c.arrival(col.Name, source); to != source {
		edits = setKey(edits, col.Key, col.key, to)
		r.from, r.key, r.rewritten = source, to, true
	}
	if len(edits) == 0 {
		return nil
	}
	old := view
	view, err := codec.Rewrite(old, col.keyPlaces, func(pointer string, old []byte) ([]byte, error) {
		if text, edited := edits[pointer]; edited {
			return keyLiteral(old, text), nil
		}
		return old, nil
	})
	if err != nil {
		return err
	}
	r.torn = c.tears(col, old, view)
	r.value, r.rewritten = col.unview(source, view), true
	if own != nil || col.Shape == Map {
		return nil
	}
	// The collection is not matched yet. A key that holds a reference has changed with it.
	key, err := col.key.Of(r.value)
	if err != nil {
		return &RecordError{Collection: col.Name, Key: source, Offset: r.offset, Err: fmt.Errorf("%w: with the references that it has in the host: %w", ErrInvalid, err)}
	}
	if key != source {
		r.from, r.key = source, key
	}
	return nil
}

// newRefs returns the places of references that change, with the new text of each.
func (c *comparison) newRefs(col *collection, view []byte) (edits map[string]string) {
	for _, r := range col.refs {
		m := c.moves[r.Collection]
		if m == nil {
			continue
		}
		if len(r.key) > 1 {
			if key, ok, _ := r.key.Reference(view); ok && m.to[key] != nowhere {
				edits = setKey(edits, r.Pointer, r.key, m.to[key])
			}
			continue
		}
		codec.Find(view, r.key, func(pointer string, start, end int) error {
			key, err := codec.Identity(view[start:end])
			if to := m.to[key]; err == nil && to != nowhere {
				if edits == nil {
					edits = make(map[string]string)
				}
				edits[pointer] = to
			}
			return nil
		})
	}
	return edits
}

// findStrays finds the references to numbers of another installation that the snapshot does
// not have. The host may have such a number, and so may a record that arrives.
func (c *comparison) findStrays(col *collection, r *item, view []byte) {
	if !slices.ContainsFunc(col.refs, func(r ref) bool { return c.numbers[r.Collection] }) {
		return
	}
	col.eachRef(view, func(target, ref, pointer string, err error) {
		if keys := c.seen.keys[target]; err == nil && c.numbers[target] && keys != nil && !keys.Has(ref) && len(r.strays) < maxProblems {
			r.strays = append(r.strays, stray{col.inside(r.key, pointer), target, ref})
		}
	})
}

// tears tells whether a reference of a rewritten record is not what it should be, because it
// shares a place with another reference or with the key.
func (c *comparison) tears(col *collection, old, now []byte) bool {
	if !col.shares {
		return false
	}
	var want []string
	col.eachRef(old, func(target, ref, _ string, _ error) {
		if to := c.arrival(target, ref); to != nowhere {
			ref = to
		}
		want = append(want, ref)
	})
	torn := false
	col.eachRef(now, func(_, ref, _ string, _ error) {
		torn = torn || len(want) == 0 || ref != want[0]
		want = want[min(1, len(want)):]
	})
	return torn
}

// setKey adds the places of a key, declared as pointers, with the texts of its parts.
func setKey(edits map[string]string, pointers string, key codec.Key, to string) map[string]string {
	parts := []string{to}
	if len(key) > 1 {
		parts, _ = codec.SplitKey(to, len(key))
	}
	if edits == nil {
		edits = make(map[string]string)
	}
	for i, pointer := range strings.Split(pointers, ",") {
		if i < len(parts) {
			edits[pointer] = parts[i]
		}
	}
	return edits
}

// keyLiteral returns a part of a key as JSON: as a number if there was a number before, and
// the text is one.
func keyLiteral(old []byte, text string) []byte {
	if old[0] != '"' && isInteger(text) {
		return []byte(text)
	}
	return codec.Quote(text)
}

// isInteger tells whether a text is an integer of JSON.
func isInteger(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	return digits != "" && strings.Trim(digits, "0123456789") == "" && (digits == "0" || digits[0] != '0')
}

// checkRewritten checks the rewritten records that are put: a key of the host may not be
// what the schema wants, and two references may share a place and need different keys there.
func (c *comparison) checkRewritten(col *collection, b *batch, after []outcome) error {
	again := batch{col: col}
	for i := range b.items {
		r := &b.items[i]
		if r.torn && after[i].put() {
			err := errors.New("with the keys of the host its references cannot all be right: they share a place, or one with its key")
			if err := c.unfit.add(&RecordError{Collection: col.Name, Key: r.key, Offset: r.offset, Err: err}); err != nil {
				return err
			}
			continue
		}
		if r.rewritten && after[i].put() {
			again.addItem(item{key: r.key, value: after[i].value, offset: r.offset})
		}
	}
	if len(again.items) == 0 {
		return nil
	}
	keys := again.keys()
	again.check(c.snapshot.limits, true, nil)
	for i := range again.items {
		r, n := &again.items[i], &again.notes[i]
		var found findings
		switch {
		case n.err != nil:
			found = findings{[]*RecordError{{Collection: col.Name, Key: keys[i], Offset: r.offset, Err: n.err}}, 1}
		case n.wrong > 0:
			found = col.examine(r, c.unfit.room())
		case string(n.key) != keys[i]:
			found = findings{[]*RecordError{col.problem(r, col.Key, fmt.Errorf("its key and its references cannot all be those of the host: they share a place"))}, 1}
		}
		for _, p := range found.list {
			p.Err = fmt.Errorf("with the keys of the host: %w", p.Err)
		}
		if err := c.unfit.addAll(col.Name, found); err != nil {
			return err
		}
	}
	return nil
}

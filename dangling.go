package backup

import (
	"fmt"
	"maps"
	"slices"
)

// checkLeftBehind looks for references to deleted records from records that only the
// host has and that stay.
func (c *comparison) checkLeftBehind() error {
	for _, col := range c.compiled.collections {
		concerned := false
		for _, r := range col.refs {
			concerned = concerned || len(c.deleted[r.Collection]) > 0
		}
		if !concerned {
			continue
		}
		var staying []string
		for key, err := range c.host.Keys(c.ctx, col.Name) {
			if err != nil {
				return fmt.Errorf("read the keys of %s from the host: %w", col.Name, err)
			}
			// A record that the snapshot has too is checked with its batch.
			incoming := c.seen.keys[col.Name] != nil && c.seen.keys[col.Name].Has(key)
			if !incoming && !c.deleted[col.Name][key] {
				staying = append(staying, key)
			}
		}
		slices.Sort(staying)
		for keys := range slices.Chunk(staying, batchSize) {
			found, err := c.lookup(col, keys)
			if err != nil {
				return err
			}
			var after []outcome
			for _, key := range keys {
				if found[key] != nil {
					after = append(after, outcome{key: key, value: found[key], offset: -1, fate: unchanged})
				}
			}
			if err := c.checkRefs(col, after); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkRefs looks for references that will point to nothing after the restore. In a
// record that stays, only references to deleted records count.
func (c *comparison) checkRefs(col *collection, after []outcome) error {
	if len(col.refs) == 0 {
		return nil
	}
	type place struct {
		outcome
		pointer, target, ref string
	}
	var open []place
	wanted := make(map[string]map[string]bool) // target → keys to look up in the host
	for _, r := range after {
		if r.value == nil || !r.put() && len(c.deleted) == 0 {
			continue
		}
		col.eachRef(col.view(r.key, r.value), func(target, ref, pointer string, err error) {
			gone := c.deleted[target][ref]
			known := c.brings(target, ref)
			if err != nil || !gone && (known || !r.put()) {
				return
			}
			open = append(open, place{r, col.inside(r.key, pointer), target, ref})
			if !gone {
				if wanted[target] == nil {
					wanted[target] = make(map[string]bool)
				}
				wanted[target][ref] = true
			}
		})
	}
	exists := make(map[string]map[string][]byte)
	for target, keys := range wanted {
		found, err := c.lookup(c.byName[target], slices.Sorted(maps.Keys(keys)))
		if err != nil {
			return err
		}
		exists[target] = found
	}
	for _, p := range open {
		if exists[p.target][p.ref] != nil {
			continue
		}
		err := fmt.Errorf("refers to %q of %s, which would not exist", p.ref, p.target)
		switch {
		case c.rejected[p.target][p.ref] != nil:
			// It cannot come without that record: transact leaves it out as well.
			err = fmt.Errorf("%w: it refers to %q of %s, which is left out", ErrClash, p.ref, p.target)
		case c.deleted[p.target][p.ref]:
			err = fmt.Errorf("refers to %q of %s, which is not in the snapshot and would be deleted", p.ref, p.target)
		}
		if err := c.dangling.add(&RecordError{Collection: col.Name, Key: p.key, Pointer: p.pointer, Offset: p.offset, Err: err}); err != nil {
			return err
		}
	}
	return nil
}

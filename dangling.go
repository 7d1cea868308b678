package backup

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tomo-project/backup/internal/fault"
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
			if !c.arrives(col.Name, key) && !c.deleted[col.Name][key] {
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
		case c.leftOutAt(p.target, p.ref):
			err = leftOutWith(p.ref, p.target) // transact leaves it out as well
		case c.deleted[p.target][p.ref]:
			err = fmt.Errorf("refers to %q of %s, which is not in the snapshot and would be deleted", p.ref, p.target)
		}
		if err := c.dangling.add(&RecordError{Collection: col.Name, Key: p.key, Pointer: p.pointer, Offset: p.offset, Err: err}); err != nil {
			return err
		}
	}
	return nil
}

// checkForeignRefs looks for references of another installation to numbers that the snapshot
// does not have. The host may have such a number, but of something else.
func (c *comparison) checkForeignRefs(col *collection, b *batch, after []outcome) error {
	known := c.rekeys(col)
	for i := range b.items {
		r := &b.items[i]
		if !after[i].put() {
			continue
		}
		if !known {
			c.findStrays(col, r, col.view(r.key, r.value))
		}
		for _, s := range r.strays {
			if after[i].fate == updated && col.inKey(s.pointer) {
				continue // the key is that of the host's record, and so is what it refers to
			}
			err := fmt.Errorf("refers to %q of %s in another installation, which is not in the snapshot", fault.Shorten(s.ref), s.target)
			if err := c.dangling.add(&RecordError{Collection: col.Name, Key: r.key, Pointer: s.pointer, Offset: r.offset, Err: err}); err != nil {
				return err
			}
		}
	}
	return nil
}

// inKey tells whether all pointers of a reference are pointers of the key.
func (col *collection) inKey(pointers string) bool {
	of := strings.Split(col.Key, ",")
	return !slices.ContainsFunc(strings.Split(pointers, ","), func(p string) bool { return !slices.Contains(of, p) })
}

// leftOutAt tells whether the record that arrives under a key is left out.
func (c *comparison) leftOutAt(collection, key string) bool {
	from, ok := c.source(collection, key)
	return ok && c.rejected[collection][from] != nil
}

// A referrer is a record of the snapshot that refers to another.
type referrer struct {
	col          *collection
	key, pointer string
	offset       int64
}

// leaveReferrers leaves out what refers to records that are left out and that the host
// does not have, and so on along the references.
func (c *comparison) leaveReferrers() error {
	if !c.opts.SkipClashes || len(c.rejected) == 0 {
		return nil
	}
	type record struct{ collection, key string }
	referrers := make(map[record][]referrer)
	for _, col := range c.cols {
		if len(col.refs) == 0 {
			continue
		}
		err := c.incoming.eachBatch(c.ctx, col, func(b *batch) error {
			for _, r := range b.items {
				col.eachRef(col.view(r.key, r.value), func(target, ref, pointer string, err error) {
					if err == nil && c.seen.keys[target] != nil {
						to := record{target, ref}
						referrers[to] = append(referrers[to], referrer{col, r.key, col.inside(r.key, pointer), r.offset})
					}
				})
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	left := make(map[string][]string) // collection → keys
	for name, keys := range c.rejected {
		left[name] = slices.Sorted(maps.Keys(keys))
	}
	for len(left) > 0 {
		next := make(map[string][]string)
		for _, name := range slices.Sorted(maps.Keys(left)) {
			stays, err := c.standIns(name, left[name])
			if err != nil {
				return err
			}
			for _, key := range left[name] {
				if stays[key] {
					continue
				}
				for _, r := range referrers[record{name, key}] {
					if c.rejected[r.col.Name][r.key] != nil {
						continue
					}
					c.leaveBehind(r.col.Name, r.key, "", &RecordError{Pointer: r.pointer, Offset: r.offset, Err: leftOutWith(key, name)})
					next[r.col.Name] = append(next[r.col.Name], r.key)
				}
			}
		}
		left = next
	}
	return nil
}

// standIns tells of records that are left out whether what refers to them stays. It does if
// the host has such a record, or if references may dangle. Where nothing tells which record
// of the host it is, the reference would be to another.
func (c *comparison) standIns(collection string, keys []string) (map[string]bool, error) {
	stays, arrivals := make(map[string]bool), []string(nil)
	for _, key := range keys {
		if to := c.arrival(collection, key); to != nowhere {
			stays[key] = c.opts.AllowDangling
			arrivals = append(arrivals, to)
		}
	}
	found, err := c.lookup(c.byName[collection], arrivals)
	for _, key := range keys {
		if to := c.arrival(collection, key); to != nowhere && found[to] != nil {
			stays[key] = true
		}
	}
	return stays, err
}

// leftOutWith is the reason why a record is left out that refers to another one.
func leftOutWith(key, collection string) error {
	return fmt.Errorf("%w: it refers to %q of %s, which is left out", ErrClash, key, collection)
}

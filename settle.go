package backup

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tomo-project/backup/internal/fault"
)

// What a restore has written is read back before the commit. A host can have rules of
// its own: a trigger that sets a date or keeps a counter, a foreign key that acts. So
// the restore puts right what has come out otherwise, some times over, and names the
// rest in the report.

// mostRounds is how often a restore puts right what the host makes otherwise.
const mostRounds = 3

// change makes the changes that have not been made while comparing, and settles them.
func (c *comparison) change() error {
	if !c.changes() {
		return nil
	}
	if !c.early {
		if err := c.changeAll(); err != nil {
			return err
		}
	}
	for round := 0; ; round++ {
		if err := c.settle(round > 0); err != nil {
			return err
		}
		if err := c.checkUniques(); err != nil {
			return err
		}
		differ, err := c.readBack(round == 0)
		if err != nil {
			return err
		}
		changed := false
		for _, col := range differ {
			if round < mostRounds {
				one, err := c.putRight(col)
				if err != nil {
					return err
				}
				changed = changed || one
			}
		}
		if !changed {
			return c.nameAll(differ)
		}
	}
}

// changes tells whether there is anything to change.
func (c *comparison) changes() bool {
	for _, r := range c.reports {
		if r.Added+r.Updated+r.Deleted > 0 {
			return true
		}
	}
	return false
}

// changeAll makes all changes. It is for a host whose own doing must not get into the
// comparison.
func (c *comparison) changeAll() error {
	for _, col := range c.watched() {
		if err := c.rememberOthers(col); err != nil {
			return err
		}
	}
	for _, col := range slices.Backward(c.cols) {
		for keys := range slices.Chunk(slices.Sorted(maps.Keys(c.deleted[col.Name])), batchSize) {
			if err := c.delete(col, keys); err != nil {
				return err
			}
		}
	}
	c.count, c.bytes = 0, 0
	for _, col := range c.cols {
		err := c.eachFate(col, func(b *batch, fates []fate) error {
			var updates []string
			for i, r := range b.items {
				if fates[i] == updated {
					updates = append(updates, r.key)
				}
				c.bytes += int64(len(r.value))
			}
			var existing map[string][]byte
			if c.strategy(col) == Merge {
				var err error
				if existing, err = c.lookup(col, updates); err != nil {
					return err
				}
			}
			var puts []Record
			for i := range b.items {
				if r := &b.items[i]; fates[i] == added || fates[i] == updated {
					puts = append(puts, Record{r.key, c.wanted(col, r, existing[r.key])})
				}
			}
			c.count += int64(len(b.items))
			c.progress(c.phase(), col)
			return c.put(col, puts)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// wanted returns what a record of the snapshot is to be in the host.
func (c *comparison) wanted(col *collection, r *item, existing []byte) []byte {
	if c.strategy(col) == Merge && existing != nil {
		if merged, found := col.merge(r, existing, c.snapshot.limits); found.total == 0 {
			return merged
		}
	}
	return r.value
}

// settle deletes what the host has made by itself, and lets the host settle.
func (c *comparison) settle(again bool) error {
	if again || !c.early {
		for _, col := range slices.Backward(c.cols) {
			extra, err := c.extra(col)
			if err != nil {
				return err
			}
			for keys := range slices.Chunk(extra, batchSize) {
				if err := c.delete(col, keys); err != nil {
					return err
				}
			}
		}
	}
	if s, ok := c.host.(settler); ok {
		if err := s.Settle(c.ctx); err != nil {
			return fault.Advise(fmt.Errorf("the host does not take the changes: %w", c.veil(err, nil, nil)))
		}
	}
	return nil
}

// extra returns the keys of records that should not be in a collection.
func (c *comparison) extra(col *collection) (keys []string, err error) {
	if !c.sweeps(col) && c.expected[col.Name].others == nil && len(c.deleted[col.Name]) == 0 {
		return nil, nil
	}
	for key, err := range c.host.Keys(c.ctx, col.Name) {
		if err != nil {
			return nil, fmt.Errorf("read the keys of %s from the host: %w", col.Name, err)
		}
		if c.isExtra(col, key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys, nil
}

// putRight puts the records that have come out otherwise. It tells whether there was
// something to do.
func (c *comparison) putRight(col *collection) (changed bool, err error) {
	extra, err := c.extra(col)
	if err != nil {
		return false, err
	}
	changed = len(extra) > 0 // settle deletes them
	var puts []Record
	flush := func() {
		if err == nil {
			err = c.put(col, puts)
		}
		puts = puts[:0]
	}
	read := c.eachOff(col, func(r *item, _ fate, _, right []byte) {
		if right == nil {
			return
		}
		changed = true
		if puts = append(puts, Record{r.key, slices.Clone(right)}); len(puts) == batchSize {
			flush()
		}
	})
	flush()
	if err == nil {
		err = read
	}
	return changed, err
}

// nameAll puts into the report what could not be put right.
func (c *comparison) nameAll(differ []*collection) error {
	for _, col := range differ {
		report := c.reports[col.Name]
		err := c.eachOff(col, func(r *item, of fate, _, _ []byte) {
			*report.count(of)--
			if report.Altered++; len(report.AlteredKeys) < 100 {
				report.AlteredKeys = append(report.AlteredKeys, r.key)
			}
		})
		if err != nil {
			return err
		}
		if err := c.nameOthers(col); err != nil {
			return err
		}
		c.warnAltered(report)
	}
	if c.early {
		return nil
	}
	return c.nameUntouched()
}

// nameUntouched warns about records of collections that are not restored, and that the
// host has changed all the same.
func (c *comparison) nameUntouched() error {
	for _, col := range c.watched()[len(c.cols):] {
		report := &CollectionReport{Name: col.Name}
		c.reports[col.Name] = report
		if err := c.nameOthers(col); err != nil {
			return err
		}
		if report.Extra > 0 {
			c.report.Warnings = append(c.report.Warnings, fmt.Sprintf("%s is not restored, and the host has made, changed or removed records of it (%d): %s%s; an undo does not bring them back",
				col.Name, report.Extra, quoteSome(report.ExtraKeys), c.because()))
		}
	}
	return nil
}

// nameOthers names the records that only the host has and that it has not left alone.
func (c *comparison) nameOthers(col *collection) error {
	e, report := c.expected[col.Name], c.reports[col.Name]
	left := maps.Clone(e.others)
	err := c.eachHeld(col, func(key string, value []byte) {
		switch h, known := e.others[key]; {
		case known:
			if delete(left, key); h != e.hash(value) {
				report.addExtra(key)
			}
		case c.isExtra(col, key):
			if c.deleted[col.Name][key] {
				report.Deleted--
			}
			report.addExtra(key)
		}
	})
	for _, key := range slices.Sorted(maps.Keys(left)) {
		report.addExtra(key)
	}
	return err
}

func (r *CollectionReport) addExtra(key string) {
	if r.Extra++; len(r.ExtraKeys) < 100 {
		r.ExtraKeys = append(r.ExtraKeys, key)
	}
}

// warnAltered says in words what a report counts as Altered and Extra.
func (c *comparison) warnAltered(r *CollectionReport) {
	because := c.because()
	warn := func(n int64, what string, keys []string) {
		if n > 0 {
			c.report.Warnings = append(c.report.Warnings, fmt.Sprintf("%s: %s (%d): %s%s", r.Name, what, n, quoteSome(keys), because))
		}
	}
	warn(r.Altered, "records that did not stay as the restore wrote or found them", r.AlteredKeys)
	if c.picks != nil {
		because += "; an undo does not bring them back"
	}
	warn(r.Extra, "other records that the host made, changed, removed or kept", r.ExtraKeys)
}

// because names what changes records by itself.
func (c *comparison) because() string {
	text := "; the host does that by itself"
	if len(c.effects) > 0 {
		text += ", probably by " + strings.Join(c.effects[:min(len(c.effects), 10)], ", ")
	}
	return text
}

// quoteSome lists the first of many keys.
func quoteSome(keys []string) string {
	var texts []string
	for i, key := range keys {
		if i == 10 {
			texts = append(texts, "…")
			break
		}
		texts = append(texts, strconv.Quote(fault.Shorten(key)))
	}
	return strings.Join(texts, ", ")
}

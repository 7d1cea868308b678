package backup

import (
	"fmt"
	"slices"
)

// checkUniques refuses an end state in which a record of the snapshot shares with another what
// the App declares as unique. The host may hold that itself, and need not.
func (c *comparison) checkUniques() error {
	var shared problems
	for _, col := range c.cols {
		r := c.reports[col.Name]
		if !c.blind[col.Name] && len(c.rejected[col.Name]) == 0 || len(col.uniques) == 0 || c.opts.AsItWas || r.Added+r.Updated == 0 {
			continue
		}
		if err := c.findShared(col, &shared); err != nil {
			return err
		}
	}
	if err := shared.err(ErrClash); err != nil {
		return fmt.Errorf("the end state: %w", err)
	}
	return nil
}

// findShared finds the records of the host that share what is unique, one of which the
// restore has put.
func (c *comparison) findShared(col *collection, shared *problems) error {
	rows := make([][]row, len(col.uniques))
	err := c.eachRecord(col, func(r item) {
		for i, u := range col.uniques {
			if h := u.hash(col.seed, r.value); h != 0 {
				rows[i] = append(rows[i], row{h, 0})
			}
		}
	})
	twice := make([]map[uint64]bool, len(col.uniques))
	found := false
	for i := range rows {
		twice[i] = make(map[uint64]bool)
		slices.SortFunc(rows[i], compareRows)
		for j := 1; j < len(rows[i]); j++ {
			if rows[i][j].value == rows[i][j-1].value {
				twice[i][rows[i][j].value], found = true, true
			}
		}
	}
	if err != nil || !found {
		return err
	}
	put := make(map[string]int64) // offsets by key
	err = c.eachFate(col, func(b *batch, fates []fate) error {
		for i, r := range b.items {
			if fates[i] == added || fates[i] == updated {
				put[r.key] = r.offset
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	first := make([]map[uint64][]item, len(col.uniques))
	return c.eachRecord(col, func(r item) {
		for i, u := range col.uniques {
			h := u.hash(col.seed, r.value)
			if h == 0 || !twice[i][h] {
				continue
			}
			if first[i] == nil {
				first[i] = make(map[uint64][]item)
			}
			for _, other := range first[i][h] {
				key, with := r.key, other.key
				if _, ours := put[key]; !ours {
					key, with = with, key
				}
				if at, ours := put[key]; ours && u.equal(r.value, other.value) {
					_ = shared.add(&RecordError{Collection: col.Name, Key: key, With: with, Pointer: u.declared, Offset: at,
						Err: fmt.Errorf("%w: %q of the host has the same %s", ErrClash, with, u.declared)})
				}
			}
			if len(first[i][h]) < 2 { // the rest is named beside these
				first[i][h] = append(first[i][h], item{key: r.key, value: slices.Clone(r.value)})
			}
		}
	})
}

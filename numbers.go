package backup

import (
	"errors"
	"fmt"
	"slices"
)

// Keys of another installation that numbers its records: the same number need not be the same
// thing.

// isNumbered tells whether the same key of a collection need not be the same thing, because
// the snapshot is of another installation, and each numbers its records. A key that holds a
// reference is known by that.
func (c *comparison) isNumbered(col *collection) (bool, error) {
	from := c.snapshot.manifest.Installation
	n, ok := c.host.(numberer)
	if !ok || slices.ContainsFunc(col.refs, func(r ref) bool { return unique{parts: col.key}.overlaps(r.key) }) || from == "" || c.opts.Installation == "" || from == c.opts.Installation {
		return false, nil
	}
	_, err := n.NewKeys(c.ctx, col.Name, 0)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return false, fmt.Errorf("ask the host whether it numbers %s: %w", col.Name, err)
	}
	c.numbers[col.Name] = err == nil
	return err == nil, nil
}

// hasForeignKeys tells whether the keys of a collection hold references to numbers of another
// installation that are not restored. Then nothing tells which record of the host one is.
func (c *comparison) hasForeignKeys(col *collection) (bool, error) {
	for _, r := range col.refs {
		target := c.byName[r.Collection]
		if slices.Contains(c.cols, target) || !(unique{parts: col.key}).overlaps(r.key) {
			continue
		}
		if numbered, err := c.isNumbered(target); numbered || err != nil {
			return numbered, err
		}
	}
	return false, nil
}

// warnNumbers warns where the same key need not be the same thing, and nothing tells.
func (c *comparison) warnNumbers() error {
	for _, col := range c.cols {
		if c.numbers[col.Name] && len(col.uniques) == 0 {
			c.warn(fmt.Sprintf("the backup is of another installation, and each numbers its %s by itself: records with the same key are taken for the same, which they need not be; declare what is Unique of %[1]s", col.Name))
		}
		for _, r := range col.refs {
			target := c.byName[r.Collection]
			if slices.Contains(c.cols, target) {
				continue
			}
			numbered, err := c.isNumbered(target)
			if err != nil {
				return err
			}
			if numbered {
				c.warnOnce(fmt.Sprintf("the backup is of another installation, and each numbers its %s by itself: %s of %s may refer to other records here; restore %[1]s too", target.Name, r.Pointer, col.Name))
			}
		}
	}
	return nil
}

package backup

import (
	"fmt"
	"slices"
)

// meetHost asks the host what it does by itself, and in which order it wants records.
// The comparison is with what the host has before the first change. So if a change can
// lead to others, all is compared first.
func (c *comparison) meetHost() error {
	if t, ok := c.host.(tolerant); ok {
		t.AllowDangling(c.opts.AllowDangling || c.opts.AsItWas)
	}
	if err := c.orderCollections(); err != nil {
		return err
	}
	if e, ok := c.host.(effector); ok && c.write {
		for _, col := range c.cols {
			effects, err := e.Effects(c.ctx, col.Name)
			if err != nil {
				return fmt.Errorf("ask the host what changes %s: %w", col.Name, err)
			}
			for _, effect := range effects {
				c.effects = append(c.effects, effect+" of "+col.Name)
			}
		}
	}
	c.early = c.write && len(c.effects) == 0
	return nil
}

// orderCollections puts those collections first that others refer to: in the App, or in
// the host.
func (c *comparison) orderCollections() error {
	host, ok := c.host.(parented)
	if !ok {
		c.cols = c.collections
		return nil
	}
	done := make(map[string]bool)
	var visit func(name string) error
	visit = func(name string) error {
		i := slices.IndexFunc(c.collections, func(col *collection) bool { return col.Name == name })
		if i < 0 || done[name] {
			return nil
		}
		done[name] = true
		col := c.collections[i]
		for _, r := range col.refs {
			if err := visit(r.Collection); err != nil {
				return err
			}
		}
		parents, err := host.Parents(c.ctx, name)
		if err != nil {
			return fmt.Errorf("ask the host what %s refers to: %w", name, err)
		}
		for _, parent := range parents {
			if err := visit(parent); err != nil {
				return err
			}
		}
		c.cols = append(c.cols, col)
		return nil
	}
	for _, col := range c.collections {
		if err := visit(col.Name); err != nil {
			return err
		}
	}
	return nil
}

package sqlstore

import (
	"context"
	"slices"
	"strings"
)

// A looker is a transaction that can find out what columns hold, where their types do not
// say it.
type looker interface {
	look(ctx context.Context, t *table) error
}

func look(ctx context.Context, tx transaction, t *table) error {
	if l, ok := tx.(looker); ok {
		return l.look(ctx, t)
	}
	return nil
}

// found adds to a declaration the kinds that look has found.
func (t *table) found(given []Column) []Column {
	given = slices.Clone(given)
	for _, c := range t.columns {
		if !c.looked {
			continue
		}
		if i := slices.IndexFunc(given, func(g Column) bool { return strings.EqualFold(g.Name, c.Name) }); i >= 0 {
			given[i].Kind = c.Kind
		} else {
			given = append(given, Column{Name: c.Name, Kind: c.Kind})
		}
	}
	return given
}

// referToBytes takes columns of bytes that refer to keys of bytes for [Hex], so that they
// hold the text of the key.
func (d *description) referToBytes(all []*reference) {
	for _, r := range all {
		i := slices.Index(d.tables, r.table)
		if i < 0 || r.parent == nil {
			continue
		}
		for part, name := range r.columns {
			at, to := findColumn(r.table.columns, name), findColumn(r.parent.columns, r.parentColumns[part])
			if at < 0 || to < 0 || r.parent.columns[to].Kind != Hex || !r.parent.columns[to].key {
				continue
			}
			c := r.table.columns[at]
			given := slices.ContainsFunc(d.declared[i].Columns, func(g Column) bool { return strings.EqualFold(g.Name, c.Name) && g.Kind != Auto })
			if c.Kind == Blob && !given {
				c.Kind, c.looked = Hex, true
			}
		}
		d.declared[i].Columns = r.table.found(d.declared[i].Columns)
	}
}

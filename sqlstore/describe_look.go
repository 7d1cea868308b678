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

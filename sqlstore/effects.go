package sqlstore

import (
	"context"
	"fmt"
	"slices"
)

// Effects names the triggers of a collection, and the actions of foreign keys that change
// records: see [backup.Writer].
func (w *writer) Effects(ctx context.Context, collection string) ([]string, error) {
	t, err := w.table(collection)
	if err != nil {
		return nil, err
	}
	if err := w.deliver(ctx); err != nil {
		return nil, w.fail(err)
	}
	if w.effects == nil {
		if w.effects, err = w.tx.effects(ctx, w.all); err != nil {
			return nil, w.fail(fmt.Errorf("sqlstore: look for triggers: %w", contextError(ctx, err)))
		}
		for _, names := range w.effects {
			slices.Sort(names)
		}
	}
	return slices.Compact(w.effects[t]), nil
}

package backup

import (
	"context"
	"fmt"

	"github.com/tomo-project/backup/internal/codec"
)

// normalizer is what a Writer or a Reader may be too: see [Writer].
type normalizer interface {
	Normalize(ctx context.Context, collection string, records []Record) error
}

// eachBatch calls f for the valid records of a collection, under the keys of the host and in
// the form in which the host would show them.
func (c *comparison) eachBatch(ctx context.Context, col *collection, f func(*batch) error) error {
	return c.incoming.eachBatch(ctx, col, func(b *batch) error {
		if err := c.rekey(col, b); err != nil {
			return err
		}
		if err := c.normalize(ctx, c.host, col, b); err != nil {
			return err
		}
		return f(b)
	})
}

// normalize brings the values of a batch into the form in which host would show them.
func (in *incoming) normalize(ctx context.Context, host any, col *collection, b *batch) error {
	n, ok := host.(normalizer)
	if !ok {
		return nil
	}
	records := make([]Record, len(b.items))
	for i, r := range b.items {
		records[i] = Record{r.key, r.value}
	}
	if err := n.Normalize(ctx, col.Name, records); err != nil {
		return fmt.Errorf("ask the host how it would show %d records of %s: %w", len(records), col.Name, err)
	}
	for i := range records {
		value := records[i].Value
		if in.strategy(col) == Merge { // the host's members stay where the snapshot has none
			value = codec.Only(value, b.items[i].value)
		}
		b.items[i].value = value
	}
	return nil
}

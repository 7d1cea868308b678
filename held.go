package backup

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// A heldSource reads what the host holds, as a transaction sees it.
type heldSource struct{ Writer }

func (s heldSource) View(_ context.Context, read func(Reader) error) error {
	if r, ok := s.Writer.(Reader); ok {
		return read(r)
	}
	return read(s)
}

func (s heldSource) Records(ctx context.Context, collection string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var keys []string
		for key, err := range s.Keys(ctx, collection) {
			if err != nil {
				yield(Record{}, err)
				return
			}
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for keys := range slices.Chunk(keys, batchSize) {
			found, err := s.Lookup(ctx, collection, keys)
			if err == nil && len(found) != len(keys) {
				err = fmt.Errorf("of %d records that have a key, %d were found", len(keys), len(found))
			}
			if err != nil {
				yield(Record{}, err)
				return
			}
			slices.SortFunc(found, func(a, b Record) int { return strings.Compare(a.Key, b.Key) })
			for _, r := range found {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

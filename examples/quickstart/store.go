package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/tomo-project/backup"
)

// store holds the data of the host. It has a lock and a copy where a host with
// a database has a transaction.
type store struct {
	mu   sync.Mutex
	data records
}

// records are the values by collection and key.
type records map[string]map[string]json.RawMessage

// View implements [backup.DataSource].
func (s *store) View(_ context.Context, read func(backup.Reader) error) error {
	s.mu.Lock()
	data := maps.Clone(s.data) // Update replaces the inner maps and never changes them
	s.mu.Unlock()
	return read(data)
}

// Update implements [backup.Sink].
func (s *store) Update(ctx context.Context, write func(backup.Writer) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	data := records{}
	for collection, values := range s.data {
		data[collection] = maps.Clone(values)
	}
	if err := write(data); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.data = data
	return nil
}

// Records implements [backup.Reader].
func (r records) Records(ctx context.Context, collection string) iter.Seq2[backup.Record, error] {
	return func(yield func(backup.Record, error) bool) {
		values, err := r.values(collection)
		if err != nil {
			yield(backup.Record{}, err)
			return
		}
		for _, key := range slices.Sorted(maps.Keys(values)) {
			if err := ctx.Err(); err != nil {
				yield(backup.Record{}, err)
				return
			}
			if !yield(backup.Record{Key: key, Value: values[key]}, nil) {
				return
			}
		}
	}
}

// Keys implements [backup.Writer], as Lookup, Put and Delete do.
func (r records) Keys(ctx context.Context, collection string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for record, err := range r.Records(ctx, collection) {
			if !yield(record.Key, err) {
				return
			}
		}
	}
}

func (r records) Lookup(_ context.Context, collection string, keys []string) (found []backup.Record, err error) {
	values, err := r.values(collection)
	for _, key := range keys {
		if value, ok := values[key]; ok {
			found = append(found, backup.Record{Key: key, Value: value})
		}
	}
	return found, err
}

func (r records) Put(_ context.Context, collection string, put []backup.Record) error {
	values, err := r.values(collection)
	if err != nil {
		return err
	}
	for _, record := range put {
		values[record.Key] = slices.Clone(record.Value)
	}
	return nil
}

func (r records) Delete(_ context.Context, collection string, keys []string) error {
	values, err := r.values(collection)
	for _, key := range keys {
		delete(values, key)
	}
	return err
}

// values returns a collection. A collection that the host does not have is an
// error.
func (r records) values(collection string) (map[string]json.RawMessage, error) {
	values, ok := r[collection]
	if !ok {
		return nil, fmt.Errorf("no collection %q", collection)
	}
	return values, nil
}

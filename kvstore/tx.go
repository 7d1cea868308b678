package kvstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"unicode/utf8"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/codec"
)

var (
	errStop = errors.New("no more is wanted")
	errOver = errors.New("kvstore: used after its function returned")
)

// A view reads buckets in a transaction.
type view struct {
	tx      Tx
	buckets map[string]Bucket
}

func (v *view) end() { v.tx = nil }

func (v *view) bucket(ctx context.Context, collection string) (Bucket, error) {
	if v.tx == nil {
		return Bucket{}, errOver
	}
	b, ok := v.buckets[collection]
	if !ok {
		return Bucket{}, fmt.Errorf("kvstore: unknown collection %q", collection)
	}
	return b, ctx.Err()
}

// Records implements [backup.Reader].
func (v *view) Records(ctx context.Context, collection string) iter.Seq2[backup.Record, error] {
	return func(yield func(backup.Record, error) bool) {
		b, err := v.bucket(ctx, collection)
		if err == nil {
			err = v.tx.Scan(b.Name, func(storedKey, stored []byte) error {
				if err := ctx.Err(); err != nil {
					return err
				}
				key, err := b.key(storedKey)
				if err != nil {
					return err
				}
				value, err := b.Value.decode(stored)
				if err != nil {
					return b.about(key, fmt.Errorf("decode the stored value: %w", err))
				}
				if !yield(backup.Record{Key: key, Value: value}, nil) {
					return errStop
				}
				return nil
			})
		}
		switch about, ok := errors.AsType[*backup.RecordError](err); {
		case err == nil, errors.Is(err, errStop):
		case ok:
			yield(backup.Record{Key: about.Key}, err)
		default:
			yield(backup.Record{}, fmt.Errorf("read %s: %w", collection, err))
		}
	}
}

// A writer changes buckets in a transaction.
type writer struct {
	view
	tx     WriteTx
	failed error // the first failure; nothing is committed after it

	changes int64 // so many were made
	bytes   int64 // of their keys and values
}

// changed counts a change. Of one that the store does not take, it says what was made
// before: a store may limit its transactions.
func (w *writer) changed(key, value []byte, err error) error {
	if err != nil {
		return fmt.Errorf("%w (after %d changes with %d bytes of keys and values in one transaction)", err, w.changes, w.bytes)
	}
	w.changes++
	w.bytes += int64(len(key) + len(value))
	return nil
}

func (w *writer) fail(collection string, err error) error {
	if err != nil {
		if _, ok := errors.AsType[*backup.RecordError](err); !ok {
			err = fmt.Errorf("%s: %w", collection, err)
		}
		if w.failed == nil {
			w.failed = err
		}
	}
	return err
}

// Keys implements [backup.Writer].
func (w *writer) Keys(ctx context.Context, collection string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		b, err := w.bucket(ctx, collection)
		if err == nil {
			err = w.tx.Scan(b.Name, func(stored, _ []byte) error {
				if err := ctx.Err(); err != nil {
					return err
				}
				key, err := b.key(stored)
				if err != nil {
					return err
				}
				if !yield(key, nil) {
					return errStop
				}
				return nil
			})
		}
		if err != nil && !errors.Is(err, errStop) {
			yield("", w.fail(collection, err))
		}
	}
}

// Lookup implements [backup.Writer].
func (w *writer) Lookup(ctx context.Context, collection string, keys []string) ([]backup.Record, error) {
	b, err := w.bucket(ctx, collection)
	if err != nil {
		return nil, w.fail(collection, err)
	}
	var found []backup.Record
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return nil, w.fail(collection, err)
		}
		storedKey, err := b.storedKey(key)
		if err != nil {
			continue // no entry can have this key
		}
		stored, ok, err := w.tx.Get(b.Name, storedKey)
		if err != nil {
			return nil, w.fail(collection, err)
		}
		if !ok {
			continue
		}
		value, err := b.Value.decode(stored)
		if err != nil {
			return nil, w.fail(collection, b.about(key, fmt.Errorf("decode the stored value: %w", err)))
		}
		found = append(found, backup.Record{Key: key, Value: bytes.Clone(value)})
	}
	return found, nil
}

// Put implements [backup.Writer].
func (w *writer) Put(ctx context.Context, collection string, records []backup.Record) error {
	b, err := w.bucket(ctx, collection)
	if err != nil {
		return w.fail(collection, err)
	}
	for _, r := range records {
		if err := ctx.Err(); err != nil {
			return w.fail(collection, err)
		}
		key, err := b.storedKey(r.Key)
		if err != nil {
			return w.fail(collection, b.about(r.Key, fmt.Errorf("its key cannot be stored: %w", err)))
		}
		value, err := b.Value.store(r.Value)
		if err != nil {
			return w.fail(collection, b.about(r.Key, fmt.Errorf("its value cannot be stored: %w", err)))
		}
		if err := w.changed(key, value, w.tx.Put(b.Name, key, value)); err != nil {
			return w.fail(collection, b.about(r.Key, err))
		}
	}
	return nil
}

// Delete implements [backup.Writer].
func (w *writer) Delete(ctx context.Context, collection string, keys []string) error {
	b, err := w.bucket(ctx, collection)
	if err != nil {
		return w.fail(collection, err)
	}
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return w.fail(collection, err)
		}
		stored, err := b.storedKey(key)
		if err != nil {
			continue // no entry can have this key
		}
		if err := w.changed(stored, nil, w.tx.Delete(b.Name, stored)); err != nil {
			return w.fail(collection, b.about(key, err))
		}
	}
	return nil
}

func (b Bucket) about(key string, err error) error {
	return &backup.RecordError{Collection: b.Collection, Key: key, Offset: -1, Err: err}
}

// key returns the text of a stored key.
func (b Bucket) key(stored []byte) (string, error) {
	text, err := b.Key.decode(stored)
	if err == nil && !utf8.Valid(text) {
		err = errors.New("it is not UTF-8; give the Bucket a Codec for its keys")
	}
	if err != nil {
		return "", fmt.Errorf("the key with the bytes %x: %w", stored[:min(len(stored), 64)], err)
	}
	return string(text), nil
}

// storedKey returns the stored form of a key. It is never nil.
func (b Bucket) storedKey(key string) ([]byte, error) {
	if b.Key.Encode == nil {
		return []byte(key), nil
	}
	stored, err := b.Key.Encode([]byte(key))
	if err != nil {
		return nil, err
	}
	again, err := b.Key.Decode(stored)
	if err != nil {
		return nil, err
	}
	if string(again) != key {
		return nil, errors.New("the Codec of the Bucket makes another key of it")
	}
	return own(stored), nil
}

// whole tells whether c has both functions or none.
func (c Codec) whole() bool { return (c.Encode == nil) == (c.Decode == nil) }

func (c Codec) decode(stored []byte) ([]byte, error) {
	if c.Decode == nil {
		return stored, nil
	}
	return c.Decode(stored)
}

// own returns a copy that is not nil: bbolt, for one, takes an entry whose value is nil
// for none until the commit.
func own(b []byte) []byte { return append([]byte{}, b...) }

// store returns the stored form of a value, in memory of its own.
func (c Codec) store(value []byte) ([]byte, error) {
	if c.Encode == nil {
		return own(value), nil
	}
	stored, err := c.Encode(value)
	if err != nil {
		return nil, err
	}
	again, err := c.Decode(stored)
	if err != nil {
		return nil, fmt.Errorf("decode what was encoded: %w", err)
	}
	limits := codec.Limits{Depth: codec.MaxDepth, Values: math.MaxInt, RecordBytes: math.MaxInt}
	before, err := codec.Compact(nil, value, limits)
	if err != nil {
		return nil, err
	}
	after, err := codec.Compact(nil, again, limits)
	if err != nil {
		return nil, fmt.Errorf("decode what was encoded: %w", err)
	}
	if !codec.Equal(before, after) {
		return nil, errors.New("the Codec of the Bucket makes another value of it")
	}
	return own(stored), nil
}

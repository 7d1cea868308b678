package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"math/bits"

	"github.com/tomo-project/backup"
)

// A writer changes the tables in a transaction.
type writer struct {
	*view
	ctx     context.Context // of the Update
	touched bool
	settled bool // nothing has changed since Settle
	dangle  bool // the commit may leave references dangling
	effects map[*table][]string
	kept    []*kept
	failed  error // the first failure: nothing is changed or committed after it
	waiting map[*table]*waiting
	trying  bool // rows that wait are tried again
	stmts   map[string]*sql.Stmt
	puts    map[*table]map[string]*put
	numbers map[*table]*big.Int // the next number for NewKeys, as far as it was asked

	args    []any // of Lookup and Delete
	key     []any // of the record at hand, as it is stored
	values  []any // of the record at hand, by column
	seen    []bool
	mask    []byte
	records []backup.Record
	ends    []int
	buf     []byte

	filling, sent *parcel // records on their way, nil if there are none
}

func (w *writer) close() {
	for _, s := range w.stmts {
		s.Close()
	}
	w.stmts, w.puts = nil, nil
}

// change returns the table of a collection that is about to change.
func (w *writer) change(ctx context.Context, collection string) (*table, error) {
	if w.failed != nil {
		return nil, w.failed
	}
	t, err := w.table(collection)
	if err != nil {
		return nil, err
	}
	if w.filling != nil && w.filling.t != t || w.sent != nil && w.sent.t != t {
		if err := w.deliver(ctx); err != nil {
			return nil, err
		}
	}
	w.settled = false
	w.changes++
	if !w.touched {
		w.touched = true
		if err := w.tx.touch(ctx, w.all); err != nil {
			return nil, fmt.Errorf("sqlstore: look for foreign keys: %w", explain(w.dialect, contextError(ctx, err)))
		}
	}
	return t, nil
}

func (w *writer) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := w.stmts[query]; s != nil {
		return s, nil
	}
	s, err := w.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if w.stmts == nil {
		w.stmts = map[string]*sql.Stmt{}
	}
	w.stmts[query] = s
	return s, nil
}

// Keys implements [backup.Writer].
func (w *writer) Keys(ctx context.Context, collection string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		more := true
		t, err := w.table(collection)
		if err == nil {
			err = w.fail(w.deliver(ctx))
		}
		if err == nil {
			err = w.fail(w.keys(ctx, t, func(key string) bool {
				more = yield(key, nil)
				return more
			}))
		}
		if err != nil && more {
			yield("", err)
		}
	}
}

func (w *writer) keys(ctx context.Context, t *table, yield func(string) bool) error {
	row := newKey(t)
	take := func(d Dialect, buf []byte) (string, []byte, error) {
		key, err := row.key(d)
		return key, buf, err
	}
	newKeys := w.rowsThatWait(t)
	more := true
	err := w.eachRecord(ctx, "SELECT "+t.selectedKey+" FROM "+t.name, nil, row, take, func(r backup.Record) bool {
		if w.goes(t, r.Key) {
			return true
		}
		delete(newKeys, r.Key)
		more = yield(r.Key)
		return more
	})
	switch {
	case err != nil && aboutRecord(err):
		return err
	case err != nil:
		return fmt.Errorf("read the keys of %s: %w", t.collection, contextError(ctx, err))
	case !more:
		return nil
	}
	for key := range newKeys {
		if !yield(key) {
			return nil
		}
	}
	return ctx.Err()
}

// Lookup implements [backup.Writer].
func (w *writer) Lookup(ctx context.Context, collection string, keys []string) ([]backup.Record, error) {
	t, err := w.table(collection)
	if err != nil {
		return nil, err
	}
	if err := w.deliverOf(ctx, t, keys); err != nil {
		return nil, w.fail(err)
	}
	w.buf, w.records, w.ends = w.buf[:0], w.records[:0], w.ends[:0]
	row := newRow(t)
	if len(keys) > 0 {
		if err := w.needReferences(ctx, t, keys); err != nil {
			return nil, w.fail(err)
		}
	}
	var waiting map[string][]byte
	if w.waiting[t] != nil {
		waiting = w.waiting[t].rows
	}
	find := w.lookup
	if w.wire != nil {
		find = w.wireLookup
	}
	err = find(ctx, t, keys, row, func(key string, end int) bool {
		if w.goes(t, key) || waiting[key] != nil {
			return false
		}
		w.records, w.ends = append(w.records, backup.Record{Key: key}), append(w.ends, end)
		return true
	})
	if err != nil {
		return nil, w.fail(fmt.Errorf("look up records of %s: %w", collection, contextError(ctx, err)))
	}
	start := 0
	for i, end := range w.ends {
		w.records[i].Value = w.buf[start:end:end]
		start = end
	}
	for _, key := range keys {
		if value := waiting[key]; value != nil {
			w.records = append(w.records, backup.Record{Key: key, Value: value})
		}
	}
	return w.records, nil
}

// lookup appends the records with the given keys to w.buf, as far as found takes them. found
// gets the end of each.
func (w *writer) lookup(ctx context.Context, t *table, keys []string, row *row, found func(key string, end int) bool) error {
	return w.in(ctx, t, keys, "SELECT "+t.selected+" FROM "+t.name, "", func(s *sql.Stmt, args []any) error {
		rows, err := s.QueryContext(ctx, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			start := len(w.buf)
			var key string
			if key, w.buf, err = row.scan(w.dialect, rows, w.buf); err != nil {
				return err
			}
			if !found(key, len(w.buf)) {
				w.buf = w.buf[:start]
			}
		}
		return rows.Err()
	})
}

// Delete implements [backup.Writer].
func (w *writer) Delete(ctx context.Context, collection string, keys []string) error {
	t, err := w.change(ctx, collection)
	if err == nil {
		err = w.deliver(ctx)
	}
	if err == nil {
		err = w.remove(ctx, t, keys)
	}
	return w.fail(err)
}

// fail keeps the first failure. The database may have ended the transaction with it, and
// a change must not happen outside of a transaction.
func (w *writer) fail(err error) error {
	if errors.Is(err, w.failed) {
		return err // explained already
	}
	err = explain(w.dialect, w.named(err))
	if w.failed == nil {
		w.failed = err
	}
	return err
}

// in runs a statement on the rows that have one of the keys and meet a condition.
func (w *writer) in(ctx context.Context, t *table, keys []string, statement, and string, run func(*sql.Stmt, []any) error) error {
	parts := len(t.keys)
	most := min(inKeys, w.dialect.maxArgs())
	if parts > 1 {
		most = min(inParts, w.dialect.maxArgs()/(2*parts)) // some dialects take each key twice
	}
	for len(keys) > 0 {
		n := min(most, len(keys))
		args := w.args[:0]
		for _, key := range keys[:n] {
			args, _, _ = t.keyArgs(w.dialect, args, key)
		}
		keys = keys[n:]
		if len(args) == 0 {
			continue
		}
		// There are statements of a few sizes. The last key fills the places that are left.
		size := min(most, 1<<bits.Len(uint(len(args)/parts-1)))
		for len(args) < size*parts {
			args = append(args, args[len(args)-parts:]...)
		}
		if d, ok := w.dialect.(interface{ arguments(*table, []any) []any }); ok {
			args = d.arguments(t, args)
		}
		w.args = args
		s, err := w.stmt(ctx, statement+" WHERE "+w.dialect.match(t, size)+and)
		if err != nil {
			return err
		}
		if err := run(s, args); err != nil {
			return err
		}
		clear(args)
	}
	return nil
}

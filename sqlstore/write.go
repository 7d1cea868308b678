package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/sqljson"
)

const (
	// putRows and inKeys are how many rows or keys one statement takes at most, and
	// inParts how many keys of several columns: beyond that it is not faster any more.
	putRows = 64
	inKeys  = 512
	inParts = 128

	// keptStmts are how many statements are kept from one Put to the next. There
	// may be one for every combination of columns that records lack.
	keptStmts = 64
)

// A writer changes the tables in a transaction.
type writer struct {
	*view
	touched bool
	failed  error // the first failure: nothing is changed after it, nor committed
	waiting map[*table]*waiting
	stmts   map[string]*sql.Stmt
	puts    map[*table]map[string]*put

	args    []any // of Lookup and Delete
	key     []any // of the record at hand, as it is stored
	values  []any // of the record at hand, by column
	seen    []bool
	mask    []byte
	records []backup.Record
	ends    []int
	buf     []byte
}

func (w *writer) close() {
	for _, s := range w.stmts {
		s.Close()
	}
	w.stmts, w.puts = nil, nil
}

// change prepares for a change of a collection.
func (w *writer) change(ctx context.Context, collection string) (*table, error) {
	if w.failed != nil {
		return nil, w.failed
	}
	t, err := w.table(collection)
	if err != nil {
		return nil, err
	}
	if !w.touched {
		w.touched = true
		if err := w.tx.touch(ctx, w.all); err != nil {
			return nil, err
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
	rows, err := w.conn.QueryContext(ctx, "SELECT "+t.selectedKey+" FROM "+t.name)
	if err != nil {
		return fmt.Errorf("read the keys of %s: %w", t.collection, contextError(ctx, err))
	}
	defer rows.Close()
	row := newKey(t)
	for rows.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := rows.Scan(row.dest...); err != nil {
			return fmt.Errorf("read the keys of %s: %w", t.collection, err)
		}
		key, err := row.key(w.dialect)
		if err != nil {
			return err
		}
		if w.goes(t, key) {
			continue
		}
		if !yield(key) {
			return nil
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the keys of %s: %w", t.collection, contextError(ctx, err))
	}
	return ctx.Err()
}

// Lookup implements [backup.Writer].
func (w *writer) Lookup(ctx context.Context, collection string, keys []string) ([]backup.Record, error) {
	t, err := w.table(collection)
	if err != nil {
		return nil, err
	}
	w.buf, w.records, w.ends = w.buf[:0], w.records[:0], w.ends[:0]
	row := newRow(t)
	if len(keys) > 0 {
		if err := w.settleReferences(ctx, t, keys); err != nil {
			return nil, w.fail(err)
		}
	}
	err = w.in(ctx, t, keys, "SELECT "+t.selected+" FROM "+t.name, "", func(s *sql.Stmt, args []any) error {
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
			if w.goes(t, key) {
				w.buf = w.buf[:start]
				continue
			}
			w.records = append(w.records, backup.Record{Key: key})
			w.ends = append(w.ends, len(w.buf))
		}
		return rows.Err()
	})
	if err != nil {
		return nil, w.fail(fmt.Errorf("look up records of %s: %w", collection, contextError(ctx, err)))
	}
	start := 0
	for i, end := range w.ends {
		w.records[i].Value = w.buf[start:end:end]
		start = end
	}
	return w.records, nil
}

// Delete implements [backup.Writer].
func (w *writer) Delete(ctx context.Context, collection string, keys []string) error {
	t, err := w.change(ctx, collection)
	if err == nil {
		err = w.remove(ctx, t, keys)
	}
	return w.fail(err)
}

// fail keeps the first failure. The database may have ended the transaction with
// it, and nothing must be changed outside of one.
func (w *writer) fail(err error) error {
	if errors.Is(err, w.failed) {
		return err // explained already
	}
	err = explain(w.dialect, err)
	if w.failed == nil {
		w.failed = err
	}
	return err
}

// in runs a statement on the rows with the given keys that also meets a condition.
func (w *writer) in(ctx context.Context, t *table, keys []string, statement, and string, run func(*sql.Stmt, []any) error) error {
	parts := len(t.keys)
	most := min(inKeys, w.dialect.maxArgs())
	if parts > 1 {
		most = min(inParts, w.dialect.maxArgs()/(2*parts)) // some take each twice
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
		// Statements of a few sizes: the last key fills the places that are left.
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

// A put collects rows that have a value for the same columns.
type put struct {
	t     *table
	set   []int // indexes of the columns
	most  int   // rows of the largest statement
	args  []any
	keys  []string
	bytes int               // of the records, about
	sqls  map[int]*sql.Stmt // by rows
}

// Put implements [backup.Writer].
func (w *writer) Put(ctx context.Context, collection string, records []backup.Record) error {
	t, err := w.change(ctx, collection)
	if err == nil {
		t.written = true
		err = w.put(ctx, t, records)
		for _, p := range w.puts[t] { // forget what a failure has left
			clear(p.args)
			p.args, p.keys, p.bytes = p.args[:0], p.keys[:0], 0
		}
	}
	return w.fail(err)
}

func (w *writer) put(ctx context.Context, t *table, records []backup.Record) error {
	n := len(t.columns)
	w.values, w.seen = slices.Grow(w.values[:0], n), slices.Grow(w.seen[:0], n)
	values, seen := w.values[:n], w.seen[:n]
	limit, bounded := w.tx.(interface {
		room() int
		tooLarge(size int) error
	})
	for _, r := range records {
		clear(values)
		clear(seen)
		c, err := w.bind(t, r, values, seen)
		if err != nil {
			return t.fail(r.Key, c, err)
		}
		// Columns whose default is wanted are not among those that are set.
		w.mask = w.mask[:0]
		for i, c := range t.columns {
			if c.defaultSlot >= 0 {
				present := byte('0')
				if seen[i] {
					present = '1'
				}
				w.mask = append(w.mask, present)
			}
		}
		p := w.puts[t][string(w.mask)]
		if p == nil {
			p = w.newPut(t, string(w.mask))
		}
		size := len(r.Value) + 16*len(p.set)
		if bounded {
			if err := limit.tooLarge(size); err != nil {
				return t.fail(r.Key, nil, err)
			}
			if p.bytes+size > limit.room() {
				if err := w.flush(ctx, p); err != nil {
					return err
				}
			}
		}
		for _, i := range p.set {
			p.args = append(p.args, values[i])
		}
		p.keys = append(p.keys, r.Key)
		p.bytes += size
		w.overwritten(t, r.Key)
		if len(p.keys) == p.most {
			if err := w.flush(ctx, p); err != nil {
				return err
			}
		}
	}
	for _, p := range w.puts[t] {
		if err := w.flush(ctx, p); err != nil {
			return err
		}
	}
	if len(w.stmts) > keptStmts {
		w.close()
	}
	return nil
}

// bind sets the values of the columns of a record, and says which were there.
func (w *writer) bind(t *table, r backup.Record, values []any, seen []bool) (*column, error) {
	if !utf8.Valid(r.Value) {
		return nil, fmt.Errorf("%w: %w", backup.ErrInvalid, sqljson.ErrUTF8)
	}
	key, c, err := t.keyArgs(w.dialect, w.key[:0], r.Key)
	if err != nil {
		return c, err
	}
	w.key = key
	text := string(r.Value) // strings that are bound are parts of it
	if t.value >= 0 {
		c := t.columns[t.value]
		text = strings.Trim(text, " \t\r\n")
		if !sqljson.IsValue(text) {
			return c, fmt.Errorf("%w: the value is not JSON", backup.ErrInvalid)
		}
		v, err := w.dialect.bind(c, text)
		i := t.keys[0]
		values[i], values[t.value] = key[0], v
		seen[i], seen[t.value] = true, true
		return c, err
	}
	next := 0
	var at *column
	err = sqljson.Members(text, func(name, value string) error {
		// Members mostly come in the order of the columns.
		i := next
		if i >= len(t.columns) || t.columns[i].name != name {
			field, err := sqljson.Unquote(name)
			if err != nil {
				return err
			}
			var ok bool
			if i, ok = t.index[field]; !ok {
				at = &column{Column: Column{Field: field}}
				return fmt.Errorf("%w: table %q has no column for the member", backup.ErrInvalid, t.plain)
			}
		}
		next = i + 1
		at = t.columns[i]
		if seen[i] {
			return fmt.Errorf("%w: the member is there twice", backup.ErrInvalid)
		}
		seen[i] = true
		var err error
		values[i], err = w.dialect.bind(at, value)
		return err
	})
	if err != nil {
		return at, err
	}
	for part, i := range t.keys {
		switch {
		case !seen[i]:
			return t.columns[i], fmt.Errorf("%w: the member with the key is missing", backup.ErrInvalid)
		case values[i] != key[part]:
			return t.columns[i], fmt.Errorf("%w: the member with the key is not %q", backup.ErrInvalid, fmt.Sprint(key[part]))
		}
	}
	return nil, nil
}

func (w *writer) newPut(t *table, mask string) *put {
	p := &put{t: t, sqls: map[int]*sql.Stmt{}}
	for i, c := range t.columns {
		if c.defaultSlot < 0 || mask[c.defaultSlot] == '1' {
			p.set = append(p.set, i)
		}
	}
	p.most = max(1, min(putRows, w.dialect.maxArgs()/len(p.set)))
	if w.puts == nil {
		w.puts = map[*table]map[string]*put{}
	}
	if w.puts[t] == nil {
		w.puts[t] = map[string]*put{}
	}
	w.puts[t][mask] = p
	return p
}

// flush stores the rows of p.
func (w *writer) flush(ctx context.Context, p *put) error {
	args, keys := p.args, p.keys
	for len(keys) > 0 {
		// The largest statement, or a power of two.
		rows := p.most
		if len(keys) < rows {
			rows = 1 << (bits.Len(uint(len(keys))) - 1)
		}
		n := rows * len(p.set)
		alive, err := w.attempt(ctx, p, args[:n], keys[:rows])
		if err != nil && rows > 1 && alive {
			// One of the rows is refused: which?
			for i := range rows {
				if _, one := w.attempt(ctx, p, args[i*len(p.set):(i+1)*len(p.set)], keys[i:i+1]); one != nil {
					return p.t.fail(keys[i], nil, explain(w.dialect, one))
				}
			}
		}
		if err != nil {
			if err = contextError(ctx, err); ctx.Err() == nil && rows == 1 {
				return p.t.fail(keys[0], nil, explain(w.dialect, err))
			}
			return fmt.Errorf("write records of %s: %w", p.t.collection, err)
		}
		args, keys = args[n:], keys[rows:]
	}
	clear(p.args)
	p.args, p.keys, p.bytes = p.args[:0], p.keys[:0], 0
	return nil
}

// attempt stores rows, if need be with references that wait.
func (w *writer) attempt(ctx context.Context, p *put, args []any, keys []string) (alive bool, err error) {
	alive, err = w.tx.attempt(ctx, func() error { return w.exec(ctx, p, args, len(keys)) })
	alive = alive && ctx.Err() == nil
	if err == nil || !alive || len(p.t.loose) == 0 || !w.dialect.(stepwise).dangles(err) {
		return alive, err
	}
	without, later := p.withoutReferences(args, keys)
	if len(later) == 0 {
		return true, err
	}
	if again, e := w.tx.attempt(ctx, func() error { return w.exec(ctx, p, without, len(keys)) }); e != nil {
		return again, err
	}
	w.refersLater(p.t, later)
	return true, nil
}

func (w *writer) exec(ctx context.Context, p *put, args []any, rows int) error {
	s := p.sqls[rows]
	if s == nil {
		set := make([]*column, len(p.set))
		for i, c := range p.set {
			set[i] = p.t.columns[c]
		}
		var err error
		if s, err = w.stmt(ctx, w.dialect.upsert(p.t, set, rows)); err != nil {
			return err
		}
		p.sqls[rows] = s
	}
	_, err := s.ExecContext(ctx, args...)
	return err
}

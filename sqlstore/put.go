package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/sqljson"
)

const (
	// These are the most rows, keys, and keys of several columns that one statement takes.
	// More do not make it faster.
	putRows = 64
	inKeys  = 512
	inParts = 128

	// keptStmts is how many statements are kept from one Put to the next. There may be a
	// statement for each combination of columns that records lack.
	keptStmts = 64
)

// A put collects rows that have a value for the same columns.
type put struct {
	t     *table
	set   []int // indexes of the columns
	most  int   // rows of the largest statement
	args  []any
	rows  []backup.Record   // what the arguments are from
	bytes int               // the size of the records, roughly
	sqls  map[int]*sql.Stmt // by the number of rows
}

// Put implements [backup.Writer].
func (w *writer) Put(ctx context.Context, collection string, records []backup.Record) error {
	t, err := w.change(ctx, collection)
	if err == nil {
		t.written = true
		err = w.putKeeping(ctx, t, records)
		for _, p := range w.puts[t] {
			p.reset() // a failure may have left rows
		}
	}
	return w.fail(err)
}

// put stores records now.
func (w *writer) put(ctx context.Context, t *table, records []backup.Record) error {
	return w.putRows(ctx, t, records, false)
}

// putRows stores records, or collects them for a COPY.
func (w *writer) putRows(ctx context.Context, t *table, records []backup.Record, copies bool) error {
	columns := len(t.columns)
	w.values, w.seen = slices.Grow(w.values[:0], columns), slices.Grow(w.seen[:0], columns)
	values, seen := w.values[:columns], w.seen[:columns]
	limit, bounded := w.tx.(interface {
		room() int
		tooLarge(size int) error
	})
	for n, r := range records {
		if copies && w.filling != nil && w.filling.keys[r.Key] { // a parcel keeps no order
			if err := w.send(ctx); err != nil {
				return err
			}
		}
		clear(values)
		clear(seen)
		c, err := w.bind(t, r, values, seen)
		if err != nil {
			return t.fail(r.Key, c, err)
		}
		p := w.putFor(t, seen)
		w.overwritten(t, r.Key)
		if copies {
			packed, err := w.pack(ctx, p, r, values)
			if err == nil && !packed {
				err = w.deliver(ctx)
			}
			switch {
			case err != nil:
				return err
			case !packed:
				return w.put(ctx, t, records[n:])
			}
			continue
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
		p.rows = append(p.rows, r)
		p.bytes += size
		if len(p.rows) == p.most {
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

// bind sets the values of the columns of a record, and marks those that the record has.
// With an error, it returns the column that the error is about.
func (w *writer) bind(t *table, r backup.Record, values []any, seen []bool) (*column, error) {
	if !utf8.Valid(r.Value) {
		return nil, fmt.Errorf("%w: %w", backup.ErrInvalid, sqljson.ErrUTF8)
	}
	key, c, err := t.keyArgs(w.dialect, w.key[:0], r.Key)
	if err != nil {
		return c, err
	}
	w.key = key
	text := string(r.Value) // stored strings are parts of it
	if t.value >= 0 {
		c := t.columns[t.value]
		text = strings.Trim(text, " \t\r\n")
		if !sqljson.IsValue(text) {
			return c, fmt.Errorf("%w: the value is not JSON", backup.ErrInvalid)
		}
		v, err := bindValue(w.dialect, c, text)
		i := t.keys[0]
		values[i], values[t.value] = key[0], v
		seen[i], seen[t.value] = true, true
		return c, err
	}
	if c, err := w.bindMembers(t, text, values, seen); err != nil {
		return c, err
	}
	for _, i := range t.fills {
		if c := t.columns[i]; !seen[i] {
			return c, fmt.Errorf("%w: the member is missing, and without it the database would store the time or a number of its own", backup.ErrInvalid)
		}
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

// bindMembers sets the values of the columns from the members of an object.
func (w *writer) bindMembers(t *table, object string, values []any, seen []bool) (at *column, err error) {
	all := t.inOrder(object, func(i int, value string) bool {
		seen[i] = true
		values[i], err = bindValue(w.dialect, t.columns[i], value)
		return err == nil
	})
	if all {
		return nil, nil
	}
	clear(values)
	clear(seen)
	next := 0
	err = sqljson.Members(object, func(name, value string) error {
		i, field, err := t.member(name, next)
		if err != nil {
			at = &column{Column: Column{Field: field}}
			return err
		}
		next = i + 1
		at = t.columns[i]
		if seen[i] {
			return fmt.Errorf("%w: the member is there twice", backup.ErrInvalid)
		}
		seen[i] = true
		values[i], err = bindValue(w.dialect, at, value)
		return err
	})
	return at, err
}

// inOrder calls f with the columns of a record and their JSON. It returns false if f does, and
// if the record is not as a store writes it: members in the order of the columns, without
// white space around them.
func (t *table) inOrder(record string, f func(i int, value string) bool) bool {
	at := 0
	for i, c := range t.columns {
		name := at + 1
		value := name + len(c.name) + 1
		if value > len(record) || record[name:value-1] != c.name || record[value-1] != ':' {
			continue // the record may lack it
		}
		if first := at == 0; first && record[0] != '{' || !first && record[at] != ',' {
			return false
		}
		if at = sqljson.ValueEnd(record, value); at < 0 || at == len(record) || !f(i, record[value:at]) {
			return false
		}
	}
	return at > 0 && record[at:] == "}"
}

// member returns the index of the column of a member, which is mostly the next one. Without
// such a column, it returns the name of the member and an error.
func (t *table) member(name string, next int) (i int, field string, err error) {
	if next < len(t.columns) && t.columns[next].name == name {
		return next, "", nil
	}
	if field, err = sqljson.Unquote(name); err != nil {
		return 0, "", err
	}
	i, ok := t.index[field]
	if !ok {
		return 0, field, fmt.Errorf("%w: table %q has no column for the member", backup.ErrInvalid, t.plain)
	}
	return i, "", nil
}

// putFor returns the put for records that have a value for the columns seen. Its
// statement does not name the columns that are to get their defaults.
func (w *writer) putFor(t *table, seen []bool) *put {
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
	if p := w.puts[t][string(w.mask)]; p != nil {
		return p
	}
	return w.newPut(t, string(w.mask))
}

func (w *writer) newPut(t *table, mask string) *put {
	p := &put{t: t, sqls: map[int]*sql.Stmt{}}
	for i, c := range t.columns {
		if c.defaultSlot < 0 || mask[c.defaultSlot] == '1' {
			p.set = append(p.set, i)
		}
	}
	p.most = max(1, min(putRows, w.dialect.maxArgs()/len(p.set)))
	if t.lite.triggers() {
		p.most = 1
	}
	if w.puts == nil {
		w.puts = map[*table]map[string]*put{}
	}
	if w.puts[t] == nil {
		w.puts[t] = map[string]*put{}
	}
	w.puts[t][mask] = p
	return p
}

// columns returns the columns that are set.
func (p *put) columns() []*column {
	set := make([]*column, len(p.set))
	for i, c := range p.set {
		set[i] = p.t.columns[c]
	}
	return set
}

// flush stores the rows of p.
func (w *writer) flush(ctx context.Context, p *put) error {
	for from := 0; from < len(p.rows); {
		// The largest statement, or a power of two.
		rows, left := p.most, len(p.rows)-from
		if left < rows {
			rows = 1 << (bits.Len(uint(left)) - 1)
		}
		if err := w.store(ctx, p, from, from+rows); err != nil {
			return err
		}
		from += rows
	}
	p.reset()
	return nil
}

// reset forgets the rows of p.
func (p *put) reset() {
	clear(p.args)
	clear(p.rows)
	p.args, p.rows, p.bytes = p.args[:0], p.rows[:0], 0
}

// store stores some rows of p. Those that cannot be in the table yet wait.
func (w *writer) store(ctx context.Context, p *put, from, to int) error {
	t, rows, n := p.t, p.rows[from:to], len(p.set)
	alive, err := w.attempt(ctx, p, p.args[from*n:to*n], rows)
	yet := err != nil && w.notYet(err)
	switch {
	case err == nil:
		t.crowded = t.crowded && len(rows) == 1
		return nil
	case ctx.Err() != nil, !alive && len(rows) > 1:
		return fmt.Errorf("write records of %s: %w", t.collection, contextError(ctx, err))
	case alive && yet && (len(rows) == 1 || t.crowded):
		for _, r := range rows {
			w.rowWaits(t, r)
		}
		return nil
	case len(rows) == 1:
		return t.fail(rows[0].Key, nil, explain(w.dialect, err))
	}
	// Find out which rows are refused.
	before, middle := len(w.wait(t).rows), (from+to)/2
	if err := w.store(ctx, p, from, middle); err != nil {
		return err
	}
	if err := w.store(ctx, p, middle, to); err != nil {
		return err
	}
	t.crowded = len(rows) == p.most && len(w.wait(t).rows)-before > len(rows)*3/4
	return nil
}

// attempt stores rows. If references need it, they are NULL for now and wait.
func (w *writer) attempt(ctx context.Context, p *put, args []any, rows []backup.Record) (alive bool, err error) {
	alive, err = w.tx.attempt(ctx, func() error { return w.exec(ctx, p, args, len(rows)) })
	alive = alive && ctx.Err() == nil
	if err == nil || !alive || len(p.t.loose) == 0 || !w.dangles(err) {
		return alive, err
	}
	without, later := p.withoutReferences(args, rows)
	if len(later) == 0 {
		return true, err
	}
	if again, e := w.tx.attempt(ctx, func() error { return w.exec(ctx, p, without, len(rows)) }); e != nil {
		return again, err
	}
	w.refersLater(p.t, later)
	return true, nil
}

func (w *writer) exec(ctx context.Context, p *put, args []any, rows int) error {
	if p.t.lite.triggers() {
		return w.updateOrInsert(ctx, p, args)
	}
	s := p.sqls[rows]
	if s == nil {
		var err error
		if s, err = w.stmt(ctx, w.dialect.upsert(p.t, p.columns(), rows)); err != nil {
			return err
		}
		p.sqls[rows] = s
	}
	_, err := s.ExecContext(ctx, args...)
	return err
}

// updateOrInsert stores one row by statements of its own: see [table.updateOrInsert].
func (w *writer) updateOrInsert(ctx context.Context, p *put, args []any) error {
	update, insert := p.t.updateOrInsert(p.columns())
	if update != "" {
		s, err := w.stmt(ctx, update)
		if err != nil {
			return err
		}
		result, err := s.ExecContext(ctx, args...)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n > 0 {
			return err
		}
	}
	s, err := w.stmt(ctx, insert)
	if err == nil {
		_, err = s.ExecContext(ctx, args...)
	}
	return err
}

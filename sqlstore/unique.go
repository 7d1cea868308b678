package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tomo-project/backup"
)

// Databases check unique values at each statement, and a restore promises them for the
// commit alone. A row that is refused waits. At the end, rows that wait are tried again, as
// one may have made room for the next. If rows exchange values, their old rows are set
// aside: columns get NULL, or values that no row has. That never touches a row that is not
// about to be overwritten or deleted.

// mostRefused is how many records an error names.
const mostRefused = 1000

// rowWaits keeps a row until later.
func (w *writer) rowWaits(t *table, r backup.Record) {
	value := []byte(r.Value)
	if !w.trying {
		value = bytes.Clone(value)
	}
	w.wait(t).rows[r.Key] = value
}

// settleRows puts the rows that wait in a table.
func (w *writer) settleRows(ctx context.Context, t *table, e effort) error {
	if len(w.waiting[t].rows) == 0 {
		return nil
	}
	switch e {
	case aside:
		if err := w.putTogether(ctx, t); err != nil {
			return err
		}
		return w.setAside(ctx, t)
	case anew:
		return w.putAnew(ctx, t)
	case beside:
		return w.putTriggering(ctx, t)
	}
	return w.tryRows(ctx, t, e == patient)
}

// tryRows tries the rows that wait in a table, in the order of their keys and against it:
// rows that moved along a list make room for each other in one of these. It goes on while
// a round puts half of the rows or, if it is patient, any.
func (w *writer) tryRows(ctx context.Context, t *table, patient bool) error {
	for backward, idle := true, 0; idle < 2; backward = !backward {
		before := len(w.waiting[t].rows)
		if before == 0 {
			return nil
		}
		t.crowded = false
		if err := w.tryOnce(ctx, t, backward, patient); err != nil {
			return err
		}
		idle++
		if gained := before - len(w.waiting[t].rows); gained > 0 && (patient || gained >= before/2) {
			idle = 0
		}
	}
	return nil
}

// tryOnce tries every row that waits in a table once, and rows after those that they refer
// to, unless it goes backward. One by one, it finds each row that
// can be put.
func (w *writer) tryOnce(ctx context.Context, t *table, backward, oneByOne bool) error {
	w.trying = true
	defer func() { w.trying = false }()
	rows := w.rowsThatWait(t)
	keys, err := w.parentsFirst(ctx, t, rows)
	if err != nil {
		return err
	}
	if backward {
		keys = slices.Sorted(maps.Keys(rows))
		slices.Reverse(keys)
	}
	n := putRows
	if oneByOne {
		n = 1
	}
	for chunk := range slices.Chunk(keys, n) {
		records := make([]backup.Record, len(chunk))
		for i, key := range chunk {
			records[i] = backup.Record{Key: key, Value: rows[key]}
		}
		if err := w.put(ctx, t, records); err != nil {
			return err
		}
	}
	return nil
}

// setAside takes old rows out of the way until the rows that wait can be put.
func (w *writer) setAside(ctx context.Context, t *table) error {
	columns, err := w.tx.uniqueColumns(ctx, t)
	if err != nil {
		return fmt.Errorf("look for the unique indexes of table %q: %w", t.plain, contextError(ctx, err))
	}
	if len(columns) > 0 { // the database may carry out ON UPDATE
		keys := slices.Concat(slices.Sorted(maps.Keys(w.waiting[t].rows)), slices.Sorted(maps.Keys(w.waiting[t].deletes)))
		if err := w.keepReferring(ctx, t, keys); err != nil {
			return err
		}
	}
	standIns, most := map[*column][]string{}, 0
	for _, c := range columns {
		standIns[c] = w.dialect.standIns(t, c)
		most = max(most, len(standIns[c]))
	}
	for i := range most {
		for _, c := range columns {
			if i >= len(standIns[c]) {
				continue
			}
			changed, err := w.setColumn(ctx, t, c, standIns[c][i])
			if err == nil && changed {
				err = w.tryRows(ctx, t, false)
			}
			if err != nil {
				return err
			}
			if len(w.waiting[t].rows) == 0 {
				return nil
			}
		}
	}
	return nil
}

// setColumn sets a column of the rows that are about to be overwritten or deleted, as far
// as the database lets it. It gives up if many of the rows are refused.
func (w *writer) setColumn(ctx context.Context, t *table, c *column, value string) (changed bool, err error) {
	if err := w.tx.checks(ctx, t, false); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, w.tx.checks(ctx, t, true)) }()
	const most = 8 // refused rows
	wait := w.waiting[t]
	keys := slices.Concat(slices.Sorted(maps.Keys(wait.rows)), wait.notTaken())
	for chunk := range slices.Chunk(keys, putRows) {
		n, err := w.setRows(ctx, t, c, value, chunk)
		refused := 0
		for i := 0; err == nil && n < 0 && i < len(chunk); i++ {
			var one int64
			if one, err = w.setRows(ctx, t, c, value, chunk[i:i+1]); one < 0 {
				refused++
			}
			changed = changed || one > 0
			if refused > most {
				return changed, err
			}
		}
		if changed = changed || n > 0; err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// setRows sets a column of rows, and returns how many there are. If the database refuses
// that, it returns -1.
func (w *writer) setRows(ctx context.Context, t *table, c *column, value string, keys []string) (n int64, err error) {
	alive, err := w.tx.attempt(ctx, func() error {
		return w.in(ctx, t, keys, w.dialect.setAside(t, c, value), "", func(s *sql.Stmt, args []any) error {
			result, err := s.ExecContext(ctx, args...)
			if err == nil {
				n, err = result.RowsAffected()
			}
			return err
		})
	})
	if !alive || ctx.Err() != nil {
		return -1, fmt.Errorf("set rows of %s aside: %w", t.collection, contextError(ctx, err))
	}
	if err != nil {
		return -1, nil
	}
	return n, nil
}

// A replacement is how rows can be deleted and inserted anew.
type replacement int

const (
	notReplaceable replacement = iota
	inTwoSteps
	atOnce // in one statement
)

// putAnew deletes the old rows of those that wait, and inserts these. It does so only if
// nothing can be lost with the old rows.
func (w *writer) putAnew(ctx context.Context, t *table) error {
	if !t.whole {
		return nil
	}
	way, err := w.tx.replaceable(ctx, t)
	if err != nil {
		return fmt.Errorf("look for what depends on table %q: %w", t.plain, contextError(ctx, err))
	}
	switch way {
	case notReplaceable:
		return nil
	case atOnce:
		return w.replaceAtOnce(ctx, t)
	}
	err = w.in(ctx, t, slices.Sorted(maps.Keys(w.waiting[t].rows)), "DELETE FROM "+t.name, "", func(s *sql.Stmt, args []any) error {
		_, err := s.ExecContext(ctx, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("write records of %s: %w", t.collection, contextError(ctx, err))
	}
	return w.tryRows(ctx, t, false)
}

// replaceAtOnce replaces all rows that wait in one statement, if they fit into one.
func (w *writer) replaceAtOnce(ctx context.Context, t *table) error {
	rows := w.waiting[t].rows
	set, args, err := w.allBound(t)
	if err != nil || set == nil {
		return err
	}
	alive, err := w.tx.attempt(ctx, func() error {
		_, err := w.conn.ExecContext(ctx, w.dialect.(interface {
			replace(t *table, set []*column, rows int) string
		}).replace(t, set, len(rows)), args...)
		return err
	})
	switch {
	case err == nil:
		clear(rows)
	case !alive || ctx.Err() != nil:
		return fmt.Errorf("write records of %s: %w", t.collection, contextError(ctx, err))
	}
	return nil
}

// bound returns the put for a record, and the arguments of its row.
func (w *writer) bound(t *table, r backup.Record) (p *put, args []any, err error) {
	values, seen := make([]any, len(t.columns)), make([]bool, len(t.columns))
	if c, err := w.bind(t, r, values, seen); err != nil {
		return nil, nil, t.fail(r.Key, c, err)
	}
	p = w.putFor(t, seen)
	for _, i := range p.set {
		args = append(args, values[i])
	}
	return p, args, nil
}

// A clash is a row that another row keeps out of a table.
type clash struct {
	t    *table
	key  string
	set  []*column // that args are for
	args []any

	constraint string // what is unique, in words; empty if it is not known
	advice     string // what to do, if that is not to rename one of the records
	with       string // the key of the other row; empty if it is not known
}

// refusedRows returns an error for each row that waits in a table. What waits for a row
// that cannot be deleted is not the reason, and has no error.
func (w *writer) refusedRows(ctx context.Context, t *table) (errs []error, err error) {
	keys := slices.Sorted(maps.Keys(w.waiting[t].rows))
	for i, key := range keys {
		if len(errs) >= mostRefused {
			return append(errs, fmt.Errorf("and %d more records of %s", len(keys)-i, t.collection)), nil
		}
		refused, err := w.refusedRow(ctx, t, key)
		if err != nil {
			return nil, err
		}
		if refused != nil {
			errs = append(errs, refused)
		}
	}
	return errs, nil
}

func (w *writer) refusedRow(ctx context.Context, t *table, key string) (refused, err error) {
	r := backup.Record{Key: key, Value: w.waiting[t].rows[key]}
	p, args, err := w.bound(t, r)
	if err != nil {
		return nil, err
	}
	alive, err := w.attempt(ctx, p, args, []backup.Record{r})
	switch {
	case err == nil:
		delete(w.waiting[t].rows, key) // it can be put after all
		return nil, nil
	case !alive || !w.notYet(err):
		return nil, t.fail(key, nil, explain(w.dialect, contextError(ctx, err)))
	case !w.dialect.clashes(err):
		return t.fail(key, nil, explain(w.dialect, err)), nil
	}
	found := w.clashOf(ctx, p, key, args)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if w.goes(t, found.with) {
		return nil, nil
	}
	return found.error(w.waiting[t].rows[found.with] != nil, explain(w.dialect, err)), nil
}

// clashOf says as far as possible which row keeps a row out.
func (w *writer) clashOf(ctx context.Context, p *put, key string, args []any) *clash {
	found := &clash{t: p.t, key: key, set: p.columns(), args: args}
	_ = w.tx.clash(ctx, found)
	return found
}

// error returns the error for the row. both tells whether the other row waits too, and
// err is the error of the database.
func (c *clash) error(both bool, err error) error {
	if c.constraint != "" {
		advice := cmp.Or(c.advice, "rename one of the two, or leave one out")
		if both {
			advice = "the records exchange the value, and no other can stand in for it meanwhile: let one of the columns be NULL, or make the constraint DEFERRABLE if the database has that"
		}
		err = fmt.Errorf("%w: %s; %s", backup.ErrClash, c.constraint, advice)
	}
	return &backup.RecordError{Collection: c.t.collection, Key: c.key, With: c.with, Offset: -1, Err: explained{err}}
}

// ofTrigger says that a trigger writes a row that is refused. what names what is unique.
func (c *clash) ofTrigger(what string) {
	c.constraint = what
	c.advice = fmt.Sprintf("a trigger of table %q inserts that row when the record is put: drop the trigger for the restore, or let it leave a row alone that is there", c.t.plain)
}

// uniqueWords names what is unique.
func uniqueWords(index, columns string) string {
	return fmt.Sprintf("unique index %s (%s)", index, columns)
}

package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
)

// A database may refuse for the moment what is right in the end. Such a change waits:
//
//   - A row waits if another row still has a unique value of it, or if a row that it
//     refers to is not there yet.
//
// Some databases check foreign keys, and carry out their actions, at each statement. For
// them, a change that would break a reference for the moment waits too:
//
//   - A row is not deleted while a row of a declared table refers to it. The foreign key
//     could refuse that, or delete rows that a later record is for. Nor is it deleted while
//     any row refers to a value of it that a later record may have under another key.
//   - A reference to a row that is not there yet is NULL until then, if it can be NULL.

// stepwise is the interface that the dialect of such a database implements too.
type stepwise interface {
	// dangles tells whether a statement was refused because a row that it refers to is
	// not there.
	dangles(err error) bool
	// update returns the statement that sets columns in a number of rows. Its arguments
	// are the key and the values of each row.
	update(t *table, set []*column, rows int) string
}

// waiting holds what waits in a table, by key.
type waiting struct {
	rows       map[string][]byte // the JSON of records
	deletes    map[string]bool
	references map[string][]any // the values for the columns of table.loose

	taken map[string]string // of deletes: the keys of the records that rename.go tells of
}

func (w *writer) wait(t *table) *waiting {
	if w.waiting == nil {
		w.waiting = map[*table]*waiting{}
	}
	if w.waiting[t] == nil {
		w.waiting[t] = &waiting{rows: map[string][]byte{}, deletes: map[string]bool{}, references: map[string][]any{}}
	}
	return w.waiting[t]
}

// dangles tells whether a statement was refused because of a row that it refers to.
func (w *writer) dangles(err error) bool {
	d, ok := w.dialect.(stepwise)
	return ok && d.dangles(err)
}

// notYet tells whether a row that was refused with this error may be taken later.
func (w *writer) notYet(err error) bool { return w.dialect.clashes(err) || w.dangles(err) }

// goes tells whether the row under a key waits to be deleted.
func (w *writer) goes(t *table, key string) bool {
	return w.waiting[t] != nil && w.waiting[t].deletes[key]
}

// overwritten forgets what waits for a row.
func (w *writer) overwritten(t *table, key string) {
	w.forget(t, key)
	if wait := w.waiting[t]; wait != nil {
		delete(wait.rows, key)
		delete(wait.deletes, key)
		delete(wait.references, key)
	}
}

// Records implements [backup.Reader] with what the transaction sees.
func (w *writer) Records(ctx context.Context, collection string) iter.Seq2[backup.Record, error] {
	return func(yield func(backup.Record, error) bool) {
		t, err := w.table(collection)
		if err == nil {
			err = w.deliver(ctx)
		}
		if err == nil {
			err = w.needReferences(ctx, t, nil)
		}
		if err != nil {
			yield(backup.Record{}, w.fail(err))
			return
		}
		newKeys := w.rowsThatWait(t)
		for r, err := range w.view.Records(ctx, collection) {
			if err == nil && w.goes(t, r.Key) {
				continue
			}
			if err == nil && newKeys != nil {
				if value, ok := newKeys[r.Key]; ok {
					r.Value = value
					delete(newKeys, r.Key)
				}
			}
			if !yield(r, w.fail(err)) {
				return
			}
			if err != nil {
				return
			}
		}
		for _, key := range slices.Sorted(maps.Keys(newKeys)) {
			if !yield(backup.Record{Key: key, Value: newKeys[key]}, nil) {
				return
			}
		}
	}
}

// rowsThatWait returns a copy of the rows that wait in a table, by key.
func (w *writer) rowsThatWait(t *table) map[string][]byte {
	if w.waiting[t] == nil {
		return nil
	}
	return maps.Clone(w.waiting[t].rows)
}

// remove deletes the rows with the given keys, now or later.
func (w *writer) remove(ctx context.Context, t *table, keys []string) error {
	return w.removeUnless(ctx, t, keys, t.unless)
}

func (w *writer) removeUnless(ctx context.Context, t *table, keys []string, unless string) error {
	err := w.in(ctx, t, keys, "DELETE FROM "+t.name, unless, func(s *sql.Stmt, args []any) error {
		_, err := s.ExecContext(ctx, args...)
		return err
	})
	for _, key := range keys {
		w.overwritten(t, key)
	}
	if err == nil && t.unless != "" {
		err = w.there(ctx, t, keys, "", func(key string) { w.wait(t).deletes[key] = true })
	}
	if err != nil {
		return fmt.Errorf("delete records of %s: %w", t.collection, explain(w.dialect, contextError(ctx, err)))
	}
	return nil
}

// there calls f with the keys of the rows that are there and that meet a condition.
func (w *writer) there(ctx context.Context, t *table, keys []string, and string, f func(key string)) error {
	return w.in(ctx, t, keys, "SELECT "+t.selectedKey+" FROM "+t.name, and, func(s *sql.Stmt, args []any) error {
		rows, err := s.QueryContext(ctx, args...)
		if err != nil {
			return err
		}
		return w.keysIn(t, rows, f)
	})
}

// keysIn calls f with the key in each row of a result, which it closes.
func (w *writer) keysIn(t *table, rows *sql.Rows, f func(key string)) error {
	defer rows.Close()
	row := newKey(t)
	for rows.Next() {
		if err := rows.Scan(row.dest...); err != nil {
			return err
		}
		key, err := row.key(w.dialect)
		if err != nil {
			return err
		}
		f(key)
	}
	return rows.Err()
}

// Settle carries out what waits, and checks what the commit would: see [backup.Writer].
func (w *writer) Settle(ctx context.Context) error {
	if w.failed != nil {
		return w.failed
	}
	if !w.touched || w.settled {
		return nil
	}
	w.changes++
	err := w.fail(w.settle(ctx))
	w.settled = err == nil
	return err
}

func (w *writer) settle(ctx context.Context) error {
	if err := w.deliver(ctx); err != nil {
		return err
	}
	if err := w.resolve(ctx); err != nil {
		return err
	}
	return contextError(ctx, w.tx.settle(ctx, w.dangle))
}

// An effort says what is done for changes that wait. More is done only if less does not
// help: it costs more, and triggers of the host may see it.
type effort int

const (
	again   effort = iota // try them again, as long as that helps many
	aside                 // take rows that go or change out of the way of others
	patient               // try them again, as long as that helps any
	anew                  // delete rows, and insert them anew
	beside                // take rows of other tables out of the way of triggers
)

// resolve carries out what waits. Rows, references and deletes wait for each other.
func (w *writer) resolve(ctx context.Context) error {
	for e := again; ; {
		if err := w.putBack(ctx); err != nil {
			return err
		}
		before := w.countWaiting()
		if before == 0 {
			return nil
		}
		if e >= aside {
			for t := range w.waiting {
				if err := w.renameRows(ctx, t); err != nil {
					return fmt.Errorf("write records of %s: %w", t.collection, contextError(ctx, err))
				}
			}
		}
		if e == aside {
			if err := w.cut(ctx); err != nil {
				return err
			}
		}
		for _, t := range w.all {
			if w.waiting[t] == nil {
				continue
			}
			if err := w.settleRows(ctx, t, e); err != nil {
				return err
			}
			if err := w.settleReferences(ctx, t); err != nil {
				return err
			}
		}
		if err := w.settleDeletes(ctx, e); err != nil {
			return err
		}
		gained := before - w.countWaiting()
		switch {
		case gained > before/8, gained > 0 && e >= patient:
			e = again
		case e < beside:
			e++
		default:
			if err := w.unresolved(ctx); err != nil {
				return err
			}
			if w.countWaiting() == before {
				return errors.New("sqlstore: changes wait, and nothing refuses them")
			}
			e = again
		}
	}
}

func (w *writer) countWaiting() (n int) {
	for _, wait := range w.waiting {
		n += len(wait.rows) + len(wait.deletes) + len(wait.references)
	}
	return n
}

// unresolved returns the error for what still waits.
func (w *writer) unresolved(ctx context.Context) error {
	var errs []error
	refused := dangling{advice: whereRefused}
	for _, t := range w.all {
		if w.waiting[t] == nil {
			continue
		}
		of, err := w.refusedRows(ctx, t)
		if err != nil {
			return err
		}
		errs = append(errs, of...)
		for _, key := range slices.Sorted(maps.Keys(w.waiting[t].references)) {
			err := w.refusedReference(ctx, t, key)
			if r := w.refusedBy(t, err); r != nil {
				refused.addRecord(r, key)
			} else if err != nil && len(errs) < mostRefused {
				errs = append(errs, err)
			}
		}
	}
	if err := refused.err(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return w.refusedDeletes(ctx)
	}
	return errors.Join(errs...)
}

// settleDeletes deletes the rows that wait for it and that no row refers to now. It goes on
// while that helps many or, if it is patient, any. At last it leaves to the database which
// rows those are.
func (w *writer) settleDeletes(ctx context.Context, e effort) error {
	for more := true; more; {
		gained, left := 0, 0
		for _, t := range w.all {
			if w.waiting[t] == nil || len(w.waiting[t].deletes) == 0 {
				continue
			}
			keys := slices.Sorted(maps.Keys(w.waiting[t].deletes))
			err := w.remove(ctx, t, keys)
			if err == nil && len(w.waiting[t].deletes) > len(keys)/2 {
				err = w.removeTogether(ctx, t)
			}
			if err == nil && e >= aside && t.unlessAtLast != t.unless {
				err = w.removeAtLast(ctx, t)
			}
			if err != nil {
				return err
			}
			n := len(w.waiting[t].deletes)
			gained, left = gained+len(keys)-n, left+n
		}
		more = gained > left/8 || gained > 0 && e >= patient
	}
	return nil
}

// refusedDeletes returns the error for rows that cannot be deleted. A row that nothing
// refers to is there because a trigger keeps it: it does not wait any longer.
func (w *writer) refusedDeletes(ctx context.Context) error {
	var left []string
	for _, t := range w.all {
		if w.waiting[t] != nil && len(w.waiting[t].deletes) > 0 {
			kept := func(key string) { delete(w.waiting[t].deletes, key) }
			if err := w.there(ctx, t, slices.Sorted(maps.Keys(w.waiting[t].deletes)), t.unless, kept); err != nil {
				return fmt.Errorf("look for rows that stay: %w", contextError(ctx, err))
			}
		}
		if w.waiting[t] != nil && len(w.waiting[t].deletes) > 0 {
			keys := slices.Sorted(maps.Keys(w.waiting[t].deletes))
			left = append(left, fmt.Sprintf("table %q: %s (from %s)", t.plain, some(keys), strings.Join(slices.Compact(slices.Sorted(slices.Values(t.referrers))), ", ")))
			for _, key := range slices.Sorted(maps.Keys(w.waiting[t].taken)) {
				left = append(left, fmt.Sprintf("the record %q has the value of %q to which they refer: leave it its key", w.waiting[t].taken[key], key))
			}
		}
	}
	if len(left) == 0 {
		return nil
	}
	return w.staying(ctx, left)
}

// cut removes the references from the rows that wait to be deleted.
func (w *writer) cut(ctx context.Context) error {
	for _, t := range w.all {
		if w.waiting[t] == nil || len(t.loose) == 0 {
			continue
		}
		var set []string
		for _, c := range t.loose {
			set = append(set, c.quoted+" = NULL")
		}
		keys := slices.Sorted(maps.Keys(w.waiting[t].deletes))
		// A CHECK or a trigger may refuse that: cutting the references of others may do.
		alive, err := w.tx.attempt(ctx, func() error {
			return w.in(ctx, t, keys, "UPDATE "+t.name+" SET "+strings.Join(set, ", "), "", func(s *sql.Stmt, args []any) error {
				_, err := s.ExecContext(ctx, args...)
				return err
			})
		})
		if err != nil && (!alive || ctx.Err() != nil) {
			return fmt.Errorf("delete records of %s: %w", t.collection, explain(w.dialect, contextError(ctx, err)))
		}
	}
	return nil
}

// withoutReferences returns the arguments of rows with NULL for the references that can
// wait, and these references by key.
func (p *put) withoutReferences(args []any, rows []backup.Record) (without []any, later map[string][]any) {
	var at []int // the places of the loose columns among those that are set
	for _, c := range p.t.loose {
		at = append(at, slices.IndexFunc(p.set, func(i int) bool { return p.t.columns[i] == c }))
	}
	without, later = slices.Clone(args), map[string][]any{}
	for row, r := range rows {
		values, any := make([]any, len(at)), false
		for i, column := range at {
			if column < 0 {
				continue
			}
			cell := &without[row*len(p.set)+column]
			values[i], any = *cell, any || *cell != nil
			*cell = nil
		}
		if any {
			later[r.Key] = values
		}
	}
	return without, later
}

func (w *writer) refersLater(t *table, later map[string][]any) {
	maps.Copy(w.wait(t).references, later)
}

// settleReferences writes the references that wait in a table and that can be written.
func (w *writer) settleReferences(ctx context.Context, t *table) error {
	wait := w.waiting[t].references
	for keys := range slices.Chunk(slices.Sorted(maps.Keys(wait)), putRows) {
		alive, err := w.refer(ctx, t, keys)
		for i := 0; err != nil && alive && i < len(keys); i++ {
			one := error(nil)
			if alive, one = w.refer(ctx, t, keys[i:i+1]); one != nil && !w.notYet(one) {
				return t.fail(keys[i], t.loose[0], explain(w.dialect, one))
			}
		}
		if !alive || ctx.Err() != nil {
			return fmt.Errorf("write records of %s: %w", t.collection, explain(w.dialect, contextError(ctx, err)))
		}
	}
	return nil
}

// needReferences fails if the row under one of the keys has a reference that cannot be
// written yet. Without keys, it is about all rows.
func (w *writer) needReferences(ctx context.Context, t *table, keys []string) error {
	if w.waiting[t] == nil {
		return nil
	}
	wait := w.waiting[t].references
	waits := func(key string) bool { return wait[key] != nil }
	if len(wait) == 0 || keys != nil && !slices.ContainsFunc(keys, waits) {
		return nil
	}
	if err := w.settleReferences(ctx, t); err != nil {
		return err
	}
	if keys == nil {
		keys = slices.Sorted(maps.Keys(wait))
	}
	for _, key := range keys {
		if waits(key) {
			return w.refusedReference(ctx, t, key)
		}
	}
	return nil
}

// refusedReference returns the error for a reference that cannot be written.
func (w *writer) refusedReference(ctx context.Context, t *table, key string) error {
	_, err := w.refer(ctx, t, []string{key})
	if err == nil || ctx.Err() != nil {
		return contextError(ctx, err)
	}
	return t.fail(key, t.loose[0], explain(w.dialect, err))
}

// refer writes the references of rows.
func (w *writer) refer(ctx context.Context, t *table, keys []string) (alive bool, err error) {
	var args []any
	for _, key := range keys {
		if args, _, err = t.keyArgs(w.dialect, args, key); err != nil {
			return false, err
		}
		args = append(args, w.waiting[t].references[key]...)
	}
	alive, err = w.tx.attempt(ctx, func() error {
		s, err := w.stmt(ctx, w.dialect.(stepwise).update(t, t.loose, len(keys)))
		if err == nil {
			_, err = s.ExecContext(ctx, args...)
		}
		return err
	})
	if err == nil {
		for _, key := range keys {
			delete(w.waiting[t].references, key)
		}
	}
	return alive, err
}

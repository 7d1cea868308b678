package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
)

// A database that checks foreign keys at each step tells which foreign key refused a
// statement, but not which records are the reason.

// refusedBy returns the foreign key of a table because of which a row was refused: it
// leads to nothing. It returns nil if there is none.
func (w *writer) refusedBy(t *table, err error) *reference {
	return w.violated(err, func(r *reference) bool { return r.table == t && (r.parent != t || !r.toMutable()) })
}

// violated returns the foreign key that an error of the database names.
func (w *writer) violated(err error, is func(*reference) bool) (found *reference) {
	if d, ok := w.dialect.(stepwise); !ok || !d.dangles(err) {
		return nil
	}
	refs, e := w.tx.references(context.Background(), w.all) // known since the first change
	if e != nil {
		return nil
	}
	for _, r := range refs {
		if is(r) && strings.Contains(err.Error(), r.constraint) && (found == nil || len(r.constraint) > len(found.constraint)) {
			found = r
		}
	}
	return found
}

// named says by which foreign key the database has refused each record that err is about.
func (w *writer) named(err error) error {
	switch e := err.(type) {
	case *backup.RecordError:
		if t := w.tables[e.Collection]; t != nil {
			w.name(t, e)
		}
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			w.named(err)
		}
	case interface{ Unwrap() error }:
		w.named(e.Unwrap())
	}
	return err
}

func (w *writer) name(t *table, e *backup.RecordError) {
	var done *danglingError
	if errors.As(e.Err, &done) {
		return
	}
	if r := w.refusedBy(t, e.Err); r != nil {
		named := r.dangles(e.Key, whereRefused)
		e.Pointer, e.Err = named.Pointer, &danglingError{named.Err.Error(), []error{named.Err, e.Err}}
	} else if r := w.violated(e.Err, func(r *reference) bool { return r.parent == t }); r != nil {
		text := fmt.Sprintf("%v: rows of table %q refer by the foreign key %s to what the record has now: change them first, or leave the record as it is", backup.ErrDangling, r.plain, r.title())
		e.Err = &danglingError{text, []error{backup.ErrDangling, e.Err}}
	}
}

// removeAtLast leaves it to the database whether the rows that wait in a table can be
// deleted.
func (w *writer) removeAtLast(ctx context.Context, t *table) error {
	keys := w.waiting[t].notTaken()
	alive, err := w.tx.attempt(ctx, func() error { return w.removeUnless(ctx, t, keys, t.unlessAtLast) })
	if err == nil || !alive || !w.dialect.(stepwise).dangles(err) {
		return err
	}
	for _, key := range keys { // they still wait
		w.wait(t).deletes[key] = true
	}
	return nil
}

// staying returns the error for rows that cannot be deleted, which left lists. It names
// the records that refer to them.
func (w *writer) staying(ctx context.Context, left []string) error {
	refs, err := w.tx.references(ctx, w.all)
	if err != nil {
		return err
	}
	d := dangling{advice: "keep that row, or delete this one too"}
	for _, r := range refs {
		wait := w.waiting[r.parent]
		if r.table == nil || r.parent == nil || wait == nil || len(wait.deletes) == 0 {
			continue
		}
		keys, err := w.referring(ctx, r, slices.Sorted(maps.Keys(wait.deletes)))
		if err != nil {
			return fmt.Errorf("look for rows that stay: %w", contextError(ctx, err))
		}
		for _, key := range keys {
			if !w.goes(r.table, key) {
				d.addRecord(r, key)
			}
		}
	}
	text := fmt.Sprintf("%v: rows that stay refer to rows that are deleted, %s", backup.ErrDangling, strings.Join(left, "; "))
	if len(d.records) == 0 {
		text += "; if all of them are deleted, they need each other: make one of the foreign keys DEFERRABLE, or let its column be NULL"
	}
	return &danglingError{text, append([]error{backup.ErrDangling}, d.records...)}
}

// referring returns the keys of the records whose rows refer to rows with the given keys.
func (w *writer) referring(ctx context.Context, r *reference, parents []string) (keys []string, err error) {
	seen := map[string]bool{}
	start := "SELECT " + r.table.selectedKey + " FROM " + r.name + " AS c WHERE EXISTS (SELECT FROM (SELECT * FROM " + r.parentName
	end := ") AS p WHERE " + r.join("c", "p", quote) + ")"
	err = w.in(ctx, r.parent, parents, start, end, func(s *sql.Stmt, args []any) error {
		rows, err := s.QueryContext(ctx, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		row := newKey(r.table)
		for rows.Next() {
			if err := rows.Scan(row.dest...); err != nil {
				return err
			}
			if key, err := row.key(w.dialect); err == nil && !seen[key] {
				seen[key] = true
				keys = append(keys, key)
			}
		}
		return rows.Err()
	})
	return keys, err
}

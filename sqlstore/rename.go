package sqlstore

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tomo-project/backup"
)

// Rows may refer to a unique value that is not the key. If a record has the value under a
// new key, the old row cannot be deleted first: the foreign key would refuse that, or
// delete the rows that refer to it. So the old row gets the new key.

// renameRows gives the keys of records that wait to rows that wait to be deleted, where
// other rows refer to a value of both. It notes what it cannot rename.
func (w *writer) renameRows(ctx context.Context, t *table) error {
	wait := w.waiting[t]
	wait.taken = map[string]string{}
	if len(wait.rows) == 0 || len(wait.deletes) == 0 {
		return nil
	}
	refs, err := w.tx.references(ctx, w.all)
	if err != nil {
		return err
	}
	refs = slices.DeleteFunc(refs, func(r *reference) bool { return r.parent != t })
	for _, r := range refs {
		if !r.toMutable() || r.period {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(wait.rows)) {
			record := backup.Record{Key: key, Value: wait.rows[key]}
			old, err := w.takenBy(ctx, r, record)
			if err != nil {
				return err
			}
			renamed := false
			if old != "" && t.whole {
				if renamed, err = w.rename(ctx, refs, t, old, record); err != nil {
					return err
				}
			}
			if old != "" && !renamed && r.table == nil {
				wait.taken[old] = key
			}
		}
	}
	return nil
}

// notTaken returns the keys of the rows that wait to be deleted and to whose values no
// record would have to take over rows that are not declared.
func (wait *waiting) notTaken() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(wait.deletes)), func(key string) bool { return wait.taken[key] != "" })
}

// sameAs returns the conditions that the row p of a table has the values v of a record in
// columns. ok is false if there may be no such row.
func (t *table) sameAs(columns []string, set []*column, args []any) (same []string, ok bool) {
	for _, name := range columns {
		at := slices.IndexFunc(set, func(c *column) bool { return c.Name == name })
		if at < 0 || args[at] == nil {
			return nil, false
		}
		same = append(same, "p."+quote(name)+" = "+set[at].pg.write)
	}
	return same, true
}

// takenBy returns the key of a row that waits to be deleted, and that has the values of a
// record by which other rows refer to it. It is empty if there is none.
func (w *writer) takenBy(ctx context.Context, r *reference, record backup.Record) (old string, err error) {
	t := r.parent
	p, args, err := w.bound(t, record)
	if err != nil {
		return "", err
	}
	same, ok := t.sameAs(r.parentColumns, p.columns(), args)
	if !ok {
		return "", nil
	}
	query := "SELECT " + t.selectedKey + " FROM " + t.name + " AS p WHERE EXISTS (SELECT FROM " + postgres{}.values(t, p.columns(), 1) + " WHERE " + strings.Join(same, " AND ") +
		")"
	if r.table != nil || !r.hidden {
		query += " AND EXISTS (SELECT FROM " + r.name + " AS c WHERE " + r.join("c", "p", quote) + ")"
	}
	s, err := w.stmt(ctx, query)
	if err != nil {
		return "", err
	}
	rows, err := s.QueryContext(ctx, args...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	row := newKey(t)
	for rows.Next() {
		if err := rows.Scan(row.dest...); err != nil {
			return "", err
		}
		if key, err := row.key(w.dialect); err == nil && w.goes(t, key) {
			old = key
		}
	}
	return old, rows.Err()
}

// rename makes a row the one of a record with another key. It does so only if no other
// row refers to what the row no longer has.
func (w *writer) rename(ctx context.Context, refs []*reference, t *table, old string, record backup.Record) (renamed bool, err error) {
	p, args, err := w.bound(t, record)
	if err != nil {
		return false, err
	}
	set := p.columns()
	var write, where []string
	for _, c := range t.columns {
		if i := slices.Index(set, c); i >= 0 {
			write = append(write, c.quoted+" = "+c.pg.write)
		} else {
			write = append(write, c.quoted+" = DEFAULT")
		}
	}
	key, _, err := t.keyArgs(w.dialect, nil, old)
	if err != nil {
		return false, err
	}
	for part, c := range t.keyColumns() {
		where = append(where, "p."+c.quoted+" = $"+strconv.Itoa(len(args)+1+part)+"::"+c.pg.lookup)
	}
	for _, r := range refs {
		free := "NOT EXISTS (SELECT FROM " + r.name + " AS c WHERE " + r.join("c", "p", quote)
		if r.table == t {
			free += " AND (" + t.keyNames("c.") + ") <> (" + t.keyNames("p.") + ")"
		}
		free += ")"
		if r.table == nil && r.hidden {
			free = "false"
		}
		if same, ok := t.sameAs(r.parentColumns, set, args); ok {
			free = "(" + strings.Join(same, " AND ") + " OR " + free + ")"
		}
		where = append(where, free)
	}
	query := "UPDATE " + t.name + " AS p SET " + strings.Join(write, ", ") + " FROM " + postgres{}.values(t, set, 1) + " WHERE " + strings.Join(where, " AND ")
	update := func(args []any) (alive bool, err error) {
		return w.tx.attempt(ctx, func() error {
			var result sql.Result
			s, err := w.stmt(ctx, query)
			if err == nil {
				result, err = s.ExecContext(ctx, slices.Concat(args, key)...)
			}
			if err == nil {
				var n int64
				n, err = result.RowsAffected()
				renamed = n > 0
			}
			return err
		})
	}
	alive, err := update(args)
	if err != nil && alive && w.dangles(err) && len(t.loose) > 0 {
		without, later := p.withoutReferences(args, []backup.Record{record})
		if alive, err = update(without); err == nil && renamed {
			w.refersLater(t, later)
		}
	}
	if !alive || ctx.Err() != nil {
		return false, contextError(ctx, err)
	}
	if renamed = renamed && err == nil; renamed {
		delete(w.waiting[t].rows, record.Key)
		delete(w.waiting[t].deletes, old)
	}
	return renamed, nil
}

package sqlstore

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
)

// Where a database carries out ON UPDATE, a changed row changes rows that refer to it.
// These are kept as they were, and put back at the end.

// A kept is a table whose rows are kept, with the JSON of their records by key.
type kept struct {
	t       *table
	records map[string][]byte
}

// putKeeping puts records, and keeps those that refer to them and that change with them.
func (w *writer) putKeeping(ctx context.Context, t *table, records []backup.Record) error {
	refs, err := w.following(ctx, t)
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		return w.putLater(ctx, t, records)
	}
	var keys []string
	for chunk := range slices.Chunk(records, putRows) {
		changed, err := w.changed(ctx, t, refs, chunk)
		if err != nil {
			return err
		}
		keys = append(keys, changed...)
	}
	if err := w.keepReferring(ctx, t, keys); err != nil {
		return err
	}
	if err := w.put(ctx, t, records); err != nil || len(w.rowsThatWait(t)) > 0 {
		return err // a row that waits will change them
	}
	return w.keepChanged(ctx)
}

// changed returns the keys of the records that change a value to which the foreign keys
// lead.
func (w *writer) changed(ctx context.Context, t *table, refs []*reference, records []backup.Record) (keys []string, err error) {
	set := t.keyColumns()
	var same, differ []string
	for _, c := range set {
		same = append(same, "p."+c.quoted+" = "+c.pg.write)
	}
	for _, c := range t.columns {
		if !c.key && slices.ContainsFunc(refs, func(r *reference) bool { return slices.Contains(r.parentColumns, c.Name) }) {
			// The database follows a change of a letter's case too, which its = may not see.
			differ = append(differ, "(p."+c.quoted+")::text COLLATE \"C\" IS DISTINCT FROM ("+c.pg.write+")::text COLLATE \"C\"")
			set = append(set, c)
		}
	}
	var args []any
	for _, r := range records {
		values, seen := make([]any, len(t.columns)), make([]bool, len(t.columns))
		if c, err := w.bind(t, r, values, seen); err != nil {
			return nil, t.fail(r.Key, c, err)
		}
		for _, c := range set {
			args = append(args, values[slices.Index(t.columns, c)])
		}
	}
	rows, err := w.conn.QueryContext(ctx, "SELECT "+t.selectedKey+" FROM "+t.name+" AS p WHERE EXISTS (SELECT FROM "+postgres{}.values(t, set, len(records))+
		" WHERE "+strings.Join(same, " AND ")+" AND ("+strings.Join(differ, " OR ")+"))", args...)
	if err != nil {
		return nil, fmt.Errorf("look for records of %s that change: %w", t.collection, contextError(ctx, err))
	}
	defer rows.Close()
	row := newKey(t)
	for rows.Next() {
		if err := rows.Scan(row.dest...); err != nil {
			return nil, err
		}
		key, err := row.key(w.dialect)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, rows.Err()
}

// following returns the foreign keys by which a change of a table changes records.
func (w *writer) following(ctx context.Context, t *table) (found []*reference, err error) {
	if _, ok := w.dialect.(stepwise); !ok {
		return nil, nil
	}
	refs, err := w.tx.references(ctx, w.all)
	for _, r := range refs {
		if r.follows && r.parent == t && r.table != nil && r.toMutable() {
			found = append(found, r)
		}
	}
	return found, err
}

// keepReferring also keeps what refers to what it keeps: the database goes on.
func (w *writer) keepReferring(ctx context.Context, t *table, keys []string) error {
	refs, err := w.following(ctx, t)
	if err != nil {
		return err
	}
	for _, r := range refs {
		children, err := w.referring(ctx, r, keys)
		if err != nil {
			return fmt.Errorf("look for rows that refer to those of %s: %w", t.collection, contextError(ctx, err))
		}
		k := w.keptOf(r.table)
		wait := w.waiting[r.table]
		children = slices.DeleteFunc(children, func(key string) bool {
			return k.records[key] != nil || wait != nil && (wait.deletes[key] || wait.references[key] != nil)
		})
		if len(children) == 0 {
			continue
		}
		found, err := w.Lookup(ctx, r.table.collection, children)
		if err != nil {
			return err
		}
		for _, record := range found {
			k.records[record.Key] = bytes.Clone(record.Value)
		}
		if err := w.keepReferring(ctx, r.table, children); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) keptOf(t *table) *kept {
	for _, k := range w.kept {
		if k.t == t {
			return k
		}
	}
	w.kept = append(w.kept, &kept{t, map[string][]byte{}})
	return w.kept[len(w.kept)-1]
}

// forget forgets a record that is put or deleted itself.
func (w *writer) forget(t *table, key string) {
	for _, k := range w.kept {
		if k.t == t {
			delete(k.records, key)
		}
	}
}

// keepChanged forgets the records that are as they were.
func (w *writer) keepChanged(ctx context.Context) error {
	for _, k := range w.kept {
		now, err := w.Lookup(ctx, k.t.collection, slices.Sorted(maps.Keys(k.records)))
		if err != nil {
			return err
		}
		changed := map[string][]byte{}
		for _, r := range now {
			if was := k.records[r.Key]; !bytes.Equal(was, r.Value) {
				changed[r.Key] = was
			}
		}
		k.records = changed
	}
	return nil
}

// putBack puts the records that were kept, those that others refer to first. Those that
// would refer to nothing stay as the database has made them, and are tried again later.
func (w *writer) putBack(ctx context.Context) error {
	if err := w.keepChanged(ctx); err != nil {
		return err
	}
	for _, k := range w.kept {
		var records []backup.Record
		for _, key := range slices.Sorted(maps.Keys(k.records)) {
			r := backup.Record{Key: key, Value: k.records[key]}
			refers, err := w.wouldRefer(ctx, k.t, r)
			if err != nil {
				return err
			}
			if refers {
				records = append(records, r)
			}
		}
		if err := w.put(ctx, k.t, records); err != nil {
			return err
		}
	}
	return nil
}

// wouldRefer tells whether all that a record refers to is there.
func (w *writer) wouldRefer(ctx context.Context, t *table, r backup.Record) (bool, error) {
	values, seen := make([]any, len(t.columns)), make([]bool, len(t.columns))
	if c, err := w.bind(t, r, values, seen); err != nil {
		return false, t.fail(r.Key, c, err)
	}
	refs, err := w.tx.references(ctx, w.all)
	if err != nil {
		return false, err
	}
	for _, ref := range refs {
		if !ref.follows || ref.table != t {
			continue
		}
		var set []*column
		var args []any
		var same []string
		for i, name := range ref.columns {
			at := findColumn(t.columns, name)
			if at < 0 || values[at] == nil {
				break // the host's, or a reference to nothing
			}
			c := t.columns[at]
			set, args, same = append(set, c), append(args, values[at]), append(same, "p."+quote(ref.parentColumns[i])+" = "+c.pg.write)
		}
		if len(set) < len(ref.columns) {
			continue
		}
		var there bool
		query := "SELECT EXISTS (SELECT FROM " + ref.parentName + " AS p WHERE " + strings.Join(same, " AND ") + ") FROM " + postgres{}.values(t, set, 1)
		if err := w.conn.QueryRowContext(ctx, query, args...).Scan(&there); err != nil || !there {
			return false, err
		}
	}
	return true, nil
}

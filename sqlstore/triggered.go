package sqlstore

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/tomo-project/backup"
)

// A trigger can insert rows into another table, such as the settings of a new user. If
// records with their keys are there already, the database refuses the row that the trigger
// runs for. Then these records step aside for the moment, and overwrite those rows.

// putTriggering puts the rows that wait in a table, and that its triggers keep out.
func (w *writer) putTriggering(ctx context.Context, t *table) error {
	effects, err := w.Effects(ctx, t.collection)
	if err != nil || len(effects) == 0 {
		return err
	}
	if out, err := w.keptOutFromElsewhere(ctx, t); err != nil || !out {
		return err
	}
	for _, other := range w.all {
		if len(w.waiting[t].rows) == 0 {
			return nil
		}
		if other == t || !other.whole {
			continue
		}
		way, err := w.tx.replaceable(ctx, other)
		if err != nil {
			return fmt.Errorf("look for what depends on table %q: %w", other.plain, contextError(ctx, err))
		}
		if way != inTwoSteps {
			continue
		}
		if err := w.putBeside(ctx, t, other); err != nil {
			return err
		}
	}
	return nil
}

// keptOutFromElsewhere tells whether a row waits in a table that no other row of the table is
// known to keep out.
func (w *writer) keptOutFromElsewhere(ctx context.Context, t *table) (bool, error) {
	rows := w.waiting[t].rows
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		p, args, err := w.bound(t, backup.Record{Key: key, Value: rows[key]})
		if err != nil {
			return false, err
		}
		if found := w.clashOf(ctx, p, key, args); found.with == "" {
			return true, ctx.Err()
		}
	}
	return false, ctx.Err()
}

// putBeside puts the rows that wait in t without those records of another table whose keys
// triggers of t give to rows.
func (w *writer) putBeside(ctx context.Context, t, other *table) error {
	keys, err := w.triggeredKeys(ctx, t, other)
	if err != nil || len(keys) == 0 {
		return err
	}
	found, err := w.Lookup(ctx, other.collection, keys)
	if err != nil {
		return err
	}
	var records []backup.Record
	keys = nil
	for _, r := range found {
		records = append(records, backup.Record{Key: r.Key, Value: bytes.Clone(r.Value)})
		keys = append(keys, r.Key)
	}
	if len(records) == 0 {
		return nil
	}
	if err := w.removeUnless(ctx, other, keys, ""); err != nil {
		return err
	}
	if err := w.tryRows(ctx, t, false); err != nil {
		return err
	}
	return w.put(ctx, other, records)
}

// triggeredKeys returns the keys of the rows that triggers insert into another table when
// the rows that wait in t are put. To find them, it empties the other table for the moment.
func (w *writer) triggeredKeys(ctx context.Context, t, other *table) (keys []string, err error) {
	// The second is for attempt, which may release the last one of that name.
	if err := w.savepoints(ctx, "SAVEPOINT triggered", "SAVEPOINT sqlstore"); err != nil {
		return nil, err
	}
	alive, err := w.tx.attempt(ctx, func() error {
		_, err := w.conn.ExecContext(ctx, "DELETE FROM "+other.name)
		return err
	})
	rows := w.waiting[t].rows
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		if err != nil || ctx.Err() != nil {
			break
		}
		p, args, e := w.bound(t, backup.Record{Key: key, Value: rows[key]})
		if e != nil {
			return nil, e
		}
		// A row that is refused now is refused for another reason.
		if alive, e = w.tx.attempt(ctx, func() error { return w.exec(ctx, p, args, 1) }); !alive {
			err = e
		}
	}
	if err == nil {
		err = w.keys(ctx, other, func(key string) bool {
			keys = append(keys, key)
			return true
		})
	}
	if !alive || ctx.Err() != nil {
		return nil, fmt.Errorf("write records of %s: %w", t.collection, contextError(ctx, err))
	}
	if e := w.savepoints(ctx, "ROLLBACK TO SAVEPOINT triggered", "RELEASE SAVEPOINT triggered"); e != nil || err != nil {
		return nil, e // with err alone, the other table cannot be emptied
	}
	return keys, nil
}

func (w *writer) savepoints(ctx context.Context, statements ...string) error {
	for _, s := range statements {
		if _, err := w.conn.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, contextError(ctx, err))
		}
	}
	return nil
}

//go:build !race

package integration

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/sqlstore"
)

// A twinHost is what is restored into.
type twinHost interface {
	// open puts the host in the state of a round.
	open(ctx context.Context, r *twinRound) (_ backup.Store, done func(), _ error)
	// dump returns all that the host has, byte for byte, and read the same as a state.
	dump(ctx context.Context, s *twinSchema) (string, error)
	read(ctx context.Context, s *twinSchema) (twinState, error)
}

func newTwinHost(t *testing.T, d database) twinHost {
	if d.open == nil {
		return &twinMemory{}
	}
	return &twinDatabase{randomHost: newRandomHost(t, d)}
}

// twinMemory is the reference store, with numbers for those collections that have them.
type twinMemory struct {
	backuptest.MapStore
	schema  *twinSchema
	highest map[string]int
}

func (h *twinMemory) open(_ context.Context, r *twinRound) (backup.Store, func(), error) {
	h.MapStore, h.schema, h.highest = r.schema.store(r.found), r.schema, r.highest
	return h, func() {}, nil
}

func (h *twinMemory) dump(context.Context, *twinSchema) (string, error) {
	text, err := json.MarshalIndent(map[string]map[string]string(h.MapStore), "", " ")
	return string(text), err
}

func (h *twinMemory) read(ctx context.Context, s *twinSchema) (twinState, error) {
	return s.read(ctx, h.MapStore)
}

func (h *twinMemory) Update(ctx context.Context, write func(backup.Writer) error) error {
	return h.MapStore.Update(ctx, func(w backup.Writer) error { return write(&twinNumbers{w, h, map[string]int{}}) })
}

// twinNumbers has the keys of new records.
type twinNumbers struct {
	backup.Writer
	host *twinMemory
	last map[string]int
}

func (w *twinNumbers) NewKeys(ctx context.Context, collection string, n int) (keys []string, err error) {
	if !w.host.schema.table(collection).numbered {
		return nil, fmt.Errorf("%w: no numbers", errors.ErrUnsupported)
	}
	last := max(w.last[collection], w.host.highest[collection])
	for key, err := range w.Keys(ctx, collection) {
		number, wrong := strconv.Atoi(key)
		if err := errors.Join(err, wrong); err != nil {
			return nil, err
		}
		last = max(last, number)
	}
	for range n {
		last++
		keys = append(keys, strconv.Itoa(last))
	}
	w.last[collection] = last
	return keys, nil
}

// read returns what a store has.
func (s *twinSchema) read(ctx context.Context, store backup.DataSource) (twinState, error) {
	state := twinState{}
	err := store.View(ctx, func(r backup.Reader) error {
		for _, t := range s.collections {
			var err error
			if state[t.Name], err = t.read(r.Records(ctx, t.Name)); err != nil {
				return err
			}
		}
		return nil
	})
	return state, err
}

func (t *twinTable) read(all iter.Seq2[backup.Record, error]) (map[string]twinRecord, error) {
	records := map[string]twinRecord{}
	for r, err := range all {
		if err != nil {
			return nil, err
		}
		v, err := parseTwin(r.Value)
		if err != nil {
			return nil, err
		}
		if t.Shape == backup.Map {
			records[r.Key] = twinRecord{r.Key: v}
			continue
		}
		record := twinRecord(v.(map[string]any))
		records[t.keyOf(record)] = record
	}
	return records, nil
}

// twinDatabase is a database, and the tables of one round after another in it.
type twinDatabase struct {
	randomHost
	db    *sql.DB
	store sqlstore.Store
}

func (h *twinDatabase) open(ctx context.Context, r *twinRound) (backup.Store, func(), error) {
	db, err := h.connect()
	if err != nil {
		return nil, nil, err
	}
	clear, err := h.clear(ctx, db)
	for _, statements := range []string{clear, r.schema.create(), r.schema.fill(r.found, r.highest)} {
		if err == nil && statements != "" {
			_, err = db.ExecContext(ctx, statements)
		}
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("%w: %s", err, statements), db.Close())
		}
	}
	h.db, h.store = db, sqlstore.Store{DB: db, Dialect: h.dialect, Wire: wire(h.dialect)}
	for _, t := range r.schema.collections {
		table := sqlstore.Table{Collection: t.Name}
		if t.Shape == backup.Map {
			table.Key, table.Value = "key", "value"
		}
		h.store.Tables = append(h.store.Tables, table)
	}
	return h.store, func() { _ = db.Close() }, nil
}

// fill returns the statements that put new tables in a state.
func (s *twinSchema) fill(state twinState, highest map[string]int) string {
	var b strings.Builder
	for _, t := range s.collections {
		for _, key := range slices.Sorted(maps.Keys(state[t.Name])) {
			if t.Shape == backup.Map {
				fmt.Fprintf(&b, "INSERT INTO settings VALUES (%s, %s);\n", literal(key), literal(t.valueText(key, state[t.Name][key])))
				continue
			}
			var values []string
			for _, f := range t.fields {
				v := state[t.Name][key][f.name]
				switch v.(type) {
				case map[string]any, []any:
					v = mustJSON(v)
				}
				values = append(values, literal(v))
			}
			fmt.Fprintf(&b, "INSERT INTO %s VALUES (%s);\n", t.Name, strings.Join(values, ", "))
		}
		if n := highest[t.Name]; n > 0 && s.name == "PostgreSQL" {
			fmt.Fprintf(&b, "SELECT setval(pg_get_serial_sequence('%s', 'id'), %d);\n", t.Name, n)
		} else if n > 0 {
			fmt.Fprintf(&b, "DELETE FROM sqlite_sequence WHERE name = '%s'; INSERT INTO sqlite_sequence VALUES ('%[1]s', %d);\n", t.Name, n)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "BEGIN;\n" + b.String() + "COMMIT;\n"
}

func (h *twinDatabase) dump(ctx context.Context, s *twinSchema) (string, error) {
	var b strings.Builder
	for _, t := range s.collections {
		columns := []string{"key", "value"}
		if t.Shape != backup.Map {
			columns = nil
			for _, f := range t.fields {
				columns = append(columns, f.name)
			}
		}
		for i, c := range columns {
			columns[i] = map[string]string{"SQLite": "quote(" + c + ")", "PostgreSQL": "coalesce(quote_literal(" + c + "::text), 'NULL')"}[s.name]
		}
		query := fmt.Sprintf("SELECT %s FROM %s ORDER BY 1", strings.Join(columns, " || ', ' || "), t.Name)
		rows, err := h.db.QueryContext(ctx, query)
		if err != nil {
			return "", fmt.Errorf("%w: %s", err, query)
		}
		defer rows.Close()
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "%s: %s\n", t.Name, text)
		}
		if err := rows.Err(); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

func (h *twinDatabase) read(ctx context.Context, s *twinSchema) (twinState, error) {
	return s.read(ctx, h.store)
}

package sqlstore

import (
	"bytes"
	"context"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/sqljson"
)

// Normalize does what it does in a writer.
func (v *view) Normalize(ctx context.Context, collection string, records []backup.Record) error {
	w := &writer{view: v}
	defer w.close()
	return w.Normalize(ctx, collection, records)
}

// Normalize writes floating-point numbers with the fewest digits, as they are read. A
// backup may have the digits that PostgreSQL writes, which are more for some numbers. It
// adds the members that a record lacks and that Put would fill with NULL or a constant: a
// backup may be from before a column was added. Where the default is an expression, such
// as the time, a record gets what its row has, so that the row keeps it.
func (w *writer) Normalize(ctx context.Context, collection string, records []backup.Record) error {
	t, err := w.table(collection)
	if err != nil {
		return err
	}
	if t.initial == nil {
		if err := w.deliver(ctx); err != nil {
			return w.fail(err)
		}
	}
	if err := w.initialize(ctx, t); err != nil {
		return err
	}
	var buf []byte
	var lacking []int
	for i, r := range records {
		var lacks bool
		buf, lacks = t.appendNormal(buf[:0], w.dialect, string(r.Value))
		if len(buf) > 0 && !bytes.Equal(buf, r.Value) {
			records[i].Value = bytes.Clone(buf)
		}
		if lacks {
			lacking = append(lacking, i)
		}
	}
	return w.keepDefaults(ctx, t, records, lacking)
}

// keepDefaults adds to some of the records the members that they lack and that have a
// default which is not known, as their rows have them.
func (w *writer) keepDefaults(ctx context.Context, t *table, records []backup.Record, lacking []int) error {
	if len(lacking) == 0 {
		return nil
	}
	at := make(map[string]int, len(lacking))
	var keys []string
	for _, i := range lacking {
		at[records[i].Key] = i
		keys = append(keys, records[i].Key)
	}
	held, err := w.Lookup(ctx, t.collection, keys)
	if err != nil {
		return err
	}
	for _, row := range held {
		r := &records[at[row.Key]]
		has, err := t.members(string(r.Value))
		if err != nil {
			return err
		}
		shown, err := t.members(string(row.Value))
		if err != nil {
			return err
		}
		value := bytes.Clone(r.Value[:len(r.Value)-1])
		for i, c := range t.columns {
			if has[i] == "" && shown[i] != "" && t.unsure(i) {
				value = append(append(append(value, ','), c.prefix...), shown[i]...)
			}
		}
		r.Value = append(value, '}')
	}
	return nil
}

// members returns the JSON of the members of a record, by column. It is empty for those
// that the record lacks.
func (t *table) members(record string) ([]string, error) {
	values := make([]string, len(t.columns))
	next := 0
	return values, sqljson.Members(record, func(name, value string) error {
		i, _, err := t.member(name, next)
		if err == nil {
			next, values[i] = i+1, value
		}
		return err
	})
}

// unsure tells whether Put would fill the column with a default that is not known.
func (t *table) unsure(column int) bool {
	return t.columns[column].defaultSlot >= 0 && len(t.initial[column]) == 0
}

// appendNormal appends a record as it would be read if it were stored. It appends nothing
// to an empty dst if that is the same, or if the record cannot be stored. lacks tells
// whether the record lacks a member with a default that is not known.
func (t *table) appendNormal(dst []byte, d Dialect, record string) (_ []byte, lacks bool) {
	if t.value >= 0 {
		return appendNormal(dst, d, t.columns[t.value], record), false
	}
	columns := 0
	same := t.inOrder(record, func(i int, value string) bool {
		columns++
		c := t.columns[i]
		return d.realBits(c, value) == 0 && (value[0] != '[' || !c.pg.array)
	})
	if same && columns == len(t.columns) {
		return dst, false
	}
	next := 0
	seen := make([]bool, len(t.columns))
	err := sqljson.Members(record, func(name, value string) error {
		i, _, err := t.member(name, next)
		if err != nil {
			return err
		}
		next, seen[i] = i+1, true
		if dst = append(dst, ','); len(dst) == 1 {
			dst[0] = '{'
		}
		dst = append(append(dst, name...), ':')
		dst = appendNormal(dst, d, t.columns[i], value)
		return nil
	})
	if err != nil || len(dst) == 0 { // a record has a key at least
		return dst[:0], false
	}
	for i, value := range t.initial {
		switch {
		case seen[i]:
		case len(value) > 0:
			dst = append(append(append(dst, ','), t.columns[i].prefix...), value...)
		case t.unsure(i):
			lacks = true
		}
	}
	return append(dst, '}'), lacks
}

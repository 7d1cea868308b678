package sqlstore

import (
	"bytes"
	"context"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/sqljson"
)

// Normalize writes floating-point numbers with the fewest digits, as they are read. A
// backup may have the digits that PostgreSQL writes, which are more for some numbers. It
// adds the members that a record lacks and that Put would fill with NULL or a constant: a
// backup may be from before a column was added.
func (v *view) Normalize(ctx context.Context, collection string, records []backup.Record) error {
	t, err := v.table(collection)
	if err != nil {
		return err
	}
	if err := v.initialize(ctx, t); err != nil {
		return err
	}
	var buf []byte
	for i, r := range records {
		buf = t.appendNormal(buf[:0], v.dialect, string(r.Value))
		if len(buf) > 0 && !bytes.Equal(buf, r.Value) {
			records[i].Value = bytes.Clone(buf)
		}
	}
	return nil
}

// appendNormal appends a record as it would be read if it were stored. It appends nothing
// to an empty dst if that is the same, or if the record cannot be stored.
func (t *table) appendNormal(dst []byte, d Dialect, record string) []byte {
	if t.value >= 0 {
		return appendNormal(dst, d, t.columns[t.value], record)
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
		return dst[:0]
	}
	for i, value := range t.initial {
		if !seen[i] && len(value) > 0 {
			dst = append(append(append(dst, ','), t.columns[i].prefix...), value...)
		}
	}
	return append(dst, '}')
}

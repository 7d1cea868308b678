package sqlstore

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
)

// COPY does not overwrite rows, names no record that it refuses, and does not tell that a
// column changes a value. So it takes records whose values are all known to stay as they are.
// In a table that had rows, those under the keys of the records are deleted before, unless
// anything in the database could tell that from an update. A foreign key could, and one of
// the table itself would be checked for every row: that takes longer than the update.

// A copyState says whether rows of a table can be copied.
type copyState struct {
	known bool // the rest was found out
	works bool
	full  bool // the table had rows
	skip  int  // how many calls of Put insert before the next attempt
	fails int
}

// refused notes that the server has refused a COPY.
func (s *copyState) refused() {
	s.fails++
	s.skip = 1 << min(s.fails, 16)
}

// copies tells whether records of a table are copied, when some are put.
func (w *writer) copies(ctx context.Context, t *table, records int) (bool, error) {
	state := &t.pg.copy
	switch {
	case w.wire == nil || !state.known && records < parcelFew:
		return false, nil
	case !state.known:
		if err := w.copyable(ctx, t); err != nil {
			return false, fmt.Errorf("write records of %s: %w", t.collection, contextError(ctx, err))
		}
	case state.skip > 0:
		state.skip--
		return false, nil
	}
	return state.works, nil
}

// copyable finds out whether COPY does with a table what INSERT does.
func (w *writer) copyable(ctx context.Context, t *table) error {
	var plain, alone bool
	state := &t.pg.copy
	err := w.conn.QueryRowContext(ctx, `WITH parts AS (SELECT $1::text::oid AS oid UNION SELECT relid FROM pg_partition_tree($1::text::oid::regclass))
		SELECT NOT row_security_active($1::text::oid)
				AND NOT EXISTS (SELECT FROM pg_trigger JOIN parts ON tgrelid = parts.oid WHERE NOT tgisinternal)
				AND NOT EXISTS (SELECT FROM pg_rewrite JOIN parts ON ev_class = parts.oid WHERE ev_type <> '1')
				AND NOT EXISTS (SELECT FROM pg_class JOIN parts USING (oid) WHERE relkind NOT IN ('r', 'p')),
			NOT EXISTS (SELECT FROM pg_constraint JOIN parts ON parts.oid IN (conrelid, confrelid) WHERE contype = 'f'),
			EXISTS (SELECT FROM `+t.name+`)`, t.pg.oidText()).Scan(&plain, &alone, &state.full)
	state.works = plain && (!state.full || alone && t.whole)
	state.known = err == nil
	return err
}

// copyParcel copies the records of a parcel. Rows that they overwrite are deleted before.
func (w *writer) copyParcel(ctx context.Context, p *parcel) error {
	return w.conn.Raw(func(driver any) error {
		if p.t.pg.copy.full {
			keys := make([]string, len(p.records))
			for i, r := range p.records {
				keys[i] = r.Key
			}
			rows, err := w.wire.Query(ctx, driver, "DELETE FROM "+p.t.name+" WHERE "+p.t.matchArrays(), p.t.keyArrays(w.dialect, keys)...)
			if err == nil {
				err = rows.Close()
			}
			if err != nil {
				return err
			}
		}
		for put, data := range p.data {
			statement := "COPY " + p.t.name + " (" + quotedNames(put.columns()) + ") FROM STDIN WITH (ENCODING 'UTF8')"
			if err := w.wire.Copy(ctx, driver, statement, bytes.NewReader(data)); err != nil {
				return err
			}
		}
		return nil
	})
}

// appendCopy appends the line of a COPY with the values of a record. It returns false if a
// column might change a value.
func (p *put) appendCopy(dst []byte, values []any) (_ []byte, ok bool) {
	for n, i := range p.set {
		if n > 0 {
			dst = append(dst, '\t')
		}
		switch v := values[i].(type) {
		case nil:
			dst = append(dst, `\N`...)
		case []byte:
			dst = appendCopyBytes(dst, v)
		case keyBytes:
			dst = appendCopyBytes(dst, []byte(v))
		case string:
			if !p.t.columns[i].pg.keeps(v) {
				return dst, false
			}
			dst = appendCopyText(dst, v)
		default:
			return dst, false
		}
	}
	return append(dst, '\n'), true
}

// appendCopyBytes appends the text of a bytea, whose backslash is escaped.
func appendCopyBytes(dst, b []byte) []byte { return hex.AppendEncode(append(dst, `\\x`...), b) }

func appendCopyText(dst []byte, s string) []byte {
	start := 0
	for i := range len(s) {
		var escape byte
		switch s[i] {
		case '\\':
			escape = '\\'
		case '\t':
			escape = 't'
		case '\n':
			escape = 'n'
		case '\r':
			escape = 'r'
		default:
			continue
		}
		dst = append(append(dst, s[start:i]...), '\\', escape)
		start = i + 1
	}
	return append(dst, s[start:]...)
}

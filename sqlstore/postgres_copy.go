package sqlstore

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
)

// Over a Wire, COPY writes records in half of the time of an INSERT with arguments. But it
// does not overwrite rows, names no record that it refuses, and does not tell that a column
// changes a value. So it takes records for a table that was empty, if all their values are
// known to stay as they are. Everything else is inserted, and so is what COPY refuses.

const (
	copyFew   = 8       // records that are not worth a COPY
	copyMost  = 4096    // records of one COPY
	copyBytes = 1 << 20 // the same in bytes, roughly
)

// A copyState says whether rows of a table can be copied.
type copyState struct {
	known bool // the rest was found out
	works bool
	skip  int // how often to insert before the next attempt
	fails int
}

// copyIn stores the rows of p by COPY. It returns false if they must be inserted.
func (w *writer) copyIn(ctx context.Context, p *put) (done bool, err error) {
	if w.wire == nil || len(p.rows) < copyFew {
		return false, nil
	}
	t := p.t
	state := &t.pg.copy
	if !state.known {
		if state.works, err = w.copyable(ctx, t); err != nil {
			return false, fmt.Errorf("write records of %s: %w", t.collection, contextError(ctx, err))
		}
		state.known = true
	}
	if state.skip > 0 {
		state.skip--
		return false, nil
	}
	if !state.works || !w.copyRows(p) {
		return false, nil
	}
	statement := "COPY " + t.name + " (" + quotedNames(p.columns()) + ") FROM STDIN WITH (ENCODING 'UTF8')"
	alive, err := w.tx.attempt(ctx, func() error {
		return w.conn.Raw(func(driver any) error {
			return w.wire.Copy(ctx, driver, statement, bytes.NewReader(w.copied))
		})
	})
	switch {
	case err == nil:
		t.crowded = false
		return true, nil
	case !alive || ctx.Err() != nil:
		return false, fmt.Errorf("write records of %s: %w", t.collection, contextError(ctx, err))
	}
	state.fails++
	state.skip = 1 << min(state.fails, 16)
	return false, nil
}

// copyable tells whether a table is empty, and COPY does with it what INSERT does.
func (w *writer) copyable(ctx context.Context, t *table) (ok bool, err error) {
	err = w.conn.QueryRowContext(ctx, `WITH parts AS (SELECT $1::text::oid AS oid UNION SELECT relid FROM pg_partition_tree($1::text::oid::regclass))
		SELECT NOT EXISTS (SELECT FROM `+t.name+`) AND NOT row_security_active($1::text::oid)
			AND NOT EXISTS (SELECT FROM pg_trigger JOIN parts ON tgrelid = parts.oid WHERE NOT tgisinternal)
			AND NOT EXISTS (SELECT FROM pg_rewrite JOIN parts ON ev_class = parts.oid WHERE ev_type <> '1')
			AND NOT EXISTS (SELECT FROM pg_class JOIN parts USING (oid) WHERE relkind NOT IN ('r', 'p'))`, t.pg.oidText()).Scan(&ok)
	return ok, err
}

// copyRows makes the data of a COPY from the rows of p. It returns false if a column might
// change a value.
func (w *writer) copyRows(p *put) bool {
	w.copied = w.copied[:0]
	for row := range slices.Chunk(p.args, len(p.set)) {
		for i, v := range row {
			if i > 0 {
				w.copied = append(w.copied, '\t')
			}
			switch v := v.(type) {
			case nil:
				w.copied = append(w.copied, `\N`...)
			case []byte:
				w.copied = appendCopyBytes(w.copied, v)
			case keyBytes:
				w.copied = appendCopyBytes(w.copied, []byte(v))
			case string:
				if !p.t.columns[p.set[i]].pg.keeps(v) {
					return false
				}
				w.copied = appendCopyText(w.copied, v)
			default:
				return false
			}
		}
		w.copied = append(w.copied, '\n')
	}
	return true
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

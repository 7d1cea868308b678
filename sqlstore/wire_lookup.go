package sqlstore

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/tomo-project/backup"
)

// wireLookup is lookup without database/sql. Each column of the key is one argument: an
// array, which the server reads faster than a list of arguments.
func (w *writer) wireLookup(ctx context.Context, t *table, keys []string, row *row, found func(key string, end int) bool) error {
	for keys := range slices.Chunk(keys, inKeys) {
		args := t.keyArrays(w.dialect, keys)
		if args == nil {
			continue
		}
		query := "SELECT " + t.selected + " FROM " + t.name + " WHERE " + t.matchArrays()
		err := w.eachWireRecord(ctx, query, args, row, row.record, func(r backup.Record) bool {
			start := len(w.buf)
			w.buf = append(w.buf, r.Value...)
			if !found(r.Key, len(w.buf)) {
				w.buf = w.buf[:start]
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// matchArrays returns the condition that the key is one of those that keyArrays returns.
func (t *table) matchArrays() string {
	var arrays []string
	for part, c := range t.keyColumns() {
		arrays = append(arrays, "$"+strconv.Itoa(part+1)+"::"+c.pg.lookup+"[]")
	}
	if len(arrays) == 1 {
		return t.keyNames("") + " = ANY (" + arrays[0] + ")"
	}
	return "(" + t.keyNames("") + ") IN (SELECT * FROM unnest(" + strings.Join(arrays, ", ") + "))"
}

// keyArrays returns an array for each column of the key, with the values of all keys that
// a row can have. It returns nil if there is no such key.
func (t *table) keyArrays(d Dialect, keys []string) [][]byte {
	arrays := make([][]byte, len(t.keys))
	var args []any
	for _, key := range keys {
		args, _, _ = t.keyArgs(d, args[:0], key)
		for part, arg := range args {
			before := byte(',')
			if len(arrays[part]) == 0 {
				before = '{'
			}
			arrays[part] = appendElement(append(arrays[part], before), arg)
		}
	}
	if len(arrays[0]) == 0 {
		return nil
	}
	for part := range arrays {
		arrays[part] = append(arrays[part], '}')
	}
	return arrays
}

// appendElement appends an element of the text of an array.
func appendElement(dst []byte, v any) []byte {
	dst = append(dst, '"')
	switch v := v.(type) {
	case keyBytes:
		dst = appendCopyBytes(dst, []byte(v))
	case string:
		for i := range len(v) {
			if v[i] == '"' || v[i] == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, v[i])
		}
	}
	return append(dst, '"')
}

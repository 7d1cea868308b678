package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
)

// orderOf returns what sorts the records of a table by the bytes of their keys. MariaDB sorts
// texts by their collation in the index, and would sort all rows anew for the bytes. That
// costs more than a look at the keys: mostly both orders are the same.
func (v *view) orderOf(ctx context.Context, t *table) (string, error) {
	if _, ok := v.dialect.(mariadb); !ok || t.order == t.keyNames("") {
		return t.order, nil
	}
	rows, err := v.conn.QueryContext(ctx, "SELECT "+t.selectedKey+" FROM "+t.name+" ORDER BY "+t.keyNames(""))
	if err != nil {
		return "", err
	}
	defer rows.Close()
	key, before, dest := make([]sql.RawBytes, len(t.keys)), make([][]byte, len(t.keys)), make([]any, len(t.keys))
	for part := range key {
		dest[part] = &key[part]
	}
	columns := t.keyColumns()
	for first := true; rows.Next(); first = false {
		if err := rows.Scan(dest...); err != nil {
			return "", err
		}
		if !first && !ascends(columns, before, key) {
			return t.order, nil
		}
		for part, text := range key {
			before[part] = append(before[part][:0], text...)
		}
	}
	return t.keyNames(""), rows.Err()
}

// ascends tells whether b comes after a. The server has sorted both by the collations of
// the columns. Columns that are no texts sort as they should.
func ascends(columns []*column, a [][]byte, b []sql.RawBytes) bool {
	for part, c := range columns {
		switch order := bytes.Compare(a[part], b[part]); {
		case order == 0:
		case c.my.exactKey():
			return true
		default:
			return order < 0
		}
	}
	return false
}

package sqlstore

import (
	"context"
	"database/sql"
	"encoding/binary"
	"slices"
	"sort"
)

// A sqliteIndex reads the rows of a table in the order of an index on its key: the tree of
// the index has the number of each row, and that of the table has the row.
type sqliteIndex struct {
	index, table *sqliteTree
	root         uint32 // of the table
	kept         map[uint32]keptPage
	sought, read int // rows, and pages of the table
}

// A keptPage is a page of the table.
type keptPage struct {
	page, pointers []byte
	inner          bool
}

// keptPages are the bytes of pages that are kept. SQLite itself keeps 2 MB.
const keptPages = 8 << 20

// rows calls f with each row. It gives up if the order of the index is far from that of the
// table: SQLite is as fast then.
func (x *sqliteIndex) rows(ctx context.Context, root uint32, f func(rowid int64, payload []byte) error) error {
	x.kept = map[uint32]keptPage{}
	return x.index.rows(ctx, root, 0, func(_ int64, payload []byte) error {
		rowid, ok := lastInteger(payload)
		if !ok {
			return errUnexpected
		}
		if x.sought++; x.sought%1024 == 0 && x.read > x.sought/4 {
			return errUnexpected
		}
		row, err := x.seek(ctx, rowid)
		if err != nil {
			return err
		}
		return f(rowid, row)
	})
}

// lastInteger returns the last value of a row, if it is an integer.
func lastInteger(payload []byte) (int64, bool) {
	types, body, ok := record(payload)
	var cell sqliteCell
	for ok && len(types) > 0 {
		var serial int64
		cell = sqliteCell{}
		if serial, types, ok = varint(types); ok {
			body, ok = cell.set(serial, body)
		}
	}
	return cell.n, ok && cell.kind == storedInteger
}

// seek returns the row of the table with a number.
func (x *sqliteIndex) seek(ctx context.Context, rowid int64) ([]byte, error) {
	number := x.root
	for range deepest {
		p, err := x.page(ctx, number)
		if err != nil {
			return nil, err
		}
		page, pointers, inner := p.page, p.pointers, p.inner
		cell := func(i int) (cell []byte, key int64) {
			cell = page[binary.BigEndian.Uint16(pointers[2*i:]):]
			rest := cell
			if inner {
				rest = rest[4:]
			} else {
				_, rest, _ = varint(rest)
			}
			key, _, _ = varint(rest)
			return cell, key
		}
		cells := len(pointers) / 2
		i := sort.Search(cells, func(i int) bool { _, key := cell(i); return key >= rowid })
		switch {
		case !inner && i < cells:
			at, key := cell(i)
			if key != rowid {
				return nil, errUnexpected
			}
			_, payload, err := x.table.cell(ctx, at)
			return payload, err
		case !inner:
			return nil, errUnexpected
		case i == cells:
			number = binary.BigEndian.Uint32(page[8:])
		default:
			at, _ := cell(i)
			number = binary.BigEndian.Uint32(at)
		}
	}
	return nil, errUnexpected
}

// page returns a page of the table.
func (x *sqliteIndex) page(ctx context.Context, number uint32) (p keptPage, err error) {
	if p, ok := x.kept[number]; ok {
		return p, nil
	}
	if p.page, err = x.table.page(ctx, nil, number); err != nil {
		return p, err
	}
	p.page = p.page[:x.table.usable]
	if p.inner, p.pointers, err = x.table.layout(p.page); err != nil {
		return p, err
	}
	if len(x.kept)*len(p.page) > keptPages {
		clear(x.kept)
	}
	x.kept[number] = p
	x.read++
	return p, nil
}

// keyIndex returns the first page of an index on the key of a table, which sorts as SQL
// would.
func (tx *sqliteTx) keyIndex(ctx context.Context, t *table) (root uint32, err error) {
	type part struct {
		name, collation string
		descending, key bool
	}
	want := []part{}
	for _, c := range t.keyColumns() {
		want = append(want, part{c.Name, "BINARY", false, true})
	}
	want = append(want, part{collation: "BINARY"}) // the number of the row
	indexes := map[uint32][]part{}
	err = tx.each(ctx, `SELECT s.rootpage, coalesce(x.name, ''), x.coll, x.desc, x.key
		FROM pragma_index_list(?1, 'main') l, main.sqlite_schema s, pragma_index_xinfo(l.name, 'main') x
		WHERE l."unique" AND NOT l.partial AND s.type = 'index' AND s.name = l.name ORDER BY s.rootpage, x.seqno`, []any{t.plain}, func(rows *sql.Rows) error {
		var root uint32
		var p part
		err := rows.Scan(&root, &p.name, &p.collation, &p.descending, &p.key)
		indexes[root] = append(indexes[root], p)
		return err
	})
	for root, parts := range indexes {
		if slices.Equal(parts, want) {
			return root, err
		}
	}
	if err == nil {
		err = errUnexpected
	}
	return 0, err
}

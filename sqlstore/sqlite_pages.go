package sqlstore

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
)

// SQLite hands out rows value by value, which takes longer than all else that a backup
// does. Its virtual table sqlite_dbpage hands out the pages of the database instead, as the
// transaction sees them. Their form is fixed: https://sqlite.org/fileformat2.html.
//
// Whatever is not as expected is left to SQLite, which reads the rows from there on, and
// writes every error.

// errUnexpected says that SQLite must read the rows.
var errUnexpected = errors.New("the pages are not as expected")

// A sqliteTree reads the rows of a table from its tree of pages, in the order of the tree.
type sqliteTree struct {
	stmt    *sql.Stmt // returns a page
	index   bool      // the table is WITHOUT ROWID: its tree is that of an index
	usable  int       // bytes of a page
	pages   int       // of the database
	path    [][]byte  // the page at each depth
	more    []byte    // a page with the rest of a row
	payload []byte    // a row that is on several pages
}

// deepest is the most levels that a tree can have.
const deepest = 20

// largest is the most bytes of a row by default. The number can be damaged.
const largest = 1_000_000_000

const sqlitePage = "SELECT data FROM sqlite_dbpage('main') WHERE pgno = ?"

// header reads the first page. It returns errUnexpected if the text in the database is not
// UTF-8.
func (r *sqliteTree) header(ctx context.Context) error {
	r.usable = 100
	page, err := r.page(ctx, nil, 1)
	if err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint16(page[16:]))
	if size == 1 {
		size = 1 << 16
	}
	r.usable = size - int(page[20])
	if encoding := binary.BigEndian.Uint32(page[56:]); encoding != 1 || r.usable < 480 || size != len(page) {
		return errUnexpected
	}
	return nil
}

// page reads a page into buf.
func (r *sqliteTree) page(ctx context.Context, buf []byte, number uint32) ([]byte, error) {
	// A page is there at once, and a driver would start a goroutine to watch the context.
	rows, err := r.stmt.QueryContext(context.WithoutCancel(ctx), int64(number))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var data sql.RawBytes
	if !rows.Next() {
		return nil, errUnexpected
	}
	if err := rows.Scan(&data); err != nil || len(data) < r.usable {
		return nil, errUnexpected
	}
	return append(buf[:0], data...), nil
}

// rows calls f with each row of the tree that begins at a page. The payload is valid until
// f returns.
func (r *sqliteTree) rows(ctx context.Context, number uint32, depth int, f func(rowid int64, payload []byte) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if depth == deepest {
		return errUnexpected
	}
	if depth == len(r.path) {
		r.path = append(r.path, nil)
	}
	page, err := r.page(ctx, r.path[depth], number)
	if err != nil {
		return err
	}
	r.path[depth] = page
	page = page[:r.usable]
	inner, pointers, err := r.layout(page)
	if err != nil || len(pointers) == 0 && depth > 0 {
		return errUnexpected
	}
	for ; len(pointers) > 0; pointers = pointers[2:] {
		cell := page[binary.BigEndian.Uint16(pointers):]
		if inner {
			if err := r.rows(ctx, binary.BigEndian.Uint32(cell), depth+1, f); err != nil {
				return err
			}
			if cell = cell[4:]; !r.index {
				continue
			}
		}
		rowid, payload, err := r.cell(ctx, cell)
		if err != nil {
			return err
		}
		if err := f(rowid, payload); err != nil {
			return err
		}
	}
	if inner {
		return r.rows(ctx, binary.BigEndian.Uint32(page[8:]), depth+1, f)
	}
	return nil
}

// layout tells whether there are pages below a page, and returns where its cells are.
func (r *sqliteTree) layout(page []byte) (inner bool, pointers []byte, err error) {
	kind := [...]byte{5, 13}
	if r.index {
		kind = [...]byte{2, 10}
	}
	switch page[0] {
	case kind[0]:
		inner, pointers = true, page[12:]
	case kind[1]:
		pointers = page[8:]
	default:
		return false, nil, errUnexpected
	}
	size := 2 * int(binary.BigEndian.Uint16(page[3:]))
	if size > len(pointers) {
		return false, nil, errUnexpected
	}
	pointers = pointers[:size]
	for i := 0; i < size; i += 2 {
		if int(binary.BigEndian.Uint16(pointers[i:]))+4 > len(page) {
			return false, nil, errUnexpected
		}
	}
	return inner, pointers, nil
}

// cell returns the row that begins at cell.
func (r *sqliteTree) cell(ctx context.Context, cell []byte) (rowid int64, payload []byte, err error) {
	n, cell, ok := varint(cell)
	if ok && !r.index {
		rowid, cell, ok = varint(cell)
	}
	if !ok || n < 0 || n > min(largest, int64(r.pages)*int64(r.usable)) {
		return 0, nil, errUnexpected
	}
	size, most := int(n), r.usable-35
	if r.index {
		most = (r.usable-12)*64/255 - 23
	}
	if size <= most {
		if size > len(cell) {
			return 0, nil, errUnexpected
		}
		return rowid, cell[:size], nil
	}
	// The row goes on in other pages.
	least := (r.usable-12)*32/255 - 23
	here := least + (size-least)%(r.usable-4)
	if here > most {
		here = least
	}
	if here+4 > len(cell) {
		return 0, nil, errUnexpected
	}
	r.payload = append(r.payload[:0], cell[:here]...)
	for next := binary.BigEndian.Uint32(cell[here:]); len(r.payload) < size; next = binary.BigEndian.Uint32(r.more) {
		if err := ctx.Err(); err != nil {
			return 0, nil, err
		}
		if r.more, err = r.page(ctx, r.more, next); err != nil {
			return 0, nil, err
		}
		rest := r.more[4:r.usable]
		r.payload = append(r.payload, rest[:min(len(rest), size-len(r.payload))]...)
	}
	return rowid, r.payload, nil
}

// varint returns the number that b begins with, and what follows it.
func varint(b []byte) (v int64, rest []byte, ok bool) {
	for i := range min(8, len(b)) {
		v = v<<7 | int64(b[i]&0x7f)
		if b[i] < 0x80 {
			return v, b[i+1:], true
		}
	}
	if len(b) < 9 {
		return 0, nil, false
	}
	return v<<8 | int64(b[8]), b[9:], true
}

package sqlstore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"

	"github.com/tomo-project/backup/internal/codec"
)

// A sqliteRow takes a row apart that is read from pages.
type sqliteRow struct {
	t      *table
	fields []sqliteField // as they are stored
	cells  []sqliteCell  // by column
	before []sqliteCell  // the key of the row before
	rows   int           // of the table, as SQLite counts them
}

// A sqliteField says what is at a place of each stored row.
type sqliteField struct {
	column int  // index of the column in the record, -1 if it is excluded
	rowid  bool // the column is the number of the row
	later  bool // rows from before the column was added are without it, and have NULL
}

// A sqliteCell is a value as it is stored.
type sqliteCell struct {
	kind  sqliteKind
	n     int64 // also the bits of a real
	bytes []byte
}

// The kinds of values are in the order in which SQLite sorts them.
type sqliteKind int

const (
	storedNull sqliteKind = iota
	storedInteger
	storedReal
	storedText
	storedBlob
)

// sqliteWidths are the bytes of the kinds of numbers.
var sqliteWidths = [...]int{0, 1, 2, 3, 4, 6, 8, 8, 0, 0}

// take sets the cells. It returns false if the row is not as expected.
func (r *sqliteRow) take(rowid int64, payload []byte) bool {
	types, body, ok := record(payload)
	if !ok {
		return false
	}
	for i := range r.fields {
		f := &r.fields[i]
		var cell sqliteCell
		if len(types) > 0 {
			var serial int64
			if serial, types, ok = varint(types); !ok {
				return false
			}
			if body, ok = cell.set(serial, body); !ok {
				return false
			}
		} else if !f.later {
			return false
		}
		if f.rowid {
			cell = sqliteCell{kind: storedInteger, n: rowid}
		}
		if f.column < 0 {
			continue
		}
		if cell.kind == storedInteger && r.t.columns[f.column].lite.affinity == real {
			cell.kind, cell.n = storedReal, int64(math.Float64bits(float64(cell.n)))
		}
		r.cells[f.column] = cell
	}
	return len(types) == 0 && len(body) == 0
}

// record returns the types and the values of a row.
func record(payload []byte) (types, body []byte, ok bool) {
	size, rest, ok := varint(payload)
	start := len(payload) - len(rest)
	if !ok || size < int64(start) || size > int64(len(payload)) {
		return nil, nil, false
	}
	return payload[start:size], payload[size:], true
}

// set reads the value at the beginning of body. It returns what follows.
func (c *sqliteCell) set(serial int64, body []byte) (rest []byte, ok bool) {
	if serial >= 12 {
		n := (serial - 12) / 2
		if n > int64(len(body)) {
			return nil, false
		}
		c.kind, c.bytes = storedBlob-sqliteKind(serial&1), body[:n:n]
		return body[n:], true
	}
	if serial < 0 || serial >= int64(len(sqliteWidths)) || sqliteWidths[serial] > len(body) {
		return nil, false
	}
	width := sqliteWidths[serial]
	switch {
	case serial == 0:
		return body, true
	case serial >= 8:
		c.n = serial - 8
	case serial == 7:
		c.n = int64(binary.BigEndian.Uint64(body))
	default:
		c.n = int64(int8(body[0]))
		for _, b := range body[1:width] {
			c.n = c.n<<8 | int64(b)
		}
	}
	c.kind = storedInteger
	if serial == 7 {
		// To SQLite, NaN is NULL.
		if c.kind = storedReal; math.IsNaN(math.Float64frombits(uint64(c.n))) {
			c.kind = storedNull
		}
	}
	return body[width:], true
}

// follows tells whether the key is after that of the row before, to which SQLite would
// sort it.
func (r *sqliteRow) follows() bool {
	order := -1
	if r.before == nil {
		r.before = make([]sqliteCell, len(r.t.keys))
	} else {
		for part, i := range r.t.keys {
			if order = r.before[part].compare(r.cells[i]); order != 0 {
				break
			}
		}
	}
	for part, i := range r.t.keys {
		was, cell := &r.before[part], r.cells[i]
		was.kind, was.n, was.bytes = cell.kind, cell.n, append(was.bytes[:0], cell.bytes...)
		if cell.kind == storedNull || cell.kind == storedReal {
			return false
		}
	}
	return order < 0
}

func (c sqliteCell) compare(other sqliteCell) int {
	return cmp.Or(cmp.Compare(c.kind, other.kind), cmp.Compare(c.n, other.n), bytes.Compare(c.bytes, other.bytes))
}

// append appends the record of the row. With an error, SQLite reads the row again and
// writes the error.
func (r *sqliteRow) append(dst []byte) (key string, _ []byte, err error) {
	t := r.t
	if key, err = r.key(); err != nil {
		return "", dst, err
	}
	if t.value >= 0 {
		dst, err = r.cells[t.value].append(dst, t.columns[t.value])
		return key, dst, err
	}
	dst = append(dst, '{')
	for i, c := range t.columns {
		cell := &r.cells[i]
		if cell.kind == storedNull && c.OmitNull {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		if dst, err = cell.append(append(dst, c.prefix...), c); err != nil {
			return "", dst, err
		}
	}
	return key, append(dst, '}'), nil
}

func (r *sqliteRow) key() (string, error) {
	parts := make([]string, 0, 4)
	for _, i := range r.t.keys {
		part, err := r.cells[i].keyText(r.t.columns[i])
		if err != nil {
			return "", err
		}
		parts = append(parts, part)
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return codec.JoinKey(parts), nil
}

func (c *sqliteCell) keyText(of *column) (string, error) {
	switch c.kind {
	case storedInteger:
		return sqlite{}.keyText(of, c.n)
	case storedText:
		return storedKeyText(of, string(c.bytes))
	}
	return sqlite{}.keyText(of, c.bytes)
}

// append appends the JSON of the value.
func (c *sqliteCell) append(dst []byte, of *column) ([]byte, error) {
	switch c.kind {
	case storedInteger:
		return sqlite{}.appendInteger(dst, of, c.n)
	case storedReal:
		return appendStoredReal(dst, of, math.Float64frombits(uint64(c.n)))
	case storedText:
		return appendStoredText(dst, of, c.bytes)
	case storedBlob:
		return appendValue(sqlite{}, dst, of, c.bytes)
	}
	return appendValue(sqlite{}, dst, of, nil)
}

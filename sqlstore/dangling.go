package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/tomo-project/backup"
)

// AllowDangling says whether the commit may leave references of records dangling: see
// [backup.Writer]. PostgreSQL allows that nowhere.
func (w *writer) AllowDangling(allow bool) { w.dangle, w.settled = allow, false }

// maxDangling is how many records an error about dangling references names.
const maxDangling = 1000

// dangling collects rows that refer to nothing, for one error.
type dangling struct {
	advice  string // what to do about a record
	groups  []*danglingRows
	records []error // a backup.RecordError for each record
}

// danglingRows are the rows that refer to nothing by one foreign key.
type danglingRows struct {
	*reference
	n    int
	rows []string // how the text of the error names the first
}

const (
	whereAllowed = "restore that row too, leave the record out, or allow references to dangle"
	whereRefused = "restore that row too, or leave the record out: the database enforces the foreign key. Rows that need each other go in if it is DEFERRABLE"
)

// addRecord adds the record under a key, whose row refers to nothing by r.
func (d *dangling) addRecord(r *reference, key string) {
	d.addRow(r, strconv.Quote(key))
	if len(d.records) < maxDangling {
		d.records = append(d.records, r.dangles(key, d.advice))
	}
}

// addRow adds a row that is not a record.
func (d *dangling) addRow(r *reference, row string) {
	d.addRows(r, 1)
	if g := d.groups[len(d.groups)-1]; len(g.rows) < shown {
		g.rows = append(g.rows, row)
	}
}

// addRows adds rows that are only counted, after those that are named.
func (d *dangling) addRows(r *reference, n int) {
	if last := len(d.groups) - 1; last < 0 || d.groups[last].reference != r {
		d.groups = append(d.groups, &danglingRows{reference: r})
	}
	d.groups[len(d.groups)-1].n += n
}

// err returns the error, or nil if nothing was added.
func (d *dangling) err() error {
	if len(d.groups) == 0 {
		return nil
	}
	var texts []string
	for _, g := range d.groups {
		texts = append(texts, g.text())
	}
	return &danglingError{fmt.Sprintf("%v: %s", backup.ErrDangling, strings.Join(texts, "; ")), append([]error{backup.ErrDangling}, d.records...)}
}

func (g *danglingRows) text() string {
	rows := strings.Join(firstOf(g.n, func(i int) string { return g.rows[i] }), ", ")
	return fmt.Sprintf("table %q: %s refers by %s to nothing in %q", g.plain, rows, strings.Join(g.columns, ", "), g.parentPlain)
}

// dangles returns the error about a record whose row refers to nothing.
func (r *reference) dangles(key, advice string) *backup.RecordError {
	e := &backup.RecordError{Collection: r.table.collection, Key: key, Offset: -1}
	if i := findColumn(r.table.columns, r.columns[0]); len(r.columns) == 1 && i >= 0 && r.table.value < 0 {
		e.Pointer = r.table.columns[i].pointer()
	}
	e.Err = fmt.Errorf("%w: the foreign key %s leads to no row of table %q: %s", backup.ErrDangling, r.title(), r.parentPlain, advice)
	return e
}

// title names the foreign key for an error.
func (r *reference) title() string {
	columns := "(" + strings.Join(r.columns, ", ") + ")"
	if r.constraint == "" {
		return columns
	}
	return strconv.Quote(r.constraint) + " " + columns
}

// A danglingError has a short text, and an error for each record.
type danglingError struct {
	text string
	errs []error
}

func (e *danglingError) Error() string   { return e.text }
func (e *danglingError) Unwrap() []error { return e.errs }

// eachKey calls f with the key of each row of a query, whose first columns are those of
// t.selectedKey. The others are scanned into more. known is false if the row is not a
// record, or if its key cannot be read.
func (s session) eachKey(ctx context.Context, d Dialect, t *table, query string, args, more []any, f func(key string, known bool)) error {
	row := &row{}
	if t != nil {
		row = newKey(t)
	}
	return s.each(ctx, query, args, func(rows *sql.Rows) error {
		if err := rows.Scan(append(row.dest[:len(row.dest):len(row.dest)], more...)...); err != nil {
			return err
		}
		if t == nil {
			f("", false)
			return nil
		}
		key, err := row.key(d)
		f(key, err == nil)
		return nil
	})
}

package sqlstore

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tomo-project/backup"
)

// A reference is a foreign key.
type reference struct {
	table, parent          *table // nil for a table that is not declared
	name, parentName       string // quoted
	plain, parentPlain     string // the same without schema and quotes
	columns, parentColumns []string
}

// toMutable tells whether the reference is to columns that a record can change. Then it
// may dangle because of an update and not of a delete, and ON UPDATE is not carried out.
func (r *reference) toMutable() bool {
	return r.parent != nil && slices.ContainsFunc(r.parent.columns, func(c *column) bool {
		return !c.key && slices.ContainsFunc(r.parentColumns, func(name string) bool { return strings.EqualFold(name, c.Name) })
	})
}

// isNotNull returns the condition that the row c of the child refers to something.
func (r *reference) isNotNull(quote func(string) string) string {
	var set []string
	for _, c := range r.columns {
		set = append(set, "c."+quote(c)+" IS NOT NULL")
	}
	return strings.Join(set, " AND ")
}

// join returns the condition that the row of a child refers to the row of a parent.
func (r *reference) join(child, parent string, quote func(string) string) string {
	var same []string
	for i, c := range r.columns {
		same = append(same, child+"."+quote(c)+" = "+parent+"."+quote(r.parentColumns[i]))
	}
	return strings.Join(same, " AND ")
}

// toNull returns the assignments that remove the reference.
func (r *reference) toNull(quote func(string) string) string {
	var set []string
	for _, c := range r.columns {
		set = append(set, quote(c)+" = NULL")
	}
	return strings.Join(set, ", ")
}

// dangles returns the text of an error: these rows refer to nothing.
func (r *reference) dangles(rows string) string {
	return fmt.Sprintf("table %q: %s refers by %s to nothing in %q", r.plain, rows, strings.Join(r.columns, ", "), r.parentPlain)
}

// danglingError returns the error for references that dangle, from texts of dangles.
func danglingError(named []string) error {
	return fmt.Errorf("%w: %s", backup.ErrDangling, strings.Join(named, "; "))
}

// some lists keys for an error.
func some(keys []string) string {
	return strings.Join(firstOf(len(keys), func(i int) string { return strconv.Quote(keys[i]) }), ", ")
}

// firstOf returns the first of n texts for an error, and then how many more there are.
func firstOf(n int, text func(i int) string) (first []string) {
	const shown = 10
	for i := range min(n, shown) {
		first = append(first, text(i))
	}
	if n > shown {
		first = append(first, fmt.Sprintf("and %d more", n-shown))
	}
	return first
}

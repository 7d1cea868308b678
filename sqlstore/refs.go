package sqlstore

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A reference is a foreign key.
type reference struct {
	constraint             string // its own name, empty if it has none
	table, parent          *table // nil for a table that is not declared
	name, parentName       string // of the tables, quoted
	plain, parentPlain     string // the same without schema and quotes
	columns, parentColumns []string

	inexact bool // rows may refer by it without the values of a row of the parent
	period  bool // its last column is a range, which rows of the parent cover together
	hidden  bool // the user of the connection cannot read the child
	follows bool // the database changes rows of the child when one of the parent changes
}

// toMutable tells whether the reference is to columns that a record can change. Then it
// may dangle because of an update and not of a delete, and ON UPDATE is not carried out.
func (r *reference) toMutable() bool {
	return r.parent != nil && slices.ContainsFunc(r.parent.columns, func(c *column) bool {
		return !c.key && slices.ContainsFunc(r.parentColumns, func(name string) bool { return strings.EqualFold(name, c.Name) })
	})
}

// notNulls returns the conditions that the columns of the row c of the child are not NULL.
func (r *reference) notNulls(quote func(string) string) (set []string) {
	for _, c := range r.columns {
		set = append(set, "c."+quote(c)+" IS NOT NULL")
	}
	return set
}

// isNotNull returns the condition that the row c of the child refers to something.
func (r *reference) isNotNull(quote func(string) string) string {
	return strings.Join(r.notNulls(quote), " AND ")
}

// join returns the condition that the row of a child refers to the row of a parent.
func (r *reference) join(child, parent string, quote func(string) string) string {
	var same []string
	for i, c := range r.columns {
		is := " = "
		if r.period && i == len(r.columns)-1 {
			is = " && "
		}
		same = append(same, parent+"."+quote(r.parentColumns[i])+is+child+"."+quote(c)) // SQLite takes the collation of the first
	}
	return strings.Join(same, " AND ")
}

// toNothing returns the condition that the row c of the child refers to nothing.
func (r *reference) toNothing(quote func(string) string) string {
	return r.isNotNull(quote) + " AND NOT EXISTS (SELECT 1 FROM " + r.parentName + " AS p WHERE " + r.join("c", "p", quote) + ")"
}

// toNull returns the assignments that remove the reference.
func (r *reference) toNull(quote func(string) string) string {
	var set []string
	for _, c := range r.columns {
		set = append(set, quote(c)+" = NULL")
	}
	return strings.Join(set, ", ")
}

// some lists keys for an error.
func some(keys []string) string {
	return strings.Join(firstOf(len(keys), func(i int) string { return strconv.Quote(keys[i]) }), ", ")
}

// shown is how many texts a list in an error has.
const shown = 10

// firstOf returns the first of n texts for an error, and then how many more there are.
func firstOf(n int, text func(i int) string) (first []string) {
	for i := range min(n, shown) {
		first = append(first, text(i))
	}
	if n > shown {
		first = append(first, fmt.Sprintf("and %d more", n-shown))
	}
	return first
}

// Parents returns the collections that the foreign keys of a collection lead to: see
// [backup.Writer].
func (w *writer) Parents(ctx context.Context, collection string) (parents []string, err error) {
	t, err := w.table(collection)
	if err != nil {
		return nil, err
	}
	if err := w.deliver(ctx); err != nil {
		return nil, w.fail(err)
	}
	refs, err := w.tx.references(ctx, w.all)
	if err != nil {
		return nil, w.fail(fmt.Errorf("sqlstore: look for foreign keys: %w", contextError(ctx, err)))
	}
	for _, r := range refs {
		if r.table == t && r.parent != nil && r.parent != t {
			parents = append(parents, r.parent.collection)
		}
	}
	slices.Sort(parents)
	return slices.Compact(parents), nil
}

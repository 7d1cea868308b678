package sqlstore

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"
)

// Two records that a database holds apart must not look the same to a Unique: a backup of
// them would be refused. So each Unique is at least as fine as its index. Equal JSON comes
// from equal values, which every index takes for the same. Letters of either case count as
// the same only where all parts of the index do so.

// A uniqueIndex is a unique constraint or index that holds for all rows in which no part
// is NULL.
type uniqueIndex []uniquePart

// A uniquePart is a column in a uniqueIndex.
type uniquePart struct {
	column string
	casing casing
}

// A casing says what the index makes of the letters a to z and A to Z in a column.
type casing int

const (
	caseCounts casing = iota // they may be different, or it is not known
	caseNever                // no two values of the column differ in it alone
	caseFolds                // they are the same
)

// mostUnique is how many Unique a collection may have.
const mostUnique = 16

// An identity is a Unique.
type identity struct {
	columns []*column
	at      []int // their numbers in the table
	fold    bool
}

// uniques returns what Unique of the collection can be.
func (t *table) uniques(ctx context.Context, tx transaction, secrets []string) (unique []string, err error) {
	if t.value >= 0 {
		return nil, nil
	}
	indexes, err := tx.uniqueIndexes(ctx, t)
	if err != nil {
		return nil, err
	}
	var all []identity
	for _, index := range indexes {
		if u, ok := t.identity(index); ok {
			all = append(all, u)
		}
	}
	slices.SortStableFunc(all, func(a, b identity) int {
		return cmp.Or(a.rank(t, secrets)-b.rank(t, secrets), len(a.at)-len(b.at), slices.Compare(a.at, b.at))
	})
	for i, u := range all {
		implied := false // by another, or by the first that says the same
		for j, other := range all {
			implied = implied || j != i && other.implies(u) && (j < i || !u.implies(other))
		}
		if !implied && len(unique) < mostUnique {
			unique = append(unique, u.pointer(t))
		}
	}
	return unique, nil
}

// identity returns the Unique of an index, if it says what a record is known by.
func (t *table) identity(index uniqueIndex) (u identity, ok bool) {
	folds, counts, tells := false, false, false
	for _, part := range index {
		at := slices.IndexFunc(t.columns, func(c *column) bool { return c.Name == part.column })
		if at < 0 || slices.Contains(u.at, at) {
			return u, false // generated, or not in the record
		}
		c := t.columns[at]
		switch {
		case !c.isPointer(), c.numbered():
			return u, false
		case c.Kind == JSON, c.Kind == JSONBytes, c.pg.array: // other texts of it may be equal JSON
			return u, false
		case c.arranges():
			return u, false
		}
		if c.Kind == Blob || c.Kind == Hex { // letters that stand for bytes
			part.casing = caseCounts
		}
		tells = tells || c.Kind != Bool && !c.isFloat()
		folds, counts = folds || part.casing == caseFolds, counts || part.casing == caseCounts
		u.columns, u.at = append(u.columns, c), append(u.at, at)
	}
	slices.Sort(u.at)
	ofKey := !slices.ContainsFunc(t.keys, func(k int) bool { return !slices.Contains(u.at, k) })
	u.fold = folds && !counts
	return u, tells && !ofKey
}

// rank is low for what people would call a record by.
func (u identity) rank(t *table, secrets []string) int {
	text := false
	for _, c := range u.columns {
		if slices.Contains(secrets, t.pointer(c)) {
			return 2
		}
		text = text || c.isText()
	}
	if text {
		return 0
	}
	return 1
}

// implies tells whether records that share v always share u.
func (u identity) implies(v identity) bool {
	return (u.fold || !v.fold) && !slices.ContainsFunc(u.at, func(i int) bool { return !slices.Contains(v.at, i) })
}

func (u identity) pointer(t *table) string {
	if u.fold {
		return "fold:" + t.pointer(u.columns...)
	}
	return t.pointer(u.columns...)
}

// numbered tells whether the database numbers the column: the number of a row says nothing
// about it.
func (c *column) numbered() bool {
	return c.lite.rowid || c.pg.generated != "" || strings.Contains(c.def, "nextval(") || c.my.increments || len(c.my.sequences) > 0
}

func (c *column) isFloat() bool {
	return c.lite.affinity == real || c.pg.family == floats || c.my.family == floats
}

// isText tells whether the column is declared to hold text.
func (c *column) isText() bool { return c.Kind == Text || c.Kind == Auto && c.lite.affinity == text }

var arranging = regexp.MustCompile(`\b(pos|position|order|rank|ordinal|sort|sequence|seq|index|idx|weight|priority)$`)

// arranges tells whether the column puts rows in an order. It is unique, but two lists have
// different things in one place.
func (c *column) arranges() bool { return c.isNumber() && arranging.MatchString(wordsOf(c.Name)) }

// labelNames are the names of columns that people call a row by. The first is taken.
var labelNames = []string{"name", "title", "label", "username", "email"}

// label returns the pointer of the column by which people may call a record.
func (t *table) label(secrets []string, refer []*column) string {
	for _, name := range labelNames {
		i := slices.IndexFunc(t.columns, func(c *column) bool { return strings.EqualFold(c.Name, name) })
		if i < 0 || t.value >= 0 {
			continue
		}
		c := t.columns[i]
		if pointer := t.pointer(c); c.isText() && !c.key && c.isPointer() && !slices.Contains(refer, c) && !slices.Contains(secrets, pointer) {
			return pointer
		}
	}
	return ""
}

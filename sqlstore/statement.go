package sqlstore

import (
	"slices"
	"strings"
)

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// quotedNames returns the names of columns, with commas between them.
func quotedNames(columns []*column) string {
	var names []string
	for _, c := range columns {
		names = append(names, c.quoted)
	}
	return strings.Join(names, ",")
}

// valueRows returns the placeholders of rows.
func valueRows(columns, rows int) string {
	row := "(?" + strings.Repeat(",?", columns-1) + ")"
	return row + strings.Repeat(","+row, rows-1)
}

// oneOf returns IN with a list of n times the same expression.
func oneOf(expression string, n int) string {
	return " IN (" + expression + strings.Repeat(","+expression, n-1) + ")"
}

// anyOf returns n alternatives, each of which is all of the conditions.
func anyOf(conditions []string, n int) string {
	one := strings.Join(conditions, " AND ")
	return "(" + one + strings.Repeat(" OR "+one, n-1) + ")"
}

// overwrite returns the assignments that overwrite an existing row with an inserted one.
// inserted returns the inserted value of a column, and initial the default of a column
// that is not in set.
func (t *table) overwrite(set []*column, inserted, initial func(*column) string) (assignments []string) {
	for _, c := range t.columns {
		switch {
		case c.key:
		case slices.Contains(set, c):
			assignments = append(assignments, c.quoted+"="+inserted(c))
		default:
			assignments = append(assignments, c.quoted+"="+initial(c))
		}
	}
	return assignments
}

// onConflict returns the end of an INSERT that overwrites a row with the same key.
func onConflict(key string, assignments []string) string {
	if len(assignments) == 0 {
		return " ON CONFLICT (" + key + ") DO NOTHING"
	}
	return " ON CONFLICT (" + key + ") DO UPDATE SET " + strings.Join(assignments, ",")
}

// excluded is how SQLite and PostgreSQL name an inserted value, and defaultWord how
// PostgreSQL and MariaDB name a default.
func excluded(c *column) string  { return "excluded." + c.quoted }
func defaultWord(*column) string { return "DEFAULT" }

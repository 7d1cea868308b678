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

// valueRows returns the placeholders of rows of so many columns.
func valueRows(columns, rows int) string {
	row := "(?" + strings.Repeat(",?", columns-1) + ")"
	return row + strings.Repeat(","+row, rows-1)
}

// oneOf returns the list of n of the same expression for IN.
func oneOf(expression string, n int) string {
	return " IN (" + expression + strings.Repeat(","+expression, n-1) + ")"
}

// anyOf returns n alternatives of the same conditions.
func anyOf(conditions []string, n int) string {
	one := strings.Join(conditions, " AND ")
	return "(" + one + strings.Repeat(" OR "+one, n-1) + ")"
}

// overwrite returns the assignments that make an existing row the one that is
// inserted: inserted returns what that has in a column, initial the default of a
// column that it lacks.
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

// onConflict returns the end of an INSERT that overwrites the row with the same key.
func onConflict(key string, assignments []string) string {
	if len(assignments) == 0 {
		return " ON CONFLICT (" + key + ") DO NOTHING"
	}
	return " ON CONFLICT (" + key + ") DO UPDATE SET " + strings.Join(assignments, ",")
}

// These are what SQLite and PostgreSQL call the inserted row, and what PostgreSQL and
// MariaDB call the default of a column.
func excluded(c *column) string  { return "excluded." + c.quoted }
func defaultWord(*column) string { return "DEFAULT" }

package sqlstore

import "strings"

// match: SQLite looks up none of a list of rows in an index, but each of
// alternatives.
func (sqlite) match(t *table, n int) string {
	if len(t.keys) == 1 {
		return t.keyNames("") + " IN (?" + strings.Repeat(",?", n-1) + ")"
	}
	var is []string
	for _, c := range t.keyColumns() {
		is = append(is, c.quoted+"=?")
	}
	one := strings.Join(is, " AND ")
	return "(" + one + strings.Repeat(" OR "+one, n-1) + ")"
}

func (sqlite) upsert(t *table, set []*column, rows int) string {
	var b strings.Builder
	names, values := []string{}, "("
	var update []string
	isSet := map[*column]bool{}
	for i, c := range set {
		isSet[c] = true
		names = append(names, c.quoted)
		if i > 0 {
			values += ","
		}
		values += "?"
	}
	values += ")"
	for _, c := range t.columns {
		switch {
		case c.key:
		case isSet[c]:
			update = append(update, c.quoted+"=excluded."+c.quoted)
		default:
			update = append(update, c.quoted+"=("+c.def+")")
		}
	}
	insert := "INSERT INTO "
	if t.resolves {
		insert = "INSERT OR ABORT INTO "
	}
	b.WriteString(insert + t.name + " (" + strings.Join(names, ",") + ") VALUES " + values)
	b.WriteString(strings.Repeat(","+values, rows-1))
	b.WriteString(" ON CONFLICT (" + t.conflict() + ") DO ")
	if len(update) == 0 {
		b.WriteString("NOTHING")
	} else {
		b.WriteString("UPDATE SET " + strings.Join(update, ","))
	}
	return b.String()
}

// conflict returns what a row conflicts with that has the same key, but not with
// another index on it that has a collation. A rowid has none.
func (t *table) conflict() string {
	var names []string
	for _, c := range t.keyColumns() {
		name := c.quoted
		if c.Kind != Integer {
			name += " COLLATE BINARY"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

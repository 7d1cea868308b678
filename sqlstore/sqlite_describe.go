package sqlstore

import (
	"context"
	"database/sql"
	"slices"
	"strings"
)

// uniqueIndexes reads from the text of an index what SQLite tells nowhere else: its
// expressions, and the condition of a partial one.
func (tx *sqliteTx) uniqueIndexes(ctx context.Context, t *table) (indexes []uniqueIndex, err error) {
	type found struct {
		uniqueIndex
		sql     string
		partial bool
	}
	var all []*found
	at := map[string]*found{}
	err = tx.each(ctx, `SELECT l.name, l.partial, coalesce(s.sql, ''), coalesce(x.name, ''), upper(x.coll) FROM pragma_index_list(?, 'main') l, pragma_index_xinfo(l.name, 'main') x
		LEFT JOIN main.sqlite_schema s ON s.type = 'index' AND s.name = l.name WHERE l."unique" AND x.key ORDER BY l.seq DESC, x.seqno`, []any{t.plain}, func(rows *sql.Rows) error {
		var name, text, column, collation string
		var partial bool
		if err := rows.Scan(&name, &partial, &text, &column, &collation); err != nil {
			return err
		}
		if at[name] == nil {
			at[name] = &found{sql: text, partial: partial}
			all = append(all, at[name])
		}
		at[name].uniqueIndex = append(at[name].uniqueIndex, uniquePart{column, t.sqliteCasing(column, collation)})
		return nil
	})
	for _, index := range all {
		if t.sqliteIndexHolds(index.uniqueIndex, index.sql, index.partial) {
			indexes = append(indexes, index.uniqueIndex)
		}
	}
	return indexes, err
}

// sqliteCasing returns the casing of a column in an index with a collation. Only NOCASE is
// known: it folds the letters a to z and no others.
func (t *table) sqliteCasing(column, collation string) casing {
	if collation == "NOCASE" {
		return caseFolds
	}
	if i := findColumn(t.columns, column); column != "" && i >= 0 {
		c := t.columns[i]
		onlyNumbers := c.lite.strict && c.lite.affinity >= numeric || c.Kind == Integer && !c.wraps || c.Kind == Real && !c.wraps
		if c.lite.rowid || onlyNumbers {
			return caseNever
		}
	}
	return caseCounts
}

// sqliteIndexHolds tells whether an index is on columns, or on these in lower case, and holds
// for all rows without NULL in them. It names the columns of the expressions.
func (t *table) sqliteIndexHolds(index uniqueIndex, text string, partial bool) bool {
	items, condition := indexItems(text)
	var names []string
	for i, part := range index {
		if part.column == "" {
			column, ok := "", false
			if len(items) == len(index) {
				column, ok = caselessItem(items[i])
			}
			at := findColumn(t.columns, column)
			if !ok || at < 0 {
				return false
			}
			index[i] = uniquePart{t.columns[at].Name, caseFolds} // lower and upper of SQLite fold a to z alone
		}
		if at := findColumn(t.columns, index[i].column); at >= 0 && t.columns[at].mixesNumbers() {
			return false
		}
		names = append(names, index[i].column)
	}
	return !partial || onlyNotNull(condition, func(name string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
	})
}

// mixesNumbers tells whether a large integer and a real in the column may look equal in
// JSON, although they are not: a real is written with as few digits as tell it from others.
// In a column with a numeric affinity, the real would be an integer too.
func (c *column) mixesNumbers() bool {
	return c.lite.affinity == none && (c.Kind == Auto || c.Kind == Real || c.Kind == Bool || c.Kind == Blob && c.wraps)
}

// indexItems returns what an index is on, and its condition.
func indexItems(sql string) (items [][]sqlToken, condition []sqlToken) {
	tokens := sqlTokens(sql)
	for i, token := range tokens {
		if token.is("(") {
			inside, rest, _ := cutParentheses(tokens[i:])
			if len(rest) > 0 && rest[0].is("WHERE") {
				condition = rest[1:]
			}
			return splitTokens(inside, ","), condition
		}
	}
	return nil, nil
}

// caselessItem returns the column of lower(column) in an index.
func caselessItem(item []sqlToken) (column string, ok bool) {
	if n := len(item); n > 0 && (item[n-1].is("ASC") || item[n-1].is("DESC")) {
		item = item[:n-1]
	}
	if n := len(item); n > 2 && item[n-2].is("COLLATE") && (strings.EqualFold(item[n-1].text, "BINARY") || strings.EqualFold(item[n-1].text, "NOCASE")) {
		item = item[:n-2]
	}
	return caselessCall(item)
}

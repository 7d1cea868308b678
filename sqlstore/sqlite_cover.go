package sqlstore

import (
	"context"
	"database/sql"
	"regexp"
	"strings"
)

// others leaves out the tables of SQLite itself, and those that Litestream makes in the
// database that it copies.
func (tx *sqliteTx) others(ctx context.Context, tables []*table, exclude []string) ([]string, error) {
	tx.tables = tables
	var all []found
	virtual := map[string]string{} // the statements of virtual tables, by name
	err := tx.each(ctx, `SELECT l.name, l.type, coalesce(s.sql, '') FROM pragma_table_list l LEFT JOIN main.sqlite_schema s ON s.type = 'table' AND s.name = l.name
		WHERE l.schema = 'main' AND l.type IN ('table', 'virtual', 'shadow') AND l.name NOT LIKE 'sqlite\_%' ESCAPE '\'
			AND l.name NOT IN ('_litestream_seq', '_litestream_lock') ORDER BY l.type = 'shadow'`, nil, func(rows *sql.Rows) error {
		var name, kind, statement string
		if err := rows.Scan(&name, &kind, &statement); err != nil {
			return err
		}
		if kind == "virtual" {
			virtual[strings.ToLower(name)] = statement
		}
		if tx.declared(name) == nil && (kind != "shadow" || !shadowOf(virtual, name)) {
			all = append(all, found{name: name, near: true})
		}
		return nil
	})
	return notExcluded(all, exclude, strings.EqualFold), err
}

// shadowOf tells whether a table belongs to a virtual table, which stands for it. SQLite
// goes by the name alone. But a full-text index can take its content from a table of the
// host. That table may have the name of the table that the index would have made.
func shadowOf(virtual map[string]string, name string) bool {
	name = strings.ToLower(name)
	for owner, statement := range virtual {
		if rest, ok := strings.CutPrefix(name, owner+"_"); ok {
			return rest != "content" || !ownContent.MatchString(statement)
		}
	}
	return false
}

var ownContent = regexp.MustCompile(`(?i)\bcontent\s*=`)

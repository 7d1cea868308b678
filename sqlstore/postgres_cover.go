package sqlstore

import (
	"context"
	"database/sql"
	"strings"
)

// others looks into the schemas on the search path, and into those of the given tables. It
// also finds tables that the user of the connection cannot read, since a backup misses
// them too.
func (tx *postgresTx) others(ctx context.Context, tables []*table, exclude []string) ([]string, error) {
	var all []found
	err := tx.each(ctx, `WITH given AS (SELECT unnest($1::text::oid[]) AS oid)
		SELECT c.relname::text, n.nspname::text, pg_table_is_visible(c.oid)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' AND n.nspname !~ '^(pg_|information_schema$)'
			AND (n.nspname = ANY (current_schemas(false)) OR n.oid IN (SELECT relnamespace FROM pg_class JOIN given USING (oid)))
			AND c.oid NOT IN (SELECT oid FROM given)
			AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')`, []any{oids(tables)}, func(rows *sql.Rows) error {
		var f found
		err := rows.Scan(&f.name, &f.schema, &f.near)
		all = append(all, f)
		return err
	})
	return notExcluded(all, exclude, func(a, b string) bool { return a == b }), err
}

// oids returns the OIDs of tables as the text of an array.
func oids(tables []*table) string {
	var list []string
	for _, t := range tables {
		list = append(list, t.pg.oidText())
	}
	return "{" + strings.Join(list, ",") + "}"
}

package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"strings"
)

// uniqueIndexes leaves out indexes that a failed CREATE INDEX CONCURRENTLY has left: the
// rows may break them. A deferred constraint holds in all that a backup sees.
func (tx *postgresTx) uniqueIndexes(ctx context.Context, t *table) (indexes []uniqueIndex, err error) {
	type part struct{ Name, Expression, Class string }
	var found [][]part
	var conditions []string
	// A function that is not built in could be called lower too. A composite value of which
	// a part is NULL is neither NULL nor NOT NULL.
	err = tx.each(ctx, `SELECT coalesce(pg_get_expr(i.indpred, i.indrelid), ''),
			(SELECT json_agg(json_build_object('name', coalesce(a.attname, ''), 'expression', pg_get_indexdef(i.indexrelid, n, true), 'class', oc.opcname) ORDER BY n)
				FROM generate_series(1, i.indnkeyatts::int) n JOIN pg_opclass oc ON oc.oid = i.indclass[n - 1]
				LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[n - 1])::text
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		WHERE i.indrelid = $1::text::oid AND i.indisunique AND i.indisvalid AND NOT i.indisexclusion
			AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refclassid = 'pg_proc'::regclass)
			AND NOT (i.indpred IS NOT NULL AND EXISTS (SELECT FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) AND y.typcategory = 'C'))
		ORDER BY c.relname`, []any{t.pg.oidText()}, func(rows *sql.Rows) error {
		var condition string
		var list []byte
		var parts []part
		if err := rows.Scan(&condition, &list); err != nil {
			return err
		}
		conditions, found = append(conditions, condition), append(found, parts)
		return json.Unmarshal(list, &found[len(found)-1])
	})
	if err != nil {
		return nil, err
	}
	for i, parts := range found {
		var index uniqueIndex
		var names []string
		for _, p := range parts {
			call, calls := caselessCall(sqlTokens(p.Expression))
			if p.Name == "" && calls {
				p.Name = call
			}
			at := slices.IndexFunc(t.columns, func(c *column) bool { return c.Name == p.Name })
			if at < 0 {
				break // an expression, or not in the record
			}
			casing, err := tx.casing(ctx, t.columns[at], p.Class, calls)
			if err != nil {
				return nil, err
			}
			index, names = append(index, uniquePart{p.Name, casing}), append(names, p.Name)
		}
		if len(index) == len(parts) && (conditions[i] == "" || onlyNotNull(sqlTokens(conditions[i]), func(name string) bool { return slices.Contains(names, name) })) {
			indexes = append(indexes, index)
		}
	}
	return indexes, nil
}

// casing returns the casing of a column in an index of a class of operators, or of its lower
// case. A collation that is not deterministic may fold letters too, but not in all words:
// in Czech, cH is not ch.
func (tx *postgresTx) casing(ctx context.Context, c *column, class string, lower bool) (casing, error) {
	switch pg := &c.pg; {
	case lower && (pg.family == texts || pg.base == "citext"):
		return tx.foldCasing(ctx, pg.collation)
	case pg.base == "citext" && strings.HasPrefix(class, "citext_"):
		return tx.foldCasing(ctx, `pg_catalog."default"`) // citext looks at no other
	case pg.family == integers, pg.family == decimals, pg.family == floats, pg.family == moments, pg.base == "bool", pg.base == "uuid", pg.base == "date":
		return caseNever, nil
	}
	return caseCounts, nil
}

// foldCasing tells whether lower and upper take a to z for A to Z with a collation. Those of
// Turkish do not, where I is the capital of another letter than i, and neither do those of
// Lithuanian, if an accent follows.
func (tx *postgresTx) foldCasing(ctx context.Context, collation string) (casing, error) {
	var unicode, folds bool
	if err := tx.conn.QueryRowContext(ctx, "SELECT getdatabaseencoding() = 'UTF8'").Scan(&unicode); err != nil || !unicode || collation == "" {
		return caseCounts, err
	}
	const large, small = "('ABCDEFGHIJKLMNOPQRSTUVWXYZ I'||chr(768)||' J'||chr(769)||' I'||chr(775))", "('abcdefghijklmnopqrstuvwxyz i'||chr(768)||' j'||chr(769)||' i'||chr(775))"
	err := tx.conn.QueryRowContext(ctx, "SELECT lower("+large+" COLLATE "+collation+") = lower("+small+" COLLATE "+collation+
		") AND upper("+large+" COLLATE "+collation+") = upper("+small+" COLLATE "+collation+")").Scan(&folds)
	if folds {
		return caseFolds, err
	}
	return caseCounts, err
}

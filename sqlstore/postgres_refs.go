package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tomo-project/backup"
)

// A postgresReference is a foreign key, with how PostgreSQL checks it.
type postgresReference struct {
	reference
	partition string // the OID of the partition that it leads to, empty for a whole table
	deferred  bool   // checked at the commit only
	simple    bool   // not checked if one of its columns is NULL
	valid     bool   // no row that was there before refers to nothing

	before map[string]bool // the keys of records that referred to nothing, unless it is valid
}

func (tx *postgresTx) references(ctx context.Context, tables []*table) (refs []*reference, err error) {
	if err := tx.findReferences(ctx, tables); err != nil {
		return nil, err
	}
	for _, r := range tx.refs {
		refs = append(refs, &r.reference)
	}
	return refs, nil
}

// findReferences looks for the foreign keys from and to tables that are enforced. From
// PostgreSQL 18 on, some are not, and some hold for periods. A foreign key from or to a
// partition is one of the whole table.
func (tx *postgresTx) findReferences(ctx context.Context, tables []*table) error {
	if tx.found {
		return nil
	}
	tx.tables, tx.found = tables, true
	byOID := map[int64]*table{}
	for _, t := range tables {
		byOID[t.pg.oid] = t
	}
	return tx.each(ctx, `WITH declared AS (SELECT unnest($1::text::oid[]) AS oid)
		SELECT f.conname::text, coalesce(cd.oid, pg_partition_root(f.conrelid))::int8, coalesce(pd.oid, pg_partition_root(f.confrelid))::int8,
			CASE WHEN pd.oid IS NULL AND p.relispartition THEN p.oid::text ELSE '' END, c.relname::text, p.relname::text,
			quote_ident(cn.nspname)||'.'||quote_ident(c.relname), quote_ident(pn.nspname)||'.'||quote_ident(p.relname),
			(SELECT json_agg(attname ORDER BY n) FROM unnest(f.conkey) WITH ORDINALITY k(a, n) JOIN pg_attribute ON attrelid = f.conrelid AND attnum = a)::text,
			(SELECT json_agg(attname ORDER BY n) FROM unnest(f.confkey) WITH ORDINALITY k(a, n) JOIN pg_attribute ON attrelid = f.confrelid AND attnum = a)::text,
			f.condeferrable AND f.confdeltype = 'a', f.confmatchtype = 's', f.convalidated, coalesce((j->>'conperiod')::bool, false), f.confupdtype IN ('c', 'n', 'd'),
			NOT has_schema_privilege(cn.oid, 'USAGE') OR NOT has_table_privilege(c.oid, 'SELECT') OR row_security_active(c.oid)
		FROM pg_constraint f CROSS JOIN to_jsonb(f) j JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
			JOIN pg_class p ON p.oid = f.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
			LEFT JOIN declared cd ON cd.oid = f.conrelid LEFT JOIN declared pd ON pd.oid = f.confrelid
		WHERE f.contype = 'f' AND f.conparentid = 0 AND coalesce((j->>'conenforced')::bool, true) AND (coalesce(cd.oid, pg_partition_root(f.conrelid)) IN (SELECT oid FROM declared) OR coalesce(pd.oid, pg_partition_root(f.confrelid)) IN (SELECT oid FROM declared))
		ORDER BY c.relname, f.conname`, []any{oids(tables)}, func(rows *sql.Rows) error {
		r := &postgresReference{}
		var child, parent sql.NullInt64
		var columns, parentColumns []byte
		if err := rows.Scan(&r.constraint, &child, &parent, &r.partition, &r.plain, &r.parentPlain, &r.name, &r.parentName, &columns, &parentColumns, &r.deferred, &r.simple, &r.valid, &r.period, &r.follows, &r.hidden); err != nil {
			return err
		}
		r.table, r.parent = byOID[child.Int64], byOID[parent.Int64]
		r.inexact = r.period || !r.valid
		tx.refs = append(tx.refs, r)
		return errors.Join(json.Unmarshal(columns, &r.columns), json.Unmarshal(parentColumns, &r.parentColumns))
	})
}

// touch finds the foreign keys. It defers those that can be deferred, and prepares the
// tables for the others.
func (tx *postgresTx) touch(ctx context.Context, tables []*table) error {
	if err := tx.exec(ctx, "SET CONSTRAINTS ALL DEFERRED"); err != nil {
		return err
	}
	if err := tx.findReferences(ctx, tables); err != nil {
		return err
	}
	for _, r := range tx.refs {
		if err := tx.remember(ctx, r); err != nil {
			return err
		}
		if !r.holds() {
			continue
		}
		r.parent.unless += r.unless()
		if r.table == nil { // the foreign key says in the end what becomes of its rows
			r.parent.referrers = append(r.parent.referrers, strconv.Quote(r.plain))
			continue
		}
		if !r.period { // other rows may cover the period
			r.parent.unlessAtLast += r.unless()
		}
		r.parent.referrers = append(r.parent.referrers, strconv.Quote(r.plain))
		for _, c := range r.loose() {
			if !slices.Contains(r.table.loose, c) {
				r.table.loose = append(r.table.loose, c)
			}
		}
	}
	return nil
}

// remember notes the records that refer to nothing by a foreign key that is NOT VALID.
func (tx *postgresTx) remember(ctx context.Context, r *postgresReference) error {
	if r.valid || r.table == nil {
		return nil
	}
	r.before = map[string]bool{}
	query := "SELECT " + r.table.selectedKey + " FROM " + r.name + " AS c WHERE " + r.toNothing()
	return tx.eachKey(ctx, PostgreSQL, r.table, query, nil, nil, func(key string, _ bool) { r.before[key] = true })
}

// holds tells whether a row of the parent waits while rows of the child refer to it.
func (r *postgresReference) holds() bool {
	return r.parent != nil && !r.deferred && (r.table != nil || !r.period && r.toMutable())
}

// unless returns the condition that no other row of the child refers to a row of the
// parent.
func (r *postgresReference) unless() string {
	if r.table == nil && r.hidden {
		return " AND false" // some may
	}
	condition := " AND NOT EXISTS (SELECT FROM " + r.name + " AS c WHERE " + r.refers(r.parent.name)
	if r.table == r.parent {
		condition += " AND (" + r.table.keyNames("c.") + ") <> (" + r.table.keyNames(r.parent.name+".") + ")"
	}
	return condition + ")"
}

// refers returns the condition that the row c of the child refers to a row of the parent.
func (r *postgresReference) refers(parent string) string {
	condition := r.join("c", parent, quote)
	if r.partition != "" {
		condition += " AND " + parent + ".tableoid IN (SELECT relid FROM pg_partition_tree(" + r.partition + "))"
	}
	return condition
}

// deleteTogether implements togetherDeleter. What a row that stays refers to stays too.
func (tx *postgresTx) deleteTogether(t *table) string {
	var given, k, staying, kept []string
	for part, c := range t.keyColumns() {
		name := "k" + strconv.Itoa(part)
		given = append(given, "(e->>"+strconv.Itoa(part)+")::"+c.pg.lookup+" AS "+name)
		k = append(k, "s."+name+" = c."+c.quoted)
	}
	const list = " (SELECT * FROM given)"
	for _, r := range tx.refs {
		if r.parent != t || !r.holds() {
			continue
		}
		condition := " FROM " + r.name + " AS c JOIN " + t.name + " AS p ON " + r.refers("p") + " WHERE (" + t.keyNames("p.") + ") IN" + list
		if r.table == nil && r.hidden {
			return ""
		}
		if r.table == t {
			condition += " AND (" + t.keyNames("c.") + ") NOT IN" + list
			kept = append(kept, "SELECT "+t.keyNames("p.")+" FROM "+t.name+" AS p WHERE "+r.refers("p"))
		}
		staying = append(staying, "SELECT "+t.keyNames("p.")+condition)
	}
	if len(kept) == 0 {
		return ""
	}
	return "WITH RECURSIVE given AS (SELECT " + strings.Join(given, ", ") + " FROM json_array_elements($1::text::json) AS e), stays(" + strings.ReplaceAll(keyOf("", t), ".", "") + ") AS ((" + strings.Join(staying, " UNION ") +
		") UNION SELECT p.* FROM stays AS s JOIN " + t.name + " AS c ON " + strings.Join(k, " AND ") + " CROSS JOIN LATERAL (" + strings.Join(kept, " UNION ALL ") + ") AS p)" +
		" DELETE FROM " + t.name + " WHERE (" + t.keyNames("") + ") IN" + list + " AND (" + t.keyNames("") + ") NOT IN (SELECT * FROM stays) RETURNING " + t.selectedKey
}

// toNothing returns the condition that the row c of the child refers to nothing.
func (r *postgresReference) toNothing() string {
	set := r.isNotNull(quote)
	if !r.simple { // MATCH FULL
		set = "(" + strings.Join(r.notNulls(quote), " OR ") + ")"
	}
	if !r.period {
		return set + " AND NOT EXISTS (SELECT FROM " + r.parentName + " AS p WHERE " + r.join("c", "p", quote) + ")"
	}
	last := len(r.columns) - 1
	return set + " AND NOT coalesce(c." + quote(r.columns[last]) + " <@ (SELECT range_agg(p." + quote(r.parentColumns[last]) + ") FROM " + r.parentName + " AS p WHERE " + r.join("c", "p", quote) + "), false)"
}

// loose returns the columns of the reference that can be NULL while it waits. A column of
// the key, and one with a default, cannot. If NULL in the others does not keep PostgreSQL
// from checking the reference, it returns none.
func (r *postgresReference) loose() (loose []*column) {
	for _, name := range r.columns {
		i := slices.IndexFunc(r.table.columns, func(c *column) bool { return c.Name == name })
		if i >= 0 {
			if c := r.table.columns[i]; !c.key && c.nullable && c.defaultSlot < 0 {
				loose = append(loose, c)
				continue
			}
		}
		if !r.simple {
			return nil
		}
	}
	return loose
}

// dangling returns the error that names the rows that are the reason of err.
func (tx *postgresTx) dangling(ctx context.Context, err error) error {
	d := dangling{advice: whereRefused}
	for _, r := range tx.refs {
		selected, order := "", ""
		if r.table != nil {
			selected, order = r.table.selectedKey+", ", " ORDER BY "+ordinals(len(r.table.keys))
		}
		all, named := 0, 0
		query := "SELECT " + selected + "count(*) OVER ()::int8 FROM " + r.name + " AS c WHERE " + r.toNothing() + order + " LIMIT " + strconv.Itoa(maxDangling+len(r.before))
		e := tx.eachKey(ctx, PostgreSQL, r.table, query, nil, []any{&all}, func(key string, known bool) {
			switch {
			case known && r.before[key]:
				named++
			case known:
				named++
				d.addRecord(&r.reference, key)
			case named < shown:
				named++
				d.addRow(&r.reference, `"a row"`)
			}
		})
		if e != nil {
			return err
		}
		if all > named {
			d.addRows(&r.reference, all-named)
		}
	}
	if named := d.err(); named != nil {
		return fmt.Errorf("%w: %w", named, err)
	}
	return fmt.Errorf("%w: %w", backup.ErrDangling, err)
}

// ordinals returns 1, 2 … n, for ORDER BY.
func ordinals(n int) string {
	list := "1"
	for i := 2; i <= n; i++ {
		list += ", " + strconv.Itoa(i)
	}
	return list
}

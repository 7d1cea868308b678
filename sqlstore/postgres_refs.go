package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tomo-project/backup"
)

// A reference is a foreign key.
type reference struct {
	table, parent         *table // nil if it is not declared
	name, parentName      string // quoted
	plain, parentPlain    string
	columns, parentColumn []string // quoted
	numbers               []int    // of columns
	deferred              bool     // looked at at the commit only
	simple                bool     // NULL in one column is enough
}

// touch learns which foreign keys there are. Those that can wait for the commit
// do so.
func (tx *postgresTx) touch(ctx context.Context, tables []*table) error {
	tx.tables = tables
	err := tx.exec(ctx, "SET CONSTRAINTS ALL DEFERRED")
	if err == nil {
		err = tx.references(ctx)
	}
	if err != nil {
		return fmt.Errorf("sqlstore: look for foreign keys: %w", contextError(ctx, err))
	}
	for _, r := range tx.refs {
		if r.table == nil || r.parent == nil || r.deferred {
			continue
		}
		// A row may refer to itself.
		unless := " AND NOT EXISTS (SELECT FROM " + r.name + " AS c WHERE " + r.join("c", r.parentName)
		if r.table == r.parent {
			unless += " AND (" + r.table.keyNames("c.") + ") <> (" + r.table.keyNames(r.name+".") + ")"
		}
		r.parent.unless += unless + ")"
		r.parent.referrers = append(r.parent.referrers, fmt.Sprintf("%q", r.plain))
		var loose []*column
		for _, number := range r.numbers {
			at := slices.IndexFunc(r.table.columns, func(c *column) bool { return c.pg.attnum == number })
			if at < 0 || r.table.columns[at].key || !r.table.columns[at].pg.nullable || r.table.columns[at].defaultSlot >= 0 {
				if !r.simple {
					loose = nil
					break
				}
				continue
			}
			loose = append(loose, r.table.columns[at])
		}
		for _, c := range loose {
			if !slices.Contains(r.table.loose, c) {
				r.table.loose = append(r.table.loose, c)
			}
		}
	}
	return nil
}

// join returns the condition that the row of a child refers to the row of a
// parent.
func (r reference) join(child, parent string) string {
	var and []string
	for i, c := range r.columns {
		and = append(and, child+"."+c+" = "+parent+"."+r.parentColumn[i])
	}
	return strings.Join(and, " AND ")
}

func (tx *postgresTx) references(ctx context.Context) error {
	byOID := map[int64]*table{}
	var oids []string
	for _, t := range tx.tables {
		byOID[t.pg.oid] = t
		oids = append(oids, strconv.FormatInt(t.pg.oid, 10))
	}
	rows, err := tx.conn.QueryContext(ctx, `SELECT f.conrelid::int8, f.confrelid::int8, c.relname::text, p.relname::text,
			quote_ident(cn.nspname)||'.'||quote_ident(c.relname), quote_ident(pn.nspname)||'.'||quote_ident(p.relname),
			(SELECT json_agg(quote_ident(attname) ORDER BY n) FROM unnest(f.conkey) WITH ORDINALITY k(a, n) JOIN pg_attribute ON attrelid = f.conrelid AND attnum = a)::text,
			(SELECT json_agg(quote_ident(attname) ORDER BY n) FROM unnest(f.confkey) WITH ORDINALITY k(a, n) JOIN pg_attribute ON attrelid = f.confrelid AND attnum = a)::text,
			to_json(f.conkey)::text, f.condeferrable AND f.confdeltype = 'a', f.confmatchtype = 's'
		FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
			JOIN pg_class p ON p.oid = f.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
		WHERE f.contype = 'f' AND f.conparentid = 0 AND (f.conrelid = ANY ($1::text::oid[]) OR f.confrelid = ANY ($1::text::oid[]))
		ORDER BY c.relname, f.conname`, "{"+strings.Join(oids, ",")+"}")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r reference
		var child, parent int64
		var columns, parentColumns, numbers string
		err := rows.Scan(&child, &parent, &r.plain, &r.parentPlain, &r.name, &r.parentName, &columns, &parentColumns, &numbers, &r.deferred, &r.simple)
		if err == nil {
			err = errors.Join(json.Unmarshal([]byte(columns), &r.columns), json.Unmarshal([]byte(parentColumns), &r.parentColumn), json.Unmarshal([]byte(numbers), &r.numbers))
		}
		if err != nil {
			return err
		}
		r.table, r.parent = byOID[child], byOID[parent]
		tx.refs = append(tx.refs, r)
	}
	return rows.Err()
}

// dangling returns the error that names the rows for which err was returned.
func (tx *postgresTx) dangling(ctx context.Context, err error) error {
	var named []string
	for _, r := range tx.refs {
		key := r.table.keyTexts("c.", "::text")
		set := "c." + strings.Join(r.columns, " IS NOT NULL AND c.") + " IS NOT NULL"
		rows, e := tx.conn.QueryContext(ctx, "SELECT "+strings.Join(key, ", ")+" FROM "+r.name+" AS c WHERE "+set+
			" AND NOT EXISTS (SELECT FROM "+r.parentName+" AS p WHERE "+r.join("c", "p")+") ORDER BY 1 LIMIT 11")
		if e != nil {
			return err
		}
		var keys []string
		for rows.Next() {
			if key, err := scanKey(rows, len(key)); err == nil {
				keys = append(keys, key)
			}
		}
		rows.Close()
		if len(keys) > 0 {
			named = append(named, fmt.Sprintf("table %q: %s refers by %s to nothing in %q", r.plain, some(keys), strings.Join(r.columns, ", "), r.parentPlain))
		}
	}
	return fmt.Errorf("%w: %s: %w", backup.ErrDangling, strings.Join(named, "; "), err)
}

// sequences has the sequences behind the columns of a table go on behind what is
// in it. They are not part of the transaction, so they are only ever set forward.
func (tx *postgresTx) sequences(ctx context.Context, t *table) error {
	rows, err := tx.conn.QueryContext(ctx, `SELECT DISTINCT quote_ident(n.nspname)||'.'||quote_ident(s.relname), a.attnum::int8, q.seqincrement < 0
		FROM pg_depend d JOIN pg_class s ON s.relkind = 'S' AND d.classid = 'pg_class'::regclass AND s.oid = d.objid AND d.deptype IN ('a', 'i')
			OR s.relkind = 'S' AND d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND s.oid = d.refobjid
		JOIN pg_namespace n ON n.oid = s.relnamespace JOIN pg_sequence q ON q.seqrelid = s.oid
		LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
		JOIN pg_attribute a ON a.attrelid = coalesce(f.adrelid, d.refobjid) AND a.attnum = coalesce(f.adnum, d.refobjsubid)
		WHERE a.attrelid = $1::text::oid`, strconv.FormatInt(t.pg.oid, 10))
	if err != nil {
		return err
	}
	defer rows.Close()
	var statements []string
	for rows.Next() {
		var sequence string
		var number int
		var down bool
		if err := rows.Scan(&sequence, &number, &down); err != nil {
			return err
		}
		i := slices.IndexFunc(t.columns, func(c *column) bool { return c.pg.attnum == number })
		if i < 0 || !t.columns[i].pg.integer() && t.columns[i].pg.base != "numeric" {
			continue
		}
		// nextval takes no number that another has got meanwhile.
		most, further, is := "max", "greatest", ">"
		if down {
			most, further, is = "min", "least", "<"
		}
		name := literal(sequence) + "::regclass"
		statements = append(statements, "SELECT setval("+name+", "+further+"(m, nextval("+name+"))) FROM (SELECT "+most+"("+t.columns[i].quoted+")::int8 AS m FROM "+t.name+
			") AS t, "+sequence+" AS s WHERE m "+is+" s.last_value OR m = s.last_value AND NOT s.is_called")
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, s := range statements {
		if err := tx.exec(ctx, s); err != nil {
			return fmt.Errorf("table %q: set a sequence: %w", t.plain, err)
		}
	}
	return nil
}

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
)

// A postgresReference is a foreign key, with how PostgreSQL checks it.
type postgresReference struct {
	reference
	deferred bool // checked at the commit only
	simple   bool // not checked if one of its columns is NULL
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

// findReferences looks for the foreign keys from and to tables.
func (tx *postgresTx) findReferences(ctx context.Context, tables []*table) error {
	tx.tables, tx.refs = tables, nil
	byOID := map[int64]*table{}
	for _, t := range tables {
		byOID[t.pg.oid] = t
	}
	return tx.each(ctx, `SELECT f.conrelid::int8, f.confrelid::int8, c.relname::text, p.relname::text,
			quote_ident(cn.nspname)||'.'||quote_ident(c.relname), quote_ident(pn.nspname)||'.'||quote_ident(p.relname),
			(SELECT json_agg(attname ORDER BY n) FROM unnest(f.conkey) WITH ORDINALITY k(a, n) JOIN pg_attribute ON attrelid = f.conrelid AND attnum = a)::text,
			(SELECT json_agg(attname ORDER BY n) FROM unnest(f.confkey) WITH ORDINALITY k(a, n) JOIN pg_attribute ON attrelid = f.confrelid AND attnum = a)::text,
			f.condeferrable AND f.confdeltype = 'a', f.confmatchtype = 's'
		FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
			JOIN pg_class p ON p.oid = f.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
		WHERE f.contype = 'f' AND f.conparentid = 0 AND (f.conrelid = ANY ($1::text::oid[]) OR f.confrelid = ANY ($1::text::oid[]))
		ORDER BY c.relname, f.conname`, []any{oids(tables)}, func(rows *sql.Rows) error {
		r := &postgresReference{}
		var child, parent int64
		var columns, parentColumns []byte
		if err := rows.Scan(&child, &parent, &r.plain, &r.parentPlain, &r.name, &r.parentName, &columns, &parentColumns, &r.deferred, &r.simple); err != nil {
			return err
		}
		r.table, r.parent = byOID[child], byOID[parent]
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
		if r.table == nil || r.parent == nil || r.deferred {
			continue
		}
		r.parent.unless += r.unless()
		r.parent.referrers = append(r.parent.referrers, strconv.Quote(r.plain))
		for _, c := range r.loose() {
			if !slices.Contains(r.table.loose, c) {
				r.table.loose = append(r.table.loose, c)
			}
		}
	}
	return nil
}

// unless returns the condition that no other row of the child refers to a row of the
// parent.
func (r *postgresReference) unless() string {
	condition := " AND NOT EXISTS (SELECT FROM " + r.name + " AS c WHERE " + r.join("c", r.parentName, quote)
	if r.table == r.parent {
		condition += " AND (" + r.table.keyNames("c.") + ") <> (" + r.table.keyNames(r.name+".") + ")"
	}
	return condition + ")"
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
	var named []string
	for _, r := range tx.refs {
		texts := r.table.keyTexts("c.", "::text")
		var keys []string
		e := tx.each(ctx, "SELECT "+strings.Join(texts, ", ")+" FROM "+r.name+" AS c WHERE "+r.isNotNull(quote)+
			" AND NOT EXISTS (SELECT FROM "+r.parentName+" AS p WHERE "+r.join("c", "p", quote)+") ORDER BY 1 LIMIT 11", nil, func(rows *sql.Rows) error {
			if key, err := scanKey(rows, len(texts)); err == nil {
				keys = append(keys, key)
			}
			return nil
		})
		if e != nil {
			return err
		}
		if len(keys) > 0 {
			named = append(named, r.dangles(some(keys)))
		}
	}
	return fmt.Errorf("%w: %w", danglingError(named), err)
}

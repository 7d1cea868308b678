package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// lookUp returns a table and the columns of its key. One with a key of several
// columns can be described, though the store cannot read it yet.
func (d *description) lookUp(ctx context.Context, tx transaction, declared Table) (*table, []*column, error) {
	t, err := d.Store.describe(ctx, tx, declared)
	if err == nil {
		return t, []*column{t.keyColumn()}, nil
	}
	t, key, e := composite(ctx, tx, declared)
	if e != nil || t == nil {
		return nil, nil, err
	}
	return t, key, t.prepare()
}

// composite returns nil if the key is not one of several columns.
func composite(ctx context.Context, tx transaction, declared Table) (*table, []*column, error) {
	t := &table{collection: declared.Collection}
	name := tableName(declared)
	var columns []*column
	var primary []string
	var err error
	switch tx := tx.(type) {
	case *sqliteTx:
		var strict bool
		if err = tx.conn.QueryRowContext(ctx, `SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE`, name).Scan(&t.plain, &strict); err != nil {
			return nil, nil, err
		}
		if columns, _, err = (sqlite{}).columns(ctx, tx.conn, t.plain, strict); err == nil {
			var list string
			err = tx.conn.QueryRowContext(ctx, `SELECT coalesce(json_group_array(name), '') FROM (SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk)`, t.plain).Scan(&list)
			if err == nil {
				err = json.Unmarshal([]byte(list), &primary)
			}
		}
	case *postgresTx:
		schema, rest, _ := strings.Cut(name, ".")
		if err = tx.conn.QueryRowContext(ctx, `SELECT c.oid::int8, c.relname::text, quote_ident(n.nspname)||'.'||quote_ident(c.relname)
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = coalesce(to_regclass($1::text), to_regclass($2::text))`,
			quote(name), quote(schema)+"."+quote(rest)).Scan(&t.pg.oid, &t.plain, &t.name); err != nil {
			return nil, nil, err
		}
		if columns, err = tx.columns(ctx, t); err == nil {
			primary, _, err = tx.keys(ctx, t)
		}
	case *mariadbTx:
		if err = tx.conn.QueryRowContext(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?", name).Scan(&t.my.schema, &t.plain); err != nil {
			return nil, nil, err
		}
		t.name = backtick(t.my.schema) + "." + backtick(t.plain)
		if columns, err = tx.columns(ctx, t); err == nil {
			primary, _, err = tx.keys(ctx, t)
		}
	}
	if declared.Key != "" {
		primary = strings.Split(declared.Key, ",")
	}
	if err != nil || len(primary) < 2 {
		return nil, nil, err
	}
	declared.Key = primary[0]
	if err := t.declare(declared, columns); err != nil {
		return nil, nil, err
	}
	var key []*column
	for _, name := range primary {
		at := t.find(name)
		if at < 0 {
			return nil, nil, fmt.Errorf("there is no key column %q", name)
		}
		key = append(key, t.columns[at])
		t.key = at
		if err := t.settleColumn(at); err != nil {
			return nil, nil, err
		}
	}
	for i, c := range t.columns {
		t.key = -1
		if !slices.Contains(key, c) {
			if err := t.settleColumn(i); err != nil {
				return nil, nil, err
			}
		}
	}
	t.key = t.find(primary[0])
	return t, key, nil
}

// settleColumn has the dialect work out what a column holds.
func (t *table) settleColumn(i int) error {
	c := t.columns[i]
	switch {
	case t.my.schema != "":
		return c.settleMariaDB(i == t.key)
	case t.pg.oid != 0:
		return c.settle(t, i)
	}
	return sqlite{}.kind(c, i == t.key)
}

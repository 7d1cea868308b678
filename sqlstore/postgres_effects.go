package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
)

// A postgresEffect is what PostgreSQL does by itself when rows of a table change.
type postgresEffect struct {
	name string
	// These are of a foreign key.
	child              int64 // the table that it changes
	columns            []string
	onUpdate, onDelete string // its actions, empty for none
}

// effects names triggers, rules, and the foreign keys whose actions change records. The
// actions of an update are carried out for the columns of records that are not their key.
// Those of a delete are not carried out between declared tables: see waiting.
func (tx *postgresTx) effects(ctx context.Context, tables []*table) (map[*table][]string, error) {
	byTable, err := tx.allEffects(ctx)
	if err != nil {
		return nil, err
	}
	// reaches tells whether a change of a table changes records, or fires a trigger.
	reaches := map[int64]bool{}
	for _, t := range tables {
		reaches[t.pg.oid] = true
	}
	for more := true; more; {
		more = false
		for oid, effects := range byTable {
			if !reaches[oid] && slices.ContainsFunc(effects, func(e postgresEffect) bool { return e.child == 0 || reaches[e.child] }) {
				reaches[oid], more = true, true
			}
		}
	}
	declared := map[int64]bool{}
	for _, t := range tables {
		declared[t.pg.oid] = true
	}
	found := map[*table][]string{}
	for _, t := range tables {
		for _, e := range byTable[t.pg.oid] {
			updates := e.onUpdate != "" && (&reference{parent: t, parentColumns: e.columns}).toMutable()
			deletes := e.onDelete != "" && !declared[e.child]
			switch {
			case e.child == 0:
				found[t] = append(found[t], e.name)
			case reaches[e.child] && updates:
				found[t] = append(found[t], e.name+" (ON UPDATE "+e.onUpdate+")")
			case reaches[e.child] && deletes:
				found[t] = append(found[t], e.name+" (ON DELETE "+e.onDelete+")")
			}
		}
	}
	return found, nil
}

// allEffects finds what is enabled for the session, by the OID of the table. A replica
// carries out neither foreign keys nor most triggers.
func (tx *postgresTx) allEffects(ctx context.Context) (map[int64][]postgresEffect, error) {
	found := map[int64][]postgresEffect{}
	err := tx.each(ctx, `WITH enabled AS (SELECT ARRAY['A', CASE current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END] AS by)
		SELECT coalesce(pg_partition_root(tgrelid), tgrelid)::oid::int8, 'trigger '||tgname, 0::int8, '[]', '', ''
			FROM pg_trigger, enabled WHERE NOT tgisinternal AND tgtype & 28 <> 0 AND tgenabled::text = ANY (by)
		UNION ALL SELECT ev_class::int8, 'rule '||rulename, 0, '[]', '', '' FROM pg_rewrite, enabled WHERE ev_type::text <> '1' AND ev_enabled::text = ANY (by)
		UNION ALL SELECT coalesce(pg_partition_root(confrelid), confrelid)::oid::int8, 'foreign key '||conname, coalesce(pg_partition_root(conrelid), conrelid)::oid::int8,
				(SELECT json_agg(attname) FROM pg_attribute WHERE attrelid = confrelid AND attnum = ANY (confkey))::text, coalesce(u.action, ''), coalesce(d.action, '')
			FROM enabled, pg_constraint f CROSS JOIN to_jsonb(f) j
				LEFT JOIN (VALUES ('c', 'CASCADE'), ('n', 'SET NULL'), ('d', 'SET DEFAULT')) u(code, action) ON u.code = confupdtype::text
				LEFT JOIN (VALUES ('c', 'CASCADE'), ('n', 'SET NULL'), ('d', 'SET DEFAULT')) d(code, action) ON d.code = confdeltype::text
			WHERE contype = 'f' AND conparentid = 0 AND 'O' = ANY (by) AND coalesce((j->>'conenforced')::bool, true) AND coalesce(u.action, d.action) IS NOT NULL`, nil, func(rows *sql.Rows) error {
		var oid int64
		var e postgresEffect
		var columns []byte
		if err := rows.Scan(&oid, &e.name, &e.child, &columns, &e.onUpdate, &e.onDelete); err != nil {
			return err
		}
		err := json.Unmarshal(columns, &e.columns)
		found[oid] = append(found[oid], e)
		return err
	})
	return found, err
}

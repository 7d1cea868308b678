package sqlstore

import (
	"context"
	"database/sql"
)

// effects finds the triggers that the user of the connection can see. Foreign keys are
// off.
func (tx *mariadbTx) effects(ctx context.Context, tables []*table) (map[*table][]string, error) {
	found, byName := map[*table][]string{}, map[string]*table{}
	var schemas []any
	for _, t := range tables {
		byName[t.name] = t
		schemas = append(schemas, t.my.schema)
	}
	if len(schemas) == 0 {
		return found, nil
	}
	err := tx.each(ctx, "SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, TRIGGER_NAME FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA"+oneOf("?", len(schemas)), schemas, func(rows *sql.Rows) error {
		var schema, table, name string
		err := rows.Scan(&schema, &table, &name)
		if t := byName[backtick(schema)+"."+backtick(table)]; t != nil {
			found[t] = append(found[t], "trigger "+name)
		}
		return err
	})
	return found, err
}

package sqlstore

import "context"

func (postgres) setAside(t *table, c *column, value string) string { return "" }
func (postgres) standIns(t *table, c *column) []string { return nil }
func (tx *postgresTx) uniqueColumns(ctx context.Context, t *table) (columns []*column, err error) { return nil, nil }
func (tx *postgresTx) replaceable(ctx context.Context, t *table) (ok bool, err error) { return false, nil }
func (tx *postgresTx) clash(ctx context.Context, c *clash) error { return nil }

package sqlstore

import "context"

func (mariadb) setAside(t *table, c *column, value string) string { return "" }
func (mariadb) standIns(t *table, c *column) []string             { return nil }
func (tx *mariadbTx) uniqueColumns(ctx context.Context, t *table) (columns []*column, err error) {
	return nil, nil
}
func (tx *mariadbTx) replaceable(ctx context.Context, t *table) (way replacement, err error) {
	return notReplaceable, nil
}
func (tx *mariadbTx) clash(ctx context.Context, c *clash) error { return nil }

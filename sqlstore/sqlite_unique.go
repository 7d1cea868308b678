package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

func (sqlite) setAside(t *table, c *column, value string) string {
	// An ON CONFLICT clause of the table could drop other rows.
	return t.lite.or("UPDATE") + " " + t.name + " SET " + c.quoted + " = " + value
}

// standIns: a column may take any value, but a CHECK and the application expect the type.
func (sqlite) standIns(t *table, c *column) []string {
	numbers := []string{"abs(random() / 2)", "-abs(random() / 2)"}
	texts := []string{"hex(randomblob(16))"}
	few := []string{"(SELECT max(" + c.quoted + ") + 1 FROM " + t.name + ")", "(SELECT min(" + c.quoted + ") - 1 FROM " + t.name + ")", "0", "1", "randomblob(16)"}
	var null []string
	if c.nullable {
		null = []string{"NULL"}
	}
	if c.lite.affinity == numeric || c.lite.affinity == real {
		return slices.Concat(null, numbers, texts, few)
	}
	return slices.Concat(null, texts, numbers, few)
}

// uniqueColumns takes a column for part of an index on expressions, or of a partial one, if
// its name is in the text of that.
func (tx *sqliteTx) uniqueColumns(ctx context.Context, t *table) (columns []*column, err error) {
	var names []string
	err = tx.each(ctx, `SELECT coalesce(x.name, ''), CASE WHEN x.name IS NULL OR l.partial THEN coalesce(s.sql, '') ELSE '' END,
			CASE WHEN x.name NOT IN (SELECT name FROM pragma_table_info(?1, 'main')) THEN (SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?1) ELSE '' END
		FROM pragma_index_list(?1, 'main') l, pragma_index_xinfo(l.name, 'main') x LEFT JOIN main.sqlite_schema s ON s.type = 'index' AND s.name = l.name
		WHERE l."unique" AND x.key ORDER BY l.seq DESC, x.seqno`, []any{t.plain}, func(rows *sql.Rows) error {
		var name, index, table string
		if err := rows.Scan(&name, &index, &table); err != nil {
			return err
		}
		names = append(append(append(names, name), wordsIn(index)...), wordsIn(table)...)
		return nil
	})
	if pk := slices.IndexFunc(t.columns, func(c *column) bool { return c.lite.pk > 0 && !c.key }); pk >= 0 {
		names = append(names, t.columns[pk].Name) // the rowid has no index
	}
	return t.named(names), err
}

// wordsIn returns the words of SQL, names in quotes too.
func wordsIn(sql string) []string {
	words := strings.FieldsFunc(sql, func(r rune) bool { return r != '_' && r != '$' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	for _, quotes := range []string{`""`, "``", "[]", "''"} {
		for part := sql; ; {
			_, after, ok := strings.Cut(part, quotes[:1])
			word, rest, closed := strings.Cut(after, quotes[1:])
			if !ok || !closed {
				break
			}
			words, part = append(words, word), rest
		}
	}
	return words
}

// named returns the columns with these names, without those of the key.
func (t *table) named(names []string) (columns []*column) {
	for _, name := range names {
		if i := slices.IndexFunc(t.columns, func(c *column) bool { return strings.EqualFold(c.Name, name) }); i >= 0 && !t.columns[i].key && !slices.Contains(columns, t.columns[i]) {
			columns = append(columns, t.columns[i])
		}
	}
	return columns
}

func (tx *sqliteTx) checks(ctx context.Context, t *table, on bool) (err error) {
	switch {
	case t.lite.onUpdate: // they may write to other tables
	case on:
		err = tx.checksOn()
	default:
		var ignored bool
		if err = tx.conn.QueryRowContext(ctx, "PRAGMA ignore_check_constraints").Scan(&ignored); err == nil && !ignored {
			tx.unchecked = true
			err = tx.exec(ctx, "PRAGMA ignore_check_constraints=ON")
		}
	}
	return err
}

func (tx *sqliteTx) checksOn() (err error) {
	if tx.unchecked {
		err = tx.exec(context.Background(), "PRAGMA ignore_check_constraints=OFF")
		tx.unchecked = err != nil
	}
	return err
}

// replaceable: foreign keys are off. A row gets another rowid if that is not in its record.
// Then it must not be one that dangled before, which the rowid tells.
func (tx *sqliteTx) replaceable(_ context.Context, t *table) (replacement, error) {
	if t.lite.onOther {
		return notReplaceable, nil
	}
	for v := range tx.before {
		if tx.declared(v.table) == t && v.row.Valid {
			return notReplaceable, nil
		}
	}
	return inTwoSteps, nil
}

// clash inserts the row without its old row. Another row is then in the way for certain.
func (tx *sqliteTx) clash(ctx context.Context, c *clash) error {
	if err := tx.exec(ctx, "SAVEPOINT clash"); err != nil {
		return err
	}
	err := tx.findClash(ctx, c)
	if e := tx.exec(ctx, "ROLLBACK TO clash"); e != nil {
		return e
	}
	if e := tx.exec(ctx, "RELEASE clash"); e != nil {
		return e
	}
	return err
}

func (tx *sqliteTx) findClash(ctx context.Context, c *clash) error {
	args, _, err := c.t.keyArgs(SQLite, nil, c.key)
	if err != nil {
		return err
	}
	if _, err := tx.conn.ExecContext(ctx, "DELETE FROM "+c.t.name+" WHERE "+SQLite.match(c.t, 1), args...); err != nil {
		return err
	}
	insert := c.t.lite.or("INSERT") + " INTO " + c.t.name + " (" + quotedNames(c.set) + ") VALUES " + valueRows(len(c.set), 1)
	_, err = tx.conn.ExecContext(ctx, insert, c.args...)
	if err == nil {
		return nil
	}
	if _, what, ok := strings.Cut(err.Error(), "UNIQUE constraint failed: "); ok {
		what, _, _ = strings.Cut(what, " (")
		if table := tx.tableOf(ctx, what); table != "" && !strings.EqualFold(table, c.t.plain) {
			c.ofTrigger(fmt.Sprintf("%s of table %q", tx.uniqueNamed(ctx, table, what), table))
			return nil
		}
		c.constraint = tx.uniqueNamed(ctx, c.t.plain, what)
	}
	first := c.t.keyColumns()[0].quoted
	rows, err := tx.conn.QueryContext(ctx, insert+" ON CONFLICT DO UPDATE SET "+first+" = "+first+" RETURNING "+c.t.selectedKey, c.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	row := newKey(c.t)
	if rows.Next() {
		if err := rows.Scan(row.dest...); err != nil {
			return err
		}
		if c.with, err = row.key(SQLite); err != nil {
			return err
		}
	}
	return rows.Err()
}

// tableOf returns the table of what SQLite names: "index 'name'", or "table.a, table.b".
func (tx *sqliteTx) tableOf(ctx context.Context, what string) (table string) {
	if index, ok := strings.CutPrefix(what, "index '"); ok {
		_ = tx.conn.QueryRowContext(ctx, "SELECT tbl_name FROM main.sqlite_schema WHERE type = 'index' AND name = ?", strings.TrimSuffix(index, "'")).Scan(&table)
		return table
	}
	first, _, _ := strings.Cut(what, ", ")
	_ = tx.conn.QueryRowContext(ctx, `SELECT l.name FROM pragma_table_list l, pragma_table_info(l.name) c
		WHERE l.schema = 'main' AND l.type = 'table' AND l.name || '.' || c.name = ?`, first).Scan(&table)
	return table
}

// uniqueNamed returns words for the same.
func (tx *sqliteTx) uniqueNamed(ctx context.Context, table, what string) string {
	if index, ok := strings.CutPrefix(what, "index '"); ok {
		return "unique index " + strings.TrimSuffix(index, "'")
	}
	columns := strings.ReplaceAll(what, table+".", "")
	var index string
	_ = tx.conn.QueryRowContext(ctx, `SELECT l.name FROM pragma_index_list(?, 'main') l WHERE l."unique" AND l.origin = 'c'
		AND (SELECT group_concat(name, ', ') FROM (SELECT name FROM pragma_index_xinfo(l.name, 'main') WHERE key ORDER BY seqno)) = ?`, table, columns).Scan(&index)
	if index == "" {
		return "UNIQUE (" + columns + ")"
	}
	return uniqueWords(index, columns)
}

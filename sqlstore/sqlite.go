package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/sqljson"
)

// SQLite is the dialect of SQLite from 3.37 on, tested with modernc.org/sqlite.
var SQLite Dialect = sqlite{}

type sqlite struct{}

// SQLITE_MAX_VARIABLE_NUMBER is 32766 from 3.32 on.
func (sqlite) maxArgs() int { return 32766 }

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// sqliteTx is a transaction that was begun with a statement, since database/sql
// cannot ask for BEGIN IMMEDIATE.
type sqliteTx struct {
	conn     *sql.Conn
	enforced bool              // the connection had foreign keys on, and gets them back
	before   map[violation]int // what dangled when the first change was made, nil without one
	actions  map[foreignKey]string
	tables   []*table
}

// A foreignKey is one of a table.
type foreignKey struct {
	table string
	id    int
}

// A violation is a row that refers to nothing. The row has a number, but in a
// table WITHOUT ROWID.
type violation struct {
	foreignKey
	row    sql.NullInt64
	parent string
}

func (sqlite) begin(ctx context.Context, conn *sql.Conn, write bool) (_ transaction, err error) {
	tx := &sqliteTx{conn: conn}
	// The first read pins the state that a deferred transaction sees.
	statements := []string{"BEGIN", "SELECT count(*) FROM sqlite_schema"}
	if write {
		statements = []string{"BEGIN IMMEDIATE"}
		// It has no effect inside a transaction.
		if err := conn.QueryRowContext(ctx, "PRAGMA foreign_keys").Scan(&tx.enforced); err != nil {
			return nil, fmt.Errorf("sqlstore: read PRAGMA foreign_keys: %w", contextError(ctx, err))
		}
		if tx.enforced {
			if _, err := conn.ExecContext(ctx, "PRAGMA foreign_keys=OFF"); err != nil {
				tx.release()
				return nil, fmt.Errorf("sqlstore: switch foreign keys off: %w", contextError(ctx, err))
			}
		}
	}
	for _, s := range statements {
		rows, err := conn.QueryContext(ctx, s)
		if err == nil {
			for rows.Next() {
			}
			err = errors.Join(rows.Err(), rows.Close())
		}
		if err != nil {
			tx.rollback()
			return nil, fmt.Errorf("sqlstore: begin a transaction: %w", SQLite.explain(contextError(ctx, err)))
		}
	}
	return tx, nil
}

// Who waits for a lock here waits for PRAGMA busy_timeout.
func (sqlite) conflict(error) bool { return false }

func (sqlite) explain(err error) error {
	switch {
	case err == nil:
	case strings.Contains(err.Error(), "database is locked"):
		err = fmt.Errorf("%w; another connection is writing: try again, or set PRAGMA busy_timeout on the connections of the store", err)
	case strings.Contains(err.Error(), "disk is full"):
		err = fmt.Errorf("%w; check disk space", err)
	case strings.Contains(err.Error(), "readonly database"):
		err = fmt.Errorf("%w; check write permissions", err)
	case strings.Contains(err.Error(), "UNIQUE constraint failed"):
		err = fmt.Errorf("%w; records that exchange a unique value cannot be restored at once", err)
	}
	return err
}

func (tx *sqliteTx) rollback() {
	_, err := tx.conn.ExecContext(context.Background(), "ROLLBACK")
	// SQLite ends a transaction itself where a statement was interrupted.
	if err != nil && !strings.Contains(err.Error(), "no transaction is active") {
		tx.discard()
		return
	}
	tx.release()
}

// release leaves the connection as it was before the transaction.
func (tx *sqliteTx) release() {
	if !tx.enforced {
		return
	}
	if _, err := tx.conn.ExecContext(context.Background(), "PRAGMA foreign_keys=ON"); err != nil {
		tx.discard()
	}
}

// discard keeps the connection from being used again.
func (tx *sqliteTx) discard() {
	_ = tx.conn.Raw(func(any) error { return driver.ErrBadConn })
}

// touch notes the references that are dangling already. SQLite itself does not
// look at foreign keys in a transaction that writes: an action of one would change
// a row that a record is still to come for, and what only the host has of it would
// be lost. The commit finds what has come to dangle.
func (tx *sqliteTx) touch(ctx context.Context, tables []*table) (err error) {
	tx.tables = tables
	if tx.before, err = tx.violations(ctx); err != nil {
		return fmt.Errorf("sqlstore: check foreign keys: %w", contextError(ctx, err))
	}
	return nil
}

func (tx *sqliteTx) violations(ctx context.Context) (map[violation]int, error) {
	rows, err := tx.conn.QueryContext(ctx, `SELECT "table", rowid, parent, fkid FROM pragma_foreign_key_check`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[violation]int{}
	for rows.Next() {
		var v violation
		if err := rows.Scan(&v.table, &v.row, &v.parent, &v.id); err != nil {
			return nil, err
		}
		found[v]++
	}
	return found, rows.Err()
}

// attempt: SQLite rolls back when the disk is full, on an I/O error, and when it
// runs out of memory. What follows would be committed statement by statement.
func (tx *sqliteTx) attempt(ctx context.Context, do func() error) (alive bool, err error) {
	if err = do(); err == nil {
		return true, nil
	}
	_, inside := tx.conn.ExecContext(ctx, "BEGIN")
	if inside == nil {
		tx.rollback()
		return false, err
	}
	return strings.Contains(inside.Error(), "within a transaction"), err
}

func (tx *sqliteTx) commit(ctx context.Context) error {
	if tx.before != nil {
		if err := tx.settle(ctx, tx.tables); err != nil {
			tx.rollback()
			return rolledBack(err)
		}
	}
	// A context that is done from here on does not matter: a driver could report
	// it for a commit that has happened.
	_, err := tx.conn.ExecContext(context.WithoutCancel(ctx), "COMMIT")
	if err == nil {
		tx.release()
		return nil
	}
	tx.rollback()
	refused := refusedCommit(err)
	if err = fmt.Errorf("sqlstore: commit: %w", SQLite.explain(err)); refused {
		err = rolledBack(err)
	}
	return err
}

// refusedCommit tells whether a COMMIT failed before it could take effect. After an
// error of the disk that is not known.
func refusedCommit(err error) bool {
	return slices.ContainsFunc([]string{"constraint failed", "database is locked", "disk is full"}, func(text string) bool {
		return strings.Contains(err.Error(), text)
	})
}

// settle carries out the actions of foreign keys. What dangles nevertheless is an
// error.
func (tx *sqliteTx) settle(ctx context.Context, tables []*table) error {
	const most = 1000 // as deep as SQLite lets actions nest
	for round := 0; ; round++ {
		news, err := tx.news(ctx)
		if err != nil {
			return fmt.Errorf("sqlstore: check foreign keys: %w", contextError(ctx, err))
		}
		if len(news) == 0 {
			return nil
		}
		changed := false
		if round < most {
			if changed, err = tx.act(ctx, news, tables); err != nil {
				return fmt.Errorf("sqlstore: commit: %w", SQLite.explain(contextError(ctx, err)))
			}
		}
		if !changed {
			return tx.dangling(ctx, news, tables)
		}
	}
}

// news returns the references that the transaction has made dangling.
func (tx *sqliteTx) news(ctx context.Context) (news []violation, err error) {
	after, err := tx.violations(ctx)
	for v, n := range after {
		if n > tx.before[v] {
			news = append(news, v)
		}
	}
	slices.SortFunc(news, func(a, b violation) int {
		return cmp.Or(strings.Compare(a.table, b.table), cmp.Compare(a.row.Int64, b.row.Int64), cmp.Compare(a.id, b.id))
	})
	return news, err
}

// act carries out the actions that news ask for, and tells whether any row has
// changed. What then refers to these rows is for the next time.
func (tx *sqliteTx) act(ctx context.Context, news []violation, tables []*table) (changed bool, err error) {
	for _, v := range news {
		action, ok := tx.actions[v.foreignKey]
		if !ok {
			if action, err = tx.action(ctx, v, tables); err != nil {
				return false, err
			}
			if tx.actions == nil {
				tx.actions = map[foreignKey]string{}
			}
			tx.actions[v.foreignKey] = action
		}
		if action == "" || !v.row.Valid {
			continue
		}
		result, err := tx.conn.ExecContext(ctx, action, v.row.Int64)
		if err != nil {
			return false, fmt.Errorf("table %q: carry out ON DELETE of a foreign key: %w", v.table, err)
		}
		n, err := result.RowsAffected()
		if err != nil {
			return false, err
		}
		changed = changed || n > 0
	}
	return changed, nil
}

// action returns the statement that does to a row what its foreign key asks for
// when the row it refers to is deleted. It is empty if there is nothing to do, or
// the row is not ours to change, or the other may have been changed only.
func (tx *sqliteTx) action(ctx context.Context, v violation, tables []*table) (string, error) {
	parent, rowid := declared(tables, v.parent), tx.rowid(ctx, v.table)
	if declared(tables, v.table) != nil || rowid == "" {
		return "", nil
	}
	rows, err := tx.conn.QueryContext(ctx, `SELECT f."from", coalesce(f."to", p.name, ''), upper(f.on_delete) FROM pragma_foreign_key_list(?) f
		LEFT JOIN pragma_table_info(f."table") p ON f."to" IS NULL AND p.pk = f.seq + 1 WHERE f.id = ?`, v.table, v.id)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var onDelete string
	var set []string
	for rows.Next() {
		var from, to string
		if err := rows.Scan(&from, &to, &onDelete); err != nil {
			return "", err
		}
		set = append(set, quote(from)+"=NULL")
		// A record keeps its key, and what is not in records is not changed.
		if parent != nil && slices.ContainsFunc(parent.columns, func(c *column) bool { return !c.key && strings.EqualFold(c.Name, to) }) {
			return "", nil
		}
	}
	where := " WHERE " + rowid + " = ?"
	switch onDelete {
	case "CASCADE":
		return "DELETE FROM " + quote(v.table) + where, rows.Err()
	case "SET NULL":
		return "UPDATE " + quote(v.table) + " SET " + strings.Join(set, ", ") + where, rows.Err()
	}
	return "", rows.Err()
}

// rowid returns the name that the number of a row has in a table: columns may have
// taken it.
func (tx *sqliteTx) rowid(ctx context.Context, table string) (name string) {
	_ = tx.conn.QueryRowContext(ctx, `SELECT n.column1 FROM (VALUES ('rowid'), ('_rowid_'), ('oid')) n
		WHERE n.column1 NOT IN (SELECT lower(name) FROM pragma_table_xinfo(?)) LIMIT 1`, table).Scan(&name)
	return name
}

func declared(tables []*table, name string) *table {
	i := slices.IndexFunc(tables, func(t *table) bool { return strings.EqualFold(t.plain, name) })
	if i < 0 {
		return nil
	}
	return tables[i]
}

// dangling returns the error that names references.
func (tx *sqliteTx) dangling(ctx context.Context, news []violation, tables []*table) error {
	const shown = 10
	var named []string
	for _, v := range news[:min(shown, len(news))] {
		named = append(named, tx.words(ctx, v, tables))
	}
	if len(news) > shown {
		named = append(named, fmt.Sprintf("and %d more", len(news)-shown))
	}
	return fmt.Errorf("%w: %s", backup.ErrDangling, strings.Join(named, "; "))
}

// words says which row v is about, as well as it can be found out.
func (tx *sqliteTx) words(ctx context.Context, v violation, tables []*table) string {
	row := "a row"
	if v.row.Valid {
		row = fmt.Sprintf("row %d", v.row.Int64)
	}
	if t, rowid := declared(tables, v.table), tx.rowid(ctx, v.table); t != nil && v.row.Valid && rowid != "" {
		texts := t.keyTexts("CAST(", " AS TEXT)")
		key, err := scanKey(tx.conn.QueryRowContext(ctx, "SELECT "+strings.Join(texts, ", ")+" FROM "+t.name+" WHERE "+rowid+" = ?", v.row.Int64), len(texts))
		if err == nil {
			row = strconv.Quote(key)
		}
	}
	column := "a foreign key"
	rows, err := tx.conn.QueryContext(ctx, `SELECT group_concat("from", ', ') FROM pragma_foreign_key_list(?) WHERE id = ?`, v.table, v.id)
	if err == nil {
		defer rows.Close()
		if rows.Next() {
			_ = rows.Scan(&column)
		}
	}
	return fmt.Sprintf("table %q: %s refers by %s to nothing in %q", v.table, row, column, v.parent)
}

// affinity is the type that a column of SQLite turns values into where it can.
type affinity int

const (
	none affinity = iota
	text
	numeric // INTEGER is the same to us
	real
)

// affinityOf follows section 3.1 of https://sqlite.org/datatype3.html.
func affinityOf(declared string, strict bool) affinity {
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(declared, p) })
	}
	switch {
	case strict && declared == "ANY":
		return none
	case has("INT"):
		return numeric
	case has("CHAR", "CLOB", "TEXT"):
		return text
	case declared == "" || has("BLOB"):
		return none
	case has("REAL", "FLOA", "DOUB"):
		return real
	default:
		return numeric
	}
}

func (tx *sqliteTx) describe(ctx context.Context, declared Table) (*table, error) {
	t := &table{collection: declared.Collection}
	var d sqlite
	var strict bool
	err := tx.conn.QueryRowContext(ctx, `SELECT name, strict, (SELECT coalesce(max(s.sql LIKE '%conflict%'), 0) FROM main.sqlite_schema s WHERE s.type = 'table' AND s.name = l.name)
		FROM pragma_table_list l WHERE schema = 'main' AND name = ? COLLATE NOCASE`, declared.Name).Scan(&t.plain, &strict, &t.resolves)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, errors.New("there is no such table")
	}
	if err != nil {
		return nil, contextError(ctx, err)
	}
	t.name = quote(t.plain)
	columns, primary, err := d.columns(ctx, tx.conn, t.plain, strict)
	if err != nil {
		return nil, contextError(ctx, err)
	}
	if err := t.declare(declared, columns, primary); err != nil {
		return nil, err
	}
	for _, c := range t.columns {
		if err := d.kind(c); err != nil {
			return nil, fmt.Errorf("column %q: %w", c.Name, err)
		}
		c.read = d.read(c)
	}
	t.order = t.keyNames("")
	if err := d.unique(ctx, tx.conn, t, primary); err != nil {
		return nil, contextError(ctx, err)
	}
	return t, nil
}

// columns returns the columns of a table, without generated ones, and the names
// of those in the primary key.
func (sqlite) columns(ctx context.Context, conn *sql.Conn, name string, strict bool) (columns []*column, primary []string, err error) {
	rows, err := conn.QueryContext(ctx, `SELECT name, upper(type), coalesce(dflt_value, ''), pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid`, name)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		c := &column{}
		var pk, hidden int
		if err := rows.Scan(&c.Name, &c.declared, &c.def, &pk, &hidden); err != nil {
			return nil, nil, err
		}
		if hidden != 0 {
			continue
		}
		if pk > 0 {
			for len(primary) < pk {
				primary = append(primary, "")
			}
			primary[pk-1] = c.Name
		}
		if strings.EqualFold(c.def, "NULL") {
			c.def = ""
		}
		c.Field = c.Name
		c.quoted = quote(c.Name)
		c.affinity = affinityOf(c.declared, strict)
		columns = append(columns, c)
	}
	return columns, primary, rows.Err()
}

// kind settles what a column holds.
func (sqlite) kind(c *column) error {
	if c.key {
		switch {
		case c.Kind != Auto && c.Kind != Text && c.Kind != Integer:
			return fmt.Errorf("a key cannot be %v", c.Kind)
		case c.affinity == real:
			return errors.New("a key cannot be REAL")
		case c.affinity == text && c.Kind == Integer:
			return errors.New("a key of text cannot be Integer")
		case c.OmitNull:
			return errors.New("a key cannot be left out")
		case c.Kind == Auto && strings.Contains(c.declared, "INT"):
			c.Kind = Integer
		case c.Kind == Auto && c.affinity != numeric:
			c.Kind = Text
		}
		return nil
	}
	if c.Kind == Auto {
		switch {
		case c.declared == "BOOL" || c.declared == "BOOLEAN":
			c.Kind = Bool
		case strings.Contains(c.declared, "JSON"):
			c.Kind = JSON
		case strings.Contains(c.declared, "BLOB"):
			c.Kind = Blob
		}
	}
	switch {
	case c.Kind < Auto || c.Kind > Blob:
		return fmt.Errorf("there is no %v", c.Kind)
	case c.affinity == text && (c.Kind == Integer || c.Kind == Real || c.Kind == Bool),
		c.affinity == real && (c.Kind == Bool || c.Kind == JSON):
		return fmt.Errorf("declared %s it cannot be %v", c.declared, c.Kind)
	}
	if c.Kind == JSON || c.Kind == JSONBytes {
		c.OmitNull = !c.lone
	}
	return nil
}

// unique makes sure that the key finds one row, and that keys are compared byte
// by byte.
func (sqlite) unique(ctx context.Context, conn *sql.Conn, t *table, primary []string) error {
	rows, err := conn.QueryContext(ctx, `SELECT l.name, l.origin, coalesce(x.name, ''), x.coll <> 'BINARY' FROM pragma_index_list(?) l, pragma_index_xinfo(l.name) x
		WHERE l."unique" AND NOT l.partial AND x.key`, t.plain)
	if err != nil {
		return err
	}
	defer rows.Close()
	// A rowid that is the primary key has no index.
	rowid := primary
	columns, collated := map[string][]string{}, map[string]bool{} // by index
	for rows.Next() {
		var index, origin, name string // name is empty in an index on an expression
		var collates bool
		if err := rows.Scan(&index, &origin, &name, &collates); err != nil {
			return err
		}
		if origin == "pk" {
			rowid = nil
		}
		columns[index] = append(columns[index], name)
		collated[index] = collated[index] || collates
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, c := range t.keyColumns() {
		// No index need have the collation of the column.
		var same bool
		err := conn.QueryRowContext(ctx, "SELECT x IN ('A', 'a ', 'á') FROM (SELECT "+c.quoted+" AS x FROM "+t.name+" WHERE 0 UNION ALL SELECT 'a')").Scan(&same)
		if err != nil {
			return err
		}
		if same && c.Kind != Integer {
			return fmt.Errorf("the key column %q has a collation: different keys may be the same to it", c.Name)
		}
	}
	exact := [][]string{rowid}
	for index, names := range columns {
		if !collated[index] {
			exact = append(exact, names)
		}
	}
	if !t.unique(exact) {
		return t.notUnique(", with the collation BINARY")
	}
	return nil
}

// tagged says that text is read with a letter before it. Some drivers make times
// of text in columns of these types, or of no type, and what was stored is lost.
func (c *column) tagged() bool {
	switch c.declared {
	case "DATE", "DATETIME", "TIMESTAMP", "":
		return true
	}
	return false
}

// read returns the expression that reads c exactly as it is stored.
func (sqlite) read(c *column) string {
	switch {
	case c.tagged():
		return "CASE typeof(" + c.quoted + ") WHEN 'text' THEN 'T'||" + c.quoted + " ELSE " + c.quoted + " END"
	case c.Kind == Bool:
		return "+" + c.quoted // without the declared type: some drivers make booleans of it
	}
	return c.quoted
}

// conflict returns what a row conflicts with that has the same key, but not with
// another index on it that has a collation. A rowid has none.
func (t *table) conflict() string {
	var names []string
	for _, c := range t.keyColumns() {
		name := c.quoted
		if c.Kind != Integer {
			name += " COLLATE BINARY"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// match: SQLite looks up none of a list of rows in an index, but each of
// alternatives.
func (sqlite) match(t *table, n int) string {
	if len(t.keys) == 1 {
		return t.keyNames("") + " IN (?" + strings.Repeat(",?", n-1) + ")"
	}
	var is []string
	for _, c := range t.keyColumns() {
		is = append(is, c.quoted+"=?")
	}
	one := strings.Join(is, " AND ")
	return "(" + one + strings.Repeat(" OR "+one, n-1) + ")"
}

func (sqlite) upsert(t *table, set []*column, rows int) string {
	var b strings.Builder
	names, values := []string{}, "("
	var update []string
	isSet := map[*column]bool{}
	for i, c := range set {
		isSet[c] = true
		names = append(names, c.quoted)
		if i > 0 {
			values += ","
		}
		values += "?"
	}
	values += ")"
	for _, c := range t.columns {
		switch {
		case c.key:
		case isSet[c]:
			update = append(update, c.quoted+"=excluded."+c.quoted)
		default:
			update = append(update, c.quoted+"=("+c.def+")")
		}
	}
	insert := "INSERT INTO "
	if t.resolves {
		insert = "INSERT OR ABORT INTO "
	}
	b.WriteString(insert + t.name + " (" + strings.Join(names, ",") + ") VALUES " + values)
	b.WriteString(strings.Repeat(","+values, rows-1))
	b.WriteString(" ON CONFLICT (" + t.conflict() + ") DO ")
	if len(update) == 0 {
		b.WriteString("NOTHING")
	} else {
		b.WriteString("UPDATE SET " + strings.Join(update, ","))
	}
	return b.String()
}

func (sqlite) append(dst []byte, c *column, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		if c.lone && (c.Kind == JSON || c.Kind == JSONBytes) {
			return dst, errors.New("the column holds NULL, which is not the JSON null: make it NOT NULL")
		}
		return append(dst, "null"...), nil
	case int64:
		switch c.Kind {
		case Bool:
			if v == 0 || v == 1 {
				return strconv.AppendBool(dst, v == 1), nil
			}
		case JSON:
			if c.affinity != numeric {
				return dst, holds("an integer", c)
			}
		case Text, JSONBytes, Blob:
			return dst, holds("an integer", c)
		}
		return strconv.AppendInt(dst, v, 10), nil
	case float64:
		switch {
		case math.IsNaN(v) || math.IsInf(v, 0):
			return dst, errors.New("the column holds a number that JSON does not have (infinite, or not a number)")
		case c.Kind == JSON && c.affinity != numeric, c.Kind == Text, c.Kind == Integer, c.Kind == JSONBytes, c.Kind == Blob:
			return dst, holds("a real", c)
		}
		return appendReal(dst, v, c.affinity != real), nil
	case string:
		if c.tagged() {
			v = v[1:]
		}
		switch c.Kind {
		case Integer, Real, JSONBytes, Blob:
			return dst, holds("text", c)
		case JSON:
			return sqljson.AppendCompact(dst, []byte(v))
		}
		return sqljson.AppendString(dst, v)
	case []byte:
		switch c.Kind {
		case Blob:
			return appendBlob(dst, v), nil
		case JSONBytes:
			return sqljson.AppendCompact(dst, v)
		}
		return dst, holds("a blob", c)
	default:
		return dst, fmt.Errorf("the driver makes a %T of what is stored: open the database for the store without such conversions", v)
	}
}

// holds says that a column holds what its kind does not.
func holds(what string, c *column) error {
	if c.Kind == Auto {
		return fmt.Errorf("the column holds %s: say what it is in Table.Columns", what)
	}
	return fmt.Errorf("the column holds %s and is taken for %v: say what it is in Table.Columns", what, c.Kind)
}

// appendReal appends the shortest number that is read as v again. Marked, it is
// told from an integer by a point or an exponent.
func appendReal(dst []byte, v float64, marked bool) []byte {
	format := byte('f')
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, v, format, -1, 64)
	if marked && format == 'f' && v == math.Trunc(v) {
		dst = append(dst, ".0"...)
	}
	return dst
}

var errChanged = fmt.Errorf("%w: the column would change the value", backup.ErrInvalid)

func (sqlite) bind(c *column, json string) (any, error) {
	number := json[0] == '-' || '0' <= json[0] && json[0] <= '9'
	switch {
	case c.Kind == JSONBytes:
		return []byte(json), nil
	case c.Kind == JSON && number && c.affinity == numeric:
		return bindNumber(c, json)
	case c.Kind == JSON:
		return json, nil
	case number:
		if c.Kind == Text || c.Kind == Blob || c.affinity == text || c.Kind == Bool && (json == "0" || json == "1") {
			return nil, cannot("a number", c)
		}
		return bindNumber(c, json)
	}
	switch {
	case json == "null":
		return nil, nil
	case json == "true" || json == "false":
		if c.Kind != Bool {
			return nil, cannot("a boolean", c)
		}
		if json == "true" {
			return int64(1), nil
		}
		return int64(0), nil
	case json[0] == '"':
		s, err := sqljson.Unquote(json)
		switch {
		case err != nil:
			return nil, err
		case c.Kind == Blob:
			return decodeBlob(s)
		case c.Kind == Integer || c.Kind == Real:
			return nil, cannot("text", c)
		case c.affinity >= numeric && looksNumeric(s):
			return nil, errChanged
		}
		return s, nil
	default:
		return nil, cannot("an array or object", c)
	}
}

func appendBlob(dst, b []byte) []byte {
	return append(base64.StdEncoding.AppendEncode(append(dst, '"'), b), '"')
}

func decodeBlob(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, fmt.Errorf("%w: the text is not base64", backup.ErrInvalid)
	}
	return b, nil
}

func cannot(what string, c *column) error {
	declared := c.declared
	if declared == "" {
		declared = "without a type"
	}
	return fmt.Errorf("%w: the value is %s, and the column cannot hold that (it is declared %s)", backup.ErrInvalid, what, declared)
}

func bindNumber(c *column, json string) (any, error) {
	if c.affinity == real || c.Kind != Integer && strings.ContainsAny(json, ".eE") {
		v, err := strconv.ParseFloat(json, 64)
		if err != nil || !exact(json, v, 64) {
			return nil, errChanged
		}
		return v, nil
	}
	v, err := strconv.ParseInt(json, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: the column cannot hold this number: it is no integer of 64 bits", backup.ErrInvalid)
	}
	return v, nil
}

// exact tells whether the number json is what is written for v, which has 32 or
// 64 bits.
func exact(json string, v float64, bits int) bool {
	written := strconv.FormatFloat(v, 'g', -1, bits)
	if json == written {
		return true
	}
	d1, e1 := decimal(json)
	d2, e2 := decimal(written)
	return d1 == d2 && (e1 == e2 || d1 == "")
}

// decimal returns the digits of a number without zeros at either end, and the
// power of ten that belongs to a point before them.
func decimal(json string) (digits string, exponent int) {
	json = strings.TrimPrefix(json, "-")
	mantissa, e, _ := strings.Cut(strings.ToLower(json), "e")
	if e != "" {
		exponent, _ = strconv.Atoi(e)
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits = whole + fraction
	exponent += len(whole)
	trimmed := strings.TrimLeft(digits, "0")
	exponent -= len(digits) - len(trimmed)
	return strings.TrimRight(trimmed, "0"), exponent
}

// looksNumeric tells whether a numeric column would make a number of a text.
func looksNumeric(s string) bool {
	s = strings.Trim(s, " \t\n\v\f\r")
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	whole := digits(s)
	s = s[whole:]
	fraction := 0
	if s != "" && s[0] == '.' {
		fraction = digits(s[1:])
		s = s[1+fraction:]
	}
	if whole+fraction == 0 {
		return false
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		if s = s[1:]; s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		n := digits(s)
		return n > 0 && n == len(s)
	}
	return s == ""
}

// digits counts the digits that s begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return n
}

func (sqlite) keyText(c *column, v any) (string, error) {
	switch v := v.(type) {
	case int64:
		if c.Kind != Text {
			return strconv.FormatInt(v, 10), nil
		}
		return "", holds("an integer", c)
	case string:
		if c.tagged() {
			v = v[1:]
		}
		if !utf8.ValidString(v) {
			return "", sqljson.ErrUTF8
		}
		if c.Kind != Integer {
			return v, nil
		}
		return "", holds("text", c)
	default:
		return "", errors.New("a key is neither text nor an integer")
	}
}

func (sqlite) keyArg(c *column, key string) (any, bool) {
	if c.Kind != Text {
		v, err := strconv.ParseInt(key, 10, 64)
		if err == nil && strconv.FormatInt(v, 10) == key {
			return v, true
		}
		if c.Kind == Integer {
			return nil, false
		}
	}
	return key, c.affinity < numeric || !looksNumeric(key)
}

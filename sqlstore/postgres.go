package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// PostgreSQL is the dialect of PostgreSQL from 12 on, tested with the
// database/sql driver of github.com/jackc/pgx/v5.
var PostgreSQL Dialect = postgres{}

type postgres struct{}

// postgresTx is a transaction that was begun with a statement. So it can go on after an
// error, from the savepoint before it.
type postgresTx struct {
	session
	write bool
	saved bool // there is a savepoint

	tables []*table // the declared tables
	refs   []*postgresReference
	found  bool // refs were looked up
}

func (postgres) begin(ctx context.Context, conn *sql.Conn, write bool) (transaction, error) {
	tx := &postgresTx{session: session{conn}, write: write}
	// The first query fixes the state that a backup sees. In a transaction that writes,
	// each statement sees the current state: others cannot change it, since the tables
	// are locked.
	mode := "ISOLATION LEVEL REPEATABLE READ READ ONLY"
	if write {
		mode = "ISOLATION LEVEL READ COMMITTED READ WRITE"
	}
	if err := tx.exec(ctx, "BEGIN "+mode); err != nil {
		return tx, err
	}
	// The text of a value must not depend on the settings of the user. No timeout may end
	// a long transaction, and no policy may hide rows from it.
	return tx, tx.exec(ctx, `SELECT set_config(s[1], s[2], true) FROM (VALUES (ARRAY['TimeZone', 'UTC']), (ARRAY['DateStyle', 'ISO, YMD']),
		(ARRAY['IntervalStyle', 'iso_8601']), (ARRAY['extra_float_digits', '3']), (ARRAY['bytea_output', 'hex']), (ARRAY['xmloption', 'content']),
		(ARRAY['lc_monetary', 'C']), (ARRAY['row_security', 'off']), (ARRAY['statement_timeout', '0']),
		(ARRAY['idle_in_transaction_session_timeout', '0']), (ARRAY['transaction_timeout', '0']), (ARRAY['array_nulls', 'on'])) AS settings(s)
		WHERE current_setting(s[1], true) IS NOT NULL`)
}

// attempt sets a savepoint, since an error without a savepoint ends the transaction.
func (tx *postgresTx) attempt(ctx context.Context, do func() error) (alive bool, err error) {
	savepoint := "SAVEPOINT sqlstore"
	if tx.saved {
		savepoint = "RELEASE SAVEPOINT sqlstore; " + savepoint
	}
	if err := tx.exec(ctx, savepoint); err != nil {
		return false, err
	}
	tx.saved = true
	if err = do(); err == nil {
		return true, nil
	}
	return tx.exec(ctx, "ROLLBACK TO SAVEPOINT sqlstore") == nil, err
}

// settle checks deferred constraints. A transaction that has failed fails here too, since
// PostgreSQL treats its COMMIT as a ROLLBACK.
func (tx *postgresTx) settle(ctx context.Context, _ bool) error {
	alive, err := tx.attempt(ctx, func() error { return tx.exec(ctx, "SET CONSTRAINTS ALL IMMEDIATE") })
	switch {
	case err == nil:
		return tx.exec(ctx, "SET CONSTRAINTS ALL DEFERRED") // for the changes that may follow
	case alive && (postgres{}).dangles(err):
		return tx.dangling(ctx, err)
	case alive && (postgres{}).clashes(err):
		return tx.clashing(ctx, err)
	}
	return err
}

// finish sets sequences.
func (tx *postgresTx) finish(ctx context.Context) error {
	for _, t := range tx.tables {
		if t.written {
			if err := tx.sequences(ctx, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// sequences sets the sequences of the columns of a table to continue after the values in
// it. A rollback does not undo that, so it only ever sets them forward.
func (tx *postgresTx) sequences(ctx context.Context, t *table) error {
	var statements []string
	err := tx.each(ctx, `SELECT DISTINCT quote_ident(n.nspname)||'.'||quote_ident(s.relname), a.attnum::int8, q.seqincrement < 0
		FROM pg_depend d JOIN pg_class s ON s.relkind = 'S' AND d.classid = 'pg_class'::regclass AND s.oid = d.objid AND d.deptype IN ('a', 'i')
			OR s.relkind = 'S' AND d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND s.oid = d.refobjid
		JOIN pg_namespace n ON n.oid = s.relnamespace JOIN pg_sequence q ON q.seqrelid = s.oid
		LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
		JOIN pg_attribute a ON a.attrelid = coalesce(f.adrelid, d.refobjid) AND a.attnum = coalesce(f.adnum, d.refobjsubid)
		WHERE a.attrelid = $1::text::oid`, []any{t.pg.oidText()}, func(rows *sql.Rows) error {
		var sequence string
		var number int
		var down bool
		if err := rows.Scan(&sequence, &number, &down); err != nil {
			return err
		}
		for _, c := range t.columns {
			if c.pg.attnum == number && (c.pg.family == integers || c.pg.family == decimals) {
				statements = append(statements, setSequence(sequence, t.name, c.quoted, down))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, s := range statements {
		if err := tx.exec(ctx, s); err != nil {
			return fmt.Errorf("table %q: set a sequence: %w", t.plain, err)
		}
	}
	return nil
}

// setSequence returns the statement that sets a sequence to continue after the last
// number in a column. nextval makes sure that no other session gets the same number.
func setSequence(sequence, table, column string, down bool) string {
	most, further, is := "max", "greatest", ">"
	if down {
		most, further, is = "min", "least", "<"
	}
	name := literal(sequence) + "::regclass"
	return "SELECT setval(" + name + ", " + further + "(m, nextval(" + name + "))) FROM (SELECT " + most + "(" + column + ")::int8 AS m FROM " + table +
		") AS t, " + sequence + " AS s WHERE m " + is + " s.last_value OR m = s.last_value AND NOT s.is_called"
}

func (tx *postgresTx) commit(ctx context.Context) error { return tx.exec(ctx, "COMMIT") }

func (tx *postgresTx) rollback() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // the server may be out of reach
	defer cancel()
	if tx.exec(ctx, "ROLLBACK") != nil {
		tx.discard()
	}
}

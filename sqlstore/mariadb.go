package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MariaDB is the dialect of MariaDB from 10.6 on, with the database/sql driver of
// github.com/go-sql-driver/mysql. It refuses MySQL, whose JSON would round numbers.
var MariaDB Dialect = mariadb{}

type mariadb struct{}

// mariadbTx is a transaction that has set the variables of its session.
type mariadbTx struct {
	session
	write   bool
	packet  int    // the most bytes of a statement
	lock    string // the name of the lock that keeps other stores out
	restore string // the statement that puts the variables back

	tables []*table // the declared tables
	refs   []*mariadbReference
	found  bool // refs were looked up
}

// mariadbSession are the variables that a transaction sets. Not every server has all of
// them.
var mariadbSession = []struct{ name, value string }{
	// The server must not change a value to make it fit. It must take values that were
	// stored under weaker rules.
	{"sql_mode", "'STRICT_ALL_TABLES,STRICT_TRANS_TABLES,NO_AUTO_VALUE_ON_ZERO,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"},
	{"time_zone", "'+00:00'"},
	{"character_set_client", "'utf8mb4'"}, {"character_set_results", "'utf8mb4'"}, {"collation_connection", "'utf8mb4_nopad_bin'"},
	{"max_sort_length", "8192"},
	{"sql_auto_is_null", "0"}, {"sql_quote_show_create", "1"}, {"sql_safe_updates", "0"},
	// A backup may wait long for its location.
	{"net_write_timeout", "86400"}, {"wait_timeout", "86400"},
	{"max_statement_time", "0"}, {"max_execution_time", "0"},
	{"idle_transaction_timeout", "0"}, {"idle_readonly_transaction_timeout", "0"}, {"idle_write_transaction_timeout", "0"},
}

// mariadbWrites are those for a transaction that writes. The server itself may end it.
// Without autocommit, later statements are not kept either.
var mariadbWrites = []struct{ name, value string }{{"foreign_key_checks", "0"}, {"unique_checks", "1"}, {"autocommit", "0"},
	{"check_constraint_checks", "@@check_constraint_checks"}} // the same, but it is put back

func (mariadb) begin(ctx context.Context, conn *sql.Conn, write bool) (transaction, error) {
	tx := &mariadbTx{session: session{conn}, write: write}
	return tx, tx.begin(ctx)
}

func (tx *mariadbTx) begin(ctx context.Context) error {
	if err := tx.prepare(ctx); err != nil {
		return err
	}
	if !tx.write {
		if err := tx.exec(ctx, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"); err != nil {
			return err
		}
		return tx.exec(ctx, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
	}
	if err := tx.keepStoresOut(ctx); err != nil {
		return err
	}
	// SERIALIZABLE locks whatever is read.
	if err := tx.exec(ctx, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"); err != nil {
		return err
	}
	return tx.exec(ctx, "START TRANSACTION READ WRITE")
}

// prepare sets the variables of the session.
func (tx *mariadbTx) prepare(ctx context.Context) error {
	var version, limit string
	if err := tx.conn.QueryRowContext(ctx, "SELECT VERSION(), @@max_allowed_packet, @@sql_select_limit").Scan(&version, &tx.packet, &limit); err != nil {
		return err
	}
	// This comes first, since a limit would cut the list of variables short.
	tx.restore = "SET SESSION sql_select_limit=" + limit
	if err := tx.exec(ctx, "SET SESSION sql_select_limit=18446744073709551615"); err != nil {
		return err
	}
	if !strings.Contains(version, "MariaDB") {
		return fmt.Errorf("%w: this is MySQL %s and not MariaDB: the JSON of MySQL would round numbers", errors.ErrUnsupported, version)
	}
	settings := slices.Clone(mariadbSession)
	if tx.write {
		settings = append(settings, mariadbWrites...)
	}
	wanted := map[string]string{}
	var names, set []string
	for _, s := range settings {
		wanted[s.name] = s.value
		names = append(names, literal(s.name))
	}
	restore := []string{tx.restore}
	err := tx.each(ctx, "SHOW SESSION VARIABLES WHERE Variable_name IN ("+strings.Join(names, ",")+")", nil, func(rows *sql.Rows) error {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return err
		}
		set = append(set, "SESSION "+name+"="+wanted[name])
		restore = append(restore, "SESSION "+name+"="+variable(name, value))
		return nil
	})
	if err != nil {
		return err
	}
	tx.restore = strings.Join(restore, ", ")
	// Arguments compare by the collation of NAMES. By another, two keys could be one.
	return tx.exec(ctx, "SET "+strings.Join(set, ", ")+", NAMES utf8mb4 COLLATE utf8mb4_nopad_bin")
}

// variable returns the SQL of the value of a variable.
func variable(name, value string) string {
	if value == "" && name == "character_set_results" {
		return "NULL"
	}
	if _, err := strconv.ParseFloat(value, 64); err != nil {
		return literal(value)
	}
	return value
}

// keepStoresOut takes the lock that a store has while it writes. Without it, two stores
// could both lock the gaps of an empty table, and then wait for each other to insert.
func (tx *mariadbTx) keepStoresOut(ctx context.Context) error {
	var lock string
	var wait int
	if err := tx.conn.QueryRowContext(ctx, "SELECT CONCAT('sqlstore.', MD5(COALESCE(DATABASE(), ''))), @@innodb_lock_wait_timeout").Scan(&lock, &wait); err != nil {
		return err
	}
	var got sql.NullInt64
	tx.lock = lock // an error does not tell whether the lock was taken
	if err := tx.conn.QueryRowContext(ctx, fmt.Sprintf("SELECT GET_LOCK('%s', %d)", lock, wait)).Scan(&got); err != nil {
		return err
	}
	if got.Int64 != 1 {
		tx.lock = ""
		return errors.New("another store has been writing to the database for longer than innodb_lock_wait_timeout: try again")
	}
	return nil
}

// attempt needs no savepoint: a statement that fails leaves no change. Some errors end the
// transaction.
func (tx *mariadbTx) attempt(_ context.Context, do func() error) (alive bool, err error) {
	err = do()
	return err == nil || !MariaDB.conflict(err) && !MariaDB.lost(err), err
}

func (tx *mariadbTx) commit(ctx context.Context) error {
	err := tx.exec(ctx, "COMMIT")
	if err == nil {
		tx.end("")
	}
	return err
}

func (tx *mariadbTx) rollback() { tx.end("ROLLBACK") }

// end leaves the session as it was before. If that fails, it keeps the connection from
// being used again.
func (tx *mariadbTx) end(statement string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // the server may be out of reach
	defer cancel()
	statements := []string{statement}
	if tx.lock != "" {
		statements = append(statements, "DO RELEASE_LOCK('"+tx.lock+"')")
	}
	if tx.restore != "" {
		statements = append(statements, tx.restore)
	}
	for _, s := range statements {
		if s != "" && tx.exec(ctx, s) != nil {
			tx.discard()
			return
		}
	}
}

package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/integration/servers"
	"github.com/tomo-project/backup/pgxwire"
	"github.com/tomo-project/backup/sqlstore"
)

// The databases on a server: one with the records, and one for each side to
// restore into.
const (
	benchDB = "backup_bench"
	oursDB  = "backup_bench_ours"
	peerDB  = "backup_bench_peer"
)

// A dbms is a database server. The children find the server by the environment
// variable that names one that is already running.
type dbms struct {
	dialect  sqlstore.Dialect
	variable string
	start    func(parents ...string) (server string, stop func(), err error)
	client   func(dir, server string) error // lets the commands of the peer find the server
	dump     string                         // the command that makes the file that the peer restores
	open     func(database string) (*sql.DB, error)
	drop     string // follows the name of a database in DROP DATABASE
	tables   string
	load     func(ctx context.Context, db *sql.DB, records int) error
}

var dbmses = map[string]dbms{
	"postgres": {
		dialect: sqlstore.PostgreSQL, variable: servers.PostgresVariable, start: servers.Postgres,
		client: postgresClient, dump: `pg_dump -Fc -d "$DB" -f postgres.dump`,
		open: openPostgres, drop: " WITH (FORCE)",
		tables: `CREATE TABLE servers (
			id text PRIMARY KEY,
			name text NOT NULL,
			host text NOT NULL,
			port integer NOT NULL,
			"user" text NOT NULL,
			status text NOT NULL,
			description text,
			tags jsonb NOT NULL,
			priority integer NOT NULL,
			created_at timestamptz NOT NULL
		)`,
		load: loadPostgres,
	},
	"mariadb": {
		dialect: sqlstore.MariaDB, variable: servers.MariaDBVariable, start: servers.MariaDB,
		client: mariaClient, dump: "mariadb-dump --defaults-file=client.cnf --single-transaction " + benchDB + " > mariadb.sql",
		open: openMariaDB,
		tables: `CREATE TABLE servers (
			id varchar(64) PRIMARY KEY,
			name varchar(200) NOT NULL,
			host varchar(253) NOT NULL,
			port int NOT NULL,
			user varchar(64) NOT NULL,
			status varchar(20) NOT NULL,
			description text,
			tags json NOT NULL,
			priority int NOT NULL,
			created_at timestamp NOT NULL
		)`,
		load: loadMariaDB,
	},
}

// begin starts the server and makes the input of the rows. stop must be called also
// after an error.
func (d dbms) begin(dir, name string, records int) (stop func(), err error) {
	server, end, err := d.start()
	if err != nil {
		return end, err
	}
	if err := os.Setenv(d.variable, server); err != nil {
		return end, err
	}
	stop = func() {
		if err := runQuietly(dir, childCommand(records, "drop", name)); err != nil {
			log.Print(err)
		}
		end()
	}
	return stop, d.prepare(dir, name, server, records)
}

// prepare makes the input of the rows: a database and its dump.
func (d dbms) prepare(dir, name, server string, records int) error {
	if err := d.client(dir, server); err != nil {
		return err
	}
	if err := runQuietly(dir, childCommand(records, "load", name)); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if err := runQuietly(dir, shell(d.dump)); err != nil {
		return fmt.Errorf("%s: %w", d.dump, err)
	}
	return nil
}

// runServerChild does one piece of work with a database server.
func runServerChild(ctx context.Context, work, name string, records int) error {
	d, ok := dbmses[name]
	if !ok {
		return fmt.Errorf("unknown database %q", name)
	}
	work, unchecked := strings.CutSuffix(work, "-unchecked")
	a := app(!unchecked)
	switch work {
	case "load":
		db, err := d.create(ctx, benchDB)
		if err != nil {
			return err
		}
		defer db.Close()
		return d.load(ctx, db, records)
	case "empty":
		if err := d.remove(ctx, oursDB); err != nil {
			return err
		}
		return d.makeDatabase(ctx, peerDB)
	case "drop":
		return errors.Join(d.remove(ctx, benchDB), d.remove(ctx, oursDB), d.remove(ctx, peerDB))
	case "backup", "backup-zstd":
		db, err := d.open(benchDB)
		if err != nil {
			return err
		}
		defer db.Close()
		var opts backup.BackupOptions
		if work == "backup-zstd" {
			opts.Compress = backup.Zstd
		}
		return measure(func() error {
			return toFile("ours.json", func(w io.Writer) error {
				_, err := a.Backup(ctx, w, dbStore(db, d), opts)
				return err
			})
		})
	case "restore", "replace":
		if err := d.remove(ctx, peerDB); err != nil {
			return err
		}
		db, err := d.create(ctx, oursDB)
		if err != nil {
			return err
		}
		defer db.Close()
		opts := backup.RestoreOptions{}
		if work == "replace" {
			opts.Strategy = backup.Replace
			if err := d.load(ctx, db, records); err != nil {
				return err
			}
			if _, err := db.ExecContext(ctx, "UPDATE servers SET priority = priority + 1"); err != nil {
				return err
			}
		}
		return measure(func() error { return restore(ctx, a, dbStore(db, d), opts) })
	}
	return fmt.Errorf("unknown work %q", work)
}

// dbStore returns the store of the benchmarks.
func dbStore(db *sql.DB, d dbms) sqlstore.Store {
	s := store(db, d.dialect)
	if d.dialect == sqlstore.PostgreSQL {
		s.Wire = pgxwire.Wire{}
	}
	return s
}

// remove drops a database.
func (d dbms) remove(ctx context.Context, database string) error {
	return d.admin(ctx, "DROP DATABASE IF EXISTS "+database+d.drop)
}

// makeDatabase makes a new database without tables.
func (d dbms) makeDatabase(ctx context.Context, database string) error {
	return errors.Join(d.remove(ctx, database), d.admin(ctx, "CREATE DATABASE "+database))
}

// create makes a new database with its table.
func (d dbms) create(ctx context.Context, database string) (*sql.DB, error) {
	if err := d.makeDatabase(ctx, database); err != nil {
		return nil, err
	}
	db, err := d.open(database)
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, d.tables); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (d dbms) admin(ctx context.Context, statement string) error {
	db, err := d.open("")
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, statement)
	return err
}

// postgresClient puts the URLs of the databases into the environment, and puts
// the commands of the server's own version first in the path.
func postgresClient(_, server string) error {
	u, err := postgresURL(server, benchDB)
	if err != nil {
		return err
	}
	peer, err := postgresURL(server, peerDB)
	if err != nil {
		return err
	}
	err = errors.Join(os.Setenv("DB", u), os.Setenv("PEER", peer))
	if bin, e := servers.PostgresBinaries(); e == nil { // Debian's own commands are scripts that look for the version
		err = errors.Join(err, os.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH")))
	}
	return err
}

func postgresURL(server, database string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	if database != "" {
		u.Path = "/" + database
	}
	return u.String(), nil
}

func openPostgres(database string) (*sql.DB, error) {
	u, err := postgresURL(os.Getenv(servers.PostgresVariable), database)
	if err != nil {
		return nil, err
	}
	return sql.Open("pgx", u)
}

func loadPostgres(ctx context.Context, db *sql.DB, records int) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	err = conn.Raw(func(c any) error {
		columns := []string{"id", "name", "host", "port", "user", "status", "description", "tags", "priority", "created_at"}
		i := -1
		_, err := c.(*stdlib.Conn).Conn().CopyFrom(ctx, pgx.Identifier{"servers"}, columns, pgx.CopyFromFunc(func() ([]any, error) {
			if i++; i == records {
				return nil, nil
			}
			s := makeServer(i)
			created, err := time.Parse(time.RFC3339, s.CreatedAt)
			return []any{s.ID, s.Name, s.Host, s.Port, s.User, s.Status, s.Description, s.Tags, s.Priority, created}, err
		}))
		return err
	})
	if err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, "VACUUM ANALYZE servers") // otherwise the server does it by itself, in the middle of the first measurement
	return err
}

// mariaClient writes the file by which the commands find the server.
func mariaClient(dir, server string) error {
	c, err := mysql.ParseDSN(server)
	if err != nil {
		return err
	}
	text := "[client]\nuser=" + c.User + "\n"
	if c.Passwd != "" {
		text += "password=\"" + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(c.Passwd) + "\"\n"
	}
	if c.Net == "unix" {
		text += "socket=" + c.Addr + "\n"
	} else {
		host, port, err := net.SplitHostPort(c.Addr)
		if err != nil {
			return err
		}
		text += "host=" + host + "\nport=" + port + "\nprotocol=tcp\n"
	}
	return os.WriteFile(filepath.Join(dir, "client.cnf"), []byte(text), 0o600)
}

func openMariaDB(database string) (*sql.DB, error) {
	c, err := mysql.ParseDSN(os.Getenv(servers.MariaDBVariable))
	if err != nil {
		return nil, err
	}
	c.DBName = database
	return sql.Open("mysql", c.FormatDSN())
}

// loadMariaDB inserts many rows with each statement.
func loadMariaDB(ctx context.Context, db *sql.DB, records int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	const most = 1000
	insert := func(n int) string {
		return "INSERT INTO servers VALUES (?,?,?,?,?,?,?,?,?,?)" + strings.Repeat(",(?,?,?,?,?,?,?,?,?,?)", n-1)
	}
	prepared, err := tx.PrepareContext(ctx, insert(most))
	if err != nil {
		return err
	}
	defer prepared.Close()
	for first := 0; first < records; first += most {
		var args []any
		n := min(most, records-first)
		for i := range n {
			s := makeServer(first + i)
			tags, err := json.Marshal(s.Tags)
			if err != nil {
				return err
			}
			created := strings.TrimSuffix(strings.Replace(s.CreatedAt, "T", " ", 1), "Z")
			args = append(args, s.ID, s.Name, s.Host, s.Port, s.User, s.Status, s.Description, string(tags), s.Priority, created)
		}
		if n == most {
			_, err = prepared.ExecContext(ctx, args...)
		} else {
			_, err = tx.ExecContext(ctx, insert(n), args...)
		}
		if err != nil {
			return err
		}
	}
	return tx.Commit()
}

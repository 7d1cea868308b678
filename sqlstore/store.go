package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
)

// A Store is a [backup.DataSource] and a [backup.Sink] over the tables of a
// database. It has no state of its own. Each View and Update looks the tables up in
// the database, so a store outlives a change of the schema. It is safe for concurrent
// use.
//
// View and Update hold a connection of DB while they run. The host needs another for
// what it does meanwhile: with a pool of one connection, everything stands still.
type Store struct {
	DB      *sql.DB
	Dialect Dialect // SQLite, PostgreSQL, MariaDB
	Tables  []Table

	// CoverAll makes a backup fail if the database has tables that are neither in
	// Tables nor in Exclude. The error names the tables. So a backup never misses the
	// tables of a later feature unnoticed. CoverAll does not concern a restore.
	//
	// In SQLite, it covers the tables of the main database, without those of Litestream. A
	// virtual table has no rows of its own: exclude it, and build it again from its source
	// after a restore.
	//
	// In PostgreSQL, it covers the schemas on the search_path and those of Tables, and
	// tables that the user cannot read too. It does not cover partitions, foreign
	// tables and the tables of extensions. In MariaDB, it covers the current database
	// and those of Tables, as far as the user of the connection can see their tables.
	CoverAll bool

	// Exclude names the tables that CoverAll and Describe leave out, in the form of
	// Table.Name. The tables need not exist. "*" stands for all that are not in Tables.
	Exclude []string

	// Wire, if not nil, reads and writes rows past database/sql, which is faster. It is for
	// PostgreSQL. The module pgxwire beside this one has it for the driver pgx.
	Wire Wire

	// Retries is how often Update begins again if the database ends its transaction
	// because of others: a deadlock or a serialization failure. Zero means that Update
	// returns the first such error. SQLite has neither.
	Retries int
}

// A Table says which table holds a collection, and how.
type Table struct {
	// Collection is the name of the collection.
	Collection string

	// Name is the name of the table. Empty means the name of the collection.
	Name string

	// Key is the column with the identity of a record. A List collection may have
	// several, with commas between them: "user_id,group_id". Their order is that of the
	// Key of the [backup.Collection]. Empty means the primary key, in its own order.
	//
	// The columns must compare byte by byte, and need a unique index on them alone. NULL
	// in one of them is an error. In a List, the columns are members of the record too.
	// A column with a comma in its name must be the only column of the key.
	Key string

	// Value, if not empty, makes the table a Map collection. Key is then the column
	// with the name of the member, and Value the column with its value. All other
	// columns belong to the host, as if they were in Exclude.
	Value string

	// Columns say how columns are stored where the declared types do not tell. Any
	// other column is taken as it is declared.
	Columns []Column

	// Exclude names columns that belong to the host. A backup does not have them, and a
	// restore leaves them alone.
	Exclude []string
}

// A Column says how a column is stored.
type Column struct {
	// Name is the name of the column.
	Name string

	// Field is the name of the member. Empty means the name of the column.
	Field string

	// Kind is what the column holds. The zero value means that its declared type says
	// it.
	Kind Kind

	// OmitNull leaves out the member where the column is NULL. Where a record lacks the
	// member, the column gets NULL, whatever its default is. Without OmitNull, NULL is
	// null. JSON columns in a List always have it: their null is the JSON text null,
	// which is not NULL.
	OmitNull bool
}

// Kind is what a column holds. The constants say what each kind means in SQLite.
//
// In PostgreSQL and MariaDB, columns have types, and most kinds say what Auto says. A
// host needs a kind only for JSON or JSONBytes in columns of text or bytes, for Bool in
// integers, and for [Text]. In PostgreSQL, Text takes the text of any column but bytea.
type Kind int

const (
	// Auto is [Bool] for a column declared BOOL or BOOLEAN, [JSON] for JSON, and
	// [Blob] for BLOB. In any other column, values are text or numbers, as stored.
	// A column of Auto holds values of any type: those that its kind does not have are
	// objects, such as {"$base64": "AP8="} for bytes. The other kinds refuse them.
	Auto Kind = iota

	Text      // text, and nothing else
	Integer   // integers of 64 bits, and nothing else
	Real      // numbers, and nothing else
	Bool      // 0 and 1 are false and true; other values are as in Auto
	JSON      // JSON in text, embedded in the record without its white space
	JSONBytes // as JSON, but stored as bytes: database/sql stores a []byte so
	Blob      // bytes: base64 in a string
	Hex       // bytes: the text x'00ff', as in keys; text stands for itself
)

// String returns the name of the constant.
func (k Kind) String() string {
	names := [...]string{"Auto", "Text", "Integer", "Real", "Bool", "JSON", "JSONBytes", "Blob", "Hex"}
	if k < 0 || int(k) >= len(names) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return names[k]
}

var (
	_ backup.DataSource = Store{}
	_ backup.Sink       = Store{}
)

// View calls read with a Reader on one read transaction. It shows the database as it
// was when View was called. With CoverAll, View fails if there are tables that a backup
// would miss.
func (s Store) View(ctx context.Context, read func(backup.Reader) error) error {
	if err := fault.Missing("the function read", read); err != nil {
		return err
	}
	return s.run(ctx, false, func(v *view) error { return read(v) })
}

// Update calls write with a Writer on one transaction, which keeps other writers out
// from the beginning. It calls write again only if there are Retries. If the changes
// leave a reference dangling, the error is [backup.ErrDangling]. It joins a
// [backup.RecordError] for each record, up to a thousand. References that were dangling
// before do not matter.
func (s Store) Update(ctx context.Context, write func(backup.Writer) error) error {
	if err := cmp.Or(s.given(), fault.Missing("the function write", write)); err != nil {
		return err
	}
	for try := 0; ; try++ {
		err := s.update(ctx, write)
		if err == nil || try >= s.Retries || !s.Dialect.conflict(err) {
			return err
		}
	}
}

func (s Store) update(ctx context.Context, write func(backup.Writer) error) error {
	return s.run(ctx, true, func(v *view) error {
		w := &writer{view: v, ctx: ctx}
		defer w.close()
		defer w.abandon()
		if err := write(w); err != nil {
			return err
		}
		// A call that failed may have done a part of its work.
		if w.failed != nil {
			return fault.RolledBack(w.failed)
		}
		return fault.RolledBack(w.Settle(ctx))
	})
}

func (s Store) given() error {
	if s.DB == nil || s.Dialect == nil {
		return errors.New("sqlstore: a Store needs DB and Dialect")
	}
	if s.Wire != nil && s.Dialect != PostgreSQL {
		return errors.New("sqlstore: Store.Wire is for PostgreSQL only")
	}
	return nil
}

func (s Store) run(ctx context.Context, write bool, f func(*view) error) error {
	if err := s.given(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	conn, err := s.DB.Conn(ctx)
	if err != nil {
		return fmt.Errorf("sqlstore: connect to the database: %w", err)
	}
	defer conn.Close()
	tx, err := s.Dialect.begin(ctx, conn, write)
	over := false
	defer func() {
		if !over {
			tx.rollback()
		}
	}()
	if err != nil {
		return fmt.Errorf("sqlstore: begin a transaction: %w", explain(s.Dialect, contextError(ctx, err)))
	}
	v := &view{dialect: s.Dialect, wire: s.Wire, conn: conn, tx: tx, tables: map[string]*table{}}
	for _, declared := range s.Tables {
		t, err := s.describe(ctx, tx, declared)
		if err != nil {
			return err
		}
		if v.tables[t.collection] != nil {
			return fmt.Errorf("sqlstore: two tables of the collection %q", t.collection)
		}
		v.tables[t.collection] = t
		v.all = append(v.all, t)
	}
	if s.CoverAll && !write {
		if err := s.covered(ctx, tx, v.all); err != nil {
			return err
		}
	}
	if err := f(v); err != nil || !write {
		return cmp.Or(err, ctx.Err())
	}
	if err := ctx.Err(); err != nil {
		return fault.RolledBack(err)
	}
	err = s.commit(ctx, tx)
	over = err == nil
	return err
}

// commit commits. Its error wraps backup.ErrRolledBack if nothing was changed for
// certain.
func (s Store) commit(ctx context.Context, tx transaction) error {
	failed := func(err error) error {
		return fmt.Errorf("sqlstore: commit: %w", explain(s.Dialect, err))
	}
	if err := contextError(ctx, tx.finish(ctx)); err != nil {
		return fault.RolledBack(failed(err))
	}
	// From here on, a context that is done must not matter: a driver could report it
	// although the commit has happened.
	err := tx.commit(context.WithoutCancel(ctx))
	switch {
	case err == nil:
		return nil
	case s.Dialect.refused(err):
		return fault.RolledBack(failed(err))
	case s.Dialect.lost(err):
		err = explained{fmt.Errorf("%w; the connection to the database was lost, and it is not known whether everything was changed or nothing", err)}
	}
	return failed(err)
}

package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tomo-project/backup"
)

// A Store is a [backup.DataSource] and a [backup.Sink] over the tables of a
// database. It has no state of its own: tables are looked up in the database at
// each View and Update, so that a store outlives a change of the schema. It is
// safe for concurrent use.
//
// View and Update take a connection of DB for as long as they run, and one more
// is needed by whatever the host does meanwhile: a pool of one connection stands
// still.
type Store struct {
	DB      *sql.DB
	Dialect Dialect // SQLite, PostgreSQL, MariaDB
	Tables  []Table

	// CoverAll makes a backup fail, with an error that names them, if the database
	// has tables that are neither in Tables nor in Exclude: a feature that is added
	// later is not missing in the backup unnoticed. A restore does not mind.
	//
	// In SQLite these are the tables of the main database. A virtual one has no rows of
	// its own that could be kept: it is excluded, and made anew from what it is of.
	//
	// In PostgreSQL they are those of the schemas on the search_path and of the schemas
	// of Tables, readable or not, but not partitions, foreign tables, and what belongs
	// to an extension. In MariaDB they are those of the current database and of the
	// databases of Tables that the user of the connection can see.
	CoverAll bool

	// Exclude names the tables that CoverAll and Describe leave out, as Table.Name
	// does. One that does not exist is no error.
	Exclude []string

	// Retries is how often Update begins again if the database ends its
	// transaction for what others do at the same time: a deadlock or a
	// serialization failure. Zero returns the error of the first. SQLite has
	// neither.
	Retries int
}

// A Table says which table holds a collection, and how.
type Table struct {
	// Collection is the name of the collection.
	Collection string

	// Name is the name of the table. Empty means that of the collection.
	Name string

	// Key is the column with the identity of a record. In a List collection it may
	// be several with commas between them, "user_id,group_id", in the order of the
	// Key of the [backup.Collection]. Empty means the primary key, in its own order.
	//
	// The columns must be unique in the table together, by an index on them alone,
	// and compare byte by byte. NULL in one of them is an error. In a List the record
	// has them as members too. A column with a comma in its name can only be named
	// as the single one.
	Key string

	// Value, if not empty, makes the table a Map collection: Key is the name of
	// the member and Value the column with its value. Any other column of the
	// table belongs to the host, as if it were in Exclude.
	Value string

	// Columns say how columns are stored, where the declared types do not tell.
	// A column that is not here is taken as it is declared.
	Columns []Column

	// Exclude names columns that are the host's own. They are not in a backup,
	// and a restore leaves them alone.
	Exclude []string
}

// A Column says how a column is stored.
type Column struct {
	// Name is the name of the column.
	Name string

	// Field is the name of the member. Empty means that of the column.
	Field string

	// Kind is what the column holds. The zero value goes by its declared type.
	Kind Kind

	// OmitNull leaves out the member where the column is NULL, and stores NULL
	// where the record lacks the member, whatever the default is. Without it
	// NULL is null. JSON columns in a List always do it: there null is the JSON
	// text null, which is not NULL.
	OmitNull bool
}

// Kind is what a column holds. Each says what it is in SQLite; in PostgreSQL, where
// columns have types, [Text] takes any column but bytea for its text, and the
// others say what Auto would, but for JSON in text, booleans in integers, and
// JSONBytes in bytea.
type Kind int

const (
	// Auto is [Bool] for a column declared BOOL or BOOLEAN, [JSON] for JSON,
	// [Blob] for BLOB; in any other, values are text or numbers, as stored.
	Auto Kind = iota

	Text      // text, and nothing else
	Integer   // integers of 64 bits, and nothing else
	Real      // numbers, and nothing else
	Bool      // 0 and 1 are false and true; anything else is as in Auto
	JSON      // JSON in text, embedded in the record as it is but for white space
	JSONBytes // as JSON, stored as bytes: what database/sql makes of a []byte
	Blob      // bytes: base64 in a string
)

// String returns the name of the constant.
func (k Kind) String() string {
	names := [...]string{"Auto", "Text", "Integer", "Real", "Bool", "JSON", "JSONBytes", "Blob"}
	if k < 0 || int(k) >= len(names) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return names[k]
}

var (
	_ backup.DataSource = Store{}
	_ backup.Sink       = Store{}
)

// View calls read with a Reader on one read transaction, which shows the database
// as it was when View was called. With CoverAll it fails if there are tables that a
// backup would miss.
func (s Store) View(ctx context.Context, read func(backup.Reader) error) error {
	return s.run(ctx, false, func(v *view) error { return read(v) })
}

// Update calls write with a Writer on one transaction that keeps other writers out
// from the beginning: once, unless there are Retries. A reference that would be
// dangling after the commit is a [backup.ErrDangling] that names table and rows;
// those that were dangling before do not matter.
func (s Store) Update(ctx context.Context, write func(backup.Writer) error) error {
	for try := 0; ; try++ {
		err := s.update(ctx, write)
		if err == nil || try >= s.Retries || !s.Dialect.conflict(err) {
			return err
		}
	}
}

func (s Store) update(ctx context.Context, write func(backup.Writer) error) error {
	return s.run(ctx, true, func(v *view) error {
		w := &writer{view: v}
		defer w.close()
		if err := write(w); err != nil {
			return err
		}
		// What has failed may have been done in part.
		if w.failed != nil {
			return rolledBack(w.failed)
		}
		return rolledBack(w.settle(ctx))
	})
}

// rolledBack says of an error that nothing was changed.
func rolledBack(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", backup.ErrRolledBack, err)
}

func (s Store) run(ctx context.Context, write bool, f func(*view) error) error {
	if s.DB == nil || s.Dialect == nil {
		return errors.New("sqlstore: a Store needs DB and Dialect")
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
	v := &view{dialect: s.Dialect, conn: conn, tx: tx, tables: map[string]*table{}}
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
		return rolledBack(err)
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
	if err := contextError(ctx, tx.settle(ctx)); err != nil {
		return rolledBack(failed(err))
	}
	// A context that is done from here on does not matter: a driver could report it
	// for a commit that has happened.
	err := tx.commit(context.WithoutCancel(ctx))
	switch {
	case err == nil:
		return nil
	case s.Dialect.refused(err):
		return rolledBack(failed(err))
	case s.Dialect.lost(err):
		err = explained{fmt.Errorf("%w; the connection to the database was lost, and whether everything or nothing was changed is not known", err)}
	}
	return failed(err)
}

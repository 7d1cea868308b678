// Package sqlstore backs up and restores collections that a host keeps in the
// tables of an SQL database. A [Store] is a declaration: which collection is in
// which table. What it does not say is read from the database.
//
//	store := sqlstore.Store{
//		DB:      db,
//		Dialect: sqlstore.SQLite,
//		Tables: []sqlstore.Table{
//			{Collection: "servers"},
//			{Collection: "members", Key: "user_id,group_id"},
//			{Collection: "settings", Key: "name", Value: "value"},
//			{Collection: "users", Exclude: []string{"last_seen"}},
//		},
//	}
//
// [Store.Describe] makes such a declaration of the tables that it finds, with the
// collections for the [backup.App]: keys, references, what looks like a secret, and
// a JSON Schema. [Store.CoverAll] has a backup fail when there is a table that was
// neither declared nor excluded.
//
// # Rows and records
//
// A row of a table is a record of a List collection: an object with one member
// for each column, in the order of the table. A column that is added to the
// table later is in the next backup without a change here. Generated columns
// are left out, and so are those in [Table.Exclude]. Its key is the text of a
// column, or, where the key has several, the JSON array of their texts.
//
// What is read goes back as it was, or not at all. A value that JSON cannot hold
// (text that is not UTF-8, an infinite number, a blob in a column that does not
// say [Blob]) is an error that names the record, and so is a member that has no
// column, or a value that its column would change.
//
// A record that is put overwrites the whole of its row, but for the excluded
// columns: they keep what they hold, and in a new row get their default. A member
// that the record lacks gets the default of its column, or NULL.
//
// # What else the database does
//
// The order of changes does not matter to references: what would break one for
// the moment does not. Rows of declared tables are changed by records only,
// whatever the actions of their foreign keys are. A reference that is left
// dangling is a [backup.ErrDangling], and nothing is changed.
//
// Other constraints hold at each step. Records that exchange the values of a
// UNIQUE column other than the key fail a restore, which is rolled back. Triggers
// run as for any other writer.
//
// # SQLite
//
// Use WAL mode, PRAGMA journal_mode=WAL: in any other a backup and a writer wait
// for each other. How long a connection waits for a lock is the host's matter
// (PRAGMA busy_timeout); without a timeout a locked database is an error at once.
//
// Values are kept by what is stored, since a column of SQLite holds values of
// any type: text is a string, an integer or real is a number. A real is written
// so that it is read again as the same one; outside of REAL columns it has a
// point or an exponent, which tells it from an integer. Dates and times are what
// the host has stored, text or number.
//
// Foreign keys are enforced, whatever the connection says, but not before the
// commit. In a table that is not declared, a row that refers to a deleted record
// is deleted or loses its reference at the commit, if its foreign key says ON
// DELETE CASCADE or SET NULL. Anything else that would be left dangling is an
// error: a foreign key without these actions, a row WITHOUT ROWID, and a row that
// refers to a column that records can change, since ON UPDATE is not carried out.
// The commit looks at every row that has a foreign key. ON CONFLICT clauses of a
// table have no effect: a conflict is an error.
//
// # PostgreSQL
//
// View is one REPEATABLE READ transaction that only reads. Update locks the
// declared tables in EXCLUSIVE mode from the beginning, in the order of
// [Store.Tables]: others go on reading them and wait to write. A deadlock with
// them is an error that wraps the driver's, or begins again: [Store.Retries].
// Neither is ended by the statement_timeout of the connection; lock_timeout
// holds. The user of the connection needs no more than SELECT, INSERT, UPDATE and
// DELETE on tables, SELECT and UPDATE on sequences. Rows that a policy hides from
// it are an error.
//
// A table may be in another schema: "schema.table". Names are case-sensitive.
// Columns of a key are text, integers or uuid; records come in the order of their
// bytes or numbers. Text with the collation "C" needs no sort for that.
//
// Integers, numeric and floating-point numbers are numbers with all their digits,
// json and jsonb are embedded (jsonb has an order of members and a form of numbers
// of its own), bytea is base64, an array is an array of what PostgreSQL's to_json
// makes of its elements, and anything else the text that PostgreSQL has for it,
// whatever the session is set to: dates in ISO form, intervals as P1DT2H, and
// timestamps as RFC 3339 has them, "2024-01-15T10:30:00.5Z" with a time zone and
// without Z without one. Arrays of json, bytea, domains and types that are not
// built in are text too. NaN and infinite numbers are an error that names the record, unless
// their column is taken for [Text]. A value in another form than that in which
// it is read (another time zone, more digits than the column has) is refused.
//
// Explicit values of serial and identity columns are stored. Their sequences are
// then set to go on behind the last, never back; they stay there if the commit
// fails. An identity column that is GENERATED ALWAYS can only be the key, or one of
// its columns.
//
// Constraints that are DEFERRABLE are deferred, unique ones too. Where a foreign
// key is not, a record that a row of a declared table still refers to is deleted
// at the end, and a reference that comes before what it refers to is NULL until
// then. If its columns are NOT NULL, as those of a key are, declare it in Refs of
// the [backup.App], or make it DEFERRABLE. To tables that are not declared the database does, at each
// step, what their foreign keys say.
//
// # MariaDB
//
// View is one REPEATABLE READ transaction that only reads. Update locks every row
// of the declared tables, and the gaps between them, in the order of
// [Store.Tables]: others go on reading and wait to write. One store at a time
// updates a database. A deadlock, or a lock that another holds for longer than
// innodb_lock_wait_timeout, is an error that wraps the driver's, or begins again:
// [Store.Retries]. The variables of the session that matter (sql_mode, time_zone,
// the character set, timeouts) are set for the transaction and put back. Tables
// have the engine InnoDB. The user of the connection needs SELECT, INSERT, UPDATE
// and DELETE on them, and SELECT on the tables with a foreign key to or from them:
// a foreign key that the user cannot see is not checked.
//
// A table may be in another database: "database.table". Columns of a key are text,
// VARBINARY, integers or UUID, and are exact whatever the collation is. A record
// whose key is the same as another's to the collations of the columns ("a" and "A",
// or "a " where it pads) is refused. VARBINARY, and the collation utf8mb4_nopad_bin, hold
// keys of all kinds, and need no sort to be read in order.
//
// Numbers are numbers with all their digits, BIT(n) and YEAR too. TINYINT(1), which
// is BOOLEAN, and BIT(1) are [Bool]. JSON is embedded. BINARY, VARBINARY and BLOB are base64.
// Anything else is text: ENUM and SET by their labels, DATETIME as
// "2024-01-15T10:30:00.5" and TIMESTAMP with a Z. Servers that know no -0 (as from
// 10.11.19) store 0 for it. [Text] takes binary for text in
// UTF-8, and integers for their text. Geometry has no JSON: exclude it. A value in
// another form than that in which it is read is refused, and so is a record that
// does not fit into three quarters of max_allowed_packet.
//
// A record never overwrites another that has the value of a UNIQUE column: it is
// refused. AUTO_INCREMENT goes on behind the largest value. Columns in
// [Table.Exclude] that are ON UPDATE CURRENT_TIMESTAMP keep what they hold.
//
// Foreign keys are checked at the commit. In a table that is not declared, rows
// that refer to a deleted record are deleted or lose their reference there, if
// their foreign key says ON DELETE CASCADE or SET NULL, and so on through other
// such tables. As with SQLite, ON UPDATE is not carried out, and anything that is
// left dangling is an error. The commit looks at every row that has a foreign key
// to or of these tables.
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

// A Dialect is what is particular to a database.
type Dialect interface {
	// begin starts a transaction on conn that sees one point in time from now
	// on, or keeps other writers out.
	begin(ctx context.Context, conn *sql.Conn, write bool) (transaction, error)

	// match returns the condition that the key is one of n, whose values are the
	// arguments.
	match(t *table, n int) string

	// upsert returns the statement that inserts rows with the columns set, or
	// overwrites the whole of those that exist.
	upsert(t *table, set []*column, rows int) string

	// maxArgs is the largest number of arguments of a statement.
	maxArgs() int

	// append appends the JSON of a value that was read, and bind returns what is
	// to be stored for a JSON value. They fail rather than change a value. The
	// column of a Map is lone: it has no way to leave a value out.
	append(dst []byte, c *column, v any) ([]byte, error)
	bind(c *column, json string) (any, error)

	// keyText is the text of a key that is v, and keyArg what is stored for a text:
	// false if no row can have it.
	keyText(c *column, v any) (string, error)
	keyArg(c *column, key string) (any, bool)

	// explain adds to an error of the database what to do next.
	explain(err error) error

	// conflict tells whether an error comes from what others do at the same time,
	// and the same transaction may succeed the next time.
	conflict(err error) bool
}

// A transaction ends exactly once, by commit or by rollback. If commit fails and
// nothing has been changed for certain, its error wraps backup.ErrRolledBack.
type transaction interface {
	// describe looks a table up in the database, and keeps other writers out of it
	// in a transaction that writes.
	describe(ctx context.Context, t Table) (*table, error)

	// others returns the names of the tables of the database that are neither among
	// the given ones nor excluded, as Table.Name has them, links the foreign keys
	// between tables, and members what the columns of a table are in a record.
	others(ctx context.Context, tables []*table, exclude []string) ([]string, error)
	links(ctx context.Context, tables []*table) ([]link, error)
	members(ctx context.Context, t *table) ([]member, error)

	// touch is called before the first change of any of the tables.
	touch(ctx context.Context, tables []*table) error
	// attempt does something of which nothing is left if it fails, and tells
	// whether the transaction goes on: the database ends it itself where it must.
	attempt(ctx context.Context, do func() error) (alive bool, err error)
	commit(ctx context.Context) error
	rollback()
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
	if err != nil {
		return err
	}
	over := false
	defer func() {
		if !over {
			tx.rollback()
		}
	}()
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
	over = true
	return tx.commit(ctx)
}

func (s Store) describe(ctx context.Context, tx transaction, declared Table) (*table, error) {
	if declared.Collection == "" {
		return nil, errors.New("sqlstore: a Table without Collection")
	}
	if declared.Name == "" {
		declared.Name = declared.Collection
	}
	t, err := tx.describe(ctx, declared)
	if err != nil {
		return nil, fmt.Errorf("sqlstore: collection %q in table %q: %w", declared.Collection, declared.Name, explain(s.Dialect, err))
	}
	return t, t.prepare()
}

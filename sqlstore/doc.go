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

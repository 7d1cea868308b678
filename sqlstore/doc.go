// Package sqlstore backs up and restores collections that a host keeps in the
// tables of an SQL database. A [Store] declares which collection is in which table.
// It reads everything else from the database.
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
// [Store.Describe] writes such a declaration from the tables that it finds, together
// with the collections for the [backup.App]: keys, references, what is unique, columns that
// look like secrets, and JSON Schemas. [Store.CoverAll] makes a backup fail if there is a table
// that is neither declared nor excluded.
//
// # Rows and records
//
// A row of a table is a record of a List collection. The record is an object with one
// member for each column, in the order of the table. If the host later adds a column,
// the next backup has it without a change here. A record has no generated columns, and
// none of those in [Table.Exclude]. The key of a record is the text of its key column.
// If the key has several columns, it is the JSON array of their texts. Bytes in a key are
// the text x'00ff', in the key and in the member of the record. So are bytes that are not
// UTF-8 in a VARBINARY of MariaDB, and blobs in a key of SQLite that is declared otherwise.
//
// A value comes back exactly as it was, or there is an error. A value that JSON cannot
// hold is an error that names the record: text that is not UTF-8, an infinite number.
// So is a member without a column, and a value that its column would change.
//
// Putting a record overwrites its whole row, except for the excluded columns. These
// keep their values, and get their defaults in a new row. If the record lacks a member,
// the column gets its default, or NULL. A restore leaves a column alone whose default is
// an expression, such as the time, if the record is there already and the snapshot lacks
// the member.
//
// # Other effects in the database
//
// Records can change in any order: a reference may be broken for the moment. The actions
// of foreign keys change no records, with an exception in PostgreSQL. If a reference is
// still dangling at the end, the error is [backup.ErrDangling], and nothing is changed. It
// names each record, the foreign key and the table that it leads to. A row of a table that
// is not declared is only described: no restore can leave it out.
//
// A restore puts the rows that foreign keys lead to first. It can leave references of
// records dangling, if that is allowed and the database takes it: see
// [backup.RestoreOptions]. SQLite and MariaDB do. A row that dangled before the restore
// matters to none of them.
//
// Uniqueness holds at the end too, for UNIQUE columns, unique indexes and exclusion
// constraints: records can exchange such values, or move along a list of them. A record
// that the database does not take yet waits in memory, so memory grows with the records
// that wait. If records exchange values, their rows get others for the moment: NULL, or
// values that no row has. If the database takes none, the rows are deleted and inserted
// anew, but only if nothing is lost by that: no excluded column, no row that hangs on
// them, and no trigger would see it. Rows of other records are left alone.
//
// If two records cannot both be there, the error joins a [backup.RecordError] for each
// record that is refused. It wraps [backup.ErrClash], and names the other record and what
// is unique. Nothing is changed.
//
// Other constraints hold at each step. SQLite and MariaDB switch CHECK constraints off while
// rows have values for the moment. They leave them on if the table has a trigger on UPDATE,
// or if the user of the connection cannot see the triggers of MariaDB.
//
// A trigger may insert a row into another declared table, under the key of a record that is
// there already: settings for each new user, for example. The record then makes room for
// the moment, and overwrites the row of the trigger. It does so only if nothing is lost by
// that, as above.
//
// Triggers run as for any other writer, and see the values that a row gets for the moment.
// A restore reads back what it wrote. It puts right what a trigger has changed, or names
// the trigger in its report.
//
// # Keys for new records
//
// A restore of another installation gives new keys to records whose number is taken here.
// The Writer has them (NewKeys, see [backup.Writer]) where the database numbers the key, which
// is one column: an INTEGER PRIMARY KEY of SQLite, with AUTOINCREMENT or without, a column of
// PostgreSQL with a sequence, AUTO_INCREMENT or the default NEXTVAL of MariaDB. They are the numbers that
// the next rows would get, past those of all rows, and keep the steps of the sequence. None
// is used up before the commit. Then the database continues after them. If there are too few,
// the error says where the numbers end. Text, UUIDs and keys of several columns are not
// numbered, and neither is a default that is made of a number.
//
// An INSERT of the application waits for the end of the restore, and then gets the number
// after it. One thing cannot be kept apart: an application that asks a sequence for a number
// before it inserts may get one that the restore uses. Its INSERT then fails.
//
// # SQLite
//
// Use WAL mode (PRAGMA journal_mode=WAL). In any other mode, a backup and a writer wait
// for each other. The host decides how long a connection waits for a lock (PRAGMA
// busy_timeout). Without a timeout, a locked database is an error at once.
//
// A column of SQLite can hold values of any type. So the stored value decides: text
// becomes a string, an integer or a real becomes a number. A real is written so that
// reading it gives the same real. Outside of REAL columns it has a point or an exponent,
// which tells it from an integer. Dates and times are what the host has stored, text or
// numbers.
//
// Rows come from the pages of the database, which takes about a third of the time that
// values from the driver take. That needs the virtual table sqlite_dbpage, which
// modernc.org/sqlite has, a table without generated columns, and a key that sorts upwards
// and by bytes. It is fastest for tables WITHOUT ROWID and for those with an INTEGER PRIMARY
// KEY. With another key, the rows must lie roughly in its order. All other rows are read by
// SQL. The rows must be as many as SQLite counts.
//
// AUTOINCREMENT continues after the largest number that the table has had here, restored
// rows included. An INTEGER PRIMARY KEY takes NULL for the next number, so a record
// without that member, or with null, is refused.
//
// Declared types do not bind: Go stores a []byte as a blob in a column declared TEXT or
// JSON, too. Where the declaration does not say what a value is, the record does, in an
// object with one member:
//
//   - {"$base64": "AP8="} is a blob in a column that is not declared BLOB.
//   - {"$bytes": {"a": 1}} is a blob that holds JSON, in a column declared JSON.
//   - {"$text": "a"} is text in a column declared BLOB, or text that is not JSON in a column
//     declared JSON. JSON that looks like one of these three is in such a text, too.
//
// Foreign keys are enforced at the commit, whatever the connection has set. Rows of
// tables that are not declared may refer to a deleted record. The commit deletes such a
// row if its foreign key says ON DELETE CASCADE, and removes the reference if it says
// SET NULL. Any other dangling reference is an error:
//
//   - the foreign key has neither of these actions,
//   - the row is in a table WITHOUT ROWID,
//   - the row refers to a column that records can change, since ON UPDATE is not
//     carried out.
//
// The commit looks at every row that has a foreign key. ON CONFLICT clauses of a table
// have no effect: a conflict is an error. In a table with triggers, an existing row is
// changed by an UPDATE and a new one is put by an INSERT, so that OR REPLACE and OR IGNORE
// in a trigger hold. They do not hold if the table itself has ON CONFLICT clauses.
//
// # PostgreSQL
//
// View is one REPEATABLE READ transaction that only reads. Update locks the declared
// tables in EXCLUSIVE mode at its beginning, in the order of [Store.Tables]. Others can
// still read the tables, but must wait to write. If that leads to a deadlock, the error
// wraps that of the driver, or the transaction begins again: see [Store.Retries]. The
// statement_timeout of the connection ends neither View nor Update. Its lock_timeout
// holds.
//
// With [Store.Wire], rows go past database/sql. A restore then writes records by COPY into
// tables that were empty, if all their values are of a form that the column surely
// stores as it is. Anything else is inserted. Tables with triggers or rules are never
// written by COPY. The records and the errors are the same.
//
// The user of the connection needs SELECT, INSERT, UPDATE and DELETE on the tables, and
// SELECT and UPDATE on their sequences. If a policy hides rows from that user, the
// result is an error.
//
// "schema.table" names a table in another schema. Names are case-sensitive. Key columns
// are text, integers, bytea or uuid. Records come in the order of the bytes of their keys, or
// of the numbers. For text, that needs no sort if the collation is "C".
//
// These are the JSON forms of the types:
//
//   - Integers and numeric are numbers with all their digits.
//   - Floating-point numbers have the fewest digits that are read as the same bits. They
//     are taken with more digits too, if these are those of the same number rounded, as
//     the server writes them.
//   - bool is true or false.
//   - json and jsonb are embedded. jsonb has its own order of members and form of
//     numbers.
//   - bytea is base64.
//   - An array is an array of what to_json of PostgreSQL makes of its elements.
//   - Timestamps are text as in RFC 3339: "2024-01-15T10:30:00.5Z" with a time zone,
//     and the same without Z otherwise.
//   - Any other type is the text that PostgreSQL has for it, whatever the session is
//     set to: dates in ISO form, intervals as P1DT2H. So are arrays of json, bytea,
//     domains and types that are not built in. Floating-point numbers inside of them, as
//     in a point or a composite, have the digits that the server writes.
//
// NaN and infinite numbers are an error that names the record, unless the column is
// taken for [Text]. A value in another form than the one that is read is refused:
// another time zone, or more digits than the column has.
//
// Serial and identity columns, and others whose default or domain calls a sequence, take
// the values of the records. Their sequences then continue after the last value that they
// can give, and never go back. In text, such a value is all digits, or digits at the end
// with none before: "INV-000123". A sequence stays there even if the commit fails. A plan
// sets none. An identity column that is GENERATED ALWAYS must be in the key.
//
// Nothing says which column a sequence feeds that only the application calls. If its name
// is table_column_seq, or table_seq for a key of one column, it is set too. Set any other
// yourself after a restore on a new server: SELECT setval('name', …).
//
// Foreign keys that are NOT ENFORCED are no references. Those that are NOT VALID hold for
// what is written. So a record that dangles by such a key is in a backup, and cannot be
// restored.
//
// A foreign key to a UNIQUE column that is not the key may have an action: ON UPDATE CASCADE,
// SET NULL or SET DEFAULT. The database then changes records that refer to a record whose
// column changes. A restore puts these records right, as after a trigger.
//
// DEFERRABLE constraints are deferred, unique constraints too. Where a foreign key is
// not DEFERRABLE, two things wait until the end. A record is deleted at the end if a row
// of a declared table still refers to it. A reference is NULL until the row that it
// refers to is there. If a column of it is NOT NULL, as those of a key are, the whole
// record waits. It does not wait if you declare the reference in Refs of the [backup.App],
// or make the foreign key DEFERRABLE. In tables that are not declared, the database
// carries out foreign keys at each step.
//
// # MariaDB
//
// View is one REPEATABLE READ transaction that only reads. Update locks every row of the
// declared tables, and the gaps between rows, in the order of [Store.Tables]. Others can
// still read the tables, but must wait to write. Only one store at a time updates a
// database. Update may meet a deadlock, or wait for a lock longer than
// innodb_lock_wait_timeout. Then the error wraps that of the driver, or the transaction
// begins again: see [Store.Retries].
//
// A transaction sets the variables of the session that matter (sql_mode, time_zone, the
// character set, timeouts), and puts them back. The engine of the tables must be InnoDB.
// The user of the connection needs SELECT, INSERT, UPDATE and DELETE on the tables. On
// tables with a foreign key to or from them, the user needs SELECT: a foreign key that
// the user cannot see is not checked. A trigger is named only to a user with the privilege
// TRIGGER.
//
// "database.table" names a table in another database. Key columns are text, BINARY,
// VARBINARY, integers or UUID. Keys are exact, whatever the collation is. But two keys may be the
// same to the collation of their columns: "a" and "A", or "a" and "a " if it pads. Then
// the second record is refused. VARBINARY columns, and text with the collation
// utf8mb4_nopad_bin, hold keys of all kinds, and are read in order without a sort. Other
// texts are sorted only if the keys that are there have another order in their collation.
//
// These are the JSON forms of the types:
//
//   - Numbers are numbers with all their digits, BIT(n) and YEAR too. Servers without
//     -0 (from 10.11.19 on) store 0 for it.
//   - TINYINT(1), which is BOOLEAN, and BIT(1) are [Bool].
//   - JSON is embedded.
//   - BINARY, VARBINARY and BLOB are base64. With [Text] they are text if they are UTF-8,
//     and {"$base64": "AP8="} otherwise. Describe says Text for VARBINARY and BLOB.
//   - ENUM and SET are the text of their labels.
//   - DATETIME is text like "2024-01-15T10:30:00.5", and TIMESTAMP has a Z at its end.
//   - Any other type is text, and integers are with [Text].
//   - Geometry has no JSON form: exclude such columns.
//
// A value in another form than the one that is read is refused. So is a record that does
// not fit into three quarters of max_allowed_packet.
//
// A record never overwrites another that has the same value in a UNIQUE column. A table
// with a key WITHOUT OVERLAPS is refused, since MariaDB cannot overwrite its rows.
// AUTO_INCREMENT continues after the largest value. So do the sequences that a default
// calls, as in PostgreSQL. The user needs SELECT and INSERT on them. Excluded columns with
// ON UPDATE CURRENT_TIMESTAMP keep their values.
//
// A rollback does not take everything back, and neither does a plan, which is rolled back:
//
//   - AUTO_INCREMENT continues after the largest number that was tried. A plan can make it
//     skip the numbers of the backup. So new records get the numbers after the largest that
//     is there, and such a number may be one that a deleted row had.
//   - A trigger may write to a table of another engine than InnoDB, such as MyISAM or Aria.
//     What it has written there stays.
//
// A TIMESTAMP that is NOT NULL takes NULL for the current time. If it has no default, a
// record without the member is refused.
//
// Foreign keys are checked at the commit. Rows of tables that are not declared may refer
// to a deleted record. The commit deletes such rows if their foreign key says ON DELETE
// CASCADE, and removes the reference if it says SET NULL. It goes on through other such
// tables. As with SQLite, ON UPDATE is not carried out, and any other dangling reference
// is an error. The commit looks at every row that has a foreign key to or from these
// tables.
package sqlstore

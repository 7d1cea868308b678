package main

import (
	"os/exec"
	"slices"
	"time"
)

// A row is a comparison of commands that run in the same folder.
type row struct {
	name   string
	target target
	over   string                     // why a measurement may miss the target
	dbms   string                     // the server that all sides need
	needs  string                     // the program of the peer, if a machine may lack it
	ours   []string                   // arguments of this program as a child
	before []string                   // arguments of a child that prepares the peer; it is not measured
	peer   func(dir string) *exec.Cmd // nil: there is no peer
	child  bool                       // the peer is this program as well
	tomo   []string                   // arguments of the example program, which then is measured in place of ours
}

// A target is what a row is to reach. Zero values are no targets.
type target struct {
	wall, cpu float64       // of the peer's
	time      time.Duration // of the library
	memory    int64         // MiB
}

// A section is a table of BENCHMARKS.md.
type section struct {
	title, text string
	rows        []row
}

// sections returns the tables in their order.
func sections(records int) []section {
	return []section{
		{"The targets", "The rows of this table have a target each.", slices.Concat(
			sqliteTargets, tomoRows(records), checkTargets, diffRows(records), restoreTargets, postgresTargets, mariadbTargets, smallRows(records), growthRows(records), twinRows(records),
		)},
		{"The same without a schema", "Here the library checks what the peer checks, or a little more: strict JSON, keys, references and the digest.", uncheckedRows},
		{"More of the library", "The peers of these rows are parts of the library, too: the rows show what compression, encryption, further locations and the way back cost.", libraryRows(records)},
		{"Beside other tools", "", otherRows(records)},
	}
}

// program returns a peer that is this program as well.
func program(records int, args ...string) func(dir string) *exec.Cmd {
	return func(string) *exec.Cmd { return childCommand(records, args...) }
}

// script returns a peer that is a shell script.
func script(text string) func(dir string) *exec.Cmd {
	return func(string) *exec.Cmd { return shell(text) }
}

const (
	sqliteJSON    = "exec sqlite3 bench.db -json 'select * from servers order by id' > peer.json"
	sqliteRestore = "rm -f peer.db; exec sqlite3 peer.db < dump.sql"
	sqliteReplace = "exec sqlite3 peer.db < replace.sql"
	sha256sum     = "exec sha256sum snapshot.json"
)

var sqliteTargets = []row{
	{
		name: "backup from SQLite: validated, digested, synced", target: target{wall: 1, cpu: 1.2, memory: 64},
		ours: []string{"backup-sqlite"}, peer: script(sqliteJSON),
	},
	{
		name: "the same with a sealed member and a passphrase", target: target{memory: 110},
		ours: []string{"backup-sealed"}, peer: script(sqliteJSON),
	},
}

var checkTargets = []row{
	{
		name: "verify: digest, strict JSON, schemas", target: target{wall: 0.8, memory: 64},
		over: "Three quarters of the processor time are the pass over the records. It reads each twice: as strict JSON when the file is opened, and by its schema when the App checks it. A tenth is SHA-256.",
		ours: []string{"verify"}, peer: script(sha256sum),
	},
}

// diffRows compare two snapshots, beside a check of one of them.
func diffRows(records int) []row {
	return []row{
		{
			name: "diff of two snapshots, 1 % of the records changed, beside verify of one", target: target{wall: 3, memory: 64},
			ours: []string{"diff"}, peer: program(records, "verify"), child: true,
		},
		{
			name: "diff of two snapshots whose records all changed, beside verify of one", target: target{memory: 64},
			ours: []string{"diff-all"}, peer: program(records, "verify"), child: true,
		},
	}
}

var restoreTargets = []row{
	{
		name: "restore into an empty SQLite database, validated", target: target{wall: 0.9, memory: 64},
		over: "The peer reads nothing back. Here 26 % of the processor time read back what was stored, and 18 % hash each record for that, before and after. 41 % store the rows: 15 % in SQLite itself, 8 % to hand it the values one by one.",
		ours: []string{"restore-sqlite"}, peer: script(sqliteRestore),
	},
	{
		name: "restore over a SQLite database whose records all differ, validated", target: target{memory: 64},
		ours: []string{"replace"}, before: []string{"change"}, peer: script(sqliteReplace),
	},
}

const (
	pgDump    = `exec pg_dump -d "$DB" -f peer.sql`
	pgRestore = `exec pg_restore -d "$PEER" postgres.dump`
)

var postgresTargets = []row{
	{
		name: "backup from PostgreSQL: validated, digested, synced", target: target{wall: 1.1, memory: 64}, dbms: "postgres",
		over: "pg_dump passes on what the server sends. Here 29 % of the processor time are the pass over the records, 19 % SHA-256, 14 % the set of keys. The library, its stages and the server share two cores.",
		ours: []string{"backup", "postgres"}, peer: script(pgDump),
	},
	{
		name: "restore into an empty PostgreSQL table, validated", target: target{wall: 1.6, memory: 64}, dbms: "postgres",
		over: "The peer checks nothing and reads nothing back. Here the server stores some thousand records by COPY while the library makes the next ones ready, so the library itself is what takes the time. Of its processor time, 27 % make the data of COPY, 21 % read back what was stored, 14 % are the pass over the records, and 13 % hash each record, before and after.",
		ours: []string{"restore", "postgres"}, before: []string{"empty", "postgres"}, peer: script(pgRestore),
	},
	{
		name: "restore into a PostgreSQL table whose records all differ, validated", target: target{wall: 2.6, memory: 64}, dbms: "postgres",
		over: "The peer has an empty table. Here each batch is looked up and compared, and some thousand rows at a time are deleted and stored anew by COPY. The next lookup waits for that, since there is one connection: library and server hardly work at the same time. An update from a temporary table took the server half as long again as the DELETE and the COPY.",
		ours: []string{"replace", "postgres"}, before: []string{"empty", "postgres"}, peer: script(pgRestore),
	},
}

const (
	mariaDump    = "exec mariadb-dump --defaults-file=client.cnf --single-transaction " + benchDB + " > peer.sql"
	mariaRestore = "exec mariadb --defaults-file=client.cnf " + peerDB + " < mariadb.sql"
)

var mariadbTargets = []row{
	{
		name: "backup from MariaDB: validated, digested, synced", target: target{wall: 1.5, memory: 64}, dbms: "mariadb",
		over: "A quarter of the processor time is the driver, which hands out value by value, and a tenth database/sql on top. A quarter makes JSON of the values.",
		ours: []string{"backup", "mariadb"}, peer: script(mariaDump),
	},
	{
		name: "restore into an empty MariaDB table, validated", target: target{memory: 64}, dbms: "mariadb",
		ours: []string{"restore", "mariadb"}, before: []string{"empty", "mariadb"}, peer: script(mariaRestore),
	},
}

// smallRows returns the rows whose size does not depend on that of the others.
func smallRows(int) []row {
	return []row{{
		name: "small: 1,000 records, validated, to a synced file, warm", target: target{time: 5 * time.Millisecond},
		ours: []string{"small"},
	}}
}

var uncheckedRows = []row{
	{name: "backup from SQLite", ours: []string{"backup-sqlite-unchecked"}, peer: script(sqliteJSON)},
	{name: "verify", ours: []string{"verify-unchecked"}, peer: script(sha256sum)},
	{name: "restore into an empty SQLite database", ours: []string{"restore-sqlite-unchecked"}, peer: script(sqliteRestore)},
	{name: "backup from PostgreSQL", dbms: "postgres", ours: []string{"backup-unchecked", "postgres"}, peer: script(pgDump)},
	{
		name: "backup from PostgreSQL, compressed (zstd)", dbms: "postgres",
		ours: []string{"backup-zstd-unchecked", "postgres"}, peer: script(`exec pg_dump -Fc -d "$DB" -f peer.dump`),
	},
	{
		name: "restore into an empty PostgreSQL table", dbms: "postgres",
		ours: []string{"restore-unchecked", "postgres"}, before: []string{"empty", "postgres"}, peer: script(pgRestore),
	},
	{name: "backup from MariaDB", dbms: "mariadb", ours: []string{"backup-unchecked", "mariadb"}, peer: script(mariaDump)},
	{
		name: "restore into an empty MariaDB table", dbms: "mariadb",
		ours: []string{"restore-unchecked", "mariadb"}, before: []string{"empty", "mariadb"}, peer: script(mariaRestore),
	},
}

func libraryRows(records int) []row {
	return []row{
		{
			name: "backup from SQLite, compressed (zstd) and encrypted (age)",
			ours: []string{"backup-packed"}, peer: program(records, "backup-sqlite"), child: true,
		},
		{
			name: "verify of that",
			ours: []string{"verify-packed"}, peer: program(records, "verify"), child: true,
		},
		{
			name: "`Manager.Create` from SQLite to two folders, read back",
			ours: []string{"create"}, peer: program(records, "backup-sqlite"), child: true,
		},
		{
			name: "`Manager.Create` with 10,000 backups kept, after somebody else has changed a file, beside none",
			ours: []string{"changed-10000"}, peer: program(records, "kept-10000"), child: true,
		},
		{
			name: "`Manager.Restore` over records that all differ, with a way back",
			ours: []string{"manager-replace"}, peer: program(records, "replace"), child: true,
		},
		{
			name: "backup from memory",
			ours: []string{"backup-memory"}, peer: program(records, "marshal-indent"), child: true,
		},
	}
}

func otherRows(int) []row {
	return []row{
		{
			name: "backup from SQLite, beside `.dump`",
			ours: []string{"backup-sqlite"}, peer: script("exec sqlite3 bench.db .dump > peer.sql"),
		},
		{
			name: "backup from SQLite, compressed and encrypted, beside restic on the file of the database", needs: "restic",
			ours: []string{"backup-packed"}, before: []string{"restic"},
			peer: script("exec restic --quiet --no-cache --repo restic backup bench.db"),
		},
		{
			name: "verify, beside the SHA-256 of OpenSSL", needs: "openssl",
			ours: []string{"verify"}, peer: script("exec openssl dgst -sha256 snapshot.json"),
		},
	}
}

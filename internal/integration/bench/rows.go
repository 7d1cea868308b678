package main

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// A row is a comparison of two commands that run in the same folder.
type row struct {
	name   string
	target string
	dbms   string                     // the server that both sides need
	ours   []string                   // arguments of this program as a child
	before []string                   // arguments of a child that prepares the peer; it is not measured
	peer   func(dir string) *exec.Cmd // nil: the target is absolute
	child  bool                       // the peer is this program as well
}

// rows returns the comparisons in the order of the table.
func rows(records int) []row {
	small := row{
		name: "small: 1,000 records, validated, backup to a synced file", target: "10 ms",
		ours: []string{"small"},
	}
	return append(slices.Concat(sqliteRows(records), postgresRows, mariadbRows), small)
}

// self returns a peer that is this program as well.
func self(records int, args ...string) func(dir string) *exec.Cmd {
	return func(string) *exec.Cmd { return childCommand(records, args...) }
}

// script returns a peer that is a shell script.
func script(text string) func(dir string) *exec.Cmd {
	return func(string) *exec.Cmd { return shell(text) }
}

func sqliteRows(records int) []row {
	sha256sum := func(string) *exec.Cmd { return exec.Command("sha256sum", "snapshot.json") }
	return []row{
		{
			name: "backup from SQLite: validated, digested, synced", target: "1.0 of `sqlite3 -json`, which checks nothing",
			ours: []string{"backup-sqlite"},
			peer: script("exec sqlite3 bench.db -json 'select * from servers order by id' > peer.json"),
		},
		{
			name: "backup from memory, validated", target: "0.2 of `json.MarshalIndent` + `os.WriteFile`, 0.05 of its memory",
			ours: []string{"backup-memory"}, peer: self(records, "marshal-indent"), child: true,
		},
		{
			name: "backup from memory, no schema declared", target: "the same",
			ours: []string{"backup-memory-unchecked"}, peer: self(records, "marshal-indent"), child: true,
		},
		{
			name: "verify: digest, strict JSON, schemas", target: "3 of `sha256sum`",
			ours: []string{"verify"}, peer: sha256sum,
		},
		{
			name: "verify, no schema declared", target: "the same",
			ours: []string{"verify-unchecked"}, peer: sha256sum,
		},
		{
			name: "restore into an empty SQLite database", target: "1.0 of `sqlite3 new.db < dump.sql`",
			ours: []string{"restore-sqlite"}, peer: script("rm -f peer.db; exec sqlite3 peer.db < dump.sql"),
		},
		{
			name: "restore into an empty SQLite database, no schema declared", target: "the same",
			ours: []string{"restore-sqlite-unchecked"}, peer: script("rm -f peer.db; exec sqlite3 peer.db < dump.sql"),
		},
		{
			name: "backup from SQLite, compressed (zstd) and encrypted (age), no schema declared", target: "–",
			ours: []string{"backup-packed-unchecked"}, peer: self(records, "backup-sqlite-unchecked"), child: true,
		},
		{
			name: "verify of that, no schema declared", target: "–",
			ours: []string{"verify-packed-unchecked"}, peer: self(records, "verify-unchecked"), child: true,
		},
		{
			name: "Manager.Create from SQLite to two folders, read back, no schema declared", target: "2, for two copies, each read back",
			ours: []string{"create-unchecked"}, peer: self(records, "backup-sqlite-unchecked"), child: true,
		},
		{
			name: "Manager.Restore of records that all differ, with a way back, no schema declared", target: "2, for a backup and a restore",
			ours: []string{"manager-replace-unchecked"}, peer: self(records, "replace-unchecked"), child: true,
		},
		{
			name: "backup from SQLite, no schema declared", target: "1.0 of `sqlite3 .dump`",
			ours: []string{"backup-sqlite-unchecked"},
			peer: script("exec sqlite3 bench.db .dump > peer.sql"),
		},
	}
}

var postgresRows = []row{
	{
		name: "backup from PostgreSQL: validated, digested, synced", target: "1.0 of `pg_dump`, which checks nothing", dbms: "postgres",
		ours: []string{"backup", "postgres"}, peer: script(`exec pg_dump -d "$DB" -f peer.sql`),
	},
	{
		name: "backup from PostgreSQL, no schema declared", target: "the same", dbms: "postgres",
		ours: []string{"backup-unchecked", "postgres"}, peer: script(`exec pg_dump -d "$DB" -f peer.sql`),
	},
	{
		name: "backup from PostgreSQL, compressed (zstd), no schema declared", target: "1.0 of `pg_dump -Fc`", dbms: "postgres",
		ours: []string{"backup-zstd-unchecked", "postgres"}, peer: script(`exec pg_dump -Fc -d "$DB" -f peer.dump`),
	},
	{
		name: "restore into an empty PostgreSQL database, no schema declared", target: "1.0 of `pg_restore`", dbms: "postgres",
		ours: []string{"restore-unchecked", "postgres"}, before: []string{"empty", "postgres"},
		peer: script(`exec pg_restore -d "$PEER" postgres.dump`),
	},
}

var mariadbRows = []row{
	{
		name: "backup from MariaDB, no schema declared", target: "1.0 of `mariadb-dump`", dbms: "mariadb",
		ours: []string{"backup-unchecked", "mariadb"},
		peer: script("exec mariadb-dump --defaults-file=client.cnf --single-transaction " + benchDB + " > peer.sql"),
	},
	{
		name: "restore into an empty MariaDB database, no schema declared", target: "1.0 of `mariadb < dump.sql`", dbms: "mariadb",
		ours: []string{"restore-unchecked", "mariadb"}, before: []string{"empty", "mariadb"},
		peer: script("exec mariadb --defaults-file=client.cnf " + peerDB + " < mariadb.sql"),
	},
}

func (r row) measure(dir string, records, rounds int) error {
	var ours, peers []result
	for range rounds {
		o, err := runSelf(dir, childCommand(records, r.ours...))
		if err != nil {
			return err
		}
		ours = append(ours, o)
		if r.peer == nil {
			continue
		}
		if r.before != nil {
			if err := runQuietly(dir, childCommand(records, r.before...)); err != nil {
				return err
			}
		}
		take := runOther
		if r.child {
			take = runSelf
		}
		p, err := take(dir, r.peer(dir))
		if err != nil {
			return err
		}
		peers = append(peers, p)
	}
	wall := func(r result) float64 { return r.Wall.Seconds() }
	peak := func(r result) float64 { return float64(r.Peak) / (1 << 20) }
	peer, peerTime, peerPeak, timeRatio, peakRatio := "–", "–", "–", "–", "–"
	if r.peer != nil {
		peer = "`" + r.peerName(dir) + "`"
		peerTime = fmt.Sprintf("%.2f s", median(peers, wall))
		peerPeak = fmt.Sprintf("%.0f MiB", median(peers, peak))
		timeRatio = fmt.Sprintf("%.2f", ratio(ours, peers, wall))
		peakRatio = fmt.Sprintf("%.2f", ratio(ours, peers, peak))
	}
	fmt.Printf("| %s | %s | %.0f MiB | %s | %s | %s | %s | %s | %s |\n", r.name, seconds(median(ours, wall)), median(ours, peak),
		peer, peerTime, peerPeak, timeRatio, peakRatio, r.target)
	return nil
}

func seconds(s float64) string {
	if s < 1 {
		return fmt.Sprintf("%.1f ms", s*1000)
	}
	return fmt.Sprintf("%.2f s", s)
}

func (r row) peerName(dir string) string {
	args := r.peer(dir).Args
	if r.child {
		return args[len(args)-1]
	}
	if args[0] == "sh" {
		return strings.Replace(args[2], "exec ", "", 1)
	}
	return strings.Join(args, " ")
}

func median(rs []result, f func(result) float64) float64 {
	var v []float64
	for _, r := range rs {
		v = append(v, f(r))
	}
	return middle(v)
}

func ratio(a, b []result, f func(result) float64) float64 {
	var v []float64
	for i := range a {
		v = append(v, f(a[i])/f(b[i]))
	}
	return middle(v)
}

func middle(v []float64) float64 {
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

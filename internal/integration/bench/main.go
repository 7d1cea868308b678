// Command bench measures the library against what people use instead, in one
// run, and prints the table of BENCHMARKS.md:
//
//	go run ./internal/integration/bench [-records 1000000] [-rounds 5]
//
// Every measurement is a process of its own. In each round the library and its
// peer take turns, and what is printed are the medians, and the median of the
// ratios of the rounds. It needs sqlite3 and sha256sum, and Linux for the memory.
// A PostgreSQL and a MariaDB are started for the rows that compare with them, as
// for the tests; where one is missing its rows are left out.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A result is what one process took.
type result struct {
	Wall time.Duration
	Peak int64 // bytes of resident memory; of the library beyond what the process had before
}

// A row is a comparison. Each side is run in dir and says what it took.
type row struct {
	name   string
	target string
	dbms   string                     // the server that both sides need
	ours   []string                   // arguments of this command as a child
	before []string                   // of a child that makes room for the peer, and is not measured
	peer   func(dir string) *exec.Cmd // nil: the target is absolute
	child  bool                       // the peer is this command as well
}

func main() {
	log.SetFlags(0)
	records := flag.Int("records", 1_000_000, "records of about 250 bytes")
	rounds := flag.Int("rounds", 5, "how often each side is measured")
	only := flag.String("only", "", "only the rows whose name contains this")
	flag.Parse()
	if flag.NArg() > 0 {
		if err := runChild(flag.Args(), *records); err != nil {
			log.Fatal(err)
		}
		return
	}
	if err := run(*records, *rounds, *only); err != nil {
		log.Fatal(err)
	}
}

func run(records, rounds int, only string) error {
	// An interrupt ends the child at work, and with its error this ends in order.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	dir, err := os.MkdirTemp("", "backup-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := prepare(dir, records); err != nil {
		return err
	}
	selected := slices.DeleteFunc(rows(records), func(r row) bool { return !strings.Contains(r.name, only) })
	missing := map[string]error{}
	for name, d := range dbmses {
		if !slices.ContainsFunc(selected, func(r row) bool { return r.dbms == name }) {
			continue
		}
		server, stop, err := d.start()
		defer stop()
		if err != nil {
			missing[name] = err
			continue
		}
		if err := os.Setenv(d.variable, server); err != nil {
			return err
		}
		defer func() {
			if err := runQuietly(dir, childCommand(records, "drop", name)); err != nil {
				log.Print(err)
			}
		}()
		if err := d.prepare(dir, name, server, records); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	fmt.Printf("%d records of about 250 bytes, %d rounds, %s, %d cores, %s\n\n", records, rounds, runtime.Version(), runtime.NumCPU(), cpu())
	fmt.Println("| work | library | peak memory | peer | its time | its peak memory | ratio of time | ratio of memory | to beat |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	for _, r := range selected {
		if err := missing[r.dbms]; err != nil {
			log.Printf("%s: left out: %v", r.name, err)
			continue
		}
		if err := r.measure(dir, records, rounds); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

func rows(records int) []row {
	self := func(args ...string) func(dir string) *exec.Cmd {
		return func(string) *exec.Cmd { return childCommand(records, args...) }
	}
	return []row{
		{
			name: "backup from SQLite: validated, digested, synced", target: "1.0 of `sqlite3 -json`, which checks nothing",
			ours: []string{"backup-sqlite"},
			peer: func(string) *exec.Cmd {
				return shell("exec sqlite3 bench.db -json 'select * from servers order by id' > peer.json")
			},
		},
		{
			name: "backup from memory, validated", target: "0.2 of `json.MarshalIndent` + `os.WriteFile`, 0.05 of its memory",
			ours: []string{"backup-memory"}, peer: self("marshal-indent"), child: true,
		},
		{
			name: "backup from memory, no schema declared", target: "the same",
			ours: []string{"backup-memory-unchecked"}, peer: self("marshal-indent"), child: true,
		},
		{
			name: "verify: digest, strict JSON, schemas", target: "3 of `sha256sum`",
			ours: []string{"verify"}, peer: func(string) *exec.Cmd { return exec.Command("sha256sum", "snapshot.json") },
		},
		{
			name: "verify, no schema declared", target: "the same",
			ours: []string{"verify-unchecked"}, peer: func(string) *exec.Cmd { return exec.Command("sha256sum", "snapshot.json") },
		},
		{
			name: "restore into an empty SQLite database", target: "1.0 of `sqlite3 new.db < dump.sql`",
			ours: []string{"restore-sqlite"}, peer: func(string) *exec.Cmd { return shell("rm -f peer.db; exec sqlite3 peer.db < dump.sql") },
		},
		{
			name: "restore into an empty SQLite database, no schema declared", target: "the same",
			ours: []string{"restore-sqlite-unchecked"}, peer: func(string) *exec.Cmd { return shell("rm -f peer.db; exec sqlite3 peer.db < dump.sql") },
		},
		{
			name: "backup from SQLite, compressed (zstd) and encrypted (age), no schema declared", target: "–",
			ours: []string{"backup-packed-unchecked"}, peer: self("backup-sqlite-unchecked"), child: true,
		},
		{
			name: "verify of that, no schema declared", target: "–",
			ours: []string{"verify-packed-unchecked"}, peer: self("verify-unchecked"), child: true,
		},
		{
			name: "Manager.Create from SQLite to two folders, read back, no schema declared", target: "2, for two copies, each read back",
			ours: []string{"create-unchecked"}, peer: self("backup-sqlite-unchecked"), child: true,
		},
		{
			name: "Manager.Restore of records that all differ, with a way back, no schema declared", target: "2, for a backup and a restore",
			ours: []string{"manager-replace-unchecked"}, peer: self("replace-unchecked"), child: true,
		},
		{
			name: "backup from SQLite, no schema declared", target: "1.0 of `sqlite3 .dump`",
			ours: []string{"backup-sqlite-unchecked"},
			peer: func(string) *exec.Cmd { return shell("exec sqlite3 bench.db .dump > peer.sql") },
		},
		{
			name: "backup from PostgreSQL: validated, digested, synced", target: "1.0 of `pg_dump`, which checks nothing", dbms: "postgres",
			ours: []string{"backup", "postgres"}, peer: func(string) *exec.Cmd { return shell(`exec pg_dump -d "$DB" -f peer.sql`) },
		},
		{
			name: "backup from PostgreSQL, no schema declared", target: "the same", dbms: "postgres",
			ours: []string{"backup-unchecked", "postgres"}, peer: func(string) *exec.Cmd { return shell(`exec pg_dump -d "$DB" -f peer.sql`) },
		},
		{
			name: "backup from PostgreSQL, compressed (zstd), no schema declared", target: "1.0 of `pg_dump -Fc`", dbms: "postgres",
			ours: []string{"backup-zstd-unchecked", "postgres"}, peer: func(string) *exec.Cmd { return shell(`exec pg_dump -Fc -d "$DB" -f peer.dump`) },
		},
		{
			name: "restore into an empty PostgreSQL database, no schema declared", target: "1.0 of `pg_restore`", dbms: "postgres",
			ours: []string{"restore-unchecked", "postgres"}, before: []string{"empty", "postgres"},
			peer: func(string) *exec.Cmd { return shell(`exec pg_restore -d "$PEER" postgres.dump`) },
		},
		{
			name: "backup from MariaDB, no schema declared", target: "1.0 of `mariadb-dump`", dbms: "mariadb",
			ours: []string{"backup-unchecked", "mariadb"},
			peer: func(string) *exec.Cmd {
				return shell("exec mariadb-dump --defaults-file=client.cnf --single-transaction " + benchDB + " > peer.sql")
			},
		},
		{
			name: "restore into an empty MariaDB database, no schema declared", target: "1.0 of `mariadb < dump.sql`", dbms: "mariadb",
			ours: []string{"restore-unchecked", "mariadb"}, before: []string{"empty", "mariadb"},
			peer: func(string) *exec.Cmd {
				return shell("exec mariadb --defaults-file=client.cnf " + peerDB + " < mariadb.sql")
			},
		},
		{
			name: "small: 1,000 records, validated, backup to a synced file", target: "10 ms",
			ours: []string{"small"},
		},
	}
}

func shell(script string) *exec.Cmd { return exec.Command("sh", "-c", script) }

func childCommand(records int, args ...string) *exec.Cmd {
	return exec.Command(os.Args[0], append([]string{"-records", fmt.Sprint(records)}, args...)...)
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

// runQuietly runs what is not measured.
func runQuietly(dir string, cmd *exec.Cmd) error {
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	return cmd.Run()
}

// runSelf runs this command as a child, which measures itself.
func runSelf(dir string, cmd *exec.Cmd) (r result, err error) {
	var out bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return r, err
	}
	return r, json.Unmarshal(out.Bytes(), &r)
}

// runOther runs a command of others. What the kernel says at its end would have
// the memory of this process in it, from which it was started: the peak is asked
// for while it runs. A script is to end with exec, which makes it the command.
func runOther(dir string, cmd *exec.Cmd) (r result, err error) {
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return r, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			r.Wall = time.Since(start)
			return r, err
		case <-tick.C:
			if peak, err := memoryStatus(cmd.Process.Pid, "VmHWM"); err == nil { // it may have ended
				r.Peak = peak
			}
		}
	}
}

func cpu() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return "unknown processor"
}

// prepare makes what the rows start from: a database, its dump, a snapshot.
func prepare(dir string, records int) error {
	if err := runQuietly(dir, childCommand(records, "prepare")); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if err := runQuietly(dir, shell("sqlite3 bench.db .dump > dump.sql")); err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	for _, name := range []string{"bench.db", "dump.sql", "snapshot.json", packedFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

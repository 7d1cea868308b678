// Command bench compares the library with what people use instead, and prints
// BENCHMARKS.md:
//
//	go run ./internal/integration/bench [-n 1000000] [-rounds 5] [-only TEXT] [-old FOLDER]
//
// Its pieces of work run alone, too, in a folder with the files that "prepare" makes, and
// then can be profiled:
//
//	bench -n 200000 prepare
//	bench -n 200000 -cpuprofile cpu.out verify
//
// Every measurement runs in a process of its own. In each round the library, its
// peer and the library of another commit take turns. The tables show the medians of
// all rounds, and the medians of the ratios. The command needs sqlite3, sha256sum and
// Linux. It starts PostgreSQL and MariaDB, as the tests do. Rows whose server or
// program is missing are left out.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

var (
	self    string // the path of this program
	profile string // the file for the profile of the processor, or empty
)

func main() {
	log.SetFlags(0)
	records := flag.Int("n", 1_000_000, "measure with `N` records of about 250 bytes")
	rounds := flag.Int("rounds", 5, "measure each side `N` times")
	only := flag.String("only", "", "only the rows whose name contains `TEXT`")
	old := flag.String("old", "", "a `FOLDER` with the programs bench and tomo of another commit, which are measured as well")
	flag.StringVar(&profile, "cpuprofile", "", "with one piece of work: write its profile to `FILE`")
	flag.Parse()
	var err error
	if self, err = os.Executable(); err != nil {
		log.Fatal(err)
	}
	if flag.NArg() > 0 {
		err = runChild(flag.Args(), *records)
	} else {
		err = run(*records, *rounds, *only, *old)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func run(records, rounds int, only, old string) error {
	// An interrupt ends the child that is at work. Its error then ends this
	// process in order.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	dir, err := os.MkdirTemp("", "backup-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	in := round{dir: dir, records: records}
	if old != "" {
		if in.old, err = filepath.Abs(old); err != nil {
			return err
		}
		if err := prepareOld(&in); err != nil {
			return fmt.Errorf("the other commit: %w", err)
		}
	}
	tables := sections(records)
	missing := map[string]error{}
	has := func(wanted func(row) bool) bool {
		return slices.ContainsFunc(tables, func(s section) bool { return slices.ContainsFunc(s.rows, wanted) })
	}
	for i := range tables {
		tables[i].rows = slices.DeleteFunc(tables[i].rows, func(r row) bool { return !strings.Contains(r.name, only) })
		for _, r := range tables[i].rows {
			if r.needs != "" {
				_, missing[r.needs] = exec.LookPath(r.needs)
			}
		}
	}
	if err := prepare(dir, records); err != nil {
		return err
	}
	if has(func(r row) bool { return r.tomo != nil }) {
		in.tomo = filepath.Join(dir, "tomo")
		missing["tomo"] = prepareTomo(in)
	}
	for name, d := range dbmses {
		if !has(func(r row) bool { return r.dbms == name }) {
			continue
		}
		stop, err := d.begin(dir, name, records)
		defer stop()
		missing[name] = err
	}
	var all []measuredSection
	for _, s := range tables {
		done := measuredSection{section: s}
		for _, r := range s.rows {
			if err := missing[r.requires()]; err != nil {
				log.Printf("%s: left out: %v", r.name, err)
				continue
			}
			m, err := r.measure(in, rounds)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			log.Print(m)
			done.measured = append(done.measured, m)
		}
		all = append(all, done)
	}
	return print(os.Stdout, all, records, rounds)
}

// requires returns the server or program that a row cannot do without.
func (r row) requires() string {
	if r.tomo != nil {
		return "tomo"
	}
	return r.dbms + r.needs
}

// prepare makes the input of the rows: a database, its dump, a snapshot.
func prepare(dir string, records int) error {
	if err := runQuietly(dir, childCommand(records, "prepare")); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	// The last file does what a restore with Replace does to a database that is not empty.
	err := runQuietly(dir, shell(`sqlite3 bench.db .dump > dump.sql &&
		{ echo 'BEGIN; DELETE FROM servers;'; grep ^INSERT dump.sql; echo 'COMMIT;'; } > replace.sql`))
	if err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	for _, name := range []string{"bench.db", "dump.sql", "replace.sql", "snapshot.json", packedFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return os.Setenv("RESTIC_PASSWORD", "made-up")
}

// prepareOld makes the input of the other commit, which cannot read newer snapshots.
func prepareOld(in *round) error {
	in.oldDir = filepath.Join(in.dir, "old")
	if err := os.Mkdir(in.oldDir, 0o700); err != nil {
		return err
	}
	return runQuietly(in.oldDir, oldCommand(in.old, in.records, "prepare"))
}

// Command bench compares the library with what people use instead, and prints
// the table of BENCHMARKS.md:
//
//	go run ./internal/integration/bench [-records 1000000] [-rounds 5]
//
// Every measurement runs in a process of its own. In each round the library and
// its peer take turns. The table shows the medians of all rounds, and the
// median of the ratios. The command needs sqlite3 and sha256sum, and Linux to
// measure memory. It starts PostgreSQL and MariaDB, as the tests do; without
// such a server the rows about it are left out.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

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
	// An interrupt ends the child that is at work. Its error then ends this
	// process in order.
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

// prepare makes the input of the rows: a database, its dump, a snapshot.
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

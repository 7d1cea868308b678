// Command bench measures the library against what people use instead, in one
// run, and prints the table of BENCHMARKS.md:
//
//	go run ./internal/integration/bench [-records 1000000] [-rounds 5]
//
// Every measurement is a process of its own. In each round the library and its
// peer take turns, and what is printed are the medians, and the median of the
// ratios of the rounds. It needs sqlite3 and sha256sum, and Linux for the memory.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
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
	ours   []string                   // arguments of this command as a child
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
	dir, err := os.MkdirTemp("", "backup-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := prepare(dir, records); err != nil {
		return err
	}
	fmt.Printf("%d records of about 250 bytes, %d rounds, %s, %d cores, %s\n\n", records, rounds, runtime.Version(), runtime.NumCPU(), cpu())
	fmt.Println("| work | library | peak memory | peer | its time | its peak memory | ratio of time | ratio of memory | to beat |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	for _, r := range rows(records) {
		if strings.Contains(r.name, only) {
			if err := r.measure(dir, records, rounds); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
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
				return shell("sqlite3 bench.db -json 'select * from servers order by id' > peer.json")
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
			ours: []string{"restore-sqlite"}, peer: func(string) *exec.Cmd { return shell("rm -f peer.db; sqlite3 peer.db < dump.sql") },
		},
		{
			name: "restore into an empty SQLite database, no schema declared", target: "the same",
			ours: []string{"restore-sqlite-unchecked"}, peer: func(string) *exec.Cmd { return shell("rm -f peer.db; sqlite3 peer.db < dump.sql") },
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
		return args[2]
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

// runSelf runs this command as a child, which measures itself.
func runSelf(dir string, cmd *exec.Cmd) (r result, err error) {
	var out bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return r, err
	}
	return r, json.Unmarshal(out.Bytes(), &r)
}

func runOther(dir string, cmd *exec.Cmd) (r result, err error) {
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	start := time.Now()
	err = cmd.Run()
	r.Wall = time.Since(start)
	if err == nil {
		r.Peak = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	}
	return r, err
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
	cmd := childCommand(records, "prepare")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	dump := shell("sqlite3 bench.db .dump > dump.sql")
	dump.Dir = dir
	if out, err := dump.CombinedOutput(); err != nil {
		return fmt.Errorf("dump: %w: %s", err, out)
	}
	for _, name := range []string{"bench.db", "dump.sql", "snapshot.json", packedFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"fmt"
	"log"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// measured is a row with the results of all rounds.
type measured struct {
	row
	ours, peers, olds []result
	lacks             bool   // the other commit cannot do it
	command           string // of the peer
}

// A round measures each side of a row once, one after the other.
type round struct {
	dir     string
	records int
	old     string // the folder with the programs of another commit, or empty
	oldDir  string // the folder where these run, with input of their own
	tomo    string // the example program, or empty
}

func (r row) measure(in round, rounds int) (measured, error) {
	m := measured{row: r}
	for i := range rounds {
		sides := []func() error{
			func() error { return m.add(&m.ours, in.dir, in.tomo, childCommand(in.records, m.row.ours...)) },
			func() error { return m.addPeer(in) },
			func() error { return m.addOld(in) },
		}
		if i%2 == 1 { // so that no side is always the first
			slices.Reverse(sides)
		}
		for _, side := range sides {
			if err := side(); err != nil {
				return m, err
			}
		}
	}
	return m, nil
}

// add measures the library, in the program tomo or in the child of a bench.
func (m *measured) add(to *[]result, dir, tomo string, child *exec.Cmd) error {
	take := runSelf
	if m.tomo != nil {
		child, take = tomoCommand(tomo, m.tomo...), runOther
	}
	res, err := take(dir, child)
	if err == nil {
		*to = append(*to, res)
	}
	return err
}

// addOld measures the library of another commit. It may lack the work.
func (m *measured) addOld(in round) error {
	if in.old == "" || m.lacks {
		return nil
	}
	err := m.add(&m.olds, in.oldDir, filepath.Join(in.old, "tomo"), oldCommand(in.old, in.records, m.row.ours...))
	if err != nil && m.olds == nil {
		m.lacks = true
		log.Printf("%s: the other commit: left out: %v", m.name, err)
		return nil
	}
	return err
}

// oldCommand is childCommand for the program bench of another commit.
func oldCommand(folder string, records int, args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(folder, "bench"), append([]string{"-records", fmt.Sprint(records)}, args...)...)
}

func (m *measured) addPeer(in round) error {
	if m.peer == nil {
		return nil
	}
	if m.before != nil {
		if err := runQuietly(in.dir, childCommand(in.records, m.before...)); err != nil {
			return err
		}
	}
	take := runOther
	if m.child {
		take = runSelf
	}
	cmd := m.peer(in.dir)
	m.command = commandText(cmd, m.child)
	res, err := take(in.dir, cmd)
	if err == nil {
		m.peers = append(m.peers, res)
	}
	return err
}

// commandText returns how a command is written in the table.
func commandText(cmd *exec.Cmd, child bool) string {
	switch {
	case child:
		return "bench " + cmd.Args[len(cmd.Args)-1]
	case cmd.Args[0] == "sh":
		return strings.Replace(cmd.Args[2], "exec ", "", 1)
	}
	return strings.Join(cmd.Args, " ")
}

func wall(r result) float64 { return r.Wall.Seconds() }
func cpu(r result) float64  { return r.CPU.Seconds() }
func peak(r result) float64 { return float64(r.Peak) / (1 << 20) }

// String returns the line of the table.
func (m measured) String() string {
	columns := []string{
		m.name, seconds(median(m.ours, wall)), fmt.Sprintf("%.0f MiB", median(m.ours, peak)), "–", "–", "–", "–", "–", "–", m.target.String(),
	}
	if m.peers != nil {
		columns[3], columns[4] = "`"+m.command+"`", seconds(median(m.peers, wall))
		columns[5] = fmt.Sprintf("%.0f MiB", median(m.peers, peak))
		columns[6] = fmt.Sprintf("**%.2f**", ratio(m.ours, m.peers, wall))
		if m.target.wall == 0 {
			columns[6] = strings.Trim(columns[6], "*")
		}
		columns[7] = fmt.Sprintf("%.2f", ratio(m.ours, m.peers, cpu))
		if m.dbms != "" {
			columns[7] = "–" // most of it is the server's
		}
	}
	if m.olds != nil {
		columns[8] = fmt.Sprintf("%.2f", ratio(m.ours, m.olds, wall))
	}
	return "| " + strings.Join(columns, " | ") + " |"
}

func (t target) String() string {
	var all []string
	if t.wall > 0 {
		all = append(all, fmt.Sprintf("%.3g of the time", t.wall))
	}
	if t.cpu > 0 {
		all = append(all, fmt.Sprintf("%.3g of the processor time", t.cpu))
	}
	if t.time > 0 {
		all = append(all, t.time.String())
	}
	if t.memory > 0 {
		all = append(all, fmt.Sprintf("%d MiB", t.memory))
	}
	if all == nil {
		return "–"
	}
	return strings.Join(all, ", ")
}

// misses returns what a row has not reached, in words.
func (m measured) misses() []string {
	var missed []string
	miss := func(format string, args ...any) { missed = append(missed, fmt.Sprintf(format, args...)) }
	// A hundredth over the target is as good as the target.
	if t := m.target.wall; t > 0 && m.peers != nil && ratio(m.ours, m.peers, wall) > t+0.01 {
		miss("%.2f of the time where %.3g is the target", ratio(m.ours, m.peers, wall), t)
	}
	if t := m.target.cpu; t > 0 && m.peers != nil && ratio(m.ours, m.peers, cpu) > t+0.01 {
		miss("%.2f of the processor time where %.3g is the target", ratio(m.ours, m.peers, cpu), t)
	}
	if t := m.target.time; t > 0 && median(m.ours, wall) > t.Seconds() {
		miss("%s where %s is the target", seconds(median(m.ours, wall)), t)
	}
	if t := m.target.memory; t > 0 && median(m.ours, peak) > float64(t) {
		miss("%.0f MiB where %d MiB is the target", median(m.ours, peak), t)
	}
	return missed
}

func seconds(s float64) string {
	if s < 1 {
		return fmt.Sprintf("%.1f ms", s*float64(time.Second/time.Millisecond))
	}
	return fmt.Sprintf("%.2f s", s)
}

func median(rs []result, f func(result) float64) float64 {
	var v []float64
	for _, r := range rs {
		v = append(v, f(r))
	}
	return middle(v)
}

// ratio returns the median of the ratios of the rounds.
func ratio(a, b []result, f func(result) float64) float64 {
	var v []float64
	for i := range min(len(a), len(b)) {
		v = append(v, f(a[i])/f(b[i]))
	}
	return middle(v)
}

func middle(v []float64) float64 {
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// A result is what one process took.
type result struct {
	Wall time.Duration
	Peak int64 // bytes of resident memory; of the library beyond what the process had before
}

func shell(script string) *exec.Cmd { return exec.Command("sh", "-c", script) }

func childCommand(records int, args ...string) *exec.Cmd {
	return exec.Command(os.Args[0], append([]string{"-records", fmt.Sprint(records)}, args...)...)
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

// measure runs work and prints how long it took and how much the resident
// memory rose above what it was.
func measure(work func() error) error {
	runtime.GC()
	debug.FreeOSMemory()
	// The kernel keeps the peak; this sets it back to now.
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return err
	}
	before, err := memoryStatus(os.Getpid(), "VmRSS")
	if err != nil {
		return err
	}
	start := time.Now()
	if err := work(); err != nil {
		return err
	}
	r := result{Wall: time.Since(start)}
	peak, err := memoryStatus(os.Getpid(), "VmHWM")
	if err != nil {
		return err
	}
	r.Peak = peak - before
	return json.NewEncoder(os.Stdout).Encode(r)
}

func memoryStatus(pid int, field string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, field+": %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", pid, field)
}

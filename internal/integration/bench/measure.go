package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"time"
)

// A result is what one process needed.
type result struct {
	Wall time.Duration
	CPU  time.Duration // of all its threads; 0 where it is not measured
	Peak int64         // bytes of resident memory; for the library, what was added to the memory of its process
}

func shell(script string) *exec.Cmd { return exec.Command("sh", "-c", script) }

func childCommand(records int, args ...string) *exec.Cmd {
	return exec.Command(self, append([]string{"-n", fmt.Sprint(records)}, args...)...)
}

// runQuietly runs a command without measuring it.
func runQuietly(dir string, cmd *exec.Cmd) error {
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	return cmd.Run()
}

// runSelf runs this program as a child, which measures itself.
func runSelf(dir string, cmd *exec.Cmd) (r result, err error) {
	var out bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return r, err
	}
	return r, json.Unmarshal(out.Bytes(), &r)
}

// runOther runs and measures another program. It asks for the peak of memory
// while the program runs: what the kernel reports at the end would include the
// memory of this process, from which the program was started. A script must end
// with exec, which replaces the shell.
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
			if state := cmd.ProcessState; state != nil {
				r.CPU = state.UserTime() + state.SystemTime()
			}
			return r, err
		case <-tick.C:
			if peak, err := memoryStatus(cmd.Process.Pid, "VmHWM"); err == nil { // an error means that it has ended
				r.Peak = peak
			}
		}
	}
}

// measure runs work. It prints how long work took, and by how much the resident
// memory grew.
func measure(work func() error) error {
	runtime.GC()
	debug.FreeOSMemory()
	// The kernel keeps the peak; this resets it.
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return err
	}
	before, err := memoryStatus(os.Getpid(), "VmRSS")
	if err != nil {
		return err
	}
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	start, used := time.Now(), processorTime()
	if err := work(); err != nil {
		return err
	}
	r := result{Wall: time.Since(start), CPU: processorTime() - used}
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

// load returns how many processes ran or waited for a core in the last minute.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

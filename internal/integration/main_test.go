package integration

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	_ "github.com/tomo-project/backup/internal/seal/sealtest"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/manager"
)

// childVariable makes this binary a process of its own that works on a host: it
// holds what to do, the folder of the host, and the name of a backup.
const childVariable = "TOMO_INTEGRATION_CHILD"

func TestMain(m *testing.M) {
	if job, ok := os.LookupEnv(childVariable); ok {
		if err := runChild(strings.Split(job, "\n")); err != nil {
			fmt.Println("failed", err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	stopServices()
	os.Exit(code)
}

// runChild says when it begins, what it has come to, and how long it took, for
// the parent may kill it in between.
func runChild(job []string) error {
	ctx := context.Background()
	what, h, name := job[0], host{job[1]}, job[2]
	if database, ok := strings.CutPrefix(what, "update "); ok {
		return kvUpdateForever(database, h.dir)
	}
	if part, ok := strings.CutPrefix(what, "restore shared "); ok {
		return restoreSharedAndHang(ctx, part, h.dir, name)
	}
	db, err := openTomo(h.database())
	if err != nil {
		return err
	}
	defer db.Close()
	m := h.manager(db)
	work := func() error { return fmt.Errorf("%q is nothing to do", what) }
	switch what {
	case "create":
		work = func() error { _, err := m.Create(ctx, backup.BackupOptions{}); return err }
	case "prune":
		work = func() error { _, err := m.Prune(ctx, manager.PruneOptions{}); return err }
	case "undo":
		work = func() error { _, err := m.Undo(ctx); return err }
	case "restore":
		s, err := m.Open(ctx, name)
		if err != nil {
			return err
		}
		defer s.Close()
		work = func() error {
			_, err := m.Restore(ctx, s, backup.RestoreOptions{Strategy: backup.Replace})
			return err
		}
	case "create and hang", "restore and hang", "undo and hang":
		return hang(ctx, m, what, name)
	case "run":
		return runForever(ctx, m)
	}
	m.OnEvent = func(e manager.Event) {
		if e.Kind == manager.EventStored || e.Kind == manager.EventPruned {
			fmt.Println("step")
		}
	}
	fmt.Println("ready")
	start := time.Now()
	if err := work(); err != nil {
		return err
	}
	fmt.Println("done", time.Since(start))
	return nil
}

// hang does something and stands still in the middle of it.
func hang(ctx context.Context, m *manager.Manager, what, name string) error {
	stop := func() {
		fmt.Println("ready")
		select {}
	}
	faulty := &backuptest.Faulty{Source: m.Source, Sink: m.Sink, On: backuptest.CallRecords, Nth: 7, Do: stop}
	m.Source, m.Sink = faulty, faulty
	if what == "create and hang" {
		_, err := m.Create(ctx, backup.BackupOptions{})
		return err
	}
	faulty.On, faulty.Nth = backuptest.CallPut, 1
	if what == "undo and hang" {
		_, err := m.Undo(ctx)
		return err
	}
	s, err := m.Open(ctx, name)
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = m.Restore(ctx, s, backup.RestoreOptions{Strategy: backup.Replace})
	return err
}

// everySecond is the schedule of each full second.
type everySecond struct{}

func (everySecond) Next(after time.Time) time.Time {
	return after.Truncate(time.Second).Add(time.Second)
}

// runForever starts Run over and over: one that has found another process at
// work waits for a minute.
func runForever(ctx context.Context, m *manager.Manager) error {
	m.Schedule, m.Retention = everySecond{}, backup.Retention{}
	each := 1300 * time.Millisecond
	if testtime.Race {
		each *= 5
	}
	fmt.Println("ready")
	for {
		ctx, cancel := context.WithTimeout(ctx, each)
		err := m.Run(ctx)
		cancel()
		if err != context.DeadlineExceeded {
			return fmt.Errorf("Run ended: %w", err)
		}
	}
}

// A process is a child that has said that it begins.
type process struct {
	*osexec.Cmd
	out *bufio.Reader
}

func (p *process) kill() { _ = p.Process.Kill() }

func startProcess(t testing.TB, what string, h host, name string) *process {
	t.Helper()
	cmd := osexec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+strings.Join([]string{what, h.dir, name}, "\n"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{cmd, bufio.NewReader(out)}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			p.kill()
			_ = p.Wait()
		}
	})
	line, err := p.out.ReadString('\n')
	require.NoError(t, err, line)
	require.Equal(t, "ready\n", line)
	return p
}

// awaitStep waits until the process has stored or pruned something, or ended.
func (p *process) awaitStep(t testing.TB) {
	t.Helper()
	next, err := p.out.Peek(1)
	if err == nil && next[0] == 's' {
		_, err = p.out.ReadString('\n')
	}
	if err != io.EOF {
		require.NoError(t, err)
	}
}

// end waits for the end of the process and returns how long its work took: false
// if it was killed before it was done.
func (p *process) end(t testing.TB) (took time.Duration, done bool) {
	t.Helper()
	rest, err := io.ReadAll(p.out)
	require.NoError(t, err)
	_ = p.Wait()
	text := strings.TrimSpace(strings.ReplaceAll(string(rest), "step\n", ""))
	text, done = strings.CutPrefix(text, "done")
	if !done {
		require.Empty(t, text)
		return 0, false
	}
	took, _ = time.ParseDuration(strings.TrimSpace(text))
	return took, true
}

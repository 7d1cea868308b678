//go:build unix

package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"

	"github.com/stretchr/testify/require"
)

// service is tomo backup run.
type service struct {
	t   *testing.T
	cmd *exec.Cmd
	mu  sync.Mutex
	log bytes.Buffer
}

func (m *machine) service(args ...string) *service {
	s := &service{t: m.t, cmd: m.command(append([]string{"backup", "run"}, args...)...)}
	s.cmd.Stderr = writerFunc(s.write)
	s.cmd.Stdout = io.Discard
	require.NoError(m.t, s.cmd.Start())
	m.t.Cleanup(func() { s.cmd.Process.Kill() })
	return s
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func (s *service) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *service) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// says waits for a text in the log.
func (s *service) says(text string) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		log := s.logged()
		if bytes.Contains([]byte(log), []byte(text)) {
			return
		}
		require.True(s.t, time.Now().Before(deadline), "%q is not in the log:\n%s", text, log)
	}
}

// stop ends it as a service manager does, which is no failure.
func (s *service) stop(signal os.Signal) {
	s.t.Helper()
	require.NoError(s.t, s.cmd.Process.Signal(signal))
	err := s.cmd.Wait()
	require.NoError(s.t, err, s.logged())
	require.Contains(s.t, s.logged(), "stopped")
}

func TestTheSchedulerMakesWhatIsDueAndNothingTwice(t *testing.T) {
	m := newMachine(t, 3)
	drive := m.path("drive")
	require.NoError(t, os.Mkdir(drive, 0o700))
	args := []string{"--daily", "03:00", "--keep-last", "2", "--location", drive, "--time-zone", "Europe/Berlin", "--drill", "weekly"}
	oldest, older := m.old(3, "scheduled"), m.old(2, "scheduled")

	s := m.service(args...)
	s.says(`msg="backup operation done"`)
	s.stop(syscall.SIGTERM)
	require.Contains(t, s.logged(), "missed")
	require.Contains(t, s.logged(), "backup deleted")
	require.Contains(t, s.logged(), "time_zone=Europe/Berlin")
	require.NotContains(t, s.logged(), testPassphrase)
	backups := m.list("--location", drive)
	require.Len(t, backups, 2)
	require.Equal(t, manager.TriggerScheduled, backups[0].Trigger)
	require.Len(t, backups[0].Copies, 2)
	require.Equal(t, older, backups[1].Name)
	require.NoFileExists(t, filepath.Join(m.backups(), oldest))

	s = m.service(append(args, "--json")...)
	s.says(`"msg":"backups are scheduled"`)
	m.create() // goes on beside it
	s.stop(os.Interrupt)
	require.NotContains(t, s.logged(), "backup stored", "it is not due again")
	require.Len(t, m.list(), 3)
}

func TestTheSchedulerFollowsTheSettings(t *testing.T) {
	m := newMachine(t, 3)
	m.sql("INSERT INTO settings (key, value) VALUES ('backup_enabled', 'true'), ('backup_schedule', '\"weekly\"'), ('backup_weekday', '\"friday\"'), ('backup_time', '\"04:05\"'), ('backup_keep_last', '4'), ('backup_include_logs', 'true')",
		"INSERT OR REPLACE INTO settings (key, value) VALUES ('timezone', '\"Asia/Tokyo\"')")
	s := m.service()
	s.says(`msg="backup operation done"`)
	s.stop(syscall.SIGTERM)
	for _, want := range []string{`schedule="weekly friday:04:05"`, "time_zone=Asia/Tokyo", `keep="last 4"`, "T04:05:00+09:00"} {
		require.Contains(t, s.logged(), want)
	}
	require.Contains(t, m.list()[0].Manifest.Records, "logs")
}

func TestTheSchedulerNeedsThePassphraseAtItsStart(t *testing.T) {
	m := newMachine(t, 1).without(passphraseVariable)
	m.fails(statusFailed, passphraseVariable, "backup", "run", "--daily", "03:00")
	require.Empty(t, m.list())
}

func TestOneChangesSomethingAtATimeAndTheOtherIsToldWho(t *testing.T) {
	m := newMachine(t, 2)
	b := m.create()
	m.sql("DELETE FROM applications")
	before, there := m.dump(), files(t, m.backups())
	unlock, err := location.Dir(m.backups()).Lock(t.Context(), "tomo", "the test, since noon")
	if err != nil {
		t.Skip(err)
	}
	for _, args := range [][]string{
		{"create"},
		{"restore", b.Name, "--full", "--yes"},
		{"prune", "--keep-last", "1"},
		{"accept", b.Name},
	} {
		o := m.fails(statusFailed, "is held by the test, since noon", append([]string{"backup"}, args...)...)
		require.Contains(t, o.stderr, "Wait until that has ended")
	}
	m.ok("backup", "list")
	m.ok("backup", "verify", b.Name)
	m.ok("backup", "prune", "--dry-run", "--keep-last", "1")
	require.Equal(t, before, m.dump())
	require.ElementsMatch(t, append(there, b.Name+".verified"), files(t, m.backups()))
	require.NoError(t, unlock())
	m.create()
}

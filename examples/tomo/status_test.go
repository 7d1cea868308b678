package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/manager"
)

func TestTheExitStatusTellsAMonitorHowWellTheDataIsProtected(t *testing.T) {
	m := newMachine(t, 3)
	status := func(want int, args ...string) (manager.Status, string) {
		t.Helper()
		args = append([]string{"backup", "status"}, args...)
		o := m.run(append(args, "--json")...)
		require.Equal(t, want, o.status, o.stdout+o.stderr)
		require.Empty(t, o.stderr)
		return parse[manager.Status](t, o.stdout), m.run(args...).stdout
	}
	s, text := status(statusUnprotected)
	require.Equal(t, manager.Unprotected, s.Verdict)
	require.Contains(t, text, "Unprotected: no good full backup can be found.\n  ! There is no good full backup. Make one.\n")

	m.create("--only", "servers")
	status(statusUnprotected)

	drive := t.TempDir()
	made := m.create("--location", drive)
	s, text = status(statusAtRisk, "--location", drive)
	require.Equal(t, made.Name, s.Backup)
	require.Contains(t, text, "At risk: the newest good full backup is less than a minute old, with 2 copies")
	require.Contains(t, text, "No full backup was verified yet.")

	m.ok("backup", "verify", made.Name, "--location", drive)
	want := statusDone
	if same := s.Places[1].SameDisk; same != nil && *same {
		want = statusAtRisk // this machine has one file system
	}
	s, text = status(want, "--location", drive)
	require.NotNil(t, s.Verified)
	require.Contains(t, text, "Last verified: ")

	require.NoError(t, os.RemoveAll(drive))
	s, _ = status(statusAtRisk, "--location", drive)
	require.Equal(t, "down", s.Reasons[0].Code)

	// What is no verdict is never taken for one.
	m.fails(statusUnknown, "unknown flag", "backup", "status", "--nonsense")
	m.sql(`insert or replace into settings (key, value) values ('backup_enabled', '"perhaps"')`)
	m.fails(statusUnknown, "backup_enabled", "backup", "status")
}

//go:build !race

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

func TestTheCommandsOfTheGuideDoWhatItSays(t *testing.T) {
	m := newMachine(t, 5)
	file := m.path("path", "to", "backup.json")
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	before := m.dump()

	o := m.ok("backup", "create", "--output", file)
	require.Contains(t, o.stdout, file)

	m.sql("DELETE FROM applications", "UPDATE settings SET value = '\"light\"' WHERE key = 'theme'")
	damaged := m.dump()
	o = m.ok("backup", "restore", "--input", file)
	require.Contains(t, o.stdout, "skip-duplicates")
	require.NotEqual(t, damaged, m.dump())
	require.Contains(t, m.dump(), `"light"`, "what is there is kept")

	m.ok("backup", "restore", "--input", file, "--full", "--yes")
	require.Equal(t, before, m.dump())

	m.ok("backup", "create")
	o = m.ok("backup", "list")
	require.Contains(t, o.stdout, "tomo-backup-"+time.Now().UTC().Format("2006-01-02T15-"))
	require.Contains(t, o.stdout, "whole")
}

func TestAFullRestoreIsPossibleWhateverTheLogsReferTo(t *testing.T) {
	m := newMachine(t, 2)
	file := m.path("b.json")
	m.ok("backup", "create", "--output", file)
	m.sql(
		"INSERT INTO servers (id, name, host, user, auth_method) VALUES ('new', 'new', 'h', 'u', 'agent')",
		"INSERT INTO logs (id, time, level, server_id, message) VALUES (99, '2024-01-15T10:30:00Z', 'info', 'new', 'of a server that goes away')")
	o := m.ok("backup", "restore", "--input", file, "--full", "--yes")
	require.Contains(t, o.stdout, "Restored")
	o = m.ok("backup", "create", "--json", "--only", "servers")
	require.Contains(t, o.stdout, `"servers": 2`, "the new server is gone")
	require.Contains(t, m.dump(), "of a server that goes away")

	m.sql("INSERT INTO applications (id, name, server_id, compose) VALUES ('a', 'a', 'server-0000001', 'services: {}')")
	without := m.path("without.json")
	write(t, without, strings.Replace(guideDocument, `"users": [],`, "", 1)) // it has no applications, and not their server
	before := m.dump()
	m.fails(statusFailed, "applications", "backup", "restore", "--input", without, "--full", "--yes")
	require.Equal(t, before, m.dump())
}

// cronScript is printed in the guide, "Scripting Backups", with another folder.
const cronScript = `#!/bin/bash
# Daily backup script

BACKUP_DIR="%s"
DATE=$(date +%%Y-%%m-%%d)
BACKUP_FILE="${BACKUP_DIR}/tomo-backup-${DATE}.json"

# Create backup
tomo backup create --output "${BACKUP_FILE}"

# Keep only last 7 days
find "${BACKUP_DIR}" -name "*.json" -mtime +7 -delete

# Optional: Copy to remote storage
# rsync -av "${BACKUP_FILE}" remote:/backups/
`

func TestTheCronScriptOfTheGuideWorksAsPrinted(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	m := newMachine(t, 5)
	dir := m.path("backups", "tomo")
	run := func() outcome {
		cmd := exec.Command(bash, "-c", fmt.Sprintf(cronScript, dir))
		cmd.Env = m.env
		return finish(t, cmd)
	}
	require.Contains(t, run().stderr, "the folder is missing")
	require.NoDirExists(t, dir, "its drive may not be mounted")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	o := run()
	require.Zero(t, o.status, o.stderr)
	require.Empty(t, o.stderr)

	names := files(t, dir)
	require.Len(t, names, 1)
	file := filepath.Join(dir, names[0])
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	m.ok("backup", "verify", file)
	require.Contains(t, m.ok("backup", "list", "--dir", dir).stdout, names[0])

	old := filepath.Join(dir, "tomo-backup-2024-01-15.json")
	write(t, old, "")
	require.NoError(t, os.Chtimes(old, time.Now(), time.Now().AddDate(0, 0, -9)))
	text := read(t, file)
	o = run() // again on the same day
	require.Contains(t, o.stderr, "exists")
	require.Equal(t, text, read(t, file), "the first backup of the day is left as it is")
	require.Equal(t, names, files(t, dir))
}

func TestTheExampleDocumentOfTheGuideRestores(t *testing.T) {
	m := newMachine(t, 0)
	file := m.path("tomo-backup-2024-01-15T10-30-00.json")
	write(t, file, guideDocument)
	// The document has no secrets, but what it replaces may have, and is kept.
	m.without(passphraseVariable).fails(statusFailed, "a passphrase is needed", "backup", "restore", "--input", file)
	o := m.ok("backup", "restore", "--input", file)
	require.Contains(t, o.stdout, "Note: ", "it has no digest, and that is said")
	require.Contains(t, m.dump(), "10.0.0.2")
	listed := m.ok("backup", "list", "--dir", m.home).stdout
	require.Contains(t, listed, "without a digest")
	require.Contains(t, listed, "its secrets, if it has any, stand in clear")
	verified := m.ok("backup", "verify", file).stdout
	require.Contains(t, verified, "can be restored, and has no digest to tell whether it is whole")
	require.NotContains(t, verified, "is whole and")
}

func TestABackupOfANewerTomoIsRefused(t *testing.T) {
	m := newMachine(t, 2)
	before := m.dump()
	file := m.path("new.json")
	write(t, file, strings.Replace(guideDocument, "2.1.0", "9.0.0", 1))
	o := m.fails(statusFailed, "9.0.0", "backup", "restore", "--input", file)
	require.Contains(t, o.stderr, version)
	require.Equal(t, before, m.dump())
}

func TestASelectiveRestoreTouchesOnlyWhatWasNamed(t *testing.T) {
	m := newMachine(t, 5)
	file := m.path("b.json")
	m.ok("backup", "create", "--output", file)
	m.sql("DELETE FROM preferences", "DELETE FROM users",
		"UPDATE settings SET value = '\"light\"' WHERE key = 'theme'")
	m.ok("backup", "restore", "--input", file, "--only", "users,preferences", "--strategy", "replace", "--yes")
	require.Contains(t, m.dump(), "user-0000004")
	require.Contains(t, m.dump(), `"light"`)
}

func TestASelectiveBackupHasOnlyWhatWasNamed(t *testing.T) {
	m := newMachine(t, 5)
	type result struct {
		Manifest backup.Manifest `json:"manifest"`
	}
	collections := func(args ...string) (names []string) {
		r := parse[result](t, m.ok(append([]string{"backup", "create", "--json"}, args...)...).stdout)
		for name := range r.Manifest.Records {
			names = append(names, name)
		}
		return names
	}
	all := []string{"servers", "applications", "settings", "users", "preferences", "repositories"}
	require.ElementsMatch(t, all, collections())
	require.ElementsMatch(t, append(all, "logs"), collections("--include", "logs"))
	require.ElementsMatch(t, []string{"servers", "users"}, collections("--only", "servers,users"))
	require.ElementsMatch(t, []string{"servers", "users"}, collections("--only", "servers", "--only", "users"))
}

func TestWithoutSecretsThePassphraseIsNeededToMakeABackupAndNotToReadIt(t *testing.T) {
	m := newMachine(t, 3)
	none := m.without(passphraseVariable)
	file := m.path("b.json")
	none.fails(statusFailed, "a passphrase is needed", "backup", "create", "--only", "preferences", "--output", file)
	m.ok("backup", "create", "--only", "preferences", "--output", file)
	require.Contains(t, none.ok("backup", "verify", file).stdout, "is whole and can be restored")
	none.ok("backup", "restore", "--input", file, "--dry-run")
	none.ok("backup", "list", "--dir", m.home)
}

func TestADefaultNameThatIsTakenGetsASuffix(t *testing.T) {
	m := newMachine(t, 1)
	var mine []string
	for i := range 30 { // the seconds in which the command may run
		name := m.path(".tomo", "backups", time.Now().UTC().Add(time.Duration(i)*time.Second).Format("tomo-backup-2006-01-02T15-04-05.json"))
		write(t, name, "mine")
		mine = append(mine, name)
	}
	m.ok("backup", "create")
	for _, name := range mine {
		require.Equal(t, "mine", read(t, name))
	}
	found, err := filepath.Glob(m.path(".tomo", "backups", "*-2.json"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	m.ok("backup", "verify", found[0])
}

func TestInitNeverTouchesADatabaseThatExists(t *testing.T) {
	m := newMachine(t, 3)
	before := m.dump()
	m.fails(statusFailed, "exists", "init")
	m.fails(statusFailed, "exists", "init", "--sample", "9")
	require.Equal(t, before, m.dump())

	require.NoError(t, os.Remove(m.db()))
	write(t, m.db()+"-wal", "the log of the database that was removed")
	m.fails(statusFailed, "-wal", "init")
}

func TestADatabaseMayHaveAnyName(t *testing.T) {
	m := newMachine(t, -1)
	name := m.path(`a folder`, `50% "of" it?#x&mode=memory.db`)
	m.ok("--db", name, "init", "--sample", "2")
	m.ok("--db", name, "backup", "create")
	require.FileExists(t, name)
	require.Contains(t, m.ok("--db", name, "backup", "list").stdout, "whole")
	info, err := os.Stat(name)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestTheDemoNeedsNothingAndKeepsItsFiles(t *testing.T) {
	m := newMachine(t, -1).without(passphraseVariable).without("HOME")
	o := m.ok("demo")
	require.Equal(t, 4, strings.Count(o.stdout, "every row of every table is as it was before"))
	_, after, found := strings.Cut(o.stdout, "The files are still there:\n")
	require.True(t, found)
	for _, line := range strings.Split(strings.TrimSpace(after), "\n")[:5] {
		require.FileExists(t, strings.Fields(line)[0])
	}
	require.NoFileExists(t, m.db())
}

func TestOneInvalidRecordNeedNotStopABackup(t *testing.T) {
	m := newMachine(t, 2)
	file := m.path("b.json")
	m.sql("UPDATE users SET role = 'emperor' WHERE id = 'user-0000001'", "DELETE FROM preferences")
	o := m.fails(statusFailed, "user-0000001", "backup", "create", "--output", file)
	require.Contains(t, o.stderr, "/role")
	require.NoFileExists(t, file)

	o = m.ok("backup", "create", "--output", file, "--leave-out-invalid")
	require.Contains(t, o.stdout, "left out: users")

	before := m.dump()
	o = m.ok("backup", "restore", "--input", file)
	require.Contains(t, o.stdout, "users is incomplete in the snapshot: invalid records left out of it: 1", "the restore says that it is missing")
	require.Equal(t, before, m.dump())
}

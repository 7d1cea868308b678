//go:build unix && !race

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

func TestExitStatusTellsWrongUsageFromFailure(t *testing.T) {
	m := newMachine(t, 2)
	file := m.path("b.json")
	m.ok("backup", "create", "--output", file)
	before := m.dump()
	for name, test := range map[string]struct {
		args   string
		status int
		says   string
	}{
		"no command":                 {"", statusUsage, "tomo backup"},
		"no verb":                    {"backup", statusUsage, "create | diff | drill | extract | find | history | list | prune | restore | rewrap | run | salvage | status | undo | verify"},
		"unknown command":            {"bakcup", statusUsage, "bakcup"},
		"unknown verb":               {"backup make", statusUsage, "make"},
		"unknown flag":               {"backup create --outptu x", statusUsage, "outptu"},
		"flag without value":         {"backup create --output", statusUsage, "--output"},
		"empty output":               {"backup create --output=", statusUsage, "--output"},
		"force without output":       {"backup create --force", statusUsage, "--output"},
		"argument too many":          {"backup create x", statusUsage, "x"},
		"unknown collection":         {"backup create --only servers,cats", statusUsage, "cats"},
		"no collection":              {"backup create --only=", statusUsage, "--only"},
		"unknown optional":           {"backup create --include cats", statusUsage, "cats"},
		"restore of nothing":         {"backup restore", statusUsage, "--input"},
		"restore unknown collection": {"backup restore --input b.json --only cats", statusUsage, "cats"},
		"unknown strategy":           {"backup restore --input b.json --strategy overwrite", statusUsage, "overwrite"},
		"full and only":              {"backup restore --input b.json --full --only users --yes", statusUsage, "--only"},
		"full and merge":             {"backup restore --input b.json --full --strategy merge --yes", statusUsage, "--strategy"},
		"full without consent":       {"backup restore --input b.json --full", statusUsage, "--yes"},
		"replace without consent":    {"backup restore --input b.json --strategy replace", statusUsage, "--yes"},
		"verify of nothing":          {"backup verify", statusUsage, "arg"},
		"verify of two":              {"backup verify a b", statusUsage, "arg"},
		"output and location":        {"backup create --output x.json --location .", statusUsage, "--location"},
		"empty location":             {"backup create --location=", statusUsage, "empty"},
		"restore of two":             {"backup restore a --input b.json", statusUsage, "--input"},
		"undo without consent":       {"backup undo", statusUsage, "--yes"},
		"salvage of nothing":         {"backup salvage", statusUsage, "arg"},
		"salvage to nowhere":         {"backup salvage b.json", statusUsage, "--output"},
		"accept of nothing":          {"backup accept", statusUsage, "arg"},
		"drill of two":               {"backup drill a b", statusUsage, "arg"},
		"two schedules":              {"backup run --hourly --daily 03:00", statusUsage, "exclude"},
		"no time of day":             {"backup run --daily 25:00", statusUsage, "25:00"},
		"empty time of day":          {"backup run --daily=", statusUsage, "--daily"},
		"no day of the week":         {"backup run --weekly someday:03:00", statusUsage, "someday"},
		"no day of the month":        {"backup run --monthly 32:03:00", statusUsage, "32"},
		"no time in a week":          {"backup run --weekly sunday", statusUsage, "sunday:03:00"},
		"no time zone":               {"backup run --daily 03:00 --time-zone Mars/Olympus", statusUsage, "Mars"},
		"no drill":                   {"backup run --daily 03:00 --drill often", statusUsage, "often"},
		"no address":                 {"serve --addr nowhere", statusUsage, "--addr"},
		"server with an argument":    {"serve x", statusUsage, "x"},
		"no database to serve":       {"--db b.json serve --addr 127.0.0.1:0", statusFailed, "b.json"},
		"password of nobody":         {"user password", statusUsage, "arg"},
		"negative sample":            {"init --sample -1", statusUsage, "--sample"},
		"missing file":               {"backup restore --input no.json", statusFailed, "no.json"},
		"missing backup":             {"backup restore tomo-backup-2024-01-15T10-30-00.json", statusFailed, "tomo-backup-2024-01-15T10-30-00.json"},
		"missing backup to verify":   {"backup verify tomo-backup-2024-01-15T10-30-00.json", statusFailed, "tomo-backup-2024-01-15T10-30-00.json"},
		"missing file to salvage":    {"backup salvage no.json --output out.json", statusFailed, "no.json"},
		"missing file to verify":     {"backup verify no.json", statusFailed, "no.json"},
		"missing folder":             {"backup list --dir no", statusFailed, "no"},
		"missing folder to write to": {"backup create --output no/b.json", statusFailed, "the folder is missing"},
		"missing folder to salvage":  {"backup salvage b.json --output no/s.json", statusFailed, "check that the drive is mounted"},
		"missing folder to extract":  {"backup extract tomo-db-2024-01-15T10-30-00.db --output no/x.db", statusFailed, "the folder is missing"},
		"missing database":           {"--db no.db backup create", statusFailed, "tomo init"},
		"not a database":             {"--db b.json backup create", statusFailed, "b.json"},
		"folder as a backup":         {"backup verify .", statusFailed, "."},
		"folder as output":           {"backup create --force --output .", statusFailed, "regular"},
		"help":                       {"--help", statusDone, ""},
		"help of a verb":             {"backup restore --help", statusDone, ""},
		"version":                    {"--version", statusDone, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := m.run(strings.Fields(test.args)...)
			require.Equal(t, test.status, o.status, o.stderr)
			require.Contains(t, o.stderr, test.says)
			if test.status != statusDone {
				require.Empty(t, o.stdout)
			}
		})
	}
	require.Equal(t, before, m.dump())
	require.NoFileExists(t, m.path("no.db"))
	require.NoDirExists(t, m.path("no"))
}

func TestABackupIsNeverOverwrittenWithoutForce(t *testing.T) {
	m := newMachine(t, 2)
	file := m.path("b.json")
	write(t, file, "precious")
	m.without(passphraseVariable).fails(statusFailed, "--force", "backup", "create", "--output", file)
	require.Equal(t, "precious", read(t, file))

	m.fails(statusFailed, "passphrase", "backup", "create", "--output", file, "--force", "--passphrase-file", m.path("none"))
	require.Equal(t, "precious", read(t, file), "a backup that fails replaces nothing")

	m.ok("backup", "create", "--output", file, "--force")
	m.ok("backup", "verify", file)

	link := m.path("link.json")
	require.NoError(t, os.Symlink(file, link))
	m.fails(statusFailed, "exists", "backup", "create", "--output", link)
	m.fails(statusFailed, "regular", "backup", "create", "--output", link, "--force")
	require.ElementsMatch(t, []string{".tomo", "b.json", "link.json"}, files(t, m.home))
}

func TestTwoBackupsToOneNameLeaveOneWhole(t *testing.T) {
	m := newMachine(t, 100)
	file := m.path("b.json")
	statuses := make(chan int)
	for range 4 {
		go func() { statuses <- m.run("backup", "create", "--output", file).status }()
	}
	done := 0
	for range 4 {
		if <-statuses == statusDone {
			done++
		}
	}
	require.Equal(t, 1, done)
	m.ok("backup", "verify", file)
	require.ElementsMatch(t, []string{".tomo", "b.json"}, files(t, m.home))
}

func TestWithoutHardLinksALockKeepsTheNameForOne(t *testing.T) {
	dir := t.TempDir()
	temp, path := filepath.Join(dir, "temp"), filepath.Join(dir, "path")
	require.NoError(t, os.Mkdir(temp, 0o700)) // no file system links to a folder
	unlock, err := location.Dir(dir).Lock(t.Context(), "tomo-output", "the test")
	require.NoError(t, err)
	require.ErrorIs(t, nameExclusively(t.Context(), temp, path), location.ErrBusy)
	require.NoDirExists(t, path)
	require.NoError(t, unlock())
	require.NoError(t, nameExclusively(t.Context(), temp, path))
	require.DirExists(t, path)
}

// An interrupted backup leaves no file behind, a killed one no file that could
// be taken for a backup, and what was there stays.
func TestABackupThatIsInterruptedLeavesNothingHalf(t *testing.T) {
	m := newMachine(t, 10_000)
	file := m.path("out", "b.json")
	inTheMiddle := 0
	for round := range testtime.Pick(t, 4, 16) {
		signal := []os.Signal{os.Interrupt, os.Kill, syscall.SIGTERM, os.Kill}[round%4]
		force := (round%4 > 1) != (round%8 > 3)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		if force {
			write(t, file, "precious")
		}
		cmd := m.command("backup", "create", "--output", file, fmt.Sprintf("--force=%t", force))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		require.NoError(t, cmd.Start())
		for deadline := time.Now().Add(10 * time.Second); !writing(filepath.Dir(file)) && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(rand.N(50 * time.Millisecond))
		require.NoError(t, cmd.Process.Signal(signal))
		if cmd.Wait() == nil { // was faster
			require.NoError(t, os.RemoveAll(filepath.Dir(file)))
			continue
		}
		inTheMiddle++
		if force {
			require.Equal(t, "precious", read(t, file))
		} else {
			require.NoFileExists(t, file)
		}
		if signal != os.Kill {
			require.Equal(t, statusFailed, cmd.ProcessState.ExitCode(), stderr.String())
			require.Contains(t, stderr.String(), "interrupted")
			require.False(t, writing(filepath.Dir(file)), "no temporary file is left")
		}
		require.NotContains(t, m.ok("backup", "list", "--dir", filepath.Dir(file), "--json").stdout, ".tmp")
		require.NoError(t, os.RemoveAll(filepath.Dir(file)))
	}
	require.NotZero(t, inTheMiddle, "no backup was caught in the middle")
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	m.ok("backup", "create", "--output", file)
}

// writing reports whether a temporary file with something in it is in dir.
func writing(dir string) bool {
	names, _ := filepath.Glob(filepath.Join(dir, tempPattern))
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.Size() > 0 {
			return true
		}
	}
	return false
}

func TestARestoreThatIsKilledLeavesTheOldOrTheNewState(t *testing.T) {
	m := newMachine(t, 2000)
	file := m.path("b.json")
	m.ok("backup", "create", "--output", file)
	restored := m.dump()
	damage := []string{"DELETE FROM applications", "UPDATE servers SET host = 'gone.example.org'", "DELETE FROM preferences"}
	for round := range testtime.Pick(t, 4, 16) {
		m.sql(damage...)
		damaged := m.dump()
		cmd := m.command("backup", "restore", "--input", file, "--full", "--yes")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		require.NoError(t, cmd.Start())
		time.Sleep(rand.N(1200 * time.Millisecond))
		signal := []os.Signal{os.Interrupt, os.Kill}[round%2]
		require.NoError(t, cmd.Process.Signal(signal))
		err := cmd.Wait()
		now := m.dump()
		require.Contains(t, []string{damaged, restored}, now)
		switch {
		case err == nil:
			require.Equal(t, restored, now)
		case signal == os.Interrupt && stderr.Len() > 0: // it had begun
			require.Contains(t, stderr.String(), "interrupted: nothing was changed")
			require.Equal(t, damaged, now)
		}
	}
	m.ok("backup", "restore", "--input", file, "--full", "--yes")
	require.Equal(t, restored, m.dump())
}

func TestADamagedFileIsRefusedAndNothingIsChanged(t *testing.T) {
	m := newMachine(t, 3)
	file := m.path("b.json")
	m.ok("backup", "create", "--output", file)
	whole := read(t, file)
	m.sql("DELETE FROM applications")
	before := m.dump()
	refused := func(name, text, says string) {
		t.Run(name, func(t *testing.T) {
			broken := m.path("tomo-backup-broken.json")
			write(t, broken, text)
			for _, args := range [][]string{
				{"backup", "restore", "--input", broken, "--full", "--yes"},
				{"backup", "restore", "--input", broken, "--dry-run"},
				{"backup", "verify", broken},
			} {
				o := m.fails(statusFailed, says, args...)
				require.Contains(t, o.stderr, broken)
				require.Empty(t, o.stdout)
			}
			require.Equal(t, before, m.dump())
			require.Regexp(t, `tomo-backup-broken.json .*(damaged|unreadable): `, m.ok("backup", "list", "--dir", m.home).stdout)
		})
	}
	refused("empty", "", "")
	refused("of another format", strings.Replace(whole, `{"version":"1.0"`, `{"version":"2.0"`, 1), "2.0")
	refused("not a snapshot", `{"hello":"world"}`, "")
	places := testtime.Pick(t, 6, 24)
	for i := range places {
		n := len(whole) * i / places
		refused(fmt.Sprintf("truncated to %d", n), whole[:n], "")
	}
	for i := range places {
		n := len(whole) * i / places
		flipped := []byte(whole)
		flipped[n] ^= 1 << (i % 8)
		refused(fmt.Sprintf("flipped at %d", n), string(flipped), "")
	}
	foreign := m.path("other.json")
	write(t, foreign, strings.Replace(guideDocument, `"application_version"`, `"application": "other", "application_version"`, 1))
	m.fails(statusFailed, "other", "backup", "restore", "--input", foreign, "--full", "--yes")
	require.Equal(t, before, m.dump())
}

func TestThePassphraseComesFromAFileTheEnvironmentOrNowhere(t *testing.T) {
	m := newMachine(t, 2)
	before := m.dump()
	file := m.path("b.json")
	none := m.without(passphraseVariable)

	o := none.fails(statusFailed, "--passphrase-file", "backup", "create", "--output", file)
	require.Contains(t, o.stderr, passphraseVariable)
	require.Contains(t, o.stderr, "prompt")
	require.NoFileExists(t, file)
	m.with(passphraseVariable, "").fails(statusFailed, "empty", "backup", "create", "--output", file)
	write(t, m.path("empty"), "\n")
	m.fails(statusFailed, "empty", "backup", "create", "--output", file, "--passphrase-file", m.path("empty"))
	require.NoFileExists(t, file)

	for _, content := range []string{" of a file\n", "of a file \n", "of a file\n\n", "\ufeffof a file\n", "\xff\xfeo\x00f\x00", "caf" + "e\u0301\n"} {
		write(t, m.path("passphrase"), content)
		none.fails(statusFailed, "nobody could type this passphrase again", "backup", "create", "--output", file, "--passphrase-file", m.path("passphrase"))
		require.NoFileExists(t, file)
	}
	m.with(passphraseVariable, "of a file\n").fails(statusFailed, "line break", "backup", "create", "--output", file)
	write(t, m.path("passphrase"), "of a file\n")
	none.ok("backup", "create", "--output", file, "--passphrase-file", m.path("passphrase"))
	for _, form := range []string{"of a file", "of a file\n", "\ufeffof a file"} {
		m.with(passphraseVariable, form).ok("backup", "verify", file)
	}
	m.ok("backup", "verify", file, "--passphrase-file", m.path("passphrase"))
	for _, name := range []string{" of a file", "of a file "} {
		m.with(passphraseVariable, name).fails(statusFailed, "wrong key", "backup", "verify", file)
	}
	m.fails(statusFailed, "wrong key", "backup", "restore", "--input", file, "--full", "--yes")
	none.fails(statusFailed, passphraseVariable, "backup", "restore", "--input", file)
	require.Equal(t, before, m.dump())
}

func TestAFullDiskIsNamedAndLeavesNothing(t *testing.T) {
	m := newMachine(t, 2000)
	small, limited := tinyDisk(t, m)
	create := limited("backup", "create", "--output", filepath.Join(small, "b.json"))
	o := finish(t, create)
	require.Equal(t, statusFailed, o.status, o.stderr)
	require.Contains(t, o.stderr, "check disk space")
	require.Contains(t, o.stderr, filepath.Join(small, "b.json"))
	require.Empty(t, files(t, small))
}

func TestARestoreThatTookPlaceIsDoneThoughNobodyCanReadItsReport(t *testing.T) {
	m := newMachine(t, 2)
	file := m.path("b.json")
	m.ok("backup", "create", "--output", file)
	for i, args := range [][]string{
		{"backup", "restore", "--input", file, "--full", "--yes"},
		{"backup", "restore", "--input", file, "--full", "--yes", "--json"},
		{"backup", "undo", "--yes"},
	} {
		m.sql(fmt.Sprintf("UPDATE servers SET host = 'host%d.example.org'", i))
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Skip("this system has no /dev/full")
		}
		cmd := m.command(args...)
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = full, &stderr
		require.NoError(t, cmd.Run(), "%s: %s", args, &stderr)
		require.NoError(t, full.Close())
		require.Contains(t, stderr.String(), "the restore took place, but its report cannot be printed")
		require.Contains(t, stderr.String(), "what was there before is kept as tomo-backup-")
	}
}

func TestWhatTookPlaceIsDoneThoughNobodyCanReadIt(t *testing.T) {
	m := newMachine(t, 2)
	name := m.create().Name
	broken, fresh := m.path("broken.json"), m.path("new")
	text := read(t, filepath.Join(m.backups(), name))
	write(t, broken, text[:len(text)/2])
	write(t, fresh, "another passphrase\n")
	for _, args := range [][]string{
		{"backup", "create", "--json"},
		{"backup", "create", "--json", "--database"},
		{"backup", "create", "--json", "--output", m.path("out.json")},
		{"backup", "rewrap", name, "--json", "--new-passphrase-file", fresh},
		{"backup", "salvage", broken, "--json", "--output", m.path("saved.json")},
		{"backup", "prune", "--keep-last", "1"},
		{"backup", "prune", "--keep-last", "1", "--json"},
	} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Skip("this system has no /dev/full")
		}
		cmd := m.command(args...)
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = full, &stderr
		require.NoError(t, cmd.Run(), "%s: %s", args, &stderr)
		require.NoError(t, full.Close())
		require.Contains(t, stderr.String(), ", but that cannot be printed", args)
	}
}

// tinyDisk returns a folder that holds less than a backup of 2,000 records a
// collection and what runs the command on it: a file system of its own if this
// process may mount one, else a limit on the size of files.
func tinyDisk(t *testing.T, m *machine) (dir string, command func(args ...string) *exec.Cmd) {
	dir = t.TempDir()
	if exec.Command("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", dir).Run() == nil {
		t.Cleanup(func() {
			if out, err := exec.CommandContext(context.Background(), "umount", dir).CombinedOutput(); err != nil {
				t.Errorf("umount: %s", out)
			}
		})
		return dir, m.command
	}
	return dir, func(args ...string) *exec.Cmd {
		cmd := exec.Command("bash", append([]string{"-c", `ulimit -f 256; exec tomo "$@"`, "bash"}, args...)...)
		cmd.Env, cmd.Dir = m.env, m.home
		return cmd
	}
}

// readOnly mounts a folder for reading only.
func readOnly(t *testing.T, dir string) {
	t.Helper()
	for _, args := range [][]string{{"--bind", dir, dir}, {"-o", "remount,bind,ro", dir}} {
		if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
			t.Skipf("this process may not mount a folder: %s", out)
		}
		if args[0] == "--bind" {
			t.Cleanup(func() {
				if out, err := exec.CommandContext(context.Background(), "umount", dir).CombinedOutput(); err != nil {
					t.Errorf("umount: %s", out)
				}
			})
		}
	}
}

func TestADatabaseOnAReadOnlyMountCanBeBackedUp(t *testing.T) {
	m := newMachine(t, 3)
	old, file, dir := m.path("old.json"), m.path("b.json"), m.path("elsewhere")
	m.ok("backup", "create", "--output", old)
	m.create() // SQLite has been here
	m.sql("UPDATE servers SET host = 'changed.example.org'")
	before := m.dump()
	require.NoError(t, os.Mkdir(dir, 0o700))
	wal := m.db() + "-wal"
	require.NoFileExists(t, wal)
	readOnly(t, m.path(".tomo"))
	m.ok("backup", "create", "--output", file, "--include", "logs")
	m.ok("backup", "verify", file)
	m.ok("backup", "create", "--database", "--dir", dir)
	m.fails(statusFailed, "read-only", "backup", "create")
	m.fails(statusFailed, "read-only", "backup", "restore", "--input", old, "--full", "--yes", "--dir", dir)
	other := newMachine(t, 0)
	other.ok("backup", "restore", "--input", file, "--full", "--yes")
	require.Equal(t, before, other.dump())
}

func TestABackupOnReadOnlyMediaIsRestoredByItsName(t *testing.T) {
	m := newMachine(t, 3)
	disc := m.path("disc")
	require.NoError(t, os.Mkdir(disc, 0o700))
	b := m.create("--dir", disc)
	before := m.dump()
	m.sql("UPDATE servers SET host = 'changed.example.org'")
	changed := m.dump()
	readOnly(t, disc)
	o := m.ok("backup", "restore", b.Name, "--dir", disc, "--full", "--yes")
	require.Contains(t, o.stderr, "cannot be written to")
	require.Contains(t, o.stdout, "To bring it back:\n  tomo backup undo\n")
	require.Equal(t, before, m.dump())
	require.Len(t, m.list(), 1, "the way back")
	m.ok("backup", "undo", "--yes")
	require.Equal(t, changed, m.dump())
}

func TestABackupByRootDoesNotLockTomoOut(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make what belongs to others")
	}
	const service = 65534
	m := newMachine(t, 1)
	require.NoError(t, os.Chmod(filepath.Dir(m.home), 0o755))
	require.NoError(t, filepath.WalkDir(m.home, func(path string, _ os.DirEntry, err error) error {
		return os.Chown(path, service, service)
	}))
	m.ok("backup", "create", "--encrypt", "--database")
	cmd := m.without("TMPDIR").command("backup", "create", "--encrypt", "--database", "--json")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: service, Gid: service}}
	o := finish(t, cmd)
	require.Equal(t, statusDone, o.status, o.stderr)
	require.Empty(t, o.stderr)
	require.NoError(t, filepath.WalkDir(m.home, func(path string, _ os.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := os.Lstat(path)
		require.NoError(t, err)
		require.Equal(t, uint32(service), info.Sys().(*syscall.Stat_t).Uid, path)
		return nil
	}))
}

func TestAFolderThatCannotBeWrittenIsNamed(t *testing.T) {
	m := newMachine(t, 1)
	require.NoError(t, os.Chmod(filepath.Dir(m.home), 0o755))
	dir := m.path("closed")
	require.NoError(t, os.Mkdir(dir, 0o500))
	cmd := m.command("backup", "create", "--output", filepath.Join(dir, "b.json"))
	if os.Getuid() == 0 { // who may write everywhere
		const nobody = 65534
		require.NoError(t, filepath.WalkDir(m.home, func(path string, _ os.DirEntry, err error) error {
			return os.Chown(path, nobody, nobody)
		}))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	o := finish(t, cmd)
	require.Equal(t, statusFailed, o.status)
	require.Contains(t, o.stderr, "write permissions")
	require.Contains(t, o.stderr, filepath.Join(dir, "b.json"))
	require.Empty(t, files(t, dir))
}

func TestADryRunChangesNothingAndSaysWhatWouldHappen(t *testing.T) {
	m := newMachine(t, 60)
	file := m.path("b.json")
	m.ok("backup", "create", "--output", file)
	m.sql(
		"DELETE FROM applications WHERE id = 'app-0000001'",
		"UPDATE servers SET host = 'elsewhere.example.org', password = 'changed' WHERE id = 'server-0000002'",
		"INSERT INTO repositories (id, name, url) VALUES ('extra', 'Extra', 'https://extra.example.org/')")
	before := m.dump()

	o := m.ok("backup", "restore", "--input", file, "--full", "--dry-run")
	require.Contains(t, o.stdout, "+ applications app-0000001")
	require.Contains(t, o.stdout, "- repositories extra")
	require.Contains(t, o.stdout, "~ servers server-0000002")
	require.Contains(t, o.stdout, `/host: "elsewhere.example.org" → "10.0.0.2"`)
	require.Contains(t, o.stdout, "/password: ")
	require.NotContains(t, o.stdout, "made-up-")
	require.Equal(t, before, m.dump())

	o = m.ok("backup", "restore", "--input", file, "--dry-run")
	require.Contains(t, o.stdout, "= servers server-0000002 (kept)")
	require.Contains(t, o.stdout, "Kept as it is in the database")
	require.Equal(t, before, m.dump())

	m.sql("DELETE FROM applications")
	o = m.ok("backup", "restore", "--input", file, "--dry-run")
	require.Contains(t, o.stdout, "… and 21 more", "60 applications and one conflict, 40 shown")
	type plan struct {
		Report  backup.Report    `json:"report"`
		Changes []map[string]any `json:"changes"`
	}
	p := parse[plan](t, m.ok("backup", "restore", "--input", file, "--dry-run", "--json").stdout)
	require.Len(t, p.Changes, 61)
	require.Equal(t, backup.SkipDuplicates, p.Report.Collections[0].Strategy)
}

func TestJSONIsOneDocumentOnStandardOutput(t *testing.T) {
	m := newMachine(t, 3)
	file := m.path("b.json")
	created := parse[createResult](t, m.ok("backup", "create", "--output", file, "--json").stdout)
	require.Equal(t, file, created.Path)
	require.EqualValues(t, 3, created.Manifest.Records["servers"])

	verified := parse[verifyResult](t, m.ok("backup", "verify", file, "--json").stdout)
	require.Equal(t, created.Manifest.SHA256, verified.Manifest.SHA256)
	require.NotEmpty(t, verified.Report.Collections)

	backups := parse[listResult](t, m.ok("backup", "list", "--dir", m.home, "--json").stdout).Backups
	require.Len(t, backups, 1)
	require.Equal(t, "b.json", backups[0].Name)
	require.False(t, backups[0].Damaged)
	require.Equal(t, manager.TriggerManual, backups[0].Trigger)
	require.NotNil(t, parse[listResult](t, m.ok("backup", "list", "--json").stdout).Backups, "an empty list is []")

	m.sql("DELETE FROM applications")
	report := parse[backup.Report](t, m.ok("backup", "restore", "--input", file, "--json").stdout)
	added := int64(0)
	for _, c := range report.Collections {
		added += c.Added
	}
	require.EqualValues(t, 3, added)
}

func TestListShowsBackupsOfTomoAndNothingElse(t *testing.T) {
	m := newMachine(t, 2)
	dir := m.path("dir")
	require.NoError(t, os.Mkdir(dir, 0o700))
	m.ok("backup", "create", "--output", filepath.Join(dir, "tomo-backup-2024-01-15.json"))
	m.ok("backup", "create", "--output", filepath.Join(dir, "before-the-move.json"), "--only", "preferences")
	whole := read(t, filepath.Join(dir, "tomo-backup-2024-01-15.json"))
	write(t, filepath.Join(dir, "tomo-backup-2023-01-15T10-30-00.json"), whole[:len(whole)/2])
	write(t, filepath.Join(dir, "notes.json"), `{"milk":2}`)
	write(t, filepath.Join(dir, "broken.json"), `{"milk"`)
	write(t, filepath.Join(dir, "README.txt"), whole)
	write(t, filepath.Join(dir, "other.json"), strings.Replace(guideDocument, `"application_version"`, `"application": "other", "application_version"`, 1))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder.json"), 0o700))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "tomo-backup-pipe.json"), 0o600))

	lines := strings.Split(strings.TrimSpace(m.ok("backup", "list", "--dir", dir).stdout), "\n")
	require.Len(t, lines, 4)
	require.Regexp(t, `^NAME +TIME +SIZE +TRIGGER +HOLDS +RECORDS +APP VERSION +STATE$`, lines[0])
	text := strings.Join(lines[1:], "\n")
	require.Regexp(t, `(?m)^tomo-backup-2024-01-15\.json .* manual .* whole, no key tried$`, text, "the name that the guide's script gives")
	require.Regexp(t, `(?m)^before-the-move\.json .* manual +Preferences only +2 +2\.1\.0 +partial$`, text)
	require.Regexp(t, `(?m)^tomo-backup-2023-01-15T10-30-00\.json .* - +2\.1\.0 +damaged: `, text)
}

func TestASecretIsInNoOutputAndInNoFileButTheDatabase(t *testing.T) {
	const mark = "MARKED-SECRET"
	m := newMachine(t, 2)
	file := m.path("b.json")
	m.ok("backup", "create", "--output", file)
	m.sql(
		"UPDATE servers SET password = 'MARKED-SECRET-1', private_key = 'MARKED-SECRET-2', passphrase = 'MARKED-SECRET-3'",
		`UPDATE applications SET env = '{"TOKEN":"MARKED-SECRET-4"}', compose = 'MARKED-SECRET-5'`,
		"UPDATE repositories SET token = 'MARKED-SECRET-6'",
		`UPDATE settings SET value = '"MARKED-SECRET-7"' WHERE key = 'smtp_password'`)
	marked := m.path("marked.json")
	m = m.with(passphraseVariable, mark+"-passphrase")
	check := func(status int, args ...string) {
		o := m.run(args...)
		require.Equal(t, status, o.status, "%v\n%s", args, o.stderr)
		require.NotContains(t, o.stdout+o.stderr, mark, args)
	}
	check(statusDone, "backup", "create", "--output", marked, "--include", "logs")
	check(statusDone, "backup", "create", "--json")
	check(statusDone, "backup", "verify", marked)
	check(statusDone, "backup", "drill", "--json")
	check(statusDone, "backup", "salvage", marked, "--output", m.path("salvaged.json"), "--json")
	check(statusDone, "backup", "list", "--json")
	check(statusDone, "backup", "restore", "--input", marked, "--dry-run", "--full", "--json")
	check(statusFailed, "backup", "restore", "--input", file, "--full", "--yes")
	old := *m
	m = m.with(passphraseVariable, testPassphrase)
	for _, strategy := range []string{"merge", "replace", "skip-duplicates"} {
		check(statusDone, "backup", "restore", "--input", file, "--strategy", strategy, "--dry-run")
		check(statusDone, "backup", "restore", "--input", file, "--strategy", strategy, "--dry-run", "--json")
	}
	check(statusDone, "backup", "restore", "--input", file, "--full", "--yes", "--json")
	check(statusDone, "backup", "undo", "--yes", "--json")
	check(statusDone, "backup", "undo", "--yes")
	check(statusDone, "backup", "prune", "--manual", "--keep-last", "9")
	m = &old
	m.sql("UPDATE users SET password_hash = 'MARKED-SECRET-8', totp_secret = 'MARKED-SECRET-9'")
	check(statusFailed, "backup", "create", "--output", m.path("invalid.json"))
	m.sql("DELETE FROM preferences", "DELETE FROM users")

	require.NoError(t, filepath.WalkDir(m.home, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && !strings.HasPrefix(entry.Name(), "tomo.db") {
			require.NotContains(t, read(t, path), mark, path)
		}
		return err
	}))
}

func TestANameFromAFileCannotRewriteTheScreen(t *testing.T) {
	m := newMachine(t, 0)
	file := m.path("tomo-backup-\x1b[2J.json")
	write(t, file, strings.NewReplacer("2.1.0", "2.1.0", `"nas"`, `"n\u001b[2Jas"`).Replace(guideDocument))
	for _, args := range [][]string{
		{"backup", "list", "--dir", m.home},
		{"backup", "verify", file},
		{"backup", "restore", "--input", file, "--dry-run"},
		{"backup", "restore", "--input", file + "\x1b"},
	} {
		o := m.run(args...)
		require.NotContains(t, o.stdout+o.stderr, "\x1b", args)
	}
}

func TestAFileFromADistantYearDoesNotBreakTheList(t *testing.T) {
	m := newMachine(t, 2)
	dir := testtime.MemoryDir(t) // most disks know no such year
	m.ok("backup", "create", "--output", filepath.Join(dir, "tomo-backup-good.json"))
	for name, year := range map[string]int{"tomo-backup-late.json": 20_000, "tomo-backup-early.json": -20_000} {
		at := syscall.Timespec{Sec: seconds(syscall.Timespec{}.Sec, time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC))} // os.Chtimes would overflow
		write(t, filepath.Join(dir, name), "{")
		require.NoError(t, syscall.UtimesNano(filepath.Join(dir, name), []syscall.Timespec{at, at}))
	}
	backups := parse[listResult](t, m.ok("backup", "list", "--dir", dir, "--json").stdout).Backups
	require.Len(t, backups, 3)
	require.Equal(t, "tomo-backup-good.json", backups[0].Name)
	for _, b := range backups[1:] {
		require.True(t, b.Damaged)
	}
}

// seconds has the size that a Timespec has here. 32 bits hold no distant year.
func seconds[T int32 | int64](_ T, t time.Time) T { return T(t.Unix()) }

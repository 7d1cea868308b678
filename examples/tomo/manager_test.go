//go:build !race

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/tomo"
)

func TestABackupIsKeptAtSeveralFoldersAndRestoredFromAny(t *testing.T) {
	m := newMachine(t, 3)
	drive := m.path("drive")
	require.NoError(t, os.Mkdir(drive, 0o700))
	before := m.dump()
	b := m.create("--location", drive)
	require.Len(t, b.Copies, 2)
	require.Equal(t, read(t, filepath.Join(m.backups(), b.Name)), read(t, filepath.Join(drive, b.Name)))
	require.Regexp(t, b.Name+` .* manual .* 2 of 2 +whole`, m.ok("backup", "list", "--location", drive).stdout)

	flip(t, filepath.Join(m.backups(), b.Name))
	m.sql("DELETE FROM applications")
	m.ok("backup", "restore", b.Name, "--full", "--yes", "--location", drive)
	require.Equal(t, before, m.dump())

	o := m.fails(statusFailed, "damaged", "backup", "verify", b.Name, "--location", drive)
	require.Contains(t, o.stdout, filepath.Join(drive, b.Name)+" is whole and can be restored")
	require.Contains(t, o.stdout, filepath.Join(m.backups(), b.Name)+" did not pass")

	require.NoError(t, os.RemoveAll(m.backups()))
	require.Contains(t, m.fails(statusFailed, "the folder is missing", "backup", "list", "--location", drive).stdout, b.Name, "the drive is there")
	m.fails(statusUsage, "same folder", "backup", "create", "--location", drive, "--location", drive+"/.")
}

func TestADriveThatIsMissingIsAWarningUnlessItsCopyIsNeeded(t *testing.T) {
	m := newMachine(t, 2)
	drive := m.path("not", "mounted")
	o := m.ok("backup", "create", "--location", drive)
	require.Contains(t, o.stdout, "at "+m.backups())
	require.Contains(t, o.stderr, "warning: not at "+drive)
	require.Contains(t, o.stderr, "check that the drive is mounted")
	require.NoDirExists(t, drive, "nobody made it on the disk that it should protect from")

	o = m.fails(statusFailed, drive, "backup", "create", "--location", drive, "--min-copies", "2")
	require.Contains(t, o.stdout, "at "+m.backups(), "the copy that could be made is kept")
	require.Len(t, m.list(), 2)
	m.fails(statusUsage, "--min-copies 2", "backup", "create", "--min-copies", "2")

	o = m.run("backup", "list", "--location", drive)
	require.Equal(t, statusFailed, o.status, "the list is not complete")
	require.Contains(t, o.stdout, "1 of 2")
	require.Contains(t, o.stderr, drive)

	require.NoError(t, os.MkdirAll(drive, 0o700))
	m.ok("backup", "create", "--location", drive)
	require.Len(t, m.list("--dir", drive), 3, "what it lacked was filled in")
}

func TestARestoreCanBeTakenBackAndSoCanThat(t *testing.T) {
	m := newMachine(t, 3)
	m.fails(statusFailed, "nothing to undo", "backup", "undo", "--yes")
	b := m.create()
	before := m.dump()
	m.sql("DELETE FROM preferences", "DELETE FROM users", "UPDATE servers SET host = 'elsewhere.example.org'",
		"INSERT INTO repositories (id, name, url) VALUES ('extra', 'Extra', 'https://extra.example.org/')")
	damaged := m.dump()

	o := m.ok("backup", "restore", "--input", b.Name, "--full", "--yes")
	require.Equal(t, before, m.dump())
	require.Contains(t, o.stdout, "tomo backup undo")
	kept := m.list()[0]
	require.Equal(t, manager.TriggerBeforeRestore, kept.Trigger)
	require.Contains(t, o.stdout, kept.Name)

	m.ok("backup", "undo", "--yes")
	require.Equal(t, damaged, m.dump())
	report := parse[backup.Report](t, m.ok("backup", "undo", "--yes", "--json").stdout)
	require.Equal(t, before, m.dump())
	require.NotEmpty(t, report.UndoneBy)

	m.fails(statusUsage, "--yes", "backup", "undo")
	o = m.ok("backup", "restore", b.Name)
	require.Contains(t, o.stdout, "Nothing had to be changed")
	require.Equal(t, 4, len(m.list()), "what changes nothing leaves nothing")
}

func TestARestoreWithoutAWayBackChangesNothing(t *testing.T) {
	m := newMachine(t, 2)
	file := m.path("b.json")
	m.ok("backup", "create", "--output", file)
	m.sql("DELETE FROM applications")
	damaged := m.dump()
	m.fails(statusFailed, "missing", "backup", "restore", "--input", file, "--full", "--yes", "--dir", m.path("not", "mounted"))
	require.Equal(t, damaged, m.dump())
}

func TestPruneSaysWhyAndDeletesOnlyWhatItSaid(t *testing.T) {
	m := newMachine(t, 2)
	manual, monthAgo, lastWeek := m.old(40, "manual"), m.old(31, "scheduled"), m.old(7, "scheduled")
	yesterday := m.old(1, "scheduled")
	write(t, filepath.Join(m.backups(), "notes.json"), "{}")
	verdict := func(o outcome, name, says string) {
		require.Regexp(t, `(?m)^ +`+says+`.*$`, o.stdout)
		require.Regexp(t, `(?m)^ +`+strings.Fields(says)[0]+` +`+name, o.stdout)
	}

	o := m.ok("backup", "prune")
	require.Contains(t, o.stdout, "the policy keeps all")
	all := files(t, m.backups())
	o = m.ok("backup", "prune", "--dry-run", "--keep-last", "2")
	verdict(o, monthAgo, "delete .*not among the last 2")
	verdict(o, lastWeek, "keep .*among the last 2")
	verdict(o, manual, "keep .*made by hand")
	require.Contains(t, o.stdout, "It would delete 1 backup. Nothing was deleted")
	o = m.ok("backup", "prune", "--dry-run", "--manual", "--keep-days", "3")
	verdict(o, manual, "delete .*older than 3 days")
	require.Contains(t, o.stdout, "It would delete 3 backups")
	require.Equal(t, all, files(t, m.backups()))

	// The settings are the policy, and a flag replaces all of it.
	m.sql("INSERT INTO settings (key, value) VALUES ('backup_keep_last', '1'), ('backup_keep_days', '10')")
	m.ok("backup", "prune", "--keep-last", "3")
	require.Len(t, m.list(), 4)
	o = m.ok("backup", "prune")
	require.Contains(t, o.stdout, "Deleted 1 backup.")
	require.Equal(t, []string{yesterday, lastWeek, manual}, names(m.list()))
	pruned := parse[[]manager.Pruned](t, m.ok("backup", "prune", "--manual", "--keep-last", "1", "--json").stdout)
	require.Equal(t, []string{manual, lastWeek}, pruned[0].Deleted)
	require.FileExists(t, filepath.Join(m.backups(), "notes.json"))

	m.ok("backup", "prune", "--manual", "--keep-last", "0")
	require.Equal(t, []string{yesterday}, names(m.list()))
	m.fails(statusUsage, "whole number", "backup", "prune", "--keep-last", "-1")
}

func TestNothingIsDeletedWithoutAGoodBackupOrAfterALoss(t *testing.T) {
	m := newMachine(t, 12)
	m.old(3, "scheduled")
	newest := m.old(2, "scheduled")
	path := filepath.Join(m.backups(), newest)
	whole := read(t, path)
	flip(t, path)
	dry := m.ok("backup", "prune", "--dry-run", "--keep-last", "1").stdout
	require.NotContains(t, dry, "would delete", "a dry run promises what the run does")
	require.Len(t, m.list(), 2)
	m.ok("backup", "prune", "--keep-last", "1")
	require.Len(t, m.list(), 2, "the older one is the newest good one")
	write(t, path, whole)

	m.sql("DELETE FROM preferences", "DELETE FROM users")
	shrunk := m.create()
	require.NotEmpty(t, shrunk.Shrunk)
	require.Contains(t, m.ok("backup", "list").stdout, "shrunk: preferences: 0, was 12, users: 0, was 12")
	o := m.fails(statusFailed, "tomo backup accept "+shrunk.Name, "backup", "prune", "--keep-last", "1")
	require.Contains(t, o.stderr, "users: 0, was 12")
	require.Len(t, m.list(), 3)
	m.fails(statusFailed, "no location has", "backup", "accept", "tomo-backup-2024-01-15T10-30-00.json")
	m.ok("backup", "accept", shrunk.Name)
	m.ok("backup", "prune", "--keep-last", "1")
	require.Equal(t, []string{shrunk.Name, newest}, names(m.list()))
}

func TestADrillProvesThatABackupRestores(t *testing.T) {
	m := newMachine(t, 5)
	m.fails(statusFailed, "no backup to try", "backup", "drill")
	b := m.create()
	before := m.dump()
	o := m.ok("backup", "drill")
	require.Contains(t, o.stdout, b.Name+" restores.")
	require.Regexp(t, `30 records restored .*all equal`, o.stdout)
	require.Contains(t, o.stdout, "(RPO)")
	require.Contains(t, o.stdout, "(RTO)")
	report := parse[manager.DrillReport](t, m.ok("backup", "drill", b.Name, "--json").stdout)
	require.EqualValues(t, 30, report.Records)

	require.NoError(t, os.Rename(m.db(), m.path("lost.db")))
	m.ok("backup", "drill", b.Name)
	require.NoError(t, os.Rename(m.path("lost.db"), m.db()))

	flip(t, filepath.Join(m.backups(), b.Name))
	o = m.fails(statusFailed, "damaged", "backup", "drill", b.Name)
	require.Contains(t, o.stderr, b.Name)
	require.Empty(t, o.stdout)
	require.Equal(t, before, m.dump())
	for _, entry := range m.env {
		if dir, ok := strings.CutPrefix(entry, "TMPDIR="); ok {
			require.Empty(t, files(t, dir), "the scratch databases are gone")
		}
	}
}

func TestWhatIsIntactInADamagedFileIsSavedAndTheRestListed(t *testing.T) {
	m := newMachine(t, 40)
	b := m.create()
	path, out := filepath.Join(m.backups(), b.Name), m.path("saved.json")
	text := read(t, path)
	write(t, path, text[:len(text)*2/3])
	m.fails(statusFailed, "tomo backup salvage", "backup", "restore", b.Name, "--full", "--yes")

	m.fails(statusUsage, "--output", "backup", "salvage", path)
	o := m.ok("backup", "salvage", b.Name, "--output", out)
	require.Regexp(t, `servers +40 records\n`, o.stdout)
	require.Regexp(t, `bytes \d+ to \d+: `, o.stdout)
	info, err := os.Stat(out)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	saved := read(t, out)
	m.fails(statusFailed, "exists", "backup", "salvage", path, "--output", out)
	require.Equal(t, saved, read(t, out))
	require.Contains(t, m.ok("backup", "list", "--dir", m.home).stdout, "salvaged")

	m.sql("DELETE FROM applications", "DELETE FROM servers WHERE id > 'server-0000030'",
		"INSERT INTO servers (id, name, host, user, auth_method) VALUES ('new', 'new', 'h', 'u', 'agent')")
	damaged := m.dump()
	m.fails(statusFailed, "--allow-salvaged", "backup", "restore", "--input", out, "--full", "--yes")
	require.Equal(t, damaged, m.dump())
	m.ok("backup", "restore", "--input", out, "--strategy", "merge", "--allow-dangling")
	require.Contains(t, m.dump(), "server-0000039")
	require.Contains(t, m.dump(), `"new"`)
	merged := m.dump()

	report := parse[salvageResult](t, m.ok("backup", "salvage", path, "--output", m.path("again.json"), "--json").stdout)
	require.EqualValues(t, 40, report.Kept["servers"])
	require.NotEmpty(t, report.Lost)
	m.ok("backup", "restore", "--input", m.path("again.json"), "--full", "--yes", "--allow-salvaged", "--allow-dangling")
	require.NotContains(t, m.dump(), `"new"`)
	m.ok("backup", "undo", "--yes")
	require.Equal(t, merged, m.dump())

	write(t, path, "not a backup at all")
	m.fails(statusFailed, "damaged", "backup", "salvage", path, "--output", m.path("nothing.json"))
	require.NoFileExists(t, m.path("nothing.json"))
}

func TestTheSettingsSayWhereAndWhatIsKept(t *testing.T) {
	m := newMachine(t, 2)
	dir := m.path("of the settings")
	set := func(key, value string) {
		m.sql(fmt.Sprintf("INSERT OR REPLACE INTO settings (key, value) VALUES ('%s', '%s')", key, value))
	}
	set("backup_dir", `"`+dir+`"`)
	m.fails(statusFailed, dir, "backup", "create") // it may be a drive
	require.NoError(t, os.Mkdir(dir, 0o700))
	b := m.create()
	require.FileExists(t, filepath.Join(dir, b.Name))
	require.Equal(t, []string{b.Name}, names(m.list()))
	require.Empty(t, files(t, m.backups()))
	require.NoError(t, os.Mkdir(m.path("flag"), 0o700))
	m.create("--dir", m.path("flag"))
	require.Len(t, m.list("--dir", m.path("flag")), 1)

	drive, usb := m.path("drive"), m.path("usb")
	require.NoError(t, os.Mkdir(drive, 0o700))
	require.NoError(t, os.Mkdir(usb, 0o700))
	set("backup_locations", `["`+drive+`"]`)
	require.Len(t, m.create("--location", usb, "--location", drive).Copies, 3, "the settings have one of the flags already")
	require.Len(t, m.list()[0].Copies, 2)
	require.Len(t, m.list("--dir", m.path("flag"))[0].Copies, 1, "--dir stands for all folders of the settings")
	set("backup_locations", `["`+dir+`/."]`)
	m.fails(statusFailed, "twice", "backup", "list")
	m.sql("DELETE FROM settings WHERE key = 'backup_locations'")

	for key, test := range map[string]struct{ value, args string }{
		"backup_dir":       {`"relative"`, "create"},
		"backup_locations": {`["/a","b"]`, "create"},
		"backup_keep_last": {`"seven"`, "prune"},
		"backup_keep_days": {`-1`, "prune"},
		"backup_schedule":  {`"hourly"`, "run"},
		"backup_time":      {`"25:00"`, "run"},
		"backup_weekday":   {`"someday"`, "run"},
		"backup_enabled":   {`"maybe"`, "run"},
		"timezone":         {`"Mars/Olympus"`, "run"},
	} {
		t.Run(key, func(t *testing.T) {
			other := *m
			other.t = t
			set("backup_enabled", "true")
			set(key, test.value)
			other.fails(statusFailed, "the setting "+key+" is "+test.value+": want ", "backup", test.args)
			m.sql("DELETE FROM settings WHERE key = '" + key + "'")
		})
	}
	set("backup_enabled", "false")
	m.fails(statusFailed, "backup_enabled is not true", "backup", "run")
	set("backup_dir", `"relative"`)
	m.ok("backup", "restore", b.Name, "--dir", dir)
}

func TestThousandsOfBackupsAreListedQuickly(t *testing.T) {
	m := newMachine(t, 5)
	b := m.create()
	text := read(t, filepath.Join(m.backups(), b.Name))
	const n = 3000
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range n {
		write(t, filepath.Join(m.backups(), tomo.App(version).BackupName(at.Add(time.Duration(i)*time.Hour))), text)
	}
	start := time.Now()
	require.Len(t, m.list(), n+1)
	require.Less(t, time.Since(start), 20*time.Second)
}

func TestTheListIsThereWithoutADatabase(t *testing.T) {
	m := newMachine(t, 2)
	b := m.create()
	require.NoError(t, os.Remove(m.db()))
	require.Equal(t, []string{b.Name}, names(m.list()))
	m.ok("backup", "verify", b.Name)
	write(t, m.db(), "broken")
	o := m.ok("backup", "list")
	require.Contains(t, o.stdout, b.Name)
	require.Contains(t, o.stderr, "without the settings")

	empty := newMachine(t, -1)
	empty.fails(statusFailed, "the folder is missing", "backup", "list")
	require.NoDirExists(t, empty.path(".tomo"))
	require.False(t, slices.Contains(files(t, empty.home), ".tomo"))
}

// An empty list is said only of a folder that is there.
func TestADefaultFolderThatIsGoneIsToldAndNotMadeAnew(t *testing.T) {
	m := newMachine(t, 2)
	require.Contains(t, m.ok("backup", "list").stdout, "No backups in "+m.backups(), "a new installation")
	m.create()
	require.NoError(t, os.RemoveAll(m.backups()))
	m.fails(statusFailed, "the folder is missing", "backup", "list")
	m.fails(statusFailed, "the folder is missing", "backup", "create")
	m.fails(statusFailed, "the folder is missing", "backup", "undo", "--yes")
	require.NoDirExists(t, m.backups())
}

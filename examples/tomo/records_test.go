package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

func TestOneRecordIsRestoredAndNothingElse(t *testing.T) {
	m := newMachine(t, 5)
	before := m.dump()
	made := m.create()
	lost := "DELETE FROM servers WHERE id = 'server-0000003'"
	others := []string{"UPDATE servers SET description = 'mine' WHERE id = 'server-0000001'", "UPDATE settings SET value = '\"light\"' WHERE key = 'theme'", "DELETE FROM preferences"}
	m.sql(append(others, "DELETE FROM applications", lost)...)
	changed := m.dump()

	plan := m.ok("backup", "restore", made.Name, "--record", "servers/server-0000003", "--strategy", "replace", "--dry-run").stdout
	require.Contains(t, plan, "+ servers server-0000003")
	require.NotContains(t, plan, "server-0000001")
	require.NotContains(t, plan, "settings")
	require.Equal(t, changed, m.dump())

	o := m.ok("backup", "restore", made.Name, "--record", "servers/server-0000003", "--record", "settings/theme", "--strategy", "replace", "--yes")
	require.Contains(t, o.stdout, "kept as")
	now := m.dump()
	require.Contains(t, now, "servers server-0000003")
	require.Contains(t, now, `"mine"`)
	require.NotContains(t, now, `"light"`)
	m.sql("UPDATE servers SET description = 'since then' WHERE id = 'server-0000001'")
	m.ok("backup", "undo", "--yes")
	require.NotContains(t, m.dump(), "servers server-0000003")
	require.Contains(t, m.dump(), `"since then"`, "the undo touches nothing else")
	require.Contains(t, m.dump(), `"light"`)
	require.NotEqual(t, before, m.dump())
}

func TestWhatARecordRefersToComesOnlyOnRequest(t *testing.T) {
	m := newMachine(t, 5)
	made := m.create()
	m.sql("DELETE FROM applications", "DELETE FROM servers", "DELETE FROM repositories")
	type plan struct {
		Changes []backup.Change `json:"changes"`
	}
	var application string
	all := parse[plan](t, m.ok("backup", "restore", made.Name, "--only", "applications,servers,repositories", "--dry-run", "--json").stdout)
	for _, c := range all.Changes {
		if c.Collection == "applications" {
			application = "applications/" + c.Key
		}
	}
	o := m.fails(statusFailed, "nothing was changed", "backup", "restore", made.Name, "--record", application)
	require.Contains(t, o.stderr, "--with-references restores them too, and --allow-dangling goes without them")
	m.ok("backup", "restore", made.Name, "--record", application, "--with-references")
	some := parse[plan](t, m.ok("backup", "restore", made.Name, "--only", "applications,servers,repositories", "--dry-run", "--json").stdout)
	require.Less(t, len(some.Changes), len(all.Changes)-1, "the server came too")
	require.NotEmpty(t, some.Changes)
	again := m.ok("backup", "restore", made.Name, "--record", application, "--with-references").stdout
	require.Contains(t, again, "Nothing had to be changed")
}

func TestARecordIsNamedByItsNameWhereThatIsNoOther(t *testing.T) {
	m := newMachine(t, 5)
	m.sql("UPDATE servers SET name = 'web-1' WHERE id = 'server-0000003'", "UPDATE users SET username = 'ada' WHERE id = 'user-0000002'")
	made := m.create()
	m.sql("DELETE FROM applications", "UPDATE servers SET name = 'x' WHERE id = 'server-0000003'")
	m.ok("backup", "restore", made.Name, "--record", "servers/web-1", "--record", "users/ada", "--strategy", "replace", "--yes")
	require.Contains(t, m.dump(), `"web-1"`)

	m.fails(statusFailed, `servers has no record with the key or the /name "web-9"`, "backup", "restore", made.Name, "--record", "servers/web-9")
	m.sql("UPDATE servers SET name = 'web-1' WHERE id = 'server-0000004'")
	twice := m.create()
	m.fails(statusFailed, `2 records of servers have the /name "web-1"; name the one that you mean by its key: servers/server-0000003, servers/server-0000004`,
		"backup", "restore", twice.Name, "--record", "servers/web-1")
}

func TestFlagsAboutRecordsThatMakeNoSense(t *testing.T) {
	m := newMachine(t, 2)
	made := m.create()
	for want, args := range map[string][]string{
		`--record "servers": want COLLECTION/KEY, such as servers/web-1`: {"--record", "servers"},
		`--record: unknown collection ""`:                                {"--record", "/web-1"},
		`--record: unknown collection "hosts"`:                           {"--record", "hosts/web-1"},
		"--record and --full exclude each other":                         {"--record", "servers/web-1", "--full", "--yes"},
		"--record and --only exclude each other":                         {"--record", "servers/web-1", "--only", "users"},
		"--with-references goes with --record only":                      {"--with-references"},
		"there is no terminal to ask for consent":                        {"--record", "servers/web-1", "--strategy", "replace"},
	} {
		m.fails(statusUsage, want, append([]string{"backup", "restore", made.Name}, args...)...)
	}
	o := m.fails(statusFailed, `"web-9"`, "backup", "restore", made.Name, "--record", "servers/web-9")
	require.Contains(t, o.stderr, "tomo backup find looks for a text in all backups")
}

// The JSON of a plan has what --record restores.
func TestThePlanOfOneRecordIsJSON(t *testing.T) {
	m := newMachine(t, 3)
	made := m.create()
	m.sql("UPDATE settings SET value = '\"light\"' WHERE key = 'theme'")
	var plan struct {
		Report  backup.Report
		Changes []backup.Change
	}
	require.NoError(t, json.Unmarshal([]byte(m.ok("backup", "restore", made.Name, "--record", "settings/theme", "--strategy", "merge", "--dry-run", "--json").stdout), &plan))
	require.Len(t, plan.Changes, 1)
	require.Len(t, plan.Report.Collections, 1)
	require.Equal(t, int64(1), plan.Report.Collections[0].Records)
}

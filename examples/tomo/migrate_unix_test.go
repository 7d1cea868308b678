//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

// oldServer is the machine that a person moves away from. Its first admin has
// preferences, a second factor and a password.
func oldServer(t *testing.T) (m *machine, admin, password, file string) {
	m = newMachine(t, 3)
	password = m.setUp()
	admin = m.cell("SELECT id FROM users WHERE username = 'admin'")
	require.NoError(t, m.useVault(func(v *vault) error {
		return v.Update(t.Context(), func(w backup.Writer) error {
			user, err := w.Lookup(t.Context(), "users", []string{admin})
			if err != nil {
				return err
			}
			var fields map[string]any
			if err := json.Unmarshal(user[0].Value, &fields); err != nil {
				return err
			}
			fields["email"], fields["totp_secret"] = "root@old.example.org", "OLDSECRETOLDSECR"
			text, err := json.Marshal(fields)
			if err != nil {
				return err
			}
			return w.Put(t.Context(), "users", []backup.Record{{Key: admin, Value: text}})
		})
	}))
	m.sql(fmt.Sprintf(`INSERT INTO preferences (user_id, theme, language, dashboard) VALUES ('%s', 'dark', 'fr', '{"layout":"grid"}')`, admin))
	file = m.path("old.json")
	m.ok("backup", "create", "--output", file)
	return m, admin, password, file
}

// setUp completes the initial setup, which makes the first admin, and returns its password.
func (m *machine) setUp() (password string) {
	m.t.Helper()
	o := m.ok("user", "password", "admin")
	require.Contains(m.t, o.stdout, "The new admin admin")
	return passwordLine.FindStringSubmatch(o.stdout)[1]
}

// cell returns the text of the one value that a query finds, or "" if it finds none.
func (m *machine) cell(query string, args ...any) string {
	m.t.Helper()
	db, err := openSQLite(m.db(), "wal")
	require.NoError(m.t, err)
	defer db.Close()
	rows, err := db.QueryContext(m.t.Context(), query, args...)
	require.NoError(m.t, err)
	defer rows.Close()
	var text string
	for rows.Next() {
		require.Empty(m.t, text, query)
		require.NoError(m.t, rows.Scan(&text), query)
	}
	require.NoError(m.t, rows.Err())
	return text
}

// secret returns the field of a user, opened with the master key of the machine.
func (m *machine) secret(user, field string) (text string) {
	m.t.Helper()
	require.NoError(m.t, m.useVault(func(v *vault) error {
		return v.Update(m.t.Context(), func(w backup.Writer) error {
			records, err := w.Lookup(m.t.Context(), "users", []string{user})
			if err != nil {
				return err
			}
			var fields map[string]any
			if err := json.Unmarshal(records[0].Value, &fields); err != nil {
				return err
			}
			text, _ = fields[field].(string)
			return nil
		})
	}))
	return text
}

// lets tells whether somebody can log in. A second factor is not asked for here.
func (h *host) lets(name, password string) bool {
	h.t.Helper()
	return h.browser().tries(name, password).status == http.StatusSeeOther
}

// TestMigratingToANewServer does what the guide says under that heading: install,
// complete the initial setup, restore. Both servers then have a first admin, under
// different ids.
func TestMigratingToANewServer(t *testing.T) {
	old, oldAdmin, oldPassword, file := oldServer(t)
	for _, c := range []struct {
		strategy     string
		own          bool // the new admin has preferences already
		keeps        bool // the account is that of the new server
		id, theme    string
		language     string
		secondFactor string
	}{
		{strategy: "skip-duplicates", keeps: true, id: "new", theme: "dark", language: "fr"},
		{strategy: "skip-duplicates", own: true, keeps: true, id: "new", theme: "light", language: "de"},
		{strategy: "merge", id: "new", theme: "dark", language: "fr", secondFactor: "OLDSECRETOLDSECR"},
		{strategy: "merge", own: true, id: "new", theme: "dark", language: "fr", secondFactor: "OLDSECRETOLDSECR"},
		{strategy: "replace", own: true, id: "old", theme: "dark", language: "fr", secondFactor: "OLDSECRETOLDSECR"},
	} {
		name := c.strategy
		if c.own {
			name += ", with preferences"
		}
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, 0)
			newPassword := m.setUp()
			newAdmin := m.cell("SELECT id FROM users")
			if c.own {
				m.sql(fmt.Sprintf("INSERT INTO preferences (user_id, theme, language) VALUES ('%s', 'light', 'de')", newAdmin))
			}
			m.ok("backup", "create") // so that this is an installation, with an id of its own
			before := m.dump()

			restore := []string{"backup", "restore", "--input", file, "--strategy", c.strategy, "--yes"}
			m.ok(append(restore, "--dry-run")...)
			require.Equal(t, before, m.dump())
			report := parse[struct{ backup.Report }](t, m.ok(append(restore, "--json")...).stdout)

			admin := map[string]string{"new": newAdmin, "old": oldAdmin}[c.id]
			moved := map[string]string{oldAdmin: newAdmin}
			for _, collection := range report.Collections {
				switch {
				case c.id == "new" && (collection.Name == "users" || collection.Name == "preferences"):
					require.Equal(t, moved, collection.RekeyedKeys, collection.Name)
					require.Equal(t, int64(1), collection.Rekeyed)
				default:
					require.Empty(t, collection.RekeyedKeys, collection.Name)
				}
			}
			require.Equal(t, "4", m.cell("SELECT count(*) FROM users"), "three others, and one admin")
			require.Equal(t, admin, m.cell("SELECT id FROM users WHERE username = 'admin'"))
			require.Equal(t, c.theme, m.cell("SELECT theme FROM preferences WHERE user_id = ?", admin))
			require.Equal(t, c.language, m.cell("SELECT language FROM preferences WHERE user_id = ?", admin))
			require.Equal(t, "4", m.cell("SELECT count(*) FROM preferences"))
			require.Empty(t, m.cell("SELECT DISTINCT 'dangles' FROM preferences WHERE user_id NOT IN (SELECT id FROM users)"))

			require.Equal(t, c.secondFactor, m.secret(admin, "totp_secret"), "it is bound to the record, and opens")
			require.Equal(t, old.secret("user-0000001", "totp_secret"), m.secret("user-0000001", "totp_secret"))
			for _, server := range []string{"server-0000000", "server-0000001"} {
				require.Equal(t, lineOf(old.dump(), "servers "+server), lineOf(m.dump(), "servers "+server), "and so do those of servers")
			}
			m.sql("UPDATE users SET totp_secret = NULL") // the login would ask for it
			h := m.serve()
			require.Equal(t, !c.keeps, h.lets("admin", oldPassword))
			require.Equal(t, c.keeps, h.lets("admin", newPassword))
			h.service.stop(syscall.SIGTERM)
		})
	}
}

// TestAMigrationTwiceChangesNothingAndIsTakenBack is the same again, and the way back.
func TestAMigrationTwiceChangesNothingAndIsTakenBack(t *testing.T) {
	_, oldAdmin, _, file := oldServer(t)
	for _, strategy := range []string{"skip-duplicates", "merge", "replace"} {
		t.Run(strategy, func(t *testing.T) {
			m := newMachine(t, 0)
			m.setUp()
			before := m.dump()
			restore := []string{"backup", "restore", "--input", file, "--strategy", strategy, "--yes"}
			o := m.ok(restore...)
			if strategy != "replace" {
				require.Contains(t, o.stdout, oldAdmin, "the report names the two ids")
			}
			after := m.dump()
			require.Contains(t, m.ok(restore...).stdout, "Nothing had to be changed.")
			require.Equal(t, after, m.dump())
			m.ok("backup", "undo", "--yes")
			require.Equal(t, before, m.dump())
		})
	}
}

// lineOf returns the line of a text that begins so.
func lineOf(text, begin string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, begin+" ") {
			return line
		}
	}
	return ""
}

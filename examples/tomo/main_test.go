package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	_ "github.com/tomo-project/backup/internal/seal/sealtest"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/tomo"
)

// binary is this test binary under the name of the command, which it then is. So
// the keys that it makes are cheap.
var binary string

const commandName = "tomo"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == commandName {
		main()
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "tomo-test-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o755); err != nil { // a test runs it as another user
			panic(err)
		}
		binary = filepath.Join(dir, commandName)
		if err := copyExecutable(binary); err != nil {
			panic(err)
		}
		return m.Run()
	}())
}

func copyExecutable(to string) error {
	from, err := os.Executable()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, program, 0o755)
}

const testPassphrase = "a passphrase for tests"

// machine is the home folder of a user of the command.
type machine struct {
	t    *testing.T
	home string
	env  []string
}

// newMachine returns a machine whose database has n made-up records a
// collection; with n < 0 it has no database.
func newMachine(t *testing.T, n int) *machine {
	m := &machine{t: t, home: testtime.MemoryDir(t)}
	m.env = []string{
		"HOME=" + m.home,
		"TMPDIR=" + testtime.MemoryDir(t),
		"PATH=" + filepath.Dir(binary) + string(os.PathListSeparator) + os.Getenv("PATH"),
		passphraseVariable + "=" + testPassphrase,
	}
	if n >= 0 {
		m.ok("init", "--sample", fmt.Sprint(n))
	}
	return m
}

func (m *machine) path(elements ...string) string {
	return filepath.Join(append([]string{m.home}, elements...)...)
}

func (m *machine) db() string { return m.path(".tomo", "tomo.db") }

// without returns the machine without an environment variable.
func (m *machine) without(variable string) *machine {
	other := *m
	other.env = nil
	for _, entry := range m.env {
		if !strings.HasPrefix(entry, variable+"=") {
			other.env = append(other.env, entry)
		}
	}
	return &other
}

func (m *machine) with(variable, value string) *machine {
	other := m.without(variable)
	other.env = append(other.env, variable+"="+value)
	return other
}

// outcome is what a command did.
type outcome struct {
	status         int
	stdout, stderr string
}

func (m *machine) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(m.t.Context(), binary, args...)
	cmd.Env = m.env
	cmd.Dir = m.home
	return cmd
}

// run runs tomo without a terminal.
func (m *machine) run(args ...string) outcome { return finish(m.t, m.command(args...)) }

func finish(t *testing.T, cmd *exec.Cmd) outcome {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// ok runs tomo and expects success.
func (m *machine) ok(args ...string) outcome {
	m.t.Helper()
	o := m.run(args...)
	require.Equal(m.t, statusDone, o.status, "tomo %s\n%s%s", strings.Join(args, " "), o.stdout, o.stderr)
	return o
}

// fails runs tomo and expects a failure that says something.
func (m *machine) fails(status int, says string, args ...string) outcome {
	m.t.Helper()
	o := m.run(args...)
	require.Equal(m.t, status, o.status, "tomo %s\n%s%s", strings.Join(args, " "), o.stdout, o.stderr)
	require.Contains(m.t, o.stderr, says, "tomo %s", strings.Join(args, " "))
	return o
}

func (m *machine) backups() string { return m.path(".tomo", "backups") }

// create makes a backup at the configured locations and returns it.
func (m *machine) create(args ...string) manager.Backup {
	m.t.Helper()
	return parse[manager.Backup](m.t, m.ok(append([]string{"backup", "create", "--json"}, args...)...).stdout)
}

func (m *machine) list(args ...string) []manager.Backup {
	m.t.Helper()
	return parse[listResult](m.t, m.ok(append([]string{"backup", "list", "--json"}, args...)...).stdout).Backups
}

func names(backups []manager.Backup) (names []string) {
	for _, b := range backups {
		names = append(names, b.Name)
	}
	return names
}

// old puts a backup there that was made days ago, and returns its name.
func (m *machine) old(days int, trigger string) string {
	m.t.Helper()
	db, err := openSQLite(m.db(), "wal")
	require.NoError(m.t, err)
	defer db.Close()
	app := tomo.App(version)
	at := time.Now().AddDate(0, 0, -days)
	var text bytes.Buffer
	_, err = app.Backup(m.t.Context(), &text, newDatabase(m.db(), db).store, backup.BackupOptions{
		CreatedAt:  at,
		Recipients: []backup.Recipient{backup.Passphrase([]byte(testPassphrase))},
		Metadata:   map[string]string{"trigger": trigger},
	})
	require.NoError(m.t, err)
	write(m.t, filepath.Join(m.backups(), app.BackupName(at)), text.String())
	return app.BackupName(at)
}

// generate makes a key in a file outside of the home folder, since it does not
// belong on the machine, and returns its path and the public key.
func (m *machine) generate(args ...string) (path, public string) {
	m.t.Helper()
	path = filepath.Join(m.t.TempDir(), "key")
	o := m.ok(append([]string{"key", "generate", "--json", "--output", path}, args...)...)
	return path, parse[generated](m.t, o.stdout).PublicKey
}

// elsewhere returns a machine with an empty database that has the backups of
// another, and no passphrase.
func (m *machine) elsewhere() *machine {
	m.t.Helper()
	other := newMachine(m.t, 0).without(passphraseVariable)
	require.NoError(m.t, os.CopyFS(other.backups(), os.DirFS(m.backups())))
	return other
}

// kept returns the backup of what a restore has replaced.
func (m *machine) kept(o outcome) manager.Backup { return m.named(o, `kept as (\S+),`) }

// made returns the backup that rewrap has made.
func (m *machine) made(o outcome) manager.Backup { return m.named(o, `(?m)^  (tomo-backup-\S+)$`) }

func (m *machine) named(o outcome, pattern string) manager.Backup {
	m.t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(o.stdout)
	require.NotNil(m.t, match, o.stdout)
	backups := m.list()
	i := slices.IndexFunc(backups, func(b manager.Backup) bool { return b.Name == match[1] })
	require.GreaterOrEqual(m.t, i, 0, match[1])
	return backups[i]
}

// sql changes the database behind the command's back.
func (m *machine) sql(statements ...string) {
	m.t.Helper()
	db, err := openSQLite(m.db(), "wal")
	require.NoError(m.t, err)
	defer db.Close()
	for _, statement := range statements {
		_, err := db.ExecContext(m.t.Context(), statement)
		require.NoError(m.t, err, statement)
	}
}

// dump returns all that is in the database, with its secrets in clear.
func (m *machine) dump() string {
	m.t.Helper()
	db, err := openSQLite(m.db(), "wal")
	require.NoError(m.t, err)
	defer db.Close()
	text, err := dump(m.t.Context(), newDatabase(m.db(), db).store)
	require.NoError(m.t, err)
	return text
}

func dump(ctx context.Context, store backup.DataSource) (string, error) {
	var b strings.Builder
	err := store.View(ctx, func(r backup.Reader) error {
		for _, collection := range tomo.App(version).Collections {
			for record, err := range r.Records(ctx, collection.Name) {
				if err != nil {
					return err
				}
				fmt.Fprintf(&b, "%s %s %s\n", collection.Name, record.Key, record.Value)
			}
		}
		return nil
	})
	return b.String(), err
}

// parse reads a JSON document that stdout must be, all of it.
func parse[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	require.NoError(t, json.Unmarshal([]byte(text), &v), text)
	return v
}

// files returns the names in a folder.
func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	names := []string{}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

func write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
}

// guideDocument is the example of the guide, "Backup File Contents", with
// something in the place of the dots.
const guideDocument = `{
  "version": "1.0",
  "created_at": "2024-01-15T10:30:00Z",
  "application_version": "2.1.0",
  "data": {
    "servers": [{"id": "nas", "name": "NAS", "host": "10.0.0.2"}],
    "settings": {"theme": "dark"},
    "users": [],
    "repositories": []
  }
}
`

// The other tests run this test binary, whose keys are cheap.
func TestTheProgramItselfDerivesKeysAtTheirFullCost(t *testing.T) {
	testtime.NotForRace(t)
	m := newMachine(t, -1)
	program := m.path("program")
	says, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", says)
	for _, args := range [][]string{
		{"init"},
		{"backup", "create", "--output", m.path("out.json")},
		{"backup", "create", "--encrypt", "--output", m.path("out.age")},
	} {
		cmd := m.command(args...)
		cmd.Path = program
		o := finish(t, cmd)
		require.Equal(t, statusDone, o.status, o.stderr)
	}
	require.Regexp(t, `"type":"argon2id","salt":"[^"]+","time":3,"memory":65536,"threads":4,`, read(t, m.path("out.json")))
	require.Regexp(t, `^age-encryption.org/v1\n-> scrypt \S+ 18\n`, read(t, m.path("out.age")))
}

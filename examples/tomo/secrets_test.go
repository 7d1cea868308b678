//go:build unix && !race

package main

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/tomo"
)

// A watch runs commands and looks for secrets in all that they print and leave.
type watch struct {
	*machine
	secrets map[string]string // what it is → the secret
	keys    []string          // files that may hold them
	ran     map[string]bool   // commands
}

// marker returns a secret that stands for name: of characters that every secret
// field takes, and not found anywhere else.
func marker(name string) string {
	sum := sha256.Sum256([]byte(name))
	return base32.StdEncoding.EncodeToString(sum[:15])
}

// forms are the ways in which a secret could show.
func forms(secret string) [][]byte {
	out := [][]byte{[]byte(secret), []byte(hex.EncodeToString([]byte(secret))), []byte(strings.ToUpper(hex.EncodeToString([]byte(secret))))}
	for _, escapeHTML := range []bool{false, true} {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(escapeHTML)
		enc.Encode(secret)
		out = append(out, bytes.Trim(b.Bytes(), "\"\n"))
	}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for offset := range 3 { // wherever it stands in what was encoded
			text := encoding.EncodeToString(append(make([]byte, offset), secret...))
			out = append(out, []byte(text[(offset*8+5)/6:len(text)-len(text)%4]))
		}
	}
	return out
}

// clean fails if a text has a secret.
func (w *watch) clean(where string, text []byte) {
	w.t.Helper()
	for name, secret := range w.secrets {
		for _, form := range forms(secret) {
			if i := bytes.Index(text, form); i >= 0 {
				w.t.Errorf("%s shows the secret %s as %q: …%q", where, name, form, text[max(0, i-60):min(len(text), i+len(form)+20)])
			}
		}
	}
}

// cleanFiles looks into all files of the machine, but for those of keys.
func (w *watch) cleanFiles() {
	w.t.Helper()
	dirs := []string{w.home}
	for _, entry := range w.env {
		if dir, ok := strings.CutPrefix(entry, "TMPDIR="); ok {
			dirs = append(dirs, dir)
		}
	}
	looked := 0
	for _, dir := range dirs {
		require.NoError(w.t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || slices.Contains(w.keys, path) {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			looked++
			w.clean(path, text)
			if zipped, err := gzip.NewReader(bytes.NewReader(text)); err == nil {
				inside, _ := io.ReadAll(zipped)
				w.clean(path+", decompressed", inside)
			}
			return nil
		}))
	}
	require.Greater(w.t, looked, 5)
}

// tomo runs a command, of which the status matters only if it is given.
func (w *watch) tomo(status int, args ...string) outcome {
	w.t.Helper()
	return w.as(w.machine, status, args...)
}

func (w *watch) as(m *machine, status int, args ...string) outcome {
	w.t.Helper()
	w.note(args)
	o := m.run(args...)
	require.Equal(w.t, status, o.status, "tomo %s\n%s%s", strings.Join(args, " "), o.stdout, o.stderr)
	w.clean("tomo "+strings.Join(args, " "), []byte(o.stdout+o.stderr))
	return o
}

// both runs it without and with --json.
func (w *watch) both(status int, args ...string) {
	w.t.Helper()
	w.tomo(status, args...)
	w.tomo(status, append(args, "--json")...)
}

// note remembers which command it was.
func (w *watch) note(args []string) {
	cmd, _, err := (&cli{app: tomo.App(version)}).rootCommand().Find(args)
	require.NoError(w.t, err)
	w.ran[cmd.CommandPath()] = true
}

// document is a snapshot in clear, as the guide prints it, with a marked secret in
// each secret field that the App declares; spoil changes one of them.
func (w *watch) document(name string, spoil func(data map[string]any)) string {
	data := map[string]any{
		"servers":      []any{map[string]any{"id": "s", "name": "s", "host": "h.example.org", "port": 22, "user": "u", "auth_method": "password"}},
		"applications": []any{map[string]any{"id": "a", "name": "a", "server_id": "s"}},
		"settings":     map[string]any{"site_name": "Marked"},
		"users":        []any{map[string]any{"id": "u", "username": "u", "role": "admin"}},
		"preferences":  []any{map[string]any{"user_id": "u", "theme": "dark"}},
		"repositories": []any{map[string]any{"id": "r", "name": "r", "url": "https://r.example.org/", "type": "git", "enabled": true}},
	}
	for _, collection := range tomo.App(version).Collections {
		for _, pointer := range collection.Secrets {
			what := collection.Name + pointer
			secret := marker(what)
			w.secrets[what] = secret
			value := "a \"" + secret + `"\ <é>`
			switch what {
			case "users/password_hash":
				value = "$2b$12$" + strings.Repeat("x", 53-len(secret)) + secret
			case "users/totp_secret":
				value = secret
			case "settings/webhook_url":
				value = "https://hooks.example.org/" + secret
			}
			place, _ := data[collection.Name].(map[string]any)
			if list, ok := data[collection.Name].([]any); ok {
				place = list[0].(map[string]any)
			}
			tokens := strings.Split(pointer, "/")[1:]
			for len(tokens) > 1 {
				if place[tokens[0]] == nil {
					place[tokens[0]] = map[string]any{}
				}
				place, tokens = place[tokens[0]].(map[string]any), tokens[1:]
			}
			place[strings.ReplaceAll(tokens[0], "*", "TOKEN")] = value
		}
	}
	if spoil != nil {
		spoil(data)
	}
	text, err := json.Marshal(data)
	require.NoError(w.t, err)
	path := w.path(name)
	write(w.t, path, fmt.Sprintf(`{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application_version":"2.1.0","data":%s}`, text))
	w.keys = append(w.keys, path)
	return path
}

// newWatch returns a machine whose keys and database hold marked secrets.
func newWatch(t *testing.T) *watch {
	w := &watch{machine: newMachine(t, -1), secrets: map[string]string{}, ran: map[string]bool{}}
	w.secrets["the passphrase"] = marker("the passphrase")
	w.machine = w.with(passphraseVariable, w.secrets["the passphrase"])
	w.tomo(statusDone, "init", "--sample", "3")
	clear := w.document("clear.json", nil)
	w.tomo(statusDone, "backup", "restore", "--input", clear, "--full", "--yes", "--json")
	require.Contains(t, w.dump(), w.secrets["servers/password"], "the secrets are in the database")
	return w
}

// privateKey is the private key in an identity file that was made for a test.
func (w *watch) privateKey(args ...string) (path, public string) {
	w.t.Helper()
	path = w.path(fmt.Sprintf("key-%d", len(w.keys)))
	public = parse[generated](w.t, w.tomo(statusDone, append([]string{"key", "generate", "--json", "--output", path}, args...)...).stdout).PublicKey
	w.keys = append(w.keys, path)
	for line := range strings.Lines(read(w.t, path)) {
		if line = strings.TrimSpace(line); line[0] != '#' && line[0] != '-' {
			w.secrets["private key "+path] = line
		}
	}
	if slices.Contains(args, "--signing") {
		signer, err := readSigner(path)
		require.NoError(w.t, err)
		w.secrets["seed of "+path] = string(signer.(ed25519.PrivateKey).Seed())
	}
	return path, public
}

func TestNoCommandShowsOrLeavesASecret(t *testing.T) {
	w := newWatch(t)
	drive := w.path("drive")
	require.NoError(t, os.Mkdir(drive, 0o700))
	identity, public := w.privateKey()
	wrong, otherPublic := w.privateKey("--post-quantum")
	signing, trusted := w.privateKey("--signing")
	w.tomo(statusDone, "key", "generate", "--output", w.path("shown"))
	w.keys = append(w.keys, w.path("shown"))
	w.secrets["private key shown"] = strings.Fields(read(t, w.path("shown")))[7]
	passphrase := w.path("passphrase")
	write(t, passphrase, w.secrets["the passphrase"]+"\n")
	otherPassphrase := w.path("other passphrase")
	w.secrets["another passphrase"] = marker("another passphrase")
	write(t, otherPassphrase, w.secrets["another passphrase"]+"\n")
	w.keys = append(w.keys, passphrase, otherPassphrase)
	none := w.without(passphraseVariable)

	// Backups of all kinds.
	name := func(o outcome) string { return parse[struct{ Name string }](t, o.stdout).Name }
	create := func(args ...string) string {
		return name(w.tomo(statusDone, append([]string{"backup", "create", "--json"}, args...)...))
	}
	plain := create()
	w.tomo(statusDone, "backup", "create", "--include", "logs", "--location", drive)
	zipped := create("--compress", "gzip")
	whole := create("--encrypt", "--compress", "zstd")
	sealed := create("--recipient", public, "--sign", signing)
	w.tomo(statusDone, "backup", "create", "--recipient", public, "--encrypt", "--output", w.path("whole.age"))
	w.both(statusDone, "backup", "create", "--output", w.path("out.json"), "--force")
	w.both(statusDone, "backup", "list", "--location", drive)
	w.both(statusAtRisk, "backup", "status", "--location", drive)
	w.tomo(statusUsage, "backup", "create", "--recipient", w.secrets["private key "+identity])
	w.tomo(statusUsage, "backup", "verify", plain, "--trust", w.secrets["private key "+identity])
	w.tomo(statusFailed, "backup", "create", "--recipients-file", identity)
	w.tomo(statusFailed, "backup", "create", "--sign", identity)
	w.as(none, statusFailed, "backup", "verify", plain, "--identity", signing)
	w.tomo(statusFailed, "backup", "verify", plain, "--identity", passphrase)

	opening := []string{"--identity", identity, "--trust", trusted}
	for _, backup := range []string{plain, zipped, whole, sealed, w.path("whole.age"), w.path("out.json")} {
		w.both(statusDone, append([]string{"backup", "verify", backup}, opening...)...)
		w.as(none, statusFailed, "backup", "verify", backup, "--passphrase-file", otherPassphrase, "--identity", wrong)
		w.as(none, statusFailed, "backup", "restore", "--input", backup, "--dry-run", "--passphrase-file", otherPassphrase, "--json")
	}
	w.both(statusFailed, "backup", "verify", plain, "--require-proof", "--passphrase-file", otherPassphrase)
	w.as(none, statusDone, "backup", "verify", plain, "--json")

	// Restores, dry and wet, of what differs in each secret.
	other := w.path("other.json")
	text := read(t, w.path("clear.json"))
	for what, secret := range maps.Clone(w.secrets) {
		if strings.Contains(text, secret) {
			w.secrets["changed "+what] = marker("changed " + what)
			text = strings.ReplaceAll(text, secret, w.secrets["changed "+what])
		}
	}
	write(t, other, text)
	w.keys = append(w.keys, other)
	for _, strategy := range []string{"replace", "merge", "skip-duplicates"} {
		w.both(statusDone, "backup", "restore", "--input", other, "--dry-run", "--strategy", strategy)
	}
	w.both(statusDone, "backup", "diff", plain, other)
	w.both(statusDone, "backup", "diff", other)
	w.both(statusDone, "backup", "history", "settings", "smtp_password")
	w.both(statusDone, "backup", "find", "h.example.org")
	w.as(none, statusFailed, "backup", "diff", plain, sealed, "--identity", wrong)
	w.tomo(statusDone, "backup", "restore", "--input", other, "--strategy", "merge")
	w.both(statusDone, "backup", "restore", plain, "--dry-run", "--full")
	w.tomo(statusDone, "backup", "restore", sealed, "--full", "--yes", "--identity", identity)
	w.tomo(statusDone, "backup", "undo", "--yes")
	w.tomo(statusDone, "backup", "undo", "--yes", "--json")
	w.tomo(statusDone, "backup", "restore", whole, "--full", "--yes", "--json")
	w.as(none, statusFailed, "backup", "undo", "--yes")
	w.as(none, statusFailed, "backup", "restore", plain, "--full", "--yes", "--identity", wrong)

	// What is invalid in a secret field.
	for what, spoil := range map[string]func(data map[string]any, secret string){
		"password_hash": func(data map[string]any, secret string) {
			data["users"].([]any)[0].(map[string]any)["password_hash"] = secret
		},
		"totp_secret": func(data map[string]any, secret string) {
			data["users"].([]any)[0].(map[string]any)["totp_secret"] = secret + "-lower"
		},
		"token": func(data map[string]any, secret string) {
			data["repositories"].([]any)[0].(map[string]any)["token"] = map[string]any{secret: []any{secret}}
		},
		"webhook_url": func(data map[string]any, secret string) {
			data["settings"].(map[string]any)["webhook_url"] = "ftp://" + secret
		},
		"env": func(data map[string]any, secret string) {
			data["applications"].([]any)[0].(map[string]any)["env"] = map[string]any{"KEY": []any{secret}}
		},
	} {
		w.secrets["invalid "+what] = marker("invalid " + what)
		file := w.document("invalid-"+what+".json", func(data map[string]any) { spoil(data, w.secrets["invalid "+what]) })
		w.both(statusFailed, "backup", "verify", file)
		w.both(statusFailed, "backup", "restore", "--input", file, "--full", "--yes")
		w.both(statusFailed, "backup", "restore", "--input", file, "--dry-run")
		w.both(statusDone, "backup", "restore", "--input", file, "--dry-run", "--leave-out-invalid", "--allow-dangling")
	}

	// Damage.
	broken := w.path("broken.json")
	for _, part := range []int{4, 5} {
		text := []byte(read(t, filepath.Join(w.backups(), plain)))
		write(t, broken, string(text[:len(text)*part/6]))
		w.both(statusFailed, "backup", "verify", broken)
		out := w.path(fmt.Sprintf("saved-%d.json", part))
		w.tomo(statusDone, "backup", "salvage", broken, "--output", out, "--json")
		w.as(none, statusDone, "backup", "salvage", broken, "--output", out+".2")
		w.as(none, statusFailed, "backup", "salvage", broken, "--output", out+".3", "--passphrase-file", otherPassphrase)
	}
	flip(t, filepath.Join(w.backups(), zipped))
	w.both(statusFailed, "backup", "verify", zipped)
	w.tomo(statusDone, "backup", "salvage", w.path("whole.age"), "--output", w.path("saved whole.json"), "--identity", identity)

	// Keys, drills, pruning.
	var copied withDatabase
	require.NoError(t, json.Unmarshal([]byte(w.tomo(statusDone, "backup", "create", "--database", "--json").stdout), &copied))
	w.both(statusDone, "backup", "verify", copied.Database.Name)
	w.tomo(statusDone, "backup", "extract", copied.Database.Name, "--output", w.path("copied.db"))
	w.both(statusFailed, "backup", "extract", copied.Database.Name, "--output", w.path("copied.db"))
	w.both(statusDone, "key", "rehearse")
	w.both(statusFailed, "key", "rehearse", "--identity", wrong)
	w.both(statusDone, "backup", "drill", plain)
	w.as(none, statusFailed, "backup", "drill", plain, "--identity", wrong)
	w.tomo(statusFailed, "backup", "rewrap", plain, "--recipient", public)
	w.tomo(statusDone, "backup", "rewrap", plain, "--recipient", otherPublic, "--sign", signing)
	w.tomo(statusDone, "backup", "rewrap", whole, "--new-passphrase-file", otherPassphrase, "--delete-old", "--json")
	w.as(none, statusFailed, "backup", "rewrap", sealed, "--identity", wrong, "--recipient", otherPublic)
	w.both(statusFailed, "backup", "accept", plain) // which has lost nothing
	w.scheduler("--daily", "03:00", "--drill", "daily", "--json")
	require.NoError(t, os.Mkdir(w.path("second"), 0o700))
	w.scheduler("--daily", "03:00", "--recipient", public, "--encrypt", "--identity", identity, "--drill", "weekly", "--dir", w.path("second"))
	w.both(statusDone, "backup", "prune", "--keep-last", "1", "--manual", "--dry-run")
	w.both(statusDone, "backup", "prune", "--keep-last", "50")

	// A master key that is not that of the database.
	w.cleanFiles()
	if key := masterKeyFile(w.db()); exists(key) {
		right := read(t, key)
		w.secrets["master key"] = strings.TrimSpace(right)
		w.keys = append(w.keys, key)
		write(t, key, strings.Repeat("a1", masterKeySize)+"\n")
		w.both(statusFailed, "backup", "create")
		w.both(statusFailed, "backup", "restore", plain, "--full", "--yes")
		w.both(statusFailed, "backup", "restore", plain, "--dry-run")
		write(t, key, w.secrets["master key"][:60])
		w.both(statusFailed, "backup", "create")
		write(t, key, right)
	}

	// A host that holds a secret that is invalid, in clear, as an old one did.
	w.sql("UPDATE users SET password_hash = '" + w.secrets["invalid password_hash"] + "'")
	w.both(statusFailed, "backup", "create")
	w.both(statusFailed, "backup", "create", "--output", w.path("never.json"))
	w.tomo(statusDone, "backup", "create", "--leave-out-invalid", "--json")
	w.tomo(statusDone, "backup", "restore", "--input", w.path("clear.json"), "--full", "--yes")
	w.cleanFiles()

	w.server()
	w.cleanFiles()

	w.tomo(statusDone, "demo")
	w.everyCommand()
}

// scheduler runs tomo backup run until it has made a backup and put it to a drill.
func (w *watch) scheduler(args ...string) {
	w.t.Helper()
	w.note([]string{"backup", "run"})
	s := w.service(args...)
	s.says("backup operation done")
	s.stop(syscall.SIGTERM)
	require.Contains(w.t, s.logged(), "proven to restore")
	w.clean("tomo backup run "+strings.Join(args, " "), []byte(s.logged()))
}

// everyCommand fails if a command was not run.
func (w *watch) everyCommand() {
	w.t.Helper()
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if !cmd.HasSubCommands() && !w.ran[cmd.CommandPath()] {
			w.t.Errorf("%s was not looked at: this test runs every command", cmd.CommandPath())
		}
	}
	walk((&cli{app: tomo.App(version)}).rootCommand())
}

// server visits every page with marked secrets in the database, sends every form,
// and looks for secrets in what comes back and in the log.
func (w *watch) server() {
	w.t.Helper()
	w.note([]string{"user", "password"})
	o := w.ok("user", "password", "ada")
	password := passwordLine.FindStringSubmatch(o.stdout)[1]
	w.secrets["the password of ada"] = password
	w.note([]string{"serve"})
	h := w.serve()
	b := h.browser()
	look := func(a answer) string {
		w.t.Helper()
		var header bytes.Buffer
		a.header.Clone().Write(&header)
		w.clean("an answer of tomo serve", append(header.Bytes(), a.body...))
		return a.body
	}
	look(b.tries("ada", w.secrets["invalid token"]))
	b.tries(password, "") // typed into the wrong field: it comes back to who typed it, and is not logged
	b.login("ada", password)
	users, servers := look(b.get("/users")), look(b.get("/servers"))
	for _, page := range []string{users, servers} {
		for _, match := range regexp.MustCompile(`href="(/(?:users|servers)/[^"]*)"`).FindAllStringSubmatch(page, -1) {
			look(b.get(match[1]))
		}
	}
	for _, field := range []string{"password", "private_key", "passphrase"} {
		w.secrets["entered "+field] = marker("entered " + field)
	}
	form := aServer("auth_method", "private_key", "password", w.secrets["entered password"], "private_key", w.secrets["entered private_key"], "passphrase", w.secrets["entered passphrase"])
	look(b.post("/servers/new", append(form, "port", "none")...))
	look(b.post("/servers/new", form...))
	look(b.get(b.link(look(b.get("/servers")), "nas", "Edit")))
	look(b.post("/users/new", "username", "ada", "role", "viewer", "password", w.secrets["entered password"], "again", w.secrets["entered password"]))
	look(b.post("/users/new", "username", "bob", "role", "viewer", "password", w.secrets["entered password"], "again", w.secrets["entered passphrase"]))
	look(b.post(b.link(users, "ada", "Change password"), "current", w.secrets["entered passphrase"], "password", w.secrets["entered password"], "again", w.secrets["entered password"]))
	look(b.post(b.link(users, "ada", "Change password"), "current", password, "password", w.secrets["entered password"], "again", w.secrets["entered password"]))
	h.service.stop(syscall.SIGTERM)
	w.clean("the log of tomo serve", []byte(h.logged()))
	w.clean("what tomo serve prints", []byte(h.printed))
}

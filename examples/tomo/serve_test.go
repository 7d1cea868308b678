//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuphttp"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
	"github.com/tomo-project/backup/tomo"
)

// A host is tomo serve, as a process of its own or in this one.
type host struct {
	*service
	base     string // its address, without the last slash
	password string // of admin; empty: none was printed
	printed  string

	server *server // in this process
	stop   func()  // in this process: as a signal does
	ended  chan error
}

var (
	addressLine  = regexp.MustCompile(`(?m)^Tomo is at (http://\S+)/$`)
	passwordLine = regexp.MustCompile(`with the password (\S+)`)
)

func (h *host) read(stdout string) {
	h.t.Helper()
	h.printed = stdout
	match := addressLine.FindStringSubmatch(stdout)
	require.NotNil(h.t, match, stdout)
	h.base = match[1]
	if match := passwordLine.FindStringSubmatch(stdout); match != nil {
		h.password = match[1]
	}
}

// serve starts tomo serve on a free port.
func (m *machine) serve(args ...string) *host {
	m.t.Helper()
	s := &service{t: m.t, cmd: m.command(append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...)}
	stdout, err := s.cmd.StdoutPipe()
	require.NoError(m.t, err)
	s.cmd.Stderr = writerFunc(s.write)
	require.NoError(m.t, s.cmd.Start())
	m.t.Cleanup(func() { s.cmd.Process.Kill() })
	h := &host{service: s}
	var text strings.Builder
	for lines := bufio.NewReader(stdout); !addressLine.MatchString(text.String()); {
		line, err := lines.ReadString('\n')
		text.WriteString(line)
		require.NoError(m.t, err, "%s%s", text.String(), s.logged())
	}
	h.read(text.String())
	return h
}

// newHost starts a server in this process, on a new database.
func newHost(t *testing.T) (*machine, *host) {
	m := newMachine(t, -1)
	t.Setenv(passphraseVariable, testPassphrase)
	h := &host{service: &service{t: t}, ended: make(chan error, 1)}
	stdout, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	require.NoError(t, err)
	reads, stderr, err := os.Pipe()
	require.NoError(t, err)
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		io.Copy(writerFunc(h.write), reads)
	}()
	none, err := os.Open(os.DevNull)
	require.NoError(t, err)
	c := &cli{stdin: none, stdout: stdout, stderr: stderr, app: tomo.App(version), databasePath: m.db()}
	ctx, stop := context.WithCancel(context.Background())
	h.server, err = c.newServer(ctx, "127.0.0.1:0", false)
	require.NoError(t, err)
	require.NoError(t, h.server.greet(ctx))
	h.stop = stop
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.ended <- h.server.run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
		h.server.close()
		stderr.Close()
		<-logged
	})
	h.read(read(t, stdout.Name()))
	return m, h
}

// A browser keeps its cookies and follows no redirects, so that a test sees them.
type browser struct {
	t      *testing.T
	base   string
	client *http.Client
}

func (h *host) browser() *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(h.t, err)
	return &browser{h.t, h.base, &http.Client{Jar: jar, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// admin returns a browser in which admin is logged in.
func (h *host) admin() *browser {
	h.t.Helper()
	b := h.browser()
	b.login("admin", h.password)
	return b
}

// An answer is one of the server.
type answer struct {
	status int
	header http.Header
	body   string
}

func (b *browser) do(r *http.Request) answer {
	b.t.Helper()
	response, err := b.client.Do(r)
	require.NoError(b.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(b.t, err)
	return answer{response.StatusCode, response.Header, string(body)}
}

func (b *browser) request(method, path string, form url.Values) *http.Request {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.base+path, strings.NewReader(form.Encode()))
	require.NoError(b.t, err)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", b.base)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	return r
}

func (b *browser) get(path string) answer {
	b.t.Helper()
	return b.do(b.request(http.MethodGet, path, nil))
}

// post sends a form of names and values.
func (b *browser) post(path string, form ...string) answer {
	b.t.Helper()
	return b.do(b.request(http.MethodPost, path, values(form...)))
}

func values(form ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(form); i += 2 {
		v.Set(form[i], form[i+1])
	}
	return v
}

// page returns a page that is there.
func (b *browser) page(path string) string {
	b.t.Helper()
	a := b.get(path)
	require.Equal(b.t, http.StatusOK, a.status, "%s: %s", path, a.body)
	return a.body
}

// sends a form that is accepted, and returns the page that it leads to.
func (b *browser) sends(path string, form ...string) string {
	b.t.Helper()
	a := b.post(path, form...)
	require.Equal(b.t, http.StatusSeeOther, a.status, "%s: %s", path, a.body)
	return b.page(a.header.Get("Location"))
}

func (b *browser) tries(name, password string) answer {
	b.t.Helper()
	return b.post("/login", "username", name, "password", password)
}

func (b *browser) login(name, password string) {
	b.t.Helper()
	a := b.tries(name, password)
	require.Equal(b.t, http.StatusSeeOther, a.status, a.body)
}

// in tells whether somebody is logged in.
func (b *browser) in() bool {
	b.t.Helper()
	a := b.get("/servers")
	if a.status == http.StatusSeeOther {
		require.Equal(b.t, "/login?next=%2Fservers", a.header.Get("Location"))
		return false
	}
	require.Equal(b.t, http.StatusOK, a.status)
	return true
}

// cookie returns that of the session.
func (b *browser) cookie() string {
	b.t.Helper()
	u, err := url.Parse(b.base)
	require.NoError(b.t, err)
	for _, c := range b.client.Jar.Cookies(u) {
		return c.Value
	}
	return ""
}

// link returns the address, in a row of a table, of what begins with do.
func (b *browser) link(page, name, do string) string {
	b.t.Helper()
	match := regexp.MustCompile(`href="([^"]*)">` + do + `<span class="hidden">[a-z ]* ` + regexp.QuoteMeta(name) + `</span>`).FindStringSubmatch(page)
	require.NotNil(b.t, match, "%s %s in %s", do, name, page)
	return match[1]
}

func aServer(change ...string) []string {
	return append([]string{"name", "nas", "host", "10.0.0.2", "port", "22", "user", "root", "auth_method", "agent"}, change...)
}

func TestANewTomoPrintsItsAddressAndAPasswordOnce(t *testing.T) {
	testtime.NotForRace(t)
	m := newMachine(t, -1)
	h := m.serve()
	require.FileExists(t, m.db())
	require.Contains(t, h.printed, masterKeyFile(m.db()))
	require.Len(t, h.password, 26)
	b := h.browser()
	require.False(t, b.in())
	require.Equal(t, http.StatusUnauthorized, b.tries("admin", "wrong").status)
	require.Equal(t, http.StatusUnauthorized, b.tries("nobody", h.password).status)
	b.login("admin", h.password)
	require.Contains(t, b.page("/servers"), "There are no servers yet.")
	h.service.stop(syscall.SIGTERM)

	again := m.serve()
	require.Equal(t, "Tomo is at "+again.base+"/\n", again.printed)
	b = again.browser()
	b.login("admin", h.password)
	require.True(t, b.in())
	again.service.stop(os.Interrupt)
	require.NotContains(t, h.logged()+again.logged(), h.password)
}

func TestAServerNeedsAKeyBeforeItMakesAnything(t *testing.T) {
	testtime.NotForRace(t)
	m := newMachine(t, -1).without(passphraseVariable)
	m.fails(statusFailed, passphraseVariable, "serve", "--addr", "127.0.0.1:0")
	require.NoFileExists(t, m.db())
	key := m.path("key")
	public := parse[generated](t, m.ok("key", "generate", "--json", "--output", key).stdout).PublicKey
	m.serve("--recipient", public).service.stop(syscall.SIGTERM)
	require.FileExists(t, m.db())
}

func TestTwoServersDoNotShareADatabaseOrAnAddress(t *testing.T) {
	m := newMachine(t, -1)
	h := m.serve()
	link := m.path("link.db")
	require.NoError(t, os.Symlink(m.db(), link))
	for _, db := range []string{m.db(), link} {
		o := m.fails(statusFailed, "there is a server for the database", "--db", db, "serve", "--addr", "127.0.0.1:0")
		require.Contains(t, o.stderr, fmt.Sprintf("tomo serve, process %d", h.cmd.Process.Pid))
		require.Empty(t, o.stdout)
	}
	other := m.path("other", "tomo.db")
	o := m.fails(statusFailed, "--addr", "--db", other, "serve", "--addr", strings.TrimPrefix(h.base, "http://"))
	require.Contains(t, o.stderr, "in use")
	require.Empty(t, o.stdout)
	require.NoFileExists(t, other)

	m.create() // goes on beside it
	require.Len(t, m.list(), 1)
	require.NoError(t, h.cmd.Process.Kill())
	h.cmd.Wait()
	m.serve().service.stop(syscall.SIGTERM) // what was killed holds nobody up
}

func TestWrongPasswordsAreLimitedForAnAccountAndNotForOthers(t *testing.T) {
	testtime.NotForRace(t)
	m, h := newHost(t)
	other := passwordLine.FindStringSubmatch(m.ok("user", "password", "ada").stdout)[1]
	b := h.browser()
	for range 5 {
		require.Equal(t, http.StatusUnauthorized, b.tries("admin", "wrong").status)
	}
	for _, password := range []string{"wrong", h.password} {
		a := b.tries("admin", password)
		require.Equal(t, http.StatusTooManyRequests, a.status)
		require.Regexp(t, `^[1-9]\d?$`, a.header.Get("Retry-After"))
		require.Contains(t, a.body, "Wait ")
		require.NotContains(t, a.body, password)
	}
	b.login("ada", other)
	require.NotContains(t, h.logged(), "wrong")
}

func TestASessionEndsWithWhatItStandsOn(t *testing.T) {
	testtime.NotForRace(t)
	m, h := newHost(t)
	admin := h.admin()
	first := admin.cookie()
	admin.login("admin", h.password)
	require.NotEqual(t, first, admin.cookie(), "a login has a new one")
	stolen := h.browser()
	at, err := url.Parse(h.base)
	require.NoError(t, err)
	stolen.client.Jar.SetCookies(at, []*http.Cookie{{Name: "tomo_session", Value: first}})
	require.False(t, stolen.in(), "the old one is over")

	a := h.browser().tries("admin", h.password)
	require.Regexp(t, `^tomo_session=[A-Z2-7]{26}; Path=/; HttpOnly; SameSite=Lax$`, a.header.Get("Set-Cookie"))

	kept := admin.cookie()
	admin.sends("/users/new", "username", "bob", "role", "viewer", "password", "a long password", "again", "a long password")
	page := admin.post("/logout")
	require.Equal(t, "/login", page.header.Get("Location"))
	require.False(t, admin.in())
	stolen.client.Jar.SetCookies(at, []*http.Cookie{{Name: "tomo_session", Value: kept}})
	require.False(t, stolen.in(), "it is over on the server too")
	admin.login("admin", h.password)

	bob, elsewhere := h.browser(), h.browser()
	bob.login("bob", "a long password")
	elsewhere.login("bob", "a long password")
	own := regexp.MustCompile(`/users/[a-z0-9]+/password`).FindString(bob.page("/servers"))
	for _, current := range []string{"", "not the password"} {
		a := bob.post(own, "current", current, "password", "another password", "again", "another password")
		require.Equal(t, http.StatusUnprocessableEntity, a.status, a.body)
		require.Contains(t, a.body, `<li><a href="#current">`)
	}
	require.True(t, elsewhere.in(), "it is as it was")
	require.Contains(t, bob.sends(own, "current", "a long password", "password", "another password", "again", "another password"), "The password is changed")
	require.True(t, bob.in())
	require.False(t, elsewhere.in(), "who has the old password is out")

	require.Contains(t, elsewhere.page("/login"), "You are logged out, because")
	elsewhere.login("bob", "another password")
	require.NotContains(t, elsewhere.page("/login"), "You are logged out")
	m.ok("user", "password", "bob")
	require.False(t, bob.in() || elsewhere.in(), "that of the command line too")

	admin.sends(strings.Replace(own, "password", "delete", 1))
	require.NotContains(t, admin.page("/users"), "bob")
	require.True(t, admin.in())
	m.sql("UPDATE users SET disabled = 1")
	require.False(t, admin.in())
}

func TestRolesSayWhoMayDoWhat(t *testing.T) {
	testtime.NotForRace(t)
	_, h := newHost(t)
	admin := h.admin()
	admin.sends("/servers/new", aServer()...)
	edit := admin.link(admin.page("/servers"), "nas", "Edit")
	browsers := map[string]*browser{"admin": admin, "nobody": h.browser()}
	for _, role := range []string{"operator", "viewer"} {
		admin.sends("/users/new", "username", role, "role", role, "password", "a long password", "again", "a long password")
		browsers[role] = h.browser()
		browsers[role].login(role, "a long password")
	}
	other := admin.link(admin.page("/users"), "viewer", "Change password")
	may := map[string][]string{
		"/servers":        {"admin", "operator", "viewer"},
		edit:              {"admin", "operator"},
		edit + "/delete":  {"admin", "operator"},
		"/servers/new":    {"admin", "operator"},
		"/users":          {"admin"},
		"/users/new":      {"admin"},
		other:             {"admin", "viewer"}, // it is the viewer's own
		"view":            {"admin", "operator", "viewer"},
		"create":          {"admin", "operator"},
		"download":        {"admin"},
		"restore":         {"admin"},
		"delete":          {"admin"},
		"configure":       {"admin"},
		"a later action":  {"admin"},
		edit + "/nothing": {},
	}
	for who, b := range browsers {
		for what, whom := range may {
			allowed := false
			for _, name := range whom {
				allowed = allowed || name == who
			}
			if !strings.HasPrefix(what, "/") {
				r := b.request(http.MethodGet, "/settings/backup/", nil)
				r.AddCookie(&http.Cookie{Name: "tomo_session", Value: b.cookie()})
				err := h.server.accounts.Authorize(r, backuphttp.Action(what))
				require.Equal(t, who == "nobody", h.server.accounts.Client(r) == "")
				if allowed {
					require.NoError(t, err, "%s %s", who, what)
				} else {
					require.Error(t, err, "%s %s", who, what)
					require.Equal(t, who == "nobody", err == backuphttp.ErrLogin)
				}
				continue
			}
			want := http.StatusForbidden
			switch {
			case who == "nobody":
				want = http.StatusSeeOther
			case allowed:
				want = http.StatusOK
			case len(whom) == 0:
				want = http.StatusNotFound
			}
			require.Equal(t, want, b.get(what).status, "%s %s", who, what)
			if strings.HasSuffix(what, "/nothing") || what == "/servers" || what == "/users" {
				continue
			}
			if !allowed { // what is sent is refused as well
				require.Equal(t, want, b.post(what, aServer("name", "taken", "password", "a long password", "again", "a long password")...).status, "%s %s", who, what)
			}
		}
	}
	require.NotContains(t, admin.page("/servers"), "taken")
	require.NotContains(t, browsers["viewer"].page("/servers"), `href="/users"`)
}

func TestFormsOfOtherSitesAreRefused(t *testing.T) {
	testtime.NotForRace(t)
	m, h := newHost(t)
	b := h.admin()
	before := m.dump()
	for _, header := range [][2]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
		for _, path := range []string{"/servers/new", "/users/new", "/logout", "/login", "/settings/backup/"} {
			r := b.request(http.MethodPost, path, values(aServer()...))
			r.Header.Del("Sec-Fetch-Site")
			r.Header.Del("Origin")
			r.Header.Set(header[0], header[1])
			require.Equal(t, http.StatusForbidden, b.do(r).status, "%s %s", header, path)
		}
	}
	require.Equal(t, before, m.dump())
	require.True(t, b.in())
	require.Equal(t, "/users?a=b", b.post("/login", "username", "admin", "password", h.password, "next", "/users?a=b").header.Get("Location"))
	require.Equal(t, "/", b.post("/login", "username", "admin", "password", h.password, "next", "//evil.example").header.Get("Location"))
}

// What a form accepts has to be in the next backup.
func TestWhatIsEnteredIsShownAndCanBeBackedUp(t *testing.T) {
	testtime.NotForRace(t)
	m, h := newHost(t)
	b := h.admin()
	require.Contains(t, b.sends("/servers/new", aServer("name", "nas <1> & \"2\"", "description", "of\r\nthe cellar ü", "tags", " a, b ,a,,é ", "host", "fe80::1", "port", "65535")...), "Added.")
	page := b.page("/servers")
	require.Contains(t, page, "nas &lt;1&gt; &amp; &#34;2&#34;")
	require.Contains(t, page, "root@fe80::1:65535")
	require.Contains(t, page, "a, b, é")
	require.Contains(t, b.sends("/servers/new", aServer("name", "pi", "auth_method", "private_key", "private_key", "-----BEGIN\r\nx", "passphrase", "the passphrase of a key")...), "pi")
	edit := b.link(b.page("/servers"), "pi", "Edit")
	require.Contains(t, b.page(edit), "One is stored.")

	b.sends(edit, aServer("name", "pi", "host", "pi.example.org", "auth_method", "private_key")...)
	require.Contains(t, m.dump(), `"private_key":"-----BEGIN\nx","passphrase":"the passphrase of a key"`, "what is left empty stays")
	require.NotContains(t, m.raw(), "the passphrase of a key", "and is encrypted")
	b.sends(edit, aServer("name", "pi", "auth_method", "private_key", "private_key", "another")...)
	require.Contains(t, m.dump(), `"private_key":"another","passphrase":null`, "it was that of the key before")
	nas := strings.TrimPrefix(edit, "/servers/")
	require.Contains(t, b.sends("/servers/new", aServer("name", "behind", "jump_server_id", nas, "auth_method", "password", "password", "a secret of behind")...), "behind")
	require.Contains(t, m.dump(), `"password":"a secret of behind"`)
	b.sends(b.link(b.page("/servers"), "behind", "Edit"), aServer("name", "behind", "jump_server_id", nas)...)
	require.NotContains(t, m.dump(), "a secret of behind", "a method that needs no password has none")

	a := b.post(b.link(b.page("/servers"), "pi", "Delete"))
	require.Equal(t, http.StatusConflict, a.status)
	require.Contains(t, a.body, "Move them first")
	require.Contains(t, b.sends(b.link(b.page("/servers"), "behind", "Delete")), "Deleted.")
	require.Contains(t, b.sends(b.link(b.page("/servers"), "pi", "Delete")), "Deleted.")
	require.Equal(t, http.StatusNotFound, b.get(edit).status)
	require.Equal(t, http.StatusNotFound, b.post(edit, aServer()...).status)

	for name, address := range map[string]string{"ada": "ada.o'x+y@mail.example.org", "é.ü": "a@localhost", "none": ""} {
		b.sends("/users/new", "username", name, "email", address, "role", "operator", "password", "a long password", "again", "a long password")
	}
	m.ok("user", "password", "boss")
	m.create()
}

func TestWhatIsNotValidIsToldAndChangesNothing(t *testing.T) {
	testtime.NotForRace(t)
	m, h := newHost(t)
	b := h.admin()
	b.sends("/servers/new", aServer()...)
	edit := b.link(b.page("/servers"), "nas", "Edit")
	before := m.dump()
	user := func(change ...string) []string {
		return append([]string{"username", "ada", "role", "viewer", "password", "a long password", "again", "a long password"}, change...)
	}
	for _, test := range []struct {
		path  string
		field string
		form  []string
	}{
		{"/servers/new", "name", aServer("name", " ")},
		{"/servers/new", "name", aServer("name", strings.Repeat("é", 101))},
		{"/servers/new", "host", aServer("host", "a b")},
		{"/servers/new", "host", aServer("host", "ssh://nas")},
		{"/servers/new", "host", aServer("host", strings.Repeat("a", 254))},
		{"/servers/new", "port", aServer("port", "0")},
		{"/servers/new", "port", aServer("port", "65536")},
		{"/servers/new", "port", aServer("port", "ssh")},
		{"/servers/new", "user", aServer("user", "a@b")},
		{"/servers/new", "auth_method", aServer("auth_method", "magic")},
		{"/servers/new", "password", aServer("auth_method", "password")},
		{edit, "private_key", aServer("auth_method", "private_key")},
		{edit, "jump_server_id", aServer("jump_server_id", "gone")},
		{edit, "jump_server_id", aServer("jump_server_id", strings.TrimPrefix(edit, "/servers/"))},
		{"/servers/new", "tags", aServer("tags", strings.Repeat("a", 101))},
		{"/servers/new", "description", aServer("description", strings.Repeat("a", 10_001))},
		{"/users/new", "username", user("username", "a b")},
		{"/users/new", "username", user("username", "a/b")},
		{"/users/new", "username", user("username", "")},
		{"/users/new", "username", user("username", "admin")},
		{"/users/new", "email", user("email", "Ada <ada@example.org>")},
		{"/users/new", "email", user("email", "ada@under_score")},
		{"/users/new", "role", user("role", "emperor")},
		{"/users/new", "password", user("password", "short", "again", "short")},
		{"/users/new", "password", user("password", strings.Repeat("é", 37), "again", strings.Repeat("é", 37))},
		{"/users/new", "again", user("again", "another password")},
	} {
		a := b.post(test.path, test.form...)
		require.Equal(t, http.StatusUnprocessableEntity, a.status, "%s %q", test.path, test.form)
		require.Contains(t, a.body, `<li><a href="#`+test.field+`">`, "%q", test.form)
		require.Contains(t, a.body, "<title>Error: ")
		require.NotContains(t, a.body, "a long password")
	}
	own := b.link(b.page("/users"), "admin", "Delete")
	a := b.post(own)
	require.Equal(t, http.StatusConflict, a.status)
	require.Contains(t, a.body, "Nobody would be left")
	require.Equal(t, before, m.dump())

	large := b.request(http.MethodPost, "/servers/new", values(aServer("description", strings.Repeat("a", 2<<20))...))
	require.Equal(t, http.StatusBadRequest, b.do(large).status)
}

func TestNobodyIsLockedOut(t *testing.T) {
	testtime.NotForRace(t)
	m := newMachine(t, 3) // whose users have hashes of no password
	h := m.serve()
	require.Empty(t, h.password, "there are users")
	m.sql("UPDATE users SET role = 'viewer', disabled = 1, totp_secret = NULL", "UPDATE users SET disabled = 0, totp_secret = 'ABCDEFGHIJKLMNOP' WHERE username = 'user-1'")
	new := func(name string) string {
		return passwordLine.FindStringSubmatch(m.ok("user", "password", name).stdout)[1]
	}
	b := h.browser()
	b.login("boss", new("boss"))
	require.Contains(t, b.page("/users"), "cannot log in")
	b.login("user-0", new("user-0"))
	b.login("user-1", new("user-1"))

	password := passwordLine.FindStringSubmatch(m.ok("user", "password", "user-2").stdout)[1]
	m.sql("UPDATE users SET disabled = 1 WHERE username = 'user-2'")
	a := b.tries("user-2", password)
	require.Equal(t, http.StatusForbidden, a.status, "who knows the password is told what is the matter")
	require.Equal(t, http.StatusUnauthorized, b.tries("user-2", "wrong").status)
	h.service.stop(syscall.SIGTERM)

	m.sql("UPDATE users SET role = 'operator'")
	h = m.serve()
	h.says("run tomo user password NAME")
	h.service.stop(syscall.SIGTERM)
	m.fails(statusFailed, "without spaces", "user", "password", "a b")
}

// The settings of the page and those of the command line are the same ones.
func TestTheSettingsOfThePageTakeEffectEverywhere(t *testing.T) {
	m, h := newHost(t)
	a := automation{h.server}
	ctx := t.Context()
	s, err := a.Settings(ctx)
	require.NoError(t, err)
	require.Equal(t, backuphttp.Settings{Schedule: "daily", Weekday: "sunday", Time: "02:30", Locations: []string{m.backups()}}, s)
	manager, err := a.Manager(ctx, s)
	require.NoError(t, err)
	require.Equal(t, m.backups(), fmt.Sprint(manager.Locations[0]))
	require.DirExists(t, m.backups())
	require.NoError(t, a.Save(ctx, s))
	require.NotContains(t, m.dump(), m.backups(), "the default is not written down: it may be another elsewhere")

	drive, usb := m.path("drive"), m.path("usb")
	require.NoError(t, os.Mkdir(drive, 0o700))
	require.NoError(t, os.Mkdir(usb, 0o700))
	set := backuphttp.Settings{Enabled: true, Schedule: "weekly", Weekday: "friday", Time: "04:05", Zone: "Asia/Tokyo", KeepLast: 3, KeepDays: 40, Locations: []string{drive, usb}}
	manager, err = a.Manager(ctx, set)
	require.NoError(t, err)
	require.Len(t, manager.Locations, 2)
	require.NoError(t, a.Save(ctx, set))
	got, err := a.Settings(ctx)
	require.NoError(t, err)
	require.Equal(t, set, got)
	b, err := manager.Create(ctx, backup.BackupOptions{})
	require.NoError(t, err)
	listed := m.list()
	require.Equal(t, []string{b.Name}, names(listed), "the command line looks in the same folders")
	require.Len(t, listed[0].Copies, 2)
	stored, err := readSettings(ctx, h.server.db)
	require.NoError(t, err)
	next, text, err := stored.schedule(time.UTC)
	require.NoError(t, err)
	require.Equal(t, "weekly friday:04:05", text)
	require.Equal(t, schedule.Weekly{Day: time.Friday, At: 4*time.Hour + 5*time.Minute, Location: time.UTC}, next)
	keep, err := stored.retention()
	require.NoError(t, err)
	require.Equal(t, backup.Retention{Last: 3, Within: 40 * 24 * time.Hour}, keep)

	for _, wrong := range []func(*backuphttp.Settings){
		func(s *backuphttp.Settings) { s.Schedule = "hourly" },
		func(s *backuphttp.Settings) { s.Weekday = "someday" },
		func(s *backuphttp.Settings) { s.Time = "25:00" },
		func(s *backuphttp.Settings) { s.Zone = "Mars/Olympus" },
		func(s *backuphttp.Settings) { s.KeepLast = -1 },
		func(s *backuphttp.Settings) { s.KeepDays = -1 },
		func(s *backuphttp.Settings) { s.Locations = []string{"relative"} },
		func(s *backuphttp.Settings) { s.Locations = []string{drive, ""} },
		func(s *backuphttp.Settings) { s.Locations = []string{drive, drive + "/."} },
	} {
		s := set
		wrong(&s)
		_, err := a.Manager(ctx, s)
		require.Error(t, err, "%+v", s)
	}
	set.Time, set.Zone, set.Locations = "4:05", "", nil
	require.NoError(t, a.Save(ctx, set))
	got, err = a.Settings(ctx)
	require.NoError(t, err)
	require.Equal(t, "04:05", got.Time)
	require.Empty(t, got.Zone)
	require.Equal(t, []string{m.backups()}, got.Locations)
	m.create() // what was saved is valid

	m.sql(`INSERT OR REPLACE INTO settings (key, value) VALUES ('backup_dir', '"relative"'), ('backup_time', '"25:00"'), ('session_timeout', '0'), ('backup_include_logs', 'true')`)
	got, err = a.Settings(ctx)
	require.NoError(t, err, "a wrong one does not keep people from setting it right")
	require.Equal(t, "02:30", got.Time)
	require.Equal(t, []string{m.backups()}, got.Locations)
	h.says("the setting backup_dir is")
	manager, err = a.Manager(ctx, got)
	require.NoError(t, err)
	require.Equal(t, []string{"logs"}, manager.Scheduled.Include)
	require.NoError(t, h.server.afterRestore(ctx, backup.Report{}))
	h.says("the setting session_timeout is 0")
}

func TestAfterARestoreTheServerGoesOnWithWhatWasRestored(t *testing.T) {
	m, h := newHost(t)
	ctx := t.Context()
	admin := h.admin()
	admin.sends("/servers/new", aServer()...)
	a := automation{h.server}
	s, err := a.Settings(ctx)
	require.NoError(t, err)
	s.KeepLast = 7
	require.NoError(t, a.Save(ctx, s))
	manager, err := a.Manager(ctx, s)
	require.NoError(t, err)
	made, err := manager.Create(ctx, backup.BackupOptions{})
	require.NoError(t, err)

	admin.sends("/users/new", "username", "eve", "role", "admin", "password", "a long password", "again", "a long password")
	eve := h.browser()
	eve.login("eve", "a long password")
	admin.sends(admin.link(admin.page("/servers"), "nas", "Edit"), aServer("name", "evil")...)
	s.KeepLast = 1
	require.NoError(t, a.Save(ctx, s))

	stop, asking := make(chan struct{}), make(chan error, 1)
	go func() { // there is no moment without an answer
		defer close(asking)
		for {
			select {
			case <-stop:
				return
			default:
			}
			response, err := http.Get(h.base + "/login")
			if err == nil {
				response.Body.Close()
				if response.StatusCode != http.StatusOK {
					err = fmt.Errorf("status %d", response.StatusCode)
				}
			}
			if err != nil {
				asking <- err
				return
			}
		}
	}()
	snapshot, err := manager.Open(ctx, made.Name)
	require.NoError(t, err)
	defer snapshot.Close()
	report, err := manager.Restore(ctx, snapshot, backup.RestoreOptions{Strategy: backup.Replace, TakeOwn: true})
	require.NoError(t, err)
	require.Empty(t, report.AfterRestore)
	h.says("going on with what was restored")
	close(stop)
	require.NoError(t, <-asking)

	require.Contains(t, admin.page("/servers"), "nas", "who is still there stays logged in")
	require.False(t, eve.in(), "and who is gone does not")
	s, err = a.Settings(ctx)
	require.NoError(t, err)
	require.Equal(t, 7, s.KeepLast)

	// Users of whom none can log in.
	file := m.path("empty.json")
	write(t, file, guideDocument)
	text, err := os.Open(file)
	require.NoError(t, err)
	defer text.Close()
	empty, err := backup.OpenSnapshot(ctx, text, backup.OpenOptions{})
	require.NoError(t, err)
	defer empty.Close()
	report, err = manager.Restore(ctx, empty, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Contains(t, report.AfterRestore, "tomo user password NAME")
	require.False(t, admin.in())
	admin.login("admin", passwordLine.FindStringSubmatch(m.ok("user", "password", "admin").stdout)[1])
}

// call asks the API of the page for backups, and reads its answer.
func call[T any](b *browser, method, path, body string) (v T) {
	b.t.Helper()
	a := b.do(b.api(method, path, body))
	require.Less(b.t, a.status, 300, "%s %s: %s", method, path, a.body)
	require.NoError(b.t, json.Unmarshal([]byte(a.body), &v), a.body)
	return v
}

func (b *browser) api(method, path, body string) *http.Request {
	b.t.Helper()
	r := b.request(method, "/settings/backup/api/"+path, nil)
	if method != http.MethodGet {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// What the API answers, as far as it matters here.
type (
	restoreOfPage struct {
		ID   string
		Plan struct{ ID, Confirm string }
	}
	jobOfPage struct {
		ID, Error string
		Ended     *time.Time
		Report    *backup.Report
	}
	overviewOfPage struct {
		Automated struct{ Settings backuphttp.Settings }
	}
)

// restores restores all of a backup on the page, and returns the job when it has ended.
func (b *browser) restores(name string) jobOfPage {
	b.t.Helper()
	r := call[restoreOfPage](b, http.MethodPost, "restores", `{"backup":"`+name+`"}`)
	r = call[restoreOfPage](b, http.MethodPost, "restores/"+r.ID+"/plan", `{"full":true,"take_own":true}`)
	j := call[jobOfPage](b, http.MethodPost, "restores/"+r.ID+"/apply", `{"plan":"`+r.Plan.ID+`","confirm":"`+r.Plan.Confirm+`"}`)
	require.Eventually(b.t, func() bool {
		j = call[jobOfPage](b, http.MethodGet, "jobs/"+j.ID, "")
		return j.Ended != nil
	}, time.Minute, 5*time.Millisecond)
	return j
}

// What the command line accepts and the page does not must not keep the server from
// starting, or from going on after a restore.
func TestNoSettingThatIsStoredStopsTheServer(t *testing.T) {
	testtime.NotForRace(t)
	m, h := newHost(t)
	b := h.admin()
	drive, link := m.path("drive"), m.path("link")
	require.NoError(t, os.Mkdir(drive, 0o700))
	require.NoError(t, os.Symlink(drive, link))
	var many []string
	for i := range 30 {
		many = append(many, m.path("many", fmt.Sprint(i)))
	}
	type stored = map[string]any
	store := func(s stored) {
		statements := []string{"DELETE FROM settings"}
		for key, value := range s {
			statements = append(statements, fmt.Sprintf("INSERT INTO settings (key, value) VALUES ('%s', '%s')", key, asJSON(value)))
		}
		m.sql(statements...)
	}
	own := m.backups()
	defaults := backuphttp.Settings{Schedule: "daily", Weekday: "sunday", Time: "02:30", Locations: []string{own}}
	for name, test := range map[string]struct {
		stored
		want func(*backuphttp.Settings)
	}{
		"many backups":  {stored{"backup_keep_last": 200_000}, func(s *backuphttp.Settings) { s.KeepLast = 100_000 }},
		"many days":     {stored{"backup_keep_days": 200_000}, func(s *backuphttp.Settings) { s.KeepDays = 100_000 }},
		"a space":       {stored{"backup_dir": drive + " ", "backup_keep_last": 7}, func(s *backuphttp.Settings) { s.KeepLast = 7 }},
		"twice":         {stored{"backup_locations": []string{drive, drive}}, func(s *backuphttp.Settings) { s.Locations = []string{own, drive} }},
		"not clean":     {stored{"backup_locations": []string{drive, drive + "/."}}, func(s *backuphttp.Settings) { s.Locations = []string{own, drive} }},
		"a link":        {stored{"backup_dir": drive, "backup_locations": []string{link}}, func(s *backuphttp.Settings) { s.Locations = []string{drive} }},
		"default twice": {stored{"backup_locations": []string{own}}, func(*backuphttp.Settings) {}},
		"too many":      {stored{"backup_locations": many}, func(s *backuphttp.Settings) { s.Locations = append([]string{own}, many[:19]...) }},
		"one digit":     {stored{"backup_time": "4:05"}, func(s *backuphttp.Settings) { s.Time = "04:05" }},
		"a capital":     {stored{"backup_weekday": "Friday"}, func(s *backuphttp.Settings) { s.Weekday = "friday" }},
		"all": {stored{"backup_keep_last": 200_000, "backup_keep_days": 200_000, "backup_dir": drive + " ", "backup_locations": []string{own, drive, drive, link}}, func(s *backuphttp.Settings) {
			s.KeepLast, s.KeepDays, s.Locations = 100_000, 100_000, []string{own, drive}
		}},
	} {
		want := defaults
		test.want(&want)
		store(test.stored)
		_, err := backuphttp.New(backuphttp.Options{Automation: automation{h.server}, Authorize: h.server.accounts.Authorize})
		require.NoError(t, err, "%s, at the start", name)
		got, err := automation{h.server}.Settings(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, got, name)

		if name != "all" { // which has each that a backup can have
			continue
		}
		manager, err := automation{h.server}.Manager(t.Context(), defaults)
		require.NoError(t, err)
		made, err := manager.Create(t.Context(), backup.BackupOptions{})
		require.NoError(t, err)
		store(nil)
		text, err := json.Marshal(defaults)
		require.NoError(t, err)
		require.Equal(t, defaults, call[backuphttp.Settings](b, http.MethodPut, "settings", string(text)))
		j := b.restores(made.Name)
		require.Empty(t, j.Error, name)
		require.Equal(t, want, call[overviewOfPage](b, http.MethodGet, "overview", "").Automated.Settings, "by a restore")
		require.NotNil(t, call[jobOfPage](b, http.MethodGet, "jobs/"+j.ID, "").Report, "the page has not forgotten")
	}
	h.says("100000")

	store(stored{"backup_keep_last": 200_000, "backup_dir": drive + " ", "backup_locations": []string{own, drive, drive}})
	h.stop()
	require.NoError(t, <-h.ended)
	h.server.close()
	again := m.serve()
	again.says("which is left out")
	again.service.stop(syscall.SIGTERM)
}

// Who sends no body must not hold a connection for ever, whatever is asked for.
func TestWhoDoesNotSendWhatIsAnnouncedIsCutOff(t *testing.T) {
	_, h := newHost(t)
	h.server.bodyTime = 100 * time.Millisecond
	for _, request := range []string{
		"GET /login", "GET /", "PUT /login", "GET /style.css", "GET /favicon.ico", "GET /nothing", "POST /login",
		"POST /login\nOrigin: https://evil.example",
		"GET /login\nHost: evil.example",
		"PUT /login\nTransfer-Encoding: chunked",
	} {
		line, header, _ := strings.Cut(request, "\n")
		if !strings.Contains(header, "Host:") {
			header += "\r\nHost: localhost"
		}
		if !strings.Contains(header, "chunked") {
			header += "\r\nContent-Length: 100"
		}
		conn, err := net.Dial("tcp", strings.TrimPrefix(h.base, "http://"))
		require.NoError(t, err)
		defer conn.Close()
		fmt.Fprintf(conn, "%s HTTP/1.1\r\n%s\r\n\r\n", line, strings.TrimPrefix(header, "\r\n"))
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
		_, err = io.ReadAll(conn)
		require.NoError(t, err, request)
	}
	b := h.admin() // who sends it is served
	require.True(t, b.in())
}

// A page of another site may have a name that leads to this machine.
func TestWhereOnlyThisMachineReachesItItGoesByNoOtherName(t *testing.T) {
	testtime.NotForRace(t)
	_, h := newHost(t)
	port := h.base[strings.LastIndex(h.base, ":"):]
	status := func(host string) int {
		r := h.browser().request(http.MethodGet, "/login", nil)
		r.Host = host
		a := h.browser().do(r)
		if a.status != http.StatusOK {
			require.Contains(t, a.body, "--proxy")
		}
		return a.status
	}
	for _, host := range []string{"localhost", "localhost" + port, "LOCALHOST", "127.0.0.1" + port, "[::1]" + port, "[::1]", "192.0.2.1"} {
		require.Equal(t, http.StatusOK, status(host), host)
	}
	for _, host := range []string{"evil.example", "evil.example" + port, "localhost.evil.example", "tomo"} {
		require.Equal(t, http.StatusMisdirectedRequest, status(host), host)
	}
	h.server.name = "tomo"
	require.Equal(t, http.StatusOK, status("Tomo"+port))
	h.server.proxy = true
	require.Equal(t, http.StatusOK, status("tomo.example.org"))
}

func TestBehindAProxyTheCookieIsSecureAndEachClientHasItsLimit(t *testing.T) {
	testtime.NotForRace(t)
	m := newMachine(t, -1)
	h := m.serve("--proxy")
	from := func(address, password string) answer {
		b := h.browser()
		r := b.request(http.MethodPost, "/login", values("username", "admin", "password", password))
		r.Host = "tomo.example.org"
		r.Header.Set("Origin", "https://tomo.example.org")
		r.Header.Set("X-Forwarded-For", "203.0.113.1, "+address)
		r.Header.Set("X-Forwarded-Proto", "https")
		return b.do(r)
	}
	for range 5 {
		require.Equal(t, http.StatusUnauthorized, from("192.0.2.1", "wrong").status)
	}
	require.Equal(t, http.StatusTooManyRequests, from("192.0.2.1", h.password).status)
	a := from("192.0.2.2", h.password)
	require.Equal(t, http.StatusSeeOther, a.status, a.body)
	require.Contains(t, a.header.Get("Set-Cookie"), "; Secure")
	h.says("from=192.0.2.2")
	h.service.stop(syscall.SIGTERM)
}

// Who restores users with another password of their own has to log in again, and must
// get to the report and to the way back.
func TestTheReportOfARestoreOutlivesTheSession(t *testing.T) {
	m, h := newHost(t)
	b := h.admin()
	manager, err := automation{h.server}.Manager(t.Context(), backuphttp.Settings{})
	require.NoError(t, err)
	made, err := manager.Create(t.Context(), backup.BackupOptions{})
	require.NoError(t, err)
	b.login("admin", passwordLine.FindStringSubmatch(m.ok("user", "password", "admin").stdout)[1])

	r := call[restoreOfPage](b, http.MethodPost, "restores", `{"backup":"`+made.Name+`"}`)
	r = call[restoreOfPage](b, http.MethodPost, "restores/"+r.ID+"/plan", `{"full":true,"take_own":true}`)
	job := b.do(b.api(http.MethodPost, "restores/"+r.ID+"/apply", `{"plan":"`+r.Plan.ID+`","confirm":"`+r.Plan.Confirm+`"}`))
	var j jobOfPage
	require.NoError(t, json.Unmarshal([]byte(job.body), &j), job.body)
	h.says("going on with what was restored")

	page := "/settings/backup/jobs/" + j.ID
	a := b.get(page)
	require.Equal(t, http.StatusSeeOther, a.status)
	login := a.header.Get("Location")
	require.Equal(t, "/login?next="+url.QueryEscape(page), login)
	text := b.page(login)
	require.Contains(t, text, "You are logged out, because")
	require.Contains(t, text, `name="next" value="`+page+`"`)
	a = b.post("/login", "username", "admin", "password", "wrong", "next", page)
	require.Contains(t, a.body, `name="next" value="`+page+`"`)
	require.Contains(t, b.sends("/login", "username", "admin", "password", h.password, "next", page), "estore")
	require.NotNil(t, call[jobOfPage](b, http.MethodGet, "jobs/"+j.ID, "").Report)
	call[restoreOfPage](b, http.MethodPost, "restores", `{"undo":true}`)
}

func TestStoppingLetsARequestEnd(t *testing.T) {
	m := newMachine(t, -1)
	h := m.serve()
	b := h.admin()
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.base, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	body := values(aServer("name", "slow")...).Encode()
	fmt.Fprintf(conn, "POST /servers/new HTTP/1.1\r\nHost: localhost\r\nCookie: tomo_session=%s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", b.cookie(), len(body))
	answers := bufio.NewReader(conn)
	line, err := answers.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "100 Continue", "the form is being read")
	_, err = answers.ReadString('\n')
	require.NoError(t, err)
	io.WriteString(conn, body[:9])

	require.NoError(t, h.cmd.Process.Signal(syscall.SIGTERM))
	h.says("stopping")
	require.Eventually(t, func() bool {
		other, err := net.Dial("tcp", strings.TrimPrefix(h.base, "http://"))
		if err == nil {
			other.Close()
		}
		return err != nil
	}, time.Minute, 5*time.Millisecond, "nobody else is let in")
	io.WriteString(conn, body[9:])
	response, err := http.ReadResponse(answers, nil)
	require.NoError(t, err)
	response.Body.Close()
	require.Equal(t, http.StatusSeeOther, response.StatusCode)
	require.NoError(t, h.cmd.Wait(), h.logged())
	require.Contains(t, m.dump(), `"name":"slow"`)
	require.NotContains(t, h.logged(), "cut off")
}

func TestASecondSignalEndsTheServerAtOnce(t *testing.T) {
	m := newMachine(t, -1)
	h := m.serve()
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.base, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprintf(conn, "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
	_, err = bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, h.cmd.Process.Signal(syscall.SIGTERM))
	h.says("stopping")
	require.NoError(t, h.cmd.Process.Signal(syscall.SIGTERM))
	var exit *exec.ExitError
	require.ErrorAs(t, h.cmd.Wait(), &exit)
	require.Equal(t, syscall.SIGTERM, exit.Sys().(syscall.WaitStatus).Signal())
}

// A stream of events shows a backup to its end, and holds nobody up after it.
func TestStoppingLetsABackupEnd(t *testing.T) {
	for _, patient := range []bool{true, false} {
		t.Run(map[bool]string{true: "in time", false: "late"}[patient], func(t *testing.T) {
			_, h := newHost(t)
			if !patient {
				h.server.patience = 0
			}
			streaming, streamed := make(chan struct{}), make(chan struct{})
			stream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(streaming)
				<-r.Context().Done()
				close(streamed)
			})
			h.server.pages = stream
			go func() {
				r := h.browser().request(http.MethodGet, "/", nil)
				r.Header.Set("Accept", "text/event-stream")
				if response, err := http.DefaultClient.Do(r); err == nil {
					response.Body.Close()
				}
			}()
			<-streaming

			a := automation{h.server}
			s, err := a.Settings(t.Context())
			require.NoError(t, err)
			m, err := a.Manager(t.Context(), s)
			require.NoError(t, err)
			stored, goOn := make(chan struct{}), make(chan struct{})
			m.OnEvent = func(e manager.Event) {
				if e.Kind == manager.EventStored {
					close(stored)
					<-goOn
				}
				h.server.busy.note(e)
			}
			created := make(chan error, 1)
			go func() {
				_, err := m.Create(context.Background(), backup.BackupOptions{})
				created <- err
			}()
			<-stored
			h.stop()
			h.says("stopping")
			if patient {
				select {
				case <-streamed:
					t.Error("the stream ended before the backup")
				default:
				}
				close(goOn)
			}
			require.NoError(t, <-h.ended)
			<-streamed
			require.Equal(t, !patient, strings.Contains(h.logged(), "is cancelled"))
			if !patient {
				close(goOn)
			}
			require.NoError(t, <-created)
		})
	}
}

// Labels, landmarks and no style or script but that of files: what a page needs to
// work for everybody, and under its own policy.
func TestPagesAreFitForEverybody(t *testing.T) {
	testtime.NotForRace(t)
	_, h := newHost(t)
	b := h.admin()
	b.sends("/servers/new", aServer()...)
	edit := b.link(b.page("/servers"), "nas", "Edit")
	own := b.link(b.page("/users"), "admin", "Change password")
	answers := map[string]answer{"wrong form": b.post("/servers/new"), "no page": b.get("/nothing"), "wrong password": h.browser().tries("admin", "wrong")}
	for _, path := range []string{"/login", "/servers", "/servers?done=saved", "/servers/new", edit, edit + "/delete", "/users", "/users/new", own} {
		answers[path] = b.get(path)
	}
	field := regexp.MustCompile(`<(?:input|select|textarea)\b[^>]*>`)
	id := regexp.MustCompile(`\bid="([^"]*)"`)
	for path, a := range answers {
		require.Equal(t, "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'", a.header.Get("Content-Security-Policy"), path)
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store", "Content-Type": "text/html; charset=utf-8"} {
			require.Equal(t, want, a.header.Get(name), path)
		}
		require.NotRegexp(t, `<script|<style|\sstyle=|\son[a-z]+=|javascript:|https?://`, a.body, path)
		for _, part := range []string{`<html lang="en">`, `<main id="main"`, `href="#main"`, "<header>", "<footer>"} {
			require.Equal(t, 1, strings.Count(a.body, part), "%s in %s", part, path)
		}
		require.Equal(t, 1, strings.Count(a.body, "<h1>"), path)
		seen := map[string]bool{}
		for _, match := range id.FindAllStringSubmatch(a.body, -1) {
			require.False(t, seen[match[1]], "%s twice in %s", match[1], path)
			seen[match[1]] = true
		}
		for _, tag := range field.FindAllString(a.body, -1) {
			if strings.Contains(tag, `type="hidden"`) {
				continue
			}
			match := id.FindStringSubmatch(tag)
			require.NotNil(t, match, "%s in %s", tag, path)
			require.Contains(t, a.body, `<label for="`+match[1]+`">`, path)
		}
	}
	require.Contains(t, b.get("/style.css").header.Get("Content-Type"), "text/css")
}

func TestThePageTellsThatTheDefaultFolderIsGone(t *testing.T) {
	m, h := newHost(t)
	b := h.admin()
	require.Contains(t, b.page("/settings/backup/"), "There are no backups yet")
	require.NoError(t, os.RemoveAll(m.backups()))
	page := b.page("/settings/backup/")
	require.Contains(t, page, "the folder is missing")
	require.NotContains(t, page, "There are no backups yet")
	require.NoDirExists(t, m.backups())
}

package backuphttp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// Requests of attackers, and of clients that break off.

// real replaces the wildcards of a path by names.
func real(path, name string) string {
	return strings.TrimPrefix(strings.NewReplacer("{name}", name, "{id}", "NONE").Replace(path), "/api/")
}

func TestNothingIsDoneForWhomAuthorizeRefuses(t *testing.T) {
	h := newHost(t, nil)
	name := h.made()
	bodies := &countingReader{}
	for _, e := range h.endpoints() {
		for _, refused := range []struct {
			err    error
			status int
			code   string
		}{{errors.New("no: " + planted), 403, "forbidden"}, {fmt.Errorf("%w: who are you?", ErrLogin), 401, "login"}} {
			h.forbid(e.action, refused.err)
			h.asked = nil
			r := h.request(e.method, real(e.path, name), bodies)
			r.ContentLength = 100
			r.Header.Set("Expect", "100-continue") // so that the client sends the body only when a handler reads it
			got := h.send(r)
			require.Equal(t, refused.status, got.StatusCode, e.path)
			require.Equal(t, refused.code, got.code(t))
			require.Equal(t, []Action{e.action}, h.asked)
			h.forbid(e.action, nil)
		}
	}
	require.Zero(t, bodies.n, "a handler has read a body")
	require.Len(t, h.seen().Backups, 1)

	// The answer must not tell which paths exist either.
	h.forbid(View, errors.New("no"))
	for _, path := range []string{"", "nothing", "overview/x", "../api"} {
		require.Equal(t, "forbidden", h.do(403, "GET", path, nil).code(t))
	}
	require.Equal(t, "forbidden", h.do(403, "PATCH", "overview", nil).code(t))
	h.forbid(View, nil)
	require.Equal(t, "not_found", h.do(404, "GET", "nothing", nil).code(t))
}

type countingReader struct{ n int }

func (r *countingReader) Read(p []byte) (int, error) {
	r.n += len(p)
	clear(p)
	return len(p), nil
}

func TestThePageShowsTheWayToTheLogin(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) { o.Login = "/login" })
	get := func(path string) *http.Response {
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		resp, err := client.Get(h.url + path)
		require.NoError(t, err)
		resp.Body.Close()
		return resp
	}
	h.forbid(View, ErrLogin)
	require.Equal(t, "/login", get("").Header.Get("Location"))
	require.Equal(t, 401, get("api/overview").StatusCode)
	h.forbid(View, errors.New("no"))
	require.Equal(t, 403, get("").StatusCode)
}

func TestWhoMayNotIsToldOnAPageWithAWayBack(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) { o.Home = "/home" })
	shown := func(path string, status int) string {
		resp, err := http.Get(h.url + path)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, status, resp.StatusCode)
		require.Equal(t, "text/html; charset=utf-8", resp.Header.Get("Content-Type"))
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(text)
	}
	h.forbid(Restore, errors.New("no, because of this"))
	page := shown("restore", 403)
	require.Contains(t, page, "you are not allowed to do that")
	require.Contains(t, page, `<a class="button" href="/settings/backup/">`)
	require.NotContains(t, page, "because of this")
	h.forbid(View, errors.New("no"))
	page = shown("", 403)
	require.Contains(t, page, `<a class="button" href="/home">`)
	require.NotContains(t, page, `href="/settings/backup/"`, "the person may not see that page")
	h.forbid(View, ErrLogin)
	require.Contains(t, shown("", 401), "nobody is logged in")
}

func TestEventsEndWithThePermission(t *testing.T) {
	h := newHost(t, nil)
	h.beat = time.Millisecond
	resp, err := http.DefaultClient.Do(h.request("GET", "events", nil))
	require.NoError(t, err)
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	_, err = in.ReadString('\n')
	require.NoError(t, err)
	h.forbid(View, ErrLogin)
	_, err = io.Copy(io.Discard, in)
	require.NoError(t, err, "it ends")
}

func TestOneBackupIsOpenedAtATime(t *testing.T) {
	h := newHost(t, nil)
	name := h.made()
	h.opening <- struct{}{} // another backup is being opened
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := h.look(ctx, name)
		ended <- err
	}()
	select {
	case err := <-ended:
		require.Fail(t, "it has not waited", "%v", err)
	case <-time.After(20 * time.Millisecond):
	}
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	<-h.opening
	_, err := h.look(t.Context(), name)
	require.NoError(t, err)
}

func TestAuthorizeSeesTheRequestAsItWasSent(t *testing.T) {
	var path, pattern string
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) {
		o.Authorize = func(r *http.Request, a Action) error {
			path, pattern = r.URL.Path, r.Pattern
			return nil
		}
	})
	h.get("overview")
	require.Equal(t, "/settings/backup/api/overview", path)
	require.Equal(t, "/settings/backup/", pattern)
}

func TestAPageOfAnotherSiteChangesNothing(t *testing.T) {
	h := newHost(t, nil)
	name := h.made()
	for _, e := range h.endpoints() {
		if e.method == "GET" {
			continue
		}
		for header, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
			r := h.request(e.method, real(e.path, name), strings.NewReader("{}"))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set(header, value)
			got := h.send(r)
			require.Equal(t, 403, got.StatusCode, e.path)
			require.Equal(t, "cross_origin", got.code(t))
		}
	}
	require.Len(t, h.seen().Backups, 1)

	r := h.request("POST", "backups", strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	require.Equal(t, 202, h.send(r).StatusCode)
}

func TestNothingChangesByGET(t *testing.T) {
	h := newHost(t, nil)
	name := h.made()
	reads := make(map[string]bool)
	for _, e := range h.endpoints() {
		reads[e.path] = reads[e.path] || e.method == "GET"
	}
	for _, e := range h.endpoints() {
		if reads[e.path] {
			continue
		}
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "PATCH"} {
			got := h.send(h.request(method, real(e.path, name), nil))
			require.Equal(t, 405, got.StatusCode, e.path)
			require.Contains(t, got.Header.Get("Allow"), e.method)
			if method != "HEAD" {
				require.Equal(t, "method", got.code(t))
			}
		}
	}
	require.Len(t, h.seen().Backups, 1)
	head := h.send(h.request("HEAD", "backups/"+name+"/file", nil))
	require.Equal(t, 200, head.StatusCode)
	require.Empty(t, head.text)
	require.Equal(t, 200, h.send(h.request("HEAD", "events", nil)).StatusCode)
}

func TestNamesThatAreNoBackupsAreNotFound(t *testing.T) {
	h := newHost(t, nil)
	name := h.made()
	for _, bad := range []string{
		"..%2f..%2fetc%2fpasswd", "%2e%2e", "%2e%2e%2f" + name, name + ".accepted", name + "%00", "notes.txt",
		"homelab-backup-2001-01-01T00-00-00.json", "C:%5c" + name, "%2fetc%2fpasswd", name + "%2f..", "x%0d%0aSet-Cookie:%20a=b", strings.Repeat("a", 5000),
	} {
		for _, path := range []string{"backups/" + bad + "/file", "jobs/" + bad, "restores/" + bad, "restores/" + bad + "/file"} {
			got := h.send(h.request("GET", path, nil))
			require.Equal(t, 404, got.StatusCode, path)
			require.Less(t, len(got.text), 1000)
		}
		for _, path := range []string{"backups/" + bad + "/verify", "backups/" + bad + "/accept", "restores/" + bad + "/salvage"} {
			r := h.request("POST", path, strings.NewReader("{}"))
			r.Header.Set("Content-Type", "application/json")
			require.Equal(t, 404, h.send(r).StatusCode, path)
		}
		require.Equal(t, 404, h.send(h.request("DELETE", "backups/"+bad, nil)).StatusCode)
	}
	h.do(404, "POST", "restores", obj{"backup": "../../etc/passwd"})
	require.Equal(t, []string{name}, backupsIn(t, h))
}

func TestJSONIsStrict(t *testing.T) {
	h := newHost(t, nil)
	id := h.do(201, "POST", "restores", obj{"backup": h.made()}).restored(t).ID
	send := func(method, path, kind, text string) reply {
		r := h.request(method, path, strings.NewReader(text))
		if kind != "" {
			r.Header.Set("Content-Type", kind)
		}
		return h.send(r)
	}
	for _, text := range []string{
		``, `x`, `[]`, `null`, `"x"`, `{`, `{}x`, `{} {}`, `{"include":[],"include":["logs"]}`, `{"Include":[]}`, `{"include":null}`,
		`{"include":"logs"}`, `{"include":[1]}`, `{"more":1}`, `{"include":[[[[[]]]]]}`, `{"include":[` + strings.Repeat(`"x",`, 2000) + `"x"]}`,
		"{\"include\":[\"\xff\"]}", `{"include":["` + strings.Repeat("[", 100_000) + `"],}`,
	} {
		got := send("POST", "backups", "application/json", text)
		require.Equal(t, 400, got.StatusCode, "%.100s", text)
		require.Equal(t, "bad_json", got.code(t))
	}
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx"} {
		require.Equal(t, "media_type", send("POST", "backups", kind, "{}").code(t))
		require.Equal(t, "media_type", send("PUT", "settings", kind, "{}").code(t))
		require.Equal(t, "media_type", send("POST", "prune", kind, "{}").code(t))
	}
	require.Equal(t, 415, send("POST", "uploads", "application/json", "{}").StatusCode)
	for _, text := range []string{`{}`, `{"backup":"x","undo":true}`, `{"undo":false}`} {
		require.Equal(t, 400, send("POST", "restores", "application/json", text).StatusCode)
	}
	require.Equal(t, "bad_json", send("PUT", "settings", "application/json", `{"enabled":false}`).code(t), "a forgotten member must not turn the backups off")
	got := send("POST", "restores/"+id+"/key", "application/json", `{"key":"`+planted+`","`+planted+`":1}`)
	require.Equal(t, "bad_json", got.code(t))
	require.Equal(t, 400, send("POST", "restores/"+id+"/plan", "application/json", `{}`).StatusCode)
	for _, query := range []string{"from=-1", "from=x", "most=0", "most=501", "from=99999999999999999999"} {
		require.Equal(t, "bad_query", h.do(400, "GET", "restores/"+id+"/changes?"+query, nil).code(t))
	}
	require.Equal(t, 202, send("POST", "prune", "application/json; charset=utf-8", ` {} `).StatusCode)
	require.Len(t, h.seen().Backups, 1)
}

func TestWhatIsTooLargeIsRefused(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) { o.MaxUpload = 1000 })
	require.Equal(t, "too_large", h.sent(413, "b.json", strings.Repeat("x", 1001)).code(t))
	require.Equal(t, "too_large", h.sent(413, "b.json", strings.Repeat("x", 3<<20)).code(t))
	form := "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"b.json\"\r\n\r\n" + strings.Repeat("x", 3<<20) + "\r\n--x--\r\n"
	r := h.request("POST", "uploads", strings.NewReader(form))
	r.Header.Set("Content-Type", `multipart/form-data; boundary=x`)
	require.Equal(t, "too_large", h.send(r).code(t))
	r = h.request("POST", "backups", strings.NewReader(`{"include":["`+strings.Repeat("x", 2<<20)+`"]}`))
	r.Header.Set("Content-Type", "application/json")
	require.Equal(t, "too_large", h.send(r).code(t))
	require.Equal(t, 201, h.sent(201, "b.json", strings.Repeat("x", 1000)).StatusCode)
	h.Handler.mu.Lock()
	defer h.Handler.mu.Unlock()
	require.EqualValues(t, 1000, h.spooled)
	require.Len(t, h.restores, 1)
}

func TestKeysAreTriedSlowly(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) { m.Identities = nil })
	id := h.do(201, "POST", "restores", obj{"backup": h.made()}).restored(t).ID
	at := "restores/" + id + "/key"
	for range triesAtOnce + 2 { // right keys do not count
		h.do(200, "POST", at, obj{"key": h.key.text})
	}
	for range triesAtOnce {
		h.do(422, "POST", at, obj{"key": newKey(t).text})
	}
	got := h.do(429, "POST", at, obj{"key": h.key.text})
	require.Equal(t, "too_many_keys", got.code(t))
	require.Equal(t, "10", got.Header.Get("Retry-After"))

	resp, err := http.PostForm(h.url+"restore/"+id+"/unlock", url.Values{"passphrase": {"not this one"}})
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, 429, resp.StatusCode)
	require.NotEmpty(t, resp.Header.Get("Retry-After"), "on the page too")
}

func TestAWrongKeyIsForgivenAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries tries
		wrong := func() error { return tries.one(func() error { return backup.ErrWrongKey }) }
		right := func() error { return tries.one(func() error { return nil }) }
		tooMany := func(err error) {
			code, _ := classify(err)
			require.Equal(t, 429, code)
		}
		for range triesAtOnce {
			require.ErrorIs(t, wrong(), backup.ErrWrongKey)
		}
		tooMany(wrong())
		tooMany(right())
		time.Sleep(triesPause - time.Second)
		tooMany(wrong())
		time.Sleep(time.Second)
		require.NoError(t, right())
		require.ErrorIs(t, wrong(), backup.ErrWrongKey)
		tooMany(wrong())
		time.Sleep(time.Hour)
		for range triesAtOnce {
			require.ErrorIs(t, wrong(), backup.ErrWrongKey)
		}
		tooMany(wrong())
	})
}

func TestAPanicIsTold(t *testing.T) {
	var fail any
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) {
		o.Authorize = func(*http.Request, Action) error {
			if fail != nil {
				panic(fail)
			}
			return nil
		}
	})
	fail = "out of cheese"
	got := h.do(500, "GET", "overview", nil)
	require.Equal(t, "failed", got.code(t))
	require.NotContains(t, got.text, "cheese")
	require.Contains(t, h.log.String(), "out of cheese")
	require.Contains(t, h.log.String(), "guard_test.go", "the log has the stack")

	// A response that is cut off must not look complete.
	_, err := http.Get(h.url + "api/overview")
	require.NoError(t, err)
	fail = http.ErrAbortHandler
	_, err = http.Get(h.url + "api/overview")
	require.ErrorIs(t, err, io.EOF)
}

func TestTheBaseOfLinks(t *testing.T) {
	for _, c := range []struct{ option, pattern, target, base, below string }{
		{"", "/settings/backup/", "/settings/backup/api/jobs", "/settings/backup/", "/api/jobs"},
		{"", "GET example.com/backup/", "/backup/", "/backup/", "/"},
		{"", "/", "/api/jobs", "/", "/api/jobs"},
		{"", "", "/api/jobs", "/", "/api/jobs"},
		{"", "/{tenant}/backup/", "/a%20b/backup/restore/x", "/a%20b/backup/", "/restore/x"},
		{"", "/backup/{rest...}", "/backup/restore/x", "/backup/", "/restore/x"},
		{"/b", "", "/b/restore", "/b/", "/restore"},
		{"/b/", "/x/", "/b/", "/b/", "/"},
		{"//evil.example/", "", "/evil.example/restore", "/evil.example/", "/restore"},
		{"/b/", "", "/restore/x%2fy", "/b/", "/restore/x/y"}, // the host has removed the prefix
		{"", "/b/", "/b//evil.example/", "/b/", "/nothing"},
		{"", "/b/", "/b/x/../y", "/b/", "/nothing"},
	} {
		h := &Handler{opts: Options{Path: c.option}}
		r := httptest.NewRequest("GET", c.target, nil)
		r.Pattern = c.pattern
		require.Equal(t, c.base, h.base(r), c)
		below := h.below(r)
		require.Equal(t, c.below, below.URL.Path, c)
		require.Equal(t, c.base, h.base(below), c)
		require.Same(t, r, asSent(below))
	}
}

func TestOptionsThatLackSomethingAreRefused(t *testing.T) {
	allow := func(*http.Request, Action) error { return nil }
	m := &manager.Manager{App: testApp(), Locations: []location.Location{location.Dir("/x")}}
	for want, o := range map[string]Options{
		"Authorize":    {Manager: m},
		"either":       {Authorize: allow},
		"slash":        {Authorize: allow, Manager: m, Path: "b"},
		"MaxUpload":    {Authorize: allow, Manager: m, MaxUpload: -1},
		"no Locations": {Authorize: allow, Manager: &manager.Manager{App: testApp()}},
	} {
		_, err := New(o)
		require.ErrorContains(t, err, want)
	}
}

// A pipeListener accepts connections in memory, which work in the fake time of a test.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.done); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// inBubble serves the page of a host in the fake time of the test.
func inBubble(t *testing.T, change func(h *host, m *manager.Manager, o *Options), test func(h *host, connect func() net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		h := makeHost(t, change)
		h.run()
		l := &pipeListener{make(chan net.Conn), make(chan struct{})}
		mux := http.NewServeMux()
		mux.Handle("/", h.Handler)
		mux.HandleFunc("/other", func(http.ResponseWriter, *http.Request) {})
		server := &http.Server{Handler: mux}
		served := make(chan error)
		go func() { served <- server.Serve(l) }()
		test(h, func() net.Conn {
			client, conn := net.Pipe()
			l.conns <- conn
			return client
		})
		require.NoError(t, server.Close())
		<-served
		h.stop()
	})
}

func TestASlowUploadIsCutOff(t *testing.T) {
	inBubble(t, nil, func(h *host, connect func() net.Conn) {
		began := time.Now()
		for _, every := range []time.Duration{time.Hour, 5 * time.Second} {
			c := connect()
			fmt.Fprint(c, "POST /api/uploads HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\n{")
			over := make(chan struct{})
			go func() {
				defer close(over)
				for tick := time.NewTicker(every); ; {
					<-tick.C
					if _, err := io.WriteString(c, " "); err != nil {
						tick.Stop()
						return
					}
				}
			}()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			require.NoError(h, err)
			text, err := io.ReadAll(resp.Body)
			require.NoError(h, err)
			require.Equal(h, 400, resp.StatusCode)
			require.Contains(h, string(text), "cut_off")
			require.Equal(h, h.patience, time.Since(began).Truncate(time.Second))
			c.Close()
			<-over
			began = time.Now()
		}
		require.Empty(h, h.restores)
		require.Zero(h, h.spooled)

		// A client that goes on sending is not cut off.
		c := connect()
		const parts, part = 100, 5000
		fmt.Fprintf(c, "POST /api/uploads HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", parts*part)
		for range parts {
			time.Sleep(20 * time.Second)
			_, err := io.WriteString(c, strings.Repeat(" ", part))
			require.NoError(h, err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(h, err)
		require.Equal(h, 201, resp.StatusCode)
		c.Close()
	})
}

func TestABodyThatIsNotWantedHoldsNothingUp(t *testing.T) {
	inBubble(t, nil, func(h *host, connect func() net.Conn) {
		h.forbid(Restore, errors.New("no"))
		c := connect()
		began := time.Now()
		fmt.Fprint(c, "POST /api/uploads HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000\r\n\r\n{")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(h, err)
		require.Equal(h, 403, resp.StatusCode)
		_, err = io.Copy(io.Discard, c)
		require.NoError(h, err)
		require.LessOrEqual(h, time.Since(began), h.patience+time.Second)
	})
}

func TestAnUploadEndsWithRun(t *testing.T) {
	inBubble(t, nil, func(h *host, connect func() net.Conn) {
		c := connect()
		fmt.Fprint(c, "POST /api/uploads HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000\r\n\r\n{")
		synctest.Wait()
		began := time.Now()
		go h.stop()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(h, err)
		require.Equal(h, 503, resp.StatusCode)
		require.Zero(h, time.Since(began))
		c.Close()
	})
}

func TestAClientThatDoesNotReadIsCutOff(t *testing.T) {
	inBubble(t, nil, func(h *host, connect func() net.Conn) {
		info, err := h.upload(h.Context(), "b.json", strings.NewReader("{}"))
		require.NoError(h, err)
		for _, path := range []string{"GET /api/overview", "GET /api/events", "GET /api/openapi.json", "DELETE /api/restores/" + info.ID} {
			c := connect()
			began := time.Now()
			fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\n\r\n", path)
			time.Sleep(2 * h.patience)
			_, err := http.ReadResponse(bufio.NewReader(c), nil)
			require.Error(h, err, path)
			require.Equal(h, 2*h.patience, time.Since(began))
		}
		h.Handler.mu.Lock()
		defer h.Handler.mu.Unlock()
		require.Empty(h, h.watchers)
	})
}

func TestWhatTakesLongIsNotCutOff(t *testing.T) {
	slow := func(h *host, m *manager.Manager, o *Options) {
		m.Source = &backuptest.Faulty{Source: h.store, On: backuptest.CallRecords, Nth: 1, Do: func() { time.Sleep(20 * time.Minute) }}
	}
	inBubble(t, slow, func(h *host, connect func() net.Conn) {
		c := connect()
		fmt.Fprint(c, "POST /api/backups HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(h, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(h, err)
		require.Contains(h, string(text), `"ended"`, "the server has waited for the job")
		c.Close()
	})
}

func TestTheDeadlinesOfTheHostAreItsOwn(t *testing.T) {
	inBubble(t, nil, func(h *host, connect func() net.Conn) {
		c := connect()
		in := bufio.NewReader(c)
		for _, path := range []string{"/api/prune", "/other", "/api/prune"} {
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", path)
			resp, err := http.ReadResponse(in, nil)
			require.NoError(h, err)
			_, err = io.Copy(io.Discard, resp.Body)
			require.NoError(h, err)
			time.Sleep(time.Hour)
		}
		c.Close()
	})
}

func TestWhatNobodyUsesIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := makeHost(t, nil)
		h.run()
		info, err := h.upload(t.Context(), "b.json", strings.NewReader("{}"))
		require.NoError(t, err)
		time.Sleep(59 * time.Minute)
		_, err = h.restore(info.ID)
		require.NoError(t, err)
		time.Sleep(59 * time.Minute)
		_, err = h.restore(info.ID)
		require.NoError(t, err)
		time.Sleep(62 * time.Minute)
		_, err = h.restore(info.ID)
		require.Equal(t, errForgotten, err)
		h.Handler.mu.Lock()
		require.Zero(t, h.spooled)
		h.Handler.mu.Unlock()
		h.stop()
	})
}

func TestJobsAreToldAsTheyChange(t *testing.T) {
	var g *gate
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) { g = slowSource(h, m) })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	listen := func() *bufio.Scanner {
		resp, err := http.DefaultClient.Do(h.request("GET", "events", nil).WithContext(ctx))
		require.NoError(t, err)
		require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
		t.Cleanup(func() { resp.Body.Close() })
		return bufio.NewScanner(resp.Body)
	}
	// next returns the job of the next event, or nil at the end.
	next := func(in *bufio.Scanner) *job {
		for in.Scan() {
			if data, ok := strings.CutPrefix(in.Text(), "data: "); ok {
				h.clean("an event", data)
				valid(t, schema(t, "components", "schemas", "Job"), []byte(data), "an event")
				var j job
				reply{text: data}.into(t, &jsonJob{&j})
				return &j
			}
		}
		return nil
	}
	first := listen()
	h.moment = 0
	j, err := h.create(t.Context(), nil)
	require.NoError(t, err)
	<-g.reached
	told := next(first)
	require.Equal(t, j.ID, told.ID)
	require.Nil(t, told.Ended)
	second := listen()
	require.Equal(t, j.ID, next(second).ID, "the job that runs is sent at once")
	g.open()
	for _, in := range []*bufio.Scanner{first, second} {
		for told = next(in); told.Ended == nil; {
			told = next(in)
		}
		require.NotNil(t, told.Made)
		require.Equal(t, "backup", told.Progress.Phase)
	}
	require.NotNil(t, next(listen()).Ended, "the last job is sent if no job runs")
	h.stop()
	require.Nil(t, next(first), "the events end with Run")
	third := listen()
	require.Equal(t, j.ID, next(third).ID)
	require.Nil(t, next(third), "Run does not run")
}

func TestAMountPointMayBeCalledLikeAPageBelowIt(t *testing.T) {
	h := makeHost(t, nil)
	for _, at := range []string{"/settings/", "/restore/", "/api/", "/b/", "/a/settings/"} {
		for _, strip := range []bool{false, true} {
			mux := http.NewServeMux()
			var page http.Handler = h.Handler
			if strip {
				page = http.StripPrefix(strings.TrimSuffix(at, "/"), page)
			}
			mux.Handle(at, page)
			for path, want := range map[string]string{"": "<h1", "settings": "Automated Backups", "restore": "Upload", "api/overview": `"backups"`, "backups/x/download": "there is no backup"} {
				w := httptest.NewRecorder()
				mux.ServeHTTP(w, httptest.NewRequest("GET", at+path, nil))
				require.Contains(t, w.Body.String(), want, "%s%s, stripped: %v", at, path, strip)
				require.NotContains(t, w.Body.String(), `href="/`+strings.Trim(at, "/")+at)
			}
		}
	}
}

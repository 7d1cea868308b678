package backuphttp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// planted is part of every password of the host. It must appear nowhere.
const planted = "planted-secret"

func testApp() *backup.App {
	object := func(properties string) []byte {
		return []byte(`{"type":"object","required":["id"],"additionalProperties":false,"properties":{"id":{"type":"string"},` + properties + `}}`)
	}
	return &backup.App{
		Name: "homelab", Version: "2.1.0", SchemaVersion: 1,
		Collections: []backup.Collection{
			{Name: "servers", Key: "/id", Secrets: []string{"/password"}, Schema: object(`"name":{"type":"string"},"password":{"type":"string"}`)},
			{Name: "stack_services", Key: "/id", Refs: []backup.Ref{{Pointer: "/server", Collection: "servers"}}, Schema: object(`"server":{"type":"string"}`)},
			{Name: "settings", Shape: backup.Map},
			{Name: "logs", Key: "/id", Optional: true, Schema: object(`"text":{"type":"string"}`)},
		},
	}
}

func testStore() backuptest.MapStore {
	return backuptest.MapStore{
		"servers": {
			"a1": `{"id":"a1","name":"nas","password":"` + planted + `-1"}`,
			"b2": `{"id":"b2","name":"pi","password":"` + planted + `-2"}`,
		},
		"stack_services": {"x": `{"id":"x","server":"a1"}`},
		"settings":       {"theme": `"dark"`},
		"logs":           {"1": `{"id":"1","text":"started"}`},
	}
}

// A testKey is an age key: it is fast and has a name.
type testKey struct {
	text string // what a person types in
	*agekey.Identity
	*agekey.Recipient
}

func newKey(t testing.TB) testKey {
	id, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	k := testKey{text: id.String()}
	k.Identity, err = agekey.NewIdentity(id)
	require.NoError(t, err)
	k.Recipient, err = agekey.NewRecipient(id.Recipient())
	require.NoError(t, err)
	return k
}

// A host embeds the page.
type host struct {
	testing.TB
	*Handler
	key    testKey
	store  backuptest.MapStore
	dir    location.Dir
	url    string
	log    *safeBuffer
	stop   func() // ends Run and waits for its end
	secret []string
	gates  []*gate // opened at the end, also of a test that fails

	mu        sync.Mutex
	forbidden map[Action]error
	asked     []Action
}

// A safeBuffer is a buffer for several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// makeHost makes the page of a host with a folder. change may change the host before. Run
// is not called yet.
func makeHost(t testing.TB, change func(h *host, m *manager.Manager, o *Options)) *host {
	h := &host{TB: t, key: newKey(t), store: testStore(), dir: location.Dir(t.TempDir()), log: &safeBuffer{}, forbidden: make(map[Action]error)}
	m := &manager.Manager{
		App: testApp(), Source: h.store, Sink: h.store,
		Locations:  []location.Location{h.dir},
		Recipients: []backup.Recipient{h.key},
		Identities: []backup.Identity{h.key.Identity},
		Logger:     slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		NoReadme:   true, // so that tests can compare all files
	}
	o := Options{
		Manager: m,
		TempDir: t.TempDir(),
		Logger:  m.Logger,
		Authorize: func(r *http.Request, a Action) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.asked = append(h.asked, a)
			return h.forbidden[a]
		},
	}
	if change != nil {
		change(h, m, &o)
	}
	var err error
	h.Handler, err = New(o)
	require.NoError(t, err)
	h.moment = time.Hour // the start of a job waits for its end
	h.pause = 0
	h.secret = []string{planted, h.key.text}
	h.stop = func() {}
	t.Cleanup(func() {
		for _, g := range h.gates {
			g.open()
		}
		h.stop()
		h.clean("the log", h.log.String())
	})
	return h
}

// newHost makes the page of a host, serves it and calls Run. Each test has a host of its
// own, so the tests run at the same time.
func newHost(t *testing.T, change func(h *host, m *manager.Manager, o *Options)) *host {
	t.Parallel()
	h := makeHost(t, change)
	h.serve()
	h.run()
	return h
}

func (h *host) serve() {
	mux := http.NewServeMux()
	mux.Handle("/settings/backup/", h.Handler)
	server := httptest.NewServer(mux)
	h.Cleanup(server.Close)
	h.url = server.URL + "/settings/backup/"
}

// run calls Run and waits until it accepts work.
func (h *host) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		require.ErrorIs(h, <-ended, context.Canceled)
	})
	for !h.ready() {
		time.Sleep(time.Millisecond)
	}
}

func (h *host) ready() bool {
	h.Handler.mu.Lock()
	defer h.Handler.mu.Unlock()
	return h.running != nil && h.running.open
}

// forbid has Authorize return an error for an action.
func (h *host) forbid(a Action, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forbidden[a] = err
}

// clean fails the test if a secret is in a text.
func (h *host) clean(what, text string) {
	for _, s := range h.secret {
		if strings.Contains(text, s) {
			h.Errorf("a secret is in %s:\n%s", what, text)
		}
	}
}

// A reply is a response with its body.
type reply struct {
	*http.Response
	text string
}

// into decodes the body.
func (r reply) into(t testing.TB, v any) {
	require.NoError(t, json.Unmarshal([]byte(r.text), v), r.text)
}

// code returns the code of an error.
func (r reply) code(t testing.TB) string {
	var e struct{ Error, Code string }
	r.into(t, &e)
	require.NotEmpty(t, e.Error)
	return e.Code
}

// send sends a request and checks the response against openapi.json.
func (h *host) send(r *http.Request) reply {
	h.Helper()
	resp, err := http.DefaultClient.Do(r)
	require.NoError(h, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(h, err)
	h.clean(r.Method+" "+r.URL.Path, string(text))
	for name := range headers {
		require.NotEmpty(h, resp.Header.Get(name), "%s %s: %s", r.Method, r.URL.Path, name)
	}
	described(h, r, resp, text)
	return reply{resp, string(text)}
}

func (h *host) request(method, path string, body io.Reader) *http.Request {
	r, err := http.NewRequestWithContext(h.Context(), method, h.url+"api/"+path, body)
	require.NoError(h, err)
	return r
}

// do sends JSON, or no body if in is nil, and requires a status.
func (h *host) do(status int, method, path string, in any) reply {
	h.Helper()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		require.NoError(h, err)
		describedBody(h, method, path, text)
		body = bytes.NewReader(text)
	}
	r := h.request(method, path, body)
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	got := h.send(r)
	require.Equal(h, status, got.StatusCode, "%s %s: %s", method, path, got.text)
	return got
}

func (h *host) get(path string) reply {
	h.Helper()
	return h.do(http.StatusOK, "GET", path, nil)
}

type obj = map[string]any

// seen returns the overview.
func (h *host) seen() (o overviewJSON) {
	h.Helper()
	h.get("overview").into(h, &o)
	return o
}

// made makes a backup and returns its name.
func (h *host) made() string {
	h.Helper()
	j := h.began("backups", obj{})
	require.Empty(h, j.Error)
	return j.Made.Name
}

// alter changes the file of a stored backup.
func (h *host) alter(name string, change func(text string) string) {
	file := filepath.Join(string(h.dir), name)
	text, err := os.ReadFile(file)
	require.NoError(h, err)
	require.NoError(h, os.WriteFile(file, []byte(change(string(text))), 0o600))
}

func half(text string) string { return text[:len(text)*2/3] }

// sent uploads a file and requires a status.
func (h *host) sent(status int, name, text string) reply {
	h.Helper()
	r := h.request("POST", "uploads?name="+url.QueryEscape(name), strings.NewReader(text))
	r.Header.Set("Content-Type", "application/octet-stream")
	got := h.send(r)
	require.Equal(h, status, got.StatusCode, got.text)
	return got
}

// restored decodes a restore.
func (r reply) restored(t testing.TB) (info restoreJSON) {
	t.Helper()
	r.into(t, &info)
	require.NotEmpty(t, info.ID)
	return info
}

type restoreJSON struct {
	ID, Name, State, Problem string
	Older                    string
	Uploaded, Undo, Salvage  bool
	Manifest                 *backup.Manifest
	Verified                 *backup.Report
	Keys                     []string
	Collections              []collectionInfo
	Plan                     *planInfo
}

// began starts a job and waits for its end.
func (h *host) began(path string, in any) job {
	h.Helper()
	var j job
	h.do(http.StatusAccepted, "POST", path, in).into(h, &jsonJob{&j})
	return h.wait(j.ID)
}

// agreed adds the ID of the current plan to a request that applies it.
func (h *host) agreed(at string, in obj) obj {
	h.Helper()
	in["plan"] = "none"
	if plan := h.get(at).restored(h).Plan; plan != nil {
		in["plan"] = plan.ID
	}
	return in
}

// changesOf returns the path of the changes of the current plan.
func (h *host) changesOf(at string) string {
	h.Helper()
	return at + "/changes?plan=" + h.agreed(at, obj{})["plan"].(string)
}

// wait waits for the end of a job.
func (h *host) wait(id string) job {
	h.Helper()
	for {
		var j job
		h.get("jobs/"+id).into(h, &jsonJob{&j})
		if j.Ended != nil {
			return j
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// A jsonJob decodes a job, as far as possible: an error comes as a text.
type jsonJob struct{ *job }

func (j *jsonJob) UnmarshalJSON(text []byte) error {
	var plain struct {
		ID, Kind, Backup, Error, Code, Restore string
		Started                                time.Time
		Ended                                  *time.Time
		Progress                               *backup.Progress
		Made                                   *struct{ Name, Trigger string }
		Verified                               []struct{ Location, Backup, Error string }
		Report                                 *backup.Report
		Salvage                                *backup.SalvageReport
		Pruned                                 []struct {
			Location string
			Deleted  []string
		}
	}
	if err := json.Unmarshal(text, &plain); err != nil {
		return err
	}
	*j.job = job{ID: plain.ID, Kind: plain.Kind, Backup: plain.Backup, Error: plain.Error, Code: plain.Code, Restore: plain.Restore,
		Started: plain.Started, Ended: plain.Ended, Progress: plain.Progress, Report: plain.Report, Salvage: plain.Salvage}
	if plain.Made != nil {
		j.Made = &manager.Backup{Name: plain.Made.Name, Trigger: plain.Made.Trigger}
	}
	for _, v := range plain.Verified {
		found := manager.Verified{Location: v.Location, Backup: v.Backup}
		if v.Error != "" {
			found.Err = fmt.Errorf("%s", v.Error)
		}
		j.Verified = append(j.Verified, found)
	}
	for _, p := range plain.Pruned {
		j.Pruned = append(j.Pruned, manager.Pruned{Location: p.Location, Deleted: p.Deleted})
	}
	return nil
}

// An overviewJSON is an overview as JSON has it.
type overviewJSON struct {
	Backups []struct {
		Name      string
		Trigger   string
		Damaged   bool
		Manifest  *backup.Manifest
		Copies    []struct{ Location, Error string }
		Verified  *time.Time
		NeedsKey  bool `json:"needs_key"`
		CanDelete bool `json:"can_delete"`
		OtherKey  bool `json:"other_key"`
	}
	OtherKey    string `json:"other_key"`
	Collections []collectionInfo
	Unreachable []string
	Running     bool
	Job, Last   *jsonJobValue
	Undo, Good  string
	Shrunk      bool
	Automated   struct {
		Settings  Settings
		Editable  bool
		Next      *time.Time
		Late      bool
		LastRun   *jsonJobValue `json:"last_run"`
		Locations []string
		Days      []dayInfo
	}
}

// A jsonJobValue is a job in a member of an object.
type jsonJobValue struct{ job }

func (j *jsonJobValue) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &jsonJob{&j.job})
}

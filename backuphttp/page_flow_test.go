package backuphttp

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
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
	"github.com/tomo-project/backup/tomo"
)

// What people do, with a browser without JavaScript: it opens pages, follows links, fills
// in forms, presses buttons, and loads a page again if the page says so.

// A pageHost is an application that has the page.
type pageHost struct {
	store   backuptest.MapStore
	manager *manager.Manager
	saved   *Settings // nil: the settings of the manager
	server  *httptest.Server
	key     *age.X25519Identity
}

func newPageHost(t *testing.T, change func(h *pageHost)) *pageHost {
	t.Parallel()
	key, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	recipient, err := agekey.NewRecipient(key.Recipient())
	require.NoError(t, err)
	identity, err := agekey.NewIdentity(key)
	require.NoError(t, err)
	h := &pageHost{store: backuptest.MapStore{}, key: key}
	app := tomo.App("2.1.0")
	for _, c := range app.Collections {
		h.store[c.Name] = make(map[string]string)
		for i := range 3 {
			if r := tomo.Sample(c.Name, i); r.Key != "" {
				h.store[c.Name][r.Key] = string(r.Value)
			}
		}
	}
	h.manager = &manager.Manager{
		App: app, Source: h.store, Sink: h.store, Locations: []location.Location{location.Dir(t.TempDir())},
		Recipients: []backup.Recipient{recipient}, Identities: []backup.Identity{identity},
		Retention: backup.Retention{Last: 1},
	}
	if change != nil {
		change(h)
	}
	opts := Options{Manager: h.manager, Title: "Tomo", Authorize: func(*http.Request, Action) error { return nil }, TempDir: t.TempDir()}
	if h.saved != nil {
		opts.Manager, opts.Automation = nil, h
	}
	page, err := New(opts)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/settings/backup/", page)
	h.server = httptest.NewServer(mux)
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { _ = page.Run(ctx) })
	t.Cleanup(func() { cancel(); wait.Wait(); h.server.Close() })
	return h
}

func (h *pageHost) Settings(context.Context) (Settings, error) { return *h.saved, nil }
func (h *pageHost) Save(_ context.Context, s Settings) error   { *h.saved = s; return nil }
func (h *pageHost) Manager(_ context.Context, s Settings) (*manager.Manager, error) {
	m := &manager.Manager{App: h.manager.App, Source: h.store, Sink: h.store, Locations: h.manager.Locations, Recipients: h.manager.Recipients, Identities: h.manager.Identities}
	for _, path := range s.Locations {
		m.Locations = append(m.Locations, location.Dir(path))
	}
	return m, nil
}

// now returns a copy of the data of the host.
func (h *pageHost) now() backuptest.MapStore {
	all := make(backuptest.MapStore)
	for name, records := range h.store {
		all[name] = maps.Clone(records)
	}
	return all
}

// A browser shows a page.
type browser struct {
	t    *testing.T
	host *pageHost
	at   *url.URL
	code int
	all  []*element
	text string
	body string
}

func (h *pageHost) browse(t *testing.T) *browser {
	b := &browser{t: t, host: h}
	b.until("/settings/backup/", func() bool { return !strings.Contains(b.text, "Nothing can be started now") })
	return b
}

// until opens a page again and again until shown returns true, for at most a minute.
func (b *browser) until(path string, shown func() bool) {
	b.t.Helper()
	for range 12_000 {
		if b.open(path); shown() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	require.Fail(b.t, "it never came", "%s", b.text)
}

func (b *browser) open(path string) {
	b.t.Helper()
	r, err := http.NewRequest("GET", b.host.server.URL+path, nil)
	require.NoError(b.t, err)
	b.send(r)
}

func (b *browser) send(r *http.Request) {
	b.t.Helper()
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	w, err := http.DefaultClient.Do(r)
	require.NoError(b.t, err)
	defer w.Body.Close()
	body, err := io.ReadAll(w.Body)
	require.NoError(b.t, err)
	b.at, b.code, b.body = w.Request.URL, w.StatusCode, string(body)
	if strings.HasPrefix(w.Header.Get("Content-Type"), "text/html") {
		b.all = parsePage(b.t, b.body)
		b.text = spaceless(b.all[0].text)
	}
}

// follow follows a link.
func (b *browser) follow(text string) {
	b.t.Helper()
	for _, e := range named(b.all, "a") {
		if spaceless(e.text) == text {
			b.open(e.attrs["href"])
			return
		}
	}
	require.Fail(b.t, "no link", "%s in %s", text, b.text)
}

// press fills in the form of a button and sends it, with a file if there is one.
func (b *browser) press(button string, fill url.Values, file ...string) {
	b.t.Helper()
	i := slices.IndexFunc(b.all, func(e *element) bool { return e.name == "button" && spaceless(e.text) == button })
	require.GreaterOrEqual(b.t, i, 0, "no button %s in %s", button, b.text)
	e := b.all[i]
	form := e.within("form")
	values := filledIn(inside(b.all, form))
	for name := range fill {
		require.True(b.t, slices.ContainsFunc(inside(b.all, form), func(e *element) bool { return e.attrs["name"] == name }), "no field %s", name)
		values[name] = fill[name]
	}
	if name := e.attrs["name"]; name != "" {
		values.Add(name, e.attrs["value"])
	}
	body, kind := bytes.NewBufferString(values.Encode()), "application/x-www-form-urlencoded"
	if form.attrs["enctype"] == "multipart/form-data" {
		body.Reset()
		m := multipart.NewWriter(body)
		part, err := m.CreateFormFile("file", file[0])
		require.NoError(b.t, err)
		_, err = io.WriteString(part, file[1])
		require.NoError(b.t, err)
		require.NoError(b.t, m.Close())
		kind = m.FormDataContentType()
	}
	r, err := http.NewRequest("POST", b.host.server.URL+form.attrs["action"], body)
	require.NoError(b.t, err)
	r.Header.Set("Content-Type", kind)
	b.send(r)
	b.wait()
}

// wait loads the page again as long as the page says so.
func (b *browser) wait() {
	b.t.Helper()
	again := func() bool {
		return slices.ContainsFunc(named(b.all, "meta"), func(e *element) bool { return e.attrs["http-equiv"] == "refresh" })
	}
	if again() {
		b.until(b.at.Path, func() bool { return !again() })
	}
}

func (b *browser) title() string { return named(b.all, "h1")[0].text }

func (b *browser) sees(texts ...string) {
	b.t.Helper()
	for _, text := range texts {
		require.Contains(b.t, b.text, text, "at %s", b.at)
	}
}

func TestPeopleMakeBackups(t *testing.T) {
	h := newPageHost(t, nil)
	b := h.browse(t)
	b.sees("There are no backups yet.")

	b.press("Create Backup", url.Values{"include": {"logs"}})
	require.Equal(t, "Backup created", b.title())
	b.sees("Logs: 3", "Servers: 3")
	result := b.at.Path
	b.follow("Download")
	var file struct{ Data map[string]json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(b.body), &file))
	require.Contains(t, file.Data, "logs")

	b.open(result)
	b.follow("Backup & Restore")
	b.sees("1 backup, newest first", "made by hand", "Not verified yet")
	b.press("Verify", nil)
	require.Equal(t, "Backup verified", b.title())
	b.follow("Back to Backup & Restore")
	b.sees("Verified", ", verified ")

	b.follow("Delete")
	b.sees("This is the only good backup")
	b.press("Delete this backup", url.Values{"confirm": {"timo"}})
	require.Equal(t, 422, b.code)
	require.Equal(t, []string{"timo"}, filledIn(b.all)["confirm"])
	b.press("Delete this backup", url.Values{"confirm": {"tomo"}})
	b.sees("The backup was deleted.", "There are no backups yet.")

	b.press("Create Backup", nil)
	b.open("/settings/backup/")
	b.press("Create Backup", nil)
	b.open("/settings/backup/")
	b.follow("Delete")
	b.press("Delete this backup", nil)
	b.sees("The backup was deleted.", "1 backup, newest first")
}

// made makes a backup and returns its file.
func (b *browser) made() string {
	b.t.Helper()
	b.open("/settings/backup/")
	b.press("Create Backup", nil)
	require.Equal(b.t, "Backup created", b.title(), b.text)
	b.follow("Download")
	return b.body
}

func TestPeopleRestoreAndUndo(t *testing.T) {
	h := newPageHost(t, nil)
	b := h.browse(t)
	b.made()
	before := h.now()
	id, other := tomo.Sample("servers", 0).Key, tomo.Sample("servers", 1).Key
	changed := strings.Replace(h.store["servers"][id], `"port":22`, `"port":2222`, 1)
	h.store["servers"][id] = strings.Replace(changed, "made-up-0000000", "another-secret", 1)
	h.store["settings"]["theme"] = `"another"`
	delete(h.store["servers"], other)
	delete(h.store["applications"], tomo.Sample("applications", 1).Key)
	edited := h.now()

	// A selective restore of the newest backup, which is one click away.
	b.open("/settings/backup/")
	b.press("Restore this backup", nil)
	b.sees("It was read to its end, and can be restored", "Servers 3 records")
	b.press("Show what it would do", url.Values{"mode": {"selective"}})
	require.Equal(t, 422, b.code)
	b.press("Show what it would do", url.Values{"only": {"servers"}, "strategy": {"merge"}})
	require.Equal(t, "What the restore will do", b.title(), b.text)
	b.sees("2 changes", "/port 2222 becomes→ 22", `/password "(secret)" becomes→ "(secret)"`, "Added Servers "+other)
	require.NotContains(t, b.body, "another-secret")
	require.NotContains(t, b.body, "made-up")
	require.Equal(t, edited, h.store, "nothing has changed yet")
	b.press("Restore Selected", nil)
	require.Equal(t, "Restore complete", b.title(), b.text)
	require.Equal(t, before["servers"], h.store["servers"])
	require.Equal(t, edited["settings"], h.store["settings"])

	b.press("Undo", nil)
	require.Equal(t, "What undoing will do", b.title(), b.text)
	b.press("Undo now", url.Values{"confirm": {"tomo"}})
	require.Equal(t, "Restore undone", b.title(), b.text)
	require.Equal(t, edited, h.store)

	// A full restore of a backup that is chosen from the list.
	b.open("/settings/backup/restore")
	b.press("Look into it", nil)
	b.press("Show what it would do", url.Values{"mode": {"full"}})
	b.sees("Full restore replaces ALL current data.", "type tomo")
	b.press("Full Restore", url.Values{"confirm": {"Tomo"}})
	require.Equal(t, 422, b.code)
	require.Equal(t, []string{"Tomo"}, filledIn(b.all)["confirm"])
	require.Equal(t, edited, h.store)
	b.press("Full Restore", url.Values{"confirm": {"tomo"}})
	require.Equal(t, "Restore complete", b.title(), b.text)
	require.Equal(t, before, h.store)
}

// A stale plan is not applied.
func TestPeopleAreToldThatAPlanIsStale(t *testing.T) {
	h := newPageHost(t, nil)
	b := h.browse(t)
	b.made()
	h.store["settings"]["theme"] = `"another"`
	b.open("/settings/backup/")
	b.press("Restore this backup", nil)
	b.press("Show what it would do", url.Values{"mode": {"selective"}, "only": {"settings"}, "strategy": {"merge"}})
	h.store["settings"]["theme"] = `"a third"`
	b.press("Restore Selected", nil)
	require.Equal(t, http.StatusConflict, b.code)
	require.Equal(t, `"a third"`, h.store["settings"]["theme"])
	b.sees("make a new plan")
	require.NotContains(t, b.text, "Restore Selected")
	b.open(b.at.Path[:strings.LastIndex(b.at.Path, "/")] + "/plan") // loading the page again changes nothing
	require.Equal(t, http.StatusConflict, b.code)
	b.press("Make a new plan", nil)
	b.sees(`"a third"`, "1 change")
	b.press("Restore Selected", nil)
	require.Equal(t, "Restore complete", b.title(), b.text)
}

// A person agrees to the plan that the tab shows, whatever another tab has planned.
func TestPeopleUseTwoTabs(t *testing.T) {
	h := newPageHost(t, nil)
	b := h.browse(t)
	b.made()
	id := tomo.Sample("servers", 0).Key
	h.store["settings"]["theme"] = `"another"`
	delete(h.store["servers"], id)
	b.open("/settings/backup/")
	b.press("Restore this backup", nil)
	other := *b
	b.press("Show what it would do", url.Values{"mode": {"selective"}, "only": {"settings"}, "strategy": {"merge"}})
	other.press("Show what it would do", url.Values{"mode": {"selective"}, "only": {"servers"}, "strategy": {"merge"}})
	before := h.now()
	b.press("Restore Selected", nil)
	require.Equal(t, http.StatusConflict, b.code)
	b.sees("there is a new plan now: look at it", "Servers")
	require.Equal(t, before, h.now())

	twice := other
	other.press("Restore Selected", nil)
	require.Equal(t, "Restore complete", other.title(), other.text)
	require.Contains(t, h.store["servers"], id)
	require.Equal(t, `"another"`, h.store["settings"]["theme"])
	twice.press("Restore Selected", nil)
	require.Equal(t, other.at, twice.at, "a second click leads to the job of the first")
}

func TestPeopleGoOnToAnOlderBackup(t *testing.T) {
	h := newPageHost(t, nil)
	b := h.browse(t)
	b.made()
	b.made()
	b.open("/settings/backup/")
	b.sees("The newest full backup is of", ", not verified yet")
	dir := string(h.manager.Locations[0].(location.Dir))
	i := slices.IndexFunc(named(b.all, "input"), func(e *element) bool { return e.attrs["name"] == "name" })
	name := dir + "/" + named(b.all, "input")[i].attrs["value"]
	require.NoError(t, os.WriteFile(name, []byte(readFile(t, name)[:500]), 0o600))
	b.press("Restore this backup", nil)
	b.sees("Damaged")
	b.press("Look into the older backup", nil)
	b.sees("It was read to its end, and can be restored")
	b.open("/settings/backup/")
	b.sees("The newest full backup without a known problem is of", ", verified ")
	b.press("Restore this backup", nil)
	b.sees("It was read to its end, and can be restored")
}

func TestPeopleSaveWhatIsIntact(t *testing.T) {
	h := newPageHost(t, nil)
	b := h.browse(t)
	file := b.made()
	lost := tomo.Sample("servers", 1).Key
	damaged := strings.Replace(file, lost, lost+"\x01", 1)
	h.store["servers"] = make(map[string]string)
	h.store["applications"] = make(map[string]string)

	b.open("/settings/backup/restore")
	b.press("Upload and look into it", nil, "my backup.json", damaged)
	b.sees("Damaged", "my backup.json")
	require.NotContains(t, b.text, "Full Restore")
	b.press("Save what is intact", nil)
	require.Equal(t, "Saved what is intact", b.title(), b.text)
	b.sees("Servers210")
	b.follow("Look into what was saved")
	b.sees("Not complete")
	b.press("Show what it would do", url.Values{"mode": {"selective"}, "only": {"servers"}, "strategy": {"merge"}, "allow_dangling": {"1"}})
	b.press("Restore Selected", nil)
	require.Equal(t, "Restore complete", b.title(), b.text)
	require.Len(t, h.store["servers"], 2)

	b.open("/settings/backup/restore")
	b.press("Upload and look into it", nil, "holiday.jpg", "\xff\xd8\xff\xe0 no backup")
	b.sees("It cannot be restored here")
	b.press("Cancel", nil)
	b.sees("Nothing was changed")
}

// If the server has public keys only, people bring the key to restore.
func TestPeopleBringTheKey(t *testing.T) {
	h := newPageHost(t, func(h *pageHost) { h.manager.Identities = nil })
	b := h.browse(t)
	b.made()
	other, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	delete(h.store["servers"], tomo.Sample("servers", 2).Key)
	delete(h.store["applications"], tomo.Sample("applications", 2).Key)
	b.open("/settings/backup/")
	b.sees("Key needed")
	b.press("Restore this backup", nil)
	b.sees("Open it with a key to restore all of it")
	b.press("Open the backup", url.Values{"key": {other.String()}})
	require.Equal(t, 422, b.code)
	require.NotContains(t, b.body, other.String())
	b.press("Open the backup", url.Values{"key": {"# made today\r\n" + h.key.String() + "\r\n"}})
	require.Equal(t, http.StatusOK, b.code)
	require.NotContains(t, b.body, h.key.String())
	b.sees("It was read to its end")
	b.press("Show what it would do", url.Values{"mode": {"selective"}, "only": {"servers"}})
	b.press("Restore Selected", nil)
	require.Equal(t, "Restore complete", b.title(), b.text)
	require.Len(t, h.store["servers"], 3)
}

func TestPeopleAutomateBackups(t *testing.T) {
	h := newPageHost(t, func(h *pageHost) { h.saved = &Settings{} })
	b := h.browse(t)
	b.sees("Backups are made by hand only")
	b.follow("Change settings")
	second := t.TempDir()
	fill := url.Values{"enabled": {"1"}, "schedule": {"weekly"}, "weekday": {"friday"}, "time": {"23:59"}, "zone": {"Mars/Olympus"}, "keep_last": {"7"}, "location": {second, "/does/not/exist"}}
	b.press("Save", fill)
	require.Equal(t, 422, b.code)
	b.sees("Mars/Olympus")
	require.Equal(t, []string{second, "/does/not/exist", ""}, filledIn(b.all)["location"])
	require.Equal(t, Settings{}, *h.saved)

	fill["zone"] = []string{"Europe/Berlin"}
	b.press("Preview what would be deleted", fill)
	b.sees("Nothing would be deleted.")
	b.press("Test", nil)
	b.sees("Works")
	require.Equal(t, Settings{}, *h.saved, "neither changes anything")

	broken := t.TempDir() + "/file"
	require.NoError(t, os.WriteFile(broken, nil, 0o600))
	b.press("Save", url.Values{"location": {second, broken}})
	require.Equal(t, 422, b.code)
	b.sees("nothing was saved, because not all locations work", broken, "Save anyway")
	require.Equal(t, Settings{}, *h.saved)
	b.press("Save", url.Values{"location": {second, broken}, "force": {"1"}, "enabled": nil})
	b.sees("The settings are saved and in effect.")
	b.open("/settings/backup/settings")

	b.press("Save", url.Values{"location": {second}, "enabled": {"1"}})
	b.sees("The settings are saved and in effect.", "every Friday at 23:59 (Europe/Berlin)", "The last 7", second)
	require.Equal(t, Settings{Enabled: true, Schedule: "weekly", Weekday: "friday", Time: "23:59", Zone: "Europe/Berlin", KeepLast: 7, Locations: []string{second}}, *h.saved)

	// The first scheduled backup begins at once.
	b.until("/settings/backup/", func() bool {
		return strings.Contains(b.text, "made by schedule") && len(named(b.all, "progress")) == 0
	})
	b.press("Create Backup", nil)
	require.Equal(t, "Backup created", b.title(), b.text)
	b.open("/settings/backup/prune")
	b.sees("Nothing would be deleted.", "made by hand", "among the last 7")
}

func TestWhatIsForgottenIsExplained(t *testing.T) {
	b := newPageHost(t, nil).browse(t)
	for _, path := range []string{"restore/gone", "restore/gone/plan", "jobs/gone", "backups/tomo-backup-2024-01-15T10-30-00.json/delete", "backups/tomo-backup-2024-01-15T10-30-00.json/download", "nowhere"} {
		b.open("/settings/backup/" + path)
		require.Equal(t, http.StatusNotFound, b.code, path)
		b.sees("There is a problem", "Back to Backup & Restore")
	}
}

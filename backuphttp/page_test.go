package backuphttp

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"math"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

const mountPoint = "/settings/backup/"

// hostile is a text that a name, a value or a message may have.
const hostile = `"'><script>alert(1)</script><img src=x onerror=alert(2)></textarea></title>{{.Base}}<!-- javascript:alert(3) ../..%2f?a=b#c &amp; ` + "\x1b[31m\u202egpj.\u2066\x00\x7f end"

// get returns the page at a path below the mount point.
func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", mountPoint+path, nil))
	return w
}

// post sends a form as a browser does.
func post(h http.Handler, path string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", mountPoint+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// An element is an element of a page, with all its text.
type element struct {
	name     string
	attrs    map[string]string
	parent   *element
	children []*element
	text     string
	written  strings.Builder
}

// parsePage reads a page as strictly as XML. It fails if a tag is not closed, or an
// attribute is not quoted or there twice.
func parsePage(t *testing.T, page string) []*element {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Entity = xml.HTMLEntity
	root := &element{}
	at, all := root, []*element(nil)
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		require.NoError(t, err, "%s", page)
		switch token := token.(type) {
		case xml.StartElement:
			e := &element{name: token.Name.Local, attrs: make(map[string]string), parent: at}
			for _, a := range token.Attr {
				name := a.Name.Local
				require.NotContains(t, e.attrs, name, "twice in <%s>", e.name)
				e.attrs[name] = a.Value
			}
			at.children = append(at.children, e)
			at, all = e, append(all, e)
		case xml.EndElement:
			at.text = at.written.String()
			at.parent.written.WriteString(at.text)
			at = at.parent
		case xml.CharData:
			at.written.Write(token)
		case xml.Comment:
			require.Fail(t, "a comment")
		}
	}
	require.Same(t, root, at)
	return all
}

func named(all []*element, names ...string) []*element {
	return slices.DeleteFunc(slices.Clone(all), func(e *element) bool { return !slices.Contains(names, e.name) })
}

func (e *element) within(name string) *element {
	for ; e != nil; e = e.parent {
		if e.name == name {
			return e
		}
	}
	return nil
}

// paths are the paths of all pages, in all states.
func paths(f *fake) []string {
	list := []string{"", "?from=50", "?done=saved", "restore", "settings", "prune"}
	for _, b := range f.o.Backups {
		list = append(list, "backups/"+url.PathEscape(b.Name)+"/delete")
	}
	for id := range maps.Keys(f.jobs) {
		list = append(list, "jobs/"+id)
	}
	for id, r := range f.restores {
		if list = append(list, "restore/"+id); r.Plan != nil {
			list = append(list, "restore/"+id+"/plan", "restore/"+id+"/plan?from=100", "restore/"+id+"/plan?from=9999999")
		}
	}
	return list
}

// Every page is checked with hostile text in it. It must be well-formed, and must have
// nothing that the Content-Security-Policy forbids. It must work for people who use a
// screen reader, only the keyboard, or no JavaScript.
func TestEveryPageHoldsWhateverIsInIt(t *testing.T) {
	f := newFake(hostile)
	running := f.jobs["running"]
	f.o.Job = &running
	h := f.handler()
	routes := http.NewServeMux()
	for _, r := range (&pages{}).routes() {
		routes.Handle(r.pattern, http.NotFoundHandler())
	}
	for _, path := range append(paths(f), "no/such/page", "jobs/gone", "restore/gone") {
		t.Run(path, func(t *testing.T) {
			w := get(h, path)
			page := w.Body.String()
			if strings.Contains(path, "gone") || strings.Contains(path, "no/") {
				require.Equal(t, http.StatusNotFound, w.Code, page)
			} else {
				require.Equal(t, http.StatusOK, w.Code, page)
			}
			require.Equal(t, "text/html; charset=utf-8", w.Header().Get("Content-Type"))
			require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			checkPage(t, page, routes)
		})
	}
}

func checkPage(t *testing.T, page string, routes *http.ServeMux) {
	t.Helper()
	for _, hidden := range []string{"\x1b", "\u202e", "\u2066", "\x00", "\x7f"} {
		require.NotContains(t, page, hidden, "a character that makes text look different from what it says")
	}
	all := parsePage(t, page)
	ids := make(map[string]*element)
	for _, e := range all {
		if id, ok := e.attrs["id"]; ok {
			require.NotContains(t, ids, id, "id")
			ids[id] = e
		}
		for name := range e.attrs {
			require.False(t, strings.HasPrefix(name, "on") || name == "style", "<%s %s>", e.name, name)
		}
	}
	require.Empty(t, named(all, "style", "base", "img", "iframe", "object", "embed", "svg"))
	require.Len(t, named(all, "script"), 1)
	require.Regexp(t, `^/settings/backup/page\.js\?v=[0-9a-f]{16}$`, named(all, "script")[0].attrs["src"])
	require.Empty(t, strings.TrimSpace(named(all, "script")[0].text))

	require.Len(t, named(all, "h1"), 1)
	require.Len(t, named(all, "main"), 1)
	require.Equal(t, "en", named(all, "html")[0].attrs["lang"])
	require.Contains(t, named(all, "title")[0].text, named(all, "h1")[0].text)
	level := 1
	for _, e := range named(all, "h1", "h2", "h3", "h4") {
		n := int(e.name[1] - '0')
		require.LessOrEqual(t, n, level+1, "a heading skips a level: %s", e.text)
		require.NotEmpty(t, strings.TrimSpace(e.text))
		level = n
	}

	for _, e := range all {
		for _, name := range []string{"aria-labelledby", "aria-describedby", "for", "list"} {
			if id, ok := e.attrs[name]; ok {
				require.Contains(t, ids, id, "<%s %s>", e.name, name)
			}
		}
		if to, ok := strings.CutPrefix(e.attrs["href"], "#"); ok {
			require.Contains(t, ids, to)
		} else if e.name == "a" || e.name == "link" {
			requireRoute(t, routes, "GET", e.attrs["href"])
		}
		if role := e.attrs["role"]; role == "region" || e.name == "section" || e.name == "nav" || e.name == "progress" {
			require.NotEmpty(t, e.attrs["aria-label"]+e.attrs["aria-labelledby"], "<%s>", e.name)
		}
	}
	for _, e := range named(all, "form") {
		require.Equal(t, "post", e.attrs["method"])
		requireRoute(t, routes, "POST", e.attrs["action"])
		require.NotEmpty(t, named(inside(all, e), "button"), "a form without a button")
	}
	for _, e := range named(all, "input", "select", "textarea", "button") {
		require.NotNil(t, e.within("form"), "<%s %s>", e.name, e.attrs["name"])
		switch {
		case e.name == "button":
			require.NotEmpty(t, strings.TrimSpace(e.text)+e.attrs["aria-label"])
			require.True(t, strings.HasPrefix(e.attrs["aria-label"], strings.TrimSpace(e.text)) || e.attrs["aria-label"] == "", "the label for screen readers begins with the visible text")
		case e.attrs["type"] == "hidden":
		case e.within("label") != nil:
		default:
			require.Contains(t, ids, e.attrs["id"], "<%s %s>", e.name, e.attrs["name"])
			require.True(t, slices.ContainsFunc(named(all, "label"), func(l *element) bool { return l.attrs["for"] == e.attrs["id"] }), "no label for %s", e.attrs["id"])
		}
		if kind := e.attrs["type"]; (kind == "checkbox" && e.attrs["name"] != "" || kind == "radio") && e.within("details") == nil {
			require.NotNil(t, e.within("fieldset"), "%s", e.attrs["name"])
		}
	}
	for _, e := range named(all, "fieldset") {
		require.Equal(t, "legend", e.children[0].name)
	}
	for _, e := range named(all, "table") {
		require.Equal(t, "caption", e.children[0].name)
		require.NotEmpty(t, named(inside(all, e), "th"))
		for _, th := range named(inside(all, e), "th") {
			require.Contains(t, []string{"row", "col"}, th.attrs["scope"])
		}
	}
	for _, e := range named(all, "time") {
		_, err := time.Parse(time.RFC3339, e.attrs["datetime"])
		require.NoError(t, err)
	}
}

func inside(all []*element, outer *element) []*element {
	return slices.DeleteFunc(slices.Clone(all), func(e *element) bool {
		for e = e.parent; e != nil; e = e.parent {
			if e == outer {
				return false
			}
		}
		return true
	})
}

// requireRoute requires that a link or a form leads to a route.
func requireRoute(t *testing.T, routes *http.ServeMux, method, link string) {
	t.Helper()
	if link == "/" { // a page of the host
		return
	}
	require.True(t, strings.HasPrefix(link, mountPoint), "%s leads out of the page", link)
	r := httptest.NewRequest(method, "/"+strings.TrimPrefix(link, mountPoint), nil)
	_, pattern := routes.Handler(r)
	require.NotEmpty(t, pattern, "%s %s leads nowhere", method, link)
}

// The pages show names and values exactly, and do not only make them harmless.
func TestNamesAndValuesAreShownAsTheyAre(t *testing.T) {
	f := newFake("<b>&x;</b>")
	h := f.handler()
	for path, want := range map[string][]string{
		"":                     {"/mnt/usb<b>&x;</b>", "tomo-backup-2024-03-31T00-30-00<b>&x;</b>.json.zst", "Audit logs: 120,345", "Servers: 0, was 214", "2.3 MB"},
		"jobs/restore":         {"Tomo restarts <b>&x;</b>", "no integrity information <b>&x;</b>", "Settings: 12 in conflict"},
		"jobs/failed":          {"open <b>&x;</b>: permission denied; check write permissions\nand <b>&x;</b>", "Is there space on the disk?"},
		"jobs/salvage":         {"Bytes 10 to 2,000", "1 place of the file, 2.0 kB"},
		"restore/locked":       {"it takes a key <b>&x;</b>", "opens with age1<b>&x;</b>, passphrase"},
		"restore/planned/plan": {"251 changes", `"<b>&x;</b>"`, `"(secret)"`, "/<b>&x;</b>", "(10.0 kB in all)", "type tomo"},
		"settings":             {"Europe/Berlin"},
		"prune":                {"not among the last 2, <b>&x;</b>", "made by hand", "1 file would be deleted"},
	} {
		all := parsePage(t, get(h, path).Body.String())
		for _, text := range want {
			var values []string
			for _, e := range all {
				values = append(values, e.attrs["value"])
			}
			require.True(t, strings.Contains(spaceless(all[0].text), spaceless(text)) || slices.Contains(values, text), "%s: %s in %s", path, text, all[0].text)
		}
	}
}

func spaceless(s string) string { return strings.Join(strings.Fields(s), " ") }

// Each form calls the service with what the person has typed, and a redirect answers it.
func TestFormsDoWhatTheySay(t *testing.T) {
	f := newFake("")
	h := f.handler()
	name := f.o.Backups[1].Name
	for _, c := range []struct {
		path string
		form url.Values
		call string
		to   string
	}{
		{"create", url.Values{"include": {"audit_logs", "more"}}, "create [audit_logs more]", "jobs/running"},
		{"create", nil, "create []", "jobs/running"},
		{"backups/" + name + "/verify", nil, "verify " + name, "jobs/running"},
		{"backups/" + name + "/accept", nil, "accept " + name, "?done=accepted"},
		{"backups/" + name + "/delete", url.Values{"confirm": {"tomo"}}, "delete " + name + " tomo", "?done=deleted"},
		{"look", url.Values{"name": {name}}, "look " + name, "restore/ok"},
		{"undo", nil, "lookUndo", "restore/undo/plan"},
		{"restore/locked/unlock", url.Values{"passphrase": {" correct horse "}}, `unlock locked " correct horse "`, "restore/locked"},
		{"restore/locked/unlock", url.Values{"key": {"\r\n# made today\r\nAGE-SECRET-KEY-1X\r\n"}}, `unlock locked "# made today\nAGE-SECRET-KEY-1X\n"`, "restore/locked"},
		{"restore/damaged/salvage", nil, "salvage damaged", "jobs/running"},
		{"restore/ok/discard", nil, "discard ok", "?done=discarded"},
		{"restore/ok/plan", url.Values{"mode": {"full"}, "strategy": {"merge"}}, fmt.Sprintf("plan ok %+v", planInput{Full: true, Strategy: "merge"}), "restore/ok/plan"},
		{"restore/ok/plan", url.Values{"mode": {"selective"}, "only": {"servers", "users"}, "strategy": {"replace"}, "allow_dangling": {"1"}, "skip_clashes": {"1"}, "leave_out_invalid": {"1"}, "allow_newer_app": {"1"}, "allow_unknown": {"1"}, "allow_salvaged": {"1"}},
			fmt.Sprintf("plan ok %+v", planInput{Only: []string{"servers", "users"}, Strategy: "replace", Dangling: true, Clashes: true, LeaveOut: true, NewerApp: true, Unknown: true, Salvaged: true}), "restore/ok/plan"},
		{"restore/planned/apply", url.Values{"plan": {"first"}, "confirm": {"tomo"}}, "apply planned first tomo", "jobs/running"},
		{"prune", nil, "prune", "jobs/running"},
		{"settings", url.Values{"do": {"save"}, "enabled": {"1"}, "schedule": {"weekly"}, "weekday": {"sunday"}, "time": {"02:30"}, "zone": {"Europe/Berlin"}, "keep_last": {"7"}, "keep_days": {""}, "location": {" /a ", "", "/b"}},
			fmt.Sprintf("save %+v false", Settings{Enabled: true, Schedule: "weekly", Weekday: "sunday", Time: "02:30", Zone: "Europe/Berlin", KeepLast: 7, Locations: []string{"/a", "/b"}}), "?done=saved"},
	} {
		f.calls = nil
		w := post(h, c.path, c.form)
		require.Equal(t, http.StatusSeeOther, w.Code, "%s: %s", c.path, w.Body)
		require.Equal(t, mountPoint+c.to, w.Header().Get("Location"))
		require.Equal(t, []string{c.call}, f.calls)
	}
}

// The server reads every field that a form sends, and the next page shows what was
// ticked.
func TestPlanFormShowsWhatWasChosen(t *testing.T) {
	f := newFake("x")
	h := f.handler()
	chosen := func(page string) url.Values {
		values := url.Values{}
		for _, e := range named(parsePage(t, page), "input") {
			form := e.within("form")
			if _, checked := e.attrs["checked"]; form != nil && strings.HasSuffix(form.attrs["action"], "/plan") && (checked || e.attrs["type"] == "hidden") {
				values.Add(e.attrs["name"], e.attrs["value"])
			}
		}
		return values
	}
	want := url.Values{"mode": {"selective"}, "only": {"servers", "x"}, "strategy": {"merge"}, "allow_dangling": {"1"}, "skip_clashes": {"1"}, "leave_out_invalid": {"1"}, "allow_newer_app": {"1"}, "allow_unknown": {"1"}, "allow_salvaged": {"1"}}
	require.Equal(t, want, chosen(get(h, "restore/selective").Body.String()))
	require.Equal(t, want, chosen(get(h, "restore/selective/plan").Body.String()), "Make a new plan")
	require.Equal(t, url.Values{"strategy": {"skip-duplicates"}}, chosen(get(h, "restore/ok").Body.String()), "no choice that deletes something is ticked at first")
}

func TestWrongInputIsKeptAndExplained(t *testing.T) {
	f := newFake("")
	h := f.handler()
	wrong := invalid("wrong", "this & that went wrong: do something else")
	f.fail = map[string]error{"create": fmt.Errorf("%w: a restore runs", location.ErrBusy), "plan": wrong, "apply": wrong, "delete": wrong, "save": wrong, "unlock": backup.ErrWrongKey, "look": wrong, "verify": wrong, "accept": wrong, "salvage": wrong, "prune": wrong, "lookUndo": wrong, "probe": wrong, "prunePreview": wrong}
	running := f.jobs["running"]
	f.o.Job, f.pruned = &running, nil
	only := "backups/" + f.o.Backups[0].Name + "/delete"
	routes := http.NewServeMux()
	for _, r := range (&pages{}).routes() {
		routes.Handle(r.pattern, http.NotFoundHandler())
	}
	typed := url.Values{"do": {"save"}, "enabled": {"1"}, "schedule": {"monthly"}, "weekday": {"friday"}, "time": {"25:99"}, "zone": {"Mars/Olympus"}, "keep_last": {"7"}, "keep_days": {"30"}, "location": {"/a", "/b"}}
	badNumber := maps.Clone(typed)
	badNumber["keep_days"] = []string{"thirty"}
	for _, c := range []struct {
		path string
		form url.Values
		code int
		want string
		kept url.Values
	}{
		{"create", url.Values{"include": {"audit_logs"}}, http.StatusConflict, "a restore runs", url.Values{"include": {"audit_logs"}}},
		{"restore/ok/plan", url.Values{"mode": {"selective"}, "only": {"settings"}, "strategy": {"replace"}, "allow_unknown": {"1"}}, 422, "this & that", url.Values{"mode": {"selective"}, "only": {"settings"}, "strategy": {"replace"}, "allow_unknown": {"1"}}},
		{"restore/ok/plan", url.Values{"mode": {"selective"}, "strategy": {"merge"}}, 422, "tick at least one item to restore", url.Values{"mode": {"selective"}, "strategy": {"merge"}}},
		{"restore/ok/plan", url.Values{"only": {"settings"}, "strategy": {"merge"}}, 422, "choose Full Restore or", url.Values{"only": {"settings"}, "strategy": {"merge"}}},
		{"restore/planned/apply", url.Values{"confirm": {"tomoo"}}, 422, "this & that", url.Values{"confirm": {"tomoo"}}},
		{only, url.Values{"confirm": {"timo"}}, 422, "this & that", url.Values{"confirm": {"timo"}}},
		{"settings", typed, 422, "this & that", typed},
		{"settings", badNumber, 422, `"thirty" is not a number of days`, badNumber},
		{"settings", with(typed, "do", "preview"), 422, "this & that", typed},
		{"settings", with(typed, "do", "test 1"), 422, "this & that", typed},
		{"restore/locked/unlock", url.Values{"passphrase": {"a secret"}}, 422, "wrong key", nil},
		{"restore/locked/unlock", url.Values{"passphrase": {"a secret"}, "key": {"a secret"}}, 422, "leave one of them empty", nil},
		{"restore/locked/unlock", nil, 422, "type the passphrase", nil},
		{"look", nil, 422, "this & that", nil},
		{"undo", nil, 422, "this & that", nil},
		{"backups/x/verify", nil, 422, "this & that", nil},
		{"backups/x/accept", nil, 422, "this & that", nil},
		{"restore/damaged/salvage", nil, 422, "this & that", nil},
		{"prune", nil, 422, "this & that", nil},
	} {
		t.Run(c.path, func(t *testing.T) {
			w := post(h, c.path, c.form)
			page := w.Body.String()
			require.Equal(t, c.code, w.Code, page)
			checkPage(t, page, routes)
			all := parsePage(t, page)
			i := slices.IndexFunc(all, func(e *element) bool { return e.attrs["id"] == "problem" })
			require.GreaterOrEqual(t, i, 0)
			require.Contains(t, all[i].text, c.want)
			require.Equal(t, "autofocus", all[i].attrs["autofocus"])
			require.Equal(t, "alert", all[i].attrs["role"])
			require.True(t, strings.HasPrefix(named(all, "title")[0].text, "Problem: "))
			require.NotContains(t, page, "a secret")
			running := strings.Contains(all[i].text, "Show what is running")
			require.Equal(t, c.code == http.StatusConflict, running, "a person who has to wait sees what is running")
			there := filledIn(all)
			for name, values := range c.kept {
				if name != "do" {
					require.Subset(t, there[name], values, name)
				}
			}
		})
	}
}

func with(form url.Values, name, value string) url.Values {
	form = maps.Clone(form)
	form[name] = []string{value}
	return form
}

// filledIn returns the fields that a browser would send, of all forms of a page.
func filledIn(all []*element) url.Values {
	values := url.Values{}
	for _, e := range named(all, "input", "option") {
		name, value := e.attrs["name"], e.attrs["value"]
		_, checked := e.attrs["checked"]
		_, selected := e.attrs["selected"]
		switch kind := e.attrs["type"]; {
		case e.name == "option" && selected:
			values.Add(e.within("select").attrs["name"], value)
		case e.name == "option", (kind == "checkbox" || kind == "radio") && !checked:
		default:
			values.Add(name, value)
		}
	}
	return values
}

func TestSettingsAreTestedAndPreviewed(t *testing.T) {
	f := newFake("")
	h := f.handler()
	typed := url.Values{"schedule": {"daily"}, "time": {"01:00"}, "keep_last": {"2"}, "location": {"/a", " /b ", ""}}
	s := Settings{Schedule: "daily", Time: "01:00", KeepLast: 2, Locations: []string{"/a", "/b"}}
	for do, call := range map[string]string{
		"preview": fmt.Sprintf("prunePreview %+v", s),
		"test":    fmt.Sprintf("probe %+v", s),
		"test 1":  fmt.Sprintf("probe %+v", Settings{Schedule: "daily", Time: "01:00", KeepLast: 2, Locations: []string{"/b"}}),
		"test 2":  fmt.Sprintf("probe %+v", Settings{Schedule: "daily", Time: "01:00", KeepLast: 2}),
		"test 9":  fmt.Sprintf("probe %+v", s),
	} {
		f.calls = nil
		w := post(h, "settings", with(typed, "do", do))
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, []string{call}, f.calls)
		require.Subset(t, filledIn(parsePage(t, w.Body.String()))["location"], []string{"/a", " /b "})
	}
	require.Contains(t, post(h, "settings", with(typed, "do", "test 1")).Body.String(), "Does not work")
	require.Contains(t, post(h, "settings", with(typed, "do", "preview")).Body.String(), "1 file would be deleted")

	f.fail = map[string]error{"prunePreview": manager.ErrShrunk}
	page := post(h, "settings", with(typed, "do", "preview")).Body.String()
	require.Contains(t, page, "1 file would be deleted")
	require.Contains(t, page, manager.ErrShrunk.Error(), "the reason why nothing is deleted")

	f.o.Automated.Editable = false
	require.Empty(t, named(parsePage(t, get(h, "settings").Body.String()), "input"), "settings that cannot be changed have no form")
}

// Without JavaScript, the page of a job loads again until the job has ended.
func TestProgressWithoutJavaScript(t *testing.T) {
	f := newFake("")
	h := f.handler()
	all := parsePage(t, get(h, "jobs/running").Body.String())
	refresh := slices.IndexFunc(named(all, "meta"), func(e *element) bool { return e.attrs["http-equiv"] == "refresh" })
	require.GreaterOrEqual(t, refresh, 0)
	require.NotNil(t, named(all, "meta")[refresh].within("noscript"), "with JavaScript, the page follows the events instead")
	require.Equal(t, "35", named(all, "progress")[0].attrs["value"])
	require.NotContains(t, named(parsePage(t, get(h, "jobs/begun").Body.String()), "progress")[0].attrs, "value")
	for id, j := range f.jobs {
		if j.Ended != nil {
			page := get(h, "jobs/"+id).Body.String()
			require.NotContains(t, page, "http-equiv")
			require.Equal(t, "autofocus", named(parsePage(t, page), "h1")[0].attrs["autofocus"], "a screen reader reads the result")
		}
	}
}

func TestPlanIsShownInPages(t *testing.T) {
	f := newFake("")
	h := f.handler()
	for path, want := range map[string]string{
		"restore/planned/plan":           "Changes 1 to 100.",
		"restore/planned/plan?from=100":  "Changes 101 to 200.",
		"restore/planned/plan?from=200":  "Changes 201 to 251, the last.",
		"restore/planned/plan?from=-5":   "Changes 1 to 100.",
		"restore/planned/plan?from=9e9x": "Changes 1 to 100.",
	} {
		require.Contains(t, get(h, path).Body.String(), want, path)
	}
	require.Equal(t, http.StatusSeeOther, get(h, "restore/ok/plan").Code, "without a plan, the page leads to the form that makes a plan")

	f.fail = map[string]error{"changes": fmt.Errorf("%w: make a new plan", backup.ErrStale)}
	w := get(h, "restore/planned/plan")
	require.Equal(t, http.StatusConflict, w.Code)
	require.Contains(t, w.Body.String(), "Make a new plan")
	require.NotContains(t, w.Body.String(), "/apply", "nobody can agree to a plan that is not shown")
}

func uploadRequest(field, name, content string) *http.Request {
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	part, _ := form.CreateFormFile(field, name)
	_, _ = io.WriteString(part, content)
	_ = form.Close()
	r := httptest.NewRequest("POST", mountPoint+"upload", &b)
	r.Header.Set("Content-Type", form.FormDataContentType())
	return r
}

func TestUpload(t *testing.T) {
	f := newFake("")
	h := f.handler()
	send := func(r *http.Request) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	large := strings.Repeat("x", 2*maxForm)
	w := send(uploadRequest("file", `C:\dir\my backup.json`, large))
	require.Equal(t, http.StatusSeeOther, w.Code)
	require.Equal(t, mountPoint+"restore/ok", w.Header().Get("Location"))
	require.Equal(t, []string{`upload C:\dir\my backup.json ` + large}, f.calls)

	for name, r := range map[string]*http.Request{
		"no file":     uploadRequest("file", "", ""),
		"other field": uploadRequest("other", "x", "x"),
		"no form":     httptest.NewRequest("POST", mountPoint+"upload", strings.NewReader("{}")),
	} {
		w := send(r)
		require.Equal(t, 422, w.Code, name)
		require.Contains(t, w.Body.String(), "choose a file", name)
	}
	cut := uploadRequest("file", "x", "x")
	cut.Body = io.NopCloser(io.LimitReader(cut.Body, 20))
	require.Contains(t, send(cut).Body.String(), "cut off: try again")
	f.fail = map[string]error{"upload": &http.MaxBytesError{Limit: 10}}
	w = send(uploadRequest("file", "x", "x"))
	require.Equal(t, http.StatusRequestEntityTooLarge, w.Code)
	require.Contains(t, w.Body.String(), "larger than 10 bytes")
}

func TestDownloads(t *testing.T) {
	f := newFake("")
	h := f.handler()
	w := get(h, "backups/tomo-backup-2024-01-15T10-30-00.json/download")
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, f.content, w.Body.String())
	require.Equal(t, `attachment; filename=tomo-backup-2024-01-15T10-30-00.json`, w.Header().Get("Content-Disposition"))
	require.Equal(t, "application/octet-stream", w.Header().Get("Content-Type"))
	require.Equal(t, strconv.Itoa(len(f.content)), w.Header().Get("Content-Length"))

	head := httptest.NewRecorder()
	h.ServeHTTP(head, httptest.NewRequest("HEAD", mountPoint+"backups/x/download", nil))
	require.Equal(t, http.StatusOK, head.Code)
	require.Zero(t, head.Body.Len())

	w = get(h, "restore/salvaged/download")
	require.Equal(t, f.content, w.Body.String())
	require.Contains(t, w.Header().Get("Content-Disposition"), "attachment")

	f.fail = map[string]error{"file": invalid("gone", "it is gone: choose another")}
	require.Equal(t, 422, get(h, "backups/x/download").Code)
	require.Equal(t, http.StatusNotFound, get(h, "restore/gone/download").Code)
}

// A link changes nothing. A form that is too large is refused, and not cut.
func TestOnlyPostsChangeSomething(t *testing.T) {
	f := newFake("")
	h := f.handler()
	for _, r := range (&pages{}).routes() {
		if path, ok := strings.CutPrefix(r.pattern, "POST /"); ok {
			code := get(h, strings.NewReplacer("{name}", "x", "{id}", "ok").Replace(path)).Code
			require.Contains(t, []int{http.StatusOK, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusSeeOther}, code, path)
		}
	}
	for _, call := range f.calls {
		require.Regexp(t, "^(prunePreview|changes)", call)
	}
	f.calls = nil
	w := post(h, "create", url.Values{"include": {strings.Repeat("x", maxForm)}})
	require.Equal(t, http.StatusRequestEntityTooLarge, w.Code)
	r := httptest.NewRequest("POST", mountPoint+"create", strings.NewReader("include=%zz"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w = httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, 422, w.Code)
	require.Contains(t, w.Body.String(), "load the page again")
	require.Empty(t, f.calls)
}

// A page does not offer what the person may not do, and each path takes its Action.
func TestOnlyWhatIsAllowedIsOffered(t *testing.T) {
	f := newFake("")
	asked := make(map[Action]bool)
	p := &pages{
		service: f, title: "Tomo", base: func(*http.Request) string { return mountPoint },
		opts: Options{Authorize: func(_ *http.Request, a Action) error {
			if a != View {
				return errors.New("no")
			}
			return nil
		}},
		allow: func(a Action, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked[a] = true
				if a == View {
					next.ServeHTTP(w, r)
				}
			})
		},
	}
	h := http.StripPrefix("/settings/backup", p.handler())
	for _, path := range []string{"", "settings", "prune", "jobs/create", "jobs/restore", "jobs/salvage"} {
		all := parsePage(t, get(h, path).Body.String())
		require.Empty(t, named(all, "form"), path)
		for _, a := range named(all, "a") {
			require.NotRegexp(t, "/(download|delete)$", a.attrs["href"])
		}
	}
	for _, r := range p.routes() {
		asked = make(map[Action]bool)
		method, path, _ := strings.Cut(r.pattern, " /")
		path = strings.NewReplacer("{name}", "x", "{id}", "x", "{$}", "").Replace(path)
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, mountPoint+path, nil))
		require.Equal(t, map[Action]bool{r.action: true}, asked, r.pattern)
	}
	for _, call := range f.calls {
		require.Regexp(t, "^prunePreview", call)
	}
}

func TestNothingCanBeStartedWhereNothingRuns(t *testing.T) {
	f := newFake("")
	f.o.Running = false
	page := get(f.handler(), "").Body.String()
	require.Contains(t, page, "Nothing can be started now")
	f.o.Backups, f.o.Good, f.o.Undo = nil, "", ""
	require.Contains(t, get(f.handler(), "").Body.String(), "None can be seen now.")
	f.o.Unreachable = nil
	page = get(f.handler(), "").Body.String()
	require.Contains(t, page, "There are no backups yet.")
	require.Contains(t, page, "There is no full backup without a known problem yet.")
	require.NotContains(t, page, "Undo the last restore")
}

func TestManyBackupsAreShownInPages(t *testing.T) {
	f := newFake("")
	for i := range 200 {
		b := f.o.Backups[1]
		b.Name = fmt.Sprint("tomo-backup-", i)
		f.o.Backups = append(f.o.Backups, b)
	}
	all := len(f.o.Backups)
	var shown []string
	for from := 0; from < all; from += 50 {
		page := get(f.handler(), fmt.Sprint("?from=", from)).Body.String()
		names := regexp.MustCompile(`<small class="name"><bdi>([^<]*)</bdi></small></th>`).FindAllStringSubmatch(page, -1)
		require.LessOrEqual(t, len(names), 50)
		for _, name := range names {
			shown = append(shown, html.UnescapeString(name[1]))
		}
		require.Contains(t, page, fmt.Sprintf("%d to %d", from+1, min(from+50, all)))
		require.Equal(t, from > 0, strings.Contains(page, ">Newer<"))
		require.Equal(t, from+50 < all, strings.Contains(page, ">Older<"))
		require.Equal(t, from+50 < all, strings.Contains(page, ">Oldest<"))
	}
	require.Len(t, shown, all)
	for i, b := range f.o.Backups {
		require.Equal(t, b.Name, shown[i])
	}
	rows := func(path string) int {
		return strings.Count(get(f.handler(), path).Body.String(), `scope="row"`)
	}
	require.Equal(t, 50, rows(""))
	require.Equal(t, 50, rows("?from=-1"))
	require.Equal(t, 50, rows("?from=x"))
	require.Equal(t, all%50, rows("?from=99999"))
}

func TestTheNewestBackupsAndTheSuggestedOneCanBeChosen(t *testing.T) {
	f := newFake("")
	for i := range 1000 {
		b := f.o.Backups[1]
		b.Name = fmt.Sprint("tomo-backup-", i)
		f.o.Backups = append(f.o.Backups, b)
	}
	const note = "the list of all backups"
	f.o.Good = "tomo-backup-900"
	page := get(f.handler(), "restore").Body.String()
	require.Equal(t, 501, strings.Count(page, "<option"))
	require.Contains(t, page, `value="tomo-backup-900" selected="selected"`)
	require.Contains(t, page, note)
	f.o.Backups, f.o.Good = f.o.Backups[:500], ""
	page = get(f.handler(), "restore").Body.String()
	require.Equal(t, 500, strings.Count(page, "<option"))
	require.NotContains(t, page, note)
}

// The files are in the binary, a browser may keep them for ever, and they load nothing
// from other servers.
func TestAssets(t *testing.T) {
	h := newFake("").handler()
	for file, kind := range map[string]string{"style.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8"} {
		w := get(h, file+"?v="+versions[file])
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, kind, w.Header().Get("Content-Type"))
		require.Contains(t, w.Header().Get("Cache-Control"), "immutable")
		require.NotContains(t, w.Body.String(), "//"+"www")
		require.NotRegexp(t, `https?:|url\(|@import`, w.Body.String())
	}
	script := get(h, "page.js").Body.String()
	require.NotRegexp(t, `innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|\.style\b`, script)
}

// The script uses the member names that the JSON of a job has.
func TestScriptReadsWhatTheAPIWrites(t *testing.T) {
	ended := time.Now()
	text, err := json.Marshal(job{ID: "1", Ended: &ended, Progress: &backup.Progress{Collection: "servers"}})
	require.NoError(t, err)
	var members struct{ Job, Progress map[string]any }
	require.NoError(t, json.Unmarshal(text, &members.Job))
	members.Progress = members.Job["progress"].(map[string]any)
	script := string(read("page.js"))
	for name, object := range map[string]map[string]any{"job": members.Job, "progress": members.Progress} {
		found := regexp.MustCompile(`\b`+name+`\.(\w+)`).FindAllStringSubmatch(script, -1)
		require.NotEmpty(t, found)
		for _, m := range found {
			require.Contains(t, object, m[1])
		}
	}
	for phase, word := range phases {
		require.Contains(t, script, fmt.Sprintf("%s: %q", phase, word))
	}
}

// Text can be read in both colour schemes (WCAG 2.2, 1.4.3: 4.5 to 1; 1.4.11: 3 to 1).
func TestContrast(t *testing.T) {
	style := string(read("style.css"))
	light, dark, ok := strings.Cut(style, "@media (prefers-color-scheme: dark)")
	require.True(t, ok)
	dark = dark[:strings.Index(dark, "}")]
	for scheme, text := range map[string]string{"light": light, "dark": dark} {
		colours := make(map[string]float64)
		for _, m := range regexp.MustCompile(`--([\w-]+): #([0-9a-f]+);`).FindAllStringSubmatch(text, -1) {
			hex := m[2]
			if len(hex) == 3 {
				hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
			}
			var luminance float64
			for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
				n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
				require.NoError(t, err)
				c := float64(n) / 255
				if c <= 0.04045 {
					c /= 12.92
				} else {
					c = math.Pow((c+0.055)/1.055, 2.4)
				}
				luminance += weight * c
			}
			colours[m[1]] = luminance
		}
		ratio := func(a, b string) float64 {
			require.Contains(t, colours, a)
			require.Contains(t, colours, b)
			return (max(colours[a], colours[b]) + 0.05) / (min(colours[a], colours[b]) + 0.05)
		}
		for _, pair := range [][2]string{{"text", "bg"}, {"text", "card"}, {"muted", "bg"}, {"muted", "card"}, {"accent", "bg"}, {"accent", "card"}, {"on-accent", "accent"},
			{"good", "good-bg"}, {"warn", "warn-bg"}, {"bad", "bad-bg"}, {"bad", "card"}, {"key", "key-bg"}, {"text", "good-bg"}, {"text", "warn-bg"}, {"text", "bad-bg"}} {
			require.GreaterOrEqual(t, ratio(pair[0], pair[1]), 4.5, "%s: %s on %s", scheme, pair[0], pair[1])
		}
		require.GreaterOrEqual(t, ratio("edge", "card"), 3.0, scheme)
	}
}

func TestWords(t *testing.T) {
	require.Equal(t, []string{"0", "999", "1,000", "1,234,567", "-1,000"}, []string{count(0), count(999), count(1000), count(1234567), count(-1000)})
	require.Equal(t, []string{"0 bytes", "999 bytes", "1.0 kB", "99.9 kB", "100 kB", "1.0 MB", "2.5 GB", "9223 PB"}, []string{size(0), size(999), size(1000), size(99_900), size(99_950), size(999_999), size(2_500_000_000), size(math.MaxInt64 / 1000 * 1000)})
	require.Equal(t, "1 file, 1,234 files, 0 files", many(1, "file")+", "+many(int64(1234), "file")+", "+many(0, "file"))
	require.Equal(t, "Audit logs", label("audit_logs"))
	require.Equal(t, "", label(""))
	require.Equal(t, "Éclair", label("éclair"))
	require.Equal(t, "every Sunday at 02:30 (Europe/Berlin)", scheduleText(Settings{Schedule: "weekly", Weekday: "sunday", Time: "02:30", Zone: "Europe/Berlin"}))
	require.Equal(t, "on the 1st of each month at 00:00", scheduleText(Settings{Schedule: "monthly", Time: "00:00"}))
	require.Equal(t, "Starting…", progress(nil))
	require.Equal(t, "Reading Servers: 1 record, 1.0 kB of 2.0 kB", progress(&backup.Progress{Phase: "read", Collection: "servers", Records: 1, Bytes: 1000, Total: 2000}))
	require.Equal(t, int64(-1), percent(&backup.Progress{Bytes: 7}))
	require.Equal(t, int64(100), percent(&backup.Progress{Bytes: 9, Total: 7}))
	long := json.RawMessage(`"` + strings.Repeat("€", 400) + `"`)
	require.True(t, strings.HasSuffix(value(long), "€… (1.2 kB in all)"), value(long))
	f := &frame{zone: time.FixedZone("CET", 3600)}
	require.Equal(t, "15 Jan 2024, 11:30 CET", f.When(time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC)))
}

func TestAPageSaysWhichBackupItIsAndWhatASalvagedOneHasLost(t *testing.T) {
	h := newFake("").handler()
	page := get(h, "restore/ok").Body.String()
	require.Contains(t, page, "Backup 1,234 of the installation <bdi>home</bdi>")
	require.Contains(t, page, `described at <bdi class="path">https://example.com/FORMAT.md</bdi>`)
	require.NotContains(t, page, `href="https://example.com`, "anybody can have written it")
	page = get(h, "restore/salvaged").Body.String()
	for _, text := range []string{"Lost are all of users and logs", "2 records of servers", "so more may be missing.", "an altered value that is still valid cannot be told"} {
		require.Contains(t, page, text)
	}
}

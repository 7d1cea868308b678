//go:build !race

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/testtime"
)

// The page for backups in a browser, as people use it: what is clicked is what they
// would look for, by its name. All that is shown has to be free of errors of the
// console, of violations of the Content-Security-Policy, of requests to elsewhere,
// and of what axe-core finds.

const (
	// axeVariable names the axe.min.js to look for barriers with.
	axeVariable = "BACKUP_TEST_AXE"

	// screenshotsVariable names a folder that keeps a screenshot of each page.
	screenshotsVariable = "BACKUP_SCREENSHOTS"

	// patience is how long anything may take. It only ends what would never come.
	patience = 20 * time.Second
)

// chromium starts the browser that all tests share.
var chromium = sync.OnceValues(func() (context.Context, error) {
	path, err := osexec.LookPath("chromium")
	if err != nil {
		return nil, fmt.Errorf("install chromium to test the page in a browser: %w", err)
	}
	ctx, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // it does not start as root otherwise
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("lang", "en-US"),
		chromedp.WSURLReadTimeout(patience),
	)...)
	ctx, cancel := chromedp.NewContext(ctx)
	services.Lock()
	services.stop = append(services.stop, func() { cancel(); stop() })
	services.Unlock()
	return ctx, chromedp.Do(ctx)
})

// axe returns the program that finds barriers.
var axe = sync.OnceValues(func() (string, error) {
	path := os.Getenv(axeVariable)
	if path == "" {
		return "", errors.New(axeVariable + " does not name the axe.min.js of axe-core, which looks for barriers: npm pack axe-core has it")
	}
	text, err := os.ReadFile(path)
	return string(text), err
})

// needBrowser returns the browser. Without it or axe-core the test is skipped, and
// with BACKUP_REQUIRE_SERVICES=1 it fails.
func needBrowser(t *testing.T) context.Context {
	t.Helper()
	if _, err := axe(); err != nil {
		missing(t, err)
	}
	ctx, err := chromium()
	if err != nil {
		missing(t, err)
	}
	return ctx
}

// A tab is one of the browser, with the cookies of nobody else, and a person before
// it.
type tab struct {
	t    *testing.T
	ctx  context.Context
	base string // of the address, without the last slash

	mu      sync.Mutex
	wrong   []string // what must not happen on any page
	asked   map[network.RequestID]string
	offline bool // requests may fail
	plain   bool // without JavaScript
}

// newTab opens a tab on what is served at base.
func newTab(t *testing.T, base string) *tab {
	t.Helper()
	shared := needBrowser(t)
	b := &tab{t: t, base: base, asked: make(map[network.RequestID]string)}
	var cancel context.CancelFunc
	b.ctx, cancel = chromedp.NewContext(shared, chromedp.WithNewBrowserContext(), chromedp.WithListener(b.hear))
	t.Cleanup(func() {
		if t.Failed() {
			b.keep("failed-"+t.Name(), chromedp.FullScreenshot(100))
		}
		cancel()
		b.mu.Lock()
		defer b.mu.Unlock()
		assert.Empty(t, strings.Join(b.wrong, "\n"), "something went wrong in the browser")
	})
	require.NoError(t, chromedp.Do(b.ctx))
	call(b, audits.Enable, cdp.Empty{})
	call(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}) // others are beside it
	call(b, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Europe/Berlin"})
	b.sized(1280, "light")
	return b
}

// call sends a command to the tab.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	_, err := chromedp.Call(ctx, command, params)
	require.NoError(b.t, err)
}

// hear takes note of what must not happen.
func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	note := func(format string, args ...any) { b.wrong = append(b.wrong, fmt.Sprintf(format, args...)) }
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		var text strings.Builder
		for _, arg := range e.Args {
			fmt.Fprint(&text, " ", string(arg.Value), arg.Description)
		}
		note("console.%s:%s", e.Type, &text)
	case *runtime.EventExceptionThrown:
		text, err := json.Marshal(e.ExceptionDetails)
		note("exception: %s %v", text, err)
	case *cdplog.EventEntryAdded:
		if e.Entry.Source != cdplog.EntrySourceNetwork { // those are below
			note("%s from %s: %s %s", e.Entry.Level, e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *audits.EventIssueAdded:
		text, err := json.Marshal(e.Issue)
		// It is held against a field that its id is a word of autocomplete, too.
		if !strings.Contains(string(text), "FormInputAssignedAutocompleteValueToIdOrNameAttributeError") {
			note("issue: %s %v", text, err)
		}
	case *network.EventRequestWillBeSent:
		b.asked[e.RequestID] = e.Request.URL
		if !strings.HasPrefix(e.Request.URL, b.base+"/") && !strings.HasPrefix(e.Request.URL, "data:") {
			note("request to elsewhere: %s", e.Request.URL)
		}
	case *network.EventResponseReceived:
		// A person is told in a page what was wrong with what was sent.
		page := e.Type == network.ResourceTypeDocument || e.Type == network.ResourceTypeXHR
		if e.Response.Status >= 500 || e.Response.Status >= 400 && !page {
			note("status %d of %s", e.Response.Status, e.Response.URL)
		}
	case *network.EventLoadingFailed:
		if !e.Canceled && !b.offline && e.ErrorText != "net::ERR_ABORTED" {
			note("%s %s failed: %s %s", e.Type, b.asked[e.RequestID], e.ErrorText, e.BlockedReason)
		}
	}
}

// mayBeOffline says whether requests may fail from now on.
func (b *tab) mayBeOffline(yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.offline = yes
}

// withoutScript switches JavaScript off.
func (b *tab) withoutScript() {
	b.t.Helper()
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.plain = true
}

// evaluate returns what an expression is worth on the page.
func evaluate[T any](b *tab, expression string, opts ...chromedp.EvaluateOption) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, opts...))
}

// waits until an expression is true, on the page that is there by then.
func (b *tab) waits(what, expression string) {
	b.t.Helper()
	for end := time.Now().Add(patience); ; {
		yes, err := evaluate[bool](b, "Boolean("+expression+")")
		if err == nil && yes { // the page may be on its way, and the error with it
			return
		}
		if time.Now().After(end) {
			text, _ := evaluate[string](b, "location.href + '\\n' + document.body.innerText")
			require.FailNow(b.t, "not seen: "+what, "%v\n%s", err, text)
		}
		pause()
	}
}

// pause is what is between two looks at something.
func pause() { time.Sleep(20 * time.Millisecond) }

// leaves does something that leads to another page, and waits for that.
func (b *tab) leaves(what string, do func()) {
	b.t.Helper()
	b.waits("a page", "document.left = true")
	do()
	b.waits("the page after "+what, "!document.left && document.readyState === 'complete'")
}

// goes to a path.
func (b *tab) goes(path string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, chromedp.Navigate(b.base+path)))
}

// inScript is a text in a script.
func inScript(text string) string {
	script, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(script)
}

// sees waits until a text is shown, as far as white space goes.
func (b *tab) sees(text string) {
	b.t.Helper()
	b.waits(text, "document.body.innerText.replace(/\\s+/g, ' ').includes("+inScript(text)+")")
}

// seesNot checks that a text is not shown. The page is there.
func (b *tab) seesNot(text string) {
	b.t.Helper()
	require.NotContains(b.t, b.text(), text)
}

// text is what the page shows, and what is in it for those who do not see.
func (b *tab) text() string {
	b.t.Helper()
	text, err := evaluate[string](b, "document.body.innerText.replace(/\\s+/g, ' ')")
	require.NoError(b.t, err)
	return text
}

// on waits for a page by its heading.
func (b *tab) on(heading string) {
	b.t.Helper()
	b.waits("the page "+heading, "document.readyState === 'complete' && document.querySelector('h1')?.innerText.trim() === "+inScript(heading))
}

// Scripts that return what a person means by a name: what can be pressed, and what
// belongs to a label.
const (
	button = `((name) => [...document.querySelectorAll("button, a[href], summary")].find((e) => e.checkVisibility() && !e.disabled && !e.classList.contains("hidden") &&
		(e.getAttribute("aria-label") ?? e.innerText).replace(/\s+/g, " ").trim() === name))`
	field = `((name) => [...document.querySelectorAll("label")].find((e) => e.checkVisibility() && !e.control?.disabled && e.innerText.replace(/\s+/g, " ").trim().startsWith(name)))`
)

// click clicks in the middle of what a script finds, once it is there and nothing
// covers it.
func (b *tab) click(what, find string) {
	b.t.Helper()
	at := "document.at"
	b.waits(what, fmt.Sprintf(`(() => {
		const e = %s;
		if (!e) return false;
		e.scrollIntoView({ block: "center", behavior: "instant" });
		const box = e.getClientRects()[0];
		const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
		if (!e.contains(document.elementFromPoint(x, y))) return false;
		%s = { x, y };
		return true;
	})()`, find, at))
	point, err := evaluate[struct{ X, Y float64 }](b, at)
	require.NoError(b.t, err)
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, chromedp.MouseClickXY(point.X, point.Y)))
}

// presses a button or link that stays on the page, and follows one that does not.
func (b *tab) presses(name string) { b.t.Helper(); b.click(name, button+"("+inScript(name)+")") }
func (b *tab) follows(name string) { b.t.Helper(); b.leaves(name, func() { b.presses(name) }) }

// ticks a checkbox or radio button.
func (b *tab) ticks(label string) {
	b.t.Helper()
	b.click(label, field+"("+inScript(label)+")")
}

// types a text into a field instead of what is there.
func (b *tab) types(label, text string) {
	b.t.Helper()
	b.waits(label, "document.field = "+field+"("+inScript(label)+")?.control")
	b.click(label, "document.field")
	_, err := evaluate[chromedp.Void](b, "document.field.select?.()")
	require.NoError(b.t, err)
	if text == "" {
		b.keys(kb.Delete)
		return
	}
	call(b, input.InsertText, input.InsertTextParams{Text: text}) // at once, as from a password manager
}

// keys presses keys.
func (b *tab) keys(keys string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, chromedp.KeyEvent(keys)))
}

// chooses an option of a list, or sets what a browser has a picker for.
func (b *tab) chooses(label, value string) {
	b.t.Helper()
	b.waits(label, "document.field = "+field+"("+inScript(label)+")?.control")
	got, err := evaluate[string](b, "document.field.value = "+inScript(value)+", document.field.dispatchEvent(new Event('change', { bubbles: true })), document.field.value")
	require.NoError(b.t, err)
	require.Equal(b.t, value, got, label)
}

// uploads a file.
func (b *tab) uploads(path string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, chromedp.SetUploadFiles(chromedp.CSS("input[type=file]"), []string{path})))
	b.presses("Upload and look into it")
}

// downloads presses a button that sends a file, and returns where it is.
func (b *tab) downloads(button, name string) string {
	b.t.Helper()
	dir := b.t.TempDir()
	_, err := chromedp.CallBrowser(b.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior:         browser.SetDownloadBehaviorBehaviorAllow,
		BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID,
		DownloadPath:     dir,
	})
	require.NoError(b.t, err)
	b.presses(button)
	path := filepath.Join(dir, name)
	require.Eventually(b.t, func() bool { // it has another name until it is whole
		_, err := os.Stat(path)
		return !errors.Is(err, fs.ErrNotExist)
	}, patience, 20*time.Millisecond, name)
	return path
}

// focused is what the keyboard is at: its name, or its text.
func (b *tab) focused() string {
	b.t.Helper()
	text, err := evaluate[string](b, `((e) => (e.getAttribute("aria-label") ?? e.labels?.[0]?.innerText ?? e.innerText).replace(/\s+/g, " ").trim())(document.activeElement)`)
	require.NoError(b.t, err)
	return text
}

// sized makes the window that wide, and the colours light or dark.
func (b *tab) sized(width int64, scheme string) {
	b.t.Helper()
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 800, DeviceScaleFactor: 1, Mobile: width < 600})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme},
		{Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// looks at the page as it is, wide and light, narrow and dark: nothing is cut off,
// and axe-core finds nothing. What it finds depends on the width or on the colours,
// and not on both. Where somebody wants to have screenshots, there is one of each.
func (b *tab) looks(name string) {
	b.t.Helper()
	for _, as := range []struct {
		scheme string
		width  int64
	}{{"light", 1280}, {"dark", 360}} {
		b.sized(as.width, as.scheme)
		of := fmt.Sprintf("%s-%s-%d", name, as.scheme, as.width)
		wide, err := evaluate[string](b, `innerWidth >= document.scrollingElement.scrollWidth ? "" :
			[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll")).map((e) => e.outerHTML.slice(0, 200)).join("\n") || "wider"`)
		require.NoError(b.t, err)
		assert.Empty(b.t, wide, "%s has to be scrolled sideways", of)
		if !b.plain {
			b.barriers(of, as.width == 1280)
		}
		b.keep(of, chromedp.FullScreenshot(100))
	}
	b.sized(1280, "light")
}

// barriers has axe-core look at the page: for all it knows, or for what depends on
// colours and width.
func (b *tab) barriers(of string, all bool) {
	b.t.Helper()
	script, err := axe()
	require.NoError(b.t, err)
	there, err := evaluate[bool](b, "Boolean(window.axe)")
	require.NoError(b.t, err)
	if !there {
		_, err = evaluate[chromedp.Void](b, script)
		require.NoError(b.t, err)
	}
	only := `{ type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }`
	if !all {
		only = `{ type: "rule", values: ["color-contrast", "link-in-text-block", "target-size", "scrollable-region-focusable"] }`
	}
	found, err := evaluate[[]string](b, `axe.run(document, { runOnly: `+only+`, resultTypes: ["violations"], preload: false }).then((r) => r.violations.flatMap((v) => v.nodes.map((n) => v.id + ": " + n.failureSummary + "\n" + n.html)))`, chromedp.EvalAwaitPromise)
	require.NoError(b.t, err)
	assert.Empty(b.t, strings.Join(found, "\n"), of)
}

// keep takes a screenshot, if somebody wants to have them.
func (b *tab) keep(name string, screenshot chromedp.Action[[]byte]) {
	b.t.Helper()
	dir := os.Getenv(screenshotsVariable)
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	png, err := chromedp.Run(ctx, screenshot)
	require.NoError(b.t, err)
	require.NoError(b.t, os.MkdirAll(dir, 0o755))
	require.NoError(b.t, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
}

// tomoBinary builds the example application once: its test binary, which under this
// name is the application with cheap keys.
var tomoBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "tomo-browser-")
	if err != nil {
		return "", err
	}
	services.Lock()
	services.stop = append(services.stop, func() { os.RemoveAll(dir) })
	services.Unlock()
	path := filepath.Join(dir, "tomo")
	says, err := osexec.Command("go", "test", "-c", "-o", path, "github.com/tomo-project/backup/examples/tomo").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build tomo: %w\n%s", err, says)
	}
	return path, nil
})

const homePassphrase = "a passphrase for tests"

// A home is the folder of somebody who runs Tomo.
type home struct {
	t        *testing.T
	dir      string
	password string // of the user ada
	server   *osexec.Cmd
	base     string
}

// newHome returns one with the servers of testdata/homelab.json, or with n made-up
// ones instead, and no backup. The server is not started yet.
func newHome(t *testing.T, n int) *home {
	t.Helper()
	needBrowser(t)
	h := &home{t: t, dir: testtime.MemoryDir(t)}
	seed, err := filepath.Abs("testdata/homelab.json")
	require.NoError(t, err)
	if n > 0 {
		h.tomo("init", "--sample", fmt.Sprint(n))
		h.tomo("backup", "restore", "--yes", "--only", "settings", "--backup-settings", "--strategy", "replace", "--input", seed) // others make backups at once
	} else {
		h.tomo("init")
		h.tomo("backup", "restore", "--yes", "--full", "--input", seed)
	}
	require.NoError(t, os.RemoveAll(h.backups())) // the way back
	require.NoError(t, os.Mkdir(h.backups(), 0o700))
	says := h.tomo("user", "password", "ada")
	h.password = strings.TrimSpace(says[strings.LastIndexByte(strings.TrimSpace(says), ' '):])
	return h
}

func (h *home) path(elements ...string) string {
	return filepath.Join(append([]string{h.dir}, elements...)...)
}

func (h *home) backups() string { return h.path(".tomo", "backups") }

// names of the backups that are there, oldest first.
func (h *home) names() (names []string) {
	h.t.Helper()
	entries, err := os.ReadDir(h.backups())
	if !errors.Is(err, fs.ErrNotExist) {
		require.NoError(h.t, err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "tomo-backup-") && strings.HasSuffix(e.Name(), ".json") {
			names = append(names, e.Name())
		}
	}
	return names
}

func (h *home) command(args ...string) *osexec.Cmd {
	h.t.Helper()
	path, err := tomoBinary()
	require.NoError(h.t, err)
	cmd := osexec.Command(path, args...)
	cmd.Dir = h.dir
	cmd.Env = append(os.Environ(), "HOME="+h.dir, "TMPDIR="+h.t.TempDir(), "TOMO_BACKUP_PASSPHRASE="+homePassphrase)
	return cmd
}

// tomo runs a command and returns what it prints.
func (h *home) tomo(args ...string) string {
	h.t.Helper()
	return h.run(h.command(args...))
}

func (h *home) run(cmd *osexec.Cmd) string {
	h.t.Helper()
	var out, says bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &says
	require.NoError(h.t, cmd.Run(), "%s\n%s%s", cmd, &out, &says)
	return out.String()
}

// serve starts the server.
func (h *home) serve(args ...string) {
	h.t.Helper()
	h.server = h.command(append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...)
	out, err := h.server.StdoutPipe()
	require.NoError(h.t, err)
	log, err := os.Create(filepath.Join(h.t.TempDir(), "log"))
	require.NoError(h.t, err)
	h.server.Stderr = log
	require.NoError(h.t, h.server.Start())
	h.t.Cleanup(func() {
		_ = h.server.Process.Kill()
		_ = h.server.Wait()
		log.Close()
		if says, err := os.ReadFile(log.Name()); h.t.Failed() && err == nil {
			h.t.Logf("tomo serve:\n%s", says)
		}
	})
	_, err = fmt.Fscanf(out, "Tomo is at %s\n", &h.base)
	require.NoError(h.t, err)
	h.base = strings.TrimSuffix(h.base, "/")
}

// ada opens a tab and logs in.
func (h *home) ada() *tab {
	h.t.Helper()
	b := newTab(h.t, h.base)
	b.goes("/login")
	h.logsIn(b, "Servers")
	return b
}

// logsIn logs ada in, who comes to a page then.
func (h *home) logsIn(b *tab, heading string) {
	h.t.Helper()
	b.on("Log in")
	b.types("Name", "ada")
	b.types("Password", h.password)
	b.follows("Log in")
	b.on(heading)
}

// overview goes to the page for backups, as a person does.
func (b *tab) overview() {
	b.t.Helper()
	b.goes("/servers")
	b.follows("Settings › System")
	b.on("Backup & Restore")
}

// host of the address.
func (h *home) host() string {
	u, err := url.Parse(h.base)
	require.NoError(h.t, err)
	return u.Host
}

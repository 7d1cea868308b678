package backuphttp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

// A fake is a service with data in all states that the pages show, also those that a
// Manager can hardly make. It remembers the calls, and fails on command.
type fake struct {
	o        overview
	restores map[string]restoreInfo
	jobs     map[string]job
	list     []backup.Change
	tested   []manager.Copy
	pruned   []manager.Pruned
	content  string
	calls    []string
	logged   []string
	fail     map[string]error // by method
}

func (f *fake) called(method string, args ...any) error {
	call := method
	for _, a := range args {
		call += fmt.Sprintf(" %+v", a)
	}
	f.calls = append(f.calls, call)
	return f.fail[method]
}

func (f *fake) overview(context.Context) (overview, error) { return f.o, f.fail["overview"] }

func (f *fake) create(_ context.Context, include []string) (job, error) {
	return f.jobs["running"], f.called("create", include)
}

func (f *fake) verify(_ context.Context, name string) (job, error) {
	return f.jobs["running"], f.called("verify", name)
}

func (f *fake) file(_ context.Context, name string) (download, error) {
	return f.download(name), f.called("file", name)
}

func (f *fake) download(name string) download {
	return download{io.NopCloser(strings.NewReader(f.content)), name, int64(len(f.content))}
}

func (f *fake) delete(_ context.Context, name, confirm string) error {
	return f.called("delete", name, confirm)
}
func (f *fake) accept(_ context.Context, name string) error { return f.called("accept", name) }
func (f *fake) prunePreview(_ context.Context, s Settings) ([]manager.Pruned, error) {
	return f.pruned, f.called("prunePreview", s)
}
func (f *fake) prune(context.Context) (job, error) { return f.jobs["running"], f.called("prune") }

func (f *fake) job(id string) (job, error) {
	j, ok := f.jobs[id]
	if !ok {
		return job{}, fmt.Errorf("this job is not known any more: %w", fs.ErrNotExist)
	}
	return j, nil
}

func (f *fake) mostUpload() int64 { return 4 << 30 }

func (f *fake) atWork() string {
	if f.o.Job == nil {
		return ""
	}
	return f.o.Job.ID
}

func (f *fake) upload(_ context.Context, name string, r io.Reader) (restoreInfo, error) {
	content, err := io.ReadAll(r)
	return f.restores["ok"], errors.Join(err, f.called("upload", name, string(content)))
}

func (f *fake) look(_ context.Context, name string) (restoreInfo, error) {
	return f.restores["ok"], f.called("look", name)
}
func (f *fake) lookUndo(context.Context) (restoreInfo, error) {
	return f.restores["undo"], f.called("lookUndo")
}

func (f *fake) restore(id string) (restoreInfo, error) {
	info, ok := f.restores[id]
	if !ok {
		return restoreInfo{}, fmt.Errorf("this backup was looked into more than an hour ago: choose it again: %w", fs.ErrNotExist)
	}
	return info, nil
}

func (f *fake) unlock(_ context.Context, id string, key []byte) (restoreInfo, error) {
	return f.restores[id], f.called("unlock", id, fmt.Sprintf("%q", key))
}

func (f *fake) plan(_ context.Context, id string, in planInput) (restoreInfo, error) {
	return f.restores[id], f.called("plan", id, in)
}

func (f *fake) changes(_ context.Context, id, plan string, from, most int) ([]backup.Change, bool, error) {
	end := min(from+most, len(f.list))
	return f.list[min(from, end):end], end < len(f.list), f.called("changes", id, plan, from, most)
}

func (f *fake) apply(_ context.Context, id, plan, confirm string) (job, error) {
	return f.jobs["running"], f.called("apply", id, plan, confirm)
}
func (f *fake) salvage(_ context.Context, id string) (job, error) {
	return f.jobs["running"], f.called("salvage", id)
}
func (f *fake) salvaged(id string) (download, error) {
	info, err := f.restore(id)
	return f.download(info.Name), cmp.Or(err, f.called("salvaged", id))
}
func (f *fake) discard(id string) error { return f.called("discard", id) }
func (f *fake) settings() Settings      { return f.o.Automated.Settings }
func (f *fake) save(_ context.Context, s Settings, force bool) error {
	return f.called("save", s, force)
}
func (f *fake) probe(_ context.Context, s Settings) ([]manager.Copy, error) {
	return f.tested, f.called("probe", s)
}

func (f *fake) log(what string, err error) { f.logged = append(f.logged, what+": "+err.Error()) }

var _ service = (*fake)(nil)

// newFake returns a fake with one of everything. text is part of each name, value and
// message that may come from a backup, from a host or from a person.
func newFake(text string) *fake {
	at := time.Date(2024, 3, 31, 0, 30, 0, 0, time.UTC)
	soon := at.Add(26 * time.Hour)
	quoted, _ := json.Marshal(text)
	wrong := fmt.Errorf("open %s: permission denied; check write permissions\nand %s", text, text)
	record := &backup.RecordError{Collection: text, Key: text, Pointer: "/" + text, Offset: 17, Err: wrong}
	records := map[string]int64{"servers": 214, "settings": 12, "users": 3, "audit_logs": 120345, text: 7}
	manifest := &backup.Manifest{
		Version: "1.0", Format: "https://example.com/FORMAT.md" + text, Installation: "home" + text, Serial: 1234, CreatedAt: at, Application: "tomo", ApplicationVersion: "2.1.0" + text, SchemaVersion: 3,
		Records: records, Bytes: 12_345_678, Compressed: backup.Zstd, SHA256: "00", Sealed: true, Keys: []string{"age1" + text, "passphrase"},
		Authentic: "ed25519 " + text, Metadata: map[string]string{"trigger": "manual"}, Missing: map[string]int64{"servers": 2},
	}
	copies := []manager.Copy{{Location: "/var/lib/tomo/backups" + text}, {Location: "/mnt/usb" + text, Err: wrong}}
	entry := func(ago time.Duration, b manager.Backup, more backupInfo) backupInfo {
		b.CreatedAt = at.Add(-ago)
		b.Name = b.CreatedAt.Format("tomo-backup-2006-01-02T15-04-05") + text + ".json.zst"
		b.Bytes, b.Copies = 2_345_678, copies
		more.Backup = b
		return more
	}
	day := 24 * time.Hour
	backups := []backupInfo{
		entry(0, manager.Backup{Trigger: "scheduled", Manifest: manifest, Shrunk: []manager.Shrink{{Collection: "servers", Was: 214, Is: 0}}}, backupInfo{}),
		entry(day, manager.Backup{Trigger: "manual", Manifest: manifest}, backupInfo{Verified: &soon, CanDelete: true}),
		entry(2*day, manager.Backup{Trigger: "scheduled", Damaged: true}, backupInfo{CanDelete: true}),
		entry(3*day, manager.Backup{Trigger: "before restore", Manifest: manifest}, backupInfo{NeedsKey: true, CanDelete: true}),
		entry(4*day, manager.Backup{Trigger: text}, backupInfo{NeedsKey: true, CanDelete: true}),
	}
	states := []string{"none", "made", "manual", "missed", "failed", "damaged", "made", "made"}
	var days []dayInfo
	for i := range 30 {
		info := dayInfo{Date: at.AddDate(0, 0, i-29).Format(time.DateOnly), State: states[i*7%len(states)], Detail: "02:30 " + text}
		if i == 29 {
			info.State = "due"
		}
		days = append(days, info)
	}
	report := backup.Report{
		Backup: backups[1].Name, CreatedAt: at, ApplicationVersion: "2.1.0", SchemaVersion: 3, Duration: 1234 * time.Millisecond,
		Collections: []backup.CollectionReport{
			{Name: "servers", Strategy: backup.Replace, Records: 214, Added: 2, Updated: 210, Unchanged: 2, Deleted: 3},
			{Name: "settings", Strategy: backup.SkipDuplicates, Records: 12, Skipped: 12, Conflicts: []string{"theme", text}, Rekeyed: 1, RekeyedKeys: map[string]string{text: text}},
			{Name: text, Strategy: backup.Merge, Altered: 1, AlteredKeys: []string{text}, Extra: 2, ExtraKeys: []string{"made", text}},
		},
		LeftOut: []*backup.RecordError{record}, Warnings: []string{"no integrity information " + text},
		UndoneBy: backups[3].Name, AfterRestore: "Tomo restarts " + text,
	}
	collections := []collectionInfo{{Name: "servers", Label: "Servers", Secrets: true}, {Name: "settings", Label: "Settings"}, {Name: text, Label: text}}
	last := job{
		ID: "create", Kind: "create", Started: at, Ended: &soon, Made: &backups[1].Backup, Backup: backups[1].Name,
	}
	pruned := []manager.Pruned{
		{Location: "/var/lib/tomo/backups" + text, Decisions: []manager.Decision{
			{Backup: backups[0].Backup, Keep: true, Reasons: []string{"newest good one", "among the last 2"}},
			{Backup: backups[1].Backup, Keep: true, Reasons: []string{"made by hand"}},
			{Backup: backups[2].Backup, Reasons: []string{"not among the last 2", text}},
		}, Deleted: []string{backups[2].Name}},
		{Location: "/mnt/usb" + text, Err: wrong},
	}
	f := &fake{
		o: overview{
			App: "tomo", Version: "2.1.0", Running: true, Unreachable: []string{"/mnt/usb" + text}, Undo: backups[3].Name, Good: backups[1].Name, Shrunk: true,
			Collections: append(collections, collectionInfo{Name: "audit_logs", Label: "Audit logs", Optional: true}, collectionInfo{Name: "o" + text, Label: text, Optional: true}),
			Backups:     backups, Last: &last,
			Automated: automated{
				Settings: Settings{Enabled: true, Schedule: "weekly", Weekday: "sunday", Time: "02:30", Zone: "Europe/Berlin", KeepLast: 30, KeepDays: 90, Locations: []string{"/mnt/usb" + text}},
				Editable: true, Next: &soon, Late: true, LastRun: &last, Locations: []string{"/var/lib/tomo/backups" + text, "/mnt/usb" + text}, Days: days,
			},
		},
		jobs: map[string]job{
			"running": {ID: "running", Kind: "restore", Backup: backups[1].Name, Started: at, Progress: &backup.Progress{Phase: "restore", Collection: text, Records: 1234, Bytes: 1_200_000, Total: 3_400_000}},
			"begun":   {ID: "begun", Kind: "create", Started: at},
			"create":  last,
			"failed":  {ID: "failed", Kind: "scheduled", Started: at, Ended: &soon, Error: wrong.Error()},
			"verify":  {ID: "verify", Kind: "verify", Started: at, Ended: &soon, Error: wrong.Error(), Verified: []manager.Verified{{Location: "/var" + text, Backup: backups[1].Name, Manifest: *manifest, Report: report}, {Location: "/mnt" + text, Err: wrong}}},
			"restore": {ID: "restore", Kind: "restore", Started: at, Ended: &soon, Report: &report},
			"undo":    {ID: "undo", Kind: "undo", Started: at, Ended: &soon, Error: wrong.Error()},
			"prune":   {ID: "prune", Kind: "prune", Started: at, Ended: &soon, Pruned: pruned},
			"salvage": {ID: "salvage", Kind: "salvage", Started: at, Ended: &soon, Restore: "salvaged", Salvage: &backup.SalvageReport{
				Manifest: *manifest, Kept: records, Missing: map[string]int64{"servers": 1, text: 2}, SecretsLost: map[string]int64{"servers": 3},
				Lost: []backup.LostRange{{From: 10, To: 2000, Collection: text, Key: text, Reason: wrong.Error()}}, Ranges: 1, LostBytes: 1990, Warnings: []string{text},
			}},
		},
		pruned: pruned, tested: copies, content: `{"version":"1.0"}`,
	}
	info := func(id, state string) restoreInfo {
		return restoreInfo{ID: id, Name: backups[1].Name, State: state, Manifest: manifest, Verified: &report, Collections: collections}
	}
	locked, damaged, refused, planned, undo, salvaged := info("locked", "locked"), info("damaged", "damaged"), info("refused", "refused"), info("planned", "ok"), info("undo", "ok"), info("salvaged", "ok")
	locked.Problem, locked.Keys = "it takes a key "+text, []string{text}
	damaged.Problem, damaged.Salvage, damaged.Manifest, damaged.Uploaded = wrong.Error(), true, nil, true
	refused.Problem = wrong.Error()
	planned.Plan = &planInfo{ID: "first", Input: planInput{Full: true}, Report: report, Confirm: "tomo", Changes: 251}
	selective := info("selective", "ok")
	selective.Plan = &planInfo{ID: "second", Input: planInput{Only: []string{"servers", text}, Strategy: "merge", Dangling: true, Clashes: true, LeaveOut: true, NewerApp: true, Unknown: true, Salvaged: true}, Report: report, Changes: 1}
	undo.Undo, undo.Plan = true, &planInfo{ID: "third", Input: planInput{Full: true}, Report: report, Confirm: text, Changes: 3}
	nothing := info("nothing", "ok")
	nothing.Plan = &planInfo{ID: "fourth", Input: planInput{Full: true}}
	mark := *manifest
	mark.Salvaged = &backup.Salvaged{LostBytes: 1990, Records: map[string]int64{"servers": 2}, Digest: "differs", Counts: "lost", LostCollections: []string{"users", "logs" + text}}
	salvaged.Manifest, salvaged.Uploaded = &mark, true
	f.restores = make(map[string]restoreInfo)
	for _, r := range []restoreInfo{info("ok", "ok"), locked, damaged, refused, planned, selective, undo, salvaged, nothing} {
		f.restores[r.ID] = r
	}
	long := json.RawMessage(`"` + strings.Repeat("ä", 5000) + `"`)
	f.list = []backup.Change{
		{Collection: "servers", Key: text, Action: backup.Delete},
		{Collection: "servers", Key: "nas", Action: backup.Add},
		{Collection: "servers", Key: "pi", From: text, Action: backup.Update, Fields: []backup.FieldChange{{Pointer: "/port", Before: json.RawMessage(`22`), After: json.RawMessage(`2222`)}, {Pointer: "/" + text, Before: quoted}, {Pointer: "/password", Before: json.RawMessage(`"(secret)"`), After: json.RawMessage(`"(secret)"`)}, {Pointer: "/notes", After: long}}},
		{Collection: text, Key: "theme", Action: backup.Skip, With: text, Fields: []backup.FieldChange{{Before: json.RawMessage(`"dark"`), After: quoted}}},
	}
	for i := len(f.list); i < 251; i++ {
		f.list = append(f.list, backup.Change{Collection: "servers", Key: fmt.Sprint("server-", i), Action: backup.Update, Fields: []backup.FieldChange{{Pointer: "/name", Before: json.RawMessage(`"old"`), After: json.RawMessage(`"new"`)}}})
	}
	return f
}

// handler mounts the page of the fake under /settings/backup/.
func (f *fake) handler() http.Handler {
	p := &pages{
		service: f, title: "Tomo",
		opts:  Options{Home: "/", Authorize: func(*http.Request, Action) error { return nil }},
		base:  func(*http.Request) string { return "/settings/backup/" },
		allow: func(_ Action, next http.Handler) http.Handler { return next },
	}
	return http.StripPrefix("/settings/backup", p.handler())
}

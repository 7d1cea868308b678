package backuphttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// A bucket is a location whose files can be read only until the context of Open ends, as
// in an S3 bucket.
type bucket struct{ location.Dir }

type bucketFile struct {
	*os.File
	ctx context.Context
}

func (b bucket) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	f, err := b.Dir.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	return bucketFile{f.(*os.File), ctx}, nil
}

func (f bucketFile) Read(p []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

func (f bucketFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func TestAStoredBackupIsRestoredAsPlannedAndTakenBack(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) { m.Locations = []location.Location{bucket{h.dir}} })
	before := h.store.Clone()
	name := h.made()
	h.store["servers"] = map[string]string{
		"a1": `{"id":"a1","name":"renamed","password":"` + planted + `-9"}`,
		"c3": `{"id":"c3","name":"new","password":"` + planted + `-3"}`,
	}
	after := h.store.Clone()

	info := h.do(201, "POST", "restores", obj{"backup": name}).restored(t)
	require.Equal(t, "ok", info.State)
	require.Equal(t, name, info.Name)
	require.EqualValues(t, 2, info.Manifest.Records["servers"])
	require.NotNil(t, info.Verified)
	require.Equal(t, []string{"servers", "stack_services", "settings"}, []string{info.Collections[0].Name, info.Collections[1].Name, info.Collections[2].Name})
	at := "restores/" + info.ID

	require.Equal(t, "stale", h.do(409, "POST", at+"/apply", h.agreed(at, obj{})).code(t), "there is no plan yet")
	require.Equal(t, "stale", h.do(409, "GET", h.changesOf(at), nil).code(t))

	info = h.do(200, "POST", at+"/plan", obj{"full": true}).restored(t)
	require.Equal(t, "homelab", info.Plan.Confirm)
	require.EqualValues(t, 3, info.Plan.Changes)
	var page struct {
		Changes []changeJSON
		More    bool
	}
	h.get(h.changesOf(at)).into(t, &page)
	require.False(t, page.More)
	require.Len(t, page.Changes, 3)
	require.Equal(t, "delete c3", page.Changes[0].Action+" "+page.Changes[0].Key)
	require.Equal(t, []string{"/id", "/name", "/password"}, []string{page.Changes[0].Fields[0].Pointer, page.Changes[0].Fields[1].Pointer, page.Changes[0].Fields[2].Pointer})
	require.Equal(t, `"(secret)"`, string(page.Changes[0].Fields[2].Before))
	require.Equal(t, "a1", page.Changes[1].Key)
	require.Equal(t, `"(secret)"`, string(page.Changes[1].Fields[1].After))
	h.get(h.changesOf(at)+"&from=1&most=1").into(t, &page)
	require.True(t, page.More)
	require.Len(t, page.Changes, 1)
	require.Equal(t, "a1", page.Changes[0].Key)

	require.Equal(t, "confirm", h.do(422, "POST", at+"/apply", h.agreed(at, obj{})).code(t))
	require.Equal(t, "confirm", h.do(422, "POST", at+"/apply", h.agreed(at, obj{"confirm": "yes"})).code(t))
	require.Equal(t, after, h.store.Clone())
	j := h.began(at+"/apply", h.agreed(at, obj{"confirm": "homelab"}))
	require.Empty(t, j.Error)
	require.Equal(t, "restore", j.Kind)
	require.Equal(t, "confirm", j.Progress.Phase)
	require.NotEmpty(t, j.Report.UndoneBy)
	require.Equal(t, before, h.store.Clone())

	o := h.seen()
	require.Equal(t, j.Report.UndoneBy, o.Undo)
	require.Equal(t, name, o.Good, "the backup from before the restore is not the one to recover from")

	undo := h.do(201, "POST", "restores", obj{"undo": true}).restored(t)
	require.True(t, undo.Undo)
	require.Equal(t, "ok", undo.State)
	require.Equal(t, j.Report.UndoneBy, undo.Name)
	require.EqualValues(t, 3, undo.Plan.Changes)
	h.get(h.changesOf("restores/"+undo.ID)).into(t, &page)
	require.Len(t, page.Changes, 3)
	require.Equal(t, "confirm", h.do(422, "POST", "restores/"+undo.ID+"/apply", h.agreed("restores/"+undo.ID, obj{})).code(t))
	j = h.began("restores/"+undo.ID+"/apply", h.agreed("restores/"+undo.ID, obj{"confirm": "homelab"}))
	require.Empty(t, j.Error)
	require.Equal(t, "undo", j.Kind)
	require.Equal(t, after, h.store.Clone())

	// The plan is used up. A new plan can be made.
	h.do(409, "POST", "restores/"+undo.ID+"/apply", h.agreed("restores/"+undo.ID, obj{"confirm": "homelab"}))
	again := h.do(200, "POST", "restores/"+undo.ID+"/plan", obj{"full": false}).restored(t)
	require.True(t, again.Plan.Input.Full)
	h.do(204, "DELETE", "restores/"+undo.ID, nil)
	h.do(404, "GET", "restores/"+undo.ID, nil)
}

type changeJSON struct {
	Collection, Key, Action string
	Fields                  []backup.FieldChange
}

func TestThereIsNothingToUndoBeforeARestore(t *testing.T) {
	h := newHost(t, nil)
	h.made()
	require.Empty(t, h.seen().Undo)
	require.Contains(t, h.do(404, "POST", "restores", obj{"undo": true}).text, "there is nothing to undo")
}

// A host whose database is missing has no backup missing.
func TestAMissingFileOfTheHostIsNoMissingBackup(t *testing.T) {
	var lost *backuptest.Faulty
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) {
		lost = &backuptest.Faulty{Source: h.store, Sink: h.store, On: backuptest.CallRecords, Err: fmt.Errorf("host.db: %w", fs.ErrNotExist)}
		m.Source, m.Sink = lost, lost
	})
	name := h.made()
	delete(h.store["servers"], "a1")
	at := "restores/" + h.do(201, "POST", "restores", obj{"backup": name}).restored(t).ID
	h.do(200, "POST", at+"/plan", obj{"full": true})
	require.Empty(t, h.began(at+"/apply", h.agreed(at, obj{"confirm": "homelab"})).Error)
	missing := func(text, code string) {
		t.Helper()
		require.Contains(t, text, "host.db")
		require.Equal(t, "failed", code)
	}
	lost.Nth = lost.Count() + 1
	j := h.began("backups", obj{})
	missing(j.Error, j.Code)
	lost.On = backuptest.CallKeys
	lost.Nth = lost.Count() + 1
	got := h.do(500, "POST", "restores", obj{"undo": true})
	missing(got.text, got.code(t))
}

func TestAPartIsRestoredWithAStrategy(t *testing.T) {
	h := newHost(t, nil)
	name := h.made()
	h.store["servers"] = map[string]string{"c3": `{"id":"c3"}`}
	at := "restores/" + h.do(201, "POST", "restores", obj{"backup": name}).restored(t).ID
	for code, in := range map[string]obj{
		"nothing chosen": {"full": false},
		"no strategy":    {"full": false, "only": []string{"servers"}, "strategy": "zap"},
		"no collection":  {"full": false, "only": []string{"planets"}},
	} {
		require.Equal(t, "invalid", h.do(422, "POST", at+"/plan", in).code(t), code)
	}
	info := h.do(200, "POST", at+"/plan", obj{"full": false, "only": []string{"servers"}, "strategy": "merge"}).restored(t)
	require.Empty(t, info.Plan.Confirm, "nothing is deleted")
	require.EqualValues(t, 2, info.Plan.Changes)
	require.Empty(t, h.began(at+"/apply", h.agreed(at, obj{})).Error)
	require.Len(t, h.store["servers"], 3)

	info = h.do(200, "POST", at+"/plan", obj{"full": false, "only": []string{"servers"}, "strategy": "replace"}).restored(t)
	require.Equal(t, "homelab", info.Plan.Confirm, "something is deleted")

	delete(h.store["servers"], "a1")
	info = h.do(200, "POST", at+"/plan", obj{"full": false, "only": []string{"settings"}}).restored(t)
	require.Zero(t, info.Plan.Changes)
}

func TestAStalePlanDoesNothingAndStays(t *testing.T) {
	h := newHost(t, nil)
	name := h.made()
	delete(h.store["servers"], "b2")
	at := "restores/" + h.do(201, "POST", "restores", obj{"backup": name}).restored(t).ID
	h.do(200, "POST", at+"/plan", obj{"full": false, "only": []string{"servers"}})
	h.store["servers"] = map[string]string{}
	h.store["stack_services"] = map[string]string{}
	require.Equal(t, "stale", h.do(409, "POST", at+"/apply", h.agreed(at, obj{})).code(t))
	require.Empty(t, h.store["servers"])

	info := h.get(at).restored(t)
	require.True(t, info.Plan.Stale)
	require.EqualValues(t, 1, info.Plan.Changes, "the plan is the one that was shown")
	require.Equal(t, "stale", h.do(409, "GET", h.changesOf(at), nil).code(t))
	require.Equal(t, "stale", h.do(409, "POST", at+"/apply", h.agreed(at, obj{})).code(t))
	require.Empty(t, h.store["servers"])
	info = h.do(200, "POST", at+"/plan", obj{"full": false, "only": []string{"servers"}}).restored(t)
	require.EqualValues(t, 2, info.Plan.Changes)
	require.False(t, info.Plan.Stale)
	require.Empty(t, h.began(at+"/apply", h.agreed(at, obj{})).Error)
	require.Len(t, h.store["servers"], 2)

	h.do(200, "POST", at+"/plan", obj{"full": true})
	h.store["servers"] = map[string]string{}
	shown := h.get(at).restored(t).Plan.ID
	h.do(200, "GET", h.changesOf(at), nil) // it shows what the plan was
	require.Equal(t, "stale", h.do(409, "POST", at+"/apply", h.agreed(at, obj{"confirm": "homelab"})).code(t))
	require.Equal(t, "stale", h.do(409, "GET", h.changesOf(at), nil).code(t))
	require.Equal(t, "stale", h.do(409, "GET", h.changesOf(at), nil).code(t), "looking at a stale plan makes no new plan")
	require.Equal(t, shown, h.get(at).restored(t).Plan.ID)
}

func TestOnlyThePlanThatWasShownIsApplied(t *testing.T) {
	h := newHost(t, nil)
	name := h.made()
	h.store["servers"]["c3"] = `{"id":"c3"}`
	at := "restores/" + h.do(201, "POST", "restores", obj{"backup": name}).restored(t).ID
	some := h.do(200, "POST", at+"/plan", obj{"full": false, "only": []string{"servers"}, "strategy": "replace"}).restored(t).Plan
	all := h.do(200, "POST", at+"/plan", obj{"full": true}).restored(t).Plan
	require.NotEqual(t, some.ID, all.ID)

	got := h.do(409, "POST", at+"/apply", obj{"plan": some.ID, "confirm": "homelab"})
	require.Equal(t, "stale", got.code(t))
	require.Contains(t, got.text, "there is a new plan now: look at it")
	require.Equal(t, "stale", h.do(409, "GET", at+"/changes?plan="+some.ID, nil).code(t))
	h.do(400, "GET", at+"/changes", nil)
	require.Len(t, h.store["servers"], 3)

	j := h.began(at+"/apply", obj{"plan": all.ID, "confirm": "homelab"})
	require.Empty(t, j.Error)
	require.Len(t, h.store["servers"], 2)

	// Two requests for the same plan apply it once.
	require.Equal(t, j.ID, h.began(at+"/apply", obj{"plan": all.ID, "confirm": "homelab"}).ID)
	require.Equal(t, "stale", h.do(409, "POST", at+"/apply", obj{"plan": some.ID, "confirm": "homelab"}).code(t))
}

func TestAnUploadIsLookedIntoAndRestored(t *testing.T) {
	h := newHost(t, nil)
	text := h.get("backups/" + h.made() + "/file").text
	want := h.store.Clone()
	h.store["servers"] = map[string]string{}
	h.store["stack_services"] = map[string]string{}

	info := h.sent(201, `C:\backups\my "backup".json`, text).restored(t)
	require.Equal(t, "my backup.json", info.Name)
	require.True(t, info.Uploaded)
	require.Equal(t, "ok", info.State)
	at := "restores/" + info.ID
	require.Equal(t, text, h.get(at+"/file").text)
	h.do(200, "POST", at+"/plan", obj{"full": true})
	require.Empty(t, h.began(at+"/apply", h.agreed(at, obj{"confirm": "homelab"})).Error)
	require.Equal(t, want, h.store.Clone())
	require.Empty(t, filesIn(t, h.opts.TempDir), "the temporary file has no name")

	// The file comes in a form.
	form := "--x\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n" +
		"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"b.json\"\r\n\r\n" + text + "\r\n--x--\r\n"
	r := h.request("POST", "uploads", strings.NewReader(form))
	r.Header.Set("Content-Type", `multipart/form-data; boundary=x`)
	got := h.send(r)
	require.Equal(t, 201, got.StatusCode)
	require.Equal(t, "b.json", got.restored(t).Name)

	r = h.request("POST", "uploads", strings.NewReader("--x\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--x--\r\n"))
	r.Header.Set("Content-Type", `multipart/form-data; boundary=x`)
	require.Equal(t, "no_file", h.send(r).code(t))
}

func filesIn(t testing.TB, dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestWhatAnUploadIsShows(t *testing.T) {
	h := newHost(t, nil)
	name := h.made()
	text := h.get("backups/" + name + "/file").text
	for _, c := range []struct {
		what, name, text, state, problem string
		salvage                          bool
	}{
		{"cut off", "b.json", half(text), "damaged", "damaged", true},
		{"altered", "b.json", strings.Replace(text, "nas", "nos", 1), "damaged", "SHA-256", true},
		{"no backup", "cat.jpg", "\xff\xd8\xff\xe0 a cat", "refused", "is not a backup", false},
		{"the middle of one", name, text[strings.Index(text, "servers"):], "damaged", "damaged", true},
		{"another document", "b.json", `{"hello":"world"}`, "refused", "not a snapshot", true},
		{"another format", "b.json", strings.Replace(text, `"1.0"`, `"9.0"`, 1), "refused", "newer build", false},
		{"another app", "b.json", `{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application":"other","application_version":"1.0.0","data":{}}`, "refused", "another application", false},
		{"a newer app", "b.json", `{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application":"homelab","application_version":"3.0.0","data":{}}`, "ok", "newer", false},
		{"a newer schema", "b.json", `{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application":"homelab","application_version":"3.0.0","schema_version":9,"data":{}}`, "refused", "schema version 9", false},
		{"an unknown collection", "b.json", `{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application_version":"1.0.0","data":{"planets":[]}}`, "ok", "planets", false},
		{"an invalid record", "b.json", `{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application_version":"1.0.0","data":{"logs":[{"id":"1","moon":1}]}}`, "ok", "moon", false},
	} {
		info := h.sent(201, c.name, c.text).restored(t)
		require.Equal(t, c.state, info.State, "%s: %s", c.what, info.Problem)
		require.Contains(t, info.Problem, c.problem, c.what)
		require.Equal(t, c.salvage, info.Salvage, c.what)
		if c.state != "ok" {
			h.do(422, "POST", "restores/"+info.ID+"/plan", obj{"full": true})
		}
	}
	info := h.sent(201, "b.json", `{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application":"homelab","application_version":"3.0.0","data":{"settings":{"theme":"light"}}}`).restored(t)
	require.Equal(t, "too_new", h.do(422, "POST", "restores/"+info.ID+"/plan", obj{"full": true}).code(t))
	h.do(200, "POST", "restores/"+info.ID+"/plan", obj{"full": true, "allow_newer_app": true})
	require.Equal(t, "invalid", h.sent(422, "b.json", "").code(t))
}

func TestALockedBackupOpensWithTheKeyThatAPersonGives(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) { m.Identities = nil })
	name := h.made()
	require.True(t, h.seen().Backups[0].NeedsKey)
	text := h.get("backups/" + name + "/file").text
	h.store["servers"] = map[string]string{}
	h.store["stack_services"] = map[string]string{}
	h.store["settings"] = map[string]string{}
	for _, info := range []restoreJSON{
		h.do(201, "POST", "restores", obj{"backup": name}).restored(t),
		h.sent(201, "b.json", text).restored(t),
	} {
		require.Equal(t, "locked", info.State)
		require.Equal(t, h.key.Recipient.KeyIDs(), info.Keys)
		require.Len(t, info.Collections, 3)
		at := "restores/" + info.ID

		// Collections without secrets can be restored without the key.
		require.Equal(t, "no_key", h.do(422, "POST", at+"/plan", obj{"full": true}).code(t))
		h.do(200, "POST", at+"/plan", obj{"full": false, "only": []string{"settings"}})

		other := newKey(t)
		h.secret = append(h.secret, other.text)
		require.Equal(t, "wrong_key", h.do(422, "POST", at+"/key", obj{"key": other.text}).code(t))
		require.Equal(t, "locked", h.get(at).restored(t).State)
		require.Equal(t, "no_key", h.do(422, "POST", at+"/key", obj{"key": ""}).code(t))
		require.Equal(t, "no_key", h.do(422, "POST", at+"/key", obj{"key": "-----BEGIN nonsense"}).code(t))
		require.Equal(t, "ok", h.do(200, "POST", at+"/key", obj{"key": h.key.text + "\n"}).restored(t).State)
		h.do(200, "POST", at+"/plan", obj{"full": false, "only": []string{"servers", "stack_services"}})
	}
}

func TestAPassphraseOpensABackup(t *testing.T) {
	const passphrase = "correct horse battery staple"
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) {
		m.Recipients, m.Identities = []backup.Recipient{backup.Passphrase([]byte(passphrase))}, nil
	})
	h.secret = append(h.secret, passphrase)
	info := h.do(201, "POST", "restores", obj{"backup": h.made()}).restored(t)
	require.Equal(t, []string{"passphrase"}, info.Keys)
	require.Equal(t, "ok", h.do(200, "POST", "restores/"+info.ID+"/key", obj{"key": passphrase + "\r\n"}).restored(t).State)
}

func TestAnEncryptedBackupIsUndoneAndSalvagedWithAKey(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) {
		m.Identities, m.Encrypt, m.Compress = nil, h.key.Recipient, backup.Gzip
	})
	name := h.made()
	info := h.do(201, "POST", "restores", obj{"backup": name}).restored(t)
	require.Equal(t, "locked", info.State)
	require.EqualValues(t, 2, info.Manifest.Records["servers"], "the note beside the file tells it")
	at := "restores/" + info.ID
	require.Equal(t, "no_key", h.do(422, "POST", at+"/plan", obj{"full": true}).code(t))
	h.do(200, "POST", at+"/key", obj{"key": h.key.text})
	h.store["settings"] = map[string]string{}
	h.do(200, "POST", at+"/plan", obj{"full": true})
	j := h.began(at+"/apply", h.agreed(at, obj{"confirm": "homelab"}))
	require.Empty(t, j.Error)
	require.NotEmpty(t, h.store["settings"])

	undo := h.do(201, "POST", "restores", obj{"undo": true}).restored(t)
	require.False(t, undo.Undo, "the backup needs a key, like any other")
	require.Equal(t, "locked", undo.State)
	require.Equal(t, j.Report.UndoneBy, undo.Name)
	h.do(200, "POST", "restores/"+undo.ID+"/key", obj{"key": h.key.text})
	h.do(200, "POST", "restores/"+undo.ID+"/plan", obj{"full": true})
	require.Empty(t, h.began("restores/"+undo.ID+"/apply", h.agreed("restores/"+undo.ID, obj{"confirm": "homelab"})).Error)
	require.Empty(t, h.store["settings"])
}

func TestWhatIsIntactInADamagedBackupIsSaved(t *testing.T) {
	for _, where := range []string{"uploaded", "stored"} {
		t.Run(where, func(t *testing.T) {
			h := newHost(t, nil)
			name := h.made()
			h.alter(name, func(text string) string { return strings.Replace(text, `"name":"pi"`, `"name":pi"`, 1) })
			var info restoreJSON
			if where == "stored" {
				info = h.do(201, "POST", "restores", obj{"backup": name}).restored(t)
			} else {
				info = h.sent(201, name, readFile(t, string(h.dir)+"/"+name)).restored(t)
			}
			require.Equal(t, "damaged", info.State)
			require.True(t, info.Salvage)

			j := h.began("restores/"+info.ID+"/salvage", nil)
			require.Empty(t, j.Error)
			require.EqualValues(t, 1, j.Salvage.Kept["servers"])
			require.EqualValues(t, 1, j.Salvage.Missing["servers"])
			saved := h.get("restores/" + j.Restore).restored(t)
			require.Equal(t, "ok", saved.State, saved.Problem)
			require.Equal(t, strings.TrimSuffix(name, ".json")+"-salvaged.json", saved.Name)
			require.NotNil(t, saved.Manifest.Salvaged)
			file := h.get("restores/" + j.Restore + "/file")
			require.Contains(t, file.text, `"salvaged"`)
			require.Equal(t, "attachment; filename="+saved.Name, file.Header.Get("Content-Disposition"))
			if where == "stored" {
				h.do(404, "GET", "restores/"+info.ID+"/file", nil)
			}

			at := "restores/" + j.Restore
			require.Equal(t, "salvaged", h.do(422, "POST", at+"/plan", obj{"full": true}).code(t))
			h.store["servers"] = map[string]string{}
			h.store["stack_services"] = map[string]string{}
			h.do(200, "POST", at+"/plan", obj{"full": false, "only": []string{"servers"}})
			require.Empty(t, h.began(at+"/apply", h.agreed(at, obj{})).Error)
			require.Len(t, h.store["servers"], 1)

			require.Equal(t, "invalid", h.do(422, "POST", at+"/salvage", nil).code(t), "the backup is whole")
		})
	}
}

func TestOfSeveralDamagedCopiesTheFirstThatHoldsSomethingIsSaved(t *testing.T) {
	var second location.Dir
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) {
		second = location.Dir(t.TempDir())
		m.Locations = append(m.Locations, second)
	})
	name := h.made()
	h.alter(name, func(string) string { return "{" + strings.Repeat(".", 1000) })
	require.NoError(t, os.WriteFile(string(second)+"/"+name, []byte(strings.Replace(readFile(t, string(second)+"/"+name), `"name":"pi"`, `"name":pi"`, 1)), 0o600))
	info := h.do(201, "POST", "restores", obj{"backup": name}).restored(t)
	require.Equal(t, "damaged", info.State)
	j := h.began("restores/"+info.ID+"/salvage", nil)
	require.Empty(t, j.Error)
	require.EqualValues(t, 1, j.Salvage.Kept["servers"])

	require.NoError(t, os.WriteFile(string(second)+"/"+name, []byte("{"), 0o600))
	j = h.began("restores/"+info.ID+"/salvage", nil)
	require.Equal(t, "damaged", j.Code)
	require.Empty(t, j.Restore)
	h.Handler.mu.Lock()
	defer h.Handler.mu.Unlock()
	require.Len(t, h.restores, 2)
}

func readFile(t testing.TB, name string) string {
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

func TestWhereTemporaryFilesAreIsNobodysBusiness(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) { o.TempDir = t.TempDir() + "/gone" })
	got := h.sent(500, "b.json", "{}")
	require.Equal(t, "failed", got.code(t))
	require.NotContains(t, got.text, "gone")
	require.Contains(t, h.log.String(), "gone")

	// A compressed backup is unpacked into a temporary file.
	dir := t.TempDir()
	h.opts.TempDir = dir
	file, err := h.newSpool()
	require.NoError(t, err)
	_, err = file.Write([]byte("\x1f\x8b\x08"))
	require.NoError(t, err)
	h.opts.TempDir = dir + "/gone"
	_, err = h.begin(t.Context(), &restore{file: file}, func(ctx context.Context) (restoreInfo, error) {
		for _, r := range h.restores {
			return h.examine(ctx, r)
		}
		return restoreInfo{}, nil
	})
	require.Equal(t, errHidden, err)
	require.Equal(t, "no_space", func() string { _, code := classify(h.spoolFailed(syscall.ENOSPC)); return code }())
}

func TestTheHostMakesKeysOfWhatIsTypedIn(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) {
		m.Identities = nil
		o.Identities = func(text []byte) ([]backup.Identity, error) {
			switch string(text) {
			case "card":
				return []backup.Identity{h.key.Identity}, nil
			case "none":
				return nil, nil
			}
			return nil, fmt.Errorf("no card is called %s", text)
		}
	})
	h.secret = append(h.secret, "typed-in-by-mistake")
	at := "restores/" + h.do(201, "POST", "restores", obj{"backup": h.made()}).restored(t).ID
	require.Equal(t, "no_key", h.do(422, "POST", at+"/key", obj{"key": "typed-in-by-mistake"}).code(t))
	require.Equal(t, "no_key", h.do(422, "POST", at+"/key", obj{"key": "none"}).code(t))
	require.Equal(t, "ok", h.do(200, "POST", at+"/key", obj{"key": "card"}).restored(t).State)
}

func TestOneRestoreIsUsedByOneAtATime(t *testing.T) {
	h := newHost(t, nil)
	name := h.made()
	delete(h.store["servers"], "b2")
	id := h.do(201, "POST", "restores", obj{"backup": name}).restored(t).ID
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			if i%4 == 3 {
				h.get("restores/" + id)
				return
			}
			info, err := h.plan(t.Context(), id, planInput{Only: []string{"servers"}})
			if err != nil {
				t.Error(err)
				return
			}
			if changes, more, err := h.changes(t.Context(), id, info.Plan.ID, 0, 10); !errors.Is(err, backup.ErrStale) && (err != nil || more || len(changes) != 1) {
				t.Error(changes, more, err)
			}
		})
	}
	wait.Wait()
	// A request that waits while the restore is forgotten gets an error.
	for range 4 {
		wait.Go(func() {
			h.plan(t.Context(), id, planInput{Full: true})
			h.discard(id)
		})
	}
	wait.Wait()
	_, err := h.plan(t.Context(), id, planInput{Full: true})
	require.Equal(t, errForgotten, err)
}

func TestFewBackupsAreLookedIntoAtATime(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) { o.MaxUpload = 10_000 })
	text := h.get("backups/" + h.made() + "/file").text
	require.Less(t, len(text), 2000)
	var ids []string
	for range mostRestores {
		ids = append(ids, h.sent(201, "b.json", text).restored(t).ID)
	}
	h.get("restores/" + ids[0]) // so that this one was used last
	h.sent(201, "b.json", text)
	h.get("restores/" + ids[0])
	h.do(404, "GET", "restores/"+ids[1], nil)

	// The size of the files is limited too.
	padded := text + strings.Repeat(" ", 9900-len(text))
	for range 4 {
		h.sent(201, "b.json", padded)
	}
	h.Handler.mu.Lock()
	require.LessOrEqual(t, h.spooled, 2*h.opts.MaxUpload)
	require.Len(t, h.restores, 2)
	h.Handler.mu.Unlock()

	// A restore that is in use is not forgotten.
	h.Handler.mu.Lock()
	for _, r := range h.restores {
		r.users++
	}
	h.Handler.mu.Unlock()
	require.Equal(t, "busy", h.sent(409, "b.json", padded).code(t))
	h.Handler.mu.Lock()
	for _, r := range h.restores {
		r.users--
	}
	require.EqualValues(t, 2*9900, h.spooled)
	h.Handler.mu.Unlock()
	h.stop()
	require.Zero(t, h.spooled, "the end of Run forgets all restores")
	require.Empty(t, h.restores)
	h.do(404, "GET", "restores/"+ids[0], nil)
}

func TestTheNameOfAnUploadIsMadeHarmless(t *testing.T) {
	for name, want := range map[string]string{
		"backup.json":                        "backup.json",
		"../../etc/passwd":                   "passwd",
		`C:\Users\x\b.json`:                  "b.json",
		"a\r\nSet-Cookie: x=1":               "aSet-Cookie x=1",
		"":                                   "backup.json",
		"..":                                 "backup.json",
		"/":                                  "backup.json",
		"süß \u202e.json":                    "süß .json",
		"a\xffb":                             "ab",
		strings.Repeat("ä", 150):             strings.Repeat("ä", 100),
		`<script>alert("x")</script>`:        "script",
		fmt.Sprintf("x%sy", "\x00\x1b[31m;"): "x[31my",
	} {
		require.Equal(t, want, fileName(name))
	}
}

package backuphttp

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

func TestABackupIsMadeVerifiedDownloadedAndDeleted(t *testing.T) {
	h := newHost(t, nil)
	o := h.seen()
	require.Empty(t, o.Backups)
	require.True(t, o.Running)

	made := h.began("backups", obj{"include": []string{"logs"}})
	require.Empty(t, made.Error)
	require.NotNil(t, made.Made)
	name := made.Made.Name
	require.Equal(t, "create", made.Kind)

	o = h.seen()
	require.Len(t, o.Backups, 1)
	require.Equal(t, name, o.Backups[0].Name)
	require.Equal(t, name, o.Good)
	require.Nil(t, o.Backups[0].Verified)
	require.False(t, o.Backups[0].NeedsKey)
	require.False(t, o.Backups[0].CanDelete, "it is the only good backup")
	require.EqualValues(t, 1, o.Backups[0].Manifest.Records["logs"])
	require.Equal(t, made.ID, o.Last.ID)
	require.Equal(t, "Stack services", o.Collections[1].Label)

	verified := h.began("backups/"+name+"/verify", nil)
	require.Empty(t, verified.Error)
	require.Len(t, verified.Verified, 1)
	o = h.seen()
	require.NotNil(t, o.Backups[0].Verified)

	file := h.get("backups/" + name + "/file")
	require.Equal(t, "application/octet-stream", file.Header.Get("Content-Type"))
	require.Equal(t, "attachment; filename="+name, file.Header.Get("Content-Disposition"))
	require.Contains(t, file.text, `"integrity"`)

	require.Equal(t, "confirm", h.do(422, "DELETE", "backups/"+name, nil).code(t))
	require.Equal(t, "confirm", h.do(422, "DELETE", "backups/"+name+"?confirm="+name, nil).code(t))
	h.do(http.StatusNoContent, "DELETE", "backups/"+name+"?confirm=homelab", nil)
	o = h.seen()
	require.Empty(t, o.Backups)
	h.do(404, "DELETE", "backups/"+name, nil)
	h.do(404, "GET", "backups/"+name+"/file", nil)
	h.do(404, "POST", "backups/"+name+"/accept", nil)
}

// A gate stops the caller of pass until the gate is opened.
type gate struct {
	reached, opened chan struct{}
	open            func()
}

func newGate(h *host) *gate {
	g := &gate{reached: make(chan struct{}), opened: make(chan struct{})}
	g.open = sync.OnceFunc(func() { close(g.opened) })
	h.gates = append(h.gates, g)
	return g
}

func (g *gate) pass() {
	close(g.reached)
	<-g.opened
}

// slowSource makes the first backup wait at a gate.
func slowSource(h *host, m *manager.Manager) *gate {
	g := newGate(h)
	m.Source = &backuptest.Faulty{Source: h.store, Sink: h.store, On: backuptest.CallRecords, Nth: 1, Do: g.pass}
	return g
}

func TestOneThingRunsAtATimeAndOutlivesWhoAskedForIt(t *testing.T) {
	var g *gate
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) { g = slowSource(h, m) })
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan error)
	go func() {
		_, err := h.create(ctx, nil)
		asked <- err
	}()
	<-g.reached
	cancel()
	require.NoError(t, <-asked)
	o := h.seen()
	require.Equal(t, "create", o.Job.Kind)
	require.Nil(t, o.Last)

	require.Equal(t, "busy", h.do(409, "POST", "backups", obj{}).code(t))
	require.Equal(t, "busy", h.do(409, "POST", "prune", nil).code(t))
	require.Equal(t, "not_found", h.do(404, "POST", "backups/homelab-backup-2024-01-15T10-30-00.json/verify", nil).code(t))
	require.Equal(t, "busy", h.do(409, "DELETE", "backups/homelab-backup-2024-01-15T10-30-00.json", nil).code(t))

	g.open()
	j := h.wait(o.Job.ID)
	require.Empty(t, j.Error)
	require.Len(t, h.seen().Backups, 1)
}

func TestWhatRunsWhenRunEndsIsStoppedAndLeavesNothing(t *testing.T) {
	var g *gate
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) { g = slowSource(h, m) })
	h.moment = 0
	j, err := h.create(t.Context(), nil)
	require.NoError(t, err)
	<-g.reached
	stopped := make(chan struct{})
	go func() { h.stop(); close(stopped) }()
	for { // until Run is ending
		h.Handler.mu.Lock()
		open := h.running.open
		h.Handler.mu.Unlock()
		if !open {
			break
		}
		time.Sleep(time.Millisecond)
	}
	require.Equal(t, "stopped", h.do(503, "POST", "backups", obj{}).code(t))
	g.open()
	<-stopped
	j = h.wait(j.ID)
	require.Equal(t, "stopped", j.Code)
	o := h.seen()
	require.False(t, o.Running)
	require.Empty(t, o.Backups)
	require.Empty(t, backupsIn(t, h))
	for _, path := range []string{"backups", "prune"} {
		in := any(nil)
		if path == "backups" {
			in = obj{}
		}
		require.Equal(t, "stopped", h.do(503, "POST", path, in).code(t))
	}
	require.Equal(t, "stopped", h.sent(503, "b.json", "{}").code(t))

	// Run can be called again.
	h.run()
	h.made()
	require.ErrorContains(t, h.Run(t.Context()), "runs already")
	require.True(t, h.ready())
}

func backupsIn(t *testing.T, h *host) []string {
	return slices.DeleteFunc(filesIn(t, string(h.dir)), func(name string) bool { return name[0] == '.' })
}

func TestAnotherProcessAtTheLocationIsBusy(t *testing.T) {
	h := newHost(t, nil)
	name := h.made()
	other := &manager.Manager{App: testApp(), Locations: []location.Location{h.dir}, Recipients: []backup.Recipient{h.key}}
	g := slowSource(h, other)
	made := make(chan error, 1)
	go func() {
		_, err := other.Create(t.Context(), backup.BackupOptions{})
		made <- err
	}()
	<-g.reached
	got := h.do(409, "POST", "backups", obj{})
	require.Equal(t, "busy", got.code(t))
	require.Contains(t, got.text, "create, process")
	require.Equal(t, "busy", h.do(409, "DELETE", "backups/"+name+"?confirm=homelab", nil).code(t))
	require.Equal(t, "busy", h.do(409, "POST", "backups/"+name+"/accept", nil).code(t))
	g.open()
	require.NoError(t, <-made)
	h.made()
}

func TestARestoreIsCompletedWhenTheBrowserIsGone(t *testing.T) {
	var g *gate
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) {
		g = newGate(h)
		m.Sink = &backuptest.Faulty{Source: h.store, Sink: h.store, On: backuptest.CallPut, Nth: 2, Do: g.pass} // the first was tried
	})
	name := h.made()
	want := h.store.Clone()
	h.store["settings"] = map[string]string{}
	id := h.do(201, "POST", "restores", obj{"backup": name}).restored(t).ID
	plan := h.do(200, "POST", "restores/"+id+"/plan", obj{"full": true}).restored(t).Plan

	ctx, cancel := context.WithCancel(t.Context())
	r := h.request("POST", "restores/"+id+"/apply", strings.NewReader(`{"plan":"`+plan.ID+`","confirm":"homelab"}`)).WithContext(ctx)
	r.Header.Set("Content-Type", "application/json")
	gone := make(chan error)
	go func() {
		_, err := http.DefaultClient.Do(r)
		gone <- err
	}()
	<-g.reached
	cancel()
	require.ErrorIs(t, <-gone, context.Canceled)
	require.Equal(t, "busy", h.do(409, "POST", "restores/"+id+"/plan", obj{"full": true}).code(t))
	require.Equal(t, "busy", h.do(409, "DELETE", "restores/"+id, nil).code(t))
	job := h.seen().Job
	var again jsonJobValue
	h.do(202, "POST", "restores/"+id+"/apply", obj{"plan": plan.ID, "confirm": "homelab"}).into(t, &again)
	require.Equal(t, job.ID, again.ID, "a second click leads to the job of the first")
	g.open()
	require.Empty(t, h.wait(job.ID).Error)
	require.Equal(t, want, h.store.Clone())
}

func TestADamagedCopyIsFoundByVerification(t *testing.T) {
	h := newHost(t, nil)
	good, name := h.made(), h.made()
	h.began("backups/"+name+"/verify", nil)
	h.alter(name, func(text string) string { return strings.Replace(text, "nas", "nos", 1) })
	j := h.began("backups/"+name+"/verify", nil)
	require.Equal(t, "damaged", j.Code)
	require.ErrorContains(t, j.Verified[0].Err, "SHA-256")
	o := h.seen()
	require.True(t, o.Backups[0].Damaged)
	require.Nil(t, o.Backups[0].Verified)
	require.Equal(t, good, o.Good)
	require.False(t, o.Backups[1].CanDelete)
	require.Equal(t, "damaged", h.do(422, "GET", "backups/"+name+"/file", nil).code(t))
	require.Equal(t, "confirm", h.do(422, "DELETE", "backups/"+good, nil).code(t))
	h.do(204, "DELETE", "backups/"+name, nil)
	h.do(404, "POST", "backups/notes.txt/verify", nil)
}

// The page remembers what looking into a backup has shown.
func TestADamagedBackupIsNotOfferedAgain(t *testing.T) {
	h := newHost(t, nil)
	oldest, good, name := h.made(), h.made(), h.made()
	require.Equal(t, name, h.seen().Good)
	h.alter(name, func(text string) string { return strings.Replace(text, "nas", "nos", 1) })
	info := h.do(201, "POST", "restores", obj{"backup": name}).restored(t)
	require.Equal(t, "damaged", info.State)
	require.Equal(t, good, info.Older)
	o := h.seen()
	require.True(t, o.Backups[0].Damaged)
	require.Equal(t, good, o.Good)
	require.Nil(t, o.Backups[1].Verified)
	require.Equal(t, "ok", h.do(201, "POST", "restores", obj{"backup": good}).restored(t).State)
	require.NotNil(t, h.seen().Backups[1].Verified)
	h.do(204, "DELETE", "backups/"+oldest, nil)
	require.Equal(t, "confirm", h.do(422, "DELETE", "backups/"+good, nil).code(t), "a damaged backup does not count as good")
	h.alter(name, func(text string) string { return strings.Replace(text, "nos", "nas", 1) })
	require.Equal(t, "ok", h.do(201, "POST", "restores", obj{"backup": name}).restored(t).State)
	require.Equal(t, name, h.seen().Good, "the file is whole again")
}

func TestALossIsAccepted(t *testing.T) {
	h := newHost(t, nil)
	_, err := h.manager.Create(t.Context(), backup.BackupOptions{CreatedAt: time.Now().Add(-time.Hour)})
	require.NoError(t, err)
	h.store["servers"], h.store["stack_services"] = map[string]string{}, map[string]string{}
	name := h.made()
	o := h.seen()
	require.True(t, o.Shrunk)
	require.Equal(t, "shrunk", h.began("prune", nil).Code)
	h.do(204, "POST", "backups/"+name+"/accept", nil)
	require.False(t, h.seen().Shrunk)
	require.Empty(t, h.began("prune", nil).Error)
}

func TestOldBackupsAreDeletedAsRetentionSays(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) { m.Retention = backup.Retention{Last: 1} })
	for _, second := range []int{1, 2, 3} {
		_, err := h.manager.Create(t.Context(), backup.BackupOptions{CreatedAt: time.Date(2024, 1, 15, 10, 30, second, 0, time.UTC), Metadata: map[string]string{"trigger": "scheduled"}})
		require.NoError(t, err)
	}
	j := h.began("prune", nil)
	require.Empty(t, j.Error)
	require.Len(t, j.Pruned[0].Deleted, 2)
	require.Len(t, h.seen().Backups, 1)
}

func TestTheLastJobsAreRemembered(t *testing.T) {
	h := newHost(t, nil)
	first := h.began("prune", nil)
	for range mostTasks {
		h.began("prune", nil)
	}
	h.do(404, "GET", "jobs/"+first.ID, nil)
	var list struct{ Jobs []jsonJobValue }
	h.get("jobs").into(t, &list)
	require.Len(t, list.Jobs, mostTasks)
	require.Equal(t, h.seen().Last.ID, list.Jobs[0].ID)
}

func TestAPanicOfTheHostIsAFailureOfTheJob(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) {
		m.Source = &backuptest.Faulty{Source: h.store, Sink: h.store, On: backuptest.CallRecords, Nth: 1, Do: func() { panic("out of cheese") }}
	})
	j := h.began("backups", obj{})
	require.Equal(t, "failed", j.Code)
	require.NotContains(t, j.Error, "cheese")
	require.Contains(t, h.log.String(), "out of cheese")
	require.Empty(t, backupsIn(t, h))
	h.made()
}

// A wholeDatabase can be copied, and its copies are always whole.
type wholeDatabase string

func (d wholeDatabase) Copy(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, string(d))
	return err
}

func (wholeDatabase) Check(_ context.Context, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

func TestACopyOfTheDatabaseIsListedAndIsNoBackup(t *testing.T) {
	h := newHost(t, func(_ *host, m *manager.Manager, _ *Options) {
		m.Database, m.DatabaseInClear = wholeDatabase("all of it"), true
	})
	copied, err := h.manager.CopyDatabase(t.Context())
	require.NoError(t, err)
	o := h.seen()
	require.Len(t, o.Backups, 1)
	require.True(t, o.Backups[0].Manifest.Database)
	require.Empty(t, o.Good)
	require.True(t, o.Backups[0].CanDelete)
	require.Equal(t, "none", o.Automated.Days[len(o.Automated.Days)-1].State)

	require.Empty(t, h.began("backups/"+copied.Name+"/verify", nil).Error)
	require.Equal(t, "all of it", h.get("backups/"+copied.Name+"/file").text)
	require.Contains(t, h.do(201, "POST", "restores", obj{"backup": copied.Name}).text, "copy of the database and no snapshot")
	h.do(http.StatusNoContent, "DELETE", "backups/"+copied.Name, nil)
}

package joined_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/filestore"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/joined"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

func record(key, value string) backup.Record {
	return backup.Record{Key: key, Value: json.RawMessage(value)}
}

var app = &backup.App{
	Name: "conformance", Version: "1.0.0", SchemaVersion: 1,
	Collections: []backup.Collection{
		{Name: "users", Key: "/id"},
		{Name: "notes", Key: "/id", Refs: []backup.Ref{{Pointer: "/user", Collection: "users"}}},
		{Name: "files", Shape: backup.Map},
	},
}

func sample(collection string, number, revision int) backup.Record {
	more := ""
	if revision == 0 {
		more = `,"more":[1.50,9007199254740993,null]`
	}
	key := fmt.Sprint("k", number)
	return record(key, fmt.Sprintf(`{"id":%q%s}`, key, more))
}

// A parts makes the two stores that are joined. The first has users and notes, the second
// has files.
type parts map[string]func(t *testing.T) (first, second backup.Store)

var plain = parts{
	"two maps": func(*testing.T) (first, second backup.Store) {
		return backuptest.MapStore{"users": {}, "notes": {}}, backuptest.MapStore{"files": {}}
	},
	"a map with rules and a map": func(*testing.T) (first, second backup.Store) {
		return ruled(), backuptest.MapStore{"files": {}}
	},
	"a map with rules and a folder": func(t *testing.T) (first, second backup.Store) {
		return ruled(), folder(t)
	},
	"two maps with rules": func(t *testing.T) (first, second backup.Store) {
		return ruled(), backuptest.RuledStore{MapStore: backuptest.MapStore{"files": {}}}
	},
}

func ruled() backup.Store {
	return backuptest.RuledStore{
		MapStore: backuptest.MapStore{"users": {}, "notes": {}},
		Unique:   map[string][]string{"users": {"/name"}},
		Refs:     map[string][]backup.Ref{"notes": {{Pointer: "/user", Collection: "users"}}},
		Triggers: map[string][]backuptest.Trigger{"users": {{Name: "nothing", Do: func(context.Context, backup.Writer, backuptest.Change) error { return nil }}}},
	}
}

func folder(t *testing.T) filestore.Store {
	dir := filepath.Join(testtime.MemoryDir(t), "files")
	require.NoError(t, os.Mkdir(dir, 0o700))
	return filestore.Store{Path: dir, Collections: []filestore.Collection{{Name: "files"}}, AllowGap: true}
}

func join(first, second backup.Store) *joined.Store {
	return &joined.Store{Parts: []joined.Part{
		{Store: first, Collections: []string{"users", "notes"}},
		{Store: second, Collections: []string{"files"}},
	}}
}

func TestAJoinedStoreKeepsTheRules(t *testing.T) {
	for name, parts := range plain {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := backuptest.Fixture{
				Collections: []string{"users", "notes", "files"},
				App:         app,
				Record:      sample,
				WithKey: func(_, key string) backup.Record {
					quoted, err := json.Marshal(key)
					require.NoError(t, err)
					return record(key, fmt.Sprintf(`{"id":%s}`, quoted))
				},
			}
			if strings.Contains(name, "rules") {
				f.WithUnique = func(collection string, number, value int) backup.Record {
					if collection != "users" {
						return backup.Record{}
					}
					key := fmt.Sprint("k", number)
					return record(key, fmt.Sprintf(`{"id":%q,"name":"n%d"}`, key, value))
				}
				f.Dangling = func(collection string) backup.Record {
					if collection != "notes" {
						return backup.Record{}
					}
					return record("dangles", `{"id":"dangles","user":"gone"}`)
				}
			}
			backuptest.TestStore(t, func(t *testing.T) backuptest.Store { return join(parts(t)) }, f)
		})
	}
}

// A pair is a joined store whose parts can be made to fail.
type pair struct {
	*joined.Store
	db, files   backuptest.MapStore
	first, last *backuptest.Faulty
}

func newPair() pair {
	p := pair{
		db:    backuptest.MapStore{"users": {"u": `{"id":"u"}`}, "notes": {"n": `{"id":"n","user":"u"}`}},
		files: backuptest.MapStore{"files": {"a.png": `"AAAA"`}},
	}
	p.first, p.last = &backuptest.Faulty{Source: p.db, Sink: p.db}, &backuptest.Faulty{Source: p.files, Sink: p.files}
	p.Store = join(p.first, p.last)
	return p
}

func (p pair) all() string { return fmt.Sprint(p.db, p.files) }

// saved returns a backup of a pair, and changes all parts of the pair afterwards.
func (p pair) saved(t *testing.T) *backup.Snapshot {
	s := snapshot(t, p)
	p.db["notes"], p.files["files"] = map[string]string{"n": `{"id":"n"}`}, map[string]string{"a.png": `"BBBB"`}
	return s
}

func snapshot(t *testing.T, source backup.DataSource) *backup.Snapshot {
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, source, backup.BackupOptions{})
	require.NoError(t, err)
	s, err := backup.OpenSnapshot(t.Context(), &file, backup.OpenOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

var replace = backup.RestoreOptions{Strategy: backup.Replace}

func TestAFailureBeforeTheFirstCommitChangesNothing(t *testing.T) {
	broken := errors.New("broken")
	calls := append(backuptest.Calls[1:], backuptest.CallSettle)
	for _, part := range []string{"first", "last"} {
		for _, call := range calls {
			if call == backuptest.CallRecords || call == backuptest.CallSettle || part == "last" && call == backuptest.CallCommit {
				continue // of a Reader, and of a store that can settle
			}
			t.Run(part+" "+string(call), func(t *testing.T) {
				failed := 0
				for n := 1; ; n++ {
					p := newPair()
					s := p.saved(t)
					faulty := map[string]*backuptest.Faulty{"first": p.first, "last": p.last}[part]
					if call == backuptest.CallDelete {
						p.db["users"]["more"], p.files["files"]["more"] = `{"id":"more"}`, `0`
					}
					before := p.all()
					faulty.On, faulty.Nth, faulty.Err = call, n, broken
					_, err := app.Restore(t.Context(), s, p, replace)
					if !faulty.Reached() {
						require.NoError(t, err)
						break
					}
					require.ErrorIs(t, err, broken)
					require.Equal(t, before, p.all())
					failed++
				}
				require.Positive(t, failed)
			})
		}
	}
}

func TestAFailureBetweenTwoCommitsSaysWhichPartHasTheChanges(t *testing.T) {
	for says, failure := range map[string]error{
		"files may or may not have the changes: no space left on device": syscall.ENOSPC,
		"files do not have the changes: rolled back: no space":           fmt.Errorf("%w: %w", backup.ErrRolledBack, syscall.ENOSPC),
	} {
		p := newPair()
		want := p.all()
		s := p.saved(t)
		p.last.On, p.last.Nth, p.last.Err = backuptest.CallCommit, 1, failure
		_, err := app.Restore(t.Context(), s, p, replace)
		require.ErrorIs(t, err, backup.ErrUncertain)
		require.NotErrorIs(t, err, backup.ErrRolledBack)
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, "users, notes have them; the same restore again completes what is missing")
		require.ErrorContains(t, err, "check disk space")
		require.Equal(t, `{"id":"n","user":"u"}`, p.db["notes"]["n"])
		require.Equal(t, `"BBBB"`, p.files["files"]["a.png"])

		report, err := app.Restore(t.Context(), s, p, replace)
		require.NoError(t, err)
		require.Equal(t, want, p.all())
		for _, c := range report.Collections {
			require.Equal(t, c.Name == "files", c.Updated == 1, c)
		}
	}
}

func TestAFailureOfTheFirstCommitLeavesTheOthersAlone(t *testing.T) {
	p := newPair()
	s := p.saved(t)
	before := p.all()
	p.first.On, p.first.Nth, p.first.Err = backuptest.CallCommit, 1, syscall.ENOSPC
	_, err := app.Restore(t.Context(), s, p, replace)
	require.ErrorIs(t, err, backup.ErrUncertain)
	require.ErrorContains(t, err, "users, notes may or may not have the changes: no space left on device; files do not have them")
	require.Equal(t, before, p.all())
	p.first.Nth, p.first.Err = 2, fmt.Errorf("%w: %w", backup.ErrRolledBack, syscall.ENOSPC)
	_, err = app.Restore(t.Context(), s, p, replace)
	require.NotErrorIs(t, err, backup.ErrUncertain)
	require.ErrorIs(t, err, backup.ErrRolledBack)
	require.Equal(t, before, p.all())
}

func TestOfThreePartsTheErrorNamesEach(t *testing.T) {
	stores := []backuptest.MapStore{{"a": {}}, {"b": {}}, {"c": {}}}
	faulty := &backuptest.Faulty{Source: stores[1], Sink: stores[1], On: backuptest.CallCommit, Nth: 1, Err: errors.New("broken")}
	s := &joined.Store{Parts: []joined.Part{
		{Store: stores[0], Collections: []string{"a"}}, {Store: faulty, Collections: []string{"b"}}, {Store: stores[2], Collections: []string{"c"}},
	}}
	ctx := t.Context()
	err := s.Update(ctx, func(w backup.Writer) error {
		for _, c := range []string{"a", "b", "c"} {
			if err := w.Put(ctx, c, []backup.Record{record("k", "1")}); err != nil {
				return err
			}
		}
		return nil
	})
	require.EqualError(t, err, "joined: b may or may not have the changes: broken; a have them; c do not have them; the same restore again completes what is missing, and an undo takes back the rest")
	require.Equal(t, []backuptest.MapStore{{"a": {"k": "1"}}, {"b": {}}, {"c": {}}}, stores)
}

// A Manager keeps what was there before, also if only a part has the changes.
func TestAnUndoBringsBackAllPartsAfterAFailureBetweenTheCommits(t *testing.T) {
	ctx := t.Context()
	p := newPair()
	s := p.saved(t)
	before := p.all()
	dir := location.Dir(filepath.Join(t.TempDir(), "backups"))
	require.NoError(t, dir.Make())
	m := &manager.Manager{App: app, Source: p, Sink: p, Locations: []location.Location{dir}}
	p.last.On, p.last.Nth, p.last.Err = backuptest.CallCommit, 1, syscall.ENOSPC
	_, err := m.Restore(ctx, s, replace)
	require.ErrorIs(t, err, backup.ErrUncertain)
	require.ErrorContains(t, err, "what was there before is kept as conformance-backup-")
	require.NotEqual(t, before, p.all())

	report, err := m.Undo(ctx)
	require.NoError(t, err)
	require.Contains(t, fmt.Sprint(report.Warnings), "did not finish")
	require.Equal(t, before, p.all())
}

func TestIfThePartThatCommitsFirstBeginsAgainAllBeginAgain(t *testing.T) {
	ctx := t.Context()
	p := newPair()
	others := 3
	p.first.On, p.first.Nth = backuptest.CallCommit, 1
	interfere := func() {
		require.NoError(t, p.db.Update(ctx, func(w backup.Writer) error {
			return w.Put(ctx, "users", []backup.Record{record("other", `{"id":"other"}`)})
		}))
	}
	runs := 0
	write := func(w backup.Writer) error {
		runs++
		found, err := w.Lookup(ctx, "files", []string{"mine"})
		require.NoError(t, err)
		require.Empty(t, found, "an earlier call has put it")
		if runs <= others {
			interfere()
		}
		return errors.Join(
			w.Put(ctx, "files", []backup.Record{record("mine", "1")}),
			w.Put(ctx, "users", []backup.Record{record("mine", `{"id":"mine"}`)}))
	}
	require.NoError(t, p.Update(ctx, write))
	require.Equal(t, others+1, runs)
	require.Contains(t, p.files["files"], "mine")
	require.Contains(t, p.db["users"], "mine")

	runs, others = 0, 1000
	delete(p.files["files"], "mine")
	err := p.Update(ctx, write)
	require.ErrorIs(t, err, backup.ErrRolledBack)
	require.ErrorContains(t, err, "the store of users, notes has begun its transaction again 10 times")
	require.Equal(t, 10, runs)
	require.NotContains(t, p.files["files"], "mine")
}

func TestAPartThatBeginsAgainAfterAnotherCommitIsTooLate(t *testing.T) {
	ctx := t.Context()
	p := newPair()
	p.last.On, p.last.Nth, p.last.Do = backuptest.CallCommit, 1, func() {
		require.NoError(t, p.files.Update(ctx, func(w backup.Writer) error {
			return w.Put(ctx, "files", []backup.Record{record("other", "1")})
		}))
	}
	runs := 0
	err := p.Update(ctx, func(w backup.Writer) error {
		runs++
		return errors.Join(
			w.Put(ctx, "files", []backup.Record{record("mine", "1")}),
			w.Put(ctx, "users", []backup.Record{record("mine", `{"id":"mine"}`)}))
	})
	require.ErrorContains(t, err, "files do not have the changes: the store wants to begin its transaction again, which is too late; users, notes have them")
	require.NotErrorIs(t, err, backup.ErrRolledBack)
	require.Equal(t, 1, runs)
	require.Contains(t, p.db["users"], "mine")
	require.Equal(t, map[string]string{"a.png": `"AAAA"`, "other": "1"}, p.files["files"])
}

// A context that is done between two commits would leave a half.
func TestACancelAfterTheFirstCommitIsTooLate(t *testing.T) {
	for _, last := range []string{"map", "folder"} {
		ctx, cancel := context.WithCancel(t.Context())
		db := backuptest.MapStore{"users": {}, "notes": {}}
		var files backup.Store = backuptest.MapStore{"files": {}}
		if last == "folder" {
			files = folder(t)
		}
		s := join(db, &backuptest.Faulty{Source: files, Sink: files, On: backuptest.CallCommit, Nth: 1, Do: cancel})
		require.NoError(t, s.Update(ctx, func(w backup.Writer) error {
			return errors.Join(
				w.Put(ctx, "files", []backup.Record{record("mine", "1")}),
				w.Put(ctx, "users", []backup.Record{record("mine", `{"id":"mine"}`)}))
		}))
		require.Error(t, ctx.Err())
		require.Contains(t, db["users"], "mine")
		require.NoError(t, files.View(t.Context(), func(r backup.Reader) error {
			n := 0
			for r, err := range r.Records(t.Context(), "files") {
				require.NoError(t, err)
				require.Equal(t, "mine", r.Key)
				n++
			}
			require.Equal(t, 1, n)
			return nil
		}))
	}
}

func TestADeadlineIsToldAsSuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		p := newPair()
		before := p.all()
		err := p.Update(ctx, func(w backup.Writer) error {
			time.Sleep(time.Hour)
			return w.Put(t.Context(), "files", []backup.Record{record("mine", "1")})
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, backup.ErrRolledBack)
		require.Equal(t, before, p.all())
	})
}

// The first part would commit what the last one refuses to.
func TestAFailureThatWriteIgnoresIsNoHalf(t *testing.T) {
	ctx := t.Context()
	broken := errors.New("broken")
	for _, call := range []backuptest.Call{backuptest.CallKeys, backuptest.CallLookup, backuptest.CallPut, backuptest.CallDelete} {
		p := newPair()
		before := p.all()
		p.last.On, p.last.Nth, p.last.Err = call, 1, broken
		err := p.Update(ctx, func(w backup.Writer) error {
			require.NoError(t, w.Put(ctx, "users", []backup.Record{record("mine", `{"id":"mine"}`)}))
			for range w.Keys(ctx, "files") {
			}
			_, _ = w.Lookup(ctx, "files", []string{"a.png"})
			_ = w.Put(ctx, "files", []backup.Record{record("mine", "1")})
			_ = w.Delete(ctx, "files", []string{"a.png"})
			return nil
		})
		require.ErrorIs(t, err, broken, call)
		require.ErrorIs(t, err, backup.ErrRolledBack, call)
		require.Equal(t, before, p.all(), call)
	}
	// So would it if the last part finds only at its commit that it cannot.
	db := backuptest.MapStore{"users": {}, "notes": {}}
	files := backuptest.RuledStore{MapStore: backuptest.MapStore{"files": {}}, Unique: map[string][]string{"files": {"/name"}}}
	err := join(db, files).Update(ctx, func(w backup.Writer) error {
		return errors.Join(
			w.Put(ctx, "users", []backup.Record{record("mine", `{"id":"mine"}`)}),
			w.Put(ctx, "files", []backup.Record{record("a", `{"name":"x"}`), record("b", `{"name":"x"}`)}))
	})
	require.ErrorIs(t, err, backup.ErrClash)
	require.ErrorIs(t, err, backup.ErrRolledBack)
	require.Empty(t, db["users"])
}

func TestNoViewBeginsDuringAnUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		p := newPair()
		between, goOn := make(chan bool), make(chan bool)
		p.last.On, p.last.Nth, p.last.Do = backuptest.CallCommit, 1, func() { close(between); <-goOn }
		done := make(chan error, 2)
		go func() {
			done <- p.Update(ctx, func(w backup.Writer) error {
				return errors.Join(
					w.Put(ctx, "files", []backup.Record{record("a.png", `"new"`)}),
					w.Put(ctx, "users", []backup.Record{record("u", `{"id":"u","new":true}`)}))
			})
		}()
		<-between
		require.Contains(t, p.db["users"]["u"], "new", "the first part has committed")
		seen := ""
		go func() {
			done <- p.View(ctx, func(r backup.Reader) error {
				for _, c := range []string{"users", "files"} {
					for r, err := range r.Records(ctx, c) {
						require.NoError(t, err)
						seen += string(r.Value)
					}
				}
				return nil
			})
		}()
		synctest.Wait()
		require.Empty(t, seen)
		waits, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		require.ErrorIs(t, p.View(waits, func(backup.Reader) error { return nil }), context.DeadlineExceeded)
		require.ErrorIs(t, p.Update(waits, func(backup.Writer) error { return nil }), context.DeadlineExceeded)
		close(goOn)
		require.NoError(t, <-done)
		require.NoError(t, <-done)
		require.Equal(t, `{"id":"u","new":true}"new"`, seen)
	})
}

func TestTheOptionalMethodsAreThoseOfTheParts(t *testing.T) {
	ctx := t.Context()
	first, second := ruled(), backuptest.MapStore{"files": {}}
	var has string
	require.NoError(t, join(first, second).Update(ctx, func(w backup.Writer) error {
		_, reads := w.(backup.Reader)
		require.False(t, reads, "one part is no Reader")
		effects, err := w.(interface {
			Effects(context.Context, string) ([]string, error)
		}).Effects(ctx, "users")
		require.NoError(t, err)
		parents, err := w.(interface {
			Parents(context.Context, string) ([]string, error)
		}).Parents(ctx, "notes")
		require.NoError(t, err)
		has = fmt.Sprint(effects, parents)
		w.(interface{ AllowDangling(bool) }).AllowDangling(true)
		return w.Put(ctx, "notes", []backup.Record{record("n", `{"user":"gone"}`)})
	}))
	require.Equal(t, "[nothing] [users]", has)
	require.NoError(t, join(first, folder(t)).Update(ctx, func(w backup.Writer) error {
		_, reads := w.(backup.Reader)
		require.True(t, reads)
		return nil
	}))
}

// broken is a store that gives nothing, or does nothing.
type broken struct{ gives bool }

func (b broken) View(_ context.Context, read func(backup.Reader) error) error {
	if b.gives {
		return read(nil)
	}
	return nil
}

func (b broken) Update(_ context.Context, write func(backup.Writer) error) error {
	if b.gives {
		_ = write(nil)
	}
	return nil
}

func TestAPartThatIsNoStoreIsAnError(t *testing.T) {
	ctx := t.Context()
	for _, last := range []bool{false, true} {
		for _, gives := range []bool{false, true} {
			db := backuptest.MapStore{"users": {}, "notes": {}, "files": {}}
			parts := []backup.Store{broken{gives}, db}
			if last {
				parts = []backup.Store{db, broken{gives}}
			}
			s := join(parts[0], parts[1])
			require.Error(t, s.View(ctx, func(backup.Reader) error { panic("called") }))
			require.Error(t, s.Update(ctx, func(w backup.Writer) error { panic("called") }))
		}
	}
}

func TestAWrongDeclarationIsAnErrorBeforeAnythingIsRead(t *testing.T) {
	a := backuptest.MapStore{"a": {}}
	for want, parts := range map[string][]joined.Part{
		"needs Parts": nil,
		"Parts[1].Store of a joined.Store is nil":           {{Store: a, Collections: []string{"a"}}, {Collections: []string{"b"}}},
		"Parts[0].Store of a joined.Store":                  {{Store: (*joined.Store)(nil), Collections: []string{"a"}}},
		"Parts[0] of a joined.Store has no Collections":     {{Store: a}},
		`the collection "a" is in Parts[0] and in Parts[1]`: {{Store: a, Collections: []string{"a"}}, {Store: a, Collections: []string{"b", "a"}}},
		`the collection "a" is in Parts[0] and in Parts[0]`: {{Store: a, Collections: []string{"a", "a"}}},
	} {
		s := &joined.Store{Parts: parts}
		for _, err := range []error{
			s.View(t.Context(), func(backup.Reader) error { panic("called") }),
			s.Update(t.Context(), func(backup.Writer) error { panic("called") }),
		} {
			require.ErrorContains(t, err, want)
			require.ErrorIs(t, err, backup.ErrInvalid)
		}
	}
}

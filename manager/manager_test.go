package manager_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// A shelf is a location under a name whose parts can be made to fail.
type shelf struct {
	location.Location
	name string

	mu      sync.Mutex
	put     func(name string, r io.Reader) error // instead of Put, if not nil
	down    error                                // of every call, if not nil
	changed map[string]time.Time
}

// set makes the calls of the shelf fail, or Put do something else.
func (s *shelf) set(down error, put func(name string, r io.Reader) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down, s.put = down, put
}

func (s *shelf) state() (put func(name string, r io.Reader) error, down error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put, s.down
}

func newShelf(name string) *shelf {
	return &shelf{Location: backuptest.MapLocation{}, name: name, changed: map[string]time.Time{}}
}

func (s *shelf) String() string { return s.name }

func (s *shelf) Put(ctx context.Context, name string, r io.Reader) error {
	put, down := s.state()
	switch {
	case down != nil:
		return down
	case put != nil:
		return put(name, r)
	}
	err := s.Location.Put(ctx, name, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed[name] = time.Now()
	return err
}

func (s *shelf) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if _, down := s.state(); down != nil {
		return nil, down
	}
	return s.Location.Open(ctx, name)
}

func (s *shelf) List(ctx context.Context) ([]location.File, error) {
	if _, down := s.state(); down != nil {
		return nil, down
	}
	files, err := s.Location.List(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range files {
		files[i].ModTime = s.changed[files[i].Name]
	}
	return files, err
}

func (s *shelf) Delete(ctx context.Context, name string) error {
	if _, down := s.state(); down != nil {
		return down
	}
	return s.Location.Delete(ctx, name)
}

// files is what the shelf holds.
func (s *shelf) files() backuptest.MapLocation { return s.Location.(backuptest.MapLocation) }

// names are those of the files on the shelf, but for marks.
func (s *shelf) names(t testing.TB) []string {
	return slices.DeleteFunc(s.all(t), func(name string) bool {
		return slices.Contains([]string{".restored", ".accepted", ".drilled", ".rehearsed", ".verified", ".manifest", ".writing", ".rekeyed"}, path.Ext(name))
	})
}

func (s *shelf) all(t testing.TB) []string {
	files, err := s.Location.List(t.Context())
	require.NoError(t, err)
	names := []string{}
	for _, f := range files {
		names = append(names, f.Name)
	}
	return names
}

// alter changes a file behind the manager's back.
func (s *shelf) alter(t testing.TB, name string, f func(string) string) {
	text, ok := s.files()[name]
	require.True(t, ok, name)
	s.files()[name] = f(text)
	s.changed[name] = s.changed[name].Add(time.Nanosecond)
}

var errDown = errors.New("no route to host")

// managed returns a Manager of homelab, its host and its events.
func managed(locations ...*shelf) (*manager.Manager, backuptest.MapStore, *eventLog) {
	host := homelabStore()
	events := &eventLog{}
	m := &manager.Manager{
		App: homelab(), Source: host, Sink: host,
		Recipients: sealed, Identities: []backup.Identity{testKey("k")},
		OnEvent:  events.add,
		NoReadme: true, // so that tests can compare all files
	}
	for _, l := range locations {
		m.Locations = append(m.Locations, l)
	}
	return m, host, events
}

// A eventLog of what a Manager told.
type eventLog struct {
	mu   sync.Mutex
	list []manager.Event
}

func (r *eventLog) add(e manager.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Kind != manager.EventProgress {
		r.list = append(r.list, e)
	}
}

func (r *eventLog) of(kind manager.EventKind) []manager.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.list), func(e manager.Event) bool { return e.Kind != kind })
}

// bubble runs a test in fake time, which begins at midnight UTC on 1 January 2000.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func mustCreate(t testing.TB, m *manager.Manager) manager.Backup {
	t.Helper()
	b, err := m.Create(t.Context(), backup.BackupOptions{})
	require.NoError(t, err)
	return b
}

func mustList(t testing.TB, m *manager.Manager) []manager.Backup {
	t.Helper()
	list, err := m.List(t.Context())
	require.NoError(t, err)
	return list
}

func namesOf(list []manager.Backup) []string {
	names := []string{}
	for _, b := range list {
		names = append(names, b.Name)
	}
	return names
}

func TestABackupGoesToAllLocations(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b, c := newShelf("disk"), newShelf("drive"), newShelf("cloud")
		m, _, events := managed(a, b, c)
		made := mustCreate(t, m)
		require.Equal(t, "homelab-backup-2000-01-01T00-00-00.json", made.Name)
		require.Equal(t, "manual", made.Trigger)
		require.Equal(t, map[string]int64{"servers": 2, "applications": 2, "settings": 3, "users": 1}, made.Manifest.Records)
		require.Equal(t, []manager.Copy{{Location: "disk"}, {Location: "drive"}, {Location: "cloud"}}, made.Copies)
		for _, s := range []*shelf{a, b, c} {
			require.Equal(t, []string{made.Name}, s.names(t), "and nothing is left beside it")
			require.Equal(t, a.files()[made.Name], s.files()[made.Name])
		}
		require.Len(t, events.of(manager.EventStored), 3)
		require.Len(t, events.of(manager.EventDone), 1)
		require.Empty(t, events.of(manager.EventFailed))

		list := mustList(t, m)
		require.Len(t, list, 1)
		require.Equal(t, made, list[0])
	})
}

func TestALocationThatIsDownDoesNotStopTheOthers(t *testing.T) {
	for name, break_ := range map[string]func(*shelf){
		"down": func(s *shelf) { s.set(errDown, nil) },
		"full": func(s *shelf) {
			s.set(nil, func(name string, r io.Reader) error {
				if strings.HasSuffix(name, ".lease") {
					return s.Location.Put(context.Background(), name, r)
				}
				io.CopyN(io.Discard, r, 100)
				return errDown
			})
		},
		"lying": func(s *shelf) { // stores something else than it was given
			s.set(nil, func(name string, r io.Reader) error {
				text, err := io.ReadAll(r)
				if err == nil && !strings.HasSuffix(name, ".lease") {
					text = bytes.Replace(text, []byte("nas"), []byte("nbs"), 1)
				}
				return errors.Join(err, s.Location.Put(context.Background(), name, bytes.NewReader(text)))
			})
		},
		"losing": func(s *shelf) { // says yes and stores nothing
			s.set(nil, func(name string, r io.Reader) error {
				if strings.HasSuffix(name, ".lease") {
					return s.Location.Put(context.Background(), name, r)
				}
				_, err := io.Copy(io.Discard, r)
				return err
			})
		},
	} {
		for i, where := range []string{"first", "middle", "last"} {
			t.Run(name+" "+where, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					shelves := []*shelf{newShelf("a"), newShelf("b"), newShelf("c")}
					m, _, events := managed(shelves...)
					break_(shelves[i])
					made := mustCreate(t, m)
					require.Len(t, made.Copies, 3)
					for _, c := range made.Copies {
						require.Equal(t, c.Location != shelves[i].name, c.Err == nil, "%v", c)
					}
					require.NotEmpty(t, events.of(manager.EventFailed))
					require.Equal(t, shelves[i].name, events.of(manager.EventFailed)[0].Location)
					for j, s := range shelves {
						want := []string{made.Name}
						if i == j {
							want = []string{}
						}
						require.Equal(t, want, s.names(t))
					}

					m.MinCopies = 3
					time.Sleep(time.Second)
					made, err := m.Create(t.Context(), backup.BackupOptions{})
					require.ErrorContains(t, err, "2 of 3 locations, and 3 are needed")
					require.ErrorContains(t, err, shelves[i].name)
					require.Len(t, made.Copies, 3, "what there is is told and kept")
					require.Len(t, shelves[(i+1)%3].names(t), 2)

					shelves[i].set(nil, nil)
					time.Sleep(time.Second)
					mustCreate(t, m)
					for _, s := range shelves {
						require.Len(t, s.names(t), 3, "what was missing at %s is filled in", s.name)
						require.Equal(t, shelves[(i+1)%3].files(), s.files())
					}
				})
			})
		}
	}
}

func TestWithoutAnyLocationThereIsNoBackup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, _, events := managed(a, b)
		a.set(errDown, nil)
		b.set(errDown, nil)
		_, err := m.Create(t.Context(), backup.BackupOptions{})
		require.ErrorIs(t, err, errDown)
		require.ErrorContains(t, err, "a: no route to host")
		require.ErrorContains(t, err, "b: no route to host")
		require.NotEmpty(t, events.of(manager.EventFailed))
	})
}

func TestABackupThatFailsLeavesNothingAnywhere(t *testing.T) {
	for name, c := range map[string]struct {
		break_ func(*manager.Manager, backuptest.MapStore, context.CancelFunc)
		want   error
	}{
		"invalid data": {func(_ *manager.Manager, h backuptest.MapStore, _ context.CancelFunc) {
			h["servers"]["s2"] = `{"id":"s2"}`
		}, backup.ErrInvalid},
		"no key": {func(m *manager.Manager, _ backuptest.MapStore, _ context.CancelFunc) { m.Recipients = nil }, backup.ErrNoKey},
		"the host's own": {func(m *manager.Manager, h backuptest.MapStore, _ context.CancelFunc) {
			m.Source = &backuptest.Faulty{Source: h, Sink: h, On: backuptest.CallRecords, Nth: 5, Err: errDown}
		}, errDown},
		"cancelled": {func(m *manager.Manager, h backuptest.MapStore, cancel context.CancelFunc) {
			m.Source = &backuptest.Faulty{Source: h, Sink: h, On: backuptest.CallRecords, Nth: 5, Do: cancel}
		}, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a, b := newShelf("a"), newShelf("b")
				m, host, events := managed(a, b)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				c.break_(m, host, cancel)
				_, err := m.Create(ctx, backup.BackupOptions{})
				require.ErrorIs(t, err, c.want)
				require.Empty(t, a.names(t))
				require.Empty(t, b.names(t))
				require.Len(t, events.of(manager.EventFailed), 1)
				require.Empty(t, events.of(manager.EventDone))
			})
		})
	}
}

func TestBackupsOfOneSecondGetNamesOfTheirOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, _, _ := managed(a, b)
		// Taken at one location only: the name is one for all.
		b.files()["homelab-backup-2000-01-01T00-00-00-2.json"] = "somebody's"
		for _, want := range []string{"", "-3", "-4"} {
			require.Equal(t, "homelab-backup-2000-01-01T00-00-00"+want+".json", mustCreate(t, m).Name)
		}
		require.Equal(t, "somebody's", b.files()["homelab-backup-2000-01-01T00-00-00-2.json"])
	})
}

func TestOneOperationAtATime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, host, _ := managed(a, b)
		made := mustCreate(t, m)
		// Another process shares one of the locations, and sees nothing else of ours.
		other, _, _ := managed(newShelf("elsewhere"), b)

		begun, goOn := make(chan struct{}), make(chan struct{})
		m.Source = &backuptest.Faulty{Source: host, Sink: host, On: backuptest.CallView, Nth: 1, Do: func() { close(begun); <-goOn }}
		time.Sleep(3 * time.Second)
		done := make(chan error)
		go func() {
			_, err := m.Create(t.Context(), backup.BackupOptions{})
			done <- err
		}()
		<-begun
		time.Sleep(time.Hour) // the hold is renewed
		snapshot, err := m.Open(t.Context(), made.Name)
		require.NoError(t, err)
		defer snapshot.Close()
		for _, m := range []*manager.Manager{m, other} {
			calls := map[string]func() error{
				"create":  func() error { _, err := m.Create(t.Context(), backup.BackupOptions{}); return err },
				"restore": func() error { _, err := m.Restore(t.Context(), snapshot, backup.RestoreOptions{}); return err },
				"undo":    func() error { _, err := m.Undo(t.Context()); return err },
				"prune":   func() error { _, err := m.Prune(t.Context(), manager.PruneOptions{}); return err },
				"accept":  func() error { return m.Accept(t.Context(), made.Name) },
			}
			for name, call := range calls {
				start := time.Now()
				err := call()
				require.ErrorIs(t, err, location.ErrBusy, name)
				require.ErrorContains(t, err, "create, process ")
				require.ErrorContains(t, err, "since 2000-01-01 00:00:03 UTC")
				require.Zero(t, time.Since(start), "at once")
			}
			_, err := m.List(t.Context())
			require.NoError(t, err)
			_, err = m.Verify(t.Context(), made.Name)
			require.NoError(t, err)
			_, err = m.Plan(t.Context(), snapshot, backup.RestoreOptions{})
			require.NoError(t, err)
			_, err = m.Prune(t.Context(), manager.PruneOptions{DryRun: true})
			require.NoError(t, err)
		}
		close(goOn)
		require.NoError(t, <-done)
		for _, m := range []*manager.Manager{m, other} {
			_, err := m.Create(t.Context(), backup.BackupOptions{})
			require.NoError(t, err, "free again")
		}
		for _, s := range []*shelf{a, b} {
			for _, name := range s.names(t) {
				require.NotContains(t, name, ".lease")
			}
		}
	})
}

func TestTheHoldOfAKilledProcessEndsByItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, _, _ := managed(a)
		var left string
		a.set(nil, func(name string, r io.Reader) error {
			if strings.HasSuffix(name, ".lease") {
				text, _ := io.ReadAll(r)
				left = string(text)
				r = strings.NewReader(left)
			}
			return a.Location.Put(context.Background(), name, r)
		})
		mustCreate(t, m)
		a.set(nil, nil)
		killed := "homelab-" + strings.Repeat("k", 26) + ".lease"
		a.files()[killed] = left
		_, err := m.Create(t.Context(), backup.BackupOptions{})
		require.ErrorIs(t, err, location.ErrBusy)
		time.Sleep(10*time.Minute + time.Second)
		mustCreate(t, m)
		require.NotContains(t, a.names(t), killed)

		foreign := []string{"homelab-eth0.lease", "other-" + strings.Repeat("k", 26) + ".lease"}
		for _, name := range foreign {
			a.files()[name] = `{"ip":"10.0.0.1"}`
		}
		mustCreate(t, m)
		require.Subset(t, a.names(t), foreign)
		for name, text := range map[string]string{
			"foreign":                  "not ours",
			"without a time":           `{"holder":"somebody"}`,
			"of a clock that is ahead": `{"holder":"somebody","until":"2040-01-01T00:00:00Z"}`,
		} {
			a.files()[killed] = text
			_, err = m.Create(t.Context(), backup.BackupOptions{})
			require.ErrorIs(t, err, location.ErrBusy, name)
			require.ErrorContains(t, err, "delete "+killed, name)
		}
	})
}

func TestAnOperationThatLosesItsHoldStops(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, host, _ := managed(a)
		m.Source = &backuptest.Faulty{Source: host, Sink: host, On: backuptest.CallView, Nth: 1, Do: func() {
			a.set(nil, func(string, io.Reader) error { return errDown })
			time.Sleep(time.Hour)
		}}
		_, err := m.Create(t.Context(), backup.BackupOptions{})
		require.ErrorContains(t, err, "the hold on it could not be renewed")
	})
}

func TestOneWhoseHoldWasTakenAwayStops(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, host, _ := managed(a)
		m.Source = &backuptest.Faulty{Source: host, Sink: host, On: backuptest.CallView, Nth: 1, Do: func() {
			for _, name := range a.all(t) {
				require.NoError(t, a.Location.Delete(t.Context(), name)) // as by one whose clock is ahead
			}
			time.Sleep(time.Hour)
		}}
		_, err := m.Create(t.Context(), backup.BackupOptions{})
		require.ErrorContains(t, err, "somebody else has taken the hold")
		require.Empty(t, a.all(t))
	})
}

func TestALocationThatDoesNotAnswerStopsNothing(t *testing.T) {
	for name, ignores := range map[string]bool{"but for its context": false, "ever": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a, b := newShelf("a"), newShelf("b")
				hung := &hungLocation{Location: b, ignores: ignores, over: make(chan struct{})}
				defer close(hung.over)
				m, _, events := managed(a)
				m.Locations = append(m.Locations, hung)
				made := mustCreate(t, m)
				require.ErrorContains(t, made.Copies[1].Err, "it does not answer")
				require.NotEmpty(t, events.of(manager.EventFailed))
				require.Less(t, time.Since(clock("2000-01-01 00:00:00")), 10*time.Minute)
				list, err := m.List(t.Context())
				require.ErrorContains(t, err, "location 2: it does not answer")
				require.Len(t, list, 1)
			})
		})
	}
}

func TestALocationThatDoesNotAnswerIsPassedOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newShelf("b")
		m, host, _ := managed(b)
		made := mustCreate(t, m)
		hung := &hungLocation{Location: newShelf("a"), over: make(chan struct{})}
		defer close(hung.over)
		m, _, _ = managed()
		m.Source, m.Sink, m.Locations = host, host, []location.Location{hung, b}
		removed := 0
		m.Drills.Scratch = scratch(emptyHost(), &removed)

		s, err := m.Open(t.Context(), made.Name)
		require.NoError(t, err)
		defer s.Close()
		found, err := m.Verify(t.Context(), made.Name)
		require.ErrorContains(t, err, "it does not answer")
		require.NoError(t, found[1].Err)
		_, err = m.Drill(t.Context(), "")
		require.NoError(t, err)
		change(host)
		_, err = m.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		_, err = m.Undo(t.Context())
		require.NoError(t, err)
		require.Less(t, time.Since(clock("2000-01-01 00:00:00")), time.Hour)
	})
}

func TestAFileThatTakesLongIsNoReasonToGiveUpItsLocation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, _, _ := managed(a)
		made := mustCreate(t, m)
		a.Location = slow{a.Location}
		a.changed[made.Name] = time.Now().Add(time.Hour) // so that it is looked at anew
		list := mustList(t, m)
		require.Len(t, list, 1)
		require.NoError(t, list[0].Copies[0].Err)
		s, err := m.Open(t.Context(), made.Name)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		require.Greater(t, time.Since(clock("2000-01-01 00:00:00")), 2*time.Minute)
	})
}

// A slow location takes half a minute for each kilobyte, and cannot seek.
type slow struct{ location.Location }

func (l slow) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	r, err := l.Location.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	return slowFile{r}, nil
}

type slowFile struct{ r io.ReadCloser }

func (f slowFile) Read(p []byte) (int, error) {
	time.Sleep(30 * time.Second)
	return f.r.Read(p[:min(len(p), 1000)])
}

func (f slowFile) Close() error { return f.r.Close() }

// A hungLocation never answers.
type hungLocation struct {
	location.Location
	ignores bool
	over    chan struct{}
}

func (l *hungLocation) wait(ctx context.Context) error {
	done := ctx.Done()
	if l.ignores {
		done = nil
	}
	select {
	case <-done:
		return ctx.Err()
	case <-l.over:
		return errDown
	}
}

func (l *hungLocation) Put(ctx context.Context, _ string, _ io.Reader) error { return l.wait(ctx) }
func (l *hungLocation) List(ctx context.Context) ([]location.File, error)    { return nil, l.wait(ctx) }
func (l *hungLocation) Delete(ctx context.Context, _ string) error           { return l.wait(ctx) }
func (l *hungLocation) Open(ctx context.Context, _ string) (io.ReadCloser, error) {
	return nil, l.wait(ctx)
}

func TestACancelledBackupLeavesNothingWhereverItIs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, _, _ := managed(a, b)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		// While what was stored is read back.
		a.Location = openHook{a.Location, func(name string) {
			if strings.HasSuffix(name, ".json") {
				cancel()
			}
		}}
		_, err := m.Create(ctx, backup.BackupOptions{})
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, a.all(t))
		require.Empty(t, b.all(t))
	})
}

type openHook struct {
	location.Location
	f func(name string)
}

func (l openHook) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	l.f(name)
	return l.Location.Open(ctx, name)
}

func TestAHostThatSaysThatSomethingExistsIsBelieved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, host, _ := managed(newShelf("a"))
		m.Source = &backuptest.Faulty{Source: host, Sink: host, On: backuptest.CallRecords, Nth: 1, Err: fmt.Errorf("its own lock: %w", fs.ErrExist)}
		_, err := m.Create(t.Context(), backup.BackupOptions{})
		require.ErrorIs(t, err, fs.ErrExist, "and not taken for a name in use")
	})
}

func TestADamagedCopyIsReplacedByAWholeOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, _, _ := managed(a, b)
		made := mustCreate(t, m)
		b.alter(t, made.Name, func(s string) string { return s[:len(s)/2] })
		time.Sleep(time.Hour)
		mustCreate(t, m)
		require.Equal(t, a.files(), b.files())

		rot := func(s string) string { return strings.Replace(s, "nas", "nbs", 1) }
		a.alter(t, made.Name, rot) // nobody knows yet
		b.alter(t, made.Name, func(s string) string { return s[:len(s)/2] })
		half := b.files()[made.Name]
		time.Sleep(time.Hour)
		mustCreate(t, m)
		require.Equal(t, half, b.files()[made.Name], "what is left is not given up for something that is no better")
	})
}

func TestOpenSaysThatThereIsNoneOnlyIfAllSaySo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, _, _ := managed(a, b)
		made := mustCreate(t, m)
		delete(a.files(), made.Name)
		b.set(errDown, nil)
		_, err := m.Open(t.Context(), made.Name)
		require.ErrorIs(t, err, errDown)
		require.NotErrorIs(t, err, fs.ErrNotExist)
		b.set(fmt.Errorf("the folder: %w", fs.ErrNotExist), nil) // that is not mounted
		_, err = m.Open(t.Context(), made.Name)
		require.NotErrorIs(t, err, fs.ErrNotExist)
		require.ErrorContains(t, err, "cannot be asked: the folder")
		b.set(nil, nil)
		delete(b.files(), made.Name)
		_, err = m.Open(t.Context(), made.Name)
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}

func TestWhatListReturnsIsTheCallersOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _ := managed(newShelf("a"))
		mustCreate(t, m)
		mustList(t, m)[0].Manifest.Records["servers"] = 1000
		require.Equal(t, int64(2), mustList(t, m)[0].Manifest.Records["servers"])
	})
}

func TestListLeavesForeignFilesAloneAndShowsDamage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, _, _ := managed(a, b)
		first := mustCreate(t, m)
		time.Sleep(time.Hour)
		second := mustCreate(t, m)
		time.Sleep(time.Hour)
		third := mustCreate(t, m)

		foreign := map[string]string{
			"notes.txt":                                    "buy milk",
			"homelab-backup-2000-01-01.json":               a.files()[first.Name],
			"tomo-backup-2000-01-01T00-00-00.json":         "{}",
			"homelab-backup-2000-02-01T00-00-00.json":      strings.Replace(a.files()[first.Name], `"application":"homelab"`, `"application":"other"`, 1),
			"homelab-backup-2000-01-01T00-00-00.json.part": "",
		}
		for name, text := range foreign {
			a.files()[name] = text
		}
		cut := func(n int) func(string) string { return func(s string) string { return s[:len(s)-n] } }
		a.alter(t, second.Name, cut(1))  // one copy of it
		a.alter(t, third.Name, cut(100)) // all copies
		b.alter(t, third.Name, func(string) string { return "" })

		list := mustList(t, m)
		require.Equal(t, []string{third.Name, second.Name, first.Name}, namesOf(list))
		require.True(t, list[0].Damaged)
		require.ErrorIs(t, list[0].Copies[0].Err, backup.ErrDamaged)
		require.ErrorIs(t, list[0].Copies[1].Err, backup.ErrDamaged)
		require.Equal(t, third.CreatedAt, list[0].CreatedAt)
		require.False(t, list[1].Damaged)
		require.ErrorIs(t, list[1].Copies[0].Err, backup.ErrDamaged)
		require.NoError(t, list[1].Copies[1].Err)
		require.Equal(t, second.Manifest, list[1].Manifest)
		require.Equal(t, first, list[2])

		s, err := m.Open(t.Context(), second.Name)
		require.NoError(t, err, "the copy that is whole")
		require.NoError(t, s.Close())
		_, err = m.Open(t.Context(), third.Name)
		require.ErrorIs(t, err, backup.ErrDamaged)
		_, err = m.Open(t.Context(), "homelab-backup-2001-01-01T00-00-00.json")
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = m.Open(t.Context(), "../homelab-backup-2001-01-01T00-00-00.json")
		require.ErrorIs(t, err, fs.ErrNotExist)

		b.set(errDown, nil)
		list, err = m.List(t.Context())
		require.ErrorIs(t, err, errDown)
		require.ErrorContains(t, err, "b: ")
		require.Len(t, list, 3, "what the others have is listed all the same")

		for name, text := range foreign {
			require.Equal(t, text, a.files()[name])
		}
	})
}

func TestABackupWithoutADigestIsListed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, _, _ := managed(a)
		a.files()["homelab-backup-2024-01-15T10-30-00.json"] = "{\n \"version\": \"1.0\", \"data\": {\"users\": [ {\"id\": 1} ] },\n \"created_at\": \"2024-01-15T10:30:00Z\", \"application_version\": \"2.1.0\" }\n"
		list := mustList(t, m)
		require.Len(t, list, 1)
		require.False(t, list[0].Damaged)
		require.Equal(t, map[string]int64{"users": 1}, list[0].Manifest.Records)
		require.Empty(t, list[0].Trigger)
	})
}

func TestVerifyReadsEveryCopyToItsEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b, c := newShelf("a"), newShelf("b"), newShelf("c")
		m, _, _ := managed(a, b, c)
		made := mustCreate(t, m)
		found, err := m.Verify(t.Context(), made.Name)
		require.NoError(t, err)
		require.Len(t, found, 3)
		require.Equal(t, *made.Manifest, found[1].Manifest)
		require.Len(t, found[1].Report.Collections, 4)

		b.alter(t, made.Name, func(s string) string { return strings.Replace(s, "nas", "nbs", 1) })
		delete(c.files(), made.Name)
		require.NoError(t, mustList(t, m)[0].Copies[1].Err, "the ends are as they were")
		found, err = m.Verify(t.Context(), made.Name)
		require.ErrorIs(t, err, backup.ErrDamaged)
		require.ErrorContains(t, err, "b: ")
		require.NotErrorIs(t, err, fs.ErrNotExist, "that c has none is no fault")
		require.Len(t, found, 2)
		require.NoError(t, found[0].Err)
		require.ErrorIs(t, found[1].Err, backup.ErrDamaged)
		require.ErrorIs(t, mustList(t, m)[0].Copies[1].Err, backup.ErrDamaged, "now it is known")

		_, err = m.Verify(t.Context(), "homelab-backup-2030-01-01T00-00-00.json")
		require.ErrorIs(t, err, fs.ErrNotExist)

		m.Identities = []backup.Identity{testKey("another")}
		_, err = m.Verify(t.Context(), made.Name)
		require.ErrorIs(t, err, backup.ErrWrongKey)
		m.Identities = nil
		b.set(errDown, nil)
		found, err = m.Verify(t.Context(), made.Name)
		require.ErrorIs(t, err, errDown)
		require.Len(t, found, 2)
		require.Contains(t, strings.Join(found[0].Report.Warnings, " "), "no key was given")
	})
}

func TestAManagerThatCannotWorkSaysSo(t *testing.T) {
	host := homelabStore()
	for name, c := range map[string]struct {
		m    *manager.Manager
		want string
	}{
		"no app":           {&manager.Manager{}, "App is nil"},
		"no locations":     {&manager.Manager{App: homelab(), Source: host}, "no Locations"},
		"nil location":     {&manager.Manager{App: homelab(), Locations: []location.Location{nil}}, "location 1 is nil"},
		"one twice":        {&manager.Manager{App: homelab(), Locations: []location.Location{location.Dir("/x"), location.Dir("/x")}}, "two Locations are called /x"},
		"too many copies":  {&manager.Manager{App: homelab(), Locations: []location.Location{location.Dir("/x")}, MinCopies: 2}, "MinCopies is 2"},
		"negative policy":  {&manager.Manager{App: homelab(), Locations: []location.Location{location.Dir("/x")}, Retention: backup.Retention{Last: -1}}, "Last is -1"},
		"no such schedule": {&manager.Manager{App: homelab(), Locations: []location.Location{location.Dir("/x")}, Schedule: schedule.Daily{At: -1}}, "At"},
		"a wrong app":      {&manager.Manager{App: &backup.App{}, Locations: []location.Location{location.Dir("/x")}}, "Version"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.m.List(t.Context())
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, c.m.Run(t.Context()), c.want)
			require.ErrorContains(t, c.m.Validate(), c.want)
		})
	}
	m := &manager.Manager{App: homelab(), Locations: []location.Location{newShelf("a")}}
	require.NoError(t, m.Validate())
	_, err := m.Create(t.Context(), backup.BackupOptions{})
	require.ErrorContains(t, err, "no Source")
	_, err = m.Undo(t.Context())
	require.ErrorContains(t, err, "no Sink")
	require.ErrorContains(t, m.Run(t.Context()), "Schedule")
	_, err = m.Drill(t.Context(), "")
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

func TestNoSecretIsInAnEventOrALogLine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("a"), newShelf("b")
		m, host, events := managed(a, b)
		var log bytes.Buffer
		m.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		made := mustCreate(t, m)
		b.set(errDown, nil)
		host["servers"] = map[string]string{"s2": `{"id":"s2","name":"pi","password":"x"}`} // too short, so it is invalid
		_, err := m.Create(t.Context(), backup.BackupOptions{})
		require.ErrorIs(t, err, backup.ErrInvalid)
		s, err := m.Open(t.Context(), made.Name)
		require.NoError(t, err)
		defer s.Close()
		report, err := m.Restore(t.Context(), s, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.NotEmpty(t, report.Warnings)
		_, err = m.Undo(t.Context())
		require.NoError(t, err)

		text := log.String() + fmt.Sprintf("%+v %+v", events.list, report)
		require.Contains(t, log.String(), "backup operation failed")
		for _, secret := range []string{"hunter22", "t0ken-of-a1", "mail-pass"} {
			require.NotContains(t, text, secret)
			for name, file := range a.files() {
				require.NotContains(t, file, secret, name)
			}
		}
	})
}

// What is missing may be another file than the backup: a folder of the Manager, or what a
// key is in.
func TestABackupThatIsThereIsNeverTakenForMissing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _ := managed(newShelf("a"))
		m.Compress = backup.Gzip
		made := mustCreate(t, m)
		m = &manager.Manager{App: m.App, Source: m.Source, Sink: m.Sink, Locations: m.Locations, Recipients: m.Recipients, Identities: m.Identities, TempDir: "/nowhere"}
		check := func(err error, text string) {
			t.Helper()
			require.ErrorContains(t, err, text)
			require.NotErrorIs(t, err, fs.ErrNotExist)
		}
		_, err := m.Open(t.Context(), made.Name)
		check(err, "set TempDir to a folder that exists")
		var path *fs.PathError
		require.ErrorAs(t, err, &path)
		_, err = m.Verify(t.Context(), made.Name)
		check(err, "set TempDir to a folder that exists")
		_, err = m.Rewrap(t.Context(), made.Name, manager.RewrapOptions{})
		check(err, "set TempDir to a folder that exists")
		require.Len(t, mustList(t, m), 1)

		m.TempDir = ""
		_, err = m.OpenWith(t.Context(), made.Name, lostKey{})
		check(err, "key.txt")
	})
}

// A lostKey is in a file that is not there.
type lostKey struct{ backup.Identity }

func (lostKey) Unwrap(json.RawMessage) ([]byte, error) {
	return nil, &fs.PathError{Op: "open", Path: "key.txt", Err: fs.ErrNotExist}
}

// What is missing may also be a file of the host: its database, or the folder of its data.
func TestAFileOfTheHostThatIsMissingIsNoMissingBackup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("a")
		m, host, _ := managed(a)
		made := mustCreate(t, m)
		delete(host["servers"], slices.Sorted(maps.Keys(host["servers"]))[0])
		s, err := m.Open(t.Context(), made.Name)
		require.NoError(t, err)
		defer s.Close()
		replace := backup.RestoreOptions{Strategy: backup.Replace}
		_, err = m.Restore(t.Context(), s, replace)
		require.NoError(t, err)

		gone := &fs.PathError{Op: "open", Path: "host.db", Err: fs.ErrNotExist}
		lost := func() *backuptest.Faulty {
			return &backuptest.Faulty{Source: host, Sink: host, On: backuptest.CallKeys, Nth: 1, Err: gone}
		}
		check := func(_ any, err error) {
			t.Helper()
			require.ErrorContains(t, err, "host.db")
			require.NotErrorIs(t, err, fs.ErrNotExist)
			var path *fs.PathError
			require.ErrorAs(t, err, &path)
		}
		m.Source = &backuptest.Faulty{Source: host, On: backuptest.CallRecords, Nth: 1, Err: gone}
		check(m.Create(t.Context(), backup.BackupOptions{}))
		m.Sink = lost()
		check(m.Plan(t.Context(), s, replace))
		m.Sink = lost()
		check(m.Restore(t.Context(), s, replace))
		m.Sink = lost()
		check(m.PlanUndo(t.Context()))
		m.Sink = lost()
		check(m.Undo(t.Context()))
		m.Drills.Scratch = func(context.Context) (backup.Store, func() error, error) { return nil, nil, gone }
		check(m.Drill(t.Context(), made.Name))

		a.set(fmt.Errorf("host.db: the folder: %w", gone), nil) // that is not mounted
		m.Sink = host
		check(m.PlanUndo(t.Context()))
		check(m.Undo(t.Context()))
	})
}

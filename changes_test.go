package backup_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

// manyChanges returns two stores that differ in n servers: every third is new, every
// third has changed, and every third is gone. All of them have a password.
func manyChanges(n int) (source, store backuptest.MapStore) {
	source, store = homelabStore(), homelabStore()
	for i := range n {
		key := fmt.Sprintf("m%06d", i)
		if i%3 != 2 {
			source["servers"][key] = fmt.Sprintf(`{"id":%q,"name":"snapshot %d","password":"hunter22-new"}`, key, i)
		}
		if i%3 != 0 {
			store["servers"][key] = fmt.Sprintf(`{"id":%q,"name":"host %d","password":"hunter22-old"}`, key, i)
		}
	}
	return source, store
}

// planIn makes a plan of a Full restore that has its temporary files in dir.
func planIn(t testing.TB, dir string, source backup.DataSource, sink backup.Sink) *backup.Plan {
	var file bytes.Buffer
	_, err := homelab().Backup(t.Context(), &file, source, backup.BackupOptions{Recipients: sealed})
	require.NoError(t, err)
	s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file.Bytes()), backup.OpenOptions{Identities: []backup.Identity{testKey("k")}, TempDir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	p, err := homelab().Plan(t.Context(), s, sink, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	return p
}

func TestAPageOfChangesHasWhatIsThereWhenAllAreRead(t *testing.T) {
	for _, n := range []int{0, 1, 31, 32, 33, 64, 9000} {
		source, store := manyChanges(n)
		p := planIn(t, t.TempDir(), source, store)
		var all []backup.Change
		for c, err := range p.Changes(t.Context()) {
			require.NoError(t, err)
			all = append(all, c)
		}
		require.Len(t, all, n)
		for _, from := range []int{-1, 0, 1, 30, 31, 32, 33, n/2 - 1, n / 2, n - 2, n - 1, n, n + 1, n + 1000} {
			var page []backup.Change
			for c, err := range p.ChangesFrom(t.Context(), from) {
				require.NoError(t, err)
				if page = append(page, c); len(page) == 100 {
					break
				}
			}
			start := min(max(0, from), n)
			require.Len(t, page, min(n, start+100)-start, "%d from %d", n, from)
			for i, c := range page {
				require.Equal(t, all[start+i], c, "%d from %d", n, from)
			}
		}
		_, err := p.Apply(t.Context())
		require.NoError(t, err)
		require.Equal(t, source, store)
	}
}

func TestChangesAreOfTheRightRecordsHoweverLarge(t *testing.T) {
	source, store := homelabStore(), homelabStore()
	for i, size := range []int{1 << 20, 0, 300 << 10, 10, 256 << 10, 200 << 10, 3 << 20} {
		source["users"][fmt.Sprint(100+i)] = fmt.Sprintf(`{"id":%d,"name":%q}`, 100+i, strings.Repeat("x", size))
	}
	p := planIn(t, t.TempDir(), source, store)
	for i := range 8 {
		n := i
		for c, err := range p.ChangesFrom(t.Context(), i) {
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(100+n), c.Key)
			require.Len(t, c.Fields, 2)
			var name string
			require.NoError(t, json.Unmarshal(c.Fields[1].After, &name))
			require.Contains(t, source["users"][c.Key], `"`+name+`"`)
			n++
		}
		require.Equal(t, 7, min(n, 7))
	}
}

func TestChangesAskNobodyAndSeveralCanReadThem(t *testing.T) {
	source, store := manyChanges(5000)
	asked := false
	flaky := &struct{ backup.Sink }{store}
	p := planIn(t, t.TempDir(), source, flaky)
	flaky.Sink = sinkFunc(func(context.Context, func(backup.Writer) error) error {
		asked = true
		return errors.New("the host is gone")
	})
	want := changesOf(t, p)
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			n := i * 1000
			for c, err := range p.ChangesFrom(t.Context(), n) {
				if err != nil || !strings.HasPrefix(want[n], fmt.Sprintf("%s %s %q", c.Action, c.Collection, c.Key)) {
					t.Error(n, c, err)
					return
				}
				n++
			}
			if n != 5000 {
				t.Error(n)
			}
		})
	}
	wait.Wait()
	require.False(t, asked)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	var last error
	for _, err := range p.Changes(ctx) {
		if n++; n == 10 {
			cancel()
		}
		last = err
	}
	require.ErrorIs(t, last, context.Canceled)
	require.Equal(t, 11, n)
}

func TestChangesCanBeAbandonedAndKept(t *testing.T) {
	source, store := manyChanges(3000)
	p := planIn(t, t.TempDir(), source, store)
	for n := range 20 {
		for _, err := range p.Changes(t.Context()) {
			require.NoError(t, err)
			if n--; n < 0 {
				break
			}
		}
	}
	var kept []backup.Change
	for c, err := range p.Changes(t.Context()) {
		require.NoError(t, err)
		kept = append(kept, c)
	}
	require.Len(t, kept, 3000)
	for _, c := range kept {
		if c.Action == backup.Update {
			require.Equal(t, "/name", c.Fields[0].Pointer)
			number := strings.TrimLeft(c.Key[1:], "0")
			require.Equal(t, fmt.Sprintf(`"host %s"`, number), string(c.Fields[0].Before))
			require.Equal(t, fmt.Sprintf(`"snapshot %s"`, number), string(c.Fields[0].After))
			require.Equal(t, []byte(`"(secret)"`), []byte(c.Fields[1].After))
		}
	}
}

func TestChangesComeOnceWhenTheSinkStartsOver(t *testing.T) {
	source, store := manyChanges(9000)
	want := changesOf(t, planIn(t, t.TempDir(), source, store))
	require.Equal(t, want, changesOf(t, planIn(t, t.TempDir(), source, again(store))))
	p := planIn(t, t.TempDir(), source, sinkFunc(func(ctx context.Context, write func(backup.Writer) error) error {
		store.Update(ctx, write)
		return store.Update(ctx, write)
	}))
	require.Equal(t, want, changesOf(t, p))
}

// filesOf returns the contents of the files without a name that this process has in dir.
func filesOf(t *testing.T, dir string) (contents []string) {
	fds, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	for _, fd := range fds {
		if name, err := os.Readlink(fd); err == nil && strings.HasPrefix(name, dir) {
			text, err := os.ReadFile(fd)
			require.NoError(t, err)
			contents = append(contents, string(text))
		}
	}
	return contents
}

func TestManyChangesAreKeptEncryptedUntilThePlanIsClosed(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	few, store := manyChanges(30)
	p := planIn(t, dir, few, store)
	require.Empty(t, filesOf(t, dir), "a few are kept in memory")
	require.NoError(t, p.Close())

	source, store := manyChanges(9000)
	p = planIn(t, dir, source, store)
	kept := filesOf(t, dir)
	require.Len(t, kept, 1)
	require.Greater(t, len(kept[0]), 256<<10)
	for _, text := range []string{"hunter22", "snapshot", "servers", "m00"} {
		require.NotContains(t, kept[0], text)
	}
	found, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, found)

	require.NoError(t, p.DropChanges())
	require.NoError(t, p.DropChanges())
	require.Empty(t, filesOf(t, dir))
	for c, err := range p.Changes(t.Context()) {
		require.ErrorIs(t, err, fs.ErrClosed)
		require.ErrorContains(t, err, "make a new plan")
		require.Zero(t, c)
	}
	_, err = p.Apply(t.Context())
	require.NoError(t, err, "a plan without its changes is a plan")
	require.Equal(t, source, store)

	source, store = manyChanges(9000)
	p = planIn(t, dir, source, store)
	require.Len(t, filesOf(t, dir), 1)
	for _, err := range p.Changes(t.Context()) {
		require.NoError(t, err)
		require.NoError(t, p.Close())
		break
	}
	require.Empty(t, filesOf(t, dir))

	planIn(t, dir, source, store)
	for len(filesOf(t, dir)) > 0 { // a plan that nobody has closed
		runtime.GC()
		runtime.Gosched()
	}
	_, err = homelab().Plan(t.Context(), opened(t, document(homelab(), 3, `{"servers":[{"id":1}]}`)), store, backup.RestoreOptions{})
	require.Error(t, err)
	require.Empty(t, filesOf(t, dir))
}

// A full or missing TempDir must not keep anybody from restoring.
func TestAPlanWhoseChangesCannotBeKeptIsGood(t *testing.T) {
	source, store := manyChanges(9000)
	missing := filepath.Join(t.TempDir(), "missing")
	p := planIn(t, missing, source, store)
	require.True(t, p.Report().Changed())
	n := 0
	for _, err := range p.Changes(t.Context()) {
		n++
		require.ErrorContains(t, err, "the plan is good, but its changes could not be kept")
		require.ErrorContains(t, err, "set TempDir to a folder that exists")
	}
	require.Equal(t, 1, n)
	_, err := p.Apply(t.Context())
	require.NoError(t, err)
	require.Equal(t, source, store)
}

// A page of 100 changes at 50,000 costs what the first costs (DESIGN, "Speed"). The
// pages are read in turns, so that what else the machine does weighs on both.
func BenchmarkPageOfChanges(b *testing.B) {
	const changes = 60_000
	source, store := backuptest.MapStore{}, backuptest.MapStore{}
	for _, name := range []string{"servers", "applications", "settings", "users", "logs"} {
		source[name], store[name] = map[string]string{}, map[string]string{}
	}
	for i := range changes {
		key := fmt.Sprintf("m%06d", i)
		source["servers"][key] = fmt.Sprintf(`{"id":%q,"name":"snapshot %d","password":"hunter22"}`, key, i)
		store["servers"][key] = fmt.Sprintf(`{"id":%q,"name":"host %d","password":"hunter22"}`, key, i)
	}
	p := planIn(b, b.TempDir(), source, store)
	page := func(from int) time.Duration {
		start, n := time.Now(), 0
		for _, err := range p.ChangesFrom(b.Context(), from) {
			require.NoError(b, err)
			if n++; n == 100 {
				break
			}
		}
		require.Equal(b, 100, n)
		return time.Since(start)
	}
	var first, far time.Duration
	for b.Loop() {
		first += page(0)
		far += page(50_000)
	}
	b.ReportMetric(float64(first.Microseconds())/float64(b.N), "µs/first")
	b.ReportMetric(float64(far.Microseconds())/float64(b.N), "µs/at-50000")
	b.ReportMetric(float64(far)/float64(first), "ratio")
}

package manager_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// A textDatabase is a text that ends with a full stop.
type textDatabase struct {
	text string
	err  error
}

func (d *textDatabase) Copy(_ context.Context, w io.Writer) error {
	if _, err := io.WriteString(w, d.text); err != nil {
		return err
	}
	return d.err
}

func (d *textDatabase) Check(_ context.Context, r io.Reader) error {
	text, err := io.ReadAll(r)
	if err == nil && !bytes.HasSuffix(text, []byte(".")) {
		err = fmt.Errorf("%w: it does not end", backup.ErrDamaged)
	}
	return err
}

// withDatabase is managed with a database beside it, without secrets.
func withDatabase(locations ...*shelf) (*manager.Manager, *textDatabase, *eventLog) {
	var all []location.Location
	for _, l := range locations {
		all = append(all, l)
	}
	m, events := small(all...)
	db := &textDatabase{text: "all of it."}
	m.Database = db
	return m, db, events
}

func newestDatabase(t testing.TB, m *manager.Manager) manager.Backup {
	list := mustList(t, m)
	return list[slices.IndexFunc(list, func(b manager.Backup) bool { return b.Database })]
}

func TestADatabaseIsCopiedWithEachScheduledBackup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("disk"), newShelf("drive")
		m, db, events := withDatabase(a, b)
		m.Schedule, m.Retention = schedule.Daily{}, backup.Retention{Last: 2}
		stop := running(t, m)
		time.Sleep(5*24*time.Hour + time.Hour)
		stop()
		require.Empty(t, events.of(manager.EventFailed))
		want := []string{
			"homelab-backup-2000-01-05T00-00-00.json", "homelab-backup-2000-01-06T00-00-00.json",
			"homelab-db-2000-01-05T00-00-00.db", "homelab-db-2000-01-06T00-00-00.db",
		}
		for _, s := range []*shelf{a, b} {
			require.Equal(t, want, s.names(t), "and retention applies to each kind for itself")
			require.Contains(t, s.all(t), want[2]+".manifest")
		}
		require.Equal(t, "all of it.", a.files()[want[2]])
		copied := newestDatabase(t, m)
		require.Equal(t, "scheduled", copied.Trigger)
		require.Equal(t, mustList(t, m)[0].Manifest.Metadata, copied.Manifest.Metadata)

		// A copy that fails: nothing is pruned, there is no half of one, and it is made
		// up for.
		db.err = errors.New("disk I/O error")
		stop = running(t, m)
		time.Sleep(24 * time.Hour)
		stop()
		require.Len(t, a.names(t), 5)
		require.ErrorContains(t, events.of(manager.EventFailed)[0].Err, "run: copy the database: disk I/O error")
		require.Greater(t, len(events.of(manager.EventFailed)), 3, "it is tried again")
		db.err = nil
		stop = running(t, m)
		time.Sleep(2 * time.Hour)
		stop()
		require.Len(t, a.names(t), 4)
		copied = newestDatabase(t, m)
		require.Equal(t, mustList(t, m)[0].Manifest.Metadata, copied.Manifest.Metadata)
	})
}

func TestACopyOfADatabaseThatLacksCopiesIsFilledIn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("disk"), newShelf("drive")
		m, _, _ := withDatabase(a, b)
		m.Schedule, m.MinCopies = schedule.Daily{}, 2
		b.set(nil, func(name string, r io.Reader) error {
			if strings.Contains(name, "-db-") {
				return errDown
			}
			return b.Location.Put(t.Context(), name, r)
		})
		stop := running(t, m)
		time.Sleep(time.Minute / 2)
		require.Len(t, b.names(t), 1)
		b.set(nil, nil)
		time.Sleep(2 * time.Hour)
		stop()
		require.Equal(t, []string{"homelab-backup-2000-01-01T00-00-00.json", "homelab-db-2000-01-01T00-00-00.db"}, b.names(t))
		require.Equal(t, b.names(t), a.names(t))
	})
}

func TestADrillTakesNoCopyOfADatabase(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, _, _ := withDatabase(newShelf("disk"))
		m.Drills.Scratch = scratch(backuptest.MapStore{"users": {}}, new(int))
		made := mustCreate(t, m)
		time.Sleep(time.Hour)
		_, err := m.CopyDatabase(t.Context())
		require.NoError(t, err)
		report, err := m.Drill(t.Context(), "")
		require.NoError(t, err)
		require.Equal(t, made.Name, report.Backup)
	})
}

func TestACopyOfADatabaseIsNoSnapshot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("disk")
		m, _, _ := withDatabase(a)
		m.Schedule = schedule.Daily{}
		made, err := m.CopyDatabase(t.Context())
		require.NoError(t, err)

		next, err := m.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, time.Now(), next, "it serves for no scheduled backup")
		for what, err := range map[string]error{
			"open": func() error { _, err := m.Open(t.Context(), made.Name); return err }(),
			"drill": func() error {
				m.Drills.Scratch = scratch(emptyHost(), new(int))
				_, err := m.Drill(t.Context(), made.Name)
				return err
			}(),
			"rewrap": func() error {
				_, err := m.Rewrap(t.Context(), made.Name, manager.RewrapOptions{Recipients: sealed})
				return err
			}(),
		} {
			require.ErrorContains(t, err, "it is a copy of the database and no snapshot", what)
		}
		require.ErrorContains(t, m.Accept(t.Context(), made.Name), "has not shrunk")
		_, err = m.Undo(t.Context())
		require.ErrorIs(t, err, fs.ErrNotExist)
		delete(a.files(), made.Name+".manifest")
		_, err = m.Undo(t.Context())
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = m.Rehearse(t.Context(), testKey("k"))
		require.ErrorContains(t, err, "no backup to try the key on")
	})
}

func TestACopyOfADatabaseIsVerifiedAndExtracted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := newShelf("disk"), newShelf("drive")
		m, db, _ := withDatabase(a, b)
		m.Compress = backup.Zstd
		db.text = strings.Repeat("all of it. ", 1000) + "."
		made, err := m.CopyDatabase(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, len(db.text), made.Manifest.Bytes)
		require.Less(t, made.Bytes, made.Manifest.Bytes)

		verified, err := m.Verify(t.Context(), made.Name)
		require.NoError(t, err)
		require.Len(t, verified, 2)

		a.alter(t, made.Name, func(s string) string { return s[:len(s)-1] + "!" })
		var out strings.Builder
		require.NoError(t, m.ExtractDatabase(t.Context(), made.Name, &out))
		require.Equal(t, db.text, out.String())
		_, err = m.Verify(t.Context(), made.Name)
		require.ErrorIs(t, err, backup.ErrDamaged)

		// A location that gives out something else the second time.
		lying := &changing{shelf: b, name: made.Name}
		m2, _, _ := withDatabase()
		m2.Locations, m2.Compress = []location.Location{lying}, backup.Zstd
		require.ErrorIs(t, m2.ExtractDatabase(t.Context(), made.Name, io.Discard), backup.ErrDamaged)

		// One that stalls is given up.
		m3, _, _ := withDatabase()
		m3.Locations = []location.Location{stalling{b}}
		start := time.Now()
		_, err = m3.Verify(t.Context(), made.Name)
		require.ErrorContains(t, err, "it does not answer")
		require.Less(t, time.Since(start), 10*time.Minute)

		// Without its note it is checked all the same, but what it was for is not known.
		delete(b.files(), made.Name+".manifest")
		delete(a.files(), made.Name+".manifest")
		delete(a.files(), made.Name)
		verified, err = m.Verify(t.Context(), made.Name)
		require.NoError(t, err)
		require.Equal(t, []string{"nothing beside it tells its digest, nor what it was made for"}, verified[0].Report.Warnings)
		require.NoError(t, m.ExtractDatabase(t.Context(), made.Name, io.Discard))
		m.Database, err = nil, m.ExtractDatabase(t.Context(), made.Name, io.Discard)
		require.NoError(t, err)
		require.ErrorIs(t, m.ExtractDatabase(t.Context(), made.Name, io.Discard), errors.ErrUnsupported)
		m.Database = db
		b.alter(t, made.Name, func(s string) string { return s[:len(s)/2] })
		require.ErrorIs(t, m.ExtractDatabase(t.Context(), made.Name, io.Discard), backup.ErrDamaged)
		require.ErrorIs(t, m.ExtractDatabase(t.Context(), "homelab-backup-2000-01-01T00-00-00.json", io.Discard), fs.ErrNotExist)
	})
}

// changing gives out another text than the first time.
type changing struct {
	*shelf
	name  string
	reads int
}

func (c *changing) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	r, err := c.shelf.Open(ctx, name)
	if name == c.name {
		if c.reads++; c.reads > 1 && err == nil {
			text, _ := io.ReadAll(r)
			text[len(text)-1] ^= 1
			r = io.NopCloser(bytes.NewReader(text))
		}
	}
	return r, err
}

// stalling gives out nothing.
type stalling struct{ *shelf }

func (s stalling) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if strings.HasSuffix(name, ".manifest") {
		return s.shelf.Open(ctx, name)
	}
	return io.NopCloser(stalled{ctx}), nil
}

type stalled struct{ ctx context.Context }

func (s stalled) Read([]byte) (int, error) { <-s.ctx.Done(); return 0, s.ctx.Err() }

func TestACopyOfADatabaseThatIsDamagedIsNotWhatIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("disk")
		m, _, _ := withDatabase(a)
		m.Schedule, m.Retention = schedule.Daily{}, backup.Retention{}
		stop := running(t, m)
		time.Sleep(3*24*time.Hour + time.Hour)
		stop()
		newest := newestDatabase(t, m)
		a.alter(t, newest.Name, func(s string) string { return "ALL of it!" })
		m2, _, _ := withDatabase(a)
		m2.Retention = backup.Retention{Last: 1}
		pruned := mustPrune(t, m2, manager.PruneOptions{})
		require.NotContains(t, pruned[0].Proven, newest.Name)
		left := strings.Join(a.names(t), " ")
		require.Equal(t, "homelab-backup-2000-01-04T00-00-00.json homelab-db-2000-01-03T00-00-00.db homelab-db-2000-01-04T00-00-00.db", left)
	})
}

func TestADatabaseWithSecretsIsNotCopiedInClear(t *testing.T) {
	m, _, _ := managed(newShelf("disk"))
	m.Database = &textDatabase{text: "."}
	_, err := m.CopyDatabase(t.Context())
	require.ErrorIs(t, err, backup.ErrNoKey)
	require.ErrorContains(t, err, "set Encrypt, or DatabaseInClear")

	m, _, _ = managed(newShelf("disk"))
	m.Database, m.DatabaseInClear = &textDatabase{text: "."}, true
	_, err = m.CopyDatabase(t.Context())
	require.NoError(t, err)

	m, _, _ = managed(newShelf("disk"))
	m.Database, m.DatabaseInClear, m.RequireProof = &textDatabase{text: "."}, true, true
	_, err = m.CopyDatabase(t.Context())
	require.ErrorContains(t, err, "cannot be proven authentic")
}

func TestACopyOfADatabaseProvesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newShelf("disk")
		m, _, _ := withDatabase(a)
		m.Schedule = schedule.Daily{}
		public, signer, err := ed25519.GenerateKey(nil)
		require.NoError(t, err)
		m.Signer, m.Trusted = signer, []ed25519.PublicKey{public}
		stop := running(t, m)
		time.Sleep(4*24*time.Hour - time.Hour) // not at the moment of a backup
		stop()
		name := newestDatabase(t, m).Name

		strict, _, _ := withDatabase(a)
		strict.Database, strict.RequireProof = nil, true
		strict.Signer, strict.Trusted = signer, []ed25519.PublicKey{public}
		strict.Retention = backup.Retention{Last: 1}
		require.ErrorIs(t, strict.ExtractDatabase(t.Context(), name, io.Discard), backup.ErrUnauthentic)
		_, err = strict.Verify(t.Context(), name)
		require.ErrorIs(t, err, backup.ErrUnauthentic)
		deleted := 0
		for _, d := range mustPrune(t, strict, manager.PruneOptions{DryRun: true})[0].Decisions {
			require.False(t, d.Database && !d.Keep, d.Name)
			if !d.Keep {
				deleted++
			}
		}
		require.Equal(t, 3, deleted)
	})
}

func TestADatabaseBeyondTheLimitIsRefusedWhenItIsCopied(t *testing.T) {
	a := newShelf("disk")
	m, _, _ := withDatabase(a)
	m.Limits.TotalBytes = 5
	_, err := m.CopyDatabase(t.Context())
	require.ErrorIs(t, err, backup.ErrLimit)
	require.Empty(t, a.all(t))
}

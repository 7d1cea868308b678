package manager_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// A mortal is a Location that changes nothing after so many changes, as if the process
// had been killed there. It is no Locker, so leases hold it.
type mortal struct {
	*shelf

	mu   sync.Mutex
	left int
}

var errKilled = errors.New("killed")

func (m *mortal) step(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if strings.HasSuffix(name, ".lease") { // it expires, or ends with the process
		return nil
	}
	if m.left--; m.left < 0 {
		return errKilled
	}
	return nil
}

func (m *mortal) Put(ctx context.Context, name string, r io.Reader) error {
	if err := m.step(name); err != nil {
		return err
	}
	return m.shelf.Put(ctx, name, r)
}

func (m *mortal) Delete(ctx context.Context, name string) error {
	if err := m.step(name); err != nil {
		return err
	}
	return m.shelf.Delete(ctx, name)
}

// makers are the ways to store a file that needs its note.
var makers = map[string]func(ctx context.Context, m *manager.Manager) (manager.Backup, error){
	"copy of the database": func(ctx context.Context, m *manager.Manager) (manager.Backup, error) { return m.CopyDatabase(ctx) },
	"encrypted backup": func(ctx context.Context, m *manager.Manager) (manager.Backup, error) {
		return m.Create(ctx, backup.BackupOptions{})
	},
}

func TestAFileWhoseWriterDiedBeforeItsNoteIsNotKeptForEver(t *testing.T) {
	for what, make := range makers {
		for places := 1; places <= 2; places++ {
			t.Run(fmt.Sprint(what, ", location ", places), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					key := newPair(t)
					shelves := []*shelf{newShelf("disk"), newShelf("drive")}[:places]
					at := func(last location.Location) *manager.Manager {
						var locations []location.Location
						for _, s := range shelves[:places-1] {
							locations = append(locations, s)
						}
						m, _ := small(append(locations, last)...)
						m.Database, m.Encrypt, m.Identities = &textDatabase{text: "all of it."}, key.to, []backup.Identity{key.from}
						return m
					}
					last := shelves[places-1]
					first, err := make(t.Context(), at(last))
					require.NoError(t, err)
					for changes, done := 0, false; !done; changes++ {
						require.Less(t, changes, 20)
						time.Sleep(time.Minute)
						dying := &mortal{shelf: last, left: changes}
						_, _ = make(t.Context(), at(dying))
						done = dying.left >= 0

						// Nobody calls the rest of it a backup, even before it is gone.
						for _, b := range mustList(t, at(last)) {
							require.NotNil(t, b.Manifest, "after %d changes: %s", changes, b.Name)
						}
						_, err := make(t.Context(), at(last))
						require.NoError(t, err)
						for name := range last.files() {
							require.False(t, strings.HasSuffix(name, ".writing"), "after %d changes: %s", changes, name)
							if strings.HasSuffix(name, ".age") {
								require.Contains(t, last.files(), name+".manifest", "after %d changes: nothing prunes it", changes)
							}
						}
						require.Contains(t, last.files(), first.Name)
					}
				})
			})
		}
	}
}

// Without its mark nobody can tell that the file was never finished. With its note it was.
func TestAFileIsDeletedOnlyWithTheMarkOfItsWriterAndWithoutANote(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _, _ := publicOnly(t, disk)
		old := mustCreate(t, m)
		delete(disk.files(), old.Name+".manifest")
		time.Sleep(time.Hour)
		noted := mustCreate(t, m)
		disk.files()[noted.Name+".writing"] = ""
		disk.files()["homelab-backup-2000-01-01T00-00-00.json.writing"] = "" // no file of ours has it
		time.Sleep(time.Hour)
		mustCreate(t, m)
		require.Contains(t, disk.files(), old.Name)
		require.Contains(t, disk.files(), noted.Name)
		require.NotContains(t, disk.files(), noted.Name+".writing", "a note that is lost later must not cost the backup")
	})
}

// A keepsMarks is a Location that deletes no marks of writers.
type keepsMarks struct{ *shelf }

func (l keepsMarks) Delete(ctx context.Context, name string) error {
	if strings.HasSuffix(name, ".writing") {
		return errDown
	}
	return l.shelf.Delete(ctx, name)
}

func TestACopyOfABackupWithoutANoteNeedsNoneToStay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk, drive := newShelf("disk"), newShelf("drive")
		m, _, _ := publicOnly(t, disk)
		old := mustCreate(t, m)
		delete(disk.files(), old.Name+".manifest")
		m.Locations = append(m.Locations, keepsMarks{drive})
		time.Sleep(time.Hour)
		mustCreate(t, m)
		require.Contains(t, drive.files(), old.Name)
		m.Locations = []location.Location{drive} // the disk is gone, and this is the last copy
		time.Sleep(time.Hour)
		mustCreate(t, m)
		require.Contains(t, drive.files(), old.Name)
	})
}

// A lagging Location lists the files as they were right before the end of a Create.
type lagging struct {
	*shelf
	name string
}

func (l lagging) List(ctx context.Context) ([]location.File, error) {
	files, err := l.shelf.List(ctx)
	files = slices.DeleteFunc(files, func(f location.File) bool { return strings.TrimPrefix(f.Name, l.name) == ".manifest" })
	return append(files, location.File{Name: l.name + ".writing"}), err
}

func TestAListThatLagsBehindCostsNoBackup(t *testing.T) {
	for when, marked := range map[string]bool{"the note": true, "the mark": false} {
		t.Run(when, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				disk := newShelf("disk")
				m, _, _ := publicOnly(t, disk)
				made := mustCreate(t, m)
				if marked {
					disk.files()[made.Name+".writing"] = ""
				} else { // nothing but the mark tells
					delete(disk.files(), made.Name+".manifest")
				}
				m.Locations = []location.Location{lagging{disk, made.Name}}
				time.Sleep(time.Hour)
				mustCreate(t, m)
				require.Contains(t, disk.files(), made.Name)
				require.NotContains(t, disk.files(), made.Name+".writing")
			})
		})
	}
}

// A service that copies the files of one machine to another brings them in any order, and
// takes back to the first what the second deletes.
func TestWhatAnotherInstallationIsStoringStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		disk := newShelf("disk")
		m, _, _ := publicOnly(t, disk)
		m.Installation = "one"
		disk.set(nil, func(name string, r io.Reader) error {
			if strings.HasSuffix(name, ".manifest") {
				disk.set(errDown, nil)
				return errDown
			}
			return disk.Location.Put(t.Context(), name, r)
		})
		_, err := m.Create(t.Context(), backup.BackupOptions{})
		require.Error(t, err)
		disk.set(nil, nil)
		left := slices.DeleteFunc(disk.names(t), func(name string) bool { return strings.HasSuffix(name, ".lease") })
		require.Len(t, left, 1)
		time.Sleep(time.Hour)

		m.Installation = "two"
		made := mustCreate(t, m)
		require.Equal(t, append(left, made.Name), disk.names(t))
		require.Equal(t, []string{made.Name}, namesOf(mustList(t, m)))
		time.Sleep(time.Hour)

		m.Installation = "one"
		mustCreate(t, m)
		require.NotContains(t, disk.files(), left[0])
		require.NotContains(t, disk.files(), left[0]+".writing")
	})
}

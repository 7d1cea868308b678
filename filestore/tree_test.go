package filestore

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/testtime"
)

func newTree(t testing.TB) Store {
	s := newStore(t)
	s.Collections = []Collection{{Name: "uploads", Layout: Tree, Path: "deep/uploads"}, {Name: "settings", Layout: Object}}
	return s
}

func upload(key, content string) backup.Record {
	return record(key, `"`+base64.StdEncoding.EncodeToString([]byte(content))+`"`)
}

// A host may have one folder with nothing in it but what users have uploaded.
func newWholeTree(t testing.TB) Store {
	s := newStore(t)
	s.Collections = []Collection{{Name: "uploads", Layout: Tree, Path: "."}}
	return s
}

func TestATreeThatIsTheWholeFolderKeepsTheRules(t *testing.T) {
	backuptest.TestStore(t, func(t *testing.T) backuptest.Store { return newWholeTree(t) }, backuptest.Fixture{
		Collections: []string{"uploads"},
		App:         &backup.App{Name: "conformance", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "uploads", Shape: backup.Map}}},
		Record: func(collection string, number, revision int) backup.Record {
			return upload(fmt.Sprintf("u%d/%d.gif", number%10, number), fmt.Sprint(revision))
		},
	})
	s := newWholeTree(t)
	require.NoError(t, put(s, "uploads", upload("a/b", "1"), upload("c", "2")))
	require.FileExists(t, filepath.Join(s.Path, "a", "b"))
	s.Collections = append(s.Collections, Collection{Name: "settings", Layout: Object})
	_, err := s.compile()
	require.ErrorContains(t, err, `the collections "uploads" and "settings" are both in "."`)
}

func TestATreeKeepsTheRules(t *testing.T) {
	backuptest.TestStore(t, func(t *testing.T) backuptest.Store { return newTree(t) }, backuptest.Fixture{
		Collections: []string{"uploads", "settings"},
		App: &backup.App{Name: "conformance", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
			{Name: "uploads", Shape: backup.Map}, {Name: "settings", Shape: backup.Map},
		}},
		Record: func(collection string, number, revision int) backup.Record {
			content := strings.Repeat("\x00\xffGIF", revision*number%7)
			if collection == "uploads" {
				return upload(fmt.Sprintf("u%d/%d.gif", number%10, number), content+fmt.Sprint(revision))
			}
			return record(fmt.Sprint("k", number), fmt.Sprint(revision))
		},
		WithKey: func(collection, key string) backup.Record {
			if collection != "uploads" {
				return record(key, "1")
			}
			if checkPath(key) != nil || strings.Contains(key, "/") { // a file "a" and another "a/b" cannot be
				return backup.Record{}
			}
			return upload(key, "")
		},
	})
}

// treeFiles returns the files of a tree with their contents.
func treeFiles(t *testing.T, s Store) map[string]string {
	files := map[string]string{}
	root := filepath.Join(s.Path, "deep", "uploads")
	require.NoError(t, filepath.WalkDir(root, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		files[strings.TrimPrefix(filepath.ToSlash(name), filepath.ToSlash(root)+"/")] = string(content)
		return err
	}))
	return files
}

func TestUploadedFilesComeBackByteForByte(t *testing.T) {
	s := newTree(t)
	want := map[string]string{"cat.png": "\x89PNG\r\n\x1a\n\x00\xff", "2024/05/empty": "", "2024/.hidden": "{}", "2024/Ärger und so.txt": "text\n"}
	for name, content := range want {
		at := filepath.Join(s.Path, "deep", "uploads", filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(at), 0o700))
		require.NoError(t, os.WriteFile(at, []byte(content), 0o640))
	}
	other := newTree(t)
	require.NoError(t, put(other, "uploads", upload("stays/not", "x")))
	require.NoError(t, s.View(t.Context(), func(r backup.Reader) error {
		return other.Update(t.Context(), func(w backup.Writer) error {
			for r, err := range r.Records(t.Context(), "uploads") {
				require.NoError(t, err)
				require.NoError(t, w.Put(t.Context(), "uploads", []backup.Record{r}))
			}
			return w.Delete(t.Context(), "uploads", []string{"stays/not"})
		})
	}))
	require.Equal(t, want, treeFiles(t, s))
	require.Equal(t, want, treeFiles(t, other))
}

// A file can take the place of a folder, and the reverse, but not hide what is in it.
func TestAFileOfATreeNeverHidesAnother(t *testing.T) {
	s := newTree(t)
	require.NoError(t, put(s, "uploads", upload("a/b", "1"), upload("a/c", "2"), upload("d", "3")))
	before := treeFiles(t, s)
	for _, key := range []string{"a", "d/e", "d/e/f"} {
		err := put(s, "uploads", upload(key, "4"))
		require.ErrorIs(t, err, backup.ErrClash, key)
		require.ErrorIs(t, err, backup.ErrRolledBack, key)
		require.Equal(t, before, treeFiles(t, s))
	}
	require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error {
		require.NoError(t, w.Delete(t.Context(), "uploads", []string{"a/b", "a/c", "d"}))
		return w.Put(t.Context(), "uploads", []backup.Record{upload("a", "4"), upload("d/e", "5")})
	}))
	require.Equal(t, map[string]string{"a": "4", "d/e": "5"}, treeFiles(t, s))
	info, err := os.Stat(filepath.Join(s.Path, "deep", "uploads", "a"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}

func TestWhatIsNoFileOfATreeIsAnError(t *testing.T) {
	for want, r := range map[string]backup.Record{
		"not a path inside": upload("../out", ""),
		"not a path":        upload("/abs", ""),
		"limit of file":     upload("a/"+strings.Repeat("x", 256), ""),
		"not a string":      record("a", `{}`),
		"another value":     record("a", `null`),
		"not base64":        record("a", `"AA"`),
	} {
		s := newTree(t)
		err := put(s, "uploads", r)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, r.Key[:1])
		require.NoDirExists(t, filepath.Join(s.Path, "deep"))
	}
	s := newTree(t)
	require.NoError(t, os.MkdirAll(filepath.Join(s.Path, "deep", "uploads", "in"), 0o700))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(s.Path, "deep", "uploads", "in", "link")))
	err := s.View(t.Context(), func(r backup.Reader) error {
		for _, err := range r.Records(t.Context(), "uploads") {
			return err
		}
		return nil
	})
	require.ErrorContains(t, err, filepath.Join("deep", "uploads", "in", "link")+": invalid argument: not a regular file")
	for _, c := range []Collection{{Ext: ".png"}, {Names: Plain}, {Key: "/id"}} {
		c.Name, c.Layout = "uploads", Tree
		_, err := Store{Path: testtime.MemoryDir(t), Collections: []Collection{c}}.compile()
		require.ErrorContains(t, err, "a Tree has no Ext, Names or Key")
	}
}

package filestore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/codec"
	_ "github.com/tomo-project/backup/internal/seal/sealtest"
	"github.com/tomo-project/backup/internal/testtime"
)

var collections = []Collection{
	{Name: "servers", Key: "/id"},
	{Name: "repos", Path: "deep/down/repos", Names: Plain, Ext: ".record"},
	{Name: "settings", Layout: Object},
	{Name: "members", Key: "/user,/group"},
	{Name: "grants", Layout: Array, Key: "/user,/group"},
	{Name: "users", Layout: Array, Key: "/id", Path: "deep/people.json", Encode: indent, Decode: func(file []byte) ([]byte, error) { return file, nil }},
}

var app = &backup.App{
	Name: "conformance", Version: "1.0.0", SchemaVersion: 1,
	Collections: []backup.Collection{
		{Name: "servers", Key: "/id", Secrets: []string{"/token"}},
		{Name: "repos", Shape: backup.Map, Secrets: []string{"/*/token"}},
		{Name: "settings", Shape: backup.Map, Secrets: []string{"/*/token"}},
		{Name: "users", Key: "/id", Secrets: []string{"/token"}},
		{Name: "members", Key: "/user,/group", Secrets: []string{"/token"}},
		{Name: "grants", Key: "/user,/group", Secrets: []string{"/token"}},
	},
}

func indent(text []byte) ([]byte, error) {
	var b bytes.Buffer
	err := json.Indent(&b, text, "", "\t")
	return b.Bytes(), err
}

func record(key, value string) backup.Record {
	return backup.Record{Key: key, Value: json.RawMessage(value)}
}

func sample(collection string, number, revision int) backup.Record {
	key := fmt.Sprint("K", number)
	more := ""
	if revision == 0 {
		more = `,"more":[1.50,9007199254740993,null]`
	}
	if parted(collection) {
		return parts(strconv.Itoa(number/10), strconv.Itoa(number%10), fmt.Sprintf(`,"token":"made-up-%d"%s`, number, more))
	}
	return record(key, fmt.Sprintf(`{"id":"%s","token":"made-up-%d"%s}`, key, number, more))
}

// parted tells whether the records of a collection have keys of two parts.
func parted(collection string) bool { return collection == "members" || collection == "grants" }

func parts(user, group, more string) backup.Record {
	return record(codec.JoinKey([]string{user, group}), fmt.Sprintf(`{"user":%s,"group":%s%s}`, codec.Quote(user), codec.Quote(group), more))
}

// newStore returns an empty store, in memory where there is a file system for
// that: a test of a thousand files syncs each of them.
func newStore(t testing.TB) Store {
	dir := filepath.Join(testtime.MemoryDir(t), "data")
	require.NoError(t, os.Mkdir(dir, 0o700))
	return Store{Path: dir, Collections: collections}
}

// noExchange is a step of a file system that cannot exchange folders.
func noExchange(step string) error {
	if step == "exchange" || step == "try exchange" {
		return errors.ErrUnsupported
	}
	return nil
}

// noLinks is one of a file system without links.
func noLinks(step string) error {
	if step == "link" {
		return errors.ErrUnsupported
	}
	return nil
}

func TestAStoreKeepsTheRules(t *testing.T) {
	for name, step := range map[string]func(string) error{"exchange": nil, "gap": noExchange, "no links": noLinks} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backuptest.TestStore(t, func(t *testing.T) backuptest.Store {
				s := newStore(t)
				s.step, s.AllowGap = step, true
				return s
			}, backuptest.Fixture{
				Collections: []string{"servers", "repos", "settings", "users", "members", "grants"},
				App:         app,
				Record:      sample,
				WithKey: func(collection, key string) backup.Record {
					if parted(collection) || collection == "repos" && (strings.Contains(key, "/") || key[0] == '.') {
						return backup.Record{}
					}
					quoted, err := json.Marshal(key)
					require.NoError(t, err)
					return record(key, fmt.Sprintf(`{"id":%s}`, quoted))
				},
				WithParts: func(collection, first, second string) backup.Record {
					if !parted(collection) {
						return backup.Record{}
					}
					return parts(first, second, "")
				},
			})
		})
	}
}

func put(s Store, collection string, records ...backup.Record) error {
	ctx := context.Background()
	return s.Update(ctx, func(w backup.Writer) error { return w.Put(ctx, collection, records) })
}

// read returns the records of a collection as a text, and the key of the one that
// an error is about.
func read(s Store, collection string) (text, key string, err error) {
	ctx := context.Background()
	var b strings.Builder
	err = s.View(ctx, func(r backup.Reader) error {
		for r, err := range r.Records(ctx, collection) {
			if err != nil {
				key = r.Key
				return err
			}
			fmt.Fprintf(&b, "%s=%s ", r.Key, r.Value)
		}
		return nil
	})
	return b.String(), key, err
}

// lay puts files in the folder of a store, as its host does.
func lay(t testing.TB, s Store, files map[string]string) {
	t.Helper()
	for name, content := range files {
		name = filepath.Join(s.Path, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	}
}

// tree returns all that is in a folder: path → content, target, or mode.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		switch {
		case d.Type().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += " " + string(content)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " " + target
		}
		all[name] = text
		return nil
	}))
	return all
}

// beside returns what is beside the folder of a store, but for the lock.
func beside(t testing.TB, s Store) (left []string) {
	t.Helper()
	all, err := os.ReadDir(filepath.Dir(s.Path))
	require.NoError(t, err)
	for _, e := range all {
		if e.Name() != "data" && e.Name() != ".data.filestore.lock" {
			left = append(left, e.Name())
		}
	}
	return left
}

func TestWhatTheHostHasWrittenIsReadAndWhatIsRestoredTheHostReads(t *testing.T) {
	s := newStore(t)
	lay(t, s, map[string]string{
		"servers/a1.json":           "{\n  \"id\": \"a1\",\n  \"port\": 1.50\n}\n",
		"servers/%41.json":          `{"id":"A"}`,
		"servers/notes.txt":         "not a record",
		"servers/.a1.json.swp":      "nor this",
		"servers/inner/x.json":      "nor this",
		"deep/down/repos/B.record":  `[1, 2]`,
		"deep/down/repos/b.json":    `not a record`,
		"settings.json":             "{\n  \"theme\": \"dark\",\n  \"~/x\": null,\n  \"\\u0041\": {\"a\": 1e2}\n}",
		"deep/people.json":          `[ {"id":7,"name":"Ada"}, {"id":"x"} ]`,
		"deep/people.json.bak":      "left alone",
		"uploads/picture.png":       "left alone",
		"servers/more/uploads/p.js": "left alone",
	})
	for collection, want := range map[string]string{
		"servers":  `A={"id":"A"} a1={"id":"a1","port":1.50} `,
		"repos":    `B=[1,2] `,
		"settings": `A={"a":1e2} theme="dark" ~/x=null `,
		"users":    `7={"id":7,"name":"Ada"} x={"id":"x"} `,
	} {
		got, _, err := read(s, collection)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.Empty(t, beside(t, s))

	before := tree(t, s.Path)
	ctx := t.Context()
	require.NoError(t, s.Update(ctx, func(w backup.Writer) error {
		return errors.Join(
			w.Delete(ctx, "servers", []string{"A", "none"}),
			w.Put(ctx, "servers", []backup.Record{record("a1", `{"id": "a1"}`), record("É", `{"id":"É"}`)}),
			w.Put(ctx, "settings", []backup.Record{record("theme", `"light"`), record("a/b", `{"x":[1]}`)}),
			w.Delete(ctx, "settings", []string{"~/x"}),
			w.Put(ctx, "users", []backup.Record{record("y", `{"id":"y"}`), record("7", `{"id":7}`)}),
		)
	}))
	delete(before, "servers/%41.json")
	before["servers/a1.json"] = "-rw------- {\"id\":\"a1\"}\n"
	before["servers/%C3%89.json"] = "-rw------- {\"id\":\"É\"}\n"
	before["settings.json"] = "-rw------- {\n\"theme\":\"light\",\n\"A\":{\"a\":1e2},\n\"a/b\":{\"x\":[1]}\n}\n"
	before["deep/people.json"] = "-rw------- [\n\t{\n\t\t\"id\": 7\n\t},\n\t{\n\t\t\"id\": \"x\"\n\t},\n\t{\n\t\t\"id\": \"y\"\n\t}\n]\n"
	require.Equal(t, before, tree(t, s.Path))
	require.Empty(t, beside(t, s))
}

func TestAMissingCollectionIsEmptyAndAMissingFolderIsAnError(t *testing.T) {
	s := newStore(t)
	for _, c := range collections {
		text, _, err := read(s, c.Name)
		require.NoError(t, err)
		require.Empty(t, text)
	}
	require.NoError(t, s.Update(t.Context(), func(backup.Writer) error { return nil }))
	require.Equal(t, map[string]string{".": "drwx------"}, tree(t, s.Path))

	s.Path = filepath.Join(filepath.Dir(s.Path), "gone")
	_, _, err := read(s, "servers")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, s.Path)
	require.ErrorIs(t, put(s, "servers", record("a", `{"id":"a"}`)), fs.ErrNotExist)
	require.NoDirExists(t, s.Path)
	require.NoFileExists(t, filepath.Join(filepath.Dir(s.Path), ".gone.filestore.lock"))
}

func TestWhatBelongsToNoCollectionSurvivesWithItsModeAndItsTime(t *testing.T) {
	s := newStore(t)
	lay(t, s, map[string]string{"servers/a.json": `{"id":"a"}`, "cache/x": "x", "cache/y": "y", "locked/z": "z", "run.sh": "#!"})
	at := func(name string) string { return filepath.Join(s.Path, name) }
	outside := filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.WriteFile(outside, []byte("out"), 0o600))
	require.NoError(t, errors.Join(
		os.Symlink("x", at("cache/link")),
		os.Symlink(outside, at("cache/out")),
		os.Symlink("nowhere", at("servers/dangling")),
		os.Mkdir(at("empty"), 0o755),
		os.Chmod(at("run.sh"), 0o750),
		os.Chmod(at("cache"), 0o750|fs.ModeSetgid),
		os.Chmod(at("locked"), 0o500),
		os.Chmod(at("servers/a.json"), 0o640),
		os.Chmod(s.Path, 0o711),
	))
	t.Cleanup(func() { _ = os.Chmod(at("locked"), 0o700) })
	old := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	require.NoError(t, os.Chtimes(at("cache/x"), old, old))
	held, err := os.OpenFile(at("cache/y"), os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	defer held.Close()

	for _, name := range []string{"links", "no links"} {
		if name == "no links" {
			s.step = noLinks
		}
		before := tree(t, s.Path)
		require.NoError(t, put(s, "servers", record("a", `{"id":"a","by":"`+name+`"}`), record("b", `{"id":"b"}`)))
		before["servers/a.json"] = "-rw-r----- {\"id\":\"a\",\"by\":\"" + name + "\"}\n"
		before["servers/b.json"] = "-rw------- {\"id\":\"b\"}\n"
		require.Equal(t, before, tree(t, s.Path), name)
		require.Empty(t, beside(t, s))
		info, err := os.Stat(at("cache/x"))
		require.NoError(t, err)
		require.True(t, info.ModTime().Equal(old), name)
		if s.step == nil {
			_, err = held.WriteString("!")
			require.NoError(t, err)
			content, err := os.ReadFile(at("cache/y"))
			require.NoError(t, err)
			require.Equal(t, "y!", string(content), "the file is the same")
		}
	}
	content, err := os.ReadFile(outside)
	require.NoError(t, err)
	require.Equal(t, "out", string(content))
}

func TestALinkInThePlaceOfWhatIsOursIsNotFollowed(t *testing.T) {
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "a.json"), []byte(`{"id":"a"}`), 0o600))
	for name, link := range map[string]struct{ to, at, collection string }{
		"folder":              {outside, "servers", "servers"},
		"folder inside":       {"real", "servers", "servers"},
		"folder above a file": {outside, "deep", "users"},
		"record":              {filepath.Join(outside, "a.json"), "servers/a.json", "servers"},
		"record inside":       {"../real/a.json", "servers/a.json", "servers"},
		"file":                {filepath.Join(outside, "a.json"), "settings.json", "settings"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			lay(t, s, map[string]string{"real/a.json": `{"id":"a"}`})
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(s.Path, link.at)), 0o700))
			require.NoError(t, os.Symlink(link.to, filepath.Join(s.Path, link.at)))
			before := tree(t, s.Path)
			_, _, err := read(s, link.collection)
			require.ErrorIs(t, err, fs.ErrInvalid)
			require.ErrorContains(t, err, filepath.Join(s.Path, link.at))
			require.ErrorIs(t, put(s, link.collection, record("b", `{"id":"b"}`)), fs.ErrInvalid)
			require.Equal(t, before, tree(t, s.Path))
			other := map[bool]string{true: "settings", false: "servers"}[link.collection == "servers"]
			_, _, err = read(s, other)
			require.NoError(t, err, "another collection is not the worse for it")
		})
	}

	s := newStore(t)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(s.Path, link))
	through := s
	through.Path = link
	require.NoError(t, put(through, "servers", record("a", `{"id":"a"}`)), "the path may be one")
	require.FileExists(t, filepath.Join(s.Path, "servers/a.json"))
	target, err := os.Readlink(link)
	require.NoError(t, err)
	require.Equal(t, s.Path, target)
}

func TestWhatCannotBeReadIsAnErrorThatNamesTheFile(t *testing.T) {
	const secret = "made-up-password"
	for name, test := range map[string]struct{ file, content, collection, key, want string }{
		"not JSON":            {"servers/a.json", `{"password":"` + secret + `"`, "servers", "a", "servers/a.json"},
		"two values":          {"servers/a.json", `{"id":"a"} {}`, "servers", "a", "servers/a.json"},
		"twice the same name": {"servers/a.json", `{"id":"a","id":"a"}`, "servers", "a", "servers/a.json"},
		"empty":               {"servers/a.json", "", "servers", "a", "the file is empty"},
		"another record":      {"servers/a.json", `{"id":"b"}`, "servers", "a", `the record in it is "b", by /id; that of this place is "a"`},
		"a strange name":      {"servers/A.json", `{}`, "servers", "", "servers/A.json: no key has this name"},
		"a strange escape":    {"servers/%61.json", `{}`, "servers", "", "no key has this name"},
		"a name in no text":   {"servers/%ff.json", `{}`, "servers", "", "no key has this name"},
		"an empty object":     {"settings.json", "\n", "settings", "", "settings.json"},
		"a damaged object":    {"settings.json", `{"a":1,"b"`, "settings", "", "settings.json"},
		"twice a member":      {"settings.json", `{"a":1,"a":2}`, "settings", "", "settings.json"},
		"no object":           {"settings.json", `[]`, "settings", "", "settings.json: the text does not begin with '{'"},
		"no array":            {"deep/people.json", `{}`, "users", "", "people.json: the text does not begin with '['"},
		"no identity":         {"deep/people.json", `[{"id":1},{}]`, "users", "", "element 1: identity at /id: the key is missing"},
		"twice an identity":   {"deep/people.json", `[{"id":1},{"id":"1"}]`, "users", "", `element 1: another has the same key, "1"`},
		"another part":        {"members/%5B%227%22%2C%22a%22%5D.json", `{"user":7,"group":"b"}`, "members", `["7","a"]`, `the record in it is "[\"7\",\"b\"]", by /user,/group; that of this place is "[\"7\",\"a\"]"`},
		"one part":            {"members/7.json", `{"user":7,"group":"b"}`, "members", "7", `the record in it is "[\"7\",\"b\"]"`},
		"a part is missing":   {"grants.json", `[{"user":7,"group":""},{"user":7}]`, "grants", "", "element 1: identity at /user,/group: the key is missing"},
		"twice both parts":    {"grants.json", `[{"user":7,"group":"a"},{"group":"a","user":"7"}]`, "grants", "", `element 1: another has the same key, "[\"7\",\"a\"]"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			lay(t, s, map[string]string{test.file: test.content})
			_, key, err := read(s, test.collection)
			require.ErrorContains(t, err, test.want)
			require.Equal(t, test.key, key)
			require.NotContains(t, err.Error(), secret)
			if test.key != "" || !strings.Contains(test.file, "servers") {
				require.ErrorContains(t, err, "repair the file, or move it away")
			}
			_, _, err = read(s, "repos")
			require.NoError(t, err, "another collection is not the worse for it")

			before := tree(t, s.Path)
			ctx := t.Context()
			err = s.Update(ctx, func(w backup.Writer) error {
				_, err := w.Lookup(ctx, test.collection, []string{cmp.Or(test.key, "a")})
				require.ErrorContains(t, err, test.want)
				return nil // whoever does not look at errors
			})
			require.ErrorContains(t, err, test.want)
			require.Equal(t, before, tree(t, s.Path))
		})
	}
}

func TestAPutDoesNotNeedToReadWhatItReplaces(t *testing.T) {
	s := newStore(t)
	lay(t, s, map[string]string{"servers/a.json": "", "servers/b.json": `{"id":"b"}`})
	require.NoError(t, put(s, "servers", record("a", `{"id":"a"}`)))
	text, _, err := read(s, "servers")
	require.NoError(t, err)
	require.Equal(t, `a={"id":"a"} b={"id":"b"} `, text)
}

func TestARestoreOfAManagerIsUndone(t *testing.T) {
	s := newStore(t)
	place := location.Dir(filepath.Join(filepath.Dir(s.Path), "backups"))
	require.NoError(t, place.Make())
	key := backup.Passphrase([]byte("made-up"))
	m := &manager.Manager{
		App: app, Source: s, Sink: s, Locations: []location.Location{place},
		Recipients: []backup.Recipient{key}, Identities: []backup.Identity{key},
	}
	ctx := t.Context()
	fill := func(from, to, revision int) {
		require.NoError(t, s.Update(ctx, func(w backup.Writer) error {
			for i := from; i < to; i++ {
				for _, c := range collections {
					if err := w.Put(ctx, c.Name, []backup.Record{sample(c.Name, i, revision)}); err != nil {
						return err
					}
				}
			}
			return nil
		}))
	}
	fill(0, 10, 0)
	first := tree(t, s.Path)
	made, err := m.Create(ctx, backup.BackupOptions{})
	require.NoError(t, err)
	fill(5, 15, 1)
	second := tree(t, s.Path)

	snapshot, err := m.Open(ctx, made.Name)
	require.NoError(t, err)
	defer snapshot.Close()
	report, err := m.Restore(ctx, snapshot, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.NotEmpty(t, report.UndoneBy)
	require.Equal(t, first, tree(t, s.Path))
	for _, want := range []map[string]string{second, first} {
		_, err = m.Undo(ctx)
		require.NoError(t, err)
		require.Equal(t, want, tree(t, s.Path))
	}
}

func TestWhatTheFunctionsOfACollectionChangeIsRefusedAndNothingIsChanged(t *testing.T) {
	same := func(b []byte) ([]byte, error) { return b, nil }
	rounding := func(b []byte) ([]byte, error) {
		var v any
		if err := json.Unmarshal(b, &v); err != nil {
			return nil, err
		}
		return json.Marshal(v)
	}
	no := func([]byte) ([]byte, error) { return nil, errors.New("no") }
	for _, layout := range []Layout{Files, Object} {
		for name, test := range map[string]struct {
			encode, decode func([]byte) ([]byte, error)
			want           string
		}{
			"cannot encode":  {no, same, "encode: no"},
			"cannot decode":  {same, no, "cannot be read again: decode: no"},
			"rounds numbers": {rounding, same, "make another value of it"},
		} {
			t.Run(fmt.Sprint(name, layout), func(t *testing.T) {
				s := newStore(t)
				s.Collections = []Collection{{Name: "settings", Layout: layout, Encode: test.encode, Decode: test.decode}}
				err := put(s, "settings", record("a", `{"n":9007199254740993}`))
				require.ErrorContains(t, err, test.want)
				require.Len(t, tree(t, s.Path), 1)
				require.Empty(t, beside(t, s))
			})
		}
	}
}

func TestAWrongDeclarationIsAnErrorBeforeAnythingIsTouched(t *testing.T) {
	dir := newStore(t).Path
	same := func(b []byte) ([]byte, error) { return b, nil }
	for want, cs := range map[string][]Collection{
		"without Name":                            {{}},
		`two collections called "a"`:              {{Name: "a"}, {Name: "a", Path: "b"}},
		`are both in "a"`:                         {{Name: "a"}, {Name: "b", Layout: Object, Path: "A/b.json"}},
		`are both in "a.json"`:                    {{Name: "a", Layout: Object}, {Name: "b", Layout: Object, Path: "a.json"}},
		"needs Key":                               {{Name: "a", Layout: Array}},
		"wildcard":                                {{Name: "a", Key: "/*"}},
		"the Key /id,/a/* has a wildcard":         {{Name: "a", Key: "/id,/a/*"}},
		"names a place twice":                     {{Name: "a", Key: "/id,/id"}},
		"not a JSON Pointer":                      {{Name: "a", Key: "id"}},
		"no Layout is 7":                          {{Name: "a", Layout: 7}},
		"no Names are 7":                          {{Name: "a", Names: 7}},
		"both Encode and Decode":                  {{Name: "a", Encode: same}},
		`the Path "../a" is none inside`:          {{Name: "a", Path: "../a"}},
		`the Path "." is none inside`:             {{Name: "a", Path: "."}},
		`the Ext "json" is not a dot and letters`: {{Name: "a", Ext: "json"}},
	} {
		s := Store{Path: dir, Collections: cs}
		require.ErrorContains(t, s.View(t.Context(), func(backup.Reader) error { panic("called") }), want)
		require.ErrorContains(t, s.Update(t.Context(), func(backup.Writer) error { panic("called") }), want)
	}
	_, err := Store{}.Lock(t.Context())
	require.ErrorIs(t, err, fs.ErrInvalid)
	_, err = Store{Path: "/"}.Lock(t.Context())
	require.ErrorIs(t, err, fs.ErrInvalid)
}

func TestATransactionIsOverWhenItsFunctionHasReturned(t *testing.T) {
	ctx := t.Context()
	s := newStore(t)
	var r backup.Reader
	var w backup.Writer
	require.NoError(t, s.View(ctx, func(in backup.Reader) error { r = in; return nil }))
	require.NoError(t, s.Update(ctx, func(in backup.Writer) error { w = in; return nil }))
	for _, err := range r.Records(ctx, "servers") {
		require.ErrorContains(t, err, "used after its function returned")
	}
	require.ErrorContains(t, w.Put(ctx, "servers", []backup.Record{record("a", `{}`)}), "used after its function returned")
}

// Whatever fails, an Update returns it, and the folder is as it was.
func TestWhateverFailsTheFolderIsAsItWas(t *testing.T) {
	broken := errors.New("broken")
	for _, gap := range []bool{false, true} {
		steps := map[string]int{}
		s := newStore(t)
		s.AllowGap = true
		lay(t, s, map[string]string{"servers/a.json": `{"id":"a"}`, "servers/b.json": `{"id":"b"}`, "x/y": "z"})
		fail, nth := "", 0
		s.step = func(step string) error {
			if steps[step]++; step == fail && steps[step] == nth && step != "link" { // which is copied then
				return broken
			}
			if gap {
				return noExchange(step)
			}
			return nil
		}
		change := func() error {
			ctx := t.Context()
			return s.Update(ctx, func(w backup.Writer) error {
				return errors.Join(w.Delete(ctx, "servers", []string{"a"}), w.Put(ctx, "users", []backup.Record{record("u", `{"id":"u"}`)}))
			})
		}
		before := tree(t, s.Path)
		tried := 0
		for _, fail = range []string{"sync", "exchange", "gap", "exchanged"} {
			for nth = 1; ; nth++ {
				clear(steps)
				err := change()
				if steps[fail] < nth {
					require.NoError(t, err)
					require.NoError(t, os.RemoveAll(s.Path))
					require.NoError(t, os.Mkdir(s.Path, 0o700))
					lay(t, s, map[string]string{"servers/a.json": `{"id":"a"}`, "servers/b.json": `{"id":"b"}`, "x/y": "z"})
					break
				}
				require.ErrorIs(t, err, broken, "%s %d", fail, nth)
				require.Equal(t, before, tree(t, s.Path), "%s %d", fail, nth)
				require.Empty(t, beside(t, s))
				tried++
			}
		}
		require.GreaterOrEqual(t, tried, 7)
	}
}

func TestWithoutAnExchangeNothingIsChangedUnlessAGapIsAllowed(t *testing.T) {
	s := newStore(t)
	s.step = noExchange
	err := put(s, "servers", record("a", `{"id":"a"}`))
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, "AllowGap")
	require.Len(t, tree(t, s.Path), 1)
	require.Empty(t, beside(t, s))
	s.AllowGap = true
	require.NoError(t, put(s, "servers", record("a", `{"id":"a"}`)))
	require.Len(t, tree(t, s.Path), 3)
	require.Empty(t, beside(t, s))
}

// A host that makes its folder where an Update was killed must not cost it the
// data.
func TestAFolderThatIsMadeInTheGapDoesNotReplaceTheData(t *testing.T) {
	s := newStore(t)
	s.AllowGap, s.step = true, noExchange
	lay(t, s, map[string]string{"servers/a.json": `{"id":"a"}`})
	parent := filepath.Dir(s.Path)
	old := filepath.Join(parent, ".data.filestore.old")
	require.NoError(t, os.Rename(s.Path, old))
	require.NoError(t, os.Mkdir(filepath.Join(parent, ".data.filestore.new"), 0o700))
	require.NoError(t, os.Mkdir(s.Path, 0o700))
	for range 2 {
		_, _, err := read(s, "servers")
		require.ErrorIs(t, err, fs.ErrExist)
		require.ErrorContains(t, err, old)
		require.FileExists(t, filepath.Join(old, "servers/a.json"))
	}
	require.NoError(t, os.Remove(s.Path))
	text, _, err := read(s, "servers")
	require.NoError(t, err)
	require.Equal(t, `a={"id":"a"} `, text)
	require.Empty(t, beside(t, s))
}

func TestTheLockKeepsOthersOutUntilItIsGivenBack(t *testing.T) {
	s := newStore(t)
	unlock, err := s.Lock(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.View(ctx, func(backup.Reader) error { panic("called") }), context.DeadlineExceeded)
	done := make(chan error, 1)
	go func() { done <- put(s, "servers", record("a", `{"id":"a"}`)) }()
	lay(t, s, map[string]string{"servers/b.json": `{"id":"b"}`})
	require.NoError(t, unlock())
	require.NoError(t, unlock(), "twice is no error")
	require.NoError(t, <-done)
	text, _, err := read(s, "servers")
	require.NoError(t, err)
	require.Equal(t, `a={"id":"a"} b={"id":"b"} `, text)
}

func TestKeysOfAnyKindHaveNamesOfTheirOwn(t *testing.T) {
	keys := []string{
		"a", "A", "aa", "aA", "a b", "a.", "a ", ".a", "..", "-", "_", "a.b", "a.json", "%", "%41", "%4", "a/b", `a\b`, "a:b", "*", "?", "|",
		"con", "CON", "con.txt", "conx", "aux", "nul", "prn", "com1", "com10", "lpt9", "lptx", "é", "e\u0301", "日本語", "\x00", "\n", "~",
		`["7","admins"]`, `["7","Admins"]`, `["7","a\"b"]`, `[""]`,
	}
	seen := map[string]string{}
	c := Collection{Name: "servers"}
	for _, key := range keys {
		name, err := c.FileName(key)
		require.NoError(t, err, key)
		folded := strings.ToLower(name)
		require.Empty(t, seen[folded], "%q", key)
		seen[folded] = key
		file, ok := strings.CutPrefix(name, "servers/")
		require.True(t, ok)
		require.Regexp(t, `^[a-z0-9_%A-F-][a-z0-9._%A-F-]*\.json$`, file)
		back, err := Escaped.key(strings.TrimSuffix(file, ".json"))
		require.NoError(t, err)
		require.Equal(t, key, back)
		require.False(t, isDevice(strings.ToLower(file)), file)
	}
	for key, want := range map[string]string{"a1": "servers/a1.json", "Nas 1": "servers/%4Eas%201.json", "con": "servers/%63on.json", ".x": "servers/%2Ex.json", `["7","a"]`: "servers/%5B%227%22%2C%22a%22%5D.json"} {
		name, err := c.FileName(key)
		require.NoError(t, err)
		require.Equal(t, want, name)
	}
	s := newStore(t)
	var records []backup.Record
	for _, key := range keys {
		quoted, err := json.Marshal(key)
		require.NoError(t, err)
		records = append(records, record(key, fmt.Sprintf(`{"id":%s}`, quoted)))
	}
	require.NoError(t, put(s, "servers", records...))
	ctx := t.Context()
	require.NoError(t, s.Update(ctx, func(w backup.Writer) error {
		var got []string
		for key, err := range w.Keys(ctx, "servers") {
			require.NoError(t, err)
			got = append(got, key)
		}
		require.ElementsMatch(t, keys, got)
		return nil
	}))
}

func TestAKeyThatNoFileCanHaveIsRefusedAndNothingIsChanged(t *testing.T) {
	for _, test := range []struct {
		names Names
		key   string
		want  string
	}{
		{Escaped, "", "the key is empty"},
		{Escaped, strings.Repeat("a", 251), "256 bytes, and the limit"},
		{Escaped, strings.Repeat("é", 42), "257 bytes, and the limit"},
		{Plain, strings.Repeat("é", 126), "257 bytes, and the limit"},
		{Plain, "../a", "use Escaped names"},
		{Plain, ".a", "use Escaped names"},
		{Plain, "a\x00", "use Escaped names"},
	} {
		s := newStore(t)
		s.Collections = []Collection{{Name: "settings", Names: test.names}}
		err := put(s, "settings", record("ok", `1`), record(test.key, `2`))
		require.ErrorIs(t, err, fs.ErrInvalid)
		require.ErrorContains(t, err, test.want)
		require.Len(t, tree(t, s.Path), 1)
	}
	s := newStore(t)
	require.NoError(t, put(s, "servers", record(strings.Repeat("a", 250), `{"id":"`+strings.Repeat("a", 250)+`"}`)))
}

// A host changes two files at a time, and goes on with it during backups and
// restores.
func TestABackupIsOnePointInTimeWhileTheHostGoesOnWriting(t *testing.T) {
	s := newStore(t)
	lay(t, s, map[string]string{"servers/a.json": `{"id":"a","n":0}`, "servers/b.json": `{"id":"b","n":0}`, "settings.json": `{"n":0}`})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	type result struct {
		n   int
		err error
	}
	host := make(chan result, 1)
	go func() {
		n := 0
		for ctx.Err() == nil {
			unlock, err := s.Lock(ctx)
			if err != nil {
				break
			}
			n++
			for name, content := range map[string]string{
				"servers/a.json": fmt.Sprintf(`{"id":"a","n":%d}`, n),
				"servers/b.json": fmt.Sprintf(`{"id":"b","n":%d}`, n),
				"settings.json":  fmt.Sprintf(`{"n":%d}`, n),
			} {
				err = errors.Join(err, os.WriteFile(filepath.Join(s.Path, name), []byte(content), 0o600))
			}
			if err = errors.Join(err, unlock()); err != nil {
				host <- result{n, err}
				return
			}
		}
		host <- result{n, nil}
	}()
	seen := map[string]bool{}
	for i := 0; len(seen) < 50; i++ { // the host has to be given its turn
		var texts []string
		require.NoError(t, s.View(ctx, func(r backup.Reader) error {
			for _, c := range []string{"servers", "settings"} {
				for r, err := range r.Records(ctx, c) {
					if err != nil {
						return err
					}
					value := string(r.Value)
					if c == "servers" {
						value = strings.TrimSuffix(value[strings.LastIndex(value, ":")+1:], "}")
					}
					texts = append(texts, value)
				}
			}
			return nil
		}))
		require.Len(t, slices.Compact(texts), 1, "%q", texts)
		seen[texts[0]] = true
		if i%4 == 0 {
			require.NoError(t, put(s, "users", record("u", fmt.Sprintf(`{"id":"u","n":%d}`, i))))
		}
	}
	stop()
	r := <-host
	require.NoError(t, r.err)
	require.Empty(t, beside(t, s))
}

// Who opens a file through the path of the folder sees the old or the new one.
func TestAReaderWithoutTheLockFindsEveryFileWhole(t *testing.T) {
	s := newStore(t)
	require.NoError(t, put(s, "servers", record("a", `{"id":"a"}`), record("b", `{"id":"b","n":0}`)))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	read := make(chan error, 1)
	n := 0
	go func() {
		for ; ctx.Err() == nil; n++ {
			for name, want := range map[string]string{"a": `{"id":"a"}`, "b": `{"id":"b","n":`} {
				content, err := os.ReadFile(filepath.Join(s.Path, "servers", name+".json"))
				if err == nil && !(strings.HasPrefix(string(content), want) && strings.HasSuffix(string(content), "}\n")) {
					err = fmt.Errorf("%q", content)
				}
				if err != nil {
					read <- err
					return
				}
			}
		}
		read <- nil
	}()
	for i := range 300 {
		require.NoError(t, put(s, "servers", record("b", fmt.Sprintf(`{"id":"b","n":%d}`, i))))
	}
	stop()
	require.NoError(t, <-read)
	require.Greater(t, n, 300)
}

func FuzzNames(f *testing.F) {
	for _, key := range []string{"a1", "A", "con", "a b.c", "..", "é", "%41", "%", "com1.txt"} {
		f.Add(key, key)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, names := range []Names{Escaped, Plain} {
			name, err := names.name(a, ".json")
			if err != nil || !utf8.ValidString(a) {
				continue
			}
			back, err := names.key(strings.TrimSuffix(name, ".json"))
			require.NoError(t, err)
			require.Equal(t, a, back)
			require.True(t, filepath.IsLocal(name))
			require.Equal(t, filepath.Base(name), name)
		}
		if other, err := Escaped.name(b, ".json"); err == nil && a != b && a != "" {
			require.False(t, strings.EqualFold(escape(a)+".json", other), "%q and %q", a, b)
		}
		// Every name is that of one key, or of none.
		if key, err := Escaped.key(a); err == nil {
			require.Equal(t, a, escape(key))
		}
	})
}

func TestAnUpdateWhoseContextEndsBeforeTheSwapChangesNothing(t *testing.T) {
	s := newStore(t)
	require.NoError(t, put(s, "servers", record("a", `{"id":"a"}`)))
	before := tree(t, s.Path)
	for n := 1; n <= 3; n++ { // the file, its folder, the folder above
		ctx, cancel := context.WithCancel(t.Context())
		synced := 0
		s.step = func(step string) error {
			if step == "sync" {
				if synced++; synced == n {
					cancel()
				}
			}
			return nil
		}
		err := s.Update(ctx, func(w backup.Writer) error {
			return w.Put(ctx, "servers", []backup.Record{record("b", `{"id":"b"}`)})
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, before, tree(t, s.Path))
		require.Empty(t, beside(t, s))
	}
}

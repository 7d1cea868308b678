package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/seal"
	"github.com/tomo-project/backup/internal/testtime"
)

var (
	identities = []backup.Identity{testKey("k")}
	kinds      = []error{backup.ErrDamaged, backup.ErrFormat, backup.ErrForeign, backup.ErrTooNew, backup.ErrNoKey, backup.ErrWrongKey, backup.ErrInvalid, backup.ErrDangling, backup.ErrLimit}
)

func kindOf(err error) error {
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return nil
}

// homelabFile is the snapshot of homelabStore.
func homelabFile(t testing.TB) string {
	t.Helper()
	var file bytes.Buffer
	_, err := homelab().Backup(t.Context(), &file, homelabStore(), backup.BackupOptions{Recipients: sealed, CreatedAt: at})
	require.NoError(t, err)
	return file.String()
}

// other is what a host has before a restore.
func other() backuptest.MapStore {
	return backuptest.MapStore{"servers": {"s9": `{"id":"s9","name":"mine"}`}, "applications": {}, "settings": {"theme": `"light"`}, "users": {}, "logs": {}}
}

// restored opens a file and restores it over what a host has. If that fails, the
// host must be as it was, and no secret may be in the error.
func restored(t testing.TB, r io.Reader, opts backup.OpenOptions, how backup.RestoreOptions) (backuptest.MapStore, error) {
	t.Helper()
	host := other()
	s, err := backup.OpenSnapshot(t.Context(), r, opts)
	if err == nil {
		defer s.Close()
		_, err = homelab().Restore(t.Context(), s, host, how)
	}
	if err != nil {
		require.Equal(t, other(), host)
		for _, secret := range []string{"hunter22", "t0ken-of-a1", "mail-pass", "MARKED"} {
			require.NotContains(t, err.Error(), secret)
		}
	}
	return host, err
}

func restoredText(t testing.TB, file string) (backuptest.MapStore, error) {
	t.Helper()
	return restored(t, strings.NewReader(file), backup.OpenOptions{Identities: identities}, backup.RestoreOptions{Strategy: backup.Replace})
}

var digest = regexp.MustCompile(`(?s)^(.*\n)("integrity":\{"sha256":")[0-9a-f]{64}(".*)$`)

// resummed returns an altered file with the digest that fits.
func resummed(t testing.TB, file string) string {
	m := digest.FindStringSubmatch(file)
	require.NotNil(t, m)
	return fmt.Sprintf("%s%s%x%s", m[1], m[2], sha256.Sum256([]byte(m[1])), m[3])
}

func TestASnapshotRestoresWhatWasBackedUp(t *testing.T) {
	file := homelabFile(t)
	onDisk, err := os.Create(filepath.Join(t.TempDir(), "snapshot"))
	require.NoError(t, err)
	defer onDisk.Close()
	_, err = onDisk.WriteString("something before" + file)
	require.NoError(t, err)
	_, err = onDisk.Seek(int64(len("something before")), io.SeekStart)
	require.NoError(t, err)
	pipe, w, err := os.Pipe()
	require.NoError(t, err)
	go func() { io.WriteString(w, file); w.Close() }()
	want := homelabStore()
	want["logs"] = map[string]string{} // is optional
	for name, r := range map[string]io.Reader{
		"memory":              bytes.NewReader([]byte(file)),
		"a file at an offset": onDisk,
		"a stream":            struct{ io.Reader }{strings.NewReader(file)},
		"byte by byte":        iotest.OneByteReader(strings.NewReader(file)),
		"error with the data": iotest.DataErrReader(strings.NewReader(file)),
		"a pipe":              pipe,
	} {
		t.Run(name, func(t *testing.T) {
			host, err := restored(t, r, backup.OpenOptions{Identities: identities, TempDir: t.TempDir()}, backup.RestoreOptions{Strategy: backup.Replace})
			require.NoError(t, err)
			require.Equal(t, want, host)
		})
	}
}

func TestATruncatedFileIsRefusedAtEveryLength(t *testing.T) {
	file := homelabFile(t)
	for n := range file {
		_, err := restoredText(t, file[:n])
		require.ErrorIs(t, err, backup.ErrDamaged, "%d bytes", n)
		_, err = restored(t, iotest.HalfReader(strings.NewReader(file[:n])), backup.OpenOptions{Identities: identities}, backup.RestoreOptions{})
		require.ErrorIs(t, err, backup.ErrDamaged, "%d bytes", n)
	}
}

func TestAFlippedBitIsNoticedAtEveryByte(t *testing.T) {
	testtime.NotForRace(t)
	file := []byte(homelabFile(t))
	step := testtime.Every(t, 7)
	for i := 0; i < len(file); i += step {
		for bit := range 8 {
			file[i] ^= 1 << bit
			_, err := restored(t, bytes.NewReader(file), backup.OpenOptions{Identities: identities}, backup.RestoreOptions{})
			require.NotNil(t, kindOf(err), "byte %d, bit %d: %v", i, bit, err)
			file[i] ^= 1 << bit
		}
	}
}

func TestRandomBytesAreRefused(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	file := homelabFile(t)
	for range 300 {
		b := make([]byte, random.IntN(2000))
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		_, err := restored(t, bytes.NewReader(b), backup.OpenOptions{Identities: identities}, backup.RestoreOptions{})
		require.NotNil(t, kindOf(err))
		i := random.IntN(len(file))
		_, err = restored(t, strings.NewReader(file[:i]+string(b)+file[min(len(file), i+len(b)):]+"x"), backup.OpenOptions{Identities: identities}, backup.RestoreOptions{})
		require.NotNil(t, kindOf(err))
	}
}

const plainHead = `{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application":"homelab","application_version":"2.1.0",`

func TestWhatIsNotASnapshotForThisHostIsRefused(t *testing.T) {
	head := func(old, new string) string {
		require.Contains(t, plainHead, old)
		return strings.Replace(plainHead, old, new, 1) + `"data":{}}`
	}
	data := func(text string) string { return plainHead + `"data":{` + text + `}}` }
	deep := strings.Repeat(`{"a":[`, 500_000)
	for name, c := range map[string]struct {
		file    string
		kind    error
		message string
	}{
		"empty":                        {"", backup.ErrDamaged, "the file is empty"},
		"another app":                  {head(`"homelab"`, `"nextcloud"`), backup.ErrForeign, `it is of "nextcloud", this is homelab`},
		"an app without a name":        {head(`"homelab"`, `""`), backup.ErrFormat, "application"},
		"format 1.1":                   {head(`"1.0"`, `"1.1"`), backup.ErrTooNew, `format "1.1", this build reads format 1.0`},
		"format 2.0":                   {head(`"1.0"`, `"2.0"`), backup.ErrTooNew, `format "2.0", this build reads format 1.0`},
		"format 2.0 that we cannot":    {`{"version":"2.0",` + "\xff\x00", backup.ErrTooNew, "2.0"},
		"format 0.9":                   {head(`"1.0"`, `"0.9"`), backup.ErrFormat, `format "0.9", this build reads format 1.0`},
		"format 1":                     {head(`"1.0"`, `"1"`), backup.ErrFormat, `"1"`},
		"format as a number":           {head(`"1.0"`, `1.0`), backup.ErrFormat, `member "version" is not a string`},
		"format null":                  {head(`"1.0"`, `null`), backup.ErrFormat, `member "version" is not a string`},
		"version is not first":         {`{"created_at":"2024-01-15T10:30:00Z","version":"1.0","application_version":"2.1.0","data":{}}`, backup.ErrFormat, "first member"},
		"newer schema":                 {plainHead + `"schema_version":2,"data":{}}`, backup.ErrTooNew, "install 2.1.0 or newer"},
		"schema version 0":             {plainHead + `"schema_version":0,"data":{}}`, backup.ErrFormat, "schema_version"},
		"schema version 1.5":           {plainHead + `"schema_version":1.5,"data":{}}`, backup.ErrFormat, "schema_version"},
		"schema version text":          {plainHead + `"schema_version":"1","data":{}}`, backup.ErrFormat, "schema_version"},
		"schema version beyond int":    {plainHead + `"schema_version":99999999999999999999,"data":{}}`, backup.ErrTooNew, "schema version"},
		"newer app":                    {head(`"2.1.0"`, `"2.2.0"`), backup.ErrTooNew, "install 2.2.0 or newer"},
		"app version is none":          {head(`"2.1.0"`, `"two"`), backup.ErrFormat, "semantic version"},
		"time with one digit":          {head(`T10:30:00Z`, `T1:30:00Z`), backup.ErrFormat, "created_at"},
		"time with a comma":            {head(`10:30:00Z`, `10:30:00,5Z`), backup.ErrFormat, "created_at"},
		"header nested too deep":       {head(`"2.1.0",`, `"2.1.0","metadata":{"a":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`},`), backup.ErrLimit, "32 levels"},
		"too many values in a record":  {data(`"users":[{"id":1,"x":[0` + strings.Repeat(",0", 100_000) + `]}]`), backup.ErrLimit, "values"},
		"time is none":                 {head(`2024-01-15T10:30:00Z`, `yesterday`), backup.ErrFormat, "created_at"},
		"no members":                   {`{}`, backup.ErrFormat, `member "data" is missing`},
		"no data":                      {strings.TrimSuffix(plainHead, ",") + "}", backup.ErrFormat, `member "data" is missing`},
		"null for a member":            {plainHead + `"metadata":null,"data":{}}`, backup.ErrFormat, "null"},
		"null in metadata":             {plainHead + `"metadata":{"a":null},"data":{}}`, backup.ErrFormat, "null"},
		"null for data":                {plainHead + `"data":null}`, backup.ErrFormat, "data"},
		"unknown member":               {plainHead + `"data":{},"integrety":{}}`, backup.ErrFormat, `unknown member "integrety"`},
		"unknown in encryption":        {plainHead + `"encryption":{"x":1},"data":{}}`, backup.ErrFormat, "encryption"},
		"metadata of numbers":          {plainHead + `"metadata":{"a":1},"data":{}}`, backup.ErrFormat, "metadata"},
		"unknown cipher":               {plainHead + `"encryption":{"cipher":"rot13"},"data":{}}`, backup.ErrFormat, "rot13"},
		"too many wrapped keys":        {plainHead + `"encryption":{"cipher":"xchacha20-poly1305","keys":[` + strings.Repeat("{},", 16) + `{}]},"data":{}}`, backup.ErrLimit, "17 wrapped keys"},
		"unknown collection":           {data(`"x":[]`), backup.ErrInvalid, `"x"`},
		"another shape":                {data(`"users":{}`), backup.ErrInvalid, "another shape"},
		"a record twice":               {data(`"users":[{"id":"1"},{"id":1}]`), backup.ErrInvalid, "same key"},
		"a record without its key":     {data(`"users":[{"ID":1}]`), backup.ErrInvalid, "key is missing"},
		"a reference to nothing":       {data(`"servers":[{"id":"a","name":"n","parent":"b"}]`), backup.ErrDangling, `"b"`},
		"a member of a map twice":      {data(`"settings":{"a":1,"\u0061":1}`), backup.ErrDamaged, "duplicate"},
		"a collection twice":           {data(`"users":[],"users":[]`), backup.ErrDamaged, "duplicate"},
		"a header member twice":        {plainHead + `"data":{},"\u0064ata":{}}`, backup.ErrDamaged, "duplicate"},
		"a name twice, deep":           {data(`"users":[{"id":1,"x":[{"a":1,"\u0061":2}]}]`), backup.ErrDamaged, "duplicate"},
		"a name twice in metadata":     {plainHead + `"metadata":{"a":"1","a":"2"},"data":{}}`, backup.ErrDamaged, "duplicate"},
		"a record is no object":        {data(`"users":[1]`), backup.ErrFormat, "not an object"},
		"a collection is no container": {data(`"users":1`), backup.ErrFormat, "neither"},
		"a million deep":               {data(`"users":[{"id":1,"x":` + deep), backup.ErrLimit, "at byte"},
		"a million deep in metadata":   {plainHead + `"metadata":` + deep, backup.ErrLimit, "at byte"},
		"a million deep from the top":  {strings.Repeat("[", 1_000_000), backup.ErrFormat, "not an object"},
		"NaN":                          {data(`"settings":{"a":NaN}`), backup.ErrDamaged, "at byte"},
		"Infinity":                     {data(`"settings":{"a":-Infinity}`), backup.ErrDamaged, "at byte"},
		"1e99999999":                   {data(`"settings":{"a":1e99999999}`), backup.ErrLimit, "exponent"},
		"invalid UTF-8":                {data("\"settings\":{\"a\":\"\xc3(\"}"), backup.ErrDamaged, "UTF-8"},
		"a lone surrogate":             {data(`"settings":{"a":"\ud83dx"}`), backup.ErrDamaged, "at byte"},
		"a byte order mark":            {"\ufeff" + data(""), backup.ErrDamaged, "at byte 0"},
		"UTF-16":                       {"\xff\xfe{\x00\"\x00", backup.ErrDamaged, "at byte 0"},
		"something behind it":          {data("") + "x", backup.ErrDamaged, "follows the end"},
		"another document behind it":   {data("") + "\n" + data(""), backup.ErrDamaged, "follows the end"},
		"a web page":                   {"<!DOCTYPE html>", backup.ErrDamaged, "at byte 0"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := restoredText(t, c.file)
			require.ErrorIs(t, err, c.kind)
			require.ErrorContains(t, err, c.message)
			require.Less(t, len(err.Error()), 1000)
		})
	}
}

func TestADocumentWrittenByHandIsRestoredWithWarnings(t *testing.T) {
	const guide = `{
  "version": "1.0",
  "created_at": "2024-01-15T12:30:00+02:00",
  "application_version": "2.1.0",
  "data": {
    "servers": [ { "id": "s1", "name": "nas", "port": 22 } ],
    "settings": { "theme" : "dark" },
    "users": [
      { "id" : 7,
        "name" : "a\u2028\/" }
    ]
  }
}
`
	members := `{"version":"1.0","data":{"users":[{"id":7}]},"metadata":{"by":"hand"},"schema_version":1,"application_version":"2.1","created_at":"2024-01-15T10:30:00Z"}`
	for name, c := range map[string]struct {
		file string
		user string
	}{
		"as the guide prints it": {guide, `{"id":7,"name":"a\u2028\/"}`},
		"members in any order":   {members, `{"id":7}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := opened(t, c.file)
			require.Equal(t, at, s.Manifest().CreatedAt)
			require.EqualValues(t, len(c.file), s.Manifest().Bytes)
			require.Empty(t, s.Manifest().SHA256)
			require.Equal(t, 1, s.Manifest().SchemaVersion)
			host := other()
			report, err := homelab().Restore(t.Context(), s, host, backup.RestoreOptions{})
			require.NoError(t, err)
			require.Contains(t, strings.Join(report.Warnings, "\n"), "does not say which application")
			require.Contains(t, strings.Join(report.Warnings, "\n"), "no integrity information")
			require.Equal(t, c.user, host["users"]["7"])
		})
	}
}

func TestValuesSurviveToTheByte(t *testing.T) {
	app := &backup.App{Name: "homelab", Version: "2.1.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "settings", Shape: backup.Map, Secrets: []string{"/secret"}}, {Name: "users", Key: "/id"},
	}}
	store := backuptest.MapStore{"settings": {}, "users": {}}
	for i, value := range []string{
		`9007199254740993`, `12345678901234567890`, `-0`, `0.10`, `1e400`, `1E-9999`, `1.50e+2`, strings.Repeat("9", 1024),
		`"\u0041\/\b"`, "\"\u2028\u2029\"", `"\u2028"`, `"\ud83d\ude00"`, "\"\U0001F600\"", `"\u0000"`, `"<&>"`, `{"\u0061":[],"b":{}}`, `null`, `""`,
	} {
		key := fmt.Sprintf("k%02d", i)
		store["settings"][key] = value
		store["users"][key] = `{"id":"` + key + `","v":` + value + `}`
	}
	store["settings"]["secret"] = `{"n":1.50,"s":"\u0041\/"}`
	store["settings"]["a\"\\\n\u2028/~"] = `1`
	store["users"]["12345678901234567891"] = `{"id":12345678901234567891}`
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, store, backup.BackupOptions{Recipients: sealed})
	require.NoError(t, err)
	host := backuptest.MapStore{"settings": {}, "users": {}}
	report, err := app.Restore(t.Context(), opened(t, file.String()), host, backup.RestoreOptions{})
	require.NoError(t, err)
	require.Empty(t, report.Warnings)
	require.Equal(t, store, host)
}

// A huge input is much larger than memory, and takes none.
type huge struct {
	before string
	fill   byte
	peak   *uint64
}

const hugeSize = 2 << 30

func (h huge) ReadAt(p []byte, off int64) (int, error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	*h.peak = max(*h.peak, m.HeapAlloc)
	p[0] = h.fill
	for n := 1; n < len(p); n *= 2 {
		copy(p[n:], p[:n])
	}
	if off < int64(len(h.before)) {
		copy(p, h.before[off:])
	}
	return len(p), nil
}

func TestTwoGigabytesInOnePlaceAreRefusedInLittleMemory(t *testing.T) {
	testtime.NotForRace(t)
	for name, c := range map[string]struct {
		before string
		fill   byte
	}{
		"string in a record":           {plainHead + `"data":{"users":[{"id":"`, 'x'},
		"name in a record":             {plainHead + `"data":{"users":[{"`, 'x'},
		"key of a map":                 {plainHead + `"data":{"settings":{"`, 'x'},
		"value of a map":               {plainHead + `"data":{"settings":{"a":"`, 'x'},
		"number":                       {plainHead + `"data":{"settings":{"a":1`, '1'},
		"name of a collection":         {plainHead + `"data":{"`, 'x'},
		"name of a member":             {plainHead + `"`, 'x'},
		"string of the header":         {plainHead + `"metadata":{"a":"`, 'x'},
		"version":                      {`{"version":"`, 'x'},
		"name in the header":           {plainHead + `"metadata":{"`, 'x'},
		"white space before all":       {"", ' '},
		"white space before a member":  {plainHead, ' '},
		"white space in the header":    {plainHead + `"metadata":`, '\n'},
		"white space before a record":  {plainHead + `"data":{"users":[`, ' '},
		"white space in a record":      {plainHead + `"data":{"users":[{`, '\t'},
		"white space between":          {plainHead + `"data":{"users":[]`, ' '},
		"white space behind all":       {plainHead + `"data":{}}`, ' '},
		"white space behind integrity": {plainHead + `"data":{},"integrity":{}`, '\n'},
		"zeros behind all":             {plainHead + `"data":{}}`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var before runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var peak uint64
			_, err := restored(t, io.NewSectionReader(huge{c.before, c.fill, &peak}, 0, hugeSize), backup.OpenOptions{}, backup.RestoreOptions{})
			if c.fill == 0 {
				require.ErrorIs(t, err, backup.ErrDamaged)
			} else {
				require.ErrorIs(t, err, backup.ErrLimit)
			}
			require.Less(t, len(err.Error()), 500)
			require.Less(t, peak, before.HeapAlloc+192<<20)
		})
	}
	t.Run("stream", func(t *testing.T) {
		dir := t.TempDir()
		var peak uint64
		in := io.NewSectionReader(huge{plainHead + `"data":{"users":[{"id":"`, 'x', &peak}, 0, hugeSize)
		_, err := restored(t, struct{ io.Reader }{in}, backup.OpenOptions{TempDir: dir}, backup.RestoreOptions{})
		require.ErrorIs(t, err, backup.ErrLimit)
		read, err := in.Seek(0, io.SeekCurrent)
		require.NoError(t, err)
		require.Less(t, read, int64(64<<20), "what is refused is not copied to the disk first")
	})
}

func TestLimitsCanBeSet(t *testing.T) {
	file := plainHead + `"data":{"users":[{"id":1,"a":[[1]]},{"id":2},{"id":3}]}}`
	for name, l := range map[string]backup.Limits{
		"records": {Records: 2}, "depth": {Depth: 2}, "record": {RecordBytes: 16}, "total": {TotalBytes: int64(len(file)) - 1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := restored(t, strings.NewReader(file), backup.OpenOptions{Limits: l}, backup.RestoreOptions{})
			require.ErrorIs(t, err, backup.ErrLimit)
			_, err = restored(t, iotest.OneByteReader(strings.NewReader(file)), backup.OpenOptions{Limits: l}, backup.RestoreOptions{})
			require.ErrorIs(t, err, backup.ErrLimit)
		})
	}
	for name, l := range map[string]backup.Limits{
		"just enough": {Records: 3, Depth: 3, RecordBytes: 18, TotalBytes: int64(len(file))},
		"none":        {Records: math.MaxInt64, Depth: math.MaxInt, RecordBytes: math.MaxInt, TotalBytes: math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(file), iotest.OneByteReader(strings.NewReader(file))} {
				_, err := restored(t, r, backup.OpenOptions{Limits: l}, backup.RestoreOptions{})
				require.NoError(t, err)
			}
		})
	}
}

func TestAnyDepthThatIsAllowedCanBeRestored(t *testing.T) {
	app := &backup.App{Name: "homelab", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{list("users")}}
	l := backup.Limits{Depth: 1_000_000}
	write := func(depth int) (string, error) {
		var file bytes.Buffer
		_, err := app.Backup(t.Context(), &file, backuptest.MapStore{"users": {"1": `{"id":1,"x":` + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1) + `}`}}, backup.BackupOptions{Limits: l})
		return file.String(), err
	}
	file, err := write(9_000)
	require.NoError(t, err)
	s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(file), backup.OpenOptions{Limits: l})
	require.NoError(t, err)
	_, err = app.Restore(t.Context(), s, backuptest.MapStore{"users": {}}, backup.RestoreOptions{})
	require.NoError(t, err)
	for _, depth := range []int{9_001, 10_001, 100_000} {
		_, err = write(depth)
		require.ErrorIs(t, err, backup.ErrInvalid)
		require.ErrorIs(t, err, backup.ErrLimit)
	}
}

// crowd is a snapshot of more than is read at once.
func crowd(t testing.TB) []byte {
	var b strings.Builder
	b.WriteString(plainHead + `"data":{"users":[`)
	for i := range 30_000 {
		fmt.Fprintf(&b, `{"id":%d,"name":"somebody in the crowd"},`, i)
	}
	b.WriteString(`{"id":"last"}]}}`)
	return []byte(b.String())
}

func TestAFileThatChangesAfterItWasOpenedIsRefused(t *testing.T) {
	file := []byte(homelabFile(t))
	refused := 0
	for i := bytes.Index(file, []byte(`"data"`)); i < bytes.Index(file, []byte(`"integrity"`)); i++ {
		changing := bytes.Clone(file)
		s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(changing), backup.OpenOptions{Identities: identities})
		require.NoError(t, err)
		changing[i] = ' '
		if file[i] == ' ' {
			changing[i] = '"'
		}
		host := other()
		_, err = homelab().Restore(t.Context(), s, host, backup.RestoreOptions{Strategy: backup.Replace})
		if err == nil {
			continue // between collections: nothing was read from there
		}
		refused++
		require.ErrorIs(t, err, backup.ErrDamaged)
		require.ErrorContains(t, err, "changed while it was read")
		require.Equal(t, other(), host)
	}
	require.Greater(t, refused, 500)
}

func TestAFileThatChangesDuringTheRestoreChangesNothing(t *testing.T) {
	for name, change := range map[string]func(file []byte){
		"altered":      func(file []byte) { file[len(file)-8] = 'L' },
		"overwritten":  func(file []byte) { clear(file) },
		"white spaced": func(file []byte) { copy(file, bytes.ReplaceAll(file, []byte(`,"name"`), []byte(`, "nam"`))) },
	} {
		t.Run(name, func(t *testing.T) {
			file := crowd(t)
			s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file), backup.OpenOptions{})
			require.NoError(t, err)
			host := other()
			sink := &backuptest.Faulty{Sink: host, On: backuptest.CallPut, Nth: 2, Do: func() { change(file) }}
			_, err = homelab().Restore(t.Context(), s, sink, backup.RestoreOptions{})
			require.True(t, sink.Reached())
			require.ErrorIs(t, err, backup.ErrDamaged)
			require.Equal(t, other(), host)
		})
	}
}

// A broken disk fails at a read and at every later one.
type brokenDisk struct {
	*bytes.Reader
	reads, good int
	do          func()
}

var errDisk = errors.New("input/output error")

func (d *brokenDisk) ReadAt(p []byte, off int64) (int, error) {
	if d.reads++; d.reads > d.good {
		if d.do == nil {
			return 0, errDisk
		}
		d.do()
	}
	return d.Reader.ReadAt(p, off)
}

func TestADiskThatFailsIsNotTakenForADamagedSnapshot(t *testing.T) {
	file := crowd(t)
	for good, done := 0, false; !done; good++ {
		host := other()
		disk := &brokenDisk{Reader: bytes.NewReader(file), good: good}
		s, err := backup.OpenSnapshot(t.Context(), disk, backup.OpenOptions{})
		if err == nil {
			_, err = homelab().Restore(t.Context(), s, host, backup.RestoreOptions{})
		}
		if done = err == nil; done {
			require.Greater(t, good, 3)
			break
		}
		require.ErrorIs(t, err, errDisk)
		require.Nil(t, kindOf(err), "%v", err)
		require.Equal(t, other(), host)
	}
	for _, n := range []int{0, 1, 12, 300, len(file) - 1, len(file)} {
		_, err := restored(t, io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(errDisk)), backup.OpenOptions{}, backup.RestoreOptions{})
		require.ErrorIs(t, err, errDisk)
		require.Nil(t, kindOf(err), "%v", err)
	}
	broken := errors.New("no such place")
	_, err := restored(t, noSeek{bytes.NewReader(file), broken}, backup.OpenOptions{}, backup.RestoreOptions{})
	require.ErrorIs(t, err, broken)
}

// noSeek knows where it is and cannot go to its end.
type noSeek struct {
	*bytes.Reader
	err error
}

func (s noSeek) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		return 0, s.err
	}
	return s.Reader.Seek(offset, whence)
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestOpeningCanBeCancelledAtEveryStage(t *testing.T) {
	file := crowd(t)
	t.Run("before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := backup.OpenSnapshot(ctx, bytes.NewReader(file), backup.OpenOptions{})
		require.ErrorIs(t, err, context.Canceled)
	})
	for good, done := 0, false; !done; good++ {
		ctx, cancel := context.WithCancel(t.Context())
		disk := &brokenDisk{Reader: bytes.NewReader(file), good: good, do: cancel}
		s, err := backup.OpenSnapshot(ctx, disk, backup.OpenOptions{})
		if done = err == nil; done {
			s.Close()
			cancel()
			break
		}
		require.ErrorIs(t, err, context.Canceled)
		require.Nil(t, kindOf(err))
	}
	for good, done := 0, false; !done; good++ {
		ctx, cancel := context.WithCancel(t.Context())
		left, in := good, bytes.NewReader(file)
		s, err := backup.OpenSnapshot(ctx, readerFunc(func(p []byte) (int, error) {
			if left--; left < 0 {
				cancel()
			}
			return in.Read(p[:min(len(p), 10_000)])
		}), backup.OpenOptions{TempDir: t.TempDir()})
		if done = err == nil; done {
			s.Close()
			cancel()
			break
		}
		require.ErrorIs(t, err, context.Canceled)
		require.Nil(t, kindOf(err))
	}
	t.Run("progress", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var seen []backup.Progress
		_, err := backup.OpenSnapshot(ctx, bytes.NewReader(file), backup.OpenOptions{Progress: func(p backup.Progress) { seen = append(seen, p); cancel() }})
		require.ErrorIs(t, err, context.Canceled)
		require.Len(t, seen, 1)
		require.Equal(t, "read", seen[0].Phase)
		require.Equal(t, "users", seen[0].Collection)
		require.EqualValues(t, len(file), seen[0].Total)
	})
	t.Run("between keys", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := backup.OpenSnapshot(ctx, strings.NewReader(homelabFile(t)), backup.OpenOptions{Identities: []backup.Identity{identityFunc(func(json.RawMessage) ([]byte, error) {
			cancel()
			return nil, backup.ErrWrongKey
		}), testKey("k")}})
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("records", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := opened(t, homelabFile(t))
		cancel()
		require.ErrorIs(t, s.View(ctx, func(r backup.Reader) error {
			for _, err := range r.Records(ctx, "users") {
				return err
			}
			return nil
		}), context.Canceled)
	})
}

type identityFunc func(json.RawMessage) ([]byte, error)

func (f identityFunc) Unwrap(wrapped json.RawMessage) ([]byte, error) { return f(wrapped) }

func TestTheTemporaryCopyIsGoneWhateverHappens(t *testing.T) {
	file := homelabFile(t)
	dir := t.TempDir()
	empty := func() {
		t.Helper()
		found, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, found)
	}
	s, err := backup.OpenSnapshot(t.Context(), iotest.OneByteReader(strings.NewReader(file)), backup.OpenOptions{TempDir: dir})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	empty()
	for _, r := range []io.Reader{strings.NewReader(file[:len(file)/2]), strings.NewReader("x"), iotest.ErrReader(errDisk), strings.NewReader(strings.Replace(file, "1.0", "2.0", 1))} {
		_, err := backup.OpenSnapshot(t.Context(), struct{ io.Reader }{r}, backup.OpenOptions{TempDir: dir})
		require.Error(t, err)
		empty()
	}
	_, err = backup.OpenSnapshot(t.Context(), struct{ io.Reader }{strings.NewReader(file)}, backup.OpenOptions{TempDir: dir, Identities: []backup.Identity{testKey("other")}})
	require.ErrorIs(t, err, backup.ErrWrongKey)
	empty()
}

func TestAPlaceForTheTemporaryCopyThatIsNoneIsNamed(t *testing.T) {
	in := struct{ io.Reader }{strings.NewReader(homelabFile(t))}
	missing := filepath.Join(t.TempDir(), "missing")
	_, err := restored(t, in, backup.OpenOptions{TempDir: missing}, backup.RestoreOptions{})
	require.NotErrorIs(t, err, fs.ErrNotExist, "the backup is there")
	require.ErrorContains(t, err, missing)
	require.ErrorContains(t, err, "temporary copy")
	require.ErrorContains(t, err, "set TempDir to a folder that exists")
}

func TestATemporaryCopyThatMayNotBeMadeSaysWhatToDo(t *testing.T) {
	in := struct{ io.Reader }{strings.NewReader(homelabFile(t))}
	closed := filepath.Join(t.TempDir(), "closed")
	require.NoError(t, os.Mkdir(closed, 0o500))
	if f, err := os.Create(filepath.Join(closed, "x")); err == nil {
		f.Close()
		t.Skip("permissions do not hold for this user")
	}
	_, err := restored(t, in, backup.OpenOptions{TempDir: closed}, backup.RestoreOptions{})
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ErrorContains(t, err, "check write permissions")
}

func TestAWrongKeyIsToldBeforeAnythingElse(t *testing.T) {
	file := homelabFile(t)
	_, err := restored(t, strings.NewReader(file), backup.OpenOptions{Identities: []backup.Identity{testKey("other"), testKey("another")}}, backup.RestoreOptions{})
	require.ErrorIs(t, err, backup.ErrWrongKey)
	host, err := restored(t, strings.NewReader(file), backup.OpenOptions{Identities: []backup.Identity{testKey("other"), testKey("k")}}, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	require.Equal(t, homelabStore()["servers"], host["servers"])
}

func TestAKeyIsNeededOnlyForSecrets(t *testing.T) {
	file := homelabFile(t)
	_, err := restored(t, strings.NewReader(file), backup.OpenOptions{}, backup.RestoreOptions{})
	require.ErrorIs(t, err, backup.ErrNoKey)
	host, err := restored(t, strings.NewReader(file), backup.OpenOptions{}, backup.RestoreOptions{Only: []string{"users"}})
	require.NoError(t, err)
	require.Equal(t, homelabStore()["users"], host["users"])
	host, err = restored(t, strings.NewReader(plainHead+`"data":{"users":[{"id":1}]}}`), backup.OpenOptions{}, backup.RestoreOptions{})
	require.NoError(t, err)
	require.Len(t, host["users"], 1)
}

func TestASealedValueOpensInItsPlaceOnly(t *testing.T) {
	store := homelabStore()
	store["servers"]["s2"] = `{"id":"s2","name":"pi","password":"hunter22"}`
	store["applications"]["a1"] = `{"id":"a1","name":"jellyfin","env":{"A":"same","B":"same"}}`
	var file, again bytes.Buffer
	for _, out := range []*bytes.Buffer{&file, &again} {
		_, err := homelab().Backup(t.Context(), out, store, backup.BackupOptions{Recipients: sealed, CreatedAt: at})
		require.NoError(t, err)
	}
	values := regexp.MustCompile(`\{"\$sealed":"[^"]*"\}`)
	places := values.FindAllStringIndex(file.String(), -1)
	require.Len(t, places, 5)
	for _, to := range places {
		with := func(value string) string {
			return resummed(t, file.String()[:to[0]]+value+file.String()[to[1]:])
		}
		for _, from := range places {
			if from[0] != to[0] {
				_, err := restoredText(t, with(file.String()[from[0]:from[1]]))
				require.ErrorIs(t, err, backup.ErrDamaged)
				require.ErrorContains(t, err, "does not open")
			}
		}
		for _, value := range append(values.FindAllString(again.String(), -1),
			`"MARKED"`, `null`, `{}`, `{"$sealed":"MARKED"}`, `{"$sealed":""}`, `{"$sealed":null}`, `{"$sealed":"","x":1}`, `[{"$sealed":""}]`) {
			_, err := restoredText(t, with(value))
			require.ErrorIs(t, err, backup.ErrDamaged, value)
		}
	}
}

func TestAnAlteredHeaderIsNoticedByWhoHasTheKey(t *testing.T) {
	file := homelabFile(t)
	for name, c := range map[string][2]string{
		"a secret taken off":         {`"secrets":["/password"]`, `"secrets":["/passwore"]`},
		"a secret added":             {`"secrets":["/password"]`, `"secrets":["/password","/name"]`},
		"no secret left":             {`"secrets":["/password"]`, `"secrets":[]`},
		"another key":                {`{"key":"/id","secrets":["/password"]}`, `{"key":"/name","secrets":["/password"]}`},
		"a collection taken off":     {`"servers":{"key":"/id","secrets":["/password"]},`, ``},
		"a collection renamed":       {`"servers":{"key":`, `"servere":{"key":`},
		"a collection added":         {`"fields":{`, `"fields":{"users":{"key":"/id","secrets":["/name"]},`},
		"another check":              {`"check":"`, `"check":"AAAA`},
		"schema version":             {`"schema_version":1`, `"schema_version":2`},
		"no application":             {"\"application\":\"homelab\",\n", ""},
		"another id":                 {`"id":"`, `"id":"AAAA`},
		"no id":                      {`"id":"`, `"id":"","x":"`},
		"members that do not belong": {`"check":"`, `"x":1,"check":"`},
	} {
		t.Run(name, func(t *testing.T) {
			i := strings.Index(file, `"encryption"`)
			altered := strings.Replace(file[:i], c[0], c[1], 1) + strings.Replace(file[i:], c[0], c[1], 1)
			require.NotEqual(t, file, altered)
			_, err := restoredText(t, resummed(t, altered))
			require.Contains(t, []error{backup.ErrDamaged, backup.ErrFormat}, kindOf(err), "%v", err)
		})
	}
}

// forged returns a snapshot by somebody who has the key and does not keep to
// the format.
func forged(t testing.TB, collection string, fields seal.Fields, value func(*seal.Box) string) string {
	key, id := seal.NewKey(), seal.NewID()
	box, err := seal.NewBox(key, id)
	require.NoError(t, err)
	wrapped, err := testKey("k").Wrap(key)
	require.NoError(t, err)
	all := map[string]seal.Fields{collection: fields}
	encryption, err := json.Marshal(map[string]any{"cipher": "xchacha20-poly1305", "id": id, "fields": all, "keys": []json.RawMessage{wrapped}, "check": box.Check("homelab", 1, all)})
	require.NoError(t, err)
	return plainHead + `"encryption":` + string(encryption) + `,"data":{"` + collection + `":` + value(box) + `}}`
}

func TestAHostileKeyHolderIsRefusedToo(t *testing.T) {
	sealedAt := func(collection, key, pointer, plain string) func(*seal.Box) string {
		return func(b *seal.Box) string {
			value := `{"$sealed":"` + string(b.Seal(nil, []byte(plain), collection, key, pointer)) + `"}`
			if collection == "settings" {
				return `{"` + key + `":` + value + `}`
			}
			return `[{"id":"` + key + `","name":"n","password":` + value + `}]`
		}
	}
	list := func(secrets ...string) seal.Fields { return seal.Fields{Key: "/id", Secrets: secrets} }
	for name, c := range map[string]struct {
		collection string
		fields     seal.Fields
		value      func(*seal.Box) string
		kind       error
	}{
		"good":                      {"servers", list("/password"), sealedAt("servers", "a", "/password", `"hunter22"`), nil},
		"not JSON":                  {"servers", list("/password"), sealedAt("servers", "a", "/password", `{"MARKED`), backup.ErrDamaged},
		"nothing":                   {"servers", list("/password"), sealedAt("servers", "a", "/password", ``), backup.ErrDamaged},
		"two values":                {"servers", list("/password"), sealedAt("servers", "a", "/password", `"MARKED" 1`), backup.ErrDamaged},
		"more members":              {"servers", list("/password"), sealedAt("servers", "a", "/password", `1,"id":"MARKED"`), backup.ErrDamaged},
		"a name twice":              {"servers", list("/password"), sealedAt("servers", "a", "/password", `{"a":1,"a":2}`), backup.ErrDamaged},
		"too deep":                  {"servers", list("/password"), sealedAt("servers", "a", "/password", strings.Repeat("[", 200)+strings.Repeat("]", 200)), backup.ErrDamaged},
		"not what the schema wants": {"servers", list("/password"), sealedAt("servers", "a", "/password", `{"MARKED":1}`), backup.ErrInvalid},
		"too short for the schema":  {"servers", list("/password"), sealedAt("servers", "a", "/password", `"MAR"`), backup.ErrInvalid},
		"white space":               {"servers", list("/password"), sealedAt("servers", "a", "/password", ` "hunter22" `), nil},
		"white space in a map":      {"settings", seal.Fields{Secrets: []string{"/x"}}, sealedAt("settings", "x", "/x", ` { "a" : [ 1 ] } `), nil},
		"a whole record": {"servers", list(""), func(b *seal.Box) string {
			return `[{"$sealed":"` + string(b.Seal(nil, []byte("1"), "servers", "", "")) + `"}]`
		}, backup.ErrFormat},
		"a whole map record": {"settings", seal.Fields{Secrets: []string{""}}, sealedAt("settings", "$sealed", "", "1"), backup.ErrFormat},
		"the view of a map record": {"settings", seal.Fields{Secrets: []string{""}}, func(b *seal.Box) string {
			return `{"$sealed":"` + string(b.Seal(nil, []byte("1"), "settings", "$sealed", "")) + `"}`
		}, backup.ErrFormat},
		"the key":                    {"servers", list("/id"), sealedAt("servers", "a", "/password", "1"), backup.ErrFormat},
		"any member":                 {"servers", list("/*"), sealedAt("servers", "a", "/password", "1"), backup.ErrFormat},
		"one inside the other":       {"servers", list("/password", "/password/x"), sealedAt("servers", "a", "/password", "1"), backup.ErrFormat},
		"the same twice":             {"servers", list("/password", "/password"), sealedAt("servers", "a", "/password", "1"), backup.ErrFormat},
		"a pointer that is none":     {"servers", list("password"), sealedAt("servers", "a", "/password", "1"), backup.ErrFormat},
		"a list without a key":       {"servers", seal.Fields{Secrets: []string{"/password"}}, sealedAt("servers", "a", "/password", "1"), backup.ErrFormat},
		"a map with a key":           {"settings", list("/x"), sealedAt("settings", "x", "/x", "1"), backup.ErrFormat},
		"a key pointer that is none": {"servers", seal.Fields{Key: "id", Secrets: []string{"/password"}}, sealedAt("servers", "a", "/password", "1"), backup.ErrFormat},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := restoredText(t, forged(t, c.collection, c.fields, c.value))
			if c.kind == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, c.kind)
			}
		})
	}
}

func TestASnapshotIsADataSource(t *testing.T) {
	s := opened(t, homelabFile(t))
	var copied bytes.Buffer
	_, err := homelab().Backup(t.Context(), &copied, s, backup.BackupOptions{Only: s.Collections(), Recipients: []backup.Recipient{testKey("new")}, CreatedAt: at})
	require.NoError(t, err)
	host, err := restored(t, &copied, backup.OpenOptions{Identities: []backup.Identity{testKey("new")}}, backup.RestoreOptions{Strategy: backup.Replace})
	require.NoError(t, err)
	want := homelabStore()
	want["logs"] = map[string]string{}
	require.Equal(t, want, host)

	require.ErrorContains(t, s.View(t.Context(), func(r backup.Reader) error {
		for _, err := range r.Records(t.Context(), "none") {
			return err
		}
		return nil
	}), `no collection "none"`)
	require.NoError(t, s.View(t.Context(), func(r backup.Reader) error {
		for rec, err := range r.Records(t.Context(), "servers") {
			require.NoError(t, err)
			require.Equal(t, "s1", rec.Key)
			break // a sequence may be abandoned
		}
		return nil
	}))
}

func TestASnapshotMayBeUsedByManyAtOnce(t *testing.T) {
	s, err := backup.OpenSnapshot(t.Context(), struct{ io.Reader }{strings.NewReader(homelabFile(t))}, backup.OpenOptions{Identities: identities, TempDir: t.TempDir()})
	require.NoError(t, err)
	defer s.Close()
	app := homelab()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			host := other()
			if _, err := app.Restore(t.Context(), s, host, backup.RestoreOptions{Strategy: backup.Replace}); err != nil {
				t.Error(err)
			}
			if host["servers"]["s1"] != homelabStore()["servers"]["s1"] {
				t.Error("not restored")
			}
			s.Manifest().Records["servers"] = 0 // a copy
			if _, err := app.Verify(t.Context(), s, backup.RestoreOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	require.EqualValues(t, 2, s.Manifest().Records["servers"])
}

func TestASnapshotThatWasClosedIsNotCalledDamaged(t *testing.T) {
	s, err := backup.OpenSnapshot(t.Context(), struct{ io.Reader }{strings.NewReader(plainHead + `"data":{"users":[{"id":1}]}}`)}, backup.OpenOptions{TempDir: t.TempDir()})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	_, err = homelab().Restore(t.Context(), s, other(), backup.RestoreOptions{})
	require.ErrorIs(t, err, os.ErrClosed)
	require.Nil(t, kindOf(err))
}

func FuzzOpenSnapshot(f *testing.F) {
	seeds, err := filepath.Glob(filepath.Join("testdata", "fuzz", "FuzzOpenSnapshot", "*"))
	require.NoError(f, err)
	require.NotEmpty(f, seeds, "the committed seeds are gone")
	app := &backup.App{Name: "tomo", Version: "2.1.0", SchemaVersion: 1, Collections: []backup.Collection{list("servers"), {Name: "settings", Shape: backup.Map}}}
	limits := backup.Limits{Records: 1000, RecordBytes: 1 << 20, TotalBytes: 1 << 22}
	empty := func() backuptest.MapStore { return backuptest.MapStore{"servers": {}, "settings": {}} }
	f.Fuzz(func(t *testing.T, file []byte) {
		s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file), backup.OpenOptions{Limits: limits})
		if err != nil {
			require.NotNil(t, kindOf(err), "%v", err)
			return
		}
		defer s.Close()
		host := empty()
		if _, err := app.Restore(t.Context(), s, host, backup.RestoreOptions{}); err != nil {
			require.NotNil(t, kindOf(err), "%v", err)
			require.Equal(t, empty(), host)
			return
		}
		var again bytes.Buffer
		_, err = app.Backup(t.Context(), &again, host, backup.BackupOptions{})
		require.NoError(t, err)
		s2, err := backup.OpenSnapshot(t.Context(), &again, backup.OpenOptions{})
		require.NoError(t, err)
		defer s2.Close()
		host2 := empty()
		_, err = app.Restore(t.Context(), s2, host2, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		require.Equal(t, host, host2)
		report, err := app.Restore(t.Context(), s, host2, backup.RestoreOptions{Strategy: backup.Replace})
		require.NoError(t, err)
		for _, c := range report.Collections {
			require.Equal(t, c.Records, c.Unchanged, "the second time changes nothing")
		}
	})
}

func TestAPipeIsPeekedInto(t *testing.T) {
	file := homelabFile(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	go func() {
		_, _ = io.WriteString(w, file)
		w.Close()
	}()
	m, err := backup.Peek(t.Context(), r, backup.OpenOptions{})
	require.NoError(t, err)
	require.Equal(t, int64(2), m.Records["servers"])
}

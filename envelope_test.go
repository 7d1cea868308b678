package backup_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/testtime"
)

var created = time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC)

// A pair is a key of age with both halves.
type pair struct {
	to   *agekey.Recipient
	from *agekey.Identity
}

func newPair(t testing.TB) pair {
	key, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	from, err := agekey.NewIdentity(key)
	require.NoError(t, err)
	to, err := from.Recipient()
	require.NoError(t, err)
	return pair{to, from}
}

// inFile backs the homelab up with opts and returns the file.
func inFile(t testing.TB, opts backup.BackupOptions) ([]byte, backup.Manifest) {
	opts.CreatedAt, opts.Include = created, []string{"logs"}
	var file bytes.Buffer
	m, err := homelab().Backup(t.Context(), &file, homelabStore(), opts)
	require.NoError(t, err)
	return file.Bytes(), m
}

func TestAFileIsWhatItWasMadeFor(t *testing.T) {
	key := newPair(t)
	for _, compress := range []backup.Compression{"", backup.Gzip, backup.Zstd} {
		for _, whole := range []bool{false, true} {
			for _, fields := range []bool{false, true} {
				if !whole && !fields {
					continue // which nothing may be
				}
				t.Run(fmt.Sprintf("%s whole %v fields %v", compress, whole, fields), func(t *testing.T) {
					opts := backup.BackupOptions{Compress: compress}
					if whole {
						opts.Encrypt = key.to
					}
					if fields {
						opts.Recipients = []backup.Recipient{key.to}
					}
					file, m := inFile(t, opts)
					require.Equal(t, compress, m.Compressed)
					require.Equal(t, whole, m.Encrypted)
					require.Equal(t, fields, m.Sealed)
					require.Equal(t, key.from.KeyIDs(), m.Keys)
					require.Equal(t, !whole && compress == "", bytes.Contains(file, []byte("homelab")), "what is encrypted shows nothing")
					require.NotContains(t, string(file), "hunter2")

					for name, r := range map[string]io.Reader{
						"in place": bytes.NewReader(file), "a stream": struct{ io.Reader }{bytes.NewReader(file)},
					} {
						opened, err := backup.OpenSnapshot(t.Context(), r, backup.OpenOptions{Identities: []backup.Identity{key.from}})
						require.NoError(t, err, name)
						got := opened.Manifest()
						require.Equal(t, m.SHA256, got.SHA256)
						require.Equal(t, m.Bytes, got.Bytes)
						require.Equal(t, compress, got.Compressed)
						require.Equal(t, whole, got.Encrypted)
						host := backuptest.MapStore{}
						for name := range homelabStore() {
							host[name] = map[string]string{}
						}
						_, err = homelab().Restore(t.Context(), opened, host, backup.RestoreOptions{})
						require.NoError(t, err, name)
						require.Equal(t, homelabStore(), host)
						require.NoError(t, opened.Close())
					}
				})
			}
		}
	}
}

func TestTheSameDataIsCompressedToTheSameBytes(t *testing.T) {
	app := homelab()
	for i := range app.Collections {
		app.Collections[i].Secrets = nil
	}
	for _, compress := range []backup.Compression{backup.Gzip, backup.Zstd} {
		var files [2]bytes.Buffer
		for i := range files {
			_, err := app.Backup(t.Context(), &files[i], homelabStore(), backup.BackupOptions{CreatedAt: created, Compress: compress})
			require.NoError(t, err)
		}
		require.Equal(t, files[0].Bytes(), files[1].Bytes(), compress)
	}
}

func TestWithoutItsKeyAnEncryptedFileSaysWhatItTakes(t *testing.T) {
	key, other := newPair(t), newPair(t)
	file, _ := inFile(t, backup.BackupOptions{Encrypt: key.to})
	_, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file), backup.OpenOptions{})
	require.ErrorIs(t, err, backup.ErrNoKey)
	_, err = backup.OpenSnapshot(t.Context(), bytes.NewReader(file), backup.OpenOptions{Identities: []backup.Identity{testKey("k")}})
	require.ErrorIs(t, err, backup.ErrNoKey, "which opens sealed secrets only")
	_, err = backup.OpenSnapshot(t.Context(), bytes.NewReader(file), backup.OpenOptions{Identities: []backup.Identity{other.from}})
	require.ErrorIs(t, err, backup.ErrWrongKey)
	_, err = backup.OpenSnapshot(t.Context(), bytes.NewReader(file), backup.OpenOptions{Identities: []backup.Identity{other.from, newPair(t).from}})
	require.ErrorIs(t, err, backup.ErrWrongKey)

	s, err := backup.OpenSnapshot(t.Context(), struct{ io.Reader }{bytes.NewReader(file)},
		backup.OpenOptions{Identities: []backup.Identity{testKey("k"), other.from, newPair(t).from, key.from}})
	require.NoError(t, err, "each is tried")
	require.NoError(t, s.Close())
}

func TestKeysAreNamedInTheError(t *testing.T) {
	key, other := newPair(t), newPair(t)
	file, m := inFile(t, backup.BackupOptions{Recipients: []backup.Recipient{key.to, backup.Passphrase([]byte("correct horse"))}})
	require.Equal(t, append(key.from.KeyIDs(), "passphrase"), m.Keys)
	_, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file), backup.OpenOptions{Identities: []backup.Identity{other.from}})
	require.ErrorIs(t, err, backup.ErrWrongKey)
	require.ErrorContains(t, err, key.from.KeyIDs()[0])
	require.ErrorContains(t, err, "the passphrase")
}

func TestAnIdentityThatFailsIsToldBeforeTheDataIsRead(t *testing.T) {
	file := homelabFile(t)
	data := strings.Index(file, `"data"`)
	read := 0
	r := readerFunc(func(p []byte) (int, error) {
		require.Less(t, read, len(file), "not beyond what comes with the header")
		n := copy(p[:1], file[read:]) // a byte at a time
		read += n
		return n, nil
	})
	fails := anIdentity(func(string) ([]byte, error) { return nil, fs.ErrPermission })
	_, err := backup.OpenSnapshot(t.Context(), r, backup.OpenOptions{Identities: []backup.Identity{fails}})
	require.ErrorIs(t, err, fs.ErrPermission)
	require.Less(t, read, data+100)
}

func TestADamagedFileIsDamagedWhateverIsAroundTheSnapshot(t *testing.T) {
	testtime.NotForRace(t)
	key := newPair(t)
	for name, opts := range map[string]backup.BackupOptions{
		"gzip": {Compress: backup.Gzip}, "zstd": {Compress: backup.Zstd}, "age": {Encrypt: key.to},
		"zstd in age": {Compress: backup.Zstd, Encrypt: key.to},
	} {
		opts.Recipients = []backup.Recipient{key.to}
		file, _ := inFile(t, opts)
		open := func(file []byte) error {
			s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file), backup.OpenOptions{Identities: []backup.Identity{key.from}})
			if err == nil {
				s.Close()
			}
			return err
		}
		require.NoError(t, open(file))
		step := testtime.Every(t, 5)
		for cut := 1; cut < len(file); cut += step {
			err := open(file[:cut])
			require.Error(t, err, "%s cut at %d", name, cut)
			require.True(t, errors.Is(err, backup.ErrDamaged) || errors.Is(err, backup.ErrFormat), "%s cut at %d: %v", name, cut, err)
		}
		require.ErrorIs(t, open(append(bytes.Clone(file), "more"...)), backup.ErrDamaged, name)
	}
}

func TestADiskThatFailsUnderAnEnvelopeIsNoDamage(t *testing.T) {
	key := newPair(t)
	broken := errors.New("the disk is on fire")
	for name, opts := range map[string]backup.BackupOptions{
		"gzip": {Compress: backup.Gzip}, "zstd": {Compress: backup.Zstd}, "age": {Encrypt: key.to}, "zstd in age": {Compress: backup.Zstd, Encrypt: key.to},
	} {
		opts.Recipients = []backup.Recipient{key.to}
		file, _ := inFile(t, opts)
		for at := 0; at < len(file); at += 7 {
			r := io.MultiReader(bytes.NewReader(file[:at]), readerFunc(func([]byte) (int, error) { return 0, broken }))
			_, err := backup.OpenSnapshot(t.Context(), r, backup.OpenOptions{Identities: []backup.Identity{key.from}})
			require.ErrorIs(t, err, broken, "%s at %d", name, at)
			require.NotErrorIs(t, err, backup.ErrDamaged, "%s at %d", name, at)
		}
	}
}

func TestWhatExpandsTooFarIsRefused(t *testing.T) {
	testtime.NotForRace(t)
	bomb := func(w io.WriteCloser, err error) {
		require.NoError(t, err)
		io.WriteString(w, plainHead+`"data":{"logs":[`)
		for range 200 {
			io.WriteString(w, strings.Repeat(" ", 1<<19)+`{"id":1,"message":"x"},`)
		}
		require.NoError(t, w.Close())
	}
	for name, compressed := range map[string]func(io.Writer) (io.WriteCloser, error){
		"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
		"zstd": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
	} {
		var file bytes.Buffer
		bomb(compressed(&file))
		require.Less(t, file.Len(), 1<<20, name)
		dir := t.TempDir()
		_, err := backup.OpenSnapshot(t.Context(), &file, backup.OpenOptions{Limits: backup.Limits{TotalBytes: 4 << 20}, TempDir: dir})
		require.ErrorIs(t, err, backup.ErrLimit, name)
	}

	var far bytes.Buffer
	w, err := zstd.NewWriter(&far, zstd.WithWindowSize(64<<20))
	require.NoError(t, err)
	_, err = io.Copy(w, io.LimitReader(readerFunc(func(p []byte) (int, error) { return len(p), nil }), 65<<20))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	_, err = backup.OpenSnapshot(t.Context(), &far, backup.OpenOptions{})
	require.ErrorIs(t, err, backup.ErrLimit, "a window that takes 64 MiB of memory")
	require.ErrorContains(t, err, "run zstd -d --long=31 on it")
	encoder, err := zstd.NewWriter(nil, zstd.WithWindowSize(64<<20), zstd.WithSingleSegment(true))
	require.NoError(t, err)
	_, err = backup.OpenSnapshot(t.Context(), bytes.NewReader(encoder.EncodeAll(make([]byte, 65<<20), nil)), backup.OpenOptions{})
	require.ErrorIs(t, err, backup.ErrLimit)
	require.ErrorContains(t, err, "run zstd -d --long=31 on it", "as zstd makes of a file whose size it knows")

	var nothing bytes.Buffer // empty frames: much to read, and nothing comes of it
	require.NoError(t, gzip.NewWriter(&nothing).Close())
	endless := bytes.Repeat(nothing.Bytes(), 3<<20/nothing.Len())
	_, err = backup.OpenSnapshot(t.Context(), bytes.NewReader(endless), backup.OpenOptions{Limits: backup.Limits{TotalBytes: 1000}})
	require.ErrorIs(t, err, backup.ErrLimit)
}

func TestALimitIsThatOfTheDocumentWhateverIsAroundIt(t *testing.T) {
	testtime.NotForRace(t)
	key := newPair(t)
	store := homelabStore()
	for i := range 2000 {
		store["logs"][fmt.Sprint(i)] = fmt.Sprintf(`{"id":%d,"message":%q}`, i, rand.Text()+rand.Text()+rand.Text()+rand.Text())
	}
	for name, opts := range map[string]backup.BackupOptions{
		"gzip": {Compress: backup.Gzip}, "zstd": {Compress: backup.Zstd}, "age": {Encrypt: key.to}, "zstd in age": {Compress: backup.Zstd, Encrypt: key.to},
	} {
		opts.Recipients, opts.Include, opts.CreatedAt = []backup.Recipient{key.to}, []string{"logs"}, created
		var file bytes.Buffer
		m, err := homelab().Backup(t.Context(), &file, store, opts)
		require.NoError(t, err)
		open := func(limit int64) error {
			s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file.Bytes()), backup.OpenOptions{Identities: []backup.Identity{key.from}, Limits: backup.Limits{TotalBytes: limit}})
			if err == nil {
				s.Close()
			}
			return err
		}
		require.NoError(t, open(m.Bytes), name)
		require.ErrorIs(t, open(m.Bytes-1), backup.ErrLimit, name)
	}
}

// notAge encrypts in a way that nobody can read.
type notAge struct{ start string }

func (n notAge) Encrypt(w io.Writer) (io.WriteCloser, error) {
	_, err := io.WriteString(w, n.start)
	return struct {
		io.Writer
		io.Closer
	}{w, io.NopCloser(nil)}, err
}

func TestWhatNoReaderWouldOpenIsNotWritten(t *testing.T) {
	for _, start := range []string{"", "not age", strings.Repeat("x", 100), "age-encryption.org/v2\n" + strings.Repeat("x", 100)} {
		_, err := homelab().Backup(t.Context(), io.Discard, homelabStore(), backup.BackupOptions{Encrypt: notAge{start}})
		require.ErrorIs(t, err, backup.ErrInvalid, start)
	}
}

func TestTheOrderOfTheHeaderIsFreeWithAKeyToo(t *testing.T) {
	file := homelabFile(t)
	lines := regexp.MustCompile(`(?m)^"application":.*\n|^"schema_version":.*\n`)
	moved := strings.Join(lines.FindAllString(file, -1), "")
	require.Contains(t, moved, "schema_version")
	file = strings.Replace(lines.ReplaceAllString(file, ""), `"integrity":`, moved+`"integrity":`, 1)
	_, err := restored(t, strings.NewReader(resummed(t, file)), backup.OpenOptions{Identities: []backup.Identity{testKey("k")}}, backup.RestoreOptions{})
	require.NoError(t, err)
}

func TestWhatWasEncryptedIsNotSavedInClear(t *testing.T) {
	key := newPair(t)
	file, _ := inFile(t, backup.BackupOptions{Encrypt: key.to, Compress: backup.Zstd})
	var out bytes.Buffer
	with := backup.SalvageOptions{Identities: []backup.Identity{key.from}}
	_, err := homelab().Salvage(t.Context(), &out, bytes.NewReader(file), with)
	require.ErrorIs(t, err, backup.ErrNoKey)
	require.Zero(t, out.Len())
	with.Encrypt = key.to
	report, err := homelab().Salvage(t.Context(), &out, bytes.NewReader(file), with)
	require.NoError(t, err)
	require.True(t, report.Manifest.Encrypted)
	require.NotContains(t, out.String(), "hunter22")
	m, err := openWith(t, out.String(), backup.OpenOptions{Identities: []backup.Identity{key.from}})
	require.NoError(t, err)
	require.NotNil(t, m.Salvaged)
	require.Equal(t, int64(2), m.Records["servers"])

	out.Reset()
	report, err = homelab().Salvage(t.Context(), &out, bytes.NewReader(file[:len(file)-10]), with)
	if err == nil { // of so small a file nothing may be left
		require.NotEmpty(t, report.Warnings)
	}
	whole, _ := inFile(t, backup.BackupOptions{Recipients: sealed, Compress: backup.Gzip})
	out.Reset()
	report, err = homelab().Salvage(t.Context(), &out, bytes.NewReader(whole[:len(whole)-20]), backup.SalvageOptions{})
	require.NoError(t, err)
	require.Contains(t, report.Warnings[0], "only the beginning of the file could be read")
	require.Equal(t, int64(2), report.Manifest.Records["servers"])
}

func TestOneEnvelopeOfEachKindInOneOrder(t *testing.T) {
	key := newPair(t)
	plain, _ := inFile(t, backup.BackupOptions{Recipients: []backup.Recipient{key.to}})
	zip := func(b []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		w.Write(b)
		require.NoError(t, w.Close())
		return out.Bytes()
	}
	encrypt := func(b []byte) []byte {
		var out bytes.Buffer
		w, err := key.to.Encrypt(&out)
		require.NoError(t, err)
		w.Write(b)
		require.NoError(t, w.Close())
		return out.Bytes()
	}
	for name, c := range map[string]struct {
		file []byte
		ok   bool
	}{
		"compressed": {zip(plain), true}, "compressed, then encrypted": {encrypt(zip(plain)), true},
		"compressed twice": {zip(zip(plain)), false}, "encrypted, then compressed": {zip(encrypt(plain)), false},
		"encrypted twice": {encrypt(encrypt(plain)), false},
	} {
		s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(c.file), backup.OpenOptions{Identities: []backup.Identity{key.from}})
		if c.ok {
			require.NoError(t, err, name)
			require.NoError(t, s.Close())
			continue
		}
		require.Error(t, err, name)
		require.True(t, errors.Is(err, backup.ErrDamaged) || errors.Is(err, backup.ErrFormat), "%s: %v", name, err)
	}
}

func TestTheTemporaryCopyOfWhatWasEncryptedShowsNothing(t *testing.T) {
	key := newPair(t)
	store := homelabStore()
	store["logs"]["1"] = `{"id":1,"message":"` + strings.Repeat("telltale ", 1<<16) + `"}`
	var file bytes.Buffer
	_, err := homelab().Backup(t.Context(), &file, store, backup.BackupOptions{Include: []string{"logs"}, Encrypt: key.to})
	require.NoError(t, err)
	s, err := backup.OpenSnapshot(t.Context(), &file, backup.OpenOptions{Identities: []backup.Identity{key.from}})
	require.NoError(t, err)
	defer s.Close()
	found := 0
	files, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	for _, path := range files {
		target, _ := os.Readlink(path)
		if !strings.Contains(target, "backup-snapshot-") {
			continue
		}
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Greater(t, len(text), 1<<19)
		require.NotContains(t, string(text), "telltale")
		require.NotContains(t, string(text), "hunter2")
		found++
	}
	if _, err := os.Stat("/proc/self/fd"); err == nil {
		require.Equal(t, 1, found)
	}
	var again bytes.Buffer
	_, err = homelab().Backup(t.Context(), &again, s, backup.BackupOptions{Recipients: sealed, Include: []string{"logs"}})
	require.NoError(t, err, "it is read back in any place")
	require.Contains(t, again.String(), "telltale")
}

func TestAnUnknownCompressionIsRefused(t *testing.T) {
	_, err := homelab().Backup(t.Context(), io.Discard, homelabStore(), backup.BackupOptions{Recipients: sealed, Compress: "rar"})
	require.ErrorIs(t, err, backup.ErrInvalid)
	require.ErrorContains(t, err, "gzip")
}

func TestADiskThatIsFullIsNoticedThroughAnEnvelope(t *testing.T) {
	key := newPair(t)
	full := errors.New("no space left")
	for _, opts := range []backup.BackupOptions{{Compress: backup.Gzip}, {Compress: backup.Zstd}, {Encrypt: key.to}, {Compress: backup.Zstd, Encrypt: key.to}} {
		opts.Recipients = sealed
		whole, _ := inFile(t, opts)
		for room := 0; room < len(whole)-200; room += 50 {
			left := room
			w := writerFunc(func(p []byte) (int, error) {
				if left -= len(p); left < 0 {
					return 0, full
				}
				return len(p), nil
			})
			_, err := homelab().Backup(t.Context(), w, homelabStore(), opts)
			require.ErrorIs(t, err, full, "%v with room for %d", opts.Compress, room)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A lockedStore is a host that cannot open one of its own secrets.
type lockedStore struct{ backuptest.MapStore }

func (s lockedStore) View(ctx context.Context, read func(backup.Reader) error) error {
	return s.MapStore.View(ctx, func(r backup.Reader) error { return read(lockedReader{r}) })
}

var errMasterKey = errors.New("the master key does not open it")

type lockedReader struct{ backup.Reader }

func (r lockedReader) Records(ctx context.Context, collection string) iter.Seq2[backup.Record, error] {
	return func(yield func(backup.Record, error) bool) {
		for rec, err := range r.Reader.Records(ctx, collection) {
			if collection == "servers" && err == nil {
				rec, err = backup.Record{Key: rec.Key}, errMasterKey
			}
			if !yield(rec, err) {
				return
			}
		}
	}
}

func TestASecretThatTheHostCannotOpenIsNamed(t *testing.T) {
	var file bytes.Buffer
	_, err := homelab().Backup(t.Context(), &file, lockedStore{homelabStore()}, backup.BackupOptions{Recipients: sealed})
	require.ErrorIs(t, err, errMasterKey)
	var record *backup.RecordError
	require.ErrorAs(t, err, &record)
	require.Equal(t, "servers", record.Collection)
	require.NotEmpty(t, record.Key)
}

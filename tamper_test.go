package backup_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/testtime"
)

// What somebody can do who can write to where backups are kept: every byte of a
// snapshot is altered in turn, with and without a digest that fits.

func tamperApp() *backup.App {
	return &backup.App{Name: "demo", Version: "2.1.0", SchemaVersion: 3, Migrators: []backup.Migrator{
		keep(1), keep(2),
	}, Collections: []backup.Collection{
		{Name: "servers", Key: "/id", Secrets: []string{"/password", "/env/*"}},
		{Name: "accounts", Key: "/id", Secrets: []string{"/password"}},
		{Name: "settings", Shape: backup.Map, Secrets: []string{"/smtp_password", "/api_token"}},
		{Name: "users", Key: "/id"},
	}}
}

func tamperStore() backuptest.MapStore {
	return backuptest.MapStore{
		"servers": {
			"a1": `{"id":"a1","password":"hunter2","env":{"T":7}}`,
			"b2": `{"id":"b2","password":"swordf1"}`,
		},
		"accounts": {"a1": `{"id":"a1","password":"letme1n"}`},
		"settings": {"theme": `"dark"`, "smtp_password": `"sesame1"`, "api_token": `"opensez"`},
		"users":    {"7": `{"id":7,"name":"ada"}`, "8": `{"name":"nobody"}`}, // without its key
	}
}

func tamperFile(t testing.TB, opts backup.BackupOptions) string {
	t.Helper()
	opts.CreatedAt = time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC)
	opts.Metadata = map[string]string{"trigger": "manual"}
	opts.LeaveOutInvalid = true // so that there is a member left_out
	var out strings.Builder
	m, err := tamperApp().Backup(t.Context(), &out, tamperStore(), opts)
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"users": 1}, m.Missing)
	return out.String()
}

// A cheapPassphrase seals like a passphrase at the least cost, and opens each
// wrapped key once.
type cheapPassphrase struct {
	*backup.PassphraseKey
	text   string
	opened sync.Map // of *opening, by wrapped key
}

type opening struct {
	once sync.Once
	key  []byte
	err  error
}

func newCheapPassphrase(text string) *cheapPassphrase {
	return &cheapPassphrase{PassphraseKey: backup.Passphrase([]byte(text)), text: text}
}

func (k *cheapPassphrase) Wrap(key []byte) (json.RawMessage, error) {
	salt, nonce := make([]byte, 16), make([]byte, chacha20poly1305.NonceSizeX)
	rand.Read(salt)
	rand.Read(nonce)
	aead, err := chacha20poly1305.NewX(argon2.IDKey([]byte(k.text), salt, 1, 8192, 1, 32))
	if err != nil {
		return nil, err
	}
	wrapped := aead.Seal(nonce, nonce, key, []byte("tomo-project/backup 1.0 key"))
	return json.RawMessage(fmt.Sprintf(`{"type":"argon2id","salt":%q,"time":1,"memory":8192,"threads":1,"wrapped":%q}`,
		base64.StdEncoding.EncodeToString(salt), base64.StdEncoding.EncodeToString(wrapped))), nil
}

func (k *cheapPassphrase) Unwrap(wrapped json.RawMessage) ([]byte, error) {
	v, _ := k.opened.LoadOrStore(string(wrapped), new(opening))
	o := v.(*opening)
	o.once.Do(func() { o.key, o.err = k.PassphraseKey.Unwrap(wrapped) })
	return o.key, o.err
}

func newAgeKey(t testing.TB) (*agekey.Recipient, *agekey.Identity) {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	id, err := agekey.NewIdentity(key)
	require.NoError(t, err)
	recipient, err := id.Recipient()
	require.NoError(t, err)
	return recipient, id
}

// found is what a reader makes of a file: all that it is told, and all that it
// restores.
type found struct {
	manifest backup.Manifest
	store    backuptest.MapStore
}

func tamperOpen(t testing.TB, file string, opts backup.OpenOptions) (found, error) {
	opts.TempDir = tamperTemp(t)
	s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(file), opts)
	if err != nil {
		return found{}, err
	}
	defer s.Close()
	dst := backuptest.MapStore{"servers": {}, "accounts": {}, "settings": {}, "users": {}}
	_, err = tamperApp().Restore(t.Context(), s, dst, backup.RestoreOptions{})
	return found{s.Manifest(), dst}, err
}

// refused tells whether an error says what is the matter with a snapshot.
func refused(err error) bool {
	return slices.ContainsFunc([]error{
		backup.ErrDamaged, backup.ErrFormat, backup.ErrTooNew, backup.ErrForeign, backup.ErrLimit,
		backup.ErrWrongKey, backup.ErrUnauthentic, backup.ErrInvalid,
	}, func(kind error) bool { return errors.Is(err, kind) })
}

// digestAt finds the digest of the whole in a file.
var digestAt = regexp.MustCompile(`(?s)\n"integrity":\{"sha256":"([0-9a-f]{64})"`)

// fitted makes the digest in a file fit.
func fitted(file string) string {
	at := digestAt.FindStringSubmatchIndex(file)
	if at == nil {
		return file
	}
	sum := sha256.Sum256([]byte(file[:at[0]+1]))
	return file[:at[2]] + hex.EncodeToString(sum[:]) + file[at[3]:]
}

// alterations returns what may stand in the place of a byte: flipped bits, and
// what is as legal there as the byte was, also in base64.
func alterations(b byte) []byte {
	switch {
	case b == '\n':
		return []byte{' ', '\t', '\r', b ^ 1, b ^ 0x80}
	case b == '"', b == ',', b == ':', b == '{', b == '}', b == '[', b == ']':
		return []byte{' ', b ^ 1, b ^ 0x20, b ^ 0x80}
	case '0' <= b && b < '9', 'a' <= b && b < 'z', 'A' <= b && b < 'Z':
		return []byte{b + 1, b ^ 0x20, b ^ 0x80}
	case b == '9':
		return []byte{'1', 'a', b ^ 0x80}
	case b == 'z', b == 'Z':
		return []byte{b - 1, b ^ 0x20, b ^ 0x80}
	case b == '+', b == '/', b == '=', b == '-':
		return []byte{'A', b ^ 4, b ^ 0x80}
	}
	return []byte{b ^ 1, b ^ 0x20, b ^ 0x80}
}

// everyAlteration calls f for a file with each of its bytes altered in turn, or in the
// short form with every 13th. f may be called by several goroutines.
func everyAlteration(t *testing.T, file string, f func(at int, altered string)) {
	step := testtime.Every(t, 13)
	var wg sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for at := range next {
				for _, b := range alterations(file[at]) {
					f(at, file[:at]+string([]byte{b})+file[at+1:])
				}
			}
		})
	}
	for at := 0; at < len(file); at += step {
		next <- at
	}
	close(next)
	wg.Wait()
}

// survivors are the places of a file where an alteration was not noticed.
type survivors struct {
	sync.Mutex
	at map[int]string // an altered file
}

func (s *survivors) add(at int, altered string) {
	s.Lock()
	defer s.Unlock()
	if s.at == nil {
		s.at = make(map[int]string)
	}
	s.at[at] = altered
}

func (s *survivors) String() string {
	var b strings.Builder
	for _, at := range slices.Sorted(maps.Keys(s.at)) {
		fmt.Fprintf(&b, "byte %d: …%q…\n", at, around(s.at[at], at))
	}
	return b.String()
}

func around(file string, at int) string { return file[max(0, at-20):min(len(file), at+20)] }

func TestEveryAlteredByteIsRefused(t *testing.T) {
	testtime.NotForRace(t)
	passphrase := newCheapPassphrase("correct horse")
	to, from := newAgeKey(t)
	for name, file := range map[string]string{
		"passphrase": tamperFile(t, backup.BackupOptions{Recipients: []backup.Recipient{passphrase}}),
		"age key":    tamperFile(t, backup.BackupOptions{Recipients: []backup.Recipient{to}}),
	} {
		t.Run(name, func(t *testing.T) {
			opts := backup.OpenOptions{Identities: []backup.Identity{passphrase}}
			if name != "passphrase" {
				opts.Identities = []backup.Identity{from}
			}
			_, err := tamperOpen(t, file, opts)
			require.NoError(t, err)
			everyAlteration(t, file, func(at int, altered string) {
				if _, err := tamperOpen(t, altered, opts); !refused(err) {
					t.Errorf("byte %d, %q: %v", at, around(altered, at), err)
				}
			})
		})
	}
}

// What holds by itself is a proof that the reader can check, whether or not it is
// asked for.
func TestEveryAlteredByteIsRefusedAlsoWithADigestThatFits(t *testing.T) {
	testtime.NotForRace(t)
	passphrase := newCheapPassphrase("correct horse")
	to, from := newAgeKey(t)
	public, signer, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		made   backup.BackupOptions
		opened backup.OpenOptions
	}{
		"passphrase": {
			backup.BackupOptions{Recipients: []backup.Recipient{passphrase}},
			backup.OpenOptions{Identities: []backup.Identity{passphrase}},
		},
		"age key and passphrase": {
			backup.BackupOptions{Recipients: []backup.Recipient{to, passphrase}},
			backup.OpenOptions{Identities: []backup.Identity{passphrase}},
		},
		"age key and signature": {
			backup.BackupOptions{Recipients: []backup.Recipient{to}, Signer: signer},
			backup.OpenOptions{Identities: []backup.Identity{from}, Trusted: []ed25519.PublicKey{public}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := tamperFile(t, c.made)
			want, err := tamperOpen(t, file, c.opened)
			require.NoError(t, err)
			require.NotEmpty(t, want.manifest.Authentic)
			keys := regexp.MustCompile(`"keys":\[.*?\],"check"`).FindStringIndex(file)
			signer := regexp.MustCompile(`"key":"[A-Za-z0-9+/=]{44}"|$`).FindStringIndex(file)
			digest := digestAt.FindStringSubmatchIndex(file)
			// The line feed before "integrity" is white space that no proof covers.
			between := digest[0]
			var unnoticed survivors
			everyAlteration(t, file, func(at int, altered string) {
				if digest[2] <= at && at < digest[3] {
					return // it is made to fit
				}
				altered = fitted(altered)
				notice := func(required bool) {
					opts := c.opened
					opts.RequireProof = required
					got, err := tamperOpen(t, altered, opts)
					if err == nil {
						// Who names another signer is somebody that nobody trusts.
						if !required && signer[0] <= at && at < signer[1] && got.manifest.Authentic == "" {
							return
						}
						got.manifest.SHA256 = want.manifest.SHA256
						if at != between || !reflect.DeepEqual(got, want) {
							unnoticed.add(at, altered)
						}
						return
					}
					switch {
					case errors.Is(err, backup.ErrUnauthentic), errors.Is(err, backup.ErrDamaged):
						return
					case !refused(err):
					case keys[0] <= at && at < keys[1]:
						return // the data key does not come out any more
					default:
						if _, err := tamperOpen(t, altered, backup.OpenOptions{}); !errors.Is(err, backup.ErrNoKey) {
							return // what stands there is not that of any snapshot
						}
					}
					t.Errorf("byte %d, %q: neither unauthentic nor damaged: %v", at, around(altered, at), err)
				}
				notice(false)
				if at%2 == 0 {
					notice(true)
				}
			})
			require.Zero(t, len(unnoticed.at), "alterations that are accepted:\n%s", &unnoticed)
		})
	}
}

func TestWithoutAProofOnlyWhatIsSealedIsNoticed(t *testing.T) {
	to, from := newAgeKey(t)
	file := tamperFile(t, backup.BackupOptions{Recipients: []backup.Recipient{to}})
	require.NotContains(t, file, `"proof"`)
	opts := backup.OpenOptions{Identities: []backup.Identity{from}}
	want, err := tamperOpen(t, file, opts)
	require.NoError(t, err)

	covered := make([]bool, len(file))
	for _, place := range []string{
		`"application":"demo"`, `"schema_version":3`, `"id":"[A-Za-z0-9+/]{22}=="`, `"fields":\{.*?\},"keys"`, `"file":"[^"]*"`, `"check":"[^"]*"`, `"\$sealed":"[^"]*"`,
	} {
		all := regexp.MustCompile(place).FindAllStringIndex(file, -1)
		require.NotEmpty(t, all, place)
		for _, at := range all {
			for i := at[0]; i < at[1]; i++ {
				covered[i] = true
			}
		}
	}
	digest := digestAt.FindStringSubmatchIndex(file)
	var unnoticed survivors
	everyAlteration(t, file, func(at int, altered string) {
		if digest[2] <= at && at < digest[3] {
			return
		}
		altered = fitted(altered)
		if got, err := tamperOpen(t, altered, opts); err == nil {
			if covered[at] {
				t.Errorf("byte %d, %q is accepted", at, around(altered, at))
			}
			if !reflect.DeepEqual(got.store, want.store) {
				unnoticed.add(at, altered)
			}
		} else if !refused(err) {
			t.Errorf("byte %d: %v", at, err)
		}
		if at%2 == 0 {
			return
		}
		required := opts
		required.RequireProof = true
		if _, err := tamperOpen(t, altered, required); !refused(err) {
			t.Errorf("byte %d: %v where a proof is required", at, err)
		}
	})
	require.NotZero(t, len(unnoticed.at), "a public key proves nothing: what is in clear can be altered (FORMAT.md, \"What is protected, and what is not\")")
}

func TestASealedValueStandsOnlyWhereItWasSealed(t *testing.T) {
	passphrase := newCheapPassphrase("correct horse")
	to, from := newAgeKey(t)
	sealed := regexp.MustCompile(`\{"\$sealed":"[^"]*"\}`)
	for name, c := range map[string]struct {
		to   backup.Recipient
		from backup.Identity
		want error
	}{
		"passphrase": {passphrase, passphrase, backup.ErrUnauthentic},
		"age key":    {to, from, backup.ErrDamaged},
	} {
		made := backup.BackupOptions{Recipients: []backup.Recipient{c.to}}
		file, other := tamperFile(t, made), tamperFile(t, made)
		value := func(file, before string) string {
			_, rest, ok := strings.Cut(file, before)
			require.True(t, ok, before)
			return sealed.FindString(rest)
		}
		swapped := func(a, b string) string {
			a, b = value(file, a), value(file, b)
			require.NotEqual(t, a, b)
			return strings.NewReplacer(a, b, b, a).Replace(file)
		}
		const a1, b2, accounts, smtp, token = `{"id":"a1","password":`, `{"id":"b2","password":`, "\"accounts\":[\n", `"smtp_password":{`, `"api_token":{`
		for how, altered := range map[string]string{
			"two records":     swapped(a1, b2),
			"two fields":      swapped(a1, `"env":`),
			"two settings":    swapped(strings.TrimSuffix(smtp, "{"), strings.TrimSuffix(token, "{")),
			"two collections": swapped(a1, accounts),
			"two snapshots":   strings.Replace(file, value(file, a1), value(other, a1), 1),
			"two snapshots, with what says how to open it": func() string {
				encryption := regexp.MustCompile(`"encryption":.*\n`)
				return encryption.ReplaceAllLiteralString(file, encryption.FindString(other))
			}(),
			"two snapshots, with the data key": func() string {
				keys := regexp.MustCompile(`"keys":\[.*?\],"check"`)
				return keys.ReplaceAllLiteralString(file, keys.FindString(other))
			}(),
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				require.NotEqual(t, file, altered)
				for _, required := range []bool{false, true} {
					opts := backup.OpenOptions{Identities: []backup.Identity{c.from}, RequireProof: required}
					_, err := tamperOpen(t, fitted(altered), opts)
					if required || strings.HasSuffix(how, "data key") {
						require.True(t, errors.Is(err, backup.ErrUnauthentic) || errors.Is(err, backup.ErrDamaged), "%v", err)
						continue
					}
					require.ErrorIs(t, err, c.want)
				}
			})
		}
	}
}

func TestAProofHasToBeRequiredToNoticeThatItWasTakenAway(t *testing.T) {
	passphrase := newCheapPassphrase("correct horse")
	file := tamperFile(t, backup.BackupOptions{Recipients: []backup.Recipient{passphrase}})
	admin := regexp.MustCompile(`(?m)^"(encryption|proof)":.*\n`).ReplaceAllString(file, "")
	admin = regexp.MustCompile(`\{"\$sealed":"[^"]*"\}`).ReplaceAllString(admin, `"mine"`)
	admin = strings.Replace(admin, `{"id":7,"name":"ada"}`, `{"id":7,"name":"eve","role":"administrator"}`, 1)
	require.NotContains(t, admin, "encryption")
	opts := backup.OpenOptions{Identities: []backup.Identity{passphrase}}

	_, err := tamperOpen(t, admin, opts)
	require.ErrorIs(t, err, backup.ErrDamaged)
	got, err := tamperOpen(t, fitted(admin), opts)
	require.NoError(t, err, "nothing tells it from a snapshot that was made without a passphrase")
	require.Empty(t, got.manifest.Authentic)
	require.JSONEq(t, `{"id":7,"name":"eve","role":"administrator"}`, got.store["users"]["7"])

	opts.RequireProof = true
	_, err = tamperOpen(t, fitted(admin), opts)
	require.ErrorIs(t, err, backup.ErrUnauthentic)

	// Nor does a proof help that no key can check, or that of somebody else.
	for name, proof := range map[string]string{
		"the old one":       regexp.MustCompile(`(?m)^"proof":.*\n`).FindString(file),
		"one of a stranger": signedByStranger(t, admin),
	} {
		forged := strings.Replace(admin, `"integrity"`, proof+`"integrity"`, 1)
		_, err = tamperOpen(t, fitted(forged), opts)
		require.ErrorIs(t, err, backup.ErrUnauthentic, name)
	}
}

// signedByStranger returns the line of a proof that fits, made with a key that nobody
// knows.
func signedByStranger(t *testing.T, file string) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	before, _, _ := strings.Cut(file, `"integrity"`)
	sum := sha256.Sum256([]byte(before))
	const info = "tomo-project/backup 1.0 proof"
	message := slices.Concat([]byte{0, 0, 0, byte(len(info))}, []byte(info), []byte{0, 0, 0, byte(len(sum))}, sum[:])
	return fmt.Sprintf("\"proof\":{\"ed25519\":{\"key\":%q,\"signature\":%q}},\n",
		base64.StdEncoding.EncodeToString(public), base64.StdEncoding.EncodeToString(ed25519.Sign(private, message)))
}

func TestAFileThatIsCompressedOrEncryptedIsReadWholeOrNotAtAll(t *testing.T) {
	testtime.NotForRace(t)
	to, from := newAgeKey(t)
	passphrase := newCheapPassphrase("correct horse")
	opts := backup.OpenOptions{Identities: []backup.Identity{passphrase, from}}
	sealed := []backup.Recipient{passphrase}
	for name, c := range map[string]struct {
		made    backup.BackupOptions
		armored bool
	}{
		"gzip":        {backup.BackupOptions{Recipients: sealed, Compress: backup.Gzip}, false},
		"zstd":        {backup.BackupOptions{Recipients: sealed, Compress: backup.Zstd}, false},
		"age":         {backup.BackupOptions{Encrypt: to}, false},
		"zstd in age": {backup.BackupOptions{Encrypt: to, Compress: backup.Zstd}, false},
		"armored age": {backup.BackupOptions{Encrypt: to, Compress: backup.Zstd}, true},
	} {
		t.Run(name, func(t *testing.T) {
			file := tamperFile(t, c.made)
			if c.armored {
				file = armored(t, file)
			}
			want, err := tamperOpen(t, file, opts)
			require.NoError(t, err)
			require.Equal(t, c.made.Compress, want.manifest.Compressed)
			same := func(what string, at int, altered string, may bool) {
				got, err := tamperOpen(t, altered, opts)
				if err == nil && may && reflect.DeepEqual(got, want) || refused(err) {
					return
				}
				t.Errorf("%s %d: %v", what, at, err)
			}
			step := testtime.Every(t, 7)
			for n := 0; n < len(file); n += step {
				// The line feed at the end of armor adds nothing to it.
				same("cut to", n, file[:n], c.armored && n == len(file)-1)
			}
			// No digest covers what says how to take off what is around the document.
			everyAlteration(t, file, func(at int, altered string) { same("altered byte", at, altered, true) })
			for _, more := range []string{"\x00", " ", "\n", "x", "{}", file} {
				same("with more behind byte", len(file), file+more, c.armored && strings.TrimSpace(more) == "")
			}
		})
	}
}

func armored(t *testing.T, file string) string {
	t.Helper()
	var out bytes.Buffer
	w := armor.NewWriter(&out)
	_, err := w.Write([]byte(file))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.String()
}

// tamperTemp returns one folder for all files that a test opens.
func tamperTemp(t testing.TB) string {
	v, ok := tamperTemps.Load(t)
	if !ok {
		v, _ = tamperTemps.LoadOrStore(t, t.TempDir())
		t.Cleanup(func() { tamperTemps.Delete(t) })
	}
	return v.(string)
}

var tamperTemps sync.Map // by testing.TB

package agekey

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/seal"
	_ "github.com/tomo-project/backup/internal/seal/sealtest"
)

var (
	_ backup.Recipient = (*Recipient)(nil)
	_ backup.Encrypter = (*Recipient)(nil)
	_ backup.Identity  = (*Identity)(nil)
	_ backup.Decrypter = (*Identity)(nil)
)

// The files in testdata were made with age 1.1.1 and, for the post-quantum key,
// 1.3.2. All hold fixedKey.
var fixedKey = func() (key []byte) {
	for i := range byte(dataKeySize) {
		key = append(key, i)
	}
	return key
}()

const (
	idX25519  = "age1egct5ukke2aey93sxw7ug4rqa4k63jyv22uh05w0ejcyas86693q3ez7zj"
	idPQ      = "age1pq122r8u7schrm3yndpm25jqwyvq"
	idEd25519 = "ssh-ed25519 SHA256:4WfAyws8bevuYYxyV92vl/ij9LO+W6GFKVyWk4bXEkg"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return b
}

func hunter2() ([]byte, error) { return []byte("hunter2"), nil }

func identity(t testing.TB, name string) *Identity {
	t.Helper()
	id, err := ParseIdentities(read(t, "keys/"+name), hunter2)
	require.NoError(t, err)
	return id
}

// wrap is the format as FORMAT.md has it.
func wrap(file []byte, ids ...string) json.RawMessage {
	text := fmt.Appendf(nil, `{"type":"age","file":"%s"`, base64.StdEncoding.EncodeToString(file))
	if ids != nil {
		text = fmt.Appendf(text, `,"ids":["%s"]`, strings.Join(ids, `","`))
	}
	return append(text, '}')
}

func decrypt(id *Identity, file io.Reader) ([]byte, error) {
	r, err := id.Decrypt(file)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func encryptWith(t testing.TB, r *Recipient, plain []byte) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := r.Encrypt(&file)
	require.NoError(t, err)
	_, err = w.Write(plain)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return file.Bytes()
}

// cheapPassphrase returns a passphrase that takes little work.
func cheapPassphrase(t testing.TB) (*Recipient, *Identity) {
	t.Helper()
	r, err := age.NewScryptRecipient("hunter2")
	require.NoError(t, err)
	r.SetWorkFactor(2)
	i, err := age.NewScryptIdentity("hunter2")
	require.NoError(t, err)
	recipient, err := NewRecipient(r)
	require.NoError(t, err)
	id, err := NewIdentity(i)
	require.NoError(t, err)
	return recipient, id
}

func TestKeysOpenWhatTheAgeCommandMade(t *testing.T) {
	for _, c := range []struct{ file, key string }{
		{"x25519", "x25519.txt"},
		{"pq", "pq.txt"},
		{"ssh-ed25519", "ed25519"},
		{"ssh-rsa", "rsa"},
		{"ssh-locked", "ed25519_locked"},
		{"several", "x25519.txt"},
		{"several", "ed25519"},
		{"several", "rsa"},
		{"x25519", "x25519-locked.age"},
	} {
		t.Run(c.file+" with "+c.key, func(t *testing.T) {
			t.Parallel()
			id, file := identity(t, c.key), read(t, "files/"+c.file+".age")
			key, err := id.Unwrap(wrap(file))
			require.NoError(t, err)
			require.Equal(t, fixedKey, key)
			plain, err := decrypt(id, bytes.NewReader(file))
			require.NoError(t, err)
			require.Equal(t, fixedKey, plain)
		})
	}
	t.Run("passphrase", func(t *testing.T) {
		t.Parallel()
		_, id, err := Passphrase([]byte("hunter2"))
		require.NoError(t, err)
		key, err := id.Unwrap(wrap(read(t, "files/passphrase.age")))
		require.NoError(t, err)
		require.Equal(t, fixedKey, key)
	})
	t.Run("armored", func(t *testing.T) {
		file := read(t, "files/x25519-armored.age")
		plain, err := decrypt(identity(t, "x25519.txt"), bytes.NewReader(file))
		require.NoError(t, err)
		require.Equal(t, fixedKey, plain)
		_, err = identity(t, "x25519.txt").Unwrap(wrap(file))
		require.ErrorIs(t, err, backup.ErrDamaged, "a wrapped key is binary")
	})
}

func TestWhatIsSealedForSomebodyTheyOpen(t *testing.T) {
	several, err := ParseRecipients(idX25519 + "\n\n# comment\r\n  " + string(read(t, "keys/ed25519.pub")) + string(read(t, "keys/rsa.pub")))
	require.NoError(t, err)
	for _, c := range []struct {
		name      string
		recipient *Recipient
		opens     []string
		ids       []string
	}{
		{"X25519", nil, []string{"x25519.txt"}, []string{idX25519}},
		{"post-quantum", nil, []string{"pq.txt"}, []string{idPQ}},
		{"ed25519", nil, []string{"ed25519"}, []string{idEd25519}},
		{"RSA", nil, []string{"rsa"}, []string{several.KeyIDs()[2]}},
		{"encrypted SSH key", nil, []string{"ed25519_locked"}, nil},
		{"several", several, []string{"x25519.txt", "ed25519", "rsa"}, several.KeyIDs()},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.recipient == nil {
				c.recipient, err = identity(t, c.opens[0]).Recipient()
				require.NoError(t, err)
				require.Equal(t, identity(t, c.opens[0]).KeyIDs(), c.recipient.KeyIDs())
			}
			if c.ids != nil {
				require.Equal(t, c.ids, c.recipient.KeyIDs())
				require.Equal(t, strings.Join(c.ids, ", "), c.recipient.String())
			}
			long := bytes.Repeat([]byte("all of it\n"), 20_000)
			wrapped, err := c.recipient.Wrap(fixedKey)
			require.NoError(t, err)
			require.Regexp(t, `^{"type":"age","file":"YWdl[A-Za-z0-9+/]+=*","ids":\[".*"\]}$`, string(wrapped))
			file := encryptWith(t, c.recipient, long)
			for _, name := range c.opens {
				id := identity(t, name)
				key, err := id.Unwrap(wrapped)
				require.NoError(t, err)
				require.Equal(t, fixedKey, key)
				plain, err := decrypt(id, bytes.NewReader(file))
				require.NoError(t, err)
				require.Equal(t, long, plain)
				plain, err = decrypt(id, bytes.NewReader(encryptWith(t, c.recipient, nil)))
				require.NoError(t, err)
				require.Empty(t, plain)
			}
			again, err := c.recipient.Wrap(fixedKey)
			require.NoError(t, err)
			require.NotEqual(t, string(wrapped), string(again))
		})
	}
}

func TestPassphraseOpensWhatItEncrypted(t *testing.T) {
	typed := []byte("hunter2")
	recipient, id, err := Passphrase(typed)
	require.NoError(t, err)
	clear(typed) // a caller may wipe its own copy
	wrapped, err := recipient.Wrap(fixedKey)
	require.NoError(t, err)
	require.Contains(t, string(wrapped), `"ids":["passphrase"]`)
	key, err := id.Unwrap(wrapped)
	require.NoError(t, err)
	require.Equal(t, fixedKey, key)

	cheap, _ := cheapPassphrase(t)
	wrapped, err = cheap.Wrap(fixedKey)
	require.NoError(t, err)
	_, wrong, err := Passphrase([]byte("swordfish"))
	require.NoError(t, err)
	_, err = wrong.Unwrap(wrapped)
	require.ErrorIs(t, err, backup.ErrWrongKey)
	require.ErrorContains(t, err, "encrypted for passphrase; what was given (passphrase) does not open it")
	require.NotContains(t, err.Error(), "hunter2")
	require.NotContains(t, err.Error(), "swordfish")

	_, err = id.Recipient()
	require.ErrorContains(t, err, "public half")
	require.Equal(t, []string{"passphrase"}, id.KeyIDs())
	for _, empty := range [][]byte{nil, {}} {
		_, _, err = Passphrase(empty)
		require.ErrorIs(t, err, backup.ErrNoKey)
	}
}

func TestKeyThatDoesNotOpenSaysWhatWould(t *testing.T) {
	id := identity(t, "x25519.txt")
	for _, c := range []struct {
		name    string
		wrapped json.RawMessage
		want    string
	}{
		{"with ids", wrap(read(t, "files/ssh-ed25519.age"), idEd25519), "it is encrypted for " + idEd25519 + "; what was given (" + idX25519 + ")"},
		{"without", wrap(read(t, "files/ssh-ed25519.age")), "a key of type ssh-ed25519"},
		{"post-quantum", wrap(read(t, "files/pq.age")), "a post-quantum age key"},
		{"passphrase", wrap(read(t, "files/passphrase.age")), "a passphrase"},
		{"of another library", json.RawMessage(`{"type":"argon2id","salt":1,"ids":7}`), "not sealed for an age key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			key, err := id.Unwrap(c.wrapped)
			require.Nil(t, key)
			require.ErrorIs(t, err, backup.ErrWrongKey)
			require.ErrorContains(t, err, c.want)
		})
	}
	for file, want := range map[string]string{"several": "an age key, a key of type ssh-ed25519, a key of type ssh-rsa", "passphrase": "a passphrase"} {
		_, err := identity(t, "ed25519_locked").Decrypt(bytes.NewReader(read(t, "files/"+file+".age")))
		require.ErrorIs(t, err, backup.ErrWrongKey)
		require.ErrorContains(t, err, "encrypted for "+want+"; what was given (ssh-ed25519 SHA256:")
	}
	_, err := id.Decrypt(bytes.NewReader(header("aB3-grease x", "piv-p256 y")))
	require.ErrorIs(t, err, backup.ErrWrongKey)
	require.ErrorContains(t, err, "encrypted for a key of type piv-p256; what was")
}

// header is that of an age file that nobody opens.
func header(stanzas ...string) []byte {
	text := "age-encryption.org/v1\n"
	for _, s := range stanzas {
		text += "-> " + s + "\n" + base64.RawStdEncoding.EncodeToString(make([]byte, 32)) + "\n"
	}
	return []byte(text + "--- " + base64.RawStdEncoding.EncodeToString(make([]byte, 32)) + "\n0123456789abcdef0123456789abcdef")
}

func TestHostileWrappedKeyDoesNotFillTheLog(t *testing.T) {
	long := strings.Repeat("n", 40_000)
	id := identity(t, "x25519.txt")
	for _, wrapped := range []string{
		`{"type":"age","` + long + `":1}`,
		`{"type":"age","` + long + `":1,"` + long + `":1}`,
		`{"type":"` + long + `"}`,
		`{"type":"age","file":"` + long + long + long + `"}`,
		`{"type":"age","ids":["` + long + `"]}`,
		string(wrap([]byte(long))),
		string(wrap(header(long + " a"))),
		string(wrap(header("X25519 " + long))),
		string(wrap(header(strings.Split(strings.TrimSpace(strings.Repeat("t\n", 500)), "\n")...))),
		string(wrap(header("ssh-rsa a"), slices.Repeat([]string{strings.Repeat("i", 200)}, 64)...)),
		string(wrap(header("ssh-rsa a"), "\u202eevil\\n\\u001b[2J")),
	} {
		_, err := id.Unwrap(json.RawMessage(wrapped))
		require.Error(t, err)
		require.Less(t, len(err.Error()), 900, "%.2000s", err)
		require.NotRegexp(t, `[^ -~]`, err.Error())
	}
}

func TestWrappedKeyIsReadStrictly(t *testing.T) {
	file := read(t, "files/x25519.age")
	good := string(wrap(file, idX25519))
	id := identity(t, "x25519.txt")
	base := base64.StdEncoding.EncodeToString(file)
	for _, c := range []struct{ name, from, to string }{
		{"nothing", good, ``},
		{"null", good, `null`},
		{"array", good, `[]`},
		{"two documents", `]}`, `]}{}`},
		{"no type", `"type":"age",`, ``},
		{"null type", `"age"`, `null`},
		{"number as type", `"age"`, `1`},
		{"type in capitals", `"type"`, `"Type"`},
		{"no file", `"file":"` + base + `",`, ``},
		{"null file", `"` + base + `"`, `null`},
		{"number as file", `"` + base + `"`, `1`},
		{"empty file", base, ``},
		{"unknown member", `"file"`, `"more":1,"file"`},
		{"duplicate member", `"ids"`, `"file":"","ids"`},
		{"base64 of URLs", base, base64.URLEncoding.EncodeToString(append(slices.Clone(file), 0xff, 0xff))},
		{"base64 without padding", base, base64.RawStdEncoding.EncodeToString(append(slices.Clone(file), 1))},
		{"line break in base64", base[:8], base[:8] + `\n`},
		{"carriage return in base64", base[:8], base[:8] + `\r`},
		{"large file", base, base64.StdEncoding.EncodeToString(make([]byte, seal.MaxAgeFile+1))},
		{"trailing byte", base, base64.StdEncoding.EncodeToString(append(slices.Clone(file), 0))},
		{"31 bytes", base, base64.StdEncoding.EncodeToString(short(t, 31))},
		{"33 bytes", base, base64.StdEncoding.EncodeToString(short(t, 33))},
		{"no bytes", base, base64.StdEncoding.EncodeToString(short(t, 0))},
		{"null ids", `["` + idX25519 + `"]`, `null`},
		{"text as ids", `["` + idX25519 + `"]`, `"a"`},
		{"null as id", `"` + idX25519 + `"`, `null`},
		{"number as id", `"` + idX25519 + `"`, `1`},
		{"65 ids", idX25519, strings.Repeat(`","`, 64)},
		{"long id", idX25519, strings.Repeat("a", 201)},
		{"invalid UTF-8", idX25519, "\xff"},
		{"malformed stanza", base, base64.StdEncoding.EncodeToString(header("X25519 "+base64.RawStdEncoding.EncodeToString(fixedKey[:31]), "scrypt a 1"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Contains(t, good, c.from)
			key, err := id.Unwrap(json.RawMessage(strings.Replace(good, c.from, c.to, 1)))
			require.ErrorIs(t, err, backup.ErrDamaged)
			require.Nil(t, key)
		})
	}
	for _, wrapped := range []json.RawMessage{
		wrap(file), // what the ids say does not matter
		wrap(file, "anything", ""),
		wrap(file, slices.Repeat([]string{strings.Repeat("a", 200)}, 64)...),
		json.RawMessage("{ \"ids\" : [ ],\n\"file\":\"" + base + `", "type":"age" }`),
	} {
		key, err := id.Unwrap(wrapped)
		require.NoError(t, err)
		require.Equal(t, fixedKey, key)
	}
}

// short is an age file that holds the wrong number of bytes.
func short(t *testing.T, n int) []byte {
	t.Helper()
	r, err := ParseRecipients(idX25519)
	require.NoError(t, err)
	return encryptWith(t, r, make([]byte, n))
}

func TestFileChangedInAnyByteIsRefused(t *testing.T) {
	recipient, cheap := cheapPassphrase(t)
	_, err := recipient.Wrap(fixedKey)
	require.NoError(t, err)
	both, err := NewIdentity(append(raw(t, "pq.txt"), raw(t, "x25519.txt")...)...)
	require.NoError(t, err)
	for _, c := range []struct {
		name string
		id   *Identity
		file []byte
	}{
		{"X25519", identity(t, "x25519.txt"), read(t, "files/x25519.age")},
		{"post-quantum", both, read(t, "files/pq.age")},
		{"ed25519", identity(t, "ed25519"), read(t, "files/ssh-ed25519.age")},
		{"RSA", identity(t, "rsa"), read(t, "files/ssh-rsa.age")},
		{"encrypted SSH key", unlocked(t), read(t, "files/ssh-locked.age")},
		{"several", identity(t, "rsa"), read(t, "files/several.age")},
		{"passphrase", cheap, encryptWith(t, recipient, fixedKey)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			key, err := c.id.Unwrap(wrap(c.file))
			require.NoError(t, err)
			require.Equal(t, fixedKey, key)
			refused := func(file []byte) {
				key, err := c.id.Unwrap(wrap(file))
				require.True(t, errors.Is(err, backup.ErrDamaged) || errors.Is(err, backup.ErrWrongKey), "%q: %v", file, err)
				require.Nil(t, key)
			}
			for i := range c.file {
				for _, flip := range []byte{0x01, 0x80} {
					altered := bytes.Clone(c.file)
					altered[i] ^= flip
					refused(altered)
				}
				key, err := c.id.Unwrap(wrap(c.file[:i]))
				require.ErrorIs(t, err, backup.ErrDamaged, "cut to %d", i)
				require.Nil(t, key)
			}
		})
	}
}

// raw returns the age identities in a key file.
func raw(t *testing.T, name string) []age.Identity {
	t.Helper()
	ids, err := age.ParseIdentities(bytes.NewReader(read(t, "keys/"+name)))
	require.NoError(t, err)
	return ids
}

// unlocked returns an encrypted key that has been opened, which takes long.
func unlocked(t *testing.T) *Identity {
	t.Helper()
	id := identity(t, "ed25519_locked")
	_, err := id.Unwrap(wrap(read(t, "files/ssh-locked.age")))
	require.NoError(t, err)
	return id
}

func TestLongFileCutOrAlteredAnywhereIsRefused(t *testing.T) {
	id := identity(t, "x25519.txt")
	recipient, err := id.Recipient()
	require.NoError(t, err)
	const chunk = 64 << 10
	file := encryptWith(t, recipient, make([]byte, 3*chunk))
	start := len(file) - 3*(chunk+16)
	for _, n := range []int{0, 1, 21, 22, 100, start - 1, start, start + 1, start + 15, start + 16, start + chunk, start + chunk + 16, start + chunk + 17, start + chunk + 32, start + 2*chunk + 32, len(file) - 1} {
		_, err := decrypt(id, bytes.NewReader(file[:n]))
		require.ErrorIs(t, err, backup.ErrDamaged, "cut to %d", n)
		_, err = decrypt(id, iotest.DataErrReader(iotest.OneByteReader(bytes.NewReader(file[:n]))))
		require.ErrorIs(t, err, backup.ErrDamaged, "cut to %d", n)
		altered := bytes.Clone(file)
		altered[n] ^= 1
		_, err = decrypt(id, bytes.NewReader(altered))
		require.True(t, errors.Is(err, backup.ErrDamaged) || errors.Is(err, backup.ErrWrongKey), "byte %d: %v", n, err)
	}
	_, err = decrypt(id, bytes.NewReader(append(file, 0)))
	require.ErrorIs(t, err, backup.ErrDamaged)
	swapped := slices.Concat(file[:start], file[start+chunk+16:start+2*(chunk+16)], file[start:start+chunk+16], file[start+2*(chunk+16):])
	_, err = decrypt(id, bytes.NewReader(swapped))
	require.ErrorIs(t, err, backup.ErrDamaged)
	_, err = decrypt(id, strings.NewReader(`{"format":"1.0"}`))
	require.ErrorIs(t, err, backup.ErrDamaged)
}

func TestErrorOfTheDiskComesThrough(t *testing.T) {
	id := identity(t, "x25519.txt")
	for _, disk := range []error{errors.New("input/output error"), io.ErrUnexpectedEOF} {
		for _, name := range []string{"x25519", "x25519-armored"} {
			file := read(t, "files/"+name+".age")
			for n := range len(file) + 1 {
				for _, one := range []bool{false, true} {
					r := io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(disk))
					if one {
						r = iotest.OneByteReader(r)
					}
					_, err := decrypt(id, r)
					require.ErrorIs(t, err, disk, "%s, after %d", name, n)
					require.NotErrorIs(t, err, backup.ErrDamaged, "%s, after %d", name, n)
				}
			}
		}
	}
}

func TestEncryptGivesTheErrorOfTheDisk(t *testing.T) {
	recipient, err := ParseRecipients(idX25519)
	require.NoError(t, err)
	disk := errors.New("no space left")
	for n := range 400 {
		w, err := recipient.Encrypt(&limitedWriter{n, disk})
		if err == nil {
			_, err = w.Write(fixedKey)
			if err == nil {
				err = w.Close()
			}
		}
		if n < len(read(t, "files/x25519.age")) {
			require.ErrorIs(t, err, disk)
		}
	}
}

type limitedWriter struct {
	left int
	err  error
}

func (w *limitedWriter) Write(b []byte) (int, error) {
	if len(b) > w.left {
		return w.left, w.err
	}
	w.left -= len(b)
	return len(b), nil
}

func TestArmorIsReadStrictly(t *testing.T) {
	id := identity(t, "x25519.txt")
	armored := string(read(t, "files/x25519-armored.age"))
	for _, file := range []string{
		armored[:len(armored)-2],
		armored + "more",
		strings.Replace(armored, "\n", "\n\n", 2),
		strings.Replace(armored, "\n", "", 3),
		armored[:35],
		armored[:34],
	} {
		_, err := decrypt(id, strings.NewReader(file))
		require.ErrorIs(t, err, backup.ErrDamaged, "%s", file)
	}
	plain, err := decrypt(id, strings.NewReader(strings.ReplaceAll(armored, "\n", "\r\n")+"\n\n"))
	require.NoError(t, err)
	require.Equal(t, fixedKey, plain)
}

// endless is a file without a line break in it. It counts what was read.
type endless struct{ n int }

func (e *endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'A'
	}
	e.n += len(b)
	return len(b), nil
}

func TestEndlessHeaderIsRefusedSoon(t *testing.T) {
	id := identity(t, "x25519.txt")
	for _, start := range []string{
		"-----BEGIN AGE ENCRYPTED FILE-----",
		"-----BEGIN AGE ENCRYPTED FILE-----\n",
		"age-encryption.org/v1\n-> ",
		"age-encryption.org/v1\n-> X25519 ",
		"",
	} {
		file := &endless{}
		_, err := decrypt(id, io.MultiReader(strings.NewReader(start), file))
		require.ErrorIs(t, err, backup.ErrDamaged, start)
		require.Less(t, file.n, 3<<20)
		require.Less(t, len(err.Error()), 400)
	}
}

func TestCostlyPassphraseIsRefusedBeforeAnyWork(t *testing.T) {
	salt := base64.RawStdEncoding.EncodeToString(make([]byte, 16))
	scrypt, err := age.NewScryptIdentity("hunter2") // itself it would do up to 22
	require.NoError(t, err)
	id, err := NewIdentity(append(raw(t, "x25519.txt"), scrypt)...)
	require.NoError(t, err)
	for _, work := range []string{"21", "22", "30", "99", "18446744073709551617", strings.Repeat("9", 500)} {
		file := header("scrypt " + salt + " " + work)
		_, err := id.Unwrap(wrap(file))
		require.ErrorIs(t, err, backup.ErrLimit, work)
		require.Less(t, len(err.Error()), 300)
		_, err = id.Decrypt(bytes.NewReader(file))
		require.ErrorIs(t, err, backup.ErrLimit, work)
		_, err = ParseIdentities(file, func() ([]byte, error) { t.Error("asked for a passphrase"); return nil, nil })
		require.ErrorIs(t, err, backup.ErrLimit, work)

		// Who has another key is not concerned.
		_, err = identity(t, "ed25519").Unwrap(wrap(file))
		require.ErrorIs(t, err, backup.ErrWrongKey)
	}
	for _, work := range []string{"0", "-1", "01", "x", "1 2", ""} {
		_, err := id.Unwrap(wrap(header("scrypt " + salt + " " + work)))
		require.ErrorIs(t, err, backup.ErrDamaged, work)
	}
	_, err = id.Unwrap(wrap(header("scrypt "+salt+" 1", "scrypt "+salt+" 1")))
	require.ErrorIs(t, err, backup.ErrDamaged)

	recipient, _ := cheapPassphrase(t)
	careful, err := age.NewScryptIdentity("hunter2")
	require.NoError(t, err)
	careful.SetMaxWorkFactor(1)
	id, err = NewIdentity(careful)
	require.NoError(t, err)
	_, err = id.Decrypt(bytes.NewReader(encryptWith(t, recipient, nil)))
	require.ErrorIs(t, err, backup.ErrLimit)
}

func TestKeysThatCannotBeTogetherAreRefusedAtOnce(t *testing.T) {
	pq, err := identity(t, "pq.txt").Recipient()
	require.NoError(t, err)
	passphrase, _ := cheapPassphrase(t)
	classic, err := ParseRecipients(idX25519)
	require.NoError(t, err)
	for _, together := range [][]*Recipient{{pq, classic}, {classic, pq}, {classic, passphrase}, {passphrase, passphrase}} {
		_, err := NewRecipient(append(together[0].reveal(), together[1].reveal()...)...)
		require.ErrorContains(t, err, "give each its own Recipient")
		require.ErrorContains(t, err, "a whole file cannot")
	}
	_, err = NewRecipient(slices.Repeat(classic.reveal(), 65)...)
	require.ErrorContains(t, err, "65 public keys, the most is 64")
	_, err = NewRecipient(slices.Repeat(classic.reveal(), 64)...)
	require.NoError(t, err)
	_, err = NewRecipient(slices.Repeat(pq.reveal(), 64)...)
	require.ErrorContains(t, err, "use fewer keys")
	_, err = NewRecipient(&fake{err: errors.New("no such token")})
	require.ErrorContains(t, err, "cannot encrypt: failed to wrap key for recipient #0: no such token")
}

func TestThereMustBeAKey(t *testing.T) {
	_, err := NewRecipient()
	require.ErrorIs(t, err, backup.ErrNoKey)
	_, err = NewRecipient(nil)
	require.ErrorIs(t, err, backup.ErrNoKey)
	_, err = NewIdentity()
	require.ErrorIs(t, err, backup.ErrNoKey)
	_, err = NewIdentity(nil)
	require.ErrorIs(t, err, backup.ErrNoKey)
	for _, text := range []string{"", "\n \n# " + idX25519 + "\n"} {
		_, err = ParseRecipients(text)
		require.ErrorIs(t, err, backup.ErrNoKey)
		_, err = ParseIdentities([]byte(text), nil)
		require.ErrorIs(t, err, backup.ErrNoKey)
	}
	for _, r := range []*Recipient{nil, {}} {
		_, err = r.Wrap(fixedKey)
		require.ErrorIs(t, err, backup.ErrNoKey)
		_, err = r.Encrypt(io.Discard)
		require.ErrorIs(t, err, backup.ErrNoKey)
		require.Empty(t, r.KeyIDs())
	}
	for _, i := range []*Identity{nil, {}} {
		_, err = i.Unwrap(wrap(read(t, "files/x25519.age")))
		require.ErrorIs(t, err, backup.ErrNoKey)
		_, err = i.Decrypt(bytes.NewReader(nil))
		require.ErrorIs(t, err, backup.ErrNoKey)
		_, err = i.Recipient()
		require.ErrorIs(t, err, backup.ErrNoKey)
		require.Empty(t, i.KeyIDs())
	}
	r, err := ParseRecipients(idX25519)
	require.NoError(t, err)
	for _, n := range []int{0, 31, 33} {
		_, err = r.Wrap(make([]byte, n))
		require.ErrorContains(t, err, fmt.Sprintf("has %d bytes and not 32", n))
	}
}

// fake is a key of a kind that this package does not know.
type fake struct {
	id  string
	err error
}

func (f *fake) String() string { return f.id }
func (f *fake) Wrap([]byte) ([]*age.Stanza, error) {
	return []*age.Stanza{{Type: "fake"}}, f.err
}
func (f *fake) Unwrap([]*age.Stanza) ([]byte, error) { return nil, f.err }

func TestKeysOfOtherKinds(t *testing.T) {
	public := func(name string) ssh.PublicKey {
		key, _, _, _, err := ssh.ParseAuthorizedKey(read(t, "keys/"+name))
		require.NoError(t, err)
		return key
	}
	ed25519, err := agessh.NewEd25519Recipient(public("ed25519.pub"))
	require.NoError(t, err)
	rsa, err := agessh.NewRSARecipient(public("rsa.pub"))
	require.NoError(t, err)
	r, err := NewRecipient(ed25519, rsa, &fake{id: "age1yubikey1" + strings.Repeat("q", 60)}, &fake{}, &fake{id: "é"}, &fake{id: "AGE-PLUGIN-X-1SECRET"})
	require.NoError(t, err)
	for name, want := range map[string]string{"ed25519": "ssh-ed25519", "rsa": "ssh-rsa"} {
		single, err := agessh.ParseIdentity(read(t, "keys/"+name))
		require.NoError(t, err)
		id, err := NewIdentity(single)
		require.NoError(t, err)
		require.Equal(t, []string{want}, id.KeyIDs())
		key, err := id.Unwrap(wrap(read(t, "files/several.age")))
		require.NoError(t, err)
		require.Equal(t, fixedKey, key)
	}
	locked, err := agessh.NewEncryptedSSHIdentity(public("ed25519_locked.pub"), read(t, "keys/ed25519_locked"), hunter2)
	require.NoError(t, err)
	lockedID, err := NewIdentity(locked)
	require.NoError(t, err)
	key, err := lockedID.Unwrap(wrap(read(t, "files/ssh-locked.age")))
	require.NoError(t, err)
	require.Equal(t, fixedKey, key)

	require.Equal(t, "ssh-ed25519, ssh-rsa, age1yubikey1qqqqqqqqqqqqqqqqqqqq, unknown, unknown, unknown", r.String())
	wrapped, err := r.Wrap(fixedKey)
	require.NoError(t, err)
	key, err = identity(t, "rsa").Unwrap(wrapped)
	require.NoError(t, err)
	require.Equal(t, fixedKey, key)

	missing := errors.New("token is not there")
	id, err := NewIdentity(&fake{err: missing, id: "AGE-PLUGIN-X-1SECRET"})
	require.NoError(t, err)
	require.Empty(t, id.KeyIDs())
	_, err = id.Unwrap(wrapped)
	require.ErrorIs(t, err, missing)
	require.NotErrorIs(t, err, backup.ErrDamaged)
	_, err = id.Recipient()
	require.ErrorContains(t, err, "public half")
	id, err = NewIdentity(&fake{err: age.ErrIncorrectIdentity}, &fake{})
	require.NoError(t, err)
	_, err = id.Unwrap(wrapped)
	require.ErrorIs(t, err, backup.ErrWrongKey)
	require.NotContains(t, err.Error(), "SECRET")
}

func FuzzUnwrap(f *testing.F) {
	seeds, err := os.ReadDir("testdata/fuzz/FuzzUnwrap")
	require.NoError(f, err)
	require.NotEmpty(f, seeds)
	var keys []privateKey
	for _, name := range []string{"x25519.txt", "pq.txt", "ed25519", "rsa"} {
		keys = append(keys, identity(f, name).reveal()...)
	}
	id, err := newIdentity(keys)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, wrapped []byte) {
		given := bytes.Clone(wrapped)
		key, err := id.Unwrap(wrapped)
		require.Equal(t, given, wrapped)
		if err == nil {
			require.Equal(t, fixedKey, key)
			return
		}
		require.Nil(t, key)
		require.True(t, errors.Is(err, backup.ErrDamaged) || errors.Is(err, backup.ErrWrongKey), "%v", err)
		require.Less(t, len(err.Error()), 1000)
		if file, _, err := seal.ParseAge(wrapped); err == nil {
			plain, err := decrypt(id, bytes.NewReader(file))
			if err == nil {
				require.NotEqual(t, fixedKey, plain)
			}
		}
	})
}

func TestAPassphraseThatNobodyCouldTypeAgainOpensAndSealsNothing(t *testing.T) {
	const typed = "caf\u00e9 au lait"
	for name, form := range map[string]string{
		"line feed": typed + "\n", "byte order mark": "\ufeff" + typed, "another normal form": "cafe\u0301 au lait",
	} {
		r, _, err := Passphrase([]byte(form))
		require.NoError(t, err, name)
		_, err = r.Wrap(make([]byte, dataKeySize))
		require.ErrorIs(t, err, backup.ErrInvalid, name)
		_, err = r.Encrypt(io.Discard)
		require.ErrorIs(t, err, backup.ErrInvalid, name)
		require.NotContains(t, err.Error(), "lait", name)

		// Another program took the bytes as they were.
		other, err := age.NewScryptRecipient(form)
		require.NoError(t, err, name)
		other.SetWorkFactor(10)
		file, err := encrypt([]byte("data"), other)
		require.NoError(t, err, name)
		_, id, err := Passphrase([]byte(typed))
		require.NoError(t, err, name)
		plain, err := id.Decrypt(bytes.NewReader(file))
		require.NoError(t, err, name)
		text, err := io.ReadAll(plain)
		require.NoError(t, err, name)
		require.Equal(t, "data", string(text), name)
		require.Equal(t, []string{"passphrase"}, id.KeyIDs(), "forms are no keys of their own")
		_, id, err = Passphrase([]byte("Caf\u00e9 au lait"))
		require.NoError(t, err, name)
		_, err = id.Decrypt(bytes.NewReader(file))
		require.ErrorIs(t, err, backup.ErrWrongKey, name)
	}
}

// What a passphrase may take is not multiplied by its forms.
func TestOtherFormsTakeABoundedTime(t *testing.T) {
	stanzas := func(work string) []*age.Stanza { return []*age.Stanza{{Type: "scrypt", Args: []string{"salt", work}}} }
	for work, most := range map[string]int{"18": maxForms, "19": maxForms / 2, "20": maxForms / 4, "21": 0, "99999999999999999999": 0} {
		o := &opener{}
		n := 0
		for n < 100 && o.hasTimeFor(stanzas(work)) {
			n++
		}
		require.Equal(t, most, n, work)
	}
}

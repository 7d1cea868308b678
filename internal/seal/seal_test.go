package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/argon2"

	"github.com/tomo-project/backup/schema"
)

// The constants of the known answers come from testdata/vectors.py.
var (
	fixedKey = sequence(0x00, keySize)
	fixedID  = base64.StdEncoding.EncodeToString(sequence(0x10, IDSize))
)

func sequence(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func fixedBox(t testing.TB) *Box {
	box, err := NewBox(fixedKey, fixedID)
	require.NoError(t, err)
	return box
}

func TestValueSealedByAnotherImplementationOpens(t *testing.T) {
	for _, v := range []struct{ collection, key, pointer, plain, text string }{
		{"servers", "a1", "/password", `"hunter2"`,
			"QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXFKoU0kwlb/gBJ7JDxpNo3rz6kUheCdGWcA=="},
		{"settings", "smtp/password", "/smtp~1password", `null`,
			"QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWLcN0FbQ8i+kFYx51omzn9AqIxE="},
		{"größe", "7", "/env/0/ключ", `{"a":[1,2.50]}`,
			"QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXTeAAngIbLOYR5EmgW68qvGeiZ5D4n8pOPeWAZij8"},
	} {
		t.Run(v.collection, func(t *testing.T) {
			plain, err := fixedBox(t).Open(nil, []byte(v.text), v.collection, v.key, v.pointer)
			require.NoError(t, err)
			require.Equal(t, v.plain, string(plain))
		})
	}
}

func TestSealedValueOpensAgain(t *testing.T) {
	key, id := NewKey(), NewID()
	sealing, err := NewBox(key, id)
	require.NoError(t, err)
	opening, err := NewBox(key, id)
	require.NoError(t, err)
	for _, plain := range []string{``, `null`, `"hunter2"`, strings.Repeat("x", 1<<20)} {
		text := sealing.Seal(nil, []byte(plain), "servers", "a1", "/password")
		got, err := opening.Open(nil, text, "servers", "a1", "/password")
		require.NoError(t, err)
		require.Equal(t, plain, string(got))
		if plain != "" {
			require.NotContains(t, string(text), plain)
		}
	}
}

func TestSealAndOpenAppend(t *testing.T) {
	box := fixedBox(t)
	text := box.Seal([]byte(`{"$sealed":"`), []byte("1"), "servers", "a1", "/pin")
	text, ok := bytes.CutPrefix(text, []byte(`{"$sealed":"`))
	require.True(t, ok)
	plain, err := box.Open([]byte(`{"pin":`), text, "servers", "a1", "/pin")
	require.NoError(t, err)
	require.Equal(t, `{"pin":1`, string(plain))
}

func TestEqualValuesAreSealedDifferently(t *testing.T) {
	box := fixedBox(t)
	seen := map[string]bool{}
	for range 100 {
		text := string(box.Seal(nil, []byte(`"hunter2"`), "servers", "a1", "/password"))
		require.False(t, seen[text])
		seen[text] = true
	}
}

func TestEverySnapshotHasAKeyAndIDOfItsOwn(t *testing.T) {
	require.NotEqual(t, NewKey(), NewKey())
	require.NotEqual(t, NewID(), NewID())
	require.Len(t, NewKey(), 32)
	id, err := decode(nil, []byte(NewID()))
	require.NoError(t, err)
	require.Len(t, id, 16)
}

func TestValueMovedElsewhereDoesNotOpen(t *testing.T) {
	otherID, err := NewBox(fixedKey, NewID())
	require.NoError(t, err)
	otherKey, err := NewBox(NewKey(), fixedID)
	require.NoError(t, err)
	text := fixedBox(t).Seal(nil, []byte(`"hunter2"`), "servers", "a1", "/password")
	for _, c := range []struct {
		name                     string
		box                      *Box
		collection, key, pointer string
	}{
		{"other collection", fixedBox(t), "users", "a1", "/password"},
		{"other record", fixedBox(t), "servers", "b2", "/password"},
		{"other field", fixedBox(t), "servers", "a1", "/name"},
		{"text moved between the parts", fixedBox(t), "server", "sa1", "/password"},
		{"other snapshot with the same key", otherID, "servers", "a1", "/password"},
		{"other key", otherKey, "servers", "a1", "/password"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plain, err := c.box.Open(nil, text, c.collection, c.key, c.pointer)
			require.ErrorIs(t, err, ErrAltered)
			require.Nil(t, plain)
		})
	}
}

func TestSealedValueChangedInAnyByteDoesNotOpen(t *testing.T) {
	box := fixedBox(t)
	for _, plain := range []string{"1", "12", "123"} { // each padding of base64
		text := box.Seal(nil, []byte(plain), "servers", "a1", "/pin")
		for i := range text {
			for _, b := range []byte{text[i] ^ 1, text[i] ^ 0x80, 'A', '=', '\n', 0} {
				if b == text[i] {
					continue
				}
				altered := bytes.Clone(text)
				altered[i] = b
				requireDamage(t, box, altered)
			}
			requireDamage(t, box, text[:i])
			requireDamage(t, box, append(append(bytes.Clone(text[:i]), '\n'), text[i:]...))
		}
		requireDamage(t, box, append(bytes.Clone(text), '\r', '\n'))
	}
}

func requireDamage(t *testing.T, box *Box, text []byte) {
	t.Helper()
	plain, err := box.Open(nil, text, "servers", "a1", "/pin")
	require.Nil(t, plain)
	if err != nil && (isOneOf(err, ErrMalformed, ErrAltered)) {
		return
	}
	require.Fail(t, "not refused as damaged", "%q: %v", text, err)
}

func TestBoxRefusesAKeyOrIDOfTheWrongForm(t *testing.T) {
	for _, key := range [][]byte{nil, {}, sequence(0, 16), sequence(0, 31), sequence(0, 33)} {
		_, err := NewBox(key, fixedID)
		require.ErrorIs(t, err, ErrMalformed)
	}
	for _, id := range []string{"", "AAAA", "not base64", fixedID + "\n", fixedID[:22], strings.Repeat("A", 44)} {
		_, err := NewBox(fixedKey, id)
		require.ErrorIs(t, err, ErrMalformed, "%q", id)
	}
}

func TestBoxIsSafeForConcurrentUse(t *testing.T) {
	box := fixedBox(t)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for g := range errs {
		wg.Go(func() {
			for i := range 200 {
				key, plain := fmt.Sprint(g, i), fmt.Sprint("value ", g, i)
				text := box.Seal(nil, []byte(plain), "servers", key, "/password")
				got, err := box.Open(nil, text, "servers", key, "/password")
				if err == nil && string(got) != plain {
					err = fmt.Errorf("opened %q and not %q", got, plain)
				}
				if err != nil {
					errs[g] = err
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

var fixedFields = map[string]Fields{
	"settings": {Secrets: []string{"/smtp_password"}},
	"servers":  {Key: "/id", Secrets: []string{"/password", "/env/*"}},
}

func TestCheckIsTheOneOfAnotherImplementation(t *testing.T) {
	require.Equal(t, "C2TDBWQ+7Eh5cFSiT1P8VKz9fKLViH8JlWZpz5rVC6k=", fixedBox(t).Check("tomo", 3, fixedFields))
	require.Equal(t, "pUnwTmxi4qFbWrXdRtYEblv1vdroPDxMV7/0w6sKppU=", fixedBox(t).Check("", 1, nil))
}

func TestHeaderThatWasAlteredFailsItsCheck(t *testing.T) {
	box := fixedBox(t)
	check := box.Check("tomo", 3, fixedFields)
	require.NoError(t, box.VerifyCheck(check, "tomo", 3, fixedFields))

	servers, settings := fixedFields["servers"], fixedFields["settings"]
	for name, verify := range map[string]func() error{
		"application":    func() error { return box.VerifyCheck(check, "demo", 3, fixedFields) },
		"schema version": func() error { return box.VerifyCheck(check, "tomo", 2, fixedFields) },
		"collection gone": func() error {
			return box.VerifyCheck(check, "tomo", 3, map[string]Fields{"servers": servers})
		},
		"collection renamed": func() error {
			return box.VerifyCheck(check, "tomo", 3, map[string]Fields{"servers": servers, "setting": settings})
		},
		"key moved": func() error {
			f := Fields{Key: "/name", Secrets: servers.Secrets}
			return box.VerifyCheck(check, "tomo", 3, map[string]Fields{"servers": f, "settings": settings})
		},
		"field gone": func() error {
			f := Fields{Key: "/id", Secrets: servers.Secrets[:1]}
			return box.VerifyCheck(check, "tomo", 3, map[string]Fields{"servers": f, "settings": settings})
		},
		"fields in another order": func() error {
			f := Fields{Key: "/id", Secrets: []string{"/env/*", "/password"}}
			return box.VerifyCheck(check, "tomo", 3, map[string]Fields{"servers": f, "settings": settings})
		},
		"check of another snapshot": func() error {
			other, err := NewBox(fixedKey, NewID())
			require.NoError(t, err)
			return box.VerifyCheck(other.Check("tomo", 3, fixedFields), "tomo", 3, fixedFields)
		},
		"check cut to nothing": func() error { return box.VerifyCheck("", "tomo", 3, fixedFields) },
		"check cut":            func() error { return box.VerifyCheck(check[:40], "tomo", 3, fixedFields) },
	} {
		t.Run(name, func(t *testing.T) { require.ErrorIs(t, verify(), ErrAltered) })
	}

	require.ErrorIs(t, box.VerifyCheck(check+"\n", "tomo", 3, fixedFields), ErrMalformed)
	require.ErrorIs(t, box.VerifyCheck("?", "tomo", 3, fixedFields), ErrMalformed)
	for i := range check {
		altered := []byte(check)
		altered[i] ^= 1
		err := box.VerifyCheck(string(altered), "tomo", 3, fixedFields)
		require.True(t, isOneOf(err, ErrAltered, ErrMalformed), "byte %d: %v", i, err)
	}
}

// The digest of the known answer is 80 81 … 9f.
var fixedDigest = sequence(0x80, 32)

func TestProofIsTheOneOfAnotherImplementation(t *testing.T) {
	require.Equal(t, "1cVXq8w4Jgg8iIJnK8srWK7FSiprndD7atkL5bNP6X8=", fixedBox(t).Prove(fixedDigest))
}

func TestProofOfAnotherDocumentFails(t *testing.T) {
	box := fixedBox(t)
	proof := box.Prove(fixedDigest)
	require.NoError(t, box.VerifyProof(proof, fixedDigest))

	otherID, err := NewBox(fixedKey, NewID())
	require.NoError(t, err)
	otherKey, err := NewBox(NewKey(), fixedID)
	require.NoError(t, err)
	for name, verify := range map[string]func() error{
		"other digest":                     func() error { return box.VerifyProof(proof, sequence(0x81, 32)) },
		"no digest":                        func() error { return box.VerifyProof(proof, nil) },
		"other snapshot with the same key": func() error { return otherID.VerifyProof(proof, fixedDigest) },
		"other key":                        func() error { return otherKey.VerifyProof(proof, fixedDigest) },
		"check value of the snapshot":      func() error { return box.VerifyProof(box.Check("tomo", 3, fixedFields), fixedDigest) },
		"proof cut to nothing":             func() error { return box.VerifyProof("", fixedDigest) },
		"proof cut":                        func() error { return box.VerifyProof(proof[:40], fixedDigest) },
	} {
		t.Run(name, func(t *testing.T) { require.ErrorIs(t, verify(), ErrAltered) })
	}
	require.ErrorIs(t, box.VerifyProof(proof+"\n", fixedDigest), ErrMalformed)
	require.ErrorIs(t, box.VerifyProof("?", fixedDigest), ErrMalformed)
	for i := range proof {
		altered := []byte(proof)
		altered[i] ^= 1
		err := box.VerifyProof(string(altered), fixedDigest)
		require.True(t, isOneOf(err, ErrAltered, ErrMalformed), "byte %d: %v", i, err)
	}
}

// FORMAT.md gives the values that follow from the worked example, for people who
// implement it.
func TestTheValuesOfTheWorkedExampleAreThoseOfTheFormat(t *testing.T) {
	_, section, found := strings.Cut(schema.Format(), "\nThese values follow, in hexadecimal:\n\n```\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n```\n")
	stated := make(map[string]string)
	for _, paragraph := range strings.Split(section, "\n\n") {
		title, value, _ := strings.Cut(paragraph, "\n")
		title, _, _ = strings.Cut(title, ",")
		title, _, _ = strings.Cut(title, ":")
		stated[title] = strings.Join(strings.Fields(value), "")
	}

	_, text, found := strings.Cut(schema.Format(), "\n## Worked example\n")
	require.True(t, found)
	_, text, _ = strings.Cut(text, "\n```json\n")
	text, _, _ = strings.Cut(text, "```\n")
	proven, rest, found := strings.Cut(text, `"proof":{"mac":"`)
	require.True(t, found)
	proof, _, _ := strings.Cut(rest, `"`)
	digest := sha256.Sum256([]byte(proven))
	message := ProofMessage(digest[:])

	box := fixedBox(t)
	wrappingKey := argon2.IDKey([]byte("correct horse"), sequence(0x60, saltSize), 3, 64<<10, 4, keySize)
	valueKey, err := hkdf.Key(sha256.New, fixedKey, sequence(0x10, IDSize), infoValues, keySize)
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"wrapping key":             hex.EncodeToString(wrappingKey),
		"value key":                hex.EncodeToString(valueKey),
		"header key":               hex.EncodeToString(box.headerKey),
		"proof key":                hex.EncodeToString(box.proofKey),
		"frame of the check value": hex.EncodeToString(appendFrame(nil, "tomo", "3", "servers", "/id", "1", "/password", "settings", "", "1", "/smtp_password")),
		`associated data of the password of "a1"`: hex.EncodeToString(box.appendPlace(nil, "servers", "a1", "/password")),
		"M": hex.EncodeToString(message),
	}, stated)
	require.NoError(t, box.VerifyProof(proof, digest[:]))
	require.Equal(t, proof, box.Prove(digest[:]))
}

func BenchmarkSeal(b *testing.B) {
	box := fixedBox(b)
	var text []byte
	b.ReportAllocs()
	for b.Loop() {
		text = box.Seal(text[:0], []byte(`"correct horse battery staple"`), "servers", "a1", "/password")
	}
}

func BenchmarkOpen(b *testing.B) {
	box := fixedBox(b)
	text := box.Seal(nil, []byte(`"correct horse battery staple"`), "servers", "a1", "/password")
	var plain []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if plain, err = box.Open(plain[:0], text, "servers", "a1", "/password"); err != nil {
			b.Fatal(err)
		}
	}
}

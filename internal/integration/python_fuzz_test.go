//go:build !race

package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

// fuzzApp is the application of the vectors. What an e-mail address is, FORMAT.md does
// not say, so no format is asserted.
var fuzzApp = sync.OnceValue(func() *backup.App {
	app := backuptest.VectorApp()
	for i, c := range app.Collections {
		app.Collections[i].Schema = regexp.MustCompile(`,?\s*"format": *"[a-z]*"`).ReplaceAll(c.Schema, nil)
	}
	return app
})

// fuzzKeys are what a document is opened with. They open the vectors whose names begin
// with "proof", "signed" and "age", and those with "sealed".
var fuzzKeys = sync.OnceValue(func() []pythonRequest {
	trusted, err := base64.StdEncoding.DecodeString("JUO5L/EJVRFHatyDadtt3JM2ZaEZeN2hQE7hBmypVZ0=")
	if err != nil {
		panic(err)
	}
	keys := []pythonRequest{{}}
	for _, v := range backuptest.Vectors() {
		if slices.Contains([]string{"sealed", "proof", "age-x25519"}, v.Name) {
			keys = append(keys, pythonRequest{Passphrase: v.Passphrase, Identities: v.Identities})
		}
	}
	for i := range keys {
		k := keys[i]
		k.Trusted = [][]byte{trusted}
		keys = append(keys, k)
		k.RequireProof = true
		keys = append(keys, k)
	}
	return keys
})

// fuzzReader is the process that a worker of the fuzzer shares among its documents.
var fuzzReader = sync.OnceValues(func() (*pythonReader, error) { return startPythonReader(fuzzApp()) })

// FuzzTheReadersAgree gives documents, altered token by token, to the library and to
// the reader in Python. Both must refuse a document, or read the same from it.
//
// The bits of how choose what opens the document, whether the digest is made to fit
// again, and whether the document lacks one.
func FuzzTheReadersAgree(f *testing.F) {
	if _, err := fuzzReader(); err != nil {
		missing(f, err)
	}
	seen := map[string]bool{}
	for i, v := range backuptest.Vectors() {
		// What is encrypted or large is slow, and alterations of it are in few bytes.
		if len(v.Data) > 1500 || !bytes.HasPrefix(v.Data, []byte(`{"`)) || seen[v.File] || costly(v.Data) {
			continue
		}
		seen[v.File] = true
		for how, k := range fuzzKeys() {
			if k.Passphrase == v.Passphrase && k.Identities == v.Identities && k.RequireProof == v.RequireProof && (k.Trusted != nil) == (v.Trusted != nil) {
				f.Add(v.Data, []byte{byte(i), byte(i >> 8), byte(i), byte(how)}, byte(how)|fuzzMend<<(i%2))
				break
			}
		}
	}
	f.Fuzz(func(t *testing.T, document, edits []byte, how byte) {
		if len(document) > 1<<16 || len(edits) > 64 {
			t.Skip("too large to be quick")
		}
		document = edited(document, edits)
		if how&fuzzMend != 0 {
			document = withFittingDigest(document)
		}
		if how&fuzzCut != 0 {
			document = withoutIntegrity(document)
		}
		if costly(document) {
			t.Skip("too costly a key to be quick")
		}
		reader, err := fuzzReader()
		require.NoError(t, err)
		request := fuzzKeys()[int(how&^(fuzzMend|fuzzCut))%len(fuzzKeys())]
		_, why := difference(t, reader, fuzzApp(), request, document)
		require.Empty(t, why, "of\n%s", document)
	})
}

const (
	fuzzMend = 1 << 6
	fuzzCut  = 1 << 7
)

// costs are the members of a wrapped key that say how long it takes to try it.
var costs = regexp.MustCompile(`"(?:memory|time)"\s*:\s*([0-9]+)`)

// costly reports whether keys of a document take longer than the least that may be.
func costly(document []byte) bool {
	for _, m := range costs.FindAllSubmatch(document, -1) {
		if n, err := strconv.Atoi(string(m[1])); err == nil && (n > 2 && n <= 16 || n > 10_000 && n <= 1<<20) {
			return true
		}
	}
	return bytes.Contains(document, []byte("scrypt"))
}

// fuzzTokens are those of JSON, and what is none of them.
var fuzzTokens = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|[-+0-9.eE]+|[a-z]+|[{}\[\]:,]|\s+|.`)

// fuzzWords are what a token becomes.
var fuzzWords = []string{
	`null`, `true`, `0`, `-0`, `-1`, `1`, `2`, `1.0`, `1e0`, `1.50`, `9007199254740992`, `9223372036854775808`, `1e9999`, `1e10000`, `00`,
	`""`, `"a"`, `"\u0061"`, `"\ud83d\ude00"`, `"\ud800"`, `"~"`, `"/"`, `"/a~1b"`, `"/*"`, `"/id,/name"`, `"/a,b"`, `"/0"`, `"$sealed"`, `"é"`, "\"\x7f\"", "\"\xff\"", "\"\u2028\"",
	`{}`, `[]`, `[{}]`, `{"a":1}`, `{"$sealed":""}`, `[null]`, `{"a":1,"a":2}`, `,`, `:`, `{`, `}`, `[`, `]`, " ", "\n", "\ufeff",
	`"2024-02-29T23:59:60Z"`, `"2024-02-29T23:59:59.123456789123+23:59"`, `"0000-01-01T00:00:00+00:01"`, `"9999-12-31T23:59:59-00:01"`, `"0001-01-01T00:00:00-00:00"`, `"2024-01-15t10:30:00z"`,
	`"2.1"`, `"2.1-rc.1"`, `"2.1.0-rc.1"`, `"2.1.0+a"`, `"02.1.0"`, `"3"`, `"2.1.00"`, `"1.0"`, `"1.1"`, `"01.0"`, `"2"`,
	`"version"`, `"format"`, `"created_at"`, `"application"`, `"schema_version"`, `"origin"`, `"metadata"`, `"encryption"`, `"salvaged"`, `"data"`, `"left_out"`, `"proof"`, `"integrity"`,
	`"servers"`, `"settings"`, `"applications"`, `"users"`, `"repositories"`, `"members"`, `"badges"`, `"id"`, `"name"`, `"server_id"`, `"password"`, `"env"`, `"title"`, `"secrets"`, `"key"`, `"type"`, `"argon2id"`, `"age"`, `"ids"`, `"file"`, `"mac"`, `"ed25519"`,
	`"origin":{"installation":"a","serial":1},`, `"left_out":{"servers":0},`, `"salvaged":{"lost_bytes":0},`, `"format":"x",`, `"metadata":{"a":""},`,
}

// edited alters tokens of a document. Four bytes of edits say which, how and to what.
func edited(document, edits []byte) []byte {
	for ; len(edits) >= 4; edits = edits[4:] {
		tokens := fuzzTokens.FindAll(document, -1)
		if len(tokens) == 0 {
			return document
		}
		at := (int(edits[0]) + int(edits[1])<<8) % len(tokens)
		other := (at + 1 + int(edits[2])) % len(tokens)
		word := []byte(fuzzWords[int(edits[2])%len(fuzzWords)])
		switch edits[3] % 6 {
		case 0, 1:
			tokens[at] = word
		case 2:
			tokens = slices.Delete(tokens, at, at+1)
		case 3:
			tokens[at] = tokens[other]
		case 4:
			tokens[at], tokens[other] = tokens[other], tokens[at]
		case 5:
			tokens = slices.Insert(tokens, at, word)
		}
		document = bytes.Join(tokens, nil)
	}
	return document
}

var fuzzDigest = regexp.MustCompile(`"sha256":"[^"]*"`)

// withFittingDigest makes the digest of a document fit.
func withFittingDigest(document []byte) []byte {
	at := bytes.LastIndex(document, []byte(`"integrity":`))
	if at < 0 {
		return document
	}
	sum := sha256.Sum256(document[:at])
	tail := fuzzDigest.ReplaceAllLiteral(document[at:], []byte(`"sha256":"`+hex.EncodeToString(sum[:])+`"`))
	return append(slices.Clip(document[:at]), tail...)
}

var fuzzIntegrity = regexp.MustCompile(`,\s*"integrity":[^}]*\}\s*\}`)

// withoutIntegrity takes the member integrity away.
func withoutIntegrity(document []byte) []byte { return fuzzIntegrity.ReplaceAllLiteral(document, nil) }

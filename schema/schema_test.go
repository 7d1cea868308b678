package schema_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v5"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/schema"
)

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.Draft = jsonschema.Draft2020
	c.AssertFormat = true
	c.LoadURL = func(url string) (io.ReadCloser, error) {
		return nil, errors.New("the schema refers to " + url + ", but must stand alone")
	}
	require.NoError(t, c.AddResource(schema.ID, strings.NewReader(schema.Snapshot())))
	s, err := c.Compile(schema.ID)
	require.NoError(t, err)
	return s
}

func decode(t *testing.T, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	require.NoError(t, d.Decode(&v))
	return v
}

// blocks returns the code blocks of FORMAT.md that stand under a heading.
func blocks(t *testing.T, heading, language string) []string {
	t.Helper()
	_, section, found := strings.Cut(schema.Format(), "\n## "+heading+"\n")
	require.True(t, found, "FORMAT.md has no section %q", heading)
	section, _, _ = strings.Cut(section, "\n## ")
	var texts []string
	for _, m := range regexp.MustCompile("(?s)\n```"+language+"\n(.*?)```\n").FindAllStringSubmatch(section, -1) {
		texts = append(texts, m[1])
	}
	require.NotEmpty(t, texts, "FORMAT.md has no %s in section %q", language, heading)
	return texts
}

func example(t *testing.T) string { return blocks(t, "Worked example", "json")[0] }

func TestTheSchemaCarriesItsID(t *testing.T) {
	require.Equal(t, schema.ID, decode(t, schema.Snapshot()).(map[string]any)["$id"])
}

func TestFormatSchemaAndLibraryAgreeOnTheVersion(t *testing.T) {
	m := regexp.MustCompile(`(?m)^Format version: \*\*(.*)\*\*$`).FindStringSubmatch(schema.Format())
	require.NotNil(t, m, "FORMAT.md does not say its version")
	require.Equal(t, backup.FormatVersion, m[1])
	require.Contains(t, schema.Format(), "\n| "+backup.FormatVersion+" |", "the version history lacks the version")

	properties := decode(t, schema.Snapshot()).(map[string]any)["properties"].(map[string]any)
	require.Equal(t, backup.FormatVersion, properties["version"].(map[string]any)["const"])
}

func TestFormatAndSchemaNameTheSameMembers(t *testing.T) {
	_, section, _ := strings.Cut(schema.Format(), "\n## The document\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var named []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(section, -1) {
		named = append(named, m[1])
	}
	var described []string
	for name := range decode(t, schema.Snapshot()).(map[string]any)["properties"].(map[string]any) {
		described = append(described, name)
	}
	require.ElementsMatch(t, named, described)
}

func TestGoodSnapshotsSatisfyTheSchema(t *testing.T) {
	s := compile(t)
	for name, doc := range map[string]string{
		"the worked example":                      example(t),
		"the four members of the guide":           blocks(t, "What a reader accepts and refuses", "json")[0],
		"no data":                                 `{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application_version":"2.1.0","data":{}}`,
		"a time in another zone, with a fraction": `{"version":"1.0","created_at":"2024-01-15T12:30:00.25+02:00","application_version":"2.1.0-rc.1+linux","data":{}}`,
		"salvaged, with records lost":             `{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application_version":"2","salvaged":{"lost_bytes":12,"records":{"servers":3}},"data":{}}`,
		"salvaged, with nothing lost":             `{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application_version":"2","salvaged":{"lost_bytes":0},"data":{}}`,
		"any value in a map":                      `{"version":"1.0","created_at":"2024-01-15T10:30:00Z","application_version":"2","data":{"settings":{"a":null,"b":[1],"c":12345678901234567890,"d":{"$sealed":"mine"}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, s.Validate(decode(t, doc)))
		})
	}
}

func TestTheSchemaRefuses(t *testing.T) {
	s := compile(t)
	type object = map[string]any
	at := func(doc object, names ...string) object {
		for _, name := range names {
			doc = doc[name].(object)
		}
		return doc
	}
	wrapped := func(doc object) object { return at(doc, "encryption")["keys"].([]any)[0].(object) }
	num := func(s string) json.Number { return json.Number(s) }

	for name, damage := range map[string]func(doc object){
		"another version of the format":       func(d object) { d["version"] = "1.1" },
		"a version that is a number":          func(d object) { d["version"] = num("1.0") },
		"no version":                          func(d object) { delete(d, "version") },
		"no time":                             func(d object) { delete(d, "created_at") },
		"no application version":              func(d object) { delete(d, "application_version") },
		"no data":                             func(d object) { delete(d, "data") },
		"an unknown member":                   func(d object) { d["integrety"] = object{} },
		"null for an optional member":         func(d object) { d["metadata"] = nil },
		"a date without a time":               func(d object) { d["created_at"] = "2024-01-15" },
		"a day that does not exist":           func(d object) { d["created_at"] = "2024-02-30T10:30:00Z" },
		"a day of no leap year":               func(d object) { d["created_at"] = "2023-02-29T10:30:00Z" },
		"a day of a century without one":      func(d object) { d["created_at"] = "2100-02-29T10:30:00Z" },
		"a month that does not exist":         func(d object) { d["created_at"] = "2024-13-01T10:30:00Z" },
		"an offset of 24 hours":               func(d object) { d["created_at"] = "2024-01-15T10:30:00+24:00" },
		"more collections than a thousand":    func(d object) { d["data"] = many(1001) },
		"an empty key in a map":               func(d object) { at(d, "data", "settings")[""] = true },
		"a count beyond 2^53-1":               func(d object) { at(d, "integrity", "records")["servers"] = num("9007199254740992") },
		"the same secret twice":               func(d object) { at(d, "encryption", "fields", "servers")["secrets"] = []any{"/a", "/a"} },
		"an application name with a slash":    func(d object) { d["application"] = "../tomo" },
		"a version that is not semantic":      func(d object) { d["application_version"] = "v2.1.0" },
		"a version with a leading zero":       func(d object) { d["application_version"] = "2.01.0" },
		"schema version 0":                    func(d object) { d["schema_version"] = num("0") },
		"schema version as text":              func(d object) { d["schema_version"] = "3" },
		"metadata that is not text":           func(d object) { at(d, "metadata")["n"] = num("1") },
		"data that is an array":               func(d object) { d["data"] = []any{} },
		"a collection that is a string":       func(d object) { at(d, "data")["servers"] = "none" },
		"a collection that is null":           func(d object) { at(d, "data")["servers"] = nil },
		"a record of a list that is a number": func(d object) { at(d, "data")["servers"] = []any{num("1")} },

		"salvaged that says nothing":         func(d object) { d["salvaged"] = object{} },
		"salvaged that is true":              func(d object) { d["salvaged"] = true },
		"an unknown member of salvaged":      func(d object) { d["salvaged"] = object{"lost_bytes": num("1"), "lost": num("1")} },
		"fewer than no bytes lost":           func(d object) { d["salvaged"] = object{"lost_bytes": num("-1")} },
		"bytes lost as text":                 func(d object) { d["salvaged"] = object{"lost_bytes": "1"} },
		"no record of a collection lost":     func(d object) { d["salvaged"] = object{"lost_bytes": num("1"), "records": object{"servers": num("0")}} },
		"null for the records that are lost": func(d object) { d["salvaged"] = object{"lost_bytes": num("1"), "records": nil} },

		"no digest":                      func(d object) { delete(at(d, "integrity"), "sha256") },
		"a digest in upper case":         func(d object) { at(d, "integrity")["sha256"] = strings.Repeat("A", 64) },
		"a digest cut short":             func(d object) { at(d, "integrity")["sha256"] = strings.Repeat("a", 63) },
		"no counts":                      func(d object) { delete(at(d, "integrity"), "records") },
		"a negative count":               func(d object) { at(d, "integrity", "records")["servers"] = num("-1") },
		"an unknown member of integrity": func(d object) { at(d, "integrity")["md5"] = "" },

		"an unknown cipher":                   func(d object) { at(d, "encryption")["cipher"] = "rot13" },
		"an id of 15 bytes":                   func(d object) { at(d, "encryption")["id"] = "EBESExQVFhcYGRobHB0e" },
		"an id with unused bits set":          func(d object) { at(d, "encryption")["id"] = "EBESExQVFhcYGRobHB0eHx==" },
		"no check":                            func(d object) { delete(at(d, "encryption"), "check") },
		"no member for the sealed fields":     func(d object) { delete(at(d, "encryption"), "fields") },
		"a pointer without a slash":           func(d object) { at(d, "encryption", "fields", "servers")["key"] = "id" },
		"a pointer with a lone tilde":         func(d object) { at(d, "encryption", "fields", "servers")["secrets"] = []any{"/a~b"} },
		"an empty list of secrets":            func(d object) { at(d, "encryption", "fields", "servers")["secrets"] = []any{} },
		"no wrapped key":                      func(d object) { at(d, "encryption")["keys"] = []any{} },
		"17 wrapped keys":                     func(d object) { at(d, "encryption")["keys"] = make17(wrapped(d)) },
		"a wrapped key without a type":        func(d object) { delete(wrapped(d), "type") },
		"a wrapped key without a salt":        func(d object) { delete(wrapped(d), "salt") },
		"a wrapped key with a member more":    func(d object) { wrapped(d)["secret"] = "" },
		"a wrapped key that is too short":     func(d object) { wrapped(d)["wrapped"] = strings.Repeat("A", 92) },
		"a key derivation of 64 GiB":          func(d object) { wrapped(d)["memory"] = num("67108864") },
		"a key derivation that costs nothing": func(d object) { wrapped(d)["memory"] = num("8") },
		"a key derivation of 17 passes":       func(d object) { wrapped(d)["time"] = num("17") },
		"a key derivation without a lane":     func(d object) { wrapped(d)["threads"] = num("0") },

		"an age key without a file":           func(d object) { at(d, "encryption")["keys"] = []any{object{"type": "age", "ids": []any{}}} },
		"an age key with a member more":       func(d object) { at(d, "encryption")["keys"] = []any{ageKey("salt", "")} },
		"an age key with an empty file":       func(d object) { at(d, "encryption")["keys"] = []any{ageKey("file", "")} },
		"an age key with a file in two lines": func(d object) { at(d, "encryption")["keys"] = []any{ageKey("file", ageStart+"\nYWdl")} },
		"an age key with unused bits set":     func(d object) { at(d, "encryption")["keys"] = []any{ageKey("file", ageStart+"YR==")} },
		"an age key with a file beyond 64 KiB": func(d object) {
			at(d, "encryption")["keys"] = []any{ageKey("file", ageStart+strings.Repeat("YWdl", 21839))}
		},
		"an age key that is no age file": func(d object) { at(d, "encryption")["keys"] = []any{ageKey("file", "YWdl"+ageStart)} },
		"an age key of a later version": func(d object) {
			at(d, "encryption")["keys"] = []any{ageKey("file", strings.Replace(ageStart, "3YxC", "3YyC", 1))}
		},
		"an age key whose ids are a string":  func(d object) { at(d, "encryption")["keys"] = []any{ageKey("ids", "age1")} },
		"an age key whose ids are null":      func(d object) { at(d, "encryption")["keys"] = []any{ageKey("ids", nil)} },
		"an age key with an id that is null": func(d object) { at(d, "encryption")["keys"] = []any{ageKey("ids", []any{nil})} },
		"an age key with an id of 201 bytes": func(d object) { at(d, "encryption")["keys"] = []any{ageKey("ids", []any{strings.Repeat("a", 201)})} },
		"an age key with 65 ids":             func(d object) { at(d, "encryption")["keys"] = []any{ageKey("ids", manyIDs(65))} },
		"an age key with members of another": func(d object) { wrapped(d)["type"] = "age" },

		"a proof of nothing":             func(d object) { d["proof"] = object{} },
		"a proof that is null":           func(d object) { d["proof"] = nil },
		"a proof that is a string":       func(d object) { d["proof"] = at(d, "proof")["mac"] },
		"an unknown member of the proof": func(d object) { at(d, "proof")["sha256"] = "" },
		"an empty mac":                   func(d object) { at(d, "proof")["mac"] = "" },
		"a mac that is null":             func(d object) { at(d, "proof")["mac"] = nil },
		"a mac of 31 bytes":              func(d object) { at(d, "proof")["mac"] = base64.StdEncoding.EncodeToString(make([]byte, 31)) },
		"a mac in base64 for URLs":       func(d object) { at(d, "proof")["mac"] = strings.Repeat("_", 42) + "8=" },
		"a signature that is a string":   func(d object) { at(d, "proof")["ed25519"] = signature()["signature"] },
		"a signature without its key":    func(d object) { at(d, "proof")["ed25519"] = without(signature(), "key") },
		"a key without its signature":    func(d object) { at(d, "proof")["ed25519"] = without(signature(), "signature") },
		"a signature with a member more": func(d object) { at(d, "proof")["ed25519"] = with(signature(), "hash", "sha512") },
		"a signature of 63 bytes": func(d object) {
			at(d, "proof")["ed25519"] = with(signature(), "signature", base64.StdEncoding.EncodeToString(make([]byte, 63)))
		},
		"a signature with unused bits set": func(d object) {
			at(d, "proof")["ed25519"] = with(signature(), "signature", strings.Repeat("A", 85)+"B==")
		},
		"a signature with a key of 33 bytes": func(d object) {
			at(d, "proof")["ed25519"] = with(signature(), "key", base64.StdEncoding.EncodeToString(make([]byte, 33)))
		},
		"a signature with a key that is null": func(d object) { at(d, "proof")["ed25519"] = with(signature(), "key", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			doc := decode(t, example(t))
			damage(doc.(object))
			require.Error(t, s.Validate(doc))
		})
	}
}

// ageStart is the first line of an age file and "-> ", in base64.
const ageStart = "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+"

func ageKey(name string, value any) map[string]any {
	key := map[string]any{"type": "age", "file": ageStart + "YWdl", "ids": []any{"age1"}}
	return with(key, name, value)
}

func signature() map[string]any {
	return map[string]any{
		"key":       base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"signature": base64.StdEncoding.EncodeToString(make([]byte, 64)),
	}
}

func with(object map[string]any, name string, value any) map[string]any {
	object[name] = value
	return object
}

func without(object map[string]any, name string) map[string]any {
	delete(object, name)
	return object
}

func many(n int) map[string]any {
	collections := make(map[string]any)
	for i := range n {
		collections[fmt.Sprint("c", i)] = []any{}
	}
	return collections
}

func manyIDs(n int) []any {
	ids := make([]any, n)
	for i := range ids {
		ids[i] = "age1"
	}
	return ids
}

func make17(key any) []any {
	keys := make([]any, 17)
	for i := range keys {
		keys[i] = key
	}
	return keys
}

func TestGoodKeysAndProofsSatisfyTheSchema(t *testing.T) {
	type object = map[string]any
	s := compile(t)
	for name, change := range map[string]func(doc, encryption object){
		"no sealed fields":           func(_, e object) { e["fields"] = object{} },
		"an age key":                 func(_, e object) { e["keys"] = []any{ageKey("ids", []any{"age1", "ssh-ed25519 SHA256:x"})} },
		"an age key without ids":     func(_, e object) { e["keys"] = []any{without(ageKey("file", ageStart+"LQ=="), "ids")} },
		"an age key with no id":      func(_, e object) { e["keys"] = []any{ageKey("ids", []any{})} },
		"an age key with 64 ids":     func(_, e object) { e["keys"] = []any{ageKey("ids", manyIDs(64))} },
		"an age key of 64 KiB":       func(_, e object) { e["keys"] = []any{ageKey("file", ageStart+strings.Repeat("YWdl", 21837)+"YQ==")} },
		"keys of two types":          func(_, e object) { e["keys"] = append(e["keys"].([]any), ageKey("file", ageStart+"LWU=")) },
		"no proof":                   func(d, _ object) { delete(d, "proof") },
		"a signature beside the mac": func(d, _ object) { d["proof"].(object)["ed25519"] = signature() },
		"a signature alone":          func(d, _ object) { d["proof"] = object{"ed25519": signature()} },
		"a signature and no keys":    func(d, _ object) { d["proof"] = object{"ed25519": signature()}; delete(d, "encryption") },
	} {
		t.Run(name, func(t *testing.T) {
			doc := decode(t, example(t)).(object)
			change(doc, doc["encryption"].(object))
			require.NoError(t, s.Validate(doc))
		})
	}
}

func TestAWrappedKeyOfALaterTypeSatisfiesTheSchema(t *testing.T) {
	doc := decode(t, example(t))
	encryption := doc.(map[string]any)["encryption"].(map[string]any)
	encryption["keys"] = append(encryption["keys"].([]any), map[string]any{"type": "later", "anything": true})
	require.NoError(t, compile(t).Validate(doc))
}

func TestTheSealedValuesOfTheExampleSatisfyTheDefinition(t *testing.T) {
	c := jsonschema.NewCompiler()
	c.Draft = jsonschema.Draft2020
	require.NoError(t, c.AddResource(schema.ID, strings.NewReader(schema.Snapshot())))
	s, err := c.Compile(schema.ID + "#/$defs/sealed")
	require.NoError(t, err)

	found := regexp.MustCompile(`\{"\$sealed":"[^"]*"\}`).FindAllString(example(t), -1)
	require.Len(t, found, 2)
	for _, sealed := range found {
		require.NoError(t, s.Validate(decode(t, sealed)))
	}
	require.Error(t, s.Validate(decode(t, `{"$sealed":"aHVudGVyMg=="}`)), "too short for a nonce and a tag")
	require.Error(t, s.Validate(decode(t, `"hunter2"`)))
}

func TestTheDigestCanBeCheckedWithTheCommandsOfTheFormat(t *testing.T) {
	for _, tool := range []string{"sh", "sed", "tail", "sha256sum"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("no " + tool + " here")
		}
	}
	file := filepath.Join(t.TempDir(), "snapshot.json")
	require.NoError(t, os.WriteFile(file, []byte(example(t)), 0o600))
	run := func(command string) string {
		require.Contains(t, command, "FILE")
		out, err := exec.Command("sh", "-c", strings.ReplaceAll(command, "FILE", file)).Output()
		require.NoError(t, err)
		return string(out)
	}
	commands := blocks(t, "Integrity", "sh")
	require.Len(t, commands, 2)
	digest := strings.Fields(run(commands[0]))[0]
	require.Contains(t, run(commands[1]), `"integrity":{"sha256":"`+digest+`"`)
}

func TestTheWorkedExampleOpens(t *testing.T) {
	_, err := backup.OpenSnapshot(t.Context(), strings.NewReader(example(t)), backup.OpenOptions{
		Identities: []backup.Identity{backup.Passphrase([]byte("wrong horse"))},
	})
	require.ErrorIs(t, err, backup.ErrWrongKey)

	s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(example(t)), backup.OpenOptions{
		Identities: []backup.Identity{backup.Passphrase([]byte("correct horse"))}, RequireProof: true,
	})
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, map[string]int64{"servers": 2, "settings": 2, "users": 0}, s.Manifest().Records)
	require.Equal(t, "passphrase", s.Manifest().Authentic)

	opened := make(map[string][]string)
	require.NoError(t, s.View(t.Context(), func(r backup.Reader) error {
		for _, name := range []string{"servers", "settings"} {
			for record, err := range r.Records(t.Context(), name) {
				if err != nil {
					return err
				}
				opened[name] = append(opened[name], record.Key+" "+string(record.Value))
			}
		}
		return nil
	}))
	require.Equal(t, map[string][]string{
		"servers":  {`a1 {"id":"a1","name":"nas","password":"hunter2"}`, `b2 {"id":"b2","name":"pi"}`},
		"settings": {`theme "dark"`, `smtp_password null`},
	}, opened)
}

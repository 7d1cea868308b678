package schema_test

import (
	"encoding/json"
	"errors"
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
		"no sealed fields":                    func(d object) { at(d, "encryption")["fields"] = object{} },
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
	} {
		t.Run(name, func(t *testing.T) {
			doc := decode(t, example(t))
			damage(doc.(object))
			require.Error(t, s.Validate(doc))
		})
	}
}

func make17(key any) []any {
	keys := make([]any, 17)
	for i := range keys {
		keys[i] = key
	}
	return keys
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
		Identities: []backup.Identity{backup.Passphrase([]byte("correct horse"))},
	})
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, map[string]int64{"servers": 2, "settings": 2, "users": 0}, s.Manifest().Records)

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

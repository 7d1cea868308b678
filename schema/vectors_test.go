package schema_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/schema"
)

// beyondASchema names the vectors of the kind "format" that no JSON Schema can refuse,
// with the reason. Vectors of the other kinds take more than a schema by their nature:
// the bytes of the file (damaged, limit), a key (no-key, wrong-key, unauthentic), or the
// declaration of the host (too-new, foreign, invalid, dangling).
var beyondASchema = map[string]string{
	"version-not-first":              order,
	"integrity-not-last":             order,
	"proof-before-data":              order,
	"proof-behind-integrity":         order,
	"proof-followed-by-data":         order,
	"proof-followed-by-member":       order,
	"counts-minus-zero":              spelling,
	"counts-whole-fraction":          spelling,
	"left-out-fraction":              spelling,
	"left-out-minus-zero":            spelling,
	"origin-serial-fraction":         spelling,
	"salvaged-fraction":              spelling,
	"salvaged-minus-zero":            spelling,
	"schema-version-exponent":        spelling,
	"schema-version-whole-fraction":  spelling,
	"sealed-fields-contains-key":     pointers,
	"sealed-fields-overlap":          pointers,
	"sealed-fields-list-without-key": shapes,
	"sealed-fields-map-with-key":     shapes,
}

const (
	order    = "the members of an object have no order in a schema"
	spelling = "1.0, 1e0 and 1 are the same integer in a schema, and so are -0 and 0"
	pointers = "a schema does not compare two strings"
	shapes   = "a schema does not follow a name from fields to data"
)

// aSchemaJudges tells whether a vector is about what a schema can see, and decodes it.
func aSchemaJudges(v backuptest.Vector) (value any, ok bool) {
	if v.Expect != "ok" && v.Expect != "format" || filepath.Ext(v.File) != ".json" {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(v.Data))
	d.UseNumber()
	return value, d.Decode(&value) == nil
}

func TestTheSchemaRefusesWhatASchemaCanRefuse(t *testing.T) {
	s := compile(t)
	judged := make(map[string]int)
	for _, v := range backuptest.Vectors() {
		value, ok := aSchemaJudges(v)
		if !ok {
			continue
		}
		judged[v.Expect]++
		why := beyondASchema[strings.TrimSuffix(v.Name, "-no-passphrase")]
		if err := s.Validate(value); v.Expect == "ok" || why != "" {
			require.NoError(t, err, "%s: %s", v.Name, why)
		} else {
			require.Error(t, err, "%s: %s", v.Name, v.Note)
		}
	}
	require.Greater(t, judged["format"], len(beyondASchema))
	require.NotZero(t, judged["ok"])
}

// ajvVariable names the folder of the package ajv, a validator that other languages
// than Go have: npm install ajv.
const ajvVariable = "BACKUP_TEST_AJV"

// strictAjv prints, for each document that it reads, whether it is valid.
const strictAjv = `
const fs = require("fs")
const Ajv = require(process.env.BACKUP_TEST_AJV + "/dist/2020").default
const input = JSON.parse(fs.readFileSync(0))
const validate = new Ajv({strict: true}).compile(JSON.parse(input.schema))
console.log(JSON.stringify(input.documents.map(text => validate(JSON.parse(text)))))
`

func TestAStrictValidatorOfAnotherLanguageAgrees(t *testing.T) {
	if os.Getenv(ajvVariable) == "" {
		text := ajvVariable + " does not name the folder node_modules/ajv: npm install ajv makes it"
		if os.Getenv("BACKUP_REQUIRE_SERVICES") == "1" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	s := compile(t)
	var names, documents []string
	var want []bool
	for _, v := range backuptest.Vectors() {
		if value, ok := aSchemaJudges(v); ok {
			names, documents = append(names, v.Name), append(documents, string(v.Data))
			want = append(want, s.Validate(value) == nil)
		}
	}
	input, err := json.Marshal(map[string]any{"schema": schema.Snapshot(), "documents": documents})
	require.NoError(t, err)
	command := exec.Command("node", "-e", strictAjv)
	command.Stdin = bytes.NewReader(input)
	var wrong strings.Builder
	command.Stderr = &wrong
	out, err := command.Output()
	require.NoError(t, err, wrong.String())
	var got []bool
	require.NoError(t, json.Unmarshal(out, &got))
	require.Len(t, got, len(want))
	for i, name := range names {
		require.Equal(t, want[i], got[i], name)
	}
}

// Package onepass_test holds the one pass over a record against the validator, with the
// schemas of the JSON Schema test suite.
package onepass_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	_ "github.com/google/jsonschema-go/jsonschema" // its module has the files of the suite
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/onepass/passtest"
	"github.com/tomo-project/backup/internal/testtime"
)

// A group is a schema of the suite, and values for it.
type group struct {
	file   string
	schema []byte
	values [][]byte
}

// groups returns those of draft 2020-12, as the module of google/jsonschema-go ships them.
func groups(t testing.TB) (all []group) {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/google/jsonschema-go/jsonschema").Output()
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "testdata", "draft2020-12", "*.json"))
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var read []struct {
			Schema json.RawMessage
			Tests  []struct{ Data json.RawMessage }
		}
		require.NoError(t, json.Unmarshal(text, &read), file)
		for _, r := range read {
			g := group{file: filepath.Base(file), schema: r.Schema}
			for _, test := range r.Tests {
				v := jsontext.Value(test.Data)
				require.NoError(t, v.Compact())
				g.values = append(g.values, v)
			}
			all = append(all, g)
		}
	}
	require.Greater(t, len(all), 300)
	return all
}

// beyond are the files about keywords that the pass leaves to the validator.
var beyond = []string{"dynamicRef.json", "unevaluatedItems.json", "unevaluatedProperties.json"}

func TestThePassAgreesWithTheValidatorOnTheTestSuite(t *testing.T) {
	testtime.NotForRace(t)
	n := testtime.Pick(t, 20, 300) // mutants of each value
	r := rand.New(rand.NewPCG(1, 2))
	mutants, valid, accepted, left := 0, 0, 0, map[string]int{}
	for _, g := range groups(t) {
		j, err := passtest.New(g.schema, "/foo", "/*/bar", "/0")
		if err != nil {
			continue // it refers to other documents, or has a pattern that RE2 has not
		}
		for _, text := range g.values {
			mutant := text
			for i := range n {
				a, v := j.Check(t, mutant)
				if v && !slices.Contains(beyond, g.file) {
					valid++
					if a {
						accepted++
					} else {
						left[g.file]++
					}
				}
				if i%4 == 0 {
					mutant = text
				}
				mutant = passtest.Mutate(r, mutant)
				mutants++
			}
		}
	}
	t.Logf("%d mutants. Without %v, %d are valid and %.1f%% of these accepted. The others, by file: %v", mutants, beyond, valid, 100*float64(accepted)/float64(valid), left)
	require.Greater(t, float64(accepted), 0.95*float64(valid))
}

func FuzzOnePassSuite(f *testing.F) {
	for _, g := range groups(f) {
		for _, text := range g.values {
			f.Add([]byte(g.schema), text)
		}
	}
	f.Fuzz(func(t *testing.T, schema, text []byte) {
		j, err := passtest.New(schema, "/foo", "/*/bar", "/0")
		if err != nil {
			return
		}
		j.Check(t, text)
		for seed := range uint64(4) {
			j.Check(t, passtest.Mutate(rand.New(rand.NewPCG(seed, 0)), text))
		}
	})
}

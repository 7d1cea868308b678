package validate_test

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/onepass/passtest"
	"github.com/tomo-project/backup/internal/testtime"
)

// A sample is a schema with valid records.
type sample struct {
	name    string
	judge   *passtest.Judge
	records [][]byte
}

// samples are the schemas of Tomo and of the benchmark, and those of testdata/schemas.json:
// of databases as sqlstore.Describe writes them, and of a host that uses many keywords.
func samples(t testing.TB) (all []sample) {
	all = append(all, sample{"server", newJudge(t, serverSchema, "/id", "/tags/1"), [][]byte{[]byte(serverRecord)}})
	judges := tomoJudges(t)
	for _, name := range slices.Sorted(maps.Keys(judges)) {
		s := sample{name: name, judge: judges[name]}
		for i := range 16 {
			s.records = append(s.records, []byte(tomoRecord(name, i)))
		}
		all = append(all, s)
	}
	var files map[string]struct {
		Schema   json.RawMessage
		Pointers []string
		Records  []json.RawMessage
	}
	text, err := os.ReadFile("testdata/schemas.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &files))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f := files[name]
		s := sample{name: name, judge: newJudge(t, string(f.Schema), f.Pointers...)}
		for _, record := range f.Records {
			v := jsontext.Value(record)
			require.NoError(t, v.Compact())
			s.records = append(s.records, v)
		}
		all = append(all, s)
	}
	return all
}

func TestThePassAcceptsTheSamples(t *testing.T) {
	for _, s := range samples(t) {
		for _, record := range s.records {
			accepted, valid := s.judge.Check(t, record)
			require.True(t, valid, "%s: %s", s.name, record)
			require.True(t, accepted, "%s: %s", s.name, record)
		}
	}
}

// Most mutants are not valid. Check fails if the Pass accepts one of these.
func TestThePassAcceptsNoMutantThatIsNotValid(t *testing.T) {
	testtime.NotForRace(t)
	n := testtime.Pick(t, 3_000, 50_000) // of each schema
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(1, 2))
			valid, accepted := 0, 0
			for range n {
				mutant := passtest.Mutate(r, s.records[r.IntN(len(s.records))])
				a, v := s.judge.Check(t, mutant)
				if v {
					valid++
				}
				if a {
					accepted++
				} else if v && testing.Verbose() && valid-accepted < 5 {
					t.Logf("valid, and not accepted: %s", mutant)
				}
			}
			t.Logf("%d mutants, %d valid, %.1f%% of these accepted", n, valid, 100*float64(accepted)/float64(valid))
			require.Greater(t, valid, n/50, "too few mutants are valid to learn from them")
			require.Greater(t, float64(accepted), 0.95*float64(valid))
		})
	}
}

// FuzzOnePass holds the Pass for a schema of its own against the validator.
func FuzzOnePass(f *testing.F) {
	for _, s := range samples(f) {
		for _, record := range s.records {
			f.Add(string(s.name), record)
		}
	}
	known := map[string]*passtest.Judge{}
	for _, s := range samples(f) {
		known[s.name] = s.judge
	}
	f.Fuzz(func(t *testing.T, schema string, record []byte) {
		j := known[schema]
		if j == nil {
			var err error
			if j, err = passtest.New([]byte(schema), "/a", "/*/b", "/0"); err != nil {
				return
			}
		}
		j.Check(t, record)
		for seed := range uint64(4) {
			j.Check(t, passtest.Mutate(rand.New(rand.NewPCG(seed, 0)), record))
		}
	})
}

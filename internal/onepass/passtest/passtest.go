// Package passtest holds a Pass against what decides without it: packages codec and
// validate.
package passtest

import (
	"slices"
	"testing"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/onepass"
	"github.com/tomo-project/backup/internal/validate"
)

// Limits are small, so that mutants reach them.
var Limits = codec.Limits{RecordBytes: 1 << 20, Depth: 12, Values: 200}

// A Judge has a Pass for a schema and some pointers, and what must agree with it.
type Judge struct {
	Pass   *onepass.Pass
	schema *validate.Schema
	places []codec.Pointer
}

// New returns a Judge, or an error about the schema or a pointer.
func New(schema []byte, pointers ...string) (*Judge, error) {
	s, err := validate.Compile("records", schema)
	if err != nil {
		return nil, err
	}
	j := &Judge{schema: s}
	var tokens [][]string
	for _, text := range pointers {
		p, err := codec.ParsePointer(text)
		if err != nil {
			return nil, err
		}
		j.places = append(j.places, p)
		tokens = append(tokens, p)
	}
	j.Pass = onepass.New(s.Rule(), tokens)
	return j, nil
}

// Valid tells whether a record is valid, without the Pass.
func (j *Judge) Valid(text []byte) bool {
	compact, err := codec.Reformat(nil, text, Limits)
	if err != nil || string(compact) != string(text) {
		return false
	}
	_, problems := j.schema.Validate(codec.Decode(compact), 0)
	return problems == 0
}

// Check tells whether the Pass accepts a record, and whether it is valid. It fails the
// test if the Pass accepts a record that is not valid, or gives other places than package
// codec.
func (j *Judge) Check(t testing.TB, text []byte) (accepted, valid bool) {
	t.Helper()
	marks, accepted := j.Pass.Read(text, onepass.Limits{Depth: Limits.Depth, Values: Limits.Values}, nil)
	valid = j.Valid(text)
	if accepted && !valid {
		t.Fatalf("the Pass accepts what is not valid: %q", text)
	}
	if want := j.marks; accepted && !slices.Equal(marks, want(text)) {
		t.Fatalf("marks of %q: %v, want %v", text, marks, want(text))
	}
	return accepted, valid
}

// marks returns the places that package codec finds, in the order of [onepass.Pass.Read].
func (j *Judge) marks(text []byte) (marks []onepass.Mark) {
	for i, p := range j.places {
		_ = codec.Find(text, []codec.Pointer{p}, func(_ string, start, end int) error {
			marks = append(marks, onepass.Mark{Place: i, Start: start, End: end})
			return nil
		})
	}
	slices.SortStableFunc(marks, func(a, b onepass.Mark) int {
		if a.Start != b.Start {
			return a.Start - b.Start
		}
		return a.Place - b.Place
	})
	return marks
}

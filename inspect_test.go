package backup

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/codec"
)

// What one pass over a record finds is what the slow checks find.
func TestAGlanceFindsWhatTheSlowCheckFinds(t *testing.T) {
	app := &App{Name: "a", Version: "1.0.0", SchemaVersion: 1, Collections: []Collection{
		{Name: "plain", Key: "/id", Refs: []Ref{{"/a", "plain"}, {"/b/*", "plain"}, {"/b/0", "plain"}}},
		{Name: "parts", Key: "/id,/a", Refs: []Ref{{"/a", "plain"}, {"/id,/b", "parts"}, {"/a,/id", "parts"}}, Secrets: []string{"/x/*"}},
		{Name: "named", Shape: Map, Refs: []Ref{{"/k", "plain"}, {"/*/a", "plain"}, {"/k/a,/k/b", "parts"}}},
	}}
	c, err := app.compile()
	require.NoError(t, err)
	limits := Limits{}.codec()
	rnd := rand.New(rand.NewPCG(1, 2))
	scalar := func() string {
		all := []string{`"x"`, `"7"`, `7`, `-0`, `1.5`, `1e2`, `null`, `true`, `""`, `"\u0041"`, `"a,\"b"`, `"é/~"`, "\"\x7f\u2028\"", `"` + strings.Repeat("k", codec.MaxKey+1) + `"`}
		return all[rnd.IntN(len(all))]
	}
	value := func() string {
		switch rnd.IntN(6) {
		case 0:
			return fmt.Sprintf(`[%s,%s]`, scalar(), scalar())
		case 1:
			return fmt.Sprintf(`{"a":%s,"b":%s}`, scalar(), scalar())
		}
		return scalar()
	}
	sure := 0
	for range 20_000 {
		col := c.collections[rnd.IntN(3)]
		members := []string{`"id":` + value(), `"a":` + value(), `"b":` + value(), `"x":` + value()}
		rnd.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		text := "{" + strings.Join(members[:rnd.IntN(5)], ",") + "}"
		if rnd.IntN(10) == 0 {
			text = value()
		}
		r := Record{Value: []byte(text)}
		if col.Shape == Map {
			r.Key = []string{"k", "other", `q"\`, "", "bad\xff", strings.Repeat("k", codec.MaxKey+1)}[rnd.IntN(6)]
		}
		b := batch{col: col}
		b.add(r, limits)
		b.check(limits, false, nil)
		n := &b.notes[0]
		if !n.sure {
			continue
		}
		sure++
		slow := item{key: r.Key, offset: -1}
		slow.value, err = codec.Reformat(nil, r.Value, limits)
		require.NoError(t, err, text)
		require.Empty(t, col.examine(&slow, 1), text)
		require.Equal(t, slow.key, string(n.key), text)
		require.Equal(t, slow.value, b.items[0].value)
		var want, got []string
		col.eachRef(col.view(slow.key, slow.value), func(target, ref, _ string, err error) {
			require.NoError(t, err)
			want = append(want, target+" "+ref)
		})
		for _, l := range b.pad.links[n.first:n.last] {
			got = append(got, col.refs[l.ref].Collection+" "+string(l.key))
		}
		slices.Sort(want)
		slices.Sort(got)
		require.Equal(t, want, got, text)
	}
	require.Greater(t, sure, 2_000)
}

// The view of a record of a Map must not take a text for a value that would be several
// members.
func TestSeveralMembersAreNoValueOfAMap(t *testing.T) {
	app := &App{Name: "a", Version: "1.0.0", SchemaVersion: 1, Collections: []Collection{{Name: "named", Shape: Map}}}
	c, err := app.compile()
	require.NoError(t, err)
	for text, valid := range map[string]bool{`1`: true, `"a,b"`: true, `{"a":1,"b":[2,3]}`: true, `1,"x":2`: false, `{},"x":{}`: false, `"a","x":"b"`: false, ``: false, `1}`: false, `1},{"a":1`: false} {
		b := batch{col: c.collections[0]}
		b.add(Record{Key: "k", Value: []byte(text)}, Limits{}.codec())
		b.check(Limits{}.codec(), false, nil)
		require.Equal(t, valid, b.notes[0].sure, text)
		require.Equal(t, valid, b.notes[0].err == nil, text)
	}
}

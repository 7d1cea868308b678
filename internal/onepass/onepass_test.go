package onepass_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/onepass"
)

var wide = onepass.Limits{Depth: 100, Values: 1 << 20}

func TestAPassIsSafeForSeveralAtOnce(t *testing.T) {
	rule := &onepass.Rule{Kinds: onepass.Object, Object: &onepass.ObjectRule{
		MinProperties: -1, MaxProperties: -1, Required: []string{"a", "b", "c"},
		Additional: &onepass.Rule{Kinds: onepass.Number},
	}}
	pass := onepass.New(rule, [][]string{{"c"}})
	orders := []string{`{"a":1,"b":2,"c":3}`, `{"c":3,"b":2,"a":1}`, `{"x":0,"b":1,"c":2,"y":3,"a":4}`}
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			var marks []onepass.Mark
			for i := range 1000 {
				text := orders[(g+i)%3]
				var ok bool
				marks, ok = pass.Read([]byte(text), wide, marks[:0])
				at := strings.Index(text, `"c":`) + 4
				if !ok || len(marks) != 1 || marks[0] != (onepass.Mark{Place: 0, Start: at, End: at + 1}) {
					t.Errorf("%s: %v %v", text, ok, marks)
					return
				}
				if _, ok := pass.Read([]byte(`{"a":1,"b":2,"x":3}`), wide, nil); ok {
					t.Error("accepted without c")
				}
			}
		})
	}
	group.Wait()
}

func TestPlacesMayOverlap(t *testing.T) {
	pass := onepass.New(nil, [][]string{{"a"}, {"a", "b"}, {"*", "b"}, {"a"}, nil})
	marks, ok := pass.Read([]byte(`{"a":{"b":1}}`), wide, nil)
	require.True(t, ok)
	require.Equal(t, []onepass.Mark{{4, 0, 13}, {0, 5, 12}, {3, 5, 12}, {1, 10, 11}, {2, 10, 11}}, marks)
}

func TestTooManyPlacesAreNotReadAtAll(t *testing.T) {
	var places [][]string
	for i := range 16 { // every set of them is a node
		places = append(places, append(strings.Split(strings.Repeat("*,", i)+"a"+strings.Repeat(",*", 15-i), ","), "b"))
	}
	_, ok := onepass.New(nil, places).Read([]byte(`1`), wide, nil)
	require.False(t, ok)
	_, ok = onepass.New(nil, [][]string{{"1000000"}}).Read([]byte(`1`), wide, nil)
	require.False(t, ok)
}

func TestNamesThatOccurTwiceAreFoundAmongMany(t *testing.T) {
	for _, n := range []int{2, 10, 12, 13, 14, 50, 1000} {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf(`"name %d":1`, i))
		}
		pass := onepass.New(nil, nil)
		_, ok := pass.Read([]byte("{"+strings.Join(names, ",")+"}"), wide, nil)
		require.True(t, ok, n)
		for _, twice := range []int{0, n / 2, n - 1} {
			text := "{" + strings.Join(names, ",") + "," + names[twice] + "}"
			_, ok = pass.Read([]byte(text), wide, nil)
			require.False(t, ok, n)
			_, ok = pass.Read([]byte(strings.Replace(text, `"name`, `"\u006eame`, twice+1)), wide, nil)
			require.False(t, ok, n)
		}
	}
}

func BenchmarkHostile(b *testing.B) {
	many := func(format string) string {
		var all []string
		for i := range 100_000 {
			all = append(all, fmt.Sprintf(format, i))
		}
		return strings.Join(all, ",")
	}
	for name, text := range map[string]string{
		"names":         "{" + many(`"%07d":1`) + "}",
		"long names":    "{" + many(`"`+strings.Repeat("x", 60)+`%07d":1`) + "}",
		"escaped names": "{" + many(`"\u0061%07d":1`) + "}",
		"elements":      "[" + many(`%d`) + "]",
		"deep":          strings.Repeat("[", 90) + strings.Repeat("]", 90),
		"open strings":  strings.Repeat(`"\`, 50_000),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			pass := onepass.New(&onepass.Rule{Kinds: onepass.EveryKind, Array: &onepass.ArrayRule{MinItems: -1, MaxItems: -1, Unique: true}}, nil)
			for b.Loop() {
				pass.Read([]byte(text), wide, nil)
			}
		})
	}
}

// Each level of the text is read again for the rules beside its members. The rest of a deep
// and long text would be read again at each level.
func TestThePassReadsALongTextOnlySoManyTimesAgain(t *testing.T) {
	nested := &onepass.Rule{Kinds: onepass.EveryKind, All: []*onepass.Rule{{Kinds: onepass.EveryKind, Object: &onepass.ObjectRule{MinProperties: 1, MaxProperties: -1}}}}
	nested.Object = &onepass.ObjectRule{MinProperties: -1, MaxProperties: -1, Properties: map[string]*onepass.Rule{"n": nested}}
	for levels, accepted := range map[int]bool{32: true, 256: false} {
		text := strings.Repeat(`{"n":`, levels) + `"` + strings.Repeat("long ", 64<<10) + `"` + strings.Repeat(`}`, levels)
		_, ok := onepass.New(nested, nil).Read([]byte(text), onepass.Limits{Depth: 1000, Values: 1000}, nil)
		require.Equal(t, accepted, ok, levels)
	}
	short := strings.Repeat(`{"n":`, 100) + `1` + strings.Repeat(`}`, 100)
	_, ok := onepass.New(nested, nil).Read([]byte(short), onepass.Limits{Depth: 1000, Values: 1000}, nil)
	require.True(t, ok)
}

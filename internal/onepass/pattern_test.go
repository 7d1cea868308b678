package onepass

import (
	"math/rand/v2"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// patterns use all that package regexp has.
var patterns = []string{
	``, `a`, `^`, `$`, `^$`, `^a`, `a$`, `^a$`, `^a*$`, `a+b`, `^(ab|a)*c?$`, `a|^b|c$`, `[^a]`, `^[^a\n]+$`, `.`, `^.*$`, `(?s)^.$`, `(?i)^aB$`, `(?i)k`,
	`\ba`, `a\b`, `\Ba`, `^\b`, `\b$`, `(?m)^a$`, `(?m)$`, `(?m)^`, `\Aa\z`, `a{2,4}`, `^[a-c]{1,64}$`, `^([a-c]{2}){2}$`, `(a*)*`, `(a|b)*?c`, `^\d+(\.\d+)?$`, `\w+@\w+`,
	`^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9])?$`, `^https?://[^/@\s]+(/\S*)?$`, `ü`, `^\pL+$`, `[[:alpha:]]`, `^[\x00-\x7f]*$`, `\x00`, `a(?:b|$)`, `(^a|b$)`, `(?m:^b)a?`, `[a-z]{3}x$`, `^(a?){20}$`,
}

func TestATableMatchesAsRegexpDoes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, expr := range patterns {
		re := regexp.MustCompile(expr)
		table := newTable(expr)
		require.NotNil(t, table, expr)
		for range 5000 {
			text := make([]byte, r.IntN(9))
			for i := range text {
				text[i] = "aabbcABk01._-@/:*\n \x00"[r.IntN(20)]
			}
			match, ok := table.match(text)
			require.True(t, ok)
			require.Equal(t, re.Match(text), match, "%q in %q", expr, text)
		}
	}
}

func TestATableLeavesTextThatIsNotASCII(t *testing.T) {
	_, ok := newTable(`^[a-z]*$`).match([]byte("aü"))
	require.False(t, ok)
	require.True(t, NewPattern(regexp.MustCompile(`^\pL+$`)).ready().match([]byte("aü")))
	require.True(t, NewPattern(regexp.MustCompile(`(?i)^k$`)).ready().match([]byte("\u212a")))
}

func TestAPatternThatNeedsALargeTableHasNone(t *testing.T) {
	for _, expr := range []string{`[ab]*a[ab]{20}$`, `^.{1000}.{1000}$`, `((a{1,30}){1,30})`, `x{1000}`} {
		re := regexp.MustCompile(expr)
		if table := newTable(expr); table != nil {
			require.LessOrEqual(t, len(table.next)/table.width, maxStates)
		}
		require.Equal(t, re.MatchString("aaaa"), NewPattern(re).ready().match([]byte("aaaa")))
	}
}

func FuzzPattern(f *testing.F) {
	for _, expr := range patterns {
		f.Add(expr, "aab c\n")
	}
	f.Fuzz(func(t *testing.T, expr, text string) {
		re, err := regexp.Compile(expr)
		if err != nil {
			return
		}
		if match := NewPattern(re).ready().match([]byte(text)); match != re.MatchString(text) {
			t.Fatalf("%v for %q in %q", match, expr, text)
		}
	})
}

func BenchmarkTable(b *testing.B) {
	for _, expr := range []string{
		`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`,
		`^(\$2[abxy]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}|\$argon2id\$v=19\$m=[1-9][0-9]{0,9},t=[1-9][0-9]{0,9},p=[1-9][0-9]{0,7}\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{16,172})$`,
		`[ab]*a[ab]{20}$`,
	} {
		b.Run(expr[:8], func(b *testing.B) {
			for b.Loop() {
				newTable(expr)
			}
		})
	}
}

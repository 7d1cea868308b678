package passtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Mutate returns a record that differs from a compact one in one to three places.
func Mutate(r *rand.Rand, record []byte) []byte {
	out := slices.Clone(record)
	for range 1 + r.IntN(3) {
		v, rest := parse(out)
		if v == nil || len(rest) > 0 || r.IntN(12) == 0 {
			out = mutateBytes(r, out)
			continue
		}
		all := v.all(nil)
		all[r.IntN(len(all))].mutate(r)
		out = v.append(nil)
	}
	return out
}

// A value is a value of JSON with the text of its scalars and names.
type value struct {
	text     string // of a scalar, with its quotes; or the bracket
	names    []string
	children []*value
}

// parse returns the value at the start of compact text, and what follows it. It returns
// nil if there is none.
func parse(b []byte) (*value, []byte) {
	if !jsontext.Value(b).IsValid(jsontext.AllowDuplicateNames(true)) || bytes.ContainsAny(b, " \n\t\r") && !jsontext.Value(b).IsValid() {
		return nil, b
	}
	d := jsontext.NewDecoder(bytes.NewReader(b), jsontext.AllowDuplicateNames(true))
	v := read(d)
	return v, b[d.InputOffset():]
}

func read(d *jsontext.Decoder) *value {
	switch kind := d.PeekKind(); kind {
	case '{', '[':
		_, _ = d.ReadToken()
		v := &value{text: string(kind)}
		for d.PeekKind() != '}' && d.PeekKind() != ']' {
			if kind == '{' {
				name, _ := d.ReadValue()
				v.names = append(v.names, string(name))
			}
			v.children = append(v.children, read(d))
		}
		_, _ = d.ReadToken()
		return v
	}
	text, _ := d.ReadValue()
	return &value{text: string(text)}
}

func (v *value) append(b []byte) []byte {
	b = append(b, v.text...)
	for i, c := range v.children {
		if i > 0 {
			b = append(b, ',')
		}
		if v.text == "{" {
			b = append(append(b, v.names[i]...), ':')
		}
		b = c.append(b)
	}
	switch v.text {
	case "{":
		b = append(b, '}')
	case "[":
		b = append(b, ']')
	}
	return b
}

// all adds v and the values in it.
func (v *value) all(to []*value) []*value {
	to = append(to, v)
	for _, c := range v.children {
		to = c.all(to)
	}
	return to
}

// others are what values become.
var others = strings.Split("null true false 0 -0 1 1.0 -1 65535 65536 0.5 1e2 1E+2 1e-2 9007199254740993 123456789012345678901 1e400 1e9999 1e99999 01 +1 .5 "+
	`"" "a" "ä" "😀" "\u0041" "\ud83d\ude00" "\ud83d" "\ude00\ud83d" "\n" "\x" "2024-02-30T10:30:00Z" "2024-02-29T23:59:60Z" "2024-02-29" "a@b.c" "https://a.b/" [] {} [[]] [1] [1,1.0] ["a","\u0061"] {"a":1} {"a":1,"\u0061":2}`, " ")

func (v *value) mutate(r *rand.Rand) {
	switch {
	case r.IntN(6) == 0:
		*v = value{text: others[r.IntN(len(others))]}
	case v.text == "{":
		v.mutateMembers(r)
	case v.text == "[":
		v.mutateElements(r)
	case v.text[0] == '"':
		v.text = mutateString(r, v.text)
	case v.text[0] == '-' || v.text[0] <= '9':
		v.text = mutateNumber(r, v.text)
	default:
		v.text = []string{"true", "false", "null"}[r.IntN(3)]
	}
}

func (v *value) mutateMembers(r *rand.Rand) {
	if len(v.children) == 0 || r.IntN(5) == 0 {
		v.names, v.children = append(v.names, fmt.Sprintf(`"x%d"`, r.IntN(3))), append(v.children, &value{text: others[r.IntN(len(others))]})
		return
	}
	i, j := r.IntN(len(v.children)), r.IntN(len(v.children))
	switch r.IntN(5) {
	case 0:
		v.names, v.children = slices.Delete(v.names, i, i+1), slices.Delete(v.children, i, i+1)
	case 1:
		v.names, v.children = append(v.names, v.names[i]), append(v.children, v.children[i])
	case 2:
		v.names[i], v.names[j] = v.names[j], v.names[i]
		v.children[i], v.children[j] = v.children[j], v.children[i]
	case 3:
		v.children[i], v.children[j] = v.children[j], v.children[i]
	case 4:
		v.names[i] = mutateString(r, v.names[i])
	}
}

func (v *value) mutateElements(r *rand.Rand) {
	if len(v.children) == 0 || r.IntN(5) == 0 {
		v.children = append(v.children, &value{text: others[r.IntN(len(others))]})
		return
	}
	i, j := r.IntN(len(v.children)), r.IntN(len(v.children))
	switch r.IntN(4) {
	case 0:
		v.children = slices.Delete(v.children, i, i+1)
	case 1:
		v.children = append(v.children, &value{text: v.children[i].text, names: v.children[i].names, children: v.children[i].children})
	case 2:
		v.children[i], v.children[j] = v.children[j], v.children[i]
	case 3:
		for range 1 + r.IntN(20) {
			v.children = append(v.children, &value{text: fmt.Sprintf(`"x%d"`, r.IntN(200))})
		}
	}
}

// mutateString takes a literal, and mostly returns one.
func mutateString(r *rand.Rand, text string) string {
	inner := text[1 : len(text)-1]
	at := 0
	if len(inner) > 0 {
		at = r.IntN(len(inner) + 1)
	}
	before, after := inner[:at], inner[at:]
	switch r.IntN(9) {
	case 0: // longer
		inner = before + string(rune('0'+r.IntN(75))) + after
	case 1: // shorter
		if len(after) > 0 {
			inner = before + after[1:]
		}
	case 2: // written otherwise
		if c, n := utf8.DecodeRuneInString(after); n > 0 && c < 1<<16 && c != '"' && c != '\\' {
			inner = fmt.Sprintf(`%s\u%04x%s`, before, c, after[n:])
		}
	case 3:
		inner = before + []string{"ä", "😀", "\u2028", `\ud83d\ude00`, `\u00e4`, `\n`, `\"`, `\/`, `\\`}[r.IntN(9)] + after
	case 4: // not valid
		inner = before + []string{"\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x00", "\n", `"`, `\`, `\ud800`, `\u12`, `\ud83d\u0041`}[r.IntN(11)] + after
	case 5: // one character otherwise
		if len(after) > 0 {
			inner = before + string(rune(' '+r.IntN(95))) + after[1:]
		}
	case 6: // much longer
		inner = before + strings.Repeat([]string{"x", "ü", "7", "-"}[r.IntN(4)], r.IntN(300)) + after
	case 7: // two digits otherwise
		if len(after) > 1 {
			inner = before + fmt.Sprintf("%02d", r.IntN(100)) + after[2:]
		}
	case 8: // upper or lower case
		inner = before + strings.ToUpper(after)
	}
	return `"` + inner + `"`
}

func mutateNumber(r *rand.Rand, text string) string {
	switch r.IntN(8) {
	case 0:
		return text + ".0"
	case 1:
		return text + "e0"
	case 2:
		return text + fmt.Sprint(r.IntN(10))
	case 3:
		return strings.TrimPrefix("-"+text, "--")
	case 4:
		return text[:r.IntN(len(text))]
	case 5:
		return fmt.Sprint(r.IntN(70_000) - 1000)
	case 6:
		return fmt.Sprintf("%s.%d", text, r.IntN(100))
	}
	return fmt.Sprintf("%se%d", text, r.IntN(40)-20)
}

// mutateBytes changes text without a look at what it is.
func mutateBytes(r *rand.Rand, b []byte) []byte {
	if len(b) == 0 {
		return []byte{'1'}
	}
	i := r.IntN(len(b))
	switch r.IntN(4) {
	case 0:
		b[i] = byte(r.IntN(256))
	case 1:
		b = slices.Delete(b, i, i+1)
	case 2:
		b = slices.Insert(b, i, ` ,:{}[]"\0e-`[r.IntN(12)])
	case 3:
		b = b[:i]
	}
	return b
}

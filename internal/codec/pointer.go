package codec

import (
	"fmt"
	"strconv"
	"strings"
)

// A Pointer is a JSON Pointer (RFC 6901), as its tokens without escapes. The
// token Any stands for any member or element.
type Pointer []string

// Any is the token that stands for any member or element.
const Any = "*"

// ParsePointer parses a JSON Pointer. The empty text names the value itself.
func ParsePointer(s string) (Pointer, error) {
	if s == "" {
		return nil, nil
	}
	if s[0] != '/' {
		return nil, fmt.Errorf("%q is not a JSON Pointer: it must begin with a slash", s)
	}
	p := Pointer(strings.Split(s[1:], "/"))
	for i, t := range p {
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(t), "~") {
			return nil, fmt.Errorf("%q is not a JSON Pointer: ~ must be followed by 0 or 1", s)
		}
		p[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(t)
	}
	return p, nil
}

// Overlaps tells whether p and q may name the same place, or one place inside
// the other.
func (p Pointer) Overlaps(q Pointer) bool {
	for i := range min(len(p), len(q)) {
		if p[i] != q[i] && p[i] != Any && q[i] != Any {
			return false
		}
	}
	return true
}

// Escape returns token as it is written in a JSON Pointer.
func Escape(token string) string {
	if strings.IndexByte(token, '~') < 0 && strings.IndexByte(token, '/') < 0 {
		return token
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(token)
}

// descend returns the pointers that go through token, without that token.
func descend(ps []Pointer, token string) []Pointer {
	var out []Pointer
	for _, p := range ps {
		if len(p) > 0 && (p[0] == token || p[0] == Any) {
			out = append(out, p[1:])
		}
	}
	return out
}

// Get returns the part of the compact value v at p, or nil.
func Get(v []byte, p Pointer) []byte {
	for _, token := range p {
		var found []byte
		switch v[0] {
		case '{':
			eachMember(v, func(name []byte, start, end int) bool {
				if string(name) == token {
					found = v[start:end]
				}
				return found == nil
			})
		case '[':
			eachElement(v, func(index, start, end int) bool {
				if strconv.Itoa(index) == token {
					found = v[start:end]
				}
				return found == nil
			})
		}
		if v = found; v == nil {
			return nil
		}
	}
	return v
}

// Find calls f for every place in the compact value v that one of the pointers
// names, in the order of the text. f gets the pointer without Any. Of two
// places, one inside the other, only the outer one is found.
func Find(v []byte, ps []Pointer, f func(pointer string, start, end int) error) error {
	return find(v, 0, len(v), "", ps, f)
}

func find(v []byte, start, end int, at string, ps []Pointer, f func(pointer string, start, end int) error) error {
	for _, p := range ps {
		if len(p) == 0 {
			return f(at, start, end)
		}
	}
	var err error
	switch v[start] {
	case '{':
		eachMember(v[start:end], func(name []byte, s, e int) bool {
			for _, p := range ps {
				if p[0] == string(name) || p[0] == Any {
					token := string(name)
					err = find(v, start+s, start+e, at+"/"+Escape(token), descend(ps, token), f)
					break
				}
			}
			return err == nil
		})
	case '[':
		eachElement(v[start:end], func(index, s, e int) bool {
			token := strconv.Itoa(index)
			if rest := descend(ps, token); rest != nil {
				err = find(v, start+s, start+e, at+"/"+token, rest, f)
			}
			return err == nil
		})
	}
	return err
}

// Rewrite returns the compact value v with every place that one of the pointers
// names replaced by the result of f. If there is no such place it returns v.
func Rewrite(v []byte, ps []Pointer, f func(pointer string, value []byte) ([]byte, error)) ([]byte, error) {
	var out []byte
	last := 0
	err := Find(v, ps, func(pointer string, start, end int) error {
		value, err := f(pointer, v[start:end])
		if err != nil {
			return err
		}
		out = append(append(out, v[last:start]...), value...)
		last = end
		return nil
	})
	if err != nil || last == 0 {
		return v, err
	}
	return append(out, v[last:]...), nil
}

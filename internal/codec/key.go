package codec

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
)

// A Key says where the identity of a record is: at one pointer, or at several
// that are the identity together.
type Key []Pointer

// ParseKey parses the JSON Pointers of a Key, with commas between them. The empty
// text is the Key of what has none.
func ParseKey(s string) (Key, error) {
	if s == "" {
		return nil, nil
	}
	var k Key
	for part := range strings.SplitSeq(s, ",") {
		p, err := ParsePointer(part)
		switch {
		case err != nil:
			return nil, err
		case len(p) == 0:
			return nil, fmt.Errorf("%q has an empty JSON Pointer between commas", s)
		case len(k) > 0 && k.Overlaps(p):
			return nil, fmt.Errorf("%q names a place twice", s)
		}
		k = append(k, p)
	}
	return k, nil
}

// Overlaps tells whether a part of k and p may name the same place or one inside
// the other.
func (k Key) Overlaps(p Pointer) bool {
	return slices.ContainsFunc(k, p.Overlaps)
}

// HasAny tells whether a part of k has a token that stands for any.
func (k Key) HasAny() bool {
	return slices.ContainsFunc(k, func(p Pointer) bool { return slices.Contains(p, Any) })
}

// Of returns the identity of the compact value v: that at the only pointer, or of
// several a JSON array of strings without white space.
func (k Key) Of(v []byte) (string, error) {
	if len(k) == 1 {
		return Identity(Get(v, k[0]))
	}
	return k.join(func(p Pointer) (string, error) { return identityPart(Get(v, p)) })
}

// join makes an identity of its parts.
func (k Key) join(part func(Pointer) (string, error)) (string, error) {
	texts := make([]string, len(k))
	for i, p := range k {
		text, err := part(p)
		if err != nil {
			return "", err
		}
		texts[i] = text
	}
	return JoinKey(texts), nil
}

// JoinKey returns the identity that several parts make: a JSON array of strings.
func JoinKey(parts []string) string {
	out := []byte{'['}
	for i, part := range parts {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, Quote(part)...)
	}
	return string(append(out, ']'))
}

// SplitKey returns the n parts that JoinKey has made an identity of, and whether
// it is one.
func SplitKey(key string, n int) (parts []string, ok bool) {
	err := jsonv2.Unmarshal([]byte(key), &parts)
	return parts, err == nil && len(parts) == n && JoinKey(parts) == key
}

// identityPart is Identity for a part of a key, which may be empty.
func identityPart(v []byte) (string, error) {
	if string(v) == `""` {
		return "", nil
	}
	return Identity(v)
}

// Glimpse returns the identity of an object of which text is the intact beginning,
// as far as it is; empty if the damage comes before.
func (k Key) Glimpse(text []byte) string {
	if len(k) == 1 {
		return glimpse(text, k[0])
	}
	key, _ := k.join(func(p Pointer) (string, error) {
		part := glimpse(text, p)
		if part == "" {
			return "", errNotOne
		}
		return part, nil
	})
	return key
}

var errNotOne = errors.New("the parts of the key are not all there")

// Reference returns the identity that the compact value v holds at k, of a record
// elsewhere. There is none if a part is absent or null.
func (k Key) Reference(v []byte) (key string, ok bool, err error) {
	key, err = k.join(func(p Pointer) (string, error) {
		part := Get(v, p)
		if part == nil || string(part) == "null" {
			return "", errNotOne
		}
		return identityPart(part)
	})
	if err == errNotOne {
		return "", false, nil
	}
	return key, err == nil, err
}

package codec

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
)

// A Key says where the identity of a record is: at one pointer, or at several
// that together are the identity.
type Key []Pointer

// ParseKey parses JSON Pointers separated by commas. The empty text gives the
// Key of a collection without one.
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

// Overlaps tells whether p and a part of k may name the same place, or one
// place inside the other.
func (k Key) Overlaps(p Pointer) bool {
	return slices.ContainsFunc(k, p.Overlaps)
}

// HasAny tells whether a part of k contains the token Any.
func (k Key) HasAny() bool {
	return slices.ContainsFunc(k, func(p Pointer) bool { return slices.Contains(p, Any) })
}

// Of returns the identity of the compact value v. If k has several pointers,
// the identity is a JSON array of strings without white space.
func (k Key) Of(v []byte) (string, error) {
	if len(k) == 1 {
		return Identity(Get(v, k[0]))
	}
	return k.join(func(p Pointer) (string, error) { return identityPart(Get(v, p)) })
}

// join makes an identity from its parts.
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

// JoinKey returns the identity with these parts: a JSON array of strings.
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

// SplitKey undoes JoinKey. ok tells whether key is an identity with n parts.
func SplitKey(key string, n int) (parts []string, ok bool) {
	err := jsonv2.Unmarshal([]byte(key), &parts)
	return parts, err == nil && len(parts) == n && JoinKey(parts) == key
}

// identityPart is Identity for one part of several, which may be empty.
func identityPart(v []byte) (string, error) {
	if string(v) == `""` {
		return "", nil
	}
	return Identity(v)
}

// Glimpse returns the identity of a damaged object. text is the intact
// beginning of the object. The result is empty if the damage comes before the
// identity.
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

// Reference returns the identity of another record, which the compact value v
// holds at k. ok is false if a part is absent or null.
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

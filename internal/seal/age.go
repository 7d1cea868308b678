package seal

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// TypeAge is the type of a key that was wrapped for keys of age.
const TypeAge = "age"

// The limits of a key that was wrapped for keys of age.
const (
	MaxAgeFile = 64 << 10
	MaxAgeIDs  = 64
	maxAgeID   = 200 // bytes
	MaxScrypt  = 20  // scrypt with 2^20 takes 1 GiB

	UsualScrypt = 18 // as "age -p" does
)

// ageKey is a wrapped key in a snapshot. A nil member is absent.
type ageKey struct {
	Type *string        `json:"type"`
	File *string        `json:"file"`
	IDs  jsontext.Value `json:"ids,omitempty"`
}

// WrapAge returns the wrapped key that holds an age file, with the ids of the keys that
// open it.
func WrapAge(file []byte, ids []string) ([]byte, error) {
	names, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	return json.Marshal(ageKey{new(TypeAge), new(base64.StdEncoding.EncodeToString(file)), names})
}

// ParseAge returns the age file of a wrapped key, and the ids of the keys that are said
// to open it. The error is ErrOtherType or ErrMalformed.
func ParseAge(wrapped []byte) (file []byte, ids []string, err error) {
	kind, err := parseType(wrapped)
	if err != nil {
		return nil, nil, err
	}
	if kind != TypeAge {
		return nil, nil, ErrOtherType
	}
	var k ageKey
	if err := json.Unmarshal(wrapped, &k, json.RejectUnknownMembers(true)); err != nil {
		return nil, nil, malformed(err)
	}
	if ids, err = parseIDs(k.IDs); err != nil {
		return nil, nil, malformed(err)
	}
	if k.File == nil {
		return nil, nil, malformed(errors.New(`"file" is required`))
	}
	tooLarge := malformed(fmt.Errorf("file of more than %d bytes", MaxAgeFile))
	if len(*k.File) > base64.StdEncoding.EncodedLen(MaxAgeFile) {
		return nil, nil, tooLarge
	}
	if file, err = decode(nil, []byte(*k.File)); err != nil {
		return nil, nil, fmt.Errorf("file: %w", err)
	}
	if len(file) > MaxAgeFile {
		return nil, nil, tooLarge
	}
	return file, ids, nil
}

func parseIDs(value jsontext.Value) ([]string, error) {
	if value == nil {
		return nil, nil
	}
	var texts []*string
	if err := json.Unmarshal(value, &texts); err != nil || texts == nil {
		return nil, errors.New("ids is not an array of strings")
	}
	if len(texts) > MaxAgeIDs {
		return nil, fmt.Errorf("%d ids, the most is %d", len(texts), MaxAgeIDs)
	}
	ids := make([]string, len(texts))
	for i, text := range texts {
		switch {
		case text == nil:
			return nil, errors.New("ids is not an array of strings")
		case len(*text) > maxAgeID:
			return nil, fmt.Errorf("an id of %d bytes, the most is %d", len(*text), maxAgeID)
		}
		ids[i] = *text
	}
	return ids, nil
}

// ageCost returns what it takes to try a passphrase on an age file, and the zero Cost if
// the file is not for a passphrase. Anything else that is wrong with the file shows
// when it is opened.
func ageCost(file []byte) (Cost, error) {
	header, _, _ := strings.Cut(string(file), "\n---")
	var sum Cost
	for line := range strings.Lines(header) {
		args, found := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "-> scrypt ")
		if !found {
			continue
		}
		text := args[strings.LastIndexByte(args, ' ')+1:]
		work, err := strconv.ParseUint(text, 10, 64)
		switch {
		case work > MaxScrypt || errors.Is(err, strconv.ErrRange):
			return Cost{}, fmt.Errorf("%w: scrypt work factor is %.20s, the most is %d", ErrLimits, text, MaxScrypt)
		case err != nil:
			continue
		}
		// scrypt fills 1 KiB for each unit of work, and then reads all of it once.
		sum = Cost{Memory: max(sum.Memory, 1<<10<<work), Passes: 2}
	}
	return sum, nil
}

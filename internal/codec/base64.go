package codec

import (
	"encoding/base64"
	"errors"
)

var strictBase64 = base64.StdEncoding.Strict() // refuses a last character with unused bits set

// DecodeBase64 appends the decoded bytes of a base64 text to dst. It accepts
// only the text that encoding those bytes gives: padded, with no unused bits
// set, and without line breaks, which the decoder of the standard library
// skips.
func DecodeBase64(dst, text []byte) ([]byte, error) {
	out, err := strictBase64.AppendDecode(dst, text)
	if err != nil {
		return dst, err
	}
	if strictBase64.EncodedLen(len(out)-len(dst)) != len(text) {
		return dst, errors.New("line break in base64")
	}
	return out, nil
}

// Package passphrase knows which bytes make a passphrase that a person can type again
// (FORMAT.md, "Passphrases"). It is the one place that decides this, for all keys.
package passphrase

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const byteOrderMark = "\ufeff"

// Check returns why a person could not type a passphrase again, or nil. The error does not
// quote the passphrase. An empty passphrase is the caller's business.
func Check(passphrase []byte) error {
	_, wide := fromUTF16(passphrase)
	first, _ := utf8.DecodeRune(passphrase)
	last, _ := utf8.DecodeLastRune(passphrase)
	switch {
	case wide:
		return errors.New("it is in UTF-16: save it as UTF-8, without a byte order mark")
	case !utf8.Valid(passphrase):
		return errors.New("it is not text in UTF-8: write random bytes as letters and digits, such as in hexadecimal")
	case bytes.HasPrefix(passphrase, []byte(byteOrderMark)):
		return errors.New("it begins with a byte order mark, which nobody can type: save it as UTF-8 without one")
	case last == '\n' || last == '\r':
		return errors.New("it ends with a line break: remove the line break, and any empty line at the end")
	case unicode.IsSpace(first) || unicode.IsSpace(last):
		return errors.New("it begins or ends with a blank, which people miss: remove the blank")
	}
	for _, r := range string(passphrase) {
		if !typable(r) {
			return fmt.Errorf("it contains the character U+%04X, which nobody sees or can type: remove it", r)
		}
	}
	if !norm.NFC.IsNormal(passphrase) {
		return errors.New("it has characters in a form that keyboards do not write (it is not in the Unicode normal form NFC): type it anew, or convert it to NFC")
	}
	return nil
}

// typable tells whether a keyboard writes a character. The two joiners are letters of
// Persian and of Indian scripts.
func typable(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	return r == nonJoiner || r == joiner || r != utf8.RuneError && !unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp)
}

// Others returns the other forms in which a program may have used a passphrase, the most
// likely first. Editors, shells and keyboards make them of the same text. A blank more is
// another passphrase, as a person can type it.
func Others(passphrase []byte) [][]byte {
	text := clean(passphrase)
	if text == "" {
		return nil
	}
	var forms [][]byte
	for _, form := range []string{
		text,
		norm.NFD.String(text),
		text + "\n",
		text + "\r\n",
		byteOrderMark + text,
		toUTF16(text),
		toUTF16(text + "\r\n"),
	} {
		same := func(other []byte) bool { return string(other) == form }
		if !same(passphrase) && !slices.ContainsFunc(forms, same) {
			forms = append(forms, []byte(form))
		}
	}
	return forms
}

// clean returns the text of a passphrase, as far as an editor did not make it.
func clean(passphrase []byte) string {
	text, wide := fromUTF16(passphrase)
	if !wide {
		text = string(passphrase)
	}
	text = strings.TrimPrefix(text, byteOrderMark)
	return norm.NFC.String(strings.TrimRight(text, "\r\n"))
}

// fromUTF16 returns a text in UTF-16 that has a byte order mark.
func fromUTF16(b []byte) (text string, ok bool) {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(b, []byte{0xff, 0xfe}):
		order = binary.LittleEndian
	case bytes.HasPrefix(b, []byte{0xfe, 0xff}):
		order = binary.BigEndian
	default:
		return "", false
	}
	var units []uint16
	for b = b[2:]; len(b) > 1; b = b[2:] {
		units = append(units, order.Uint16(b))
	}
	return string(utf16.Decode(units)), true
}

// toUTF16 returns a text as the shell and the editor of Windows save it in UTF-16.
func toUTF16(text string) string {
	b := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(text)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return string(b)
}

package filestore

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"
)

// maxName is how many bytes a name may have on common file systems.
const maxName = 255

// name returns the name of the file for a key.
func (n Names) name(key, ext string) (string, error) {
	name := key
	if n == Escaped {
		name = escape(key)
	}
	var err error
	switch {
	case key == "":
		err = errors.New("the key is empty")
	case n == Plain && (strings.ContainsAny(key, "/\x00") || key[0] == '.'):
		err = errors.New("it has a slash, a zero byte, or a dot at its beginning; use Escaped names")
	case len(name)+len(ext) > maxName:
		err = fmt.Errorf("the name has %d bytes, and the limit of file systems is %d", len(name)+len(ext), maxName)
	}
	if err != nil {
		return "", fmt.Errorf("the key cannot be the name of a file: %w: %w", fs.ErrInvalid, err)
	}
	return name + ext, nil
}

// key returns the key for a name without its ending.
func (n Names) key(name string) (string, error) {
	if n == Plain {
		if !utf8.ValidString(name) {
			return "", errors.New("the name is not UTF-8")
		}
		return name, nil
	}
	key := unescape(name)
	if escape(key) != name || !utf8.ValidString(key) {
		return "", errors.New("no key has this name: rename the file, or declare Plain names")
	}
	return key, nil
}

func escape(key string) string {
	const hex = "0123456789ABCDEF"
	device := isDevice(key)
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		safe := 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
		if safe && !(i == 0 && (c == '.' || device)) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// isDevice tells whether a name is a device on Windows, whatever follows its
// first dot.
func isDevice(name string) bool {
	stem, _, _ := strings.Cut(name, ".")
	switch stem {
	case "con", "prn", "aux", "nul":
		return true
	}
	return len(stem) == 4 && (stem[:3] == "com" || stem[:3] == "lpt") && '0' <= stem[3] && stem[3] <= '9'
}

// unescape undoes escape. For a name that escape did not make, the result is
// useless.
func unescape(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] == '%' && i+2 < len(name) {
			b.WriteByte(digit(name[i+1])<<4 | digit(name[i+2]))
			i += 2
			continue
		}
		b.WriteByte(name[i])
	}
	return b.String()
}

func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0
}

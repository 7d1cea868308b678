package sqlstore

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The show functions turn a text that was read into the text for a record. The store
// functions turn the text of a record into what is stored, and refuse a text that would be
// read in another form.

func storeInteger(c *column, s string) (any, error) {
	natural := c.my.unsigned || c.my.base == "bit"
	if v, ok := isInteger(s); ok {
		if c.my.base == "year" && v != 0 && (v < 1901 || v > 2155) || v < 0 && natural {
			return nil, errChanged
		}
		return v, nil
	}
	if v, err := strconv.ParseUint(s, 10, 64); err == nil && strconv.FormatUint(v, 10) == s && natural {
		return v, nil
	}
	return nil, errChanged
}

func storeBinary(c *column, s string) (any, error) {
	if int64(len(s)) > c.my.octets || c.my.base == "binary" && int64(len(s)) != c.my.octets {
		return nil, errChanged
	}
	return s, nil
}

func storeText(c *column, s string) (any, error) {
	tooMuch := int64(len(s)) > c.my.octets && (c.my.unicode() || strings.HasSuffix(s, " "))
	if int64(utf8.RuneCountInString(s)) > c.my.chars || tooMuch {
		return nil, errChanged
	}
	return s, nil
}

// storeChar refuses spaces at the end, which a CHAR would lose.
func storeChar(c *column, s string) (any, error) {
	if strings.HasSuffix(s, " ") {
		return nil, errChanged
	}
	return storeText(c, s)
}

func showEnum(c *column, s string) (string, error) {
	if s == "" && !slices.Contains(c.my.labels, "") {
		return "", errors.New("the column holds a value that is not one of its labels")
	}
	return s, nil
}

func storeEnum(c *column, s string) (any, error) {
	if !slices.Contains(c.my.labels, s) {
		return nil, cannot("none of the labels", c)
	}
	return s, nil
}

func storeSet(c *column, s string) (any, error) {
	next := 0
	for part := range strings.SplitSeq(s, ",") {
		at := slices.Index(c.my.labels, part)
		if s != "" && at < next {
			return nil, cannot("no list of labels in their order", c)
		}
		next = at + 1
	}
	return s, nil
}

func storeDate(_ *column, s string) (any, error) {
	if !like(s, "9999-99-99") {
		return nil, errChanged
	}
	return s, nil
}

// showTime removes the zeros at the end of a fraction of a second.
func showTime(_ *column, s string) (string, error) {
	if strings.Contains(s, ".") {
		s = strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
	}
	return s, nil
}

func storeTime(c *column, s string) (any, error) {
	whole, ok := c.my.seconds(s)
	whole, minus := strings.CutPrefix(whole, "-")
	if !ok || !like(whole, "99:99:99") && !like(whole, "999:99:99") || len(whole) == 9 && whole[0] == '0' || minus && !strings.ContainsAny(s, "123456789") {
		return nil, errChanged
	}
	return s, nil
}

// showMoment writes a DATETIME or TIMESTAMP as RFC 3339 does.
func showMoment(c *column, s string) (string, error) {
	s, _ = showTime(c, s)
	s = strings.Replace(s, " ", "T", 1)
	if c.my.base == "timestamp" {
		s += "Z"
	}
	return s, nil
}

func storeMoment(c *column, s string) (any, error) {
	moment, zone := strings.CutSuffix(s, "Z")
	whole, ok := c.my.seconds(moment)
	if !ok || zone != (c.my.base == "timestamp") || !like(whole, "9999-99-99T99:99:99") {
		return nil, errChanged
	}
	return strings.Replace(moment, "T", " ", 1), nil
}

// seconds cuts off the fraction of a second. ok tells whether the column can hold the
// fraction, and returns it in the same form.
func (c *mariadbColumn) seconds(s string) (whole string, ok bool) {
	whole, f, point := strings.Cut(s, ".")
	return whole, !point || f != "" && int64(len(f)) <= c.scale && digits(f) == len(f) && f[len(f)-1] != '0'
}

// like tells whether a text has the form of a pattern, in which 9 is any digit.
func like(s, pattern string) bool {
	if len(s) != len(pattern) {
		return false
	}
	for i := range len(s) {
		if pattern[i] == '9' && (s[i] < '0' || s[i] > '9') || pattern[i] != '9' && s[i] != pattern[i] {
			return false
		}
	}
	return true
}

func storeUUID(_ *column, s string) (any, error) {
	if !isUUID(s) {
		return nil, errChanged
	}
	return s, nil
}

func showAddress(_ *column, s string) (string, error) {
	a, ok := netip.AddrFromSlice([]byte(s))
	if !ok {
		return "", errors.New("the column does not hold an address")
	}
	return a.String(), nil
}

func storeAddress(c *column, s string) (any, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.String() != s || a.Zone() != "" || a.Is4() != (c.my.base == "inet4") {
		return nil, errChanged
	}
	return s, nil
}

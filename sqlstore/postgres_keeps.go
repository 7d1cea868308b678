package sqlstore

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// settleKeeps works out keeps of a column, whose Kind is settled.
func (c *column) settleKeeps() {
	pg := &c.pg
	always := func(string) bool { return true }
	precision := precisionOf(c.declared)
	switch {
	case pg.array: // its JSON is not what the server reads
		pg.keeps = func(string) bool { return false }
	case !pg.checked:
		pg.keeps = always
	case pg.family == decimals && c.Kind != Text:
		pg.keeps = func(s string) bool { return keepsFraction(s, precision) }
	case c.Kind != Text:
		pg.keeps = func(string) bool { return false }
	case pg.base == "varchar" && pg.length > 0:
		pg.keeps = func(s string) bool { return int64(utf8.RuneCountInString(s)) <= pg.length }
	case pg.base == "bpchar" && pg.length > 0:
		pg.keeps = func(s string) bool {
			return int64(utf8.RuneCountInString(s)) <= pg.length && !strings.HasSuffix(s, " ")
		}
	case pg.base == "uuid":
		pg.keeps = isUUID
	case pg.family == integers:
		pg.keeps = func(s string) bool { _, ok := isInteger(s); return ok }
	case len(pg.labels) > 0:
		pg.keeps = func(s string) bool { return slices.Contains(pg.labels, s) }
	case pg.base == "date":
		pg.keeps = func(s string) bool { return keepsMoment(s, time.DateOnly, "", 0) }
	case pg.base == "time":
		pg.keeps = func(s string) bool { return keepsMoment(s, time.TimeOnly, "", precision) }
	case pg.base == "timestamp":
		pg.keeps = func(s string) bool { return keepsMoment(s, time.DateTime, "", precision) }
	case pg.base == "timestamptz":
		pg.keeps = func(s string) bool { return keepsMoment(s, time.DateTime, "+00", precision) }
	default:
		pg.keeps = func(string) bool { return false }
	}
}

// precisionOf returns the number of digits after the point that a declared type keeps, as
// numeric(10,2) and timestamp(3) with time zone have it. It is 6 for a moment that does not
// say it, and -1 if it is not known, as that of a domain.
func precisionOf(declared string) int {
	name, rest, bounded := strings.Cut(declared, "(")
	switch {
	case !bounded && (strings.HasPrefix(name, "time ") || strings.HasPrefix(name, "timestamp ")):
		return 6
	case !bounded || name != "numeric" && name != "time" && name != "timestamp":
		return -1
	}
	inner, _, _ := strings.Cut(rest, ")")
	if _, scale, ok := strings.Cut(inner, ","); ok {
		inner = scale
	}
	n, err := strconv.Atoi(inner)
	if err != nil {
		return -1
	}
	return n
}

// keepsFraction tells whether a number without an exponent has at most so many digits after
// the point. The server refuses a number that is too large.
func keepsFraction(s string, most int) bool {
	_, fraction, _ := strings.Cut(s, ".")
	return len(fraction) <= most && !strings.ContainsAny(s, "eE")
}

// keepsMoment tells whether the server returns a moment as it is: it is one of the years 1
// to 9999, in the form of layout, with at most so many digits after the point and no zero
// at their end, and with zone.
func keepsMoment(s, layout, zone string, most int) bool {
	s, ok := strings.CutSuffix(s, zone)
	if !ok || len(s) < len(layout) {
		return false
	}
	if fraction := s[len(layout):]; fraction != "" {
		if fraction[0] != '.' || len(fraction) < 2 || len(fraction)-1 > most || digits(fraction[1:]) != len(fraction)-1 || strings.HasSuffix(fraction, "0") {
			return false
		}
	}
	s = s[:len(layout)]
	t, err := time.Parse(layout, s) // which takes a blank for a digit, too
	return err == nil && hasForm(s, layout) && (t.Year() > 0 || layout == time.TimeOnly)
}

package backup

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
)

// Salvaged marks a snapshot that [App.Salvage] has saved from a damaged file
// (FORMAT.md, "Salvaged snapshots").
type Salvaged struct {
	// LostBytes counts the bytes of the damaged file that could not be used.
	LostBytes int64 `json:"lost_bytes"`

	// Records counts the records that are known to be lost, by collection.
	Records map[string]int64 `json:"records,omitempty"`

	// Digest says whether the digest of the damaged file "fits", "differs" or is
	// "lost". Unless it fits, a value that was altered and is still valid cannot be
	// told from an intact one. Empty: not known.
	Digest string `json:"digest,omitempty"`

	// Counts says whether the counts of the damaged file are "known" or "lost". If
	// they are lost, more records may be lost than Records says. Empty: not known.
	Counts string `json:"counts,omitempty"`

	// LostCollections names the collections of which nothing could be saved: those
	// that the damaged file had, and if its counts are lost, those that it should
	// have had by the declaration of the App.
	LostCollections []string `json:"lost_collections,omitempty"`
}

// Loss says in words what is known of the loss, and what is not: two or three
// sentences without a line feed. It is empty if s is nil.
func (s *Salvaged) Loss() string {
	if s == nil {
		return ""
	}
	text := "Nothing is known to be lost."
	if lost := s.lost(); lost != "" {
		text = "Lost are " + lost + "."
	}
	switch s.Counts {
	case countsKnown:
	case salvagedLost:
		text += " The counts of the damaged file were lost, so more may be missing."
	default:
		text += " It is not known whether the counts of the damaged file were lost, so more may be missing."
	}
	switch s.Digest {
	case digestFits:
		return text + " Its digest fitted: what was kept is as it was written."
	case digestDiffers:
		return text + " Its digest differed: an altered value that is still valid cannot be told from an intact one."
	case salvagedLost:
		return text + " Its digest was lost: an altered value that is still valid cannot be told from an intact one."
	}
	return text + " It is not known whether its digest fitted."
}

// lost lists what is known to be lost, the largest first: whole collections, records,
// bytes. It is empty if nothing is.
func (s *Salvaged) lost() string {
	const most = 20 // collections of each kind
	var all, records []string
	for _, name := range s.LostCollections {
		all = append(all, fault.Shorten(name))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Records)) {
		if n := s.Records[name]; !slices.Contains(s.LostCollections, name) {
			records = append(records, plural(int(n), "record")+" of "+fault.Shorten(name))
		}
	}
	var parts []string
	if len(all) > 0 {
		parts = append(parts, "all of "+enumerate(all, most))
	}
	if len(records) > 0 {
		parts = append(parts, enumerate(records, most))
	}
	if s.LostBytes > 0 {
		parts = append(parts, plural(int(s.LostBytes), "byte")+" of the damaged file")
	}
	return strings.Join(parts, ", ")
}

// The values of Salvaged.Digest and Salvaged.Counts.
const (
	digestFits, digestDiffers = "fits", "differs"
	countsKnown               = "known"
	salvagedLost              = "lost" // of both
)

// check refuses a mark that the format does not allow. value is its text.
func (s *Salvaged) check(value []byte) error {
	if codec.Get(value, codec.Pointer{"lost_bytes"}) == nil || s.LostBytes < 0 {
		return errors.New(`has no "lost_bytes", or a negative one`)
	}
	for name, n := range s.Records {
		if n < 1 {
			return fmt.Errorf("counts %d records of %s", n, codec.Quote(name))
		}
	}
	// An empty text must not pass for an absent one.
	for _, word := range []struct {
		name, is string
		allowed  []string
	}{
		{"digest", s.Digest, []string{digestFits, digestDiffers, salvagedLost}},
		{"counts", s.Counts, []string{countsKnown, salvagedLost}},
	} {
		if codec.Get(value, codec.Pointer{word.name}) != nil && !slices.Contains(word.allowed, word.is) {
			return fmt.Errorf("has %q: %s, want one of %q", word.name, codec.Quote(fault.Shorten(word.is)), word.allowed)
		}
	}
	sorted := slices.Sorted(slices.Values(s.LostCollections))
	if slices.Contains(sorted, "") || len(slices.Compact(sorted)) < len(s.LostCollections) || len(sorted) > codec.MaxCollections {
		return fmt.Errorf(`has "lost_collections" with an empty name, a name twice, or more than %d names`, codec.MaxCollections)
	}
	return nil
}

// inherit adds what is known of an earlier loss. What was not known then is not known
// now, unless it got worse.
func (s *Salvaged) inherit(before *Salvaged) {
	for _, word := range []struct {
		now  *string
		then string
	}{{&s.Digest, before.Digest}, {&s.Counts, before.Counts}} {
		if *word.now == digestFits || *word.now == countsKnown || word.then == salvagedLost {
			*word.now = word.then
		}
	}
	s.LostCollections = slices.Compact(slices.Sorted(slices.Values(slices.Concat(s.LostCollections, before.LostCollections))))
	s.LostCollections = s.LostCollections[:min(len(s.LostCollections), codec.MaxCollections)]
}

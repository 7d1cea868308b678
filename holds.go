package backup

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tomo-project/backup/internal/fault"
)

// Partial tells whether a snapshot lacks a collection of the App that is not Optional.
// A snapshot says so itself (Manifest.Partial). Before snapshots said so, they did not
// name their Format either. Of such a snapshot, Partial goes by the collections that it
// has, if they are of the App's SchemaVersion and their counts are known. Otherwise
// nothing tells, and Partial returns false.
func (a *App) Partial(m Manifest) bool {
	return m.Partial || m.Format == "" && a.comparable(m) && len(a.lacks(m)) > 0
}

// comparable tells whether the collections of a snapshot are those that the App
// declares now.
func (a *App) comparable(m Manifest) bool {
	return a != nil && !m.Database && m.Records != nil && m.SchemaVersion == a.SchemaVersion && (m.Application == "" || m.Application == a.Name)
}

// lacks returns the collections that a full snapshot has and this one has not.
func (a *App) lacks(m Manifest) (names []string) {
	if a == nil {
		return nil
	}
	for _, col := range a.Collections {
		if _, found := m.Records[col.Name]; !found && !col.Optional {
			names = append(names, col.Name)
		}
	}
	return names
}

// Holds says in a few words what a snapshot holds: "Full", "Servers only", "All but
// users", "Before a restore: servers only", "Salvaged". It says Full only of a snapshot
// that says so itself or has every collection that is not Optional.
func (a *App) Holds(m Manifest) string {
	switch {
	case m.Database:
		return "The database"
	case m.Salvaged != nil:
		return "Salvaged"
	case m.Metadata[MetaTrigger] == triggerBeforeRestore:
		return "Before a restore: " + a.content(m)
	}
	words := a.content(m)
	first, size := utf8.DecodeRuneInString(words)
	return string(unicode.ToUpper(first)) + words[size:]
}

// content says what Holds says of the collections, to stand inside of a sentence.
func (a *App) content(m Manifest) string {
	const most = 3 // names in a row
	lacks := a.lacks(m)
	var has []string
	for _, name := range slices.Sorted(maps.Keys(m.Records)) {
		has = append(has, fault.Shorten(name))
	}
	switch {
	case !a.Partial(m) && (m.Format != "" || a.comparable(m)):
		return "full"
	case m.Records == nil && m.Partial:
		return "partial"
	case !a.Partial(m):
		return plural(len(has), "collection")
	case len(has) == 0:
		return "no collection"
	case a.comparable(m) && len(lacks) > 0 && len(lacks) <= most && len(lacks) < len(has):
		return "all but " + enumerate(lacks, most)
	}
	return enumerate(has, most) + " only"
}

// enumerate lists names: "a", "a and b", "a, b, c and 4 more".
func enumerate(names []string, most int) string {
	if len(names) > most+1 {
		names = append(slices.Clone(names[:most]), fmt.Sprintf("%d more", len(names)-most))
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// Verdict says in words what a check has found that ended without an error, to follow
// the name of the backup: "is whole and can be restored". report is that of [App.Verify].
// It has no collections if the records could not be checked without a key. What a backup
// lacks is part of the verdict: a partial or a salvaged backup is never just whole.
func (a *App) Verdict(m Manifest, report Report) string {
	can := "can be restored"
	if len(report.Collections) == 0 && len(m.Records) > 0 {
		can = "can be read to its end"
	}
	var words string
	switch {
	case m.Database:
		return "is a whole copy of the database"
	case m.Salvaged != nil:
		words = can + ", but was salvaged: lost are " + m.Salvaged.lost()
		if m.Salvaged.lost() == "" {
			words = can + ", but was salvaged: nothing is known to be lost"
		}
		if m.Salvaged.Counts != countsKnown {
			words += ", and maybe more"
		}
	// The digest of an encrypted backup stands beside it. A proof is a digest too.
	case m.SHA256 == "" && !m.Encrypted && m.Authentic == "":
		words = can + ", and has no digest to tell whether it is whole"
	case can != "can be restored":
		words = "is whole, as far as its digest tells"
	default:
		words = "is whole and can be restored"
	}
	if a.Partial(m) {
		words += "; it is partial: " + a.content(m)
	}
	return words
}

// triggerBeforeRestore is the trigger of a backup that a restore makes first, in
// package manager.
const triggerBeforeRestore = "before restore"

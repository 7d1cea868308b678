// Package filename is the one place that knows the names of backups:
// "tomo-backup-2024-01-15T10-30-00.json" (guide, "Backup File Format").
package filename

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tomo-project/backup/internal/envelope"
)

// The parts of a name: the application, an infix, the time, ".json" or ".db", the
// ending of a compression, and ".age".
const (
	infixBackup    = "-backup-"
	infixDatabase  = "-db-"
	endingJSON     = ".json"
	endingDatabase = ".db"
	endingAge      = ".age"
)

// timeLayout has no colons, which some file systems refuse, and sorts by time.
const timeLayout = "2006-01-02T15-04-05"

// A Name is the name of a backup in its parts.
type Name struct {
	Stem string    // the name without its ending; no two backups share it
	At   time.Time // to the second, in UTC
	envelope.Kind
}

// String returns the whole name.
func (n Name) String() string { return n.Stem + ending(n.Kind) }

// New returns the name of the nth backup of an application in the second of t.
func New(app string, t time.Time, n int, k envelope.Kind) Name {
	infix := infixBackup
	if k.Database {
		infix = infixDatabase
	}
	stem := app + infix + t.UTC().Format(timeLayout)
	if n > 1 {
		stem = fmt.Sprintf("%s-%d", stem, n)
	}
	return Name{stem, t.UTC().Truncate(time.Second), k}
}

// ending returns the part of a name after its stem: ".json.zst.age".
func ending(k envelope.Kind) string {
	text := endingJSON
	if k.Database {
		text = endingDatabase
	}
	for _, c := range envelope.Compressions {
		if c.Name == k.Compressed {
			text += c.Ending
		}
	}
	if k.Encrypted {
		text += endingAge
	}
	return text
}

// Parse is the strict inverse of New. It tells whether the name is that of a backup
// of the application.
func Parse(app, name string) (n Name, ok bool) {
	rest, ours := strings.CutPrefix(name, app+infixBackup)
	if !ours {
		rest, n.Database = strings.CutPrefix(name, app+infixDatabase)
	}
	rest, n.Encrypted = strings.CutSuffix(rest, endingAge)
	for _, c := range envelope.Compressions {
		if cut, found := strings.CutSuffix(rest, c.Ending); found {
			rest, n.Compressed = cut, c.Name
			break
		}
	}
	plain := endingJSON
	if n.Database {
		plain = endingDatabase
	}
	rest, ends := strings.CutSuffix(rest, plain)
	if !ours && !n.Database || !ends || len(rest) < len(timeLayout) {
		return Name{}, false
	}
	stamp, suffix := rest[:len(timeLayout)], rest[len(timeLayout):]

	// time.Parse also accepts an hour of one digit, and fractions of a second. New
	// does not write these.
	t, err := time.Parse(timeLayout, stamp)
	if err != nil || t.Format(timeLayout) != stamp {
		return Name{}, false
	}
	if suffix != "" {
		nth, err := strconv.Atoi(suffix[1:])
		if err != nil || nth < 2 || suffix != "-"+strconv.Itoa(nth) {
			return Name{}, false
		}
	}
	n.Stem, n.At = strings.TrimSuffix(name, ending(n.Kind)), t
	return n, true
}

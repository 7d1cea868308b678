package backup

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// What follows the name of the application in that of a backup.
const (
	infixBackup   = "-backup-"
	infixDatabase = "-db-"
)

// nameTime has no colons, which some file systems refuse, and sorts by time.
const nameTime = "2006-01-02T15-04-05"

// BackupName returns the name of a backup made at t (guide, "Backup File Format"):
// "tomo-backup-2024-01-15T10-30-00.json", in UTC whatever the zone of t, with
// fractions of a second cut off. The year of t must lie between 0 and 9999. A
// Manager adds ".gz" or ".zst" to it for what is compressed, and then ".age" for
// what is encrypted as a whole. A copy of a database ([Manager.CopyDatabase]) is
// called "tomo-db-2024-01-15T10-30-00.db".
func (a *App) BackupName(t time.Time) string {
	return a.Name + infixBackup + t.UTC().Format(nameTime) + endingJSON
}

// ParseBackupName is the strict inverse of [App.BackupName]: it returns the
// time in name, in UTC, and whether name is that of a backup of the
// application. It also understands the suffix of a second backup, a third and
// so on in the same second, "tomo-backup-2024-01-15T10-30-00-2.json", and the
// endings of what is compressed or encrypted, ".json.zst.age", and the name of a
// copy of a database. Any other
// name is false: that of a file that a person or a script has put beside the
// backups, like the guide's "tomo-backup-2024-01-15.json" ("Scripting
// Backups"), and a path.
func (a *App) ParseBackupName(name string) (time.Time, bool) {
	n, ok := a.parseName(name)
	return n.at, ok
}

// A backupName is the name of a backup in its parts.
type backupName struct {
	stem string // all before the ending; no two backups share it
	at   time.Time
	envelope
}

func (a *App) parseName(name string) (n backupName, ok bool) {
	rest, ours := strings.CutPrefix(name, a.Name+infixBackup)
	if !ours {
		rest, n.Database = strings.CutPrefix(name, a.Name+infixDatabase)
	}
	rest, n.Encrypted = strings.CutSuffix(rest, endingAge)
	for _, c := range compressions {
		if cut, found := strings.CutSuffix(rest, c.ending); found {
			rest, n.Compressed = cut, c.Compression
			break
		}
	}
	ending := endingJSON
	if n.Database {
		ending = endingDatabase
	}
	rest, ends := strings.CutSuffix(rest, ending)
	if !ours && !n.Database || !ends || len(rest) < len(nameTime) {
		return backupName{}, false
	}
	stamp, suffix := rest[:len(nameTime)], rest[len(nameTime):]

	// time.Parse is lenient (an hour of one digit, fractions of a second): the
	// time must also be written as BackupName writes it.
	t, err := time.Parse(nameTime, stamp)
	if err != nil || t.Format(nameTime) != stamp {
		return backupName{}, false
	}
	if suffix != "" {
		n, err := strconv.Atoi(suffix[1:])
		if err != nil || n < 2 || suffix != "-"+strconv.Itoa(n) {
			return backupName{}, false
		}
	}
	n.stem, n.at = strings.TrimSuffix(name, n.ending()), t
	return n, true
}

// backupName returns the name of the nth backup of a second.
func (a *App) backupName(t time.Time, n int, e envelope) string {
	stem := strings.TrimSuffix(a.BackupName(t), endingJSON)
	if e.Database {
		stem = a.Name + infixDatabase + t.UTC().Format(nameTime)
	}
	if n > 1 {
		stem = fmt.Sprintf("%s-%d", stem, n)
	}
	return stem + e.ending()
}

// CheckName returns an error that wraps fs.ErrInvalid unless name can be that of
// a file at every [Location]: one element of a path in UTF-8, of at most 200
// bytes, without separators, colons or control characters, and not beginning
// with a dot, which is kept for what a Location needs itself.
func CheckName(name string) error {
	bad := func(r rune) bool { return r == '/' || r == '\\' || r == ':' || unicode.IsControl(r) }
	if name == "" || len(name) > 200 || name[0] == '.' || !utf8.ValidString(name) || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("%w: %q cannot be the name of a backup", fs.ErrInvalid, shorten(name))
	}
	return nil
}

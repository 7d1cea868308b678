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

// nameTime has no colons, which some file systems refuse, and sorts by time.
const nameTime = "2006-01-02T15-04-05"

// BackupName returns the name of a backup made at t (guide, "Backup File Format"):
// "tomo-backup-2024-01-15T10-30-00.json", in UTC whatever the zone of t, with
// fractions of a second cut off. The year of t must lie between 0 and 9999.
func (a *App) BackupName(t time.Time) string {
	return a.Name + "-backup-" + t.UTC().Format(nameTime) + ".json"
}

// ParseBackupName is the strict inverse of [App.BackupName]: it returns the
// time in name, in UTC, and whether name is that of a backup of the
// application. It also understands the suffix of a second backup, a third and
// so on in the same second: "tomo-backup-2024-01-15T10-30-00-2.json". Any other
// name is false: that of a file that a person or a script has put beside the
// backups, like the guide's "tomo-backup-2024-01-15.json" ("Scripting
// Backups"), and a path.
func (a *App) ParseBackupName(name string) (time.Time, bool) {
	rest, ours := strings.CutPrefix(name, a.Name+"-backup-")
	rest, json := strings.CutSuffix(rest, ".json")
	if !ours || !json || len(rest) < len(nameTime) {
		return time.Time{}, false
	}
	stamp, suffix := rest[:len(nameTime)], rest[len(nameTime):]

	// time.Parse is lenient (an hour of one digit, fractions of a second): the
	// time must also be written as BackupName writes it.
	t, err := time.Parse(nameTime, stamp)
	if err != nil || t.Format(nameTime) != stamp {
		return time.Time{}, false
	}
	if suffix != "" {
		n, err := strconv.Atoi(suffix[1:])
		if err != nil || n < 2 || suffix != "-"+strconv.Itoa(n) {
			return time.Time{}, false
		}
	}
	return t, true
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

package backup

import (
	"time"

	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/filename"
)

// BackupName returns the name of a backup made at t:
// "tomo-backup-2024-01-15T10-30-00.json" (guide, "Backup File Format"; FORMAT.md,
// "Names of backups"). The time is in UTC, whatever the zone of t, and fractions of
// a second are cut off. The year of t must lie between 0 and 9999.
//
// A manager.Manager adds ".gz" or ".zst" to the name of a compressed file, and then
// ".age" to that of an encrypted one. It calls a copy of a database
// "tomo-db-2024-01-15T10-30-00.db".
func (a *App) BackupName(t time.Time) string {
	return filename.New(a.Name, t, 1, envelope.Kind{}).String()
}

// ParseBackupName is the strict inverse of [App.BackupName]. It returns the time in
// name, in UTC, and whether name is that of a backup of the application.
//
// It understands all names that a manager.Manager gives: the suffix of a second,
// third or later backup in the same second,
// "tomo-backup-2024-01-15T10-30-00-2.json"; the endings of compressed and encrypted
// files, ".json.zst.age"; and the names of copies of a database. It returns false
// for any other name: for a path, and for a file that a person or a script has put
// beside the backups, like "tomo-backup-2024-01-15.json" (guide, "Scripting
// Backups").
func (a *App) ParseBackupName(name string) (time.Time, bool) {
	n, ok := filename.Parse(a.Name, name)
	return n.At, ok
}

package backup

import (
	"time"

	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/filename"
)

// BackupName returns the name of a backup made at t (guide, "Backup File Format"):
// "tomo-backup-2024-01-15T10-30-00.json", in UTC whatever the zone of t, with
// fractions of a second cut off. The year of t must lie between 0 and 9999. A
// Manager adds ".gz" or ".zst" to it for what is compressed, and then ".age" for
// what is encrypted as a whole. A copy of a database ([manager.Manager.CopyDatabase]) is
// called "tomo-db-2024-01-15T10-30-00.db".
func (a *App) BackupName(t time.Time) string {
	return filename.New(a.Name, t, 1, envelope.Kind{}).String()
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
	n, ok := filename.Parse(a.Name, name)
	return n.At, ok
}

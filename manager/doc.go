// Package manager is what a server embeds to keep many backups of its data: it makes them
// on a schedule, stores them at several places, deletes the old ones, proves that they
// restore, and restores them with a way back. Package backup, below it, knows one snapshot.
//
//	Schedule ─▶ Create ─▶ Locations ─▶ Prune           Undo ◀─┐
//	  Run          what was stored      proves the           │ a backup of what
//	               is read back         newest first      Restore   was there
//
// # In a minute
//
// A [Manager] is a struct literal. App, Source, Sink and Locations will do:
//
//	m := &manager.Manager{
//		App: app, Source: store, Sink: store,
//		Recipients: []backup.Recipient{key}, Identities: []backup.Identity{key},
//		Locations: []location.Location{location.Dir("/var/backups/app"), location.Dir("/mnt/usb/app")},
//		Schedule:  schedule.Daily{At: 3 * time.Hour},
//		Retention: backup.Retention{Last: 7},
//	}
//
//	made, err := m.Create(ctx, backup.BackupOptions{}) // at all Locations
//	list, err := m.List(ctx)                           // newest first, with where each backup is whole
//
//	snapshot, err := m.Open(ctx, made.Name)
//	defer snapshot.Close()
//	report, err := m.Restore(ctx, snapshot, backup.RestoreOptions{Strategy: backup.Replace})
//	// report.UndoneBy is the backup of what was there before
//	report, err = m.Undo(ctx)
//
//	pruned, err := m.Prune(ctx, manager.PruneOptions{DryRun: true}) // what Retention would delete, and why
//	proof, err := m.Drill(ctx, "")                                  // restores the newest backup into m.Drills.Scratch
//
//	err = m.Run(ctx) // all of this on the Schedule, until ctx is done
//
// The examples of [Manager] run as they stand.
//
// # One at a time
//
// Create, CopyDatabase, Restore, Apply, Undo, Prune, Delete, Rewrap and Accept change
// something, and so does Run whenever a backup is due. One of them runs at a time: in a
// Manager, and among all processes that share one of its Locations. Another one returns
// [location.ErrBusy] at once, and says who is busy since when. All other methods, and Prune
// with DryRun, never wait and keep nobody waiting.
//
// A process that was killed keeps nobody waiting for long. The operating system frees the
// lock of a folder. A Location that is no [location.Locker] is free again after ten minutes;
// for that the clocks of all processes must agree to within some minutes. A process that has
// slept for so long does not go on: whoever holds such a Location checks that right before
// each Put and Delete there, before a file is complete, and before the Sink commits.
//
// # Several locations
//
// A backup is made at the first Location that takes it, and copied from there to the others
// side by side. A copy counts when it was read back. A Location that is down stops nothing.
// A Location that does not answer for a minute counts as down, when it is asked for its
// lock, its list of files or a file. Only a Put that never ends keeps its operation from
// ending. What a Location lacks, or has only damaged, a later Create or Run copies to it, as
// far as Retention keeps it there.
//
// With an Installation, each backup has a serial, which is higher than that of each backup
// before it. It tells what was made later where the clock does not. The host makes the id
// at its first start and keeps it outside of what is backed up and restored.
//
// Two installations of an App may share a Location, if both have an Installation. Each sees
// the backups of the other as Foreign: restored by name only, and otherwise left alone. A
// mark whose backup is gone then counts for neither, since nobody can tell whose it is.
//
// # Files
//
// Beside the backups the Manager keeps small files. Their names are the name of a backup
// with one of these endings:
//
//   - ".manifest": the note of a compressed or encrypted backup, or of a copy of the
//     database. It has what List shows and the digest of the file, in clear.
//   - ".accepted", an empty file: a person has accepted what the backup has lost.
//   - ".restored", an empty file: the restore before which the backup was made took place.
//   - ".drilled", an empty file: the backup has passed a drill.
//   - ".rehearsed", an empty file: a person has opened the backup with their key.
//   - ".verified", an empty file: the backup was opened and read to its end, and all was good.
//   - ".rekeyed", an empty file: the backup is sealed with another key than those before it,
//     and nobody has accepted that.
//   - ".writing", a file with the Installation: an encrypted backup or a copy of the
//     database is being stored. If its writer dies before the note is there, the next method
//     of this Installation that holds the Location deletes what is left. Until then List
//     does not show it.
//
// Each Location also gets a README, the name of the App with "-backup-README.txt" behind
// it. It says to whoever finds the backups what they are, and how to open them without this
// software. A README that a person has changed is left alone for ever, and one that was
// deleted is made anew with the next backup; NoReadme switches it off. On a full disk it
// gives its room to the lease of whoever makes more room.
//
// While a Location that is no Locker is held, a file that ends with ".lease" is there. Probe
// stores a file that ends with ".tmp" for a moment. All other files are left alone.
//
// # What is never done
//
// A backup is never overwritten. A damaged copy is replaced only by a good copy, which was
// read before. Prune never deletes the newest good backup, nor a file that is not a backup
// of the App. Restore changes nothing before what is there is stored at a Location. No secret is in an [Event], in the log or in an error.
//
// A method starts no goroutine that outlives it, with one exception: a call that ignores
// its context is left behind, of a Location that does not answer, or of an Identity that is
// being asked for its key.
//
// # Where to read on
//
// Each verb has a file. manager.go has what a Manager is made of, and operation.go how each
// method begins, holds the Locations and ends.
//
//   - Making: create.go, serial.go, room.go for disks that are full, unfinished.go for
//     writers that died, fill.go for the other Locations, readme.go, database.go, run.go
//     with due.go
//   - Looking: list.go, look.go for one file, beside.go for notes and marks, backup.go for
//     what is known of a backup, open.go; history.go and find.go for one record
//   - Restoring: restore.go, undo.go
//   - Deleting: prune.go with decide.go, shrink.go, delete.go
//   - Proving: verify.go, drill.go, rehearse.go, probe.go
//   - Other keys: rewrap.go
//   - Telling: event.go, status.go
//   - Locations: site.go, lease.go for those without locks, held.go for the checks of a hold,
//     patience.go for those that do not answer
package manager

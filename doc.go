// Package backup is the backup and restore of the application that embeds it.
//
// The host declares what it has in an [App]: its collections, the JSON Schema of
// their records, what refers to what, which fields are secret, and the
// [Migrator] steps that make today's data of older data. It plugs in how its
// data is read, a [DataSource], and how it is changed, a [Sink]; package
// sqlstore has both for tables in a database. The library does the rest:
//
//	              Backup                       OpenSnapshot          Plan, Restore
//	DataSource ────────────▶ snapshot (JSON) ────────────▶ Snapshot ──────────────▶ Sink
//	 one point   validate        a record        digest      open      migrate        one
//	  in time      seal           a line       strict JSON   keys     validate    transaction
//
// A snapshot is one JSON document that any JSON tool reads, with a record a
// line and a digest that a person can check; schema/FORMAT.md defines it.
//
// That is the lower half: one snapshot, an io.Writer or an io.Reader. A server
// embeds the upper half, a [manager.Manager]: backups under names at one [location.Location] or
// several ([location.Dir] is a folder), made on a [schedule.Schedule], kept by [Retention],
// verified, put to drills, and restored with a way back.
//
//	Schedule ─▶ Create ─▶ Locations ─▶ Prune           Undo ◀─┐
//	  Run          what was stored      proves the           │ a backup of what
//	               is read back         newest first      Restore   was there
//
// # What can be relied on
//
// [App.Backup] sees one point in time and validates every record: a backup that
// it returns can be restored. Secret fields are never written in clear; without
// a [Recipient] to seal them for, or an [Encrypter] for the whole file, there is no
// backup. With the public keys of package agekey a server makes backups that it
// cannot open itself.
//
// [App.Restore] changes nothing before the whole snapshot has been read, its
// digest compared, its secrets opened, its data migrated and validated. Then it
// makes all changes in one transaction, or none. What it would do can be looked
// at with [App.Plan] before, and [Plan.Apply] does exactly that.
//
// Input is hostile: depth, sizes and counts are bounded by [Limits], and what is
// damaged, foreign, newer or sealed with another key is refused with an error
// that says so ([ErrDamaged] and the other kinds). What somebody has made or altered
// who does not know the key is refused where a proof is required ([ErrUnauthentic];
// FORMAT.md, "What is protected, and what is not").
//
// A backup is at a Location whole or not at all, and never overwritten.
// [manager.Manager.Prune] never deletes the newest backup that verifies, nor a file that
// is none of its own. [manager.Manager.Restore] stores what is there before it changes
// anything, and [manager.Manager.Undo] brings it back. What a damaged file still holds
// [App.Salvage] saves.
//
// Memory depends on the number of keys, not on the size of the data.
//
// The package has no global state, and no goroutine outlives the call that
// started it, but one that waits for a Location that does not answer. It logs
// nothing but to the Logger of a Manager. Randomness comes from crypto/rand, and
// from math/rand where a pause is to be irregular.
//
// # Where to read on
//
// The files in the order in which they make sense. One snapshot: app.go,
// store.go, backup.go, snapshot.go, restore.go, plan.go, migrate.go; then seal.go
// and secrets.go for keys, proof.go for authenticity, envelope.go for compressed and
// encrypted files, record.go for what backup and restore share, errors.go, and
// salvage.go with salvage_outline.go and salvage_records.go for damaged files.
// Many backups: location.go and dir.go, name.go, manager.go, site.go for a
// location in use, copies.go, catalog.go for the list of backups with look.go for one
// file of it and note.go for what stands beside, hold.go for one operation at a time, undo.go, prune.go
// with retention.go, verify.go, drill.go, rehearse.go and rewrap.go for keys, database.go
// for copies of the host's database, files.go for what a page for people needs, run.go
// with schedule.go, event.go.
//
// Package agekey has keys of age; packages sqlstore, kvstore and filestore are
// stores over tables, key-value stores and files. Package backuphttp is a page for
// people around a Manager. Package backuptest has a reference store and a reference
// location with the conformance suites that every DataSource, Sink and Location
// should pass, and package tomo is the declaration of a whole application.
//
// # Compatibility
//
// Snapshots that any release has written are read by all later ones: frozen
// files in backuptest and tomo see to it. The API may change until 1.0.
package backup

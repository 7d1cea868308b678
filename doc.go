// Package backup backs up and restores the data of the application that embeds
// it. It handles one snapshot: how it is made, read, checked and restored. A
// server that keeps many backups, at places and on a schedule, embeds package
// manager instead, which is built on this one.
//
// # One snapshot in 60 seconds
//
// Declare what the application has. An [App] lists its collections: the JSON
// Schema of their records, which fields refer to other records, and which fields
// are secret.
//
//	app := &backup.App{Name: "homelab", Version: "2.1.0", SchemaVersion: 1,
//		Collections: []backup.Collection{{Name: "servers", Key: "/id", Secrets: []string{"/password"}}}}
//
// Plug in how the data is read, a [DataSource], and how it is changed, a [Sink].
// Packages sqlstore, kvstore and filestore have both for common stores. Then back
// up to any io.Writer:
//
//	key := backup.Passphrase(passphrase)
//	manifest, err := app.Backup(ctx, file, store, backup.BackupOptions{Recipients: []backup.Recipient{key}})
//
// Open a snapshot from any io.Reader. That reads it to its end and checks it:
//
//	snapshot, err := backup.OpenSnapshot(ctx, file, backup.OpenOptions{Identities: []backup.Identity{key}})
//	defer snapshot.Close()
//
// Plan a restore, look at what it would change, and then do exactly that:
//
//	plan, err := app.Plan(ctx, snapshot, store, backup.RestoreOptions{Strategy: backup.Replace})
//	for change, err := range plan.Changes(ctx) { … }
//	report, err := plan.Apply(ctx)
//
// This is the way of the data:
//
//	              Backup                       OpenSnapshot          Plan, Restore
//	DataSource ────────────▶ snapshot (JSON) ────────────▶ Snapshot ──────────────▶ Sink
//	 one point   validate        a record        digest      open      migrate        one
//	  in time      seal           a line       strict JSON   keys     validate    transaction
//
// A snapshot is one JSON document that any JSON tool reads. It has one record a
// line, and a digest that a person can check with standard tools.
// schema/FORMAT.md defines it.
//
// When the shape of the data changes, SchemaVersion goes up by one, and a
// [Migrator] makes today's records of older ones. So every backup that was ever
// made can be restored.
//
// # What can be relied on
//
// [App.Backup] sees one point in time and validates every record, so a backup
// that it returns can be restored. It never writes a secret field in clear:
// without a [Recipient] to seal the secrets for, or an [Encrypter] for the whole
// file, there is no backup. With the public keys of package agekey a server makes
// backups that it cannot open itself.
//
// [App.Restore] first reads the whole snapshot: it compares the digest, opens the
// secrets, migrates the data and validates it. Only then does it change the host,
// and it makes all changes in one transaction, or none. Before the commit it reads
// them back, and the Report names what the host has made otherwise. [App.Plan]
// tries the same and rolls it back. So what the host would refuse has no plan.
// [Plan.Apply] does exactly what the plan says or returns [ErrStale].
//
// A snapshot may come from an attacker. [Limits] bound its depth, sizes and
// counts. A snapshot that is damaged, of another application, too new or sealed
// with another key is refused, with an error that says so: [ErrDamaged] and the
// others beside it. The digest is against accidents. Against people who can write
// to the place where backups are kept, require a proof: a passphrase or a
// signature ([OpenOptions].RequireProof; FORMAT.md, "What is protected, and what
// is not").
//
// A snapshot may be of another installation, which has the same things under other keys.
// [App.Restore] knows them by what the App declares as Unique, and rewrites the references.
//
// [App.Drill] proves that a snapshot restores. [App.Diff] says what changed between two
// snapshots, or since one. [App.Salvage] saves what a damaged file still holds.
//
// Memory grows with the number of keys, not with the size of the data.
//
// The texts of errors are for people, and end up in logs and reports. The library puts
// no secret and no value of a record into them. Errors of the host's own code are a part
// of these texts: of its DataSource and Sink, of keys, migrators and hooks. They must
// name the place and not the value. Only of a [Migrator] and of [Collection].Merge does
// the library know the record, and hides its secrets.
//
// The package has no global state, starts no goroutine that outlives a call, and logs
// nothing. It reads the clock for the date of a snapshot where the caller gives none, and
// for the durations in reports. Randomness comes from crypto/rand. Temporary files are
// encrypted.
//
// # Where to read on
//
// Read the files in this order:
//
//   - app.go is the declaration, store.go the interfaces of the host's data, and
//     errors.go the kinds of errors.
//   - backup.go writes a snapshot. record.go has the checks on a record that
//     backup and restore share, and problems.go gathers what they find.
//     manifest.go writes and reads the members around the data.
//   - snapshot.go opens a snapshot, and peek.go reads its manifest alone.
//   - restore.go has the options and the report of a restore, incoming.go reads
//     the snapshot for it, migrate.go migrates its records, and compare.go compares
//     them with the host's, with dangling.go for references and meet.go for what the
//     host says of itself. match.go finds the records that the host has under another
//     key, twins.go says what becomes of them, unique.go compares the values, and rekey.go
//     rewrites keys and references. settle.go puts right
//     what the host makes otherwise, as confirm.go reads it back. transact.go runs
//     all that in a transaction. plan.go does the same and rolls back, and drill.go
//     does it in an empty store. hide.go takes secrets out of errors of the host,
//     and given.go refuses what is nil.
//   - keys.go has the interfaces of keys, and the passphrase. secrets.go seals and
//     opens secret fields, proof.go proves where a snapshot comes from, and
//     rewrap.go gives a snapshot other keys.
//   - salvage.go saves what is left of a damaged file: salvage_outline.go finds
//     the members around the data, salvage_records.go and salvage_shard.go the
//     records.
//   - name.go has the names of backups. retention.go decides which backups to keep.
//
// Package manager is the server's part: backups at several locations, made on a
// schedule, verified, pruned, and restored with a way back. Package location says
// what a place for backups must do, and package schedule when backups are made.
// Package backuphttp is a web page around a Manager. Package agekey has public
// keys. Package backuptest has a reference store and a reference location, with
// the conformance suites that every DataSource, Sink and Location should pass.
// Package tomo is the declaration of a whole application.
//
// # Compatibility
//
// Every release reads the snapshots of all earlier ones. Frozen files in
// backuptest and tomo test this. The API may change until 1.0.
package backup

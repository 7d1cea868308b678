package backup_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

// A drill restores a backup into an empty store, and compares what comes back with
// the backup. It refuses a store that is not empty, such as the host's own.
func ExampleApp_Drill() {
	ctx := context.Background()
	host := exampleHost()
	snapshot := exampleSnapshot(exampleApp, host)
	defer snapshot.Close()

	scratch := backuptest.MapStore{"servers": {}, "applications": {}, "settings": {}}
	report, err := exampleApp.Drill(ctx, snapshot, scratch, backup.RestoreOptions{})
	check(err)
	for _, c := range report.Collections {
		fmt.Println(c.Name, c.Added)
	}
	_, err = exampleApp.Drill(ctx, snapshot, host, backup.RestoreOptions{})
	fmt.Println("into the host:", errors.Is(err, backup.ErrInvalid))
	// Output:
	// servers 2
	// applications 1
	// settings 1
	// into the host: true
}

// Before a restore changes anything, it backs up what the host has. That backup
// brings everything back.
func ExampleRestoreOptions_before() {
	ctx := context.Background()
	host := exampleHost()
	snapshot := exampleSnapshot(exampleApp, host)
	defer snapshot.Close()
	host["settings"]["theme"] = `"light"`

	key := backup.Passphrase([]byte("correct horse battery staple"))
	var before bytes.Buffer // the backup of what the host had
	_, err := exampleApp.Restore(ctx, snapshot, host, backup.RestoreOptions{
		Strategy: backup.Replace,
		Before: func(ctx context.Context, held backup.DataSource, collections []string) error {
			before.Reset() // a Sink may repeat its transaction
			_, err := exampleApp.Backup(ctx, &before, held, backup.BackupOptions{
				Only: collections, LeaveOutInvalid: true, Recipients: []backup.Recipient{key},
			})
			return err
		},
	})
	check(err)
	fmt.Println("restored:", host["settings"]["theme"])

	back, err := backup.OpenSnapshot(ctx, &before, backup.OpenOptions{Identities: []backup.Identity{key}})
	check(err)
	defer back.Close()
	_, err = exampleApp.Restore(ctx, back, host, backup.RestoreOptions{Strategy: backup.Replace, AsItWas: true})
	check(err)
	fmt.Println("undone:", host["settings"]["theme"])
	// Output:
	// restored: "dark"
	// undone: "light"
}

// Peek tells what a backup holds without its key, and without reading all of it.
func ExamplePeek() {
	ctx := context.Background()
	var file bytes.Buffer
	key := backup.Passphrase([]byte("correct horse battery staple"))
	_, err := exampleApp.Backup(ctx, &file, exampleHost(), backup.BackupOptions{
		Recipients: []backup.Recipient{key},
		Metadata:   map[string]string{backup.MetaTrigger: "manual"},
	})
	check(err)

	manifest, err := backup.Peek(ctx, bytes.NewReader(file.Bytes()), backup.OpenOptions{})
	check(err)
	fmt.Println(manifest.Application, manifest.ApplicationVersion, manifest.Metadata[backup.MetaTrigger])
	fmt.Println(manifest.Records)
	fmt.Println("opened by", manifest.Keys)
	// Output:
	// homelab 2.1.0 manual
	// map[applications:1 servers:2 settings:1]
	// opened by [passphrase]
}

// The host has a user of the same name under another key, and names are unique. The plan
// says so, since it was tried. SkipClashes restores the rest.
func ExampleRestoreOptions_skipClashes() {
	ctx := context.Background()
	app := &backup.App{Name: "people", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "users", Key: "/id"}}}
	snapshot := exampleSnapshot(app, backuptest.MapStore{"users": {
		"u1": `{"id":"u1","name":"ann"}`,
		"u2": `{"id":"u2","name":"bob"}`,
	}})
	defer snapshot.Close()
	host := backuptest.RuledStore{
		MapStore: backuptest.MapStore{"users": {"u9": `{"id":"u9","name":"ann"}`}},
		Unique:   map[string][]string{"users": {"/name"}},
	}

	_, err := app.Plan(ctx, snapshot, host, backup.RestoreOptions{})
	if clash, ok := errors.AsType[*backup.RecordError](err); ok && errors.Is(err, backup.ErrClash) {
		fmt.Println("refused:", clash.Collection, clash.Key, "clashes with", clash.With)
	}

	plan, err := app.Plan(ctx, snapshot, host, backup.RestoreOptions{SkipClashes: true})
	check(err)
	for change, err := range plan.Changes(ctx) {
		check(err)
		fmt.Printf("would %s %q %q\n", change.Action, change.Key, change.With)
	}
	report, err := plan.Apply(ctx)
	check(err)
	fmt.Println("left out:", report.LeftOut[0].Key)
	// Output:
	// refused: users u1 clashes with u9
	// would skip "u1" "u9"
	// would add "u2" ""
	// left out: u1
}

// Walk reads the records of a snapshot as a restore takes them. Change shows two states of
// a record, with the secrets masked.
func ExampleApp_Walk() {
	ctx := context.Background()
	host := exampleHost()
	snapshot := exampleSnapshot(exampleApp, host)
	defer snapshot.Close()
	now := backup.Record{Key: "s1", Value: json.RawMessage(`{"id":"s1","name":"storage","password":"correct"}`)}

	nas := map[string][]string{"servers": {"s1"}}
	err := exampleApp.Walk(ctx, snapshot, backup.RestoreOptions{Records: nas}, func(collection string, r backup.Record) error {
		change, err := exampleApp.Change(collection, &r, &now)
		for _, f := range change.Fields {
			fmt.Printf("%s: %s → %s\n", f.Pointer, f.Before, f.After)
		}
		return err
	})
	check(err)
	// Output:
	// /name: "nas" → "storage"
	// /password: "(secret)" → "(secret)"
}

package backup_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

// exampleApp declares a small host with three collections.
var exampleApp = &backup.App{
	Name:          "homelab",
	Version:       "2.1.0",
	SchemaVersion: 1,
	Collections: []backup.Collection{
		{
			Name:    "servers",
			Key:     "/id",
			Schema:  []byte(`{"required":["id","name"],"properties":{"name":{"type":"string"}}}`),
			Secrets: []string{"/password"},
		},
		{
			Name: "applications",
			Key:  "/id",
			Refs: []backup.Ref{{Pointer: "/server", Collection: "servers"}},
		},
		{Name: "settings", Shape: backup.Map},
	},
}

// exampleHost returns the data of the host. MapStore is a DataSource and a Sink in
// memory. Package sqlstore has both for a database.
func exampleHost() backuptest.MapStore {
	return backuptest.MapStore{
		"servers":      {"s1": `{"id":"s1","name":"nas","password":"hunter2"}`, "s2": `{"id":"s2","name":"pi"}`},
		"applications": {"a1": `{"id":"a1","name":"jellyfin","server":"s1"}`},
		"settings":     {"theme": `"dark"`},
	}
}

// exampleSnapshot backs up a host and opens the backup.
func exampleSnapshot(app *backup.App, host backup.DataSource) *backup.Snapshot {
	var file bytes.Buffer
	key := backup.Passphrase([]byte("correct horse battery staple"))
	_, err := app.Backup(context.Background(), &file, host, backup.BackupOptions{Recipients: []backup.Recipient{key}})
	check(err)
	snapshot, err := backup.OpenSnapshot(context.Background(), &file, backup.OpenOptions{Identities: []backup.Identity{key}})
	check(err)
	return snapshot
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// A host declares what it has, makes a backup, loses something and restores it.
func Example() {
	ctx := context.Background()
	app := exampleApp // declares collections, with their schemas, references and secrets
	host := exampleHost()

	// Back up: one point in time, every record validated, secrets sealed.
	var file bytes.Buffer
	key := backup.Passphrase([]byte("correct horse battery staple"))
	manifest, err := app.Backup(ctx, &file, host, backup.BackupOptions{
		Recipients: []backup.Recipient{key},
		CreatedAt:  time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC),
	})
	check(err)
	fmt.Println("backed up", manifest.Records["servers"], "servers; sealed:", manifest.Sealed)
	fmt.Println("the password is in it:", strings.Contains(file.String(), "hunter2"))

	// Something goes wrong: a server is lost, and a setting is changed.
	delete(host["servers"], "s1")
	host["settings"]["theme"] = `"pink"`

	// Open the backup. That reads it to its end and compares its digest.
	snapshot, err := backup.OpenSnapshot(ctx, &file, backup.OpenOptions{Identities: []backup.Identity{key}})
	check(err)
	defer snapshot.Close()

	// See what a restore would change, and then change exactly that.
	plan, err := app.Plan(ctx, snapshot, host, backup.RestoreOptions{Strategy: backup.Replace})
	check(err)
	for change, err := range plan.Changes(ctx) {
		check(err)
		fmt.Println("would", change.Action, change.Collection, change.Key)
	}
	_, err = plan.Apply(ctx)
	check(err)
	fmt.Println(host["servers"]["s1"])
	fmt.Println(host["settings"]["theme"])
	// Output:
	// backed up 2 servers; sealed: true
	// the password is in it: false
	// would add servers s1
	// would update settings theme
	// {"id":"s1","name":"nas","password":"hunter2"}
	// "dark"
}

// A selective restore takes some collections and leaves the rest alone. It is refused
// if a restored record would refer to a record that does not exist.
func ExampleApp_Restore() {
	ctx := context.Background()
	snapshot := exampleSnapshot(exampleApp, exampleHost())
	defer snapshot.Close()
	newMachine := backuptest.MapStore{"servers": {}, "applications": {}, "settings": {"theme": `"light"`}}

	_, err := exampleApp.Restore(ctx, snapshot, newMachine, backup.RestoreOptions{Only: []string{"applications"}})
	fmt.Println("applications alone:", strings.Contains(err.Error(), `refers to "s1" of servers, which would not exist`))

	report, err := exampleApp.Restore(ctx, snapshot, newMachine, backup.RestoreOptions{
		Only:       []string{"applications", "servers"},
		Strategy:   backup.SkipDuplicates,
		Strategies: map[string]backup.Strategy{"servers": backup.Merge},
	})
	check(err)
	for _, c := range report.Collections {
		fmt.Printf("%s (%s): %d added\n", c.Name, c.Strategy, c.Added)
	}
	fmt.Println("theme:", newMachine["settings"]["theme"])
	// Output:
	// applications alone: true
	// servers (merge): 2 added
	// applications (skip-duplicates): 1 added
	// theme: "light"
}

// A plan says what a restore would change, record by record and field by field. It
// never shows a secret.
func ExampleApp_Plan() {
	ctx := context.Background()
	snapshot := exampleSnapshot(exampleApp, exampleHost())
	defer snapshot.Close()
	host := exampleHost()
	host["servers"]["s1"] = `{"id":"s1","name":"old nas","password":"12345","rack":3}`
	host["servers"]["s3"] = `{"id":"s3","name":"laptop"}`

	plan, err := exampleApp.Plan(ctx, snapshot, host, backup.RestoreOptions{Strategy: backup.Replace})
	check(err)
	for change, err := range plan.Changes(ctx) {
		check(err)
		fmt.Println(change.Action, change.Collection, change.Key)
		for _, f := range change.Fields {
			fmt.Printf("  %s: %s -> %s\n", f.Pointer, cmp.Or(string(f.Before), "absent"), cmp.Or(string(f.After), "absent"))
		}
	}
	// Output:
	// delete servers s3
	//   /id: "s3" -> absent
	//   /name: "laptop" -> absent
	// update servers s1
	//   /name: "old nas" -> "nas"
	//   /password: "(secret)" -> "(secret)"
	//   /rack: 3 -> absent
}

// Version 2 of the schema renames hosts to servers and gives them a port. The
// migrator stays for ever, so that every backup that was ever made can be restored.
func ExampleMigration() {
	version1 := &backup.App{Name: "homelab", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "hosts", Key: "/id"},
	}}
	version2 := &backup.App{Name: "homelab", Version: "2.0.0", SchemaVersion: 2,
		Collections: []backup.Collection{
			{Name: "servers", Key: "/id", Schema: []byte(`{"required":["port"]}`)},
		},
		Migrators: []backup.Migrator{
			backup.Migration(1, func(ctx context.Context, collection string, r backup.Record, emit func(string, backup.Record) error) error {
				if collection != "hosts" {
					return emit(collection, r)
				}
				var host map[string]any
				if err := json.Unmarshal(r.Value, &host); err != nil {
					return err
				}
				host["port"] = 22
				value, err := json.Marshal(host)
				if err != nil {
					return err
				}
				return emit("servers", backup.Record{Value: value})
			}),
		},
	}

	old := exampleSnapshot(version1, backuptest.MapStore{"hosts": {"h1": `{"id":"h1","name":"nas"}`}})
	defer old.Close()
	host := backuptest.MapStore{"servers": {}}
	_, err := version2.Restore(context.Background(), old, host, backup.RestoreOptions{})
	check(err)
	fmt.Println(host["servers"]["h1"])
	// Output:
	// {"id":"h1","name":"nas","port":22}
}

// The rows of a table that joins two others have a key of two parts.
func ExampleJoinKey() {
	key := backup.JoinKey("7", `the "admins"`)
	fmt.Println(key)
	fmt.Println(backup.SplitKey(key, 2))
	// Output:
	// ["7","the \"admins\""]
	// [7 the "admins"] true
}

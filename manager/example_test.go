package manager_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// The two halves of a key that age-keygen made.
const (
	examplePublic  = "age1m69xn6tqln0y46es0jkcqh4g3lw9wl5dhdmehfampx859wwtqc2s90pscn"
	examplePrivate = "AGE-SECRET-KEY-1H0L0EFFUHJS3UG6QYHDNEMCFH493W62TE3F7PM3AJF25EJC85FWQ4MXQW4"
)

// exampleApp declares a small host.
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

// exampleHost returns what the host has. MapStore is a DataSource and a Sink;
// package sqlstore has them for a database.
func exampleHost() backuptest.MapStore {
	return backuptest.MapStore{
		"servers":      {"s1": `{"id":"s1","name":"nas","password":"hunter2"}`, "s2": `{"id":"s2","name":"pi"}`},
		"applications": {"a1": `{"id":"a1","name":"jellyfin","server":"s1"}`},
		"settings":     {"theme": `"dark"`},
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// A server keeps backups in a folder and on a drive, restores one, and takes
// the restore back.
func ExampleManager() {
	ctx := context.Background()
	temp, err := os.MkdirTemp("", "")
	check(err)
	defer os.RemoveAll(temp)
	folder, drive := location.Dir(filepath.Join(temp, "backups")), location.Dir(filepath.Join(temp, "usb", "tomo"))
	check(folder.Make()) // the drive is not plugged in

	host := exampleHost()
	key := backup.Passphrase([]byte("correct horse battery staple"))
	m := &manager.Manager{
		App: exampleApp, Source: host, Sink: host,
		Recipients: []backup.Recipient{key}, Identities: []backup.Identity{key},
		Locations: []location.Location{folder, drive},
		Schedule:  schedule.Daily{At: 3 * time.Hour},
		Retention: backup.Retention{Last: 7, Within: 30 * 24 * time.Hour},
	}
	// A server would also: go m.Run(ctx)

	made, err := m.Create(ctx, backup.BackupOptions{})
	check(err)
	for _, c := range made.Copies {
		fmt.Println(filepath.Base(c.Location), c.Err == nil)
	}

	host["servers"] = map[string]string{"s1": `{"id":"s1","name":"renamed"}`}
	snapshot, err := m.Open(ctx, made.Name)
	check(err)
	defer snapshot.Close()
	report, err := m.Restore(ctx, snapshot, backup.RestoreOptions{Strategy: backup.Replace})
	check(err)
	fmt.Println("restored:", len(host["servers"]), "servers; there is a way back:", report.UndoneBy != "")

	_, err = m.Undo(ctx)
	check(err)
	fmt.Println("undone:", len(host["servers"]))
	// Output:
	// backups true
	// tomo false
	// restored: 2 servers; there is a way back: true
	// undone: 1
}

// A server makes backups that it cannot open. Whoever has the private key proves
// now and then that it opens them, and restores on another machine.
func ExampleManager_Rehearse() {
	ctx := context.Background()
	recipient, err := agekey.ParseRecipients(examplePublic)
	check(err)
	host := exampleHost()
	server := &manager.Manager{
		App: exampleApp, Source: host, Sink: host, Locations: []location.Location{backuptest.MapLocation{}},
		Recipients: []backup.Recipient{recipient}, Encrypt: recipient, Compress: backup.Zstd,
	}
	made, err := server.Create(ctx, backup.BackupOptions{})
	check(err)
	fmt.Println(filepath.Ext(made.Name), made.Manifest.Keys)
	_, err = server.Open(ctx, made.Name)
	fmt.Println("opens it:", !errors.Is(err, backup.ErrNoKey))

	identity, err := agekey.ParseIdentities([]byte(examplePrivate), nil)
	check(err)
	tried, err := server.Rehearse(ctx, identity)
	check(err)
	fmt.Println("the key opens it, servers:", tried[0].Manifest.Records["servers"])

	other := backuptest.MapStore{"servers": {}, "applications": {}, "settings": {}}
	machine := &manager.Manager{
		App: exampleApp, Source: other, Sink: other, Locations: server.Locations,
		Recipients: server.Recipients, Encrypt: recipient, Identities: []backup.Identity{identity},
	}
	snapshot, err := machine.Open(ctx, made.Name)
	check(err)
	defer snapshot.Close()
	_, err = machine.Restore(ctx, snapshot, backup.RestoreOptions{})
	check(err)
	fmt.Println(other["servers"]["s1"])
	// Output:
	// .age [age1m69xn6tqln0y46es0jkcqh4g3lw9wl5dhdmehfampx859wwtqc2s90pscn]
	// opens it: false
	// the key opens it, servers: 2
	// {"id":"s1","name":"nas","password":"hunter2"}
}

// Somebody has deleted a server. History tells when, and which backup has it as it was.
func ExampleManager_History() {
	ctx := context.Background()
	host := exampleHost()
	key := backup.Passphrase([]byte("correct horse battery staple"))
	m := &manager.Manager{
		App: exampleApp, Source: host, Sink: host, Locations: []location.Location{backuptest.MapLocation{}}, Installation: "home",
		Recipients: []backup.Recipient{key}, Identities: []backup.Identity{key},
	}
	create := func() {
		_, err := m.Create(ctx, backup.BackupOptions{})
		check(err)
	}
	create()
	host["servers"]["s2"] = `{"id":"s2","name":"pi of the attic"}`
	create()
	delete(host["servers"], "s2")
	create()

	for state, err := range m.History(ctx, "servers", "s2") {
		check(err)
		fmt.Println(state.Serial, state.Presence)
		if state.Then == nil {
			continue
		}
		fmt.Println("  then:", state.Then.Action)
		for _, f := range state.Then.Fields {
			fmt.Printf("    %s: %s → %s\n", f.Pointer, f.Before, cmp.Or(string(f.After), "nothing"))
		}
	}
	// Output:
	// 3 absent
	// 2 present
	//   then: delete
	//     /id: "s2" → nothing
	//     /name: "pi of the attic" → nothing
	// 1 present
	//   then: update
	//     /name: "pi" → "pi of the attic"
}

// Somebody remembers a part of a name. Find tells where a record was last seen with it.
func ExampleManager_Find() {
	ctx := context.Background()
	host := exampleHost()
	key := backup.Passphrase([]byte("correct horse battery staple"))
	m := &manager.Manager{
		App: exampleApp, Source: host, Sink: host, Locations: []location.Location{backuptest.MapLocation{}},
		Recipients: []backup.Recipient{key}, Identities: []backup.Identity{key},
	}
	_, err := m.Create(ctx, backup.BackupOptions{})
	check(err)
	for found, err := range m.Find(ctx, "JELLY", manager.FindOptions{}) {
		check(err)
		if found.Err != nil { // of this backup only
			continue
		}
		fmt.Println(found.Collection, found.Key, found.Pointer, "in the newest backup:", found.Newest)
		break // no older backup is opened
	}
	// Output:
	// applications a1 /name in the newest backup: true
}

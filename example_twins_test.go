package backup_test

import (
	"bytes"
	"context"
	"fmt"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

// A person installs the application on a new server, makes the first user there, and then
// restores the backup of the old server. Both have the user admin, under different keys.
// The user stays who it is here, and the preferences of the old server are its own.
func ExampleApp_Restore_newServer() {
	ctx := context.Background()
	app := &backup.App{Name: "notes", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "users", Key: "/id", Unique: []string{"/name"}, Label: "/name"},
		{Name: "preferences", Key: "/user", Refs: []backup.Ref{{Pointer: "/user", Collection: "users"}}},
	}}
	old := backuptest.MapStore{
		"users":       {"u1": `{"id":"u1","name":"admin"}`, "u2": `{"id":"u2","name":"ann"}`},
		"preferences": {"u1": `{"user":"u1","theme":"dark"}`},
	}
	host := backuptest.MapStore{"users": {"u9": `{"id":"u9","name":"admin"}`}, "preferences": {}}

	var file bytes.Buffer
	_, err := app.Backup(ctx, &file, old, backup.BackupOptions{Installation: "old-server", Serial: 1})
	check(err)
	snapshot, err := backup.OpenSnapshot(ctx, &file, backup.OpenOptions{})
	check(err)
	defer snapshot.Close()

	report, err := app.Restore(ctx, snapshot, host, backup.RestoreOptions{Installation: "new-server"})
	check(err)
	for _, c := range report.Collections {
		fmt.Println(c.Name, "added", c.Added, "under another key", c.RekeyedKeys)
	}
	fmt.Println(host["users"])
	fmt.Println(host["preferences"])
	// Output:
	// users added 1 under another key map[u1:u9]
	// preferences added 1 under another key map[u1:u9]
	// map[u2:{"id":"u2","name":"ann"} u9:{"id":"u9","name":"admin"}]
	// map[u9:{"user":"u9","theme":"dark"}]
}

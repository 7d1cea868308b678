package backup_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tomo-project/backup"
)

// A server keeps backups in a folder and on a drive, restores one, and takes
// the restore back.
func ExampleManager() {
	ctx := context.Background()
	temp, err := os.MkdirTemp("", "")
	check(err)
	defer os.RemoveAll(temp)
	folder, drive := backup.Dir(filepath.Join(temp, "backups")), backup.Dir(filepath.Join(temp, "usb", "tomo"))
	check(folder.Make()) // the drive is not plugged in

	host := exampleHost()
	key := backup.Passphrase([]byte("correct horse battery staple"))
	manager := &backup.Manager{
		App: exampleApp, Source: host, Sink: host,
		Recipients: []backup.Recipient{key}, Identities: []backup.Identity{key},
		Locations: []backup.Location{folder, drive},
		Schedule:  backup.Daily{At: 3 * time.Hour},
		Retention: backup.Retention{Last: 7, Within: 30 * 24 * time.Hour},
	}
	// A server would also: go manager.Run(ctx)

	made, err := manager.Create(ctx, backup.BackupOptions{})
	check(err)
	for _, c := range made.Copies {
		fmt.Println(filepath.Base(c.Location), c.Err == nil)
	}

	host["servers"] = map[string]string{"s1": `{"id":"s1","name":"renamed"}`}
	snapshot, err := manager.Open(ctx, made.Name)
	check(err)
	defer snapshot.Close()
	report, err := manager.Restore(ctx, snapshot, backup.RestoreOptions{Strategy: backup.Replace})
	check(err)
	fmt.Println("restored:", len(host["servers"]), "servers; there is a way back:", report.UndoneBy != "")

	_, err = manager.Undo(ctx)
	check(err)
	fmt.Println("undone:", len(host["servers"]))
	// Output:
	// backups true
	// tomo false
	// restored: 2 servers; there is a way back: true
	// undone: 1
}

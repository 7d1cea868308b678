// Command server keeps backups of a folder of JSON files until it is stopped.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/filestore"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	app := &backup.App{Name: "notes", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "notes", Key: "/id", Secrets: []string{"/token"}, Schema: []byte(`{"required": ["id", "text"]}`)},
		{Name: "settings", Shape: backup.Map},
	}}
	data := filestore.Store{Path: "data", Collections: []filestore.Collection{
		{Name: "notes", Key: "/id"},                  // data/notes/n1.json: {"id":"n1","text":"buy milk"}
		{Name: "settings", Layout: filestore.Object}, // data/settings.json: {"theme":"dark"}
	}}
	folder := location.Dir("backups")
	err := os.Mkdir(data.Path, 0o700)
	if err == nil { // only at the first start: where the folder vanishes later, backups have vanished too
		err = folder.Make()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		log.Fatal(err)
	}
	key := backup.Passphrase([]byte(os.Getenv("NOTES_PASSPHRASE")))
	m := &manager.Manager{
		App: app, Source: data, Sink: data,
		Recipients: []backup.Recipient{key}, Identities: []backup.Identity{key},
		Locations: []location.Location{folder, location.Dir("/mnt/usb/notes")},
		Schedule:  schedule.Daily{At: 3 * time.Hour, Location: time.Local},
		Retention: backup.Retention{Last: 7, Within: 30 * 24 * time.Hour},
		Logger:    slog.Default(),
	}
	made, err := m.Create(ctx, backup.BackupOptions{}) // by hand, to every location that is there
	fmt.Println(made.Name, err)
	err = m.Run(ctx) // makes what is due, also after a night off; prunes when it has proven what it keeps
	fmt.Println("stopped:", err)
}

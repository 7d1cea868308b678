package joined_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/filestore"
	"github.com/tomo-project/backup/joined"
)

// A host keeps its users in a database, and their pictures in a folder. A map stands for
// the database here.
func Example() {
	ctx := context.Background()
	parent, err := os.MkdirTemp("", "joined-")
	check(err)
	defer os.RemoveAll(parent)
	picture := filepath.Join(parent, "data", "pictures", "2024", "ada.png")
	check(os.MkdirAll(filepath.Dir(picture), 0o700))
	check(os.WriteFile(picture, []byte("a picture"), 0o600))
	database := backuptest.MapStore{"users": {"ada": `{"id":"ada","picture":"2024/ada.png"}`}}

	app := &backup.App{
		Name: "demo", Version: "1.0.0", SchemaVersion: 1,
		Collections: []backup.Collection{
			{Name: "users", Key: "/id", Refs: []backup.Ref{{Pointer: "/picture", Collection: "pictures"}}},
			{Name: "pictures", Shape: backup.Map},
		},
	}
	store := &joined.Store{Parts: []joined.Part{
		{Store: database, Collections: []string{"users"}},
		{Store: filestore.Store{
			Path:        filepath.Join(parent, "data"),
			Collections: []filestore.Collection{{Name: "pictures", Layout: filestore.Tree}},
			AllowGap:    true, // the file system of the example may be any
		}, Collections: []string{"pictures"}},
	}}

	var file bytes.Buffer
	manifest, err := app.Backup(ctx, &file, store, backup.BackupOptions{})
	check(err)
	fmt.Println("backed up:", manifest.Records)

	delete(database["users"], "ada") // all is lost
	check(os.Remove(picture))
	snapshot, err := backup.OpenSnapshot(ctx, &file, backup.OpenOptions{})
	check(err)
	defer snapshot.Close()
	_, err = app.Restore(ctx, snapshot, store, backup.RestoreOptions{})
	check(err)
	content, err := os.ReadFile(picture)
	check(err)
	fmt.Printf("restored:  %s, %s\n", database["users"]["ada"], content)
	// Output:
	// backed up: map[pictures:1 users:1]
	// restored:  {"id":"ada","picture":"2024/ada.png"}, a picture
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

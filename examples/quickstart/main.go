// Command quickstart is the smallest host: it keeps notes in memory, backs them
// up to a file, loses some and gets them back.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/tomo-project/backup"
)

// app says what the application has: a list of notes, and settings.
var app = &backup.App{
	Name:          "notes",
	Version:       "1.0.0",
	SchemaVersion: 1,
	Collections: []backup.Collection{
		{Name: "notes", Key: "/id", Schema: []byte(`{"required":["id","text"],"properties":{"text":{"type":"string"}}}`)},
		{Name: "settings", Shape: backup.Map},
	},
}

func main() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "quickstart-")
	check(err)
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "notes.json")

	host := &store{data: records{
		"notes":    {"1": note(1, "buy milk"), "2": note(2, "call Ada")},
		"settings": {"theme": json.RawMessage(`"dark"`)},
	}}

	file, err := os.Create(name)
	check(err)
	manifest, err := app.Backup(ctx, file, host, backup.BackupOptions{})
	check(err)
	check(file.Sync())
	check(file.Close())
	fmt.Println("backed up:", manifest.Records)

	delete(host.data["notes"], "1")
	host.data["notes"]["2"] = note(2, "call nobody")
	fmt.Println("damaged:  ", string(host.data["notes"]["2"]))

	file, err = os.Open(name)
	check(err)
	defer file.Close()
	snapshot, err := backup.OpenSnapshot(ctx, file, backup.OpenOptions{})
	check(err)
	defer snapshot.Close()
	report, err := app.Restore(ctx, snapshot, host, backup.RestoreOptions{Strategy: backup.Replace})
	check(err)
	for _, c := range report.Collections {
		fmt.Printf("restored:  %s: %d added, %d updated, %d unchanged\n", c.Name, c.Added, c.Updated, c.Unchanged)
	}
	fmt.Println("notes:    ", string(host.data["notes"]["1"]), string(host.data["notes"]["2"]))
}

func note(id int, text string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"id":%d,"text":%q}`, id, text))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

package filestore_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/filestore"
)

// folder makes a folder with the files of a host.
func folder() (path string, remove func()) {
	parent, err := os.MkdirTemp("", "filestore-")
	check(err)
	path = filepath.Join(parent, "data")
	check(os.MkdirAll(filepath.Join(path, "servers"), 0o700))
	check(os.WriteFile(filepath.Join(path, "servers", "a1.json"), []byte(`{"id":"a1","name":"nas"}`), 0o600))
	check(os.WriteFile(filepath.Join(path, "servers", "b2.json"), []byte(`{"id":"b2","name":"pi"}`), 0o600))
	check(os.WriteFile(filepath.Join(path, "settings.json"), []byte(`{"theme":"dark"}`), 0o600))
	return path, func() { os.RemoveAll(parent) }
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func Example() {
	ctx := context.Background()
	path, remove := folder()
	defer remove()

	app := &backup.App{
		Name: "demo", Version: "1.0.0", SchemaVersion: 1,
		Collections: []backup.Collection{
			{Name: "servers", Key: "/id"},
			{Name: "settings", Shape: backup.Map},
		},
	}
	store := filestore.Store{
		Path: path,
		Collections: []filestore.Collection{
			{Name: "servers", Key: "/id"},
			{Name: "settings", Layout: filestore.Object},
		},
	}

	var file bytes.Buffer
	manifest, err := app.Backup(ctx, &file, store, backup.BackupOptions{})
	check(err)
	fmt.Println("backed up:", manifest.Records)

	check(os.Remove(filepath.Join(path, "servers", "a1.json")))
	check(os.WriteFile(filepath.Join(path, "settings.json"), []byte(`{"theme":"light","beta":true}`), 0o600))

	snapshot, err := backup.OpenSnapshot(ctx, &file, backup.OpenOptions{})
	check(err)
	defer snapshot.Close()
	_, err = app.Restore(ctx, snapshot, store, backup.RestoreOptions{Strategy: backup.Replace})
	check(err)
	for _, name := range []string{"servers/a1.json", "settings.json"} {
		content, err := os.ReadFile(filepath.Join(path, name))
		check(err)
		fmt.Printf("%s:\n%s", name, content)
	}
	// Output:
	// backed up: map[servers:2 settings:1]
	// servers/a1.json:
	// {"id":"a1","name":"nas"}
	// settings.json:
	// {
	// "theme":"dark"
	// }
}

// What a host changes in one go, it changes with the lock held.
func ExampleStore_Lock() {
	ctx := context.Background()
	path, remove := folder()
	defer remove()
	servers := filestore.Collection{Name: "servers"}
	store := filestore.Store{Path: path, Collections: []filestore.Collection{servers}}

	unlock, err := store.Lock(ctx)
	check(err)
	name, err := servers.FileName("Living room")
	check(err)
	fmt.Println(name)
	check(os.WriteFile(filepath.Join(path, filepath.FromSlash(name)), []byte(`{"id":"Living room"}`), 0o600))
	check(os.Remove(filepath.Join(path, "servers", "a1.json")))
	check(unlock())

	check(store.View(ctx, func(r backup.Reader) error {
		for record, err := range r.Records(ctx, "servers") {
			if err != nil {
				return err
			}
			fmt.Println(record.Key, string(record.Value))
		}
		return nil
	}))
	// Output:
	// servers/%4Civing%20room.json
	// Living room {"id":"Living room"}
	// b2 {"id":"b2","name":"pi"}
}

// Encode and Decode make files that people like to edit, or other ones than JSON.
func ExampleCollection_indented() {
	ctx := context.Background()
	path, remove := folder()
	defer remove()
	store := filestore.Store{Path: path, Collections: []filestore.Collection{{
		Name: "settings", Layout: filestore.Object,
		Encode: func(text []byte) ([]byte, error) {
			var b bytes.Buffer
			err := json.Indent(&b, text, "", "  ")
			return b.Bytes(), err
		},
		Decode: func(file []byte) ([]byte, error) { return file, nil },
	}}}
	check(store.Update(ctx, func(w backup.Writer) error {
		return w.Put(ctx, "settings", []backup.Record{{Key: "port", Value: json.RawMessage(`8080`)}})
	}))
	content, err := os.ReadFile(filepath.Join(path, "settings.json"))
	check(err)
	fmt.Printf("%s", content)
	// Output:
	// {
	//   "theme": "dark",
	//   "port": 8080
	// }
}

package backuptest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"

	"github.com/tomo-project/backup"
)

// The vectors are frozen: files may be added, but never changed. The README.md beside
// them tells how another implementation runs them.
//
//go:embed testdata/vectors
var vectorFiles embed.FS

// A Vector is a document of the snapshot format with the expected result. A test
// opens the document with the keys of the Vector. [VectorApp] then verifies it and
// restores it into an empty [VectorStore].
type Vector struct {
	Name string
	File string // in testdata/vectors
	Note string // what is special about the document

	// Passphrase opens the secrets of the document, and also the document if it was
	// encrypted with a passphrase. Empty means no passphrase.
	Passphrase string

	// Identities are private keys that open the document besides the passphrase, as
	// the text that package agekey parses. Empty means no private keys.
	Identities string

	// RequireProof and Trusted are the fields of [backup.OpenOptions] with these names.
	RequireProof bool `json:"require_proof"`
	Trusted      []ed25519.PublicKey

	// Expect is "ok" for a good document. Otherwise it is the kind of the error that
	// refuses the document: "damaged", "format", "too-new", "foreign", "no-key",
	// "wrong-key", "unauthentic", "invalid", "dangling" or "limit".
	Expect string

	// Manifest is the expected manifest of a good document. Nil Keys and nil Missing
	// mean that a test ignores these fields. If Bytes is 0, the expected value is
	// the length of Data.
	Manifest backup.Manifest

	// Records are the records that the host has after the restore of a good document:
	// migrated, with opened secrets, equal byte for byte except for white space.
	Records MapStore

	// Data is the content of File: the document, compressed or encrypted if the vector
	// is about that.
	Data []byte `json:"-"`
}

// Err returns the error of package backup that refuses the document, or nil if the
// document is good.
func (v Vector) Err() error { return vectorErrors[v.Expect] }

var vectorErrors = map[string]error{
	"ok":          nil,
	"damaged":     backup.ErrDamaged,
	"format":      backup.ErrFormat,
	"too-new":     backup.ErrTooNew,
	"foreign":     backup.ErrForeign,
	"no-key":      backup.ErrNoKey,
	"wrong-key":   backup.ErrWrongKey,
	"unauthentic": backup.ErrUnauthentic,
	"invalid":     backup.ErrInvalid,
	"dangling":    backup.ErrDangling,
	"limit":       backup.ErrLimit,
}

// An index is the content of vectors.json.
type index struct {
	App struct {
		Name          string
		Version       string
		SchemaVersion int `json:"schema_version"`
		Collections   []struct {
			Name     string
			Shape    string
			Key      string
			Schema   json.RawMessage
			Refs     []backup.Ref
			Secrets  []string
			Optional bool
		}
	}
	Vectors []Vector
}

var loadIndex = sync.OnceValue(func() index {
	const dir = "testdata/vectors"
	read := func(name string) []byte {
		data, err := fs.ReadFile(vectorFiles, path.Join(dir, name))
		if err != nil {
			panic("backuptest: " + err.Error())
		}
		return data
	}
	var x index
	if err := json.Unmarshal(read("vectors.json"), &x); err != nil {
		panic("backuptest: vectors.json: " + err.Error())
	}
	for i := range x.Vectors {
		v := &x.Vectors[i]
		if _, ok := vectorErrors[v.Expect]; !ok {
			panic(fmt.Sprintf("backuptest: vectors.json: %s expects %q", v.Name, v.Expect))
		}
		v.Data = read(v.File)
	}
	return x
})

// Vectors returns the test vectors of the snapshot format, good and bad documents. The
// caller may change the result.
func Vectors() []Vector {
	vectors := slices.Clone(loadIndex().Vectors)
	for i := range vectors {
		vectors[i].Data = bytes.Clone(vectors[i].Data)
		vectors[i].Records = vectors[i].Records.Clone()
		vectors[i].Trusted = slices.Clone(vectors[i].Trusted)
	}
	return vectors
}

// VectorApp returns the application of the vectors. It has every kind of collection
// and two schema versions.
func VectorApp() *backup.App {
	x := loadIndex().App
	app := &backup.App{
		Name:          x.Name,
		Version:       x.Version,
		SchemaVersion: x.SchemaVersion,
		Migrators:     []backup.Migrator{backup.Migration(1, renameTitle)},
	}
	for _, c := range x.Collections {
		shape := backup.List
		if c.Shape == "map" {
			shape = backup.Map
		}
		app.Collections = append(app.Collections, backup.Collection{
			Name: c.Name, Shape: shape, Key: c.Key, Schema: slices.Clone(c.Schema),
			Refs: slices.Clone(c.Refs), Secrets: slices.Clone(c.Secrets), Optional: c.Optional,
		})
	}
	return app
}

// VectorStore returns an empty store for VectorApp.
func VectorStore() MapStore {
	s := MapStore{}
	for _, c := range loadIndex().App.Collections {
		s[c.Name] = map[string]string{}
	}
	return s
}

// renameTitle migrates a record from schema version 1 to 2.
func renameTitle(_ context.Context, collection string, r backup.Record, emit func(string, backup.Record) error) error {
	if collection != "servers" {
		return emit(collection, r)
	}
	var server map[string]json.RawMessage
	if err := json.Unmarshal(r.Value, &server); err != nil {
		return err
	}
	if title, ok := server["title"]; ok {
		server["name"] = title
		delete(server, "title")
	}
	value, err := json.Marshal(server)
	if err != nil {
		return err
	}
	return emit(collection, backup.Record{Key: r.Key, Value: value})
}

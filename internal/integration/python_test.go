//go:build !race

package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
	"github.com/tomo-project/backup/backuptest"
)

// pythonCommand returns a Python that has the packages of the readers: first the one
// in PATH, and then Debian's, for which Debian has the packages.
var pythonCommand = sync.OnceValues(func() (string, error) {
	var why error
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		says, err := osexec.Command(python, "-c", "import argon2, jsonschema, nacl").CombinedOutput()
		if err == nil {
			return python, nil
		}
		why = fmt.Errorf("%s with python3-nacl, python3-argon2 and python3-jsonschema is needed: %w: %s", python, err, says)
	}
	return "", why
})

// pythonPath returns a PATH with the commands that the readers run. The age of
// go.mod goes first, because it knows post-quantum keys and has the plugin for
// passphrases.
var pythonPath = sync.OnceValues(func() (string, error) {
	if _, err := osexec.LookPath("zstd"); err != nil {
		return "", err
	}
	var dirs []string
	for _, tool := range []string{"age", "age-plugin-batchpass"} {
		path, err := osexec.Command("go", "tool", "-n", "filippo.io/age/cmd/"+tool).Output()
		if err != nil {
			return "", fmt.Errorf("go tool -n %s: %w", tool, err)
		}
		dirs = append(dirs, filepath.Dir(strings.TrimSpace(string(path))))
	}
	dirs = append(dirs, os.Getenv("PATH"))
	return strings.Join(dirs, string(filepath.ListSeparator)), nil
})

// A pythonRequest is what the reader in Python is told of a file.
type pythonRequest struct {
	Passphrase   string   `json:"passphrase,omitempty"`
	Identities   string   `json:"identities,omitempty"`
	RequireProof bool     `json:"require_proof,omitempty"`
	Trusted      [][]byte `json:"trusted,omitempty"`
	App          any      `json:"app,omitempty"`
}

// A pythonAnswer is what the reader in Python says of a file, in the words of vectors.json.
type pythonAnswer struct {
	Expect   string
	Error    string
	Manifest backup.Manifest
	Records  backuptest.MapStore
}

// A pythonReader is a process of the reader in Python, for files of one application.
type pythonReader struct {
	app    any // until the process has been told of it
	cmd    *osexec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr strings.Builder
}

// startPythonReader returns an error if something that the reader needs is missing.
func startPythonReader(app *backup.App) (*pythonReader, error) {
	python, err := pythonCommand()
	if err != nil {
		return nil, err
	}
	path, err := pythonPath()
	if err != nil {
		return nil, err
	}
	r := &pythonReader{app: declaration(app), cmd: osexec.Command(python, "reader/reader.py")}
	r.cmd.Env = append(os.Environ(), "PATH="+path)
	r.cmd.Stderr = &r.stderr
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	r.out = bufio.NewReader(out)
	return r, r.cmd.Start()
}

// read asks for the verdict on a file.
func (r *pythonReader) read(request pythonRequest, file []byte) (a pythonAnswer, err error) {
	request.App = r.app
	head, err := json.Marshal(request)
	if err != nil {
		return a, err
	}
	r.app = nil
	for _, frame := range [][]byte{head, file} {
		frame = append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
		if _, err := r.in.Write(frame); err != nil {
			return a, r.died(err)
		}
	}
	var length uint32
	if err := binary.Read(r.out, binary.BigEndian, &length); err != nil {
		return a, r.died(err)
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(r.out, text); err != nil {
		return a, r.died(err)
	}
	return a, json.Unmarshal(text, &a)
}

func (r *pythonReader) died(err error) error {
	_ = r.in.Close()
	return errors.Join(fmt.Errorf("reader.py: %w", err), r.cmd.Wait(), errors.New(r.stderr.String()))
}

// stop ends the process.
func (r *pythonReader) stop() error {
	_ = r.in.Close()
	return r.cmd.Wait()
}

// declaration returns an application as vectors.json declares it.
func declaration(app *backup.App) any {
	type ref struct {
		Pointer    string `json:"pointer"`
		Collection string `json:"collection"`
	}
	type collection struct {
		Name    string          `json:"name"`
		Shape   string          `json:"shape"`
		Key     string          `json:"key,omitempty"`
		Schema  json.RawMessage `json:"schema,omitempty"`
		Refs    []ref           `json:"refs,omitempty"`
		Secrets []string        `json:"secrets,omitempty"`
	}
	var collections []collection
	for _, c := range app.Collections {
		d := collection{Name: c.Name, Shape: "list", Key: c.Key, Schema: c.Schema, Secrets: c.Secrets}
		if c.Shape == backup.Map {
			d.Shape = "map"
		}
		for _, r := range c.Refs {
			d.Refs = append(d.Refs, ref(r))
		}
		collections = append(collections, d)
	}
	return map[string]any{"name": app.Name, "version": app.Version, "schema_version": app.SchemaVersion, "collections": collections}
}

// difference returns what both readers say of a file, or in what they differ.
func difference(t testing.TB, reader *pythonReader, app *backup.App, request pythonRequest, file []byte) (same pythonAnswer, why string) {
	t.Helper()
	python, err := reader.read(request, file)
	require.NoError(t, err, "the reader in Python, of %q", file)
	library, err := libraryReads(t.Context(), app, request, file)
	if (err == nil) != (python.Expect == "ok") {
		return same, fmt.Sprintf("the library says %v, and Python %q %s", err, python.Expect, python.Error)
	}
	if err != nil {
		return same, ""
	}
	// FORMAT.md does not say what a key without a name is called.
	library.Manifest.Keys, python.Manifest.Keys = nil, nil
	inOrder := library.Manifest.SchemaVersion == app.SchemaVersion
	library.Records, python.Records = sameForm(t, library.Records, inOrder), sameForm(t, python.Records, inOrder)
	if !reflect.DeepEqual(library.Records, python.Records) {
		return same, fmt.Sprintf("the library has the records %q, and Python %q", library.Records, python.Records)
	}
	var manifests [2]string
	for i, m := range []backup.Manifest{library.Manifest, python.Manifest} {
		text, err := json.Marshal(m)
		require.NoError(t, err)
		manifests[i] = string(text)
	}
	if manifests[0] != manifests[1] {
		return same, fmt.Sprintf("the library has the manifest %s, and Python %s", manifests[0], manifests[1])
	}
	return library, ""
}

// libraryReads is what the library says of a file.
func libraryReads(ctx context.Context, app *backup.App, request pythonRequest, file []byte) (a pythonAnswer, err error) {
	opts := backup.OpenOptions{RequireProof: request.RequireProof}
	for _, key := range request.Trusted {
		opts.Trusted = append(opts.Trusted, key)
	}
	if request.Passphrase != "" {
		_, age, err := agekey.Passphrase([]byte(request.Passphrase))
		if err != nil {
			return a, err
		}
		opts.Identities = append(opts.Identities, backup.Passphrase([]byte(request.Passphrase)), age)
	}
	if request.Identities != "" {
		age, err := agekey.ParseIdentities([]byte(request.Identities), nil)
		if err != nil {
			return a, err
		}
		opts.Identities = append(opts.Identities, age)
	}
	s, err := backup.OpenSnapshot(ctx, bytes.NewReader(file), opts)
	if err != nil {
		return a, err
	}
	defer s.Close()
	a.Records = backuptest.MapStore{}
	for _, c := range app.Collections {
		a.Records[c.Name] = map[string]string{}
	}
	_, err = app.Restore(ctx, s, a.Records, backup.RestoreOptions{})
	a.Manifest = s.Manifest()
	return a, err
}

package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

const installationSize = 16

// installationFile returns the path of the id of the installation that the
// database at path belongs to. It is no part of the database, so no backup has
// it and no restore changes it.
func installationFile(path string) string { return path + ".installation" }

// installation returns the id of this installation, which backups are numbered
// by. The first command that stores backups makes it.
func installation(ctx context.Context, path string) (string, error) {
	name := installationFile(path)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = publish(ctx, name, false, func(f *os.File) error {
			id := make([]byte, installationSize)
			rand.Read(id) // never fails
			_, err := fmt.Fprintf(f, "%x\n", id)
			return err
		})
		if err == nil || errors.Is(err, fs.ErrExist) { // another process was faster
			text, err = os.ReadFile(name)
		}
	}
	return parseInstallation(name, text, err)
}

// knownInstallation returns the id for a command that only looks, or "" if there is none.
func knownInstallation(path string) (string, error) {
	name := installationFile(path)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return parseInstallation(name, text, err)
}

func parseInstallation(name string, text []byte, err error) (string, error) {
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(text))
	if b, err := hex.DecodeString(id); err != nil || len(b) != installationSize {
		return "", fmt.Errorf("%s: not %d bytes in hexadecimal digits: put back the file that belongs to this database, or delete it to be another installation", name, installationSize)
	}
	return id, nil
}

package backup_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
	"github.com/tomo-project/backup/backuptest"
)

// The two halves of a key that age-keygen made.
const (
	examplePublic  = "age1m69xn6tqln0y46es0jkcqh4g3lw9wl5dhdmehfampx859wwtqc2s90pscn"
	examplePrivate = "AGE-SECRET-KEY-1H0L0EFFUHJS3UG6QYHDNEMCFH493W62TE3F7PM3AJF25EJC85FWQ4MXQW4"
)

// A server makes backups that it cannot open. Whoever has the private key proves
// now and then that it opens them, and restores on another machine.
func ExampleManager_Rehearse() {
	ctx := context.Background()
	recipient, err := agekey.ParseRecipients(examplePublic)
	check(err)
	host := exampleHost()
	server := &backup.Manager{
		App: exampleApp, Source: host, Sink: host, Locations: []backup.Location{backuptest.MapLocation{}},
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
	machine := &backup.Manager{
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

// A reader that requires a proof refuses what was made or altered by somebody
// without the key, although its digest fits.
func ExampleOpenSnapshot_requireProof() {
	ctx := context.Background()
	key := backup.Passphrase([]byte("correct horse battery staple"))
	var file bytes.Buffer
	_, err := exampleApp.Backup(ctx, &file, exampleHost(), backup.BackupOptions{Recipients: []backup.Recipient{key}})
	check(err)
	required := backup.OpenOptions{Identities: []backup.Identity{key}, RequireProof: true}
	snapshot, err := backup.OpenSnapshot(ctx, bytes.NewReader(file.Bytes()), required)
	check(err)
	fmt.Println("authentic by", snapshot.Manifest().Authentic)
	snapshot.Close()

	text := strings.Replace(file.String(), `"name":"nas"`, `"name":"evil"`, 1)
	before, after, _ := strings.Cut(text, `"integrity":`)
	old := after[strings.Index(after, `:"`)+2:][:64]
	text = before + `"integrity":` + strings.Replace(after, old, fmt.Sprintf("%x", sha256.Sum256([]byte(before))), 1)
	_, err = backup.OpenSnapshot(ctx, strings.NewReader(text), required)
	fmt.Println("unauthentic:", errors.Is(err, backup.ErrUnauthentic), "damaged:", errors.Is(err, backup.ErrDamaged))
	// Output:
	// authentic by passphrase
	// unauthentic: true damaged: false
}

// Public keys keep what is sealed from others, and prove nothing: so a server
// signs what it makes.
func ExampleBackupOptions_signer() {
	ctx := context.Background()
	recipient, err := agekey.ParseRecipients(examplePublic)
	check(err)
	public, private, err := ed25519.GenerateKey(nil)
	check(err)
	var file bytes.Buffer
	_, err = exampleApp.Backup(ctx, &file, exampleHost(), backup.BackupOptions{Recipients: []backup.Recipient{recipient}, Signer: private})
	check(err)
	snapshot, err := backup.OpenSnapshot(ctx, &file, backup.OpenOptions{RequireProof: true, Trusted: []ed25519.PublicKey{public}})
	check(err)
	defer snapshot.Close()
	fmt.Println(strings.HasPrefix(snapshot.Manifest().Authentic, "ed25519 "))
	// Output: true
}

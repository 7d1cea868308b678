package backup_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
)

// examplePublic is the public half of a key that age-keygen made.
const examplePublic = "age1m69xn6tqln0y46es0jkcqh4g3lw9wl5dhdmehfampx859wwtqc2s90pscn"

// Somebody without the passphrase alters a backup and corrects its digest. A reader
// that requires a proof refuses that backup.
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

// A public key hides secrets and proves nothing, since anybody can seal for it. So a
// server that has only public keys signs its backups.
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

// After a change of the passphrase, Rewrap gives an old backup the new one.
func ExampleApp_Rewrap() {
	ctx := context.Background()
	snapshot := exampleSnapshot(exampleApp, exampleHost()) // opened with the old passphrase
	defer snapshot.Close()

	changed := backup.Passphrase([]byte("battery staple horse correct"))
	var file bytes.Buffer
	_, err := exampleApp.Rewrap(ctx, &file, snapshot, backup.RewrapOptions{Recipients: []backup.Recipient{changed}})
	check(err)

	old := backup.Passphrase([]byte("correct horse battery staple"))
	for _, key := range []backup.Identity{old, changed} {
		s, err := backup.OpenSnapshot(ctx, bytes.NewReader(file.Bytes()), backup.OpenOptions{Identities: []backup.Identity{key}})
		if errors.Is(err, backup.ErrWrongKey) {
			fmt.Println("the old passphrase does not open it")
			continue
		}
		check(err)
		fmt.Println("the new one does, and proves it:", s.Manifest().Authentic)
		s.Close()
	}
	// Output:
	// the old passphrase does not open it
	// the new one does, and proves it: passphrase
}

package main

import (
	"context"
	"errors"
	"io"
	"os"

	"filippo.io/age"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
)

// The snapshot that is compressed and encrypted, and its key.
const (
	packedFile = "packed.json.zst.age"
	keyFile    = "key.txt"
)

func makeKey() error {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	return os.WriteFile(keyFile, []byte(key.String()), 0o600)
}

func readKey() (*agekey.Recipient, *agekey.Identity, error) {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, nil, err
	}
	identity, err := agekey.ParseIdentities(text, nil)
	if err != nil {
		return nil, nil, err
	}
	recipient, err := identity.Recipient()
	return recipient, identity, err
}

func backupPacked(name string, a *backup.App, src backup.DataSource) error {
	recipient, _, err := readKey()
	if err != nil {
		return err
	}
	return toFile(name, func(w io.Writer) error {
		_, err := a.Backup(context.Background(), w, src, backup.BackupOptions{Compress: backup.Zstd, Encrypt: recipient})
		return err
	})
}

func verify(ctx context.Context, a *backup.App, file string, identities ...backup.Identity) error {
	return openFile(ctx, file, identities, func(s *backup.Snapshot) error {
		_, err := a.Verify(ctx, s, backup.RestoreOptions{})
		return err
	})
}

// makeLater makes a snapshot in which one of so many records has changed.
func makeLater(of int) work {
	return func(_ context.Context, a *backup.App, records int) error {
		all := makeServers(records)
		for i := 0; i < len(all); i += of {
			all[i].Priority++
		}
		return backupTo("later.json", a, all)
	}
}

// diff measures a comparison with a snapshot that a child of its own has made before.
func diff(later string) work {
	return func(ctx context.Context, a *backup.App, records int) error {
		if err := runQuietly(".", childCommand(records, later)); err != nil {
			return err
		}
		return measure(func() error {
			return openFile(ctx, "snapshot.json", nil, func(from *backup.Snapshot) error {
				return openFile(ctx, "later.json", nil, func(to *backup.Snapshot) error {
					for _, err := range a.Diff(ctx, from, to) {
						if err != nil {
							return err
						}
					}
					return nil
				})
			})
		})
	}
}

// toFile calls write with a new file and syncs the file.
func toFile(name string, write func(w io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Sync(), f.Close())
}

func backupTo(name string, a *backup.App, src backup.DataSource) error {
	return toFile(name, func(w io.Writer) error {
		_, err := a.Backup(context.Background(), w, src, backup.BackupOptions{})
		return err
	})
}

// backupSealed is backupTo with a passphrase.
func backupSealed(name string, a *backup.App, src backup.DataSource) error {
	return toFile(name, func(w io.Writer) error {
		_, err := a.Backup(context.Background(), w, src, backup.BackupOptions{Recipients: []backup.Recipient{backup.Passphrase([]byte("made-up passphrase"))}})
		return err
	})
}

func restore(ctx context.Context, a *backup.App, dst backup.Sink, opts backup.RestoreOptions) error {
	return openFile(ctx, "snapshot.json", nil, func(s *backup.Snapshot) error {
		_, err := a.Restore(ctx, s, dst, opts)
		return err
	})
}

func openFile(ctx context.Context, name string, identities []backup.Identity, use func(*backup.Snapshot) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	s, err := backup.OpenSnapshot(ctx, f, backup.OpenOptions{Identities: identities})
	if err != nil {
		return err
	}
	defer s.Close()
	return use(s)
}

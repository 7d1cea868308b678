package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/tomo"
)

const maxSample = 10_000_000

func (c *cli) initCommand() *cobra.Command {
	var sample int
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a new, empty database",
		Long: `Make a new, empty database. An existing database is never touched.

The master key goes to a file beside the database, PATH.key. The credentials in
the database are encrypted with it. If there is already such a file, it is used.
Keep it: without it, only a backup has the credentials, which opens with its own
passphrase.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if sample < 0 || sample > maxSample {
				return usagef("--sample %d: want 0 to %d", sample, maxSample)
			}
			path, err := c.databaseFile()
			if err != nil {
				return err
			}
			if err := c.makeDatabase(cmd.Context(), path, sample); err != nil {
				return err
			}
			c.printMade(path)
			return nil
		},
	}
	cmd.Flags().IntVar(&sample, "sample", 0, "put `N` made-up records into each collection")
	return cmd
}

func (c *cli) printMade(path string) {
	fmt.Fprintf(c.stdout, "Made the database %s.\nThe master key for its credentials is in %s.\n", printable(path), printable(masterKeyFile(path)))
}

// makeDatabase makes a database at path, completely or not at all.
func (c *cli) makeDatabase(ctx context.Context, path string, sample int) error {
	for _, suffix := range []string{"-wal", "-journal"} {
		// SQLite would apply the log of a deleted database to the new one.
		if _, err := os.Lstat(path + suffix); err == nil && !exists(path) {
			return fmt.Errorf("%s belongs to an earlier database: move it away first", path+suffix)
		}
	}
	if err := location.Dir(filepath.Dir(path)).Make(); err != nil {
		return err
	}
	err := publish(ctx, path, false, func(f *os.File) error {
		db, err := makeTables(ctx, f.Name())
		if err != nil {
			return err
		}
		db.store.keyFile = masterKeyFile(path)
		_, err = db.store.key(ctx, true)
		if err == nil {
			err = c.addSample(ctx, db, sample)
		}
		return errors.Join(err, db.Close())
	})
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: an existing database is not touched", err)
	}
	if err != nil {
		return err
	}
	return makeOwnFolder(path)
}

// makeTables makes an empty database from an empty file, or from none. Nobody
// else may open the file meanwhile.
func makeTables(ctx context.Context, path string) (*database, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	db, err := openSQLite(path, "memory")
	if err != nil {
		return nil, err
	}
	setup := fmt.Sprintf("BEGIN; PRAGMA application_id = %d; PRAGMA user_version = %d; %s COMMIT", applicationID, tomo.SchemaVersion, schemaSQL)
	if _, err := db.ExecContext(ctx, setup); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return newDatabase(path, db), nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// addSample puts n made-up records into each collection.
func (c *cli) addSample(ctx context.Context, d *database, n int) error {
	const batch = 500
	return d.store.Update(ctx, func(w backup.Writer) error {
		for _, collection := range c.app.Collections {
			for i := 0; i < n; i += batch {
				var records []backup.Record
				for j := i; j < min(i+batch, n); j++ {
					if r := tomo.Sample(collection.Name, j); r.Value != nil { // there are few settings
						records = append(records, r)
					}
				}
				if err := w.Put(ctx, collection.Name, records); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

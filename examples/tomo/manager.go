package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/tomo"
)

// A keeper is the Manager of this run, and what else a command needs.
type keeper struct {
	*manager.Manager
	database *database // nil if there is none and the command can do without
	stand    *sql.DB   // an empty database in place of a lost one; or nil
	settings settings
	keys     *keyring
	folders  []string // the paths of the Locations

	show func(backup.Progress)
	wipe func() // removes the progress bar

	mu     sync.Mutex
	failed []manager.Event // failures that did not end the operation
	stored []manager.Event // copies that were made
}

// openKeeper opens the database and makes the Manager, for a command that needs
// a database. If stores is true, the first such command makes the id of the
// installation, and the default folder. Backups are made without the id if it
// cannot be had.
func (c *cli) openKeeper(ctx context.Context, stores bool) (*keeper, error) {
	db, err := c.openDatabase(ctx)
	if err != nil {
		return nil, err
	}
	first := stores && !exists(installationFile(db.path))
	if stores {
		db.installation, err = installation(ctx, db.path)
	} else {
		db.installation, err = knownInstallation(db.path)
	}
	c.withoutID(err)
	k, err := c.newKeeper(ctx, db)
	if err == nil && first && isOwnFolder(k.Locations[0], db.path) {
		err = makeOwnFolder(db.path)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return k, nil
}

// lookAround makes the Manager for a command that also works without a
// database. If the database is lost, somebody will want to see the backups.
func (c *cli) lookAround(ctx context.Context) (*keeper, error) {
	path, err := c.databaseFile()
	if err != nil {
		return nil, err
	}
	var db *database
	if exists(path) {
		if db, err = c.openDatabase(ctx); err != nil {
			fmt.Fprintf(c.stderr, "tomo: going on without the settings: %s\n", printable(err.Error()))
		}
	}
	k, err := c.newKeeper(ctx, db)
	if err != nil {
		if db != nil {
			db.Close()
		}
		return nil, err
	}
	k.Installation, err = knownInstallation(path)
	c.withoutID(err)
	return k, nil
}

// withoutID says that a command goes on without the id of the installation.
func (c *cli) withoutID(err error) {
	if err != nil {
		fmt.Fprintf(c.stderr, "tomo: going on without the id of this installation: %s\n", printable(err.Error()))
	}
}

// newKeeper makes the keeper for the two functions above. db may be nil.
func (c *cli) newKeeper(ctx context.Context, db *database) (*keeper, error) {
	keys, err := c.keys(ctx)
	if err != nil {
		return nil, err
	}
	k := &keeper{database: db, keys: keys}
	if db != nil {
		if k.settings, err = readSettings(ctx, db); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			fmt.Fprintf(c.stderr, "tomo: going on without the settings: %s\n", printable(err.Error()))
		}
	}
	locations, err := c.locations(k.settings)
	if err != nil {
		return nil, err
	}
	for _, location := range locations {
		k.folders = append(k.folders, fmt.Sprint(location))
	}
	k.show, k.wipe = c.progress()
	k.Manager = c.newManager(db, keys, locations)
	k.OnEvent = k.note
	return k, nil
}

// newManager makes a Manager with these keys. db may be nil.
func (c *cli) newManager(db *database, keys *keyring, locations []location.Location) *manager.Manager {
	m := &manager.Manager{
		App:          c.app,
		Locations:    locations,
		Identities:   keys.openers,
		RequireProof: c.open.requireProof,
		Trusted:      keys.trusted,
		Drills:       manager.Drills{Scratch: scratchDatabase},
		Own:          tomo.BackupSettings(),
	}
	m.DataPath, _ = c.databaseFile() // even if it is lost
	if db != nil {
		m.Source, m.Sink, m.Installation = db.store, db.store, db.installation
	}
	return m
}

// storing returns a Manager for what a restore replaces. Who can open it
// follows from the keys that opened the backup. It needs no proof, unlike the
// backup that is restored: a private key alone proves nothing.
func (k *keeper) storing(s sealing) *manager.Manager {
	return &manager.Manager{
		App:          k.App,
		Source:       k.Source,
		Sink:         k.Sink,
		Locations:    k.Locations,
		Installation: k.Installation,
		Own:          k.Own,
		Recipients:   s.recipients,
		Identities:   k.Identities,
		Encrypt:      s.encrypt,
		Signer:       k.keys.signer,
		OnEvent:      k.note,
	}
}

// note gets the events of the Manager.
func (k *keeper) note(e manager.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case e.Kind == manager.EventProgress && k.show != nil:
		k.show(*e.Progress)
	case e.Kind == manager.EventStored:
		k.stored = append(k.stored, e)
	case e.Kind == manager.EventFailed && e.Location != "":
		k.failed = append(k.failed, e)
	}
}

// warn reports failures that did not end the operation.
func (c *cli) warn(k *keeper) {
	for _, e := range k.failed {
		text := e.Err.Error()
		if e.Backup != "" {
			text = e.Backup + ": " + text
		}
		fmt.Fprintf(c.stderr, "tomo: warning: not at %s: %s\n", printable(e.Location), printableLines(text))
	}
}

// Close removes the progress bar and closes the databases.
func (k *keeper) Close() {
	k.wipe()
	if k.stand != nil {
		k.stand.Close()
	}
	if k.database != nil {
		k.database.Close()
	}
}

// isName reports whether an argument is the name of a backup at the locations.
// If there is a file of that name, the file is meant.
func (c *cli) isName(arg string) bool {
	_, ok := c.app.ParseBackupName(arg)
	return ok && !exists(arg)
}

// explainMissing adds where to look to the error about a name that no location
// has. The error about a missing folder has its own advice.
func explainMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) && !strings.Contains(err.Error(), "the folder is missing") {
		return fmt.Errorf("%w\n  (tomo backup list shows which backups there are)", err)
	}
	return err
}

// scratchDatabase makes an empty database for a drill. The master key of its
// secrets is in no file, so nobody can open what a killed drill leaves.
func scratchDatabase(ctx context.Context) (backup.Store, func() error, error) {
	dir, err := os.MkdirTemp("", "tomo-drill-") // readable by the owner only
	if err != nil {
		return nil, nil, err
	}
	path := filepath.Join(dir, "tomo.db")
	db, err := makeTables(ctx, path)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	db.store.useKey(newMasterKey())
	return db.store, func() error { return errors.Join(db.Close(), os.RemoveAll(dir)) }, nil
}

package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// runChild measures one piece of work and prints the result.
func runChild(args []string, records int) error {
	ctx := context.Background()
	if len(args) == 2 {
		return runServerChild(ctx, args[0], args[1], records)
	}
	name, unchecked := strings.CutSuffix(args[0], "-unchecked")
	work := works[name]
	if work == nil {
		return fmt.Errorf("unknown work %q", args[0])
	}
	return work(ctx, app(!unchecked), records)
}

type work func(ctx context.Context, a *backup.App, records int) error

// works are the pieces of work that a child can do in its folder. If
// "-unchecked" follows the name, the App declares no schema.
var works = map[string]work{
	"prepare":        makeFiles,
	"kept-10":        createKept(10, false),
	"kept-10000":     createKept(10_000, false),
	"changed-10000":  createKept(10_000, true),
	"changes-0":      changesFrom(0),
	"changes-50000":  changesFrom(deep),
	"create":         create,
	"marshal-indent": marshalIndent,
	"merge":          merge(""),
	"merge-twins":    merge("UPDATE servers SET id = 'here-' || id", "/name"),
	"merge-unique":   merge("", "/name"),

	"backup-sqlite": func(ctx context.Context, a *backup.App, _ int) error {
		return withDB("bench.db", func(db *sql.DB) error {
			return measure(func() error { return backupTo("ours.json", a, sqlite(db)) })
		})
	},
	"backup-sealed": func(ctx context.Context, a *backup.App, _ int) error {
		a.Collections[0].Secrets = []string{"/user"}
		return withDB("bench.db", func(db *sql.DB) error {
			return measure(func() error { return backupSealed("ours.json", a, sqlite(db)) })
		})
	},
	"change": func(ctx context.Context, a *backup.App, _ int) error { return makeChanged("peer.db") },
	"restic": func(ctx context.Context, a *backup.App, _ int) error {
		return shell("rm -rf restic && restic --quiet --no-cache --repo restic init").Run()
	},
	"backup-packed": func(ctx context.Context, a *backup.App, _ int) error {
		return withDB("bench.db", func(db *sql.DB) error {
			return measure(func() error { return backupPacked("ours.json.zst.age", a, sqlite(db)) })
		})
	},
	"backup-memory": func(ctx context.Context, a *backup.App, records int) error {
		all := makeServers(records)
		return measure(func() error { return backupTo("ours.json", a, all) })
	},
	"small": func(ctx context.Context, a *backup.App, _ int) error {
		all := makeServers(1000)
		work := func() error { return backupTo("small.json", a, all) }
		for range 20 { // the measurement is of a program that has done it before
			if err := work(); err != nil {
				return err
			}
		}
		return measure(work)
	},
	"verify": func(ctx context.Context, a *backup.App, _ int) error {
		return measure(func() error { return verify(ctx, a, "snapshot.json") })
	},
	"verify-packed": func(ctx context.Context, a *backup.App, _ int) error {
		_, identity, err := readKey()
		if err != nil {
			return err
		}
		return measure(func() error { return verify(ctx, a, packedFile, identity) })
	},
	"later-100": makeLater(100),
	"later-1":   makeLater(1),
	"diff":      diff("later-100"),
	"diff-all":  diff("later-1"),
	"restore-sqlite": func(ctx context.Context, a *backup.App, _ int) error {
		return withNewDB("ours.db", func(db *sql.DB) error {
			return measure(func() error { return restore(ctx, a, sqlite(db), backup.RestoreOptions{}) })
		})
	},
	"replace": func(ctx context.Context, a *backup.App, _ int) error {
		return replace(ctx, a, func(m *manager.Manager, s *backup.Snapshot, opts backup.RestoreOptions) error {
			_, err := a.Restore(ctx, s, m.Sink, opts)
			return err
		})
	},
	"manager-replace": func(ctx context.Context, a *backup.App, _ int) error {
		return replace(ctx, a, func(m *manager.Manager, s *backup.Snapshot, opts backup.RestoreOptions) error {
			_, err := m.Restore(ctx, s, opts)
			return err
		})
	},
}

// makeFiles makes the input of the works: a database, snapshots and a key.
func makeFiles(ctx context.Context, a *backup.App, records int) error {
	if err := backupTo("snapshot.json", a, makeServers(records)); err != nil {
		return err
	}
	if err := makeKey(); err != nil {
		return err
	}
	if err := backupPacked(packedFile, app(false), makeServers(records)); err != nil {
		return err
	}
	return withNewDB("bench.db", func(db *sql.DB) error { return restore(ctx, a, sqlite(db), backup.RestoreOptions{}) })
}

func marshalIndent(_ context.Context, _ *backup.App, records int) error {
	all := makeServers(records)
	return measure(func() error {
		text, err := json.MarshalIndent(map[string]any{"version": "1.0", "data": map[string]any{"servers": all}}, "", "  ")
		if err != nil {
			return err
		}
		return os.WriteFile("peer.json", text, 0o600)
	})
}

func create(ctx context.Context, a *backup.App, _ int) error {
	return withDB("bench.db", func(db *sql.DB) error {
		m, err := newManager(a, db)
		if err != nil {
			return err
		}
		return measure(func() error {
			_, err := m.Create(ctx, backup.BackupOptions{})
			return err
		})
	})
}

// replace measures a restore of the snapshot over records that all differ from
// it.
func replace(ctx context.Context, a *backup.App, restore func(*manager.Manager, *backup.Snapshot, backup.RestoreOptions) error) error {
	if err := makeChanged("changed.db"); err != nil {
		return err
	}
	return withDB("changed.db", func(db *sql.DB) error {
		m, err := newManager(a, db)
		if err != nil {
			return err
		}
		return measure(func() error {
			return openFile(ctx, "snapshot.json", nil, func(s *backup.Snapshot) error {
				return restore(m, s, backup.RestoreOptions{Strategy: backup.Replace})
			})
		})
	})
}

// makeChanged copies the database and changes every record of the copy.
func makeChanged(path string) error {
	removeDB(path)
	err := withDB("bench.db", func(db *sql.DB) error {
		_, err := db.Exec("VACUUM INTO ?", path)
		return err
	})
	if err != nil {
		return err
	}
	return withDB(path, func(db *sql.DB) error {
		_, err := db.Exec("UPDATE servers SET priority = priority + 1; PRAGMA wal_checkpoint(TRUNCATE)")
		return err
	})
}

// newManager returns a Manager with two new folders.
func newManager(a *backup.App, db *sql.DB) (*manager.Manager, error) {
	m := &manager.Manager{App: a, Source: sqlite(db), Sink: sqlite(db)}
	for _, dir := range []location.Dir{"first", "second"} {
		if err := os.RemoveAll(string(dir)); err != nil {
			return nil, err
		}
		if err := dir.Make(); err != nil {
			return nil, err
		}
		m.Locations = append(m.Locations, dir)
	}
	return m, nil
}

package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// growthRows returns the rows about work that should cost the same in a large place as
// in a small one.
func growthRows(records int) []row {
	rows := []row{{
		name: "`Manager.Create` with 10,000 backups kept, beside 10", target: target{wall: 1.5},
		over: "Where the system does not tell of every change, each Create lists the folder, and looks at the time and size of each file in it.",
		ours: []string{"kept-10000"}, peer: program(records, "kept-10"), child: true,
	}}
	if records < deep+page {
		return rows
	}
	return append(rows, row{
		name: "100 changes of a plan from the 50,000th, beside the first", target: target{wall: 2},
		ours: []string{"changes-50000"}, peer: program(records, "changes-0"), child: true,
	})
}

// A page of changes of a plan, and where one begins that is deep in it.
const (
	page = 100
	deep = 50_000
)

// createKept measures ten calls of Create by a Manager that has made one backup before,
// where a folder keeps many. Each call lists the folder if somebody else has changed
// something in it meanwhile.
func createKept(kept int, meanwhile bool) work {
	return func(ctx context.Context, a *backup.App, _ int) error {
		dir := location.Dir("kept-" + strconv.Itoa(kept))
		all := makeServers(100)
		if _, err := os.Stat(string(dir)); os.IsNotExist(err) {
			if err := fillKept(ctx, a, dir, all, kept); err != nil {
				return err
			}
		}
		m := &manager.Manager{App: a, Source: all, Locations: []location.Location{dir}}
		if _, err := m.Create(ctx, backup.BackupOptions{}); err != nil {
			return err
		}
		return measure(func() error {
			for range 10 {
				if meanwhile {
					if err := os.Chtimes(filepath.Join(string(dir), a.BackupName(firstKept)), time.Now(), time.Now()); err != nil {
						return err
					}
				}
				if _, err := m.Create(ctx, backup.BackupOptions{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// firstKept is the time of the oldest backup.
var firstKept = time.Date(2020, time.January, 1, 0, 0, 0, 0, time.UTC)

func fillKept(_ context.Context, a *backup.App, dir location.Dir, all memory, kept int) error {
	if err := dir.Make(); err != nil {
		return err
	}
	for i := range kept {
		at := firstKept.Add(time.Duration(i) * time.Hour)
		f, err := os.Create(filepath.Join(string(dir), a.BackupName(at)))
		if err != nil {
			return err
		}
		if _, err := a.Backup(context.Background(), f, all, backup.BackupOptions{CreatedAt: at}); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// changesFrom measures the reading of 100 changes of a plan.
func changesFrom(offset int) work {
	return func(ctx context.Context, a *backup.App, _ int) error {
		if err := makeChanged("changed.db"); err != nil {
			return err
		}
		return planChanges(ctx, a, func(p *backup.Plan) error {
			return measure(func() error { return readChanges(ctx, p, offset, page) })
		})
	}
}

// planChanges calls use with a plan to bring back all records of a changed database.
func planChanges(ctx context.Context, a *backup.App, use func(*backup.Plan) error) error {
	return withDB("changed.db", func(db *sql.DB) error {
		return openFile(ctx, "snapshot.json", nil, func(s *backup.Snapshot) error {
			p, err := a.Plan(ctx, s, sqlite(db), backup.RestoreOptions{Strategy: backup.Replace})
			if err != nil {
				return err
			}
			defer p.Close()
			return use(p)
		})
	})
}

func readChanges(ctx context.Context, p *backup.Plan, offset, count int) error {
	n := 0
	for _, err := range p.ChangesFrom(ctx, offset) {
		if err != nil {
			return err
		}
		if n++; n == count {
			return nil
		}
	}
	return fmt.Errorf("the plan has %d changes from %d", n, offset)
}

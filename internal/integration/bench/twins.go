package main

import (
	"context"
	"database/sql"

	"github.com/tomo-project/backup"
)

// twinRows returns the rows about records that the host has under other keys. In each,
// the host has all records of the snapshot, and they all differ from it.
func twinRows(records int) []row {
	return []row{
		{
			name: "merge of records that the host has under other keys, found by their name, beside a merge by key", target: target{wall: 1.5},
			ours: []string{"merge-twins"}, peer: program(records, "merge"), child: true,
		},
		{
			name: "merge by key of records whose name is declared unique, beside the same where nothing is",
			ours: []string{"merge-unique"}, peer: program(records, "merge"), child: true,
		},
	}
}

// merge measures a merge over records that all differ. rekey is what gives the host's
// records other keys, and unique what is declared.
func merge(rekey string, unique ...string) work {
	return func(ctx context.Context, a *backup.App, _ int) error {
		a.Collections[0].Unique = unique
		if err := makeChanged("merged.db"); err != nil {
			return err
		}
		return withDB("merged.db", func(db *sql.DB) error {
			_, err := db.Exec("CREATE UNIQUE INDEX names ON servers (name);" + rekey + "; PRAGMA wal_checkpoint(TRUNCATE)")
			if err != nil {
				return err
			}
			return measure(func() error { return restore(ctx, a, sqlite(db), backup.RestoreOptions{Strategy: backup.Merge}) })
		})
	}
}

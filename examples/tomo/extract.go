package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup/sqlstore"
)

func (c *cli) extractCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "extract NAME",
		Short: "Get the database out of a stored copy",
		Long: `Get the database out of a copy that tomo backup create --database has stored.
The copy is checked, decrypted and decompressed; the result is an ordinary
SQLite file.

A copy of the database has all tables, also those that no backup contains. Only
this version of Tomo reads it, while a backup restores into any version. To use
the file as the database, stop Tomo, move tomo.db, tomo.db-wal and tomo.db-shm
away, and move the file there. Its credentials open only with the tomo.db.key of
that time. The copy does not contain that key: keep it elsewhere.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output == "" {
				return usagef("--output: say where the database goes")
			}
			return c.extract(cmd.Context(), args[0], output)
		},
	}
	cmd.Flags().StringVar(&output, "output", "", "write this `FILE`, which must not exist")
	c.locationFlags(cmd)
	c.identityFlags(cmd)
	return cmd
}

func (c *cli) extract(ctx context.Context, name, output string) error {
	for _, beside := range []string{"", "-wal", "-shm", "-journal"} {
		if err := checkTarget(output+beside, false); err != nil {
			if beside != "" {
				err = fmt.Errorf("%w: SQLite would take it for a part of the new database; move it away", err)
			}
			return err
		}
	}
	k, err := c.lookAround(ctx)
	if err != nil {
		return err
	}
	defer k.Close()
	if err := k.checkDatabases(ctx); err != nil {
		return err
	}
	err = publish(ctx, output, false, func(f *os.File) error {
		return k.ExtractDatabase(ctx, name, f)
	})
	k.wipe()
	if err != nil {
		return explainMissing(err)
	}
	if c.json {
		c.done("the database was extracted", func() error { return c.printJSON(extractResult{output}) })
		return nil
	}
	fmt.Fprintf(c.stdout, "Database written: %s\n", printable(output))
	return nil
}

// extractResult is what extract prints with --json.
type extractResult struct {
	Path string `json:"path"`
}

// copyDatabases lets the Manager copy the whole database too. The credentials
// in the copy are encrypted with a key that is not in it.
func (k *keeper) copyDatabases() {
	k.Database, k.DatabaseInClear = sqlstore.SQLiteFile{DB: k.database.DB}, true
}

// checkDatabases lets the Manager check copies of the database. If the database
// is lost, an empty database of this Tomo takes its place until Close.
func (k *keeper) checkDatabases(ctx context.Context) error {
	if k.RequireProof { // no copy of a database has a proof
		return nil
	}
	k.DatabaseInClear = true // no database is copied here
	if k.database != nil {
		k.Database = sqlstore.SQLiteFile{DB: k.database.DB}
		return nil
	}
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return err
	}
	k.stand = db
	db.SetMaxOpenConns(1)
	k.Database = sqlstore.SQLiteFile{DB: db}
	_, err = db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; %s", applicationID, schemaSQL))
	return err
}

package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
)

func (c *cli) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show backups and restores on a database made for it",
		Long: `Make a database in a new temporary folder, back it up at two places, damage it,
and restore it, in full and in part. It says what it does and where the files
are, and asks for nothing.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.demo(cmd.Context()) },
	}
}

// demo runs the commands that a person would run, and checks what they do.
func (c *cli) demo(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "tomo-demo-")
	if err != nil {
		return err
	}
	c.databasePath = filepath.Join(dir, "tomo.db")
	c.passphraseFile = filepath.Join(dir, "passphrase")
	if err := os.WriteFile(c.passphraseFile, []byte("correct horse battery staple\n"), 0o600); err != nil {
		return err
	}
	local, drive := filepath.Join(dir, "backups"), filepath.Join(dir, "drive")
	if err := os.Mkdir(drive, 0o700); err != nil {
		return err
	}
	c.further = folders{folder(drive)}
	n := 0
	step := func(format string, args ...any) {
		n++
		fmt.Fprintf(c.stdout, "\n%d. %s\n\n", n, fmt.Sprintf(format, args...))
	}

	fmt.Fprintf(c.stdout, "Backup and restore of Tomo, on a real SQLite database in\n%s\nEvery command below also has --location drive, for a second copy.\n", dir)

	step("A database with 12 made-up records in each collection: tomo.db, its secrets encrypted with the master key in tomo.db.key")
	if err := c.makeDatabase(ctx, c.databasePath, 12); err != nil {
		return err
	}
	before, err := c.fingerprint(ctx)
	if err != nil {
		return err
	}
	if err := c.show(ctx, `SELECT id, host, password FROM servers ORDER BY id LIMIT 2`); err != nil {
		return err
	}

	step("tomo backup run --daily 03:00: there is no backup, so the first is made at once")
	name, err := c.runOnce(ctx)
	if err != nil {
		return err
	}
	if err := c.list(ctx); err != nil {
		return err
	}
	fmt.Fprintln(c.stdout)
	if err := c.showLine(filepath.Join(local, name), `{"id":"server-0000000"`); err != nil {
		return err
	}

	step("Damage: applications are lost, a server is redirected, a stranger is an admin, a setting is wrong")
	err = c.execute(ctx,
		`DELETE FROM applications WHERE id > 'app-0000007'`,
		`UPDATE servers SET host = 'evil.example.net', password = 'stolen' WHERE id = 'server-0000000'`,
		`INSERT INTO users (id, username, password_hash, role) VALUES ('stranger', 'stranger', '$2b$12$the.stranger.has.brought.this.hash.along.............', 'admin')`,
		`UPDATE settings SET value = '"light"' WHERE key = 'theme'`)
	if err != nil {
		return err
	}
	if err := c.show(ctx, `SELECT (SELECT count(*) FROM applications) AS applications, (SELECT count(*) FROM users) AS users, (SELECT host FROM servers WHERE id = 'server-0000000') AS host`); err != nil {
		return err
	}
	damaged, err := c.fingerprint(ctx)
	if err != nil {
		return err
	}

	step("tomo backup restore %s --full --dry-run: the plan, record by record", name)
	if err := c.restore(ctx, restoreFlags{input: name, full: true, dryRun: true}, backup.Replace); err != nil {
		return err
	}

	step("One letter of the backup changes where it was made. tomo backup restore %s --full --yes takes the copy on the drive", name)
	if err := damage(filepath.Join(local, name)); err != nil {
		return err
	}
	if err := c.restore(ctx, restoreFlags{input: name, full: true, yes: true}, backup.Replace); err != nil {
		return err
	}
	if err := c.compare(ctx, before); err != nil {
		return err
	}

	step("tomo backup undo --yes, and once more: a restore can be taken back, and so can that")
	for _, want := range []string{damaged, before} {
		if err := c.undo(ctx, true); err != nil {
			return err
		}
		if err := c.compare(ctx, want); err != nil {
			return err
		}
		fmt.Fprintln(c.stdout)
	}

	step("A theme is changed on purpose, and all users are deleted by accident. tomo backup restore %s --only users,preferences: the theme stays", name)
	err = c.execute(ctx,
		`UPDATE settings SET value = '"solarized"' WHERE key = 'theme'`,
		`DELETE FROM preferences`,
		`DELETE FROM users`)
	if err != nil {
		return err
	}
	if err := c.restore(ctx, restoreFlags{input: name, only: []string{"users", "preferences"}}, backup.SkipDuplicates); err != nil {
		return err
	}
	if err := c.show(ctx, `SELECT (SELECT count(*) FROM users) AS users, (SELECT count(*) FROM preferences) AS preferences, (SELECT value FROM settings WHERE key = 'theme') AS theme`); err != nil {
		return err
	}

	step("tomo backup restore --input backups/%s: nothing is restored from a damaged file", name)
	before, err = c.fingerprint(ctx)
	if err != nil {
		return err
	}
	broken := filepath.Join(local, name)
	err = c.restore(ctx, restoreFlags{input: broken, full: true, yes: true}, backup.Replace)
	if !errors.Is(err, backup.ErrDamaged) {
		return fmt.Errorf("a damaged backup was not refused: %w", err)
	}
	fmt.Fprintf(c.stdout, "%s\n", printableLines(err.Error()))
	if err := c.compare(ctx, before); err != nil {
		return err
	}

	step("tomo backup salvage: what is intact in the damaged file, and what is not")
	saved := filepath.Join(dir, "saved.json")
	if err := c.salvage(ctx, broken, saved); err != nil {
		return err
	}

	step("tomo backup drill %s: does it really restore?", name)
	if err := c.drill(ctx, name); err != nil {
		return err
	}

	step("tomo backup create, and tomo backup prune --dry-run --manual --keep-last 1: what would be deleted, and why")
	if err := c.create(ctx, createFlags{}); err != nil {
		return err
	}
	fmt.Fprintln(c.stdout)
	policy := policyFlags{given: true}
	policy.Last = 1
	if err := c.prune(ctx, policy, backup.PruneOptions{DryRun: true, Manual: true}); err != nil {
		return err
	}

	fmt.Fprintf(c.stdout, `
The files are still there:

  %[1]s  the database
  %[2]s  the damaged backup
  %[3]s  its copy
  %[4]s  what was salvaged
  %[5]s  the passphrase
  %[8]s  the master key

Look at them, or go on:

  export TOMO_BACKUP_PASSPHRASE="$(cat %[5]s)"
  go run ./examples/tomo --db %[1]s backup list --location %[6]s
  go run ./examples/tomo --db %[1]s backup verify %[7]s --location %[6]s
  go run ./examples/inspect %[3]s
`, c.databasePath, broken, filepath.Join(drive, name), saved, c.passphraseFile, drive, name, masterKeyFile(c.databasePath))
	return nil
}

// runOnce runs the scheduler until it has made a backup, and returns its name.
func (c *cli) runOnce(ctx context.Context) (name string, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	err = c.schedule(ctx, runFlags{daily: "03:00", onEvent: func(e backup.Event) {
		if e.Kind == backup.EventDone && e.Operation == "run" {
			name = e.Backup
			stop()
		}
	}})
	if err == nil && name == "" {
		err = context.Cause(ctx)
	}
	return name, err
}

// compare checks that the database is as it was when before was taken.
func (c *cli) compare(ctx context.Context, before string) error {
	now, err := c.fingerprint(ctx)
	if err != nil {
		return err
	}
	if now != before {
		return errors.New("the database is not as it was before")
	}
	fmt.Fprint(c.stdout, "\nChecked: every row of every table is as it was before.\n")
	return nil
}

// fingerprint is a digest of all rows of all tables, with their secrets in clear:
// encrypted, they are others each time that they are written.
func (c *cli) fingerprint(ctx context.Context) (string, error) {
	hash := sha256.New()
	err := c.withDatabase(ctx, func(db *database) error {
		return db.store.View(ctx, func(r backup.Reader) error {
			for _, collection := range c.app.Collections {
				for record, err := range r.Records(ctx, collection.Name) {
					if err != nil {
						return err
					}
					fmt.Fprintf(hash, "%q %q %q\n", collection.Name, record.Key, record.Value)
				}
			}
			return nil
		})
	})
	return fmt.Sprintf("%x", hash.Sum(nil)), err
}

// show prints the result of a query.
func (c *cli) show(ctx context.Context, query string) error {
	return c.withDatabase(ctx, func(db *database) error {
		return eachRow(ctx, db.DB, query, func(columns []string, row []any) {
			var cells []string
			for i, column := range columns {
				cells = append(cells, fmt.Sprintf("%s = %v", column, row[i]))
			}
			fmt.Fprintf(c.stdout, "  %s\n", printable(strings.Join(cells, ", ")))
		})
	})
}

// showLine prints the line of a file that begins with prefix.
func (c *cli) showLine(name, prefix string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, prefix) {
			fmt.Fprintf(c.stdout, "  a line of it: %s\n", shortened(printable(strings.TrimSpace(line)), 200))
			break
		}
	}
	return nil
}

// execute runs statements in one transaction.
func (c *cli) execute(ctx context.Context, statements ...string) error {
	return c.withDatabase(ctx, func(db *database) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		for _, statement := range statements {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("%s: %w", statement, err)
			}
		}
		return tx.Commit()
	})
}

func (c *cli) withDatabase(ctx context.Context, use func(*database) error) error {
	db, err := c.openDatabase(ctx)
	if err != nil {
		return err
	}
	return errors.Join(use(db), db.Close())
}

func eachRow(ctx context.Context, db *sql.DB, query string, use func(columns []string, row []any)) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	row, targets := make([]any, len(columns)), make([]any, len(columns))
	for i := range row {
		targets[i] = &row[i]
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		use(columns, row)
	}
	return rows.Err()
}

// damage changes one letter in the middle of a file.
func damage(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	for i := len(text) / 2; i < len(text); i++ {
		if text[i] >= 'a' && text[i] < 'z' {
			text[i]++
			break
		}
	}
	return os.WriteFile(name, text, 0o600)
}

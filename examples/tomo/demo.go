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
		Short: "Show a backup and restores on a database made for it",
		Long: `Make a database in a new temporary folder, back it up, damage it, and restore
it, in full and in part. It says what it does and where the files are, and asks
for nothing.`,
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
	step := func(n int, format string, args ...any) {
		fmt.Fprintf(c.stdout, "\n%d. %s\n\n", n, fmt.Sprintf(format, args...))
	}

	fmt.Fprintf(c.stdout, "Backup and restore of Tomo, on a real SQLite database in\n%s\n", dir)

	step(1, "A database with 12 made-up records in each collection: tomo.db")
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

	step(2, "tomo backup create: the passwords are sealed in it")
	if err := c.create(ctx, createFlags{include: []string{"logs"}}); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(dir, "backups", "*.json"))
	if err != nil || len(files) != 1 {
		return fmt.Errorf("want one backup, found %v: %w", files, err)
	}
	file := files[0]
	if err := c.showLine(file, `{"id":"server-0000000"`); err != nil {
		return err
	}

	step(3, "Damage: applications are lost, a server is redirected, a stranger is an admin, a setting is wrong")
	err = c.execute(ctx,
		`DELETE FROM applications WHERE id > 'app-0000007'`,
		`UPDATE servers SET host = 'evil.example.net', password = 'stolen' WHERE id = 'server-0000000'`,
		`INSERT INTO users (id, username, password_hash, role) VALUES ('stranger', 'stranger', (SELECT password_hash FROM users LIMIT 1), 'admin')`,
		`UPDATE settings SET value = '"light"' WHERE key = 'theme'`)
	if err != nil {
		return err
	}
	if err := c.show(ctx, `SELECT (SELECT count(*) FROM applications) AS applications, (SELECT count(*) FROM users) AS users, (SELECT host FROM servers WHERE id = 'server-0000000') AS host`); err != nil {
		return err
	}

	step(4, "tomo backup restore --full --dry-run: the plan, record by record")
	if err := c.restore(ctx, restoreFlags{input: file, full: true, dryRun: true}, backup.Replace); err != nil {
		return err
	}

	step(5, "tomo backup restore --full --yes")
	if err := c.restore(ctx, restoreFlags{input: file, full: true, yes: true}, backup.Replace); err != nil {
		return err
	}
	if err := c.compare(ctx, before); err != nil {
		return err
	}

	step(6, "Again something is lost: a theme is changed on purpose, and all users are deleted by accident")
	err = c.execute(ctx,
		`UPDATE settings SET value = '"solarized"' WHERE key = 'theme'`,
		`DELETE FROM preferences`,
		`DELETE FROM users`)
	if err != nil {
		return err
	}
	fmt.Fprint(c.stdout, "tomo backup restore --only users,preferences: the theme stays\n\n")
	if err := c.restore(ctx, restoreFlags{input: file, only: []string{"users", "preferences"}}, backup.SkipDuplicates); err != nil {
		return err
	}
	if err := c.show(ctx, `SELECT (SELECT count(*) FROM users) AS users, (SELECT count(*) FROM preferences) AS preferences, (SELECT value FROM settings WHERE key = 'theme') AS theme`); err != nil {
		return err
	}

	step(7, "A copy of the backup with one letter changed: nothing is restored from it")
	broken := filepath.Join(dir, "damaged.json")
	if err := copyDamaged(file, broken); err != nil {
		return err
	}
	before, err = c.fingerprint(ctx)
	if err != nil {
		return err
	}
	err = c.restore(ctx, restoreFlags{input: broken, full: true, yes: true}, backup.Replace)
	if !errors.Is(err, backup.ErrDamaged) {
		return fmt.Errorf("a damaged backup was not refused: %w", err)
	}
	fmt.Fprintf(c.stdout, "%s\n", printableLines(err.Error()))
	if err := c.compare(ctx, before); err != nil {
		return err
	}

	fmt.Fprintf(c.stdout, `
The files are still there:

  %[1]s  the database
  %[2]s  the backup
  %[3]s  the damaged copy
  %[4]s  the passphrase

Look at them, or go on:

  export TOMO_BACKUP_PASSPHRASE="$(cat %[4]s)"
  go run ./examples/tomo --db %[1]s backup verify %[2]s
  go run ./examples/tomo --db %[1]s backup list
  go run ./examples/inspect %[2]s
`, c.databasePath, file, broken, c.passphraseFile)
	return nil
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
	fmt.Fprintf(c.stdout, "\nChecked: every row of every table is as it was before.\n")
	return nil
}

// fingerprint is a digest of all rows of all tables.
func (c *cli) fingerprint(ctx context.Context) (string, error) {
	hash := sha256.New()
	err := c.withDatabase(ctx, func(db *database) error {
		for _, collection := range c.app.Collections {
			err := eachRow(ctx, db.DB, "SELECT * FROM "+collection.Name+" ORDER BY 1", func(columns []string, row []any) {
				fmt.Fprintf(hash, "%q %q %#v\n", collection.Name, columns, row)
			})
			if err != nil {
				return err
			}
		}
		return nil
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

// copyDamaged copies a backup with one letter in the middle of it changed.
func copyDamaged(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	for i := len(text) / 2; i < len(text); i++ {
		if text[i] >= 'a' && text[i] < 'z' {
			text[i]++
			break
		}
	}
	return os.WriteFile(to, text, 0o600)
}

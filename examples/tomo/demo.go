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
	"github.com/tomo-project/backup/manager"
)

func (c *cli) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show backups and restores on a temporary database",
		Long: `Make a database in a new temporary folder, back it up to two places, damage it,
and restore it, completely and in part. The demo says what it does and where the
files are, and asks nothing.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.demo(cmd.Context()) },
	}
}

// demo runs the commands that a person would run, and checks the results.
func (c *cli) demo(ctx context.Context) error {
	d, err := c.newDemonstration()
	if err != nil {
		return err
	}
	for _, act := range []func(context.Context) error{
		d.begin, d.firstBackup, d.loseData, d.planRestore, d.restoreAll, d.takeBack,
		d.restorePart, d.refuseDamaged, d.saveIntact, d.proveRestore, d.planPrune,
	} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	d.end()
	return nil
}

// A demonstration is one run of the command demo, act by act.
type demonstration struct {
	*cli
	dir   string // the folder of all its files
	local string // the folder of the backups
	drive string // the folder of their copies
	acts  int    // how many acts have begun
	name  string // the backup of all acts

	// Fingerprints of the database.
	before, damaged string
}

// newDemonstration makes the folders and the passphrase.
func (c *cli) newDemonstration() (*demonstration, error) {
	dir, err := os.MkdirTemp("", "tomo-demo-")
	if err != nil {
		return nil, err
	}
	d := &demonstration{cli: c, dir: dir, local: filepath.Join(dir, "backups"), drive: filepath.Join(dir, "drive")}
	c.databasePath = filepath.Join(dir, "tomo.db")
	c.passphraseFile = filepath.Join(dir, "passphrase")
	c.further = folders{folder(d.drive)}
	if err := os.WriteFile(c.passphraseFile, []byte("correct horse battery staple\n"), 0o600); err != nil {
		return nil, err
	}
	return d, os.Mkdir(d.drive, 0o700)
}

// say prints the heading of the next act.
func (d *demonstration) say(format string, args ...any) {
	d.acts++
	fmt.Fprintf(d.stdout, "\n%d. %s\n\n", d.acts, fmt.Sprintf(format, args...))
}

// original returns the path of the backup where it was made.
func (d *demonstration) original() string { return filepath.Join(d.local, d.name) }

// salvaged returns the path of the file that salvage writes.
func (d *demonstration) salvaged() string { return filepath.Join(d.dir, "saved.json") }

func (d *demonstration) begin(ctx context.Context) (err error) {
	fmt.Fprintf(d.stdout, "Backup and restore of Tomo, on a real SQLite database in\n%s\nEvery command below also has --location drive, for a second copy.\n", d.dir)
	d.say("A database with 12 made-up records in each collection: tomo.db, its secrets encrypted with the master key in tomo.db.key")
	if err := d.makeDatabase(ctx, d.databasePath, 12); err != nil {
		return err
	}
	if d.before, err = d.fingerprint(ctx); err != nil {
		return err
	}
	return d.show(ctx, `SELECT id, host, password FROM servers ORDER BY id LIMIT 2`)
}

func (d *demonstration) firstBackup(ctx context.Context) (err error) {
	d.say("tomo backup run --daily 03:00: there is no backup, so the first is made at once")
	if d.name, err = d.runOnce(ctx); err != nil {
		return err
	}
	if err := d.list(ctx); err != nil {
		return err
	}
	fmt.Fprintln(d.stdout)
	return d.showLine(d.original(), `{"id":"server-0000000"`)
}

func (d *demonstration) loseData(ctx context.Context) error {
	d.say("Damage: applications are lost, a server is redirected, a stranger is an admin, a setting is wrong")
	err := d.execute(ctx,
		`DELETE FROM applications WHERE id > 'app-0000007'`,
		`UPDATE servers SET host = 'evil.example.net', password = 'stolen' WHERE id = 'server-0000000'`,
		`INSERT INTO users (id, username, password_hash, role) VALUES ('stranger', 'stranger', '$2b$12$the.stranger.has.brought.this.hash.along.............', 'admin')`,
		`UPDATE settings SET value = '"light"' WHERE key = 'theme'`)
	if err != nil {
		return err
	}
	if err := d.show(ctx, `SELECT (SELECT count(*) FROM applications) AS applications, (SELECT count(*) FROM users) AS users, (SELECT host FROM servers WHERE id = 'server-0000000') AS host`); err != nil {
		return err
	}
	d.damaged, err = d.fingerprint(ctx)
	return err
}

func (d *demonstration) planRestore(ctx context.Context) error {
	d.say("tomo backup restore %s --full --dry-run: the plan, record by record", d.name)
	return d.restore(ctx, restoreFlags{input: d.name, full: true, dryRun: true}, backup.Replace)
}

func (d *demonstration) restoreAll(ctx context.Context) error {
	d.say("One letter of the backup changes where it was made. tomo backup restore %s --full --yes takes the copy on the drive", d.name)
	if err := damage(d.original()); err != nil {
		return err
	}
	if err := d.restore(ctx, restoreFlags{input: d.name, full: true, yes: true}, backup.Replace); err != nil {
		return err
	}
	return d.compare(ctx, d.before)
}

func (d *demonstration) takeBack(ctx context.Context) error {
	d.say("tomo backup undo --yes, and once more: a restore can be taken back, and so can that")
	for _, want := range []string{d.damaged, d.before} {
		if err := d.undo(ctx, true); err != nil {
			return err
		}
		if err := d.compare(ctx, want); err != nil {
			return err
		}
		fmt.Fprintln(d.stdout)
	}
	return nil
}

func (d *demonstration) restorePart(ctx context.Context) error {
	d.say("A theme is changed on purpose, and all users are deleted by accident. tomo backup restore %s --only users,preferences: the theme stays", d.name)
	err := d.execute(ctx,
		`UPDATE settings SET value = '"solarized"' WHERE key = 'theme'`,
		`DELETE FROM preferences`,
		`DELETE FROM users`)
	if err != nil {
		return err
	}
	if err := d.restore(ctx, restoreFlags{input: d.name, only: []string{"users", "preferences"}}, backup.SkipDuplicates); err != nil {
		return err
	}
	return d.show(ctx, `SELECT (SELECT count(*) FROM users) AS users, (SELECT count(*) FROM preferences) AS preferences, (SELECT value FROM settings WHERE key = 'theme') AS theme`)
}

func (d *demonstration) refuseDamaged(ctx context.Context) error {
	d.say("tomo backup restore --input backups/%s: nothing is restored from a damaged file", d.name)
	before, err := d.fingerprint(ctx)
	if err != nil {
		return err
	}
	err = d.restore(ctx, restoreFlags{input: d.original(), full: true, yes: true}, backup.Replace)
	if !errors.Is(err, backup.ErrDamaged) {
		return fmt.Errorf("a damaged backup was not refused: %w", err)
	}
	fmt.Fprintf(d.stdout, "%s\n", printableLines(err.Error()))
	return d.compare(ctx, before)
}

func (d *demonstration) saveIntact(ctx context.Context) error {
	d.say("tomo backup salvage: what is intact in the damaged file, and what is not")
	return d.salvage(ctx, d.original(), d.salvaged())
}

func (d *demonstration) proveRestore(ctx context.Context) error {
	d.say("tomo backup drill %s: does it really restore?", d.name)
	return d.drill(ctx, d.name)
}

func (d *demonstration) planPrune(ctx context.Context) error {
	d.say("tomo backup create, and tomo backup prune --dry-run --manual --keep-last 1: what would be deleted, and why")
	if err := d.create(ctx, createFlags{}); err != nil {
		return err
	}
	fmt.Fprintln(d.stdout)
	policy := policyFlags{given: true}
	policy.Last = 1
	return d.prune(ctx, policy, manager.PruneOptions{DryRun: true, Manual: true})
}

func (d *demonstration) end() {
	fmt.Fprintf(d.stdout, `
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
`, d.databasePath, d.original(), filepath.Join(d.drive, d.name), d.salvaged(), d.passphraseFile, d.drive, d.name, masterKeyFile(d.databasePath))
}

// runOnce runs the scheduler until it has made a backup, and returns its name.
func (d *demonstration) runOnce(ctx context.Context) (name string, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	err = d.schedule(ctx, runFlags{daily: "03:00", onEvent: func(e manager.Event) {
		if e.Kind == manager.EventDone && e.Operation == "run" {
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
func (d *demonstration) compare(ctx context.Context, before string) error {
	now, err := d.fingerprint(ctx)
	if err != nil {
		return err
	}
	if now != before {
		return errors.New("the database is not as it was before")
	}
	fmt.Fprint(d.stdout, "\nChecked: every row of every table is as it was before.\n")
	return nil
}

// fingerprint returns a digest of all rows of all tables. It takes the secrets
// in clear: encrypted, they differ each time they are written.
func (d *demonstration) fingerprint(ctx context.Context) (string, error) {
	hash := sha256.New()
	err := d.withDatabase(ctx, func(db *database) error {
		return db.store.View(ctx, func(r backup.Reader) error {
			for _, collection := range d.app.Collections {
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
func (d *demonstration) show(ctx context.Context, query string) error {
	return d.withDatabase(ctx, func(db *database) error {
		return eachRow(ctx, db.DB, query, func(columns []string, row []any) {
			var cells []string
			for i, column := range columns {
				cells = append(cells, fmt.Sprintf("%s = %v", column, row[i]))
			}
			fmt.Fprintf(d.stdout, "  %s\n", printable(strings.Join(cells, ", ")))
		})
	})
}

// showLine prints the line of a file that begins with prefix.
func (d *demonstration) showLine(name, prefix string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, prefix) {
			fmt.Fprintf(d.stdout, "  a line of it: %s\n", shortened(printable(strings.TrimSpace(line)), 200))
			break
		}
	}
	return nil
}

// execute runs statements in one transaction.
func (d *demonstration) execute(ctx context.Context, statements ...string) error {
	return d.withDatabase(ctx, func(db *database) error {
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

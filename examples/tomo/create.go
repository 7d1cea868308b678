package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// createFlags are the flags of tomo backup create.
type createFlags struct {
	output    string
	force     bool
	only      []string
	include   []string
	minCopies int
	database  bool

	leaveOutInvalid bool
	newKey          bool
}

func (c *cli) createCommand() *cobra.Command {
	var flags createFlags
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a backup of the database",
		Long: `Make a backup of the database: one point in time, also while Tomo is running.

The backup gets a name made from the time. It is stored in the folder of the
setting backup_dir, or in the folder backups beside the database. Each folder of
the setting backup_locations and of --location gets a copy. A copy counts only
after it has been read back. A folder that cannot be reached stops nothing,
unless --min-copies asks for more copies than there are; a later backup brings
it what it lacks.

With --database, a copy of the whole database is stored beside the backup. It
also has what no backup contains. tomo backup extract gets the database out of
it.

With --output, the backup is written to that file instead. The file is there
completely or not at all. An existing file is overwritten only with --force.

Passwords, keys and tokens are sealed with a passphrase. It comes from the
environment variable ` + passphraseVariable + `, from --passphrase-file,
or from a prompt. Keep it: without it these secrets are lost.

With --recipient they are sealed for public keys instead, and the private keys
open them (tomo key generate). If the variable or --passphrase-file gives a
passphrase too, that also opens them. With --encrypt the whole file is
encrypted: for the recipients, or without --recipient with the passphrase.
Whoever restores the backup can tell from the passphrase that it is authentic.
Without a passphrase, --sign proves it.

If the newest backup is sealed with another key, the command stops: the
passphrase may be mistyped. --new-key says that it has changed on purpose.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.checkCollections(cmd, "only", flags.only); err != nil {
				return err
			}
			if err := c.checkCollections(cmd, "include", flags.include); err != nil {
				return err
			}
			if cmd.Flags().Changed("output") && (flags.output == "" || flags.output == "-" || strings.HasSuffix(flags.output, string(filepath.Separator))) {
				return usagef("--output %q: not the name of a file", flags.output)
			}
			if flags.force && flags.output == "" {
				return usagef("--force is for --output")
			}
			if flags.output != "" && (c.dir != "" || len(c.further) > 0 || flags.minCopies > 0 || flags.database) {
				return usagef("--output writes one file: remove --dir, --location, --min-copies and --database")
			}
			return c.create(cmd.Context(), flags)
		},
	}
	cmd.Flags().StringVar(&flags.output, "output", "", "write the backup to this `FILE` only")
	cmd.Flags().BoolVar(&flags.force, "force", false, "overwrite the file of --output")
	cmd.Flags().StringSliceVar(&flags.only, "only", nil, "`COLLECTIONS` to back up, such as servers,users (default: all but logs)")
	cmd.Flags().StringSliceVar(&flags.include, "include", nil, "optional `COLLECTIONS` to back up too: logs")
	cmd.Flags().BoolVar(&flags.leaveOutInvalid, "leave-out-invalid", false, "leave out records that are not valid, and name them")
	cmd.Flags().BoolVar(&flags.newKey, "new-key", false, "make the backup although the newest one is sealed with another key")
	databaseFlag(cmd, &flags.database)
	c.locationFlags(cmd)
	minCopiesFlag(cmd, &flags.minCopies)
	c.passphraseFlag(cmd)
	c.sealFlags(cmd)
	return cmd
}

func databaseFlag(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVar(yes, "database", false, "also store a copy of the whole database")
}

func minCopiesFlag(cmd *cobra.Command, n *int) {
	cmd.Flags().IntVar(n, "min-copies", 0, "fail if there are fewer than `N` copies; those that were made are kept")
}

func (c *cli) create(ctx context.Context, flags createFlags) error {
	if flags.output != "" {
		return c.createFile(ctx, flags)
	}
	k, err := c.openKeeper(ctx, true)
	if err != nil {
		return err
	}
	defer k.Close()
	if err := c.setMinCopies(k, flags.minCopies); err != nil {
		return err
	}
	// Older backups are copied to new folders only if the policy keeps them.
	if k.Retention, err = (policyFlags{}).retention(k.settings); err != nil {
		return err
	}
	if err := c.sealNew(k.Manager, k.keys); err != nil {
		return err
	}
	if err := c.checkKeys(ctx, k, flags.newKey); err != nil {
		return err
	}
	if flags.database {
		k.copyDatabases()
	}
	c.inParts = len(k.folders) > 1
	b, err := k.Create(ctx, flags.options())
	k.wipe()
	if err != nil && b.Name == "" {
		return fmt.Errorf("backup failed: %w", err)
	}
	if b.Rekeyed && flags.newKey { // it has changed on purpose
		accepted := k.Accept(ctx, b.Name)
		if b.Rekeyed = accepted != nil; b.Rekeyed { // the backup is made all the same
			fmt.Fprintf(c.stderr, "tomo: warning: the new key is not accepted, so nothing is pruned: %s; try again: %s\n", printable(accepted.Error()), c.hint("accept", b.Name))
		}
	}
	if c.json && flags.database && err == nil {
		copied, err := k.CopyDatabase(ctx)
		c.done("the backup was made", func() error { return c.printJSON(withDatabase{b, copied}) })
		return failedCopy(err)
	}
	c.done("the backup was made", func() error { return c.printCreated(b) })
	c.printFilled(k, b)
	if err != nil { // it names the missing copies
		return fmt.Errorf("too few copies: %w", err)
	}
	if flags.database {
		copied, err := k.CopyDatabase(ctx)
		k.wipe()
		if err != nil {
			return failedCopy(err)
		}
		c.printCopied(copied)
	}
	c.warn(k)
	return nil
}

// sealNew sets who can open what m makes, and in which form m stores it.
func (c *cli) sealNew(m *manager.Manager, keys *keyring) error {
	s, err := keys.sealing(c.seal.encrypt)
	if err != nil {
		return err
	}
	m.Recipients, m.Encrypt = s.recipients, s.encrypt
	m.Compress, m.Signer = backup.Compression(c.seal.compress), keys.signer
	return nil
}

// setMinCopies sets how many locations must have a copy of a backup.
func (c *cli) setMinCopies(k *keeper, n int) error {
	if n < 0 || n > len(k.folders) {
		return usagef("--min-copies %d: there are %s; add one with --location", n, plural(int64(len(k.folders)), "folder", "folders"))
	}
	k.MinCopies = n
	return nil
}

func (f createFlags) options() backup.BackupOptions {
	return backup.BackupOptions{Only: f.only, Include: f.include, LeaveOutInvalid: f.leaveOutInvalid}
}

func (c *cli) printCreated(b manager.Backup) error {
	if c.json {
		return c.printJSON(b)
	}
	fmt.Fprintf(c.stdout, "Backup made: %s\n", printable(b.Name))
	c.printContents(*b.Manifest)
	for _, copy := range b.Copies {
		if copy.Err == nil {
			fmt.Fprintf(c.stdout, "  at %s\n", printable(copy.Location))
		}
	}
	if len(b.Shrunk) > 0 {
		fmt.Fprintf(c.stdout, "It has lost most of what the last backup had:\n  %s\nNo backup is deleted until somebody accepts the loss:\n  %s\n", shrinks(b.Shrunk), c.hint("accept", b.Name))
	}
	return nil
}

// printFilled says how many older backups a folder got that lacked them.
func (c *cli) printFilled(k *keeper, made manager.Backup) {
	if c.json {
		return
	}
	for _, folder := range k.folders {
		var older int64
		for _, e := range k.stored {
			if e.Location == folder && e.Backup != made.Name {
				older++
			}
		}
		if older > 0 {
			fmt.Fprintf(c.stdout, "Copied %s to %s too, which lacked them.\n", plural(older, "older backup", "older backups"), printable(folder))
		}
	}
}

// printCopied reports a copy of the database.
func (c *cli) printCopied(b manager.Backup) {
	fmt.Fprintf(c.stdout, "Database copied: %s, %s\n", printable(b.Name), size(b.Bytes))
	for _, copy := range b.Copies {
		if copy.Err == nil {
			fmt.Fprintf(c.stdout, "  at %s\n", printable(copy.Location))
		}
	}
}

func failedCopy(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the backup was made, but the copy of the database failed: %w", err)
}

// withDatabase is what create --database prints with --json.
type withDatabase struct {
	Backup   manager.Backup `json:"backup"`
	Database manager.Backup `json:"database"`
}

// shrinks lists losses in one line.
func shrinks(list []manager.Shrink) string {
	var texts []string
	for _, s := range list {
		texts = append(texts, printable(s.String()))
	}
	return strings.Join(texts, ", ")
}

func (c *cli) printContents(m backup.Manifest) {
	switch {
	case m.Encrypted:
		fmt.Fprintf(c.stdout, "  encrypted for %s\n", keyNames(m.Keys))
	case m.Sealed:
		fmt.Fprintf(c.stdout, "  sealed for %s\n", keyNames(m.Keys))
	}
	fmt.Fprintf(c.stdout, "  %s\n", c.contents(m))
	for _, left := range m.LeftOut {
		fmt.Fprintf(c.stdout, "  left out: %s\n", printable(left.Error()))
	}
	for _, ref := range m.Dangling {
		fmt.Fprintf(c.stdout, "  refers to nothing: %s\n", printable(ref.Error()))
	}
}

// createResult is what create --output prints with --json.
type createResult struct {
	Path     string          `json:"path"`
	Manifest backup.Manifest `json:"manifest"`
}

// createFile makes the file of --output.
func (c *cli) createFile(ctx context.Context, flags createFlags) error {
	database, err := c.openDatabase(ctx)
	if err != nil {
		return err
	}
	defer database.Close()
	if err := checkTarget(flags.output, flags.force); err != nil { // before asking for a passphrase
		return explainTaken(err)
	}
	keys, err := c.keys(ctx)
	if err != nil {
		return err
	}
	m, err := c.besideFile(ctx, database, keys)
	if err != nil {
		return err
	}
	if err := c.checkKeys(ctx, &keeper{Manager: m, keys: keys, wipe: func() {}}, flags.newKey); err != nil {
		return err
	}
	show, done := c.progress()
	defer done()
	opts := flags.options()
	opts.Recipients, opts.Encrypt, opts.Compress, opts.Signer = m.Recipients, m.Encrypt, m.Compress, m.Signer
	opts.Metadata = map[string]string{"trigger": manager.TriggerManual}
	opts.Progress = show
	var manifest backup.Manifest
	err = publish(ctx, flags.output, flags.force, func(f *os.File) (err error) {
		manifest, err = c.app.Backup(ctx, f, database.store, opts)
		return err
	})
	if err != nil {
		return fmt.Errorf("backup failed: %w", explainTaken(err))
	}
	done()
	if c.json {
		c.done("the backup was made", func() error { return c.printJSON(createResult{flags.output, manifest}) })
		return nil
	}
	fmt.Fprintf(c.stdout, "Backup written: %s\n", printable(flags.output))
	c.printContents(manifest)
	return nil
}

// besideFile returns the Manager of the other backups, for the key of one that is
// written to a file. The file is made even if nobody can tell where the others are.
func (c *cli) besideFile(ctx context.Context, database *database, keys *keyring) (*manager.Manager, error) {
	var err error
	database.installation, err = knownInstallation(database.path)
	c.withoutID(err)
	settings, err := readSettings(ctx, database)
	var locations []location.Location
	if err == nil {
		locations, err = c.locations(settings)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		fmt.Fprintf(c.stderr, "tomo: going on without the folders of the other backups: %s\n", printable(err.Error()))
	}
	m := c.newManager(database, keys, locations)
	return m, c.sealNew(m, keys)
}

// contents sums up the content of a snapshot.
func (c *cli) contents(m backup.Manifest) string {
	if m.Database {
		return storedSize(m)
	}
	s := fmt.Sprintf("%s: %s in %s, %s", printable(c.app.Holds(m)), plural(sum(m.Records), "record", "records"),
		plural(int64(len(m.Records)), "collection", "collections"), storedSize(m))
	if m.Sealed {
		s += ", secrets sealed"
	}
	return s
}

// storedSize says how large the content of a file is, and in which form it is
// stored.
func storedSize(m backup.Manifest) string {
	s := size(m.Bytes)
	if m.Compressed != "" {
		s += ", " + string(m.Compressed)
	}
	if m.Encrypted {
		s += ", encrypted"
	}
	return s
}

// explainTaken adds to the error about a taken name how to overwrite the file.
func explainTaken(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w; --force overwrites it", err)
	}
	return err
}

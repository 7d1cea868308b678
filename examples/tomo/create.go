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
}

func (c *cli) createCommand() *cobra.Command {
	var flags createFlags
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a backup of the database",
		Long: `Make a backup of the database: one point in time, also while Tomo runs.

It goes to the folder of the setting backup_dir, or to backups beside the
database, under a name made from the time, and a copy to each folder of the
setting backup_locations and of --location. What was stored is read back before
it counts. A folder that is down stops nothing, unless --min-copies says so; a
later backup fills in what it lacks.

With --database a copy of the whole database is stored beside it, for what no
backup covers; tomo backup extract gets it out again.

With --output it goes to that file instead, wherever that is. A file is there
whole or not at all, and one that exists is never overwritten without --force.

Passwords, keys and tokens are sealed with a passphrase, which comes from the
environment variable ` + passphraseVariable + `, from --passphrase-file,
or from a prompt. Keep it: without it they are lost.

With --recipient they are sealed for public keys instead, and the private ones
open them (tomo key generate); with a passphrase as well if the variable or
--passphrase-file gives one. --encrypt encrypts the whole file too: for the
recipients, or without any with the passphrase. The passphrase proves to whoever
restores the backup that it is authentic; without one --sign does.`,
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
				return usagef("--output is one file: leave --dir, --location, --min-copies and --database away")
			}
			return c.create(cmd.Context(), flags)
		},
	}
	cmd.Flags().StringVar(&flags.output, "output", "", "write this `FILE`, and no copies")
	cmd.Flags().BoolVar(&flags.force, "force", false, "overwrite the file of --output")
	cmd.Flags().StringSliceVar(&flags.only, "only", nil, "`COLLECTIONS` to back up, such as servers,users (default: all but logs)")
	cmd.Flags().StringSliceVar(&flags.include, "include", nil, "optional `COLLECTIONS` to back up as well: logs")
	cmd.Flags().BoolVar(&flags.leaveOutInvalid, "leave-out-invalid", false, "leave out records that are not valid, and name them")
	databaseFlag(cmd, &flags.database)
	c.locationFlags(cmd)
	minCopiesFlag(cmd, &flags.minCopies)
	c.passphraseFlag(cmd)
	c.sealFlags(cmd)
	return cmd
}

func databaseFlag(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVar(yes, "database", false, "store a copy of the whole database too")
}

func minCopiesFlag(cmd *cobra.Command, n *int) {
	cmd.Flags().IntVar(n, "min-copies", 0, "fail with fewer than `N` copies; those that could be made are kept")
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
	if flags.database {
		k.copyDatabases()
	}
	c.inParts = len(k.folders) > 1
	b, err := k.Create(ctx, flags.options())
	k.wipe()
	if err != nil && b.Name == "" {
		return fmt.Errorf("backup failed: %w", err)
	}
	if c.json && flags.database && err == nil {
		copied, err := k.CopyDatabase(ctx)
		if printed := c.printJSON(withDatabase{b, copied}); printed != nil {
			return printed
		}
		return failedCopy(err)
	}
	if printed := c.printCreated(b); printed != nil {
		return printed
	}
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
func (c *cli) sealNew(m *backup.Manager, keys *keyring) error {
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

func (c *cli) printCreated(b backup.Backup) error {
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
		fmt.Fprintf(c.stdout, "It has lost most of what the backup before had:\n  %s\nUntil somebody has looked, no backup is deleted. If the loss is all right:\n  %s\n", shrinks(b.Shrunk), c.hint("accept", b.Name))
	}
	return nil
}

// printCopied reports a copy of the database.
func (c *cli) printCopied(b backup.Backup) {
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
	return fmt.Errorf("the backup is made, the copy of the database failed: %w", err)
}

// withDatabase is what create --database prints with --json.
type withDatabase struct {
	Backup   backup.Backup `json:"backup"`
	Database backup.Backup `json:"database"`
}

// shrinks lists losses in one line.
func shrinks(list []backup.Shrink) string {
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
	fmt.Fprintf(c.stdout, "  %s\n", contents(m))
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
	s, err := keys.sealing(c.seal.encrypt)
	if err != nil {
		return err
	}
	show, done := c.progress()
	defer done()
	opts := flags.options()
	opts.Recipients, opts.Encrypt = s.recipients, s.encrypt
	opts.Compress, opts.Signer = backup.Compression(c.seal.compress), keys.signer
	opts.Metadata = map[string]string{"trigger": backup.TriggerManual}
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
		return c.printJSON(createResult{flags.output, manifest})
	}
	fmt.Fprintf(c.stdout, "Backup written: %s\n", printable(flags.output))
	c.printContents(manifest)
	return nil
}

// contents sums up the content of a snapshot.
func contents(m backup.Manifest) string {
	if m.Database {
		return storedSize(m)
	}
	s := fmt.Sprintf("%s in %s, %s", plural(sum(m.Records), "record", "records"),
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

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
)

// createFlags are the flags of tomo backup create.
type createFlags struct {
	output  string
	force   bool
	only    []string
	include []string

	leaveOutInvalid bool
}

func (c *cli) createCommand() *cobra.Command {
	var flags createFlags
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Write the database to a backup file",
		Long: `Write the database to a backup file: one point in time, also while Tomo runs.

Without --output the file goes to the folder backups beside the database, under
a name made from the time. A file is there whole or not at all, and one that
exists is never overwritten without --force.

Passwords, keys and tokens are sealed with a passphrase, which comes from the
environment variable ` + passphraseVariable + `, from --passphrase-file,
or from a prompt. Keep it: without it they are lost.`,
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
			return c.create(cmd.Context(), flags)
		},
	}
	cmd.Flags().StringVar(&flags.output, "output", "", "`FILE` to write")
	cmd.Flags().BoolVar(&flags.force, "force", false, "overwrite the file of --output")
	cmd.Flags().StringSliceVar(&flags.only, "only", nil, "`COLLECTIONS` to back up, such as servers,users (default: all but logs)")
	cmd.Flags().StringSliceVar(&flags.include, "include", nil, "optional `COLLECTIONS` to back up as well: logs")
	cmd.Flags().BoolVar(&flags.leaveOutInvalid, "leave-out-invalid", false, "leave out records that are not valid, and name them")
	c.passphraseFlag(cmd)
	return cmd
}

// createResult is what create prints with --json.
type createResult struct {
	Path     string          `json:"path"`
	Manifest backup.Manifest `json:"manifest"`
}

func (c *cli) create(ctx context.Context, flags createFlags) error {
	database, err := c.openDatabase(ctx)
	if err != nil {
		return err
	}
	defer database.Close()
	if flags.output != "" { // before anybody is asked for a passphrase
		if err := checkTarget(flags.output, flags.force); err != nil {
			return explainTaken(err)
		}
	}
	key := c.key(ctx, true)
	if c.hasSecrets(flags) { // ask now, and not in the middle of the work
		if err := key.get(); err != nil {
			return err
		}
	}
	result, err := c.writeBackup(ctx, database, flags, backup.BackupOptions{
		Only:       flags.only,
		Include:    flags.include,
		Recipients: []backup.Recipient{key},
		Metadata:   map[string]string{"trigger": "manual"},

		LeaveOutInvalid: flags.leaveOutInvalid,
	})
	if err != nil {
		return fmt.Errorf("backup failed: %w", explainTaken(err))
	}
	if c.json {
		return c.printJSON(result)
	}
	m := result.Manifest
	fmt.Fprintf(c.stdout, "Backup written: %s\n", printable(result.Path))
	fmt.Fprintf(c.stdout, "  %s\n", contents(m))
	for _, left := range m.LeftOut {
		fmt.Fprintf(c.stdout, "  left out: %s\n", printable(left.Error()))
	}
	for _, ref := range m.Dangling {
		fmt.Fprintf(c.stdout, "  refers to nothing: %s\n", printable(ref.Error()))
	}
	return nil
}

// contents sums up what a snapshot holds.
func contents(m backup.Manifest) string {
	s := fmt.Sprintf("%s in %s, %s", plural(sum(m.Records), "record", "records"),
		plural(int64(len(m.Records)), "collection", "collections"), size(m.Bytes))
	if m.Sealed {
		s += ", secrets sealed"
	}
	return s
}

// hasSecrets reports whether a collection that is to be backed up declares
// secret fields.
func (c *cli) hasSecrets(flags createFlags) bool {
	return slices.ContainsFunc(c.app.Collections, func(collection backup.Collection) bool {
		taken := !collection.Optional
		if flags.only != nil {
			taken = slices.Contains(flags.only, collection.Name)
		}
		return (taken || slices.Contains(flags.include, collection.Name)) && len(collection.Secrets) > 0
	})
}

// writeBackup writes the file of --output, or one with a name that is free in
// the default folder.
func (c *cli) writeBackup(ctx context.Context, source *database, flags createFlags, opts backup.BackupOptions) (createResult, error) {
	opts.CreatedAt = time.Now()
	show, done := c.progress()
	opts.Progress = show
	defer done()

	var manifest backup.Manifest
	write := func(f *os.File) (err error) {
		manifest, err = c.app.Backup(ctx, f, source.store, opts)
		return err
	}
	if flags.output != "" {
		err := publish(ctx, flags.output, flags.force, write)
		return createResult{flags.output, manifest}, err
	}
	name := filepath.Join(c.backupDir(source.path), c.app.BackupName(opts.CreatedAt))
	for n := 1; ; n++ {
		path := name
		if n > 1 {
			path = fmt.Sprintf("%s-%d.json", strings.TrimSuffix(name, ".json"), n)
		}
		err := publish(ctx, path, false, write)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		return createResult{path, manifest}, err
	}
}

// explainTaken adds to the error about a taken name how to overwrite it.
func explainTaken(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w; --force overwrites it", err)
	}
	return err
}

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
)

func (c *cli) verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify NAME | FILE",
		Short: "Check everything about a backup that a restore would check",
		Long: `Check everything about a backup that a restore would check: that it is whole,
that the passphrase opens its secrets, that this version of Tomo can read it,
and every record and reference in it. Of a NAME that tomo backup list shows each
copy is checked. Nothing is written, and no database is needed.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.isName(args[0]) {
				return c.verifyCopies(cmd.Context(), args[0])
			}
			return c.verify(cmd.Context(), args[0])
		},
	}
	c.locationFlags(cmd)
	c.passphraseFlag(cmd)
	return cmd
}

// verifyCopies checks all copies of a backup.
func (c *cli) verifyCopies(ctx context.Context, name string) error {
	k, err := c.lookAround(ctx)
	if err != nil {
		return err
	}
	defer k.Close()
	copies, failed := k.Verify(ctx, name)
	k.wipe()
	switch {
	case len(copies) == 0 || ctx.Err() != nil:
		return explainMissing(failed)
	case c.json:
		if err := c.printJSON(copies); err != nil {
			return err
		}
		return failed
	}
	for _, v := range copies {
		path := printable(filepath.Join(v.Location, name))
		if v.Err != nil {
			fmt.Fprintf(c.stdout, "%s did not pass.\n", path)
			continue
		}
		c.printVerified(path, v.Manifest, v.Report)
	}
	return failed
}

// verifyResult is what verify of a file prints with --json.
type verifyResult struct {
	Path     string          `json:"path"`
	Manifest backup.Manifest `json:"manifest"`
	Report   backup.Report   `json:"report"`
}

func (c *cli) verify(ctx context.Context, path string) error {
	show, done := c.progress()
	defer done()
	snapshot, closeSnapshot, err := openFile(ctx, path, c.key(ctx), show)
	if err != nil {
		return fmt.Errorf("verify %s: %w", path, err)
	}
	defer closeSnapshot()
	report, err := c.app.Verify(ctx, snapshot, backup.RestoreOptions{Progress: show})
	if err != nil {
		return fmt.Errorf("verify %s: %w", path, err)
	}
	done()
	if c.json {
		return c.printJSON(verifyResult{path, snapshot.Manifest(), report})
	}
	c.printVerified(printable(path), snapshot.Manifest(), report)
	return nil
}

func (c *cli) printVerified(path string, m backup.Manifest, report backup.Report) {
	fmt.Fprintf(c.stdout, "%s is whole and can be restored.\n", path)
	fmt.Fprintf(c.stdout, "  made %s by Tomo %s\n", moment(m.CreatedAt), printable(m.ApplicationVersion))
	fmt.Fprintf(c.stdout, "  %s\n", contents(m))
	for _, collection := range report.Collections {
		fmt.Fprintf(c.stdout, "    %-14s %s\n", collection.Name, count(collection.Records))
	}
	c.printRemarks(report)
}

// openFile opens a backup file. The caller calls close when done with the
// snapshot.
func openFile(ctx context.Context, path string, key *lazyKey, show func(backup.Progress)) (snapshot *backup.Snapshot, close func(), err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	snapshot, err = backup.OpenSnapshot(ctx, f, backup.OpenOptions{
		Identities: []backup.Identity{key},
		Progress:   show,
	})
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return snapshot, func() { snapshot.Close(); f.Close() }, nil
}

// printRemarks prints what a report says beside its numbers.
func (c *cli) printRemarks(report backup.Report) {
	for _, warning := range report.Warnings {
		fmt.Fprintf(c.stdout, "Note: %s\n", printable(warning))
	}
	for _, left := range report.LeftOut {
		fmt.Fprintf(c.stdout, "Left out: %s\n", printable(left.Error()))
	}
}

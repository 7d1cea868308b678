package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
)

func (c *cli) verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check everything about a backup that a restore would check",
		Long: `Check everything about a backup that a restore would check: that it is whole,
that the passphrase opens its secrets, that this version of Tomo can read it,
and every record and reference in it. Nothing is written, and no database is
needed.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return c.verify(cmd.Context(), args[0]) },
	}
	c.passphraseFlag(cmd)
	return cmd
}

// verifyResult is what verify prints with --json.
type verifyResult struct {
	Path     string          `json:"path"`
	Manifest backup.Manifest `json:"manifest"`
	Report   backup.Report   `json:"report"`
}

func (c *cli) verify(ctx context.Context, path string) error {
	show, done := c.progress()
	defer done()
	snapshot, closeSnapshot, err := c.openSnapshot(ctx, path, show)
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
	m := snapshot.Manifest()
	fmt.Fprintf(c.stdout, "%s is whole and can be restored.\n", printable(path))
	fmt.Fprintf(c.stdout, "  made %s by Tomo %s\n", moment(m.CreatedAt), printable(m.ApplicationVersion))
	fmt.Fprintf(c.stdout, "  %s\n", contents(m))
	for _, collection := range report.Collections {
		fmt.Fprintf(c.stdout, "    %-14s %s\n", collection.Name, count(collection.Records))
	}
	c.printRemarks(report)
	return nil
}

// openSnapshot opens a backup file, with the passphrase if there are secrets.
// The caller calls close when done with the snapshot.
func (c *cli) openSnapshot(ctx context.Context, path string, show func(backup.Progress)) (snapshot *backup.Snapshot, close func(), err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	snapshot, err = backup.OpenSnapshot(ctx, f, backup.OpenOptions{
		Identities: []backup.Identity{c.key(ctx, false)},
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

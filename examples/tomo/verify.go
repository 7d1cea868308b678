package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
that the passphrase or the private key opens it, that this version of Tomo can
read it, and every record and reference in it. For a NAME from tomo backup list,
every copy is checked. Nothing is written, and no database is needed.

Without a key, only the digest is checked and that every secret is sealed, and the
result says so. That a backup
is authentic is proved by the passphrase with which it was sealed, or by a
signature of a --trust key.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.isName(args[0]) {
				return c.verifyCopies(cmd.Context(), args[0])
			}
			return c.verify(cmd.Context(), args[0])
		},
	}
	c.locationFlags(cmd)
	c.openFlags(cmd)
	return cmd
}

// verifyCopies checks all copies of a backup.
func (c *cli) verifyCopies(ctx context.Context, name string) error {
	k, err := c.lookAround(ctx)
	if err != nil {
		return err
	}
	defer k.Close()
	if err := k.checkDatabases(ctx); err != nil {
		return err
	}
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
		switch {
		case errors.Is(v.Err, backup.ErrWrongKey), errors.Is(v.Err, backup.ErrNoKey): // nothing is known to be wrong with it
			fmt.Fprintf(c.stdout, "%s could not be checked: it takes another key.\n", path)
		case v.Err != nil:
			fmt.Fprintf(c.stdout, "%s did not pass.\n", path)
		default:
			c.printVerified(path, v.Manifest, v.Report, k.keys.onlyPassphrase())
		}
	}
	c.noteShrunk(ctx, k, name)
	return failed
}

// noteShrunk says what a backup has lost since an earlier one. To check the backup alone
// does not show that.
func (c *cli) noteShrunk(ctx context.Context, k *keeper, name string) {
	backups, _ := k.List(ctx) // the check has told of folders that are down
	for _, b := range backups {
		if b.Name == name && len(b.Shrunk) > 0 {
			fmt.Fprintf(c.stdout, "Note: it has lost most of what an earlier backup had: %s\n", shrinks(b.Shrunk))
		}
	}
}

// verifyResult is what verify of a file prints with --json.
type verifyResult struct {
	Path     string          `json:"path"`
	Manifest backup.Manifest `json:"manifest"`
	Report   backup.Report   `json:"report"`
	Verdict  string          `json:"verdict"`
}

func (c *cli) verify(ctx context.Context, path string) error {
	keys, err := c.keys(ctx)
	if err != nil {
		return err
	}
	show, done := c.progress()
	defer done()
	snapshot, closeSnapshot, err := c.openFile(ctx, path, keys, show)
	if err != nil {
		return fmt.Errorf("verify %s: %w", path, err)
	}
	defer closeSnapshot()
	report, err := c.app.Verify(ctx, snapshot, backup.RestoreOptions{Progress: show})
	if errors.Is(err, backup.ErrNoKey) && len(keys.openers) == 0 {
		text := "no key was given, so the secrets were not opened and the records not checked"
		report, err = backup.Report{Warnings: append([]string{text}, report.Warnings...)}, nil
	}
	if err != nil {
		return fmt.Errorf("verify %s: %w", path, err)
	}
	done()
	if c.json {
		return c.printJSON(verifyResult{path, snapshot.Manifest(), report, c.app.Verdict(snapshot.Manifest(), report)})
	}
	c.printVerified(printable(path), snapshot.Manifest(), report, keys.onlyPassphrase())
	return nil
}

func (c *cli) printVerified(path string, m backup.Manifest, report backup.Report, byPassphrase bool) {
	fmt.Fprintf(c.stdout, "%s %s.\n", path, printable(c.app.Verdict(m, report)))
	fmt.Fprintf(c.stdout, "  made %s by Tomo %s\n", moment(m.CreatedAt), printable(m.ApplicationVersion))
	if m.Installation != "" {
		fmt.Fprintf(c.stdout, "  backup %s of the installation %s\n", count(m.Serial), printable(m.Installation))
	}
	fmt.Fprintf(c.stdout, "  %s\n", c.contents(m))
	if m.Format != "" {
		fmt.Fprintf(c.stdout, "  format %s, described at %s\n", printable(m.Version), printable(m.Format))
	}
	if m.Database {
		c.printRemarks(report)
		return
	}
	fmt.Fprintf(c.stdout, "  authentic: %s\n", proofText(m, byPassphrase))
	if len(m.Keys) > 0 {
		fmt.Fprintf(c.stdout, "  opens with: %s\n", keyNames(m.Keys))
	}
	for _, collection := range report.Collections {
		fmt.Fprintf(c.stdout, "    %-14s %s\n", collection.Name, count(collection.Records))
	}
	c.printRemarks(report)
}

// isOther tells whether a file that is damaged as a backup is something else: it neither
// begins like a backup nor has the first member of one.
func isOther(f io.ReaderAt) bool {
	head := make([]byte, 4096)
	n, err := f.ReadAt(head, 0)
	if head = head[:n]; err != nil && err != io.EOF || bytes.Contains(head, []byte(`"version"`)) || isEncrypted(f) {
		return false
	}
	for _, begin := range []string{"{", "\x1f\x8b", "\x28\xb5\x2f\xfd"} {
		if bytes.HasPrefix(bytes.TrimSpace(head), []byte(begin)) {
			return false
		}
	}
	return n > 0
}

// openFile opens the file of a backup. The caller calls close when done with
// the snapshot.
func (c *cli) openFile(ctx context.Context, path string, keys *keyring, show func(backup.Progress)) (snapshot *backup.Snapshot, close func(), err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; give a NAME from tomo backup list, or the path of a file", err)
	}
	if err != nil {
		return nil, nil, err
	}
	snapshot, err = backup.OpenSnapshot(ctx, f, c.openOptions(keys, show))
	if err != nil {
		if errors.Is(err, backup.ErrNoKey) && len(keys.openers) == 0 {
			err = lockedFor(err, f)
		}
		if errors.Is(err, backup.ErrDamaged) && isOther(f) {
			err = errors.New("this is no backup: a backup is a JSON object, compressed or encrypted or neither")
		}
		f.Close()
		return nil, nil, err
	}
	return snapshot, func() { snapshot.Close(); f.Close() }, nil
}

// printRemarks prints the warnings of a report, and what was left out.
func (c *cli) printRemarks(report backup.Report) {
	for _, warning := range report.Warnings {
		fmt.Fprintf(c.stdout, "Note: %s\n", printable(warning))
	}
	for _, left := range report.LeftOut {
		fmt.Fprintf(c.stdout, "Left out: %s\n", printable(left.Error()))
	}
}

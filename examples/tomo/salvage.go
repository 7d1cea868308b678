package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
)

func (c *cli) salvageCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "salvage FILE --output OUT",
		Short: "Save what is intact in a damaged backup",
		Long: `Save what is intact in a damaged backup. OUT gets each record that can be read
completely, and the losses are listed. FILE may be a NAME from tomo backup list.
It is not changed, and OUT never overwrites a file.

With the passphrase or the private key, the secrets are opened and checked too.
In OUT they are sealed as before. OUT is neither compressed nor encrypted
completely, even if FILE is.

Try another copy and an older backup first. Then add what was salvaged to the
current data: tomo backup restore --input OUT --strategy merge. A restore that
replaces would delete what is lost, so it is refused without --allow-salvaged.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output == "" {
				return usagef("say where the result goes: --output OUT")
			}
			return c.salvage(cmd.Context(), args[0], output)
		},
	}
	cmd.Flags().StringVar(&output, "output", "", "`FILE` to write, which must not exist")
	c.locationFlags(cmd)
	c.identityFlags(cmd) // no proof covers a part of a damaged file
	return cmd
}

// errSalvage begins the error of a salvage. To advise another salvage would be no help.
var errSalvage = errors.New("cannot salvage")

// salvageResult is what salvage prints with --json.
type salvageResult struct {
	Path string `json:"path"`
	backup.SalvageReport
}

func (c *cli) salvage(ctx context.Context, input, output string) error {
	path, err := c.damagedFile(ctx, input)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	keys, err := c.keys(ctx)
	if err != nil {
		return err
	}
	show, done := c.progress()
	defer done()
	opts := backup.SalvageOptions{Name: filepath.Base(path), Identities: keys.openers, Progress: show}
	if len(keys.openers) > 0 && isEncrypted(f) { // then the salvaged part must not be in clear
		back, err := keys.wayBack(true)
		if err != nil {
			return err
		}
		opts.Encrypt = back.encrypt
	}
	var report backup.SalvageReport
	err = publish(ctx, output, false, func(out *os.File) (err error) {
		report, err = c.app.Salvage(ctx, out, f, opts)
		return err
	})
	if err != nil {
		return fmt.Errorf("%w %s: %w", errSalvage, path, err)
	}
	done()
	if c.json {
		c.done("what could be saved was written", func() error { return c.printJSON(salvageResult{output, report}) })
		return nil
	}
	c.printSalvaged(path, output, report)
	return nil
}

// isEncrypted tells whether a file begins like a file that age has encrypted.
func isEncrypted(f io.ReaderAt) bool {
	head := make([]byte, len("-----BEGIN AGE ENCRYPTED FILE-----"))
	n, _ := f.ReadAt(head, 0)
	return bytes.HasPrefix(head[:n], []byte("age-encryption.org/")) || bytes.HasPrefix(head[:n], []byte("-----BEGIN AGE"))
}

// damagedFile returns the path of a file, or of the first copy of a backup.
func (c *cli) damagedFile(ctx context.Context, input string) (string, error) {
	if !c.isName(input) {
		return input, nil
	}
	k, err := c.lookAround(ctx)
	if err != nil {
		return "", err
	}
	defer k.Close()
	for _, folder := range k.folders {
		if path := filepath.Join(folder, input); exists(path) {
			return path, nil
		}
	}
	return filepath.Join(k.folders[0], input), nil
}

const maxLost = 20 // places that are shown

func (c *cli) printSalvaged(input, output string, report backup.SalvageReport) {
	fmt.Fprintf(c.stdout, "Saved from %s\ninto %s.\n\n", printable(input), printable(output))
	fmt.Fprintf(c.stdout, "%s\n\n", printable(report.Manifest.Salvaged.Loss()))
	for _, name := range slices.Sorted(maps.Keys(report.Kept)) {
		line := fmt.Sprintf("  %-14s %s", printable(name), plural(report.Kept[name], "record", "records"))
		if n := report.Missing[name]; n > 0 {
			line += fmt.Sprintf(", %s lost", count(n))
		}
		if n := report.SecretsLost[name]; n > 0 {
			line += fmt.Sprintf(", %s without the secrets", count(n))
		}
		fmt.Fprintln(c.stdout, line)
	}
	for _, name := range slices.Sorted(maps.Keys(report.Missing)) {
		if _, kept := report.Kept[name]; !kept {
			fmt.Fprintf(c.stdout, "  %-14s all lost: %s\n", printable(name), plural(report.Missing[name], "record", "records"))
		}
	}
	if report.Ranges > 0 {
		fmt.Fprintf(c.stdout, "\nNot used of the damaged file: %s in %s:\n", plural(report.LostBytes, "byte", "bytes"), plural(report.Ranges, "place", "places"))
	}
	shown := report.Lost[:min(len(report.Lost), maxLost)]
	for _, lost := range shown {
		what := lost.Collection
		if lost.Key != "" {
			what += " " + lost.Key
		}
		if what != "" {
			what += ": "
		}
		fmt.Fprintf(c.stdout, "  bytes %d to %d: %s%s\n", lost.From, lost.To, printable(what), printable(lost.Reason))
	}
	if more := report.Ranges - int64(len(shown)); more > 0 {
		fmt.Fprintf(c.stdout, "  … and %s more; --json prints the first thousand\n", count(more))
	}
	for _, warning := range report.Warnings {
		fmt.Fprintf(c.stdout, "Note: %s\n", printable(warning))
	}
	fmt.Fprintf(c.stdout, "\nTo add it to the current data: %s\n", c.hint("restore", "--input", output, "--strategy", "merge"))
}

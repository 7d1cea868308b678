package main

import (
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/tomo-project/backup"
)

// sheetText is the recovery sheet. It says what a stranger needs, and nothing of this
// machine.
//
//go:embed sheet.txt
var sheetText string

// newPassphrase returns a passphrase of 120 random bits: six groups of four characters,
// without those that look like another.
func newPassphrase() string {
	const characters = "abcdefghijkmnpqrstuvwxyz23456789" // 32: five bits each
	random := make([]byte, 24)
	rand.Read(random)
	var text strings.Builder
	for i, b := range random {
		if i > 0 && i%4 == 0 {
			text.WriteByte('-')
		}
		text.WriteByte(characters[b%32])
	}
	return text.String()
}

// generatePassphrase writes a new passphrase into a file, and a recovery sheet if that is
// wanted. It overwrites nothing. The passphrase goes into no terminal and no log.
func (c *cli) generatePassphrase(flags generateFlags) error {
	passphrase := newPassphrase()
	if err := writeKey(flags.output, passphrase+"\n"); err != nil {
		return err
	}
	if flags.sheet != "" {
		if err := writeKey(flags.sheet, sheet(passphrase, time.Now())); err != nil {
			return errors.Join(err, os.Remove(flags.output)) // nobody knows the passphrase yet
		}
	}
	if c.json {
		return c.printJSON(generated{Path: flags.output, Type: "passphrase", Sheet: flags.sheet})
	}
	fmt.Fprintf(c.stdout, "Passphrase written: %s\n", printable(flags.output))
	if flags.sheet != "" {
		fmt.Fprintf(c.stdout, "Recovery sheet written: %s\nPrint it, keep it apart from this machine and the backups, and delete the file.\n", printable(flags.sheet))
	} else {
		fmt.Fprintln(c.stdout, "Copy it to a safe place apart from this machine and the backups: without it nobody opens them.")
	}
	fmt.Fprintf(c.stdout, "Make backups with it:\n  tomo backup create --passphrase-file %s\n", quoted(flags.output))
	return nil
}

// sheet returns the recovery sheet of a passphrase.
func sheet(passphrase string, now time.Time) string {
	return strings.NewReplacer(
		"{{passphrase}}", passphrase,
		"{{date}}", now.Format(time.DateOnly),
		"{{format}}", backup.FormatAddress,
		"{{reader}}", strings.TrimSuffix(backup.FormatAddress, path.Base(backup.FormatAddress))+"read_snapshot.py",
	).Replace(sheetText)
}

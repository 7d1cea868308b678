package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

func (c *cli) listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the backups, newest first",
		Long: `List the backups, newest first: where they are, what made them, what they hold, and
whether they are whole. A backup of a part is called partial. Here a backup counts as whole if its beginning and its end are as
they were written. That is quick to check, even for thousands of backups. tomo
backup verify reads a backup completely. A backup with another name, such as
from a script, is always read completely. What an encrypted backup contains is
known from the small file beside it, and otherwise unknown.

A serial numbers the backups of an installation, whatever the clock says. Backups
of another installation of Tomo are listed apart. They are restored only
by name, and no policy deletes them. Files that are not backups of Tomo are not
shown.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.list(cmd.Context()) },
	}
	c.locationFlags(cmd)
	return cmd
}

// listResult is what list prints with --json.
type listResult struct {
	Locations []string         `json:"locations"`
	Backups   []manager.Backup `json:"backups"`
}

func (c *cli) list(ctx context.Context) error {
	k, err := c.lookAround(ctx)
	if err != nil {
		return err
	}
	defer k.Close()
	backups, failed := k.List(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, folder := range k.folders {
		others, err := c.otherBackups(ctx, k, folder, backups)
		if err != nil {
			return err
		}
		backups = append(backups, others...)
	}
	backup.SortNewestFirst(backups, manager.Backup.Dated)
	k.wipe()

	switch {
	case len(backups) == 0 && failed != nil:
		return failed
	case c.json:
		if backups == nil {
			backups = []manager.Backup{} // in JSON an empty list, and not null
		}
		if err := c.printJSON(listResult{k.folders, backups}); err != nil {
			return err
		}
	case len(backups) == 0:
		fmt.Fprintf(c.stdout, "No backups in %s.\n", printable(strings.Join(k.folders, ", ")))
	default:
		if err := c.printList(backups, len(k.folders)); err != nil {
			return err
		}
	}
	return failed // after the content of the other folders
}

// printList prints the backups of this installation, and then those of each other.
func (c *cli) printList(backups []manager.Backup, folders int) error {
	var own []manager.Backup
	var others []string
	of := make(map[string][]manager.Backup)
	for _, b := range backups {
		if !b.Foreign {
			own = append(own, b)
			continue
		}
		id := b.Manifest.Installation
		if of[id] == nil {
			others = append(others, id)
		}
		of[id] = append(of[id], b)
	}
	if len(own) == 0 {
		fmt.Fprintln(c.stdout, "No backups of this installation.")
	} else if err := c.printTable(own, folders); err != nil {
		return err
	}
	for _, id := range others {
		fmt.Fprintf(c.stdout, "\nOf another installation, %s. They are restored only by name:\n", printable(id))
		if err := c.printTable(of[id], folders); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) printTable(backups []manager.Backup, folders int) error {
	table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	copies := ""
	if folders > 1 {
		copies = "COPIES\t"
	}
	serial := ""
	numbered := slices.ContainsFunc(backups, func(b manager.Backup) bool { return b.Manifest != nil && b.Manifest.Serial > 0 })
	if numbered {
		serial = "SERIAL\t"
	}
	fmt.Fprintf(table, "NAME\tTIME\t%sSIZE\tTRIGGER\tHOLDS\tRECORDS\tAPP VERSION\t%sSTATE\n", serial, copies)
	for _, b := range backups {
		records, appVersion := "-", "-"
		if m := b.Manifest; m != nil {
			records, appVersion = count(sum(m.Records)), printable(m.ApplicationVersion)
		}
		if numbered {
			serial = "-\t"
			if b.Manifest != nil && b.Manifest.Serial > 0 {
				serial = fmt.Sprintf("#%d\t", b.Manifest.Serial)
			}
		}
		state, good := stateOf(b)
		holds := orDash(printable(b.Holds))
		if good == 0 || b.Database {
			records = "-" // the counts are at the end of the file
		}
		if good == 0 {
			holds = "-" // nothing, until it is salvaged
		}
		if folders > 1 {
			copies = fmt.Sprintf("%d of %d\t", good, folders)
		}
		fmt.Fprintf(table, "%s\t%s\t%s%s\t%s\t%s\t%s\t%s\t%s%s\n", printable(b.Name), moment(b.CreatedAt), serial, size(b.Bytes), orDash(printable(b.Trigger)), holds, records, appVersion, copies, state)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, b := range backups {
		if b.Manifest != nil && b.Manifest.Salvaged != nil {
			fmt.Fprintf(c.stdout, "\n%s was salvaged. %s\n", printable(b.Name), printable(b.Manifest.Salvaged.Loss()))
		}
	}
	return nil
}

// stateOf says what is known about a backup, and how many of its copies are
// good.
func stateOf(b manager.Backup) (state string, good int) {
	var bad []string
	for _, copy := range b.Copies {
		if copy.Err == nil {
			good++
			continue
		}
		why := reason(copy.Err)
		if len(b.Copies) > 1 {
			why = "at " + copy.Location + " " + why
		}
		bad = append(bad, shortened(printable(why), maxValue))
	}
	var parts []string
	switch {
	case good == 0:
	case b.Manifest != nil && b.Manifest.Salvaged != nil:
		parts = append(parts, "salvaged, see below")
	case b.Database:
		parts = append(parts, "copy of the database")
	case b.Manifest == nil:
		parts = append(parts, "encrypted, not known")
	default:
		parts = append(parts, storedState(b))
	}
	if good > 0 && b.InClear {
		parts = append(parts, "its secrets, if it has any, stand in clear")
	}
	parts = append(parts, bad...)
	if len(b.Shrunk) > 0 {
		parts = append(parts, "shrunk: "+shrinks(b.Shrunk))
	}
	if b.Rekeyed {
		parts = append(parts, "its key is another than before")
	}
	return strings.Join(parts, "; "), good
}

// storedState says in which form the file of a good backup is stored. A backup of a part
// is never called whole.
func storedState(b manager.Backup) string {
	m, state := *b.Manifest, "whole"
	if b.Partial {
		state = "partial"
	}
	// The digest of a compressed or encrypted backup is the digest of the file.
	if m.SHA256 == "" && m.Compressed == "" && !m.Encrypted {
		state = strings.Replace(state, "whole", "readable", 1) + ", without a digest"
	}
	if m.Compressed != "" {
		state += ", " + string(m.Compressed)
	}
	if m.Encrypted {
		state += ", encrypted"
	}
	switch b.KeyState() {
	case manager.KeyUnchecked:
		state += ", no key tried"
	case manager.KeyWrong:
		state += ", sealed with another key"
	}
	return state
}

// otherEndings are the endings of files that may be backups.
var otherEndings = []string{".json", ".json.gz", ".json.zst", ".json.age", ".json.gz.age", ".json.zst.age"}

// otherBackups finds backups of Tomo under names that the library does not
// give, such as those of the script in the guide ("Scripting Backups"), and
// behind links. It leaves out the known ones.
func (c *cli) otherBackups(ctx context.Context, k *keeper, folder string, known []manager.Backup) ([]manager.Backup, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, nil // the list of the Manager reports it
	}
	names := make(map[string]bool)
	for _, b := range known {
		if slices.ContainsFunc(b.Copies, func(c manager.Copy) bool { return c.Location == folder }) {
			names[b.Name] = true
		}
	}
	var found []manager.Backup
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name := entry.Name()
		if names[name] || !slices.ContainsFunc(otherEndings, func(ending string) bool { return strings.HasSuffix(name, ending) }) {
			continue
		}
		path := filepath.Join(folder, name)
		info, err := os.Stat(path) // it follows a link to a backup on another drive
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		b := manager.Backup{Name: name, Bytes: info.Size(), Copies: []manager.Copy{{Location: folder}}}
		if changed := info.ModTime().UTC(); 0 <= changed.Year() && changed.Year() <= 9999 { // JSON has no others
			b.CreatedAt = changed
		}
		manifest, err := readManifest(ctx, path, k.show)
		ownName := strings.HasPrefix(name, c.app.Name+"-backup-")
		switch {
		case errors.Is(err, backup.ErrNoKey) && ownName: // encrypted, and list asks for no key
		case err != nil && ownName:
			b.Damaged, b.Copies[0].Err = true, err
		case err == nil && (manifest.Application == c.app.Name || manifest.Application == "" && ownName):
			b.CreatedAt, b.Trigger, b.Manifest = manifest.CreatedAt, manifest.Metadata["trigger"], &manifest
			b.InClear, b.Holds, b.Partial = c.inClear(manifest), c.app.Holds(manifest), c.app.Partial(manifest)
			b.Foreign = manifest.Installation != "" && k.Installation != "" && manifest.Installation != k.Installation
		default:
			continue // it belongs to somebody else
		}
		found = append(found, b)
	}
	return found, ctx.Err()
}

// inClear says of a backup that the Manager does not know what Backup.InClear says.
func (c *cli) inClear(m backup.Manifest) bool {
	return !m.Sealed && !m.Encrypted && slices.ContainsFunc(c.app.Collections, func(col backup.Collection) bool { return len(col.Secrets) > 0 && m.Records[col.Name] > 0 })
}

// reason says in short why a file could not be read as a snapshot.
func reason(err error) string {
	kind, text := "unreadable", err.Error()
	if errors.Is(err, backup.ErrDamaged) {
		kind = "damaged"
	}
	for _, known := range []error{backup.ErrDamaged, backup.ErrFormat, backup.ErrTooNew} {
		if _, after, found := strings.Cut(text, known.Error()+": "); found {
			text = after
		}
	}
	return kind + ": " + text
}

// readManifest reads a whole snapshot without a key.
func readManifest(ctx context.Context, path string, show func(backup.Progress)) (backup.Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return backup.Manifest{}, err
	}
	defer f.Close()
	snapshot, err := backup.OpenSnapshot(ctx, f, backup.OpenOptions{Progress: show})
	if err != nil {
		return backup.Manifest{}, err
	}
	return snapshot.Manifest(), snapshot.Close()
}

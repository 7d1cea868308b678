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
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
)

// listed is a file that list shows.
type listed struct {
	Name     string           `json:"name"`
	Path     string           `json:"path"`
	Time     time.Time        `json:"time"` // of the snapshot; of the file if it cannot be read
	Bytes    int64            `json:"bytes"`
	Whole    bool             `json:"whole"`
	Reason   string           `json:"reason,omitempty"` // why it is not whole
	Manifest *backup.Manifest `json:"manifest,omitempty"`
}

func (c *cli) listCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the backups in a folder, newest first",
		Long: `List the backups in a folder, newest first. Each file is read to its end, so
that the list tells which ones are whole. Files that are not backups of Tomo
are not shown.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.list(cmd.Context(), dir) },
	}
	cmd.Flags().StringVar(&dir, "dir", "", "`FOLDER` to list (default: backups beside the database)")
	return cmd
}

func (c *cli) list(ctx context.Context, dir string) error {
	isDefault := dir == ""
	if isDefault {
		path, err := c.databaseFile()
		if err != nil {
			return err
		}
		dir = c.backupDir(path)
	}
	backups, err := c.findBackups(ctx, dir)
	if isDefault && errors.Is(err, fs.ErrNotExist) { // no backup was made yet
		backups, err = []listed{}, nil
	}
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(struct {
			Dir     string   `json:"dir"`
			Backups []listed `json:"backups"`
		}{dir, backups})
	}
	if len(backups) == 0 {
		fmt.Fprintf(c.stdout, "No backups in %s.\n", printable(dir))
		return nil
	}
	table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tTIME\tSIZE\tRECORDS\tSEALED\tAPP VERSION\tSTATE")
	for _, b := range backups {
		records, sealed, appVersion, state := "-", "-", "-", "whole"
		if m := b.Manifest; m != nil {
			records, sealed, appVersion = count(sum(m.Records)), "no", printable(m.ApplicationVersion)
			if m.Sealed {
				sealed = "yes"
			}
			if m.SHA256 == "" {
				state = "readable, without a digest"
			}
		}
		if !b.Whole {
			state = shortened(printable(b.Reason), maxValue)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable(b.Name), moment(b.Time), size(b.Bytes), records, sealed, appVersion, state)
	}
	return table.Flush()
}

// findBackups opens every file of dir that may be a backup of Tomo.
func (c *cli) findBackups(ctx context.Context, dir string) ([]listed, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	show, done := c.progress()
	defer done()
	backups := []listed{} // never null in JSON
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !strings.HasSuffix(entry.Name(), ".json") {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		info, err := os.Stat(path) // a link to a backup on another drive is a backup
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		b := listed{Name: entry.Name(), Path: path, Time: info.ModTime(), Bytes: info.Size()}
		manifest, err := readManifest(ctx, path, show)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		ownName := strings.HasPrefix(b.Name, c.app.Name+"-backup-")
		switch {
		case err != nil && ownName:
			if t, ok := c.app.ParseBackupName(b.Name); ok {
				b.Time = t
			}
			b.Reason = reason(err)
		case err == nil && (manifest.Application == c.app.Name || manifest.Application == "" && ownName):
			b.Time, b.Whole, b.Manifest = manifest.CreatedAt, true, &manifest
		default:
			continue // somebody else's
		}
		backups = append(backups, b)
	}
	slices.SortStableFunc(backups, func(a, b listed) int {
		if order := b.Time.Compare(a.Time); order != 0 {
			return order
		}
		return strings.Compare(b.Name, a.Name)
	})
	return backups, nil
}

// reason says shortly why a file could not be read as a snapshot.
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

// readManifest reads a snapshot to its end, without a key.
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

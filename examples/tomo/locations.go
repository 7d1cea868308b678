package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup/location"
)

// A folder is the value of a flag. Set makes it absolute, and refuses the empty
// path of an unset variable in a script, which would be the working directory.
type folder string

// Set implements pflag.Value, as the next two methods do.
func (f *folder) Set(path string) error {
	if path == "" {
		return errors.New("the path is empty")
	}
	path, err := filepath.Abs(path)
	*f = folder(path)
	return err
}

func (f *folder) String() string { return string(*f) }
func (f *folder) Type() string   { return "folder" }

// folders is the value of a flag that may be repeated and names a folder each
// time.
type folders []folder

// Set implements pflag.Value, as the next two methods do.
func (f *folders) Set(path string) error {
	var next folder
	err := next.Set(path)
	*f = append(*f, next)
	return err
}

func (f *folders) String() string { return "" }
func (f *folders) Type() string   { return "folder" }

// locationFlags adds the flags that say where the backups are.
func (c *cli) locationFlags(cmd *cobra.Command) {
	cmd.Flags().Var(&c.dir, "dir", "`FOLDER` of the backups (default: from the settings backup_dir and backup_locations, or backups beside the database)")
	cmd.Flags().Var(&c.further, "location", "another `FOLDER` for copies, such as one on another drive; may be repeated")
}

// locations returns the first folder and the further folders. The latter come
// from the settings, unless --dir is given, and from --location.
func (c *cli) locations(s settings) ([]location.Location, error) {
	first, err := c.firstLocation(s)
	if err != nil {
		return nil, err
	}
	locations := []location.Location{first}
	same := func(path string, as []location.Location) location.Location {
		for _, l := range as {
			if known := fmt.Sprint(l); known == path || sameFile(known, path) {
				return l
			}
		}
		return nil
	}
	if c.dir == "" {
		further, err := s.locations()
		if err != nil {
			return nil, err
		}
		for _, path := range further {
			if known := same(path, locations); known != nil {
				return nil, fmt.Errorf("the settings have one folder of backups twice: %s is the same as %s; remove one", path, known)
			}
			locations = append(locations, location.Dir(path))
		}
	}
	ofSettings := locations[1:len(locations):len(locations)]
	for _, f := range c.further {
		if same(string(f), ofSettings) != nil {
			continue
		}
		if known := same(string(f), locations); known != nil {
			return nil, usagef("--location %s: the same folder as %s", f, known)
		}
		locations = append(locations, location.Dir(f))
	}
	return locations, nil
}

// firstLocation returns the folder of --dir, or of the settings, or else the
// folder beside the database.
func (c *cli) firstLocation(s settings) (location.Location, error) {
	if c.dir != "" {
		return location.Dir(c.dir), nil
	}
	if dir, err := s.dir(); dir != "" || err != nil {
		return location.Dir(dir), err
	}
	path, err := c.databaseFile()
	if err != nil {
		return nil, err
	}
	return ownFolder(path)
}

func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// keepWayBackElsewhere puts the folders of the settings before those of k, if the folder
// of --dir is on read-only media. Otherwise nothing could be restored from there,
// since a restore stores what it replaces.
func (c *cli) keepWayBackElsewhere(k *keeper) error {
	if c.dir == "" || !readOnlyFolder(string(c.dir)) {
		return nil
	}
	fmt.Fprintf(c.stderr, "tomo: %s cannot be written to, so what the restore replaces goes to the folders of the settings\n", printable(string(c.dir)))
	c.dir = "" // undo looks there
	locations, err := c.locations(k.settings)
	if err != nil {
		return err
	}
	var folders []string
	for _, l := range locations {
		folders = append(folders, fmt.Sprint(l))
	}
	for i, folder := range k.folders {
		if !slices.Contains(folders, folder) {
			locations, folders = append(locations, k.Locations[i]), append(folders, folder)
		}
	}
	k.Locations, k.folders = locations, folders
	return nil
}

// readOnlyFolder tells whether a folder is on a file system that is mounted for
// reading only.
func readOnlyFolder(path string) bool {
	f, err := os.CreateTemp(path, tempPattern)
	if err == nil {
		f.Close()
		os.Remove(f.Name())
	}
	return errors.Is(err, syscall.EROFS)
}

// ownFolder returns the default folder, beside the database at path. It is made
// with the database, or by the first command that stores a backup. Nothing makes
// it a second time: if it is missing later, it had backups that are missing too.
func ownFolder(path string) (location.Dir, error) {
	path, err := filepath.Abs(filepath.Join(filepath.Dir(path), "backups"))
	return location.Dir(path), err
}

func isOwnFolder(l location.Location, path string) bool {
	folder, err := ownFolder(path)
	return err == nil && l == location.Location(folder)
}

// makeOwnFolder makes the default folder.
func makeOwnFolder(path string) error {
	folder, err := ownFolder(path)
	if err != nil {
		return err
	}
	return folder.Make()
}

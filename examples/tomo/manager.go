package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
)

// A folder is the value of a flag, made absolute. It cannot be empty: that of
// an unset variable in a script would be the working directory.
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

// folders is a folder for each time that the flag is given.
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
	cmd.Flags().Var(&c.dir, "dir", "`FOLDER` of the backups (default: those of the settings backup_dir and backup_locations, or backups beside the database)")
	cmd.Flags().Var(&c.further, "location", "further `FOLDER` with copies, such as one on another drive; may be repeated")
}

// policyFlags are the rules of retention.
type policyFlags struct {
	backup.Retention
	days  int
	given bool
}

func (f *policyFlags) add(cmd *cobra.Command) {
	rule := func(n *int, name, usage string) { cmd.Flags().Var(&ruleFlag{n, &f.given}, name, usage) }
	rule(&f.Last, "keep-last", "keep the last `N` backups")
	rule(&f.days, "keep-days", "keep the backups of the last `N` days before the newest")
	rule(&f.Hourly, "keep-hourly", "keep the newest backup of each of the last `N` hours that have one")
	rule(&f.Daily, "keep-daily", "the same for `N` days")
	rule(&f.Weekly, "keep-weekly", "the same for `N` weeks")
	rule(&f.Monthly, "keep-monthly", "the same for `N` months")
	rule(&f.Yearly, "keep-yearly", "the same for `N` years")
}

// A ruleFlag takes a whole number from 0.
type ruleFlag struct {
	n     *int
	given *bool
}

// Set implements pflag.Value, as the next two methods do.
func (f *ruleFlag) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return errors.New("want a whole number from 0")
	}
	*f.n, *f.given = n, true
	return nil
}

func (f *ruleFlag) String() string { return "" }
func (f *ruleFlag) Type() string   { return "int" }

// retention returns the policy of the flags, or if none was given that of the
// settings: half of one and half of the other would be nobody's.
func (f policyFlags) retention(s settings) (r backup.Retention, err error) {
	r = f.Retention
	r.Within = inDays(f.days)
	if !f.given {
		if r, err = s.retention(); err != nil {
			return r, err
		}
	}
	r.Location, err = s.zone()
	return r, err
}

// A keeper is the Manager of this run, with what a command needs beside it.
type keeper struct {
	*backup.Manager
	database *database // nil: there is none, and the command can do without
	settings settings
	keys     *keyring
	folders  []string // the Locations

	show func(backup.Progress)
	wipe func() // the progress bar

	mu     sync.Mutex
	failed []backup.Event // what did not end the operation
}

// openKeeper opens the database and makes the Manager for a command that cannot
// do without one. If it is going to store something the default folder is made.
func (c *cli) openKeeper(ctx context.Context, stores bool) (*keeper, error) {
	db, err := c.openDatabase(ctx)
	if err != nil {
		return nil, err
	}
	k, err := c.newKeeper(ctx, db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if own, ok := k.Locations[0].(ownFolder); ok && stores {
		if err := own.Make(); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return k, nil
}

// lookAround makes the Manager for a command that is of use without a database
// too: when it is lost, somebody will want to know what backups there are.
func (c *cli) lookAround(ctx context.Context) (*keeper, error) {
	path, err := c.databaseFile()
	if err != nil {
		return nil, err
	}
	var db *database
	if exists(path) {
		if db, err = c.openDatabase(ctx); err != nil {
			fmt.Fprintf(c.stderr, "tomo: going on without the settings: %s\n", printable(err.Error()))
		}
	}
	k, err := c.newKeeper(ctx, db)
	if err != nil && db != nil {
		db.Close()
	}
	return k, err
}

// newKeeper is for the two before. db may be nil.
func (c *cli) newKeeper(ctx context.Context, db *database) (*keeper, error) {
	keys, err := c.keys(ctx)
	if err != nil {
		return nil, err
	}
	k := &keeper{database: db, keys: keys}
	if db != nil {
		if k.settings, err = readSettings(ctx, db); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			fmt.Fprintf(c.stderr, "tomo: going on without the settings: %s\n", printable(err.Error()))
		}
	}
	locations, err := c.locations(k.settings)
	if err != nil {
		return nil, err
	}
	for _, location := range locations {
		k.folders = append(k.folders, fmt.Sprint(location))
	}
	k.show, k.wipe = c.progress()
	k.Manager = c.newManager(db, keys, locations)
	k.OnEvent = k.note
	return k, nil
}

// newManager makes a Manager of the App with these keys. db may be nil.
func (c *cli) newManager(db *database, keys *keyring, locations []backup.Location) *backup.Manager {
	m := &backup.Manager{
		App:          c.app,
		Locations:    locations,
		Identities:   keys.openers,
		RequireProof: c.open.requireProof,
		Trusted:      keys.trusted,
		Scratch:      scratchDatabase,
	}
	if db != nil {
		m.Source, m.Sink = db.store, db.store
	}
	return m
}

// storing returns a Manager for what a restore replaces: who can open that follows
// from what opened the backup. It need not be proven, unlike what is restored: who
// restores with a private key alone has nothing to prove it with.
func (k *keeper) storing(s sealing) *backup.Manager {
	return &backup.Manager{
		App:        k.App,
		Source:     k.Source,
		Sink:       k.Sink,
		Locations:  k.Locations,
		Recipients: s.recipients,
		Identities: k.Identities,
		Encrypt:    s.encrypt,
		Signer:     k.keys.signer,
		OnEvent:    k.note,
	}
}

func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// locations are the first one and the further folders: those of the settings,
// unless --dir is given, and of --location.
func (c *cli) locations(s settings) ([]backup.Location, error) {
	first, err := c.firstLocation(s)
	if err != nil {
		return nil, err
	}
	locations := []backup.Location{first}
	same := func(path string, as []backup.Location) backup.Location {
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
				return nil, fmt.Errorf("the settings have one folder of backups twice: %s is %s; take one out", path, known)
			}
			locations = append(locations, backup.Dir(path))
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
		locations = append(locations, backup.Dir(f))
	}
	return locations, nil
}

// firstLocation is the folder of --dir, of the settings, or the one beside the
// database.
func (c *cli) firstLocation(s settings) (backup.Location, error) {
	if c.dir != "" {
		return backup.Dir(c.dir), nil
	}
	if dir, err := s.dir(); dir != "" || err != nil {
		return backup.Dir(dir), err
	}
	path, err := c.databaseFile()
	if err != nil {
		return nil, err
	}
	path, err = filepath.Abs(filepath.Join(filepath.Dir(path), "backups"))
	return ownFolder{backup.Dir(path)}, err
}

// An ownFolder is the default one. No drive has to be mounted for it, so it is
// made by who puts something there, and until then it has nothing.
type ownFolder struct{ backup.Dir }

// List implements [backup.Location].
func (f ownFolder) List(ctx context.Context) ([]backup.File, error) {
	files, err := f.Dir.List(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return files, err
}

// note is told by the Manager what happens.
func (k *keeper) note(e backup.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case e.Kind == backup.EventProgress && k.show != nil:
		k.show(*e.Progress)
	case e.Kind == backup.EventFailed && e.Location != "":
		k.failed = append(k.failed, e)
	}
}

// warn tells what went wrong beside what was done.
func (c *cli) warn(k *keeper) {
	for _, e := range k.failed {
		text := e.Err.Error()
		if e.Backup != "" {
			text = e.Backup + ": " + text
		}
		fmt.Fprintf(c.stderr, "tomo: warning: not at %s: %s\n", printable(e.Location), printableLines(text))
	}
}

// Close ends the bar and closes the database.
func (k *keeper) Close() {
	k.wipe()
	if k.database != nil {
		k.database.Close()
	}
}

// isName reports whether an argument is the name of a backup at the locations.
// An existing file is meant as the file that it is.
func (c *cli) isName(arg string) bool {
	_, ok := c.app.ParseBackupName(arg)
	return ok && !exists(arg)
}

// hint is a command for a person to run next, on the same database and folders.
func (c *cli) hint(args ...string) string {
	words := []string{"tomo"}
	if c.databasePath != "" {
		words = append(words, "--db", quoted(c.databasePath))
	}
	words = append(words, "backup")
	for _, arg := range args {
		words = append(words, quoted(arg))
	}
	if c.dir != "" {
		words = append(words, "--dir", quoted(string(c.dir)))
	}
	for _, f := range c.further {
		words = append(words, "--location", quoted(string(f)))
	}
	return strings.Join(words, " ")
}

// quoted is an argument as a shell takes it, fit for a terminal.
func quoted(arg string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_./+:,=@", r)
	}
	if strings.ContainsFunc(arg, func(r rune) bool { return !plain(r) }) {
		arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	return printable(arg)
}

// explainMissing adds to the error about a name that no location has where to
// look. A folder that is missing has an advice of its own.
func explainMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) && !strings.Contains(err.Error(), "the folder is missing") {
		return fmt.Errorf("%w\n  (which backups there are, tomo backup list shows)", err)
	}
	return err
}

// scratchDatabase makes an empty database for a drill. The master key of its
// secrets is in no file: what is left of it if the drill is killed opens to nobody.
func scratchDatabase(ctx context.Context) (backup.Store, func() error, error) {
	dir, err := os.MkdirTemp("", "tomo-drill-") // for the owner only
	if err != nil {
		return nil, nil, err
	}
	path := filepath.Join(dir, "tomo.db")
	db, err := makeTables(ctx, path)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	db.store.useKey(newMasterKey())
	return db.store, func() error { return errors.Join(db.Close(), os.RemoveAll(dir)) }, nil
}

// span writes a duration for a person.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return plural(int64(d/time.Minute), "minute", "minutes")
	case d < 48*time.Hour:
		return plural(int64(d/time.Hour), "hour", "hours")
	}
	return plural(int64(d/(24*time.Hour)), "day", "days")
}

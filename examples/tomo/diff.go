package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
)

// diffFlags are the flags of tomo backup diff.
type diffFlags struct {
	only []string
	all  bool
}

func (c *cli) diffCommand() *cobra.Command {
	var flags diffFlags
	cmd := &cobra.Command{
		Use:   "diff FROM [TO]",
		Short: "Show what changed between two backups, or since one",
		Long: `Show what changed between two backups, record by record and field by field.
Without TO, show what changed in the database since the backup FROM. Each is a
NAME from tomo backup list or any FILE. If there is a file called NAME here, the
file is meant. The passphrase or the private keys of --identity open them.

  + servers s3 (nas)      was added
  - servers s2 (pi)       was deleted
  ~ servers s1 (tower)    was changed

Records are compared by their keys, in today's form: what only was migrated or
sealed again has not changed. A secret that changed reads "(secret)". A
collection that only one of the two has is not compared, and is named.

In a terminal, at most a screen is shown, in colours unless NO_COLOR is set.
--all shows all. Into a file or another program go all changes, without colours.
Long values are cut, but not by --json.

The exit status is 0 whether something changed or not.`,
		Args: arguments(cobra.MaximumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("say which backup: a NAME from tomo backup list, or a FILE")
			}
			if err := c.checkCollections(cmd, "only", flags.only); err != nil {
				return err
			}
			return c.diff(cmd.Context(), args, flags)
		},
	}
	cmd.Flags().StringSliceVar(&flags.only, "only", nil, "`COLLECTIONS` to show, such as servers,users")
	cmd.Flags().BoolVar(&flags.all, "all", false, "show all changes, also if they fill more than a screen")
	c.locationFlags(cmd)
	c.openFlags(cmd)
	return cmd
}

// A compared is one of the two things that diff compares, as --json shows it: a backup, or
// the database.
type compared struct {
	Backup   string           `json:"backup,omitempty"`
	Manifest *backup.Manifest `json:"manifest,omitempty"`
	Database string           `json:"database,omitempty"`

	data         backup.DataSource
	installation string
}

// String names it for people.
func (d compared) String() string {
	if d.Manifest == nil {
		return "the database"
	}
	return printable(d.Backup)
}

func (c *cli) diff(ctx context.Context, args []string, flags diffFlags) error {
	open := c.lookAround
	if len(args) == 1 {
		open = func(ctx context.Context) (*keeper, error) { return c.openKeeper(ctx, false) }
	}
	k, err := open(ctx)
	if err != nil {
		return err
	}
	defer k.Close()
	var sides []compared
	for _, arg := range args {
		snapshot, closeSnapshot, err := c.openBackup(ctx, k, arg)
		if err != nil && !strings.HasPrefix(err.Error(), "open "+arg+": ") {
			err = fmt.Errorf("open %s: %w", arg, err)
		}
		if err != nil {
			return err
		}
		defer closeSnapshot()
		m := snapshot.Manifest()
		sides = append(sides, compared{Backup: arg, Manifest: &m, data: snapshot, installation: m.Installation})
	}
	if len(sides) == 1 {
		sides = append(sides, compared{Database: k.database.path, data: k.Source, installation: k.Installation})
	}
	k.wipe()
	d := &diffing{from: sides[0], to: sides[1], counts: make(map[string]int64)}
	changes := d.changes(k.App.Diff(ctx, d.from.data, d.to.data), flags.only)
	if c.json {
		return d.printJSON(c.stdout, changes)
	}
	return c.printDiff(d, changes, flags)
}

// diffing is what is known of a difference while its changes are printed.
type diffing struct {
	from, to compared

	added, changed, deleted int64
	counts                  map[string]int64 // by collection
	order                   []string         // of the collections
	skipped                 []backup.Change  // the collections that were not compared
}

// changes yields the changes of records in the collections that are wanted, and counts them.
func (d *diffing) changes(all iter.Seq2[backup.Change, error], only []string) iter.Seq2[backup.Change, error] {
	return func(yield func(backup.Change, error) bool) {
		for change, err := range all {
			if err == nil && only != nil && !slices.Contains(only, change.Collection) {
				continue
			}
			switch change.Action {
			case backup.Skip:
				d.skipped = append(d.skipped, change)
				continue
			case backup.Add:
				d.added++
			case backup.Delete:
				d.deleted++
			case backup.Update:
				d.changed++
			}
			if err == nil {
				if d.counts[change.Collection]++; d.counts[change.Collection] == 1 {
					d.order = append(d.order, change.Collection)
				}
			}
			if !yield(change, err) {
				return
			}
		}
		for _, name := range only {
			if d.neitherHas(name) {
				d.skipped = append(d.skipped, backup.Change{Collection: name, Action: backup.Skip})
			}
		}
	}
}

// neitherHas tells whether two backups are known to lack a collection.
func (d *diffing) neitherHas(name string) bool {
	for _, side := range []compared{d.from, d.to} {
		if side.Manifest == nil || side.Manifest.Records == nil || d.counts[name] > 0 {
			return false
		}
		if _, has := side.Manifest.Records[name]; has {
			return false
		}
	}
	return !slices.ContainsFunc(d.skipped, func(c backup.Change) bool { return c.Collection == name })
}

// notes says what must be known to understand the changes.
func (d *diffing) notes() (notes []string) {
	if from, to := d.from.installation, d.to.installation; from != "" && to != "" && from != to {
		notes = append(notes, fmt.Sprintf("%s and %s are of different installations: the same key may stand for two different things", d.from, d.to))
	}
	for _, side := range []compared{d.from, d.to} {
		m := side.Manifest
		if m == nil {
			continue
		}
		if m.Salvaged != nil {
			notes = append(notes, fmt.Sprintf("%s was salvaged, and what it lost looks as if it was not there then. %s", side, printable(m.Salvaged.Loss())))
		}
		for _, name := range slices.Sorted(maps.Keys(m.Missing)) {
			notes = append(notes, fmt.Sprintf("%s lacks %s of %s that were not valid, which look as if they were not there then", side, plural(m.Missing[name], "record", "records"), printable(name)))
		}
	}
	return append(notes, d.notCompared()...)
}

// notCompared says which collections were not compared, and why.
func (d *diffing) notCompared() (notes []string) {
	var onlyFrom, onlyTo, unknown, missing []string
	for _, change := range d.skipped {
		of := append(change.Fields, backup.FieldChange{})[0]
		name := printable(change.Collection)
		if n := cmp.Or(string(of.Before), string(of.After), "null"); n != "null" {
			name += " (records: " + printable(n) + ")"
		}
		switch {
		case of.Before != nil && of.After != nil:
			unknown = append(unknown, printable(change.Collection))
		case of.Before != nil:
			onlyFrom = append(onlyFrom, name)
		case of.After != nil:
			onlyTo = append(onlyTo, name)
		default:
			missing = append(missing, name)
		}
	}
	add := func(why string, names []string) {
		if len(names) > 0 {
			notes = append(notes, fmt.Sprintf("not compared, because %s: %s", why, strings.Join(names, ", ")))
		}
	}
	add(fmt.Sprintf("only %s has it", d.from), onlyFrom)
	add(fmt.Sprintf("only %s has it", d.to), onlyTo)
	add("this Tomo does not know it", unknown)
	add("neither has it", missing)
	return notes
}

// printJSON prints a difference as one document. There may be millions of changes.
func (d *diffing) printJSON(w io.Writer, changes iter.Seq2[backup.Change, error]) error {
	head, err := json.Marshal(struct {
		From compared `json:"from"`
		To   compared `json:"to"`
	}{d.from, d.to})
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, `%s,"changes":[`, head[:len(head)-1])
	if err := writeChanges(out, changes); err != nil {
		return err
	}
	tail, err := json.Marshal(struct {
		Added       int64           `json:"added"`
		Changed     int64           `json:"changed"`
		Deleted     int64           `json:"deleted"`
		NotCompared []backup.Change `json:"not_compared,omitempty"`
		Notes       []string        `json:"notes,omitempty"`
	}{d.added, d.changed, d.deleted, d.skipped, d.notes()})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n],%s\n", tail[1:])
	return out.Flush()
}

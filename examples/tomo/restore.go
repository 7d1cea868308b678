package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

// restoreFlags are the flags of tomo backup restore.
type restoreFlags struct {
	input    string // the path of a file or the name of a backup
	full     bool
	only     []string
	strategy string
	dryRun   bool
	untried  bool
	yes      bool

	leaveOutInvalid bool
	allowNewer      bool
	allowUnknown    bool
	allowDangling   bool
	skipClashes     bool
	allowSalvaged   bool
	backupSettings  bool
}

func (c *cli) restoreCommand() *cobra.Command {
	var flags restoreFlags
	cmd := &cobra.Command{
		Use:   "restore NAME | restore --input FILE",
		Short: "Restore a backup into the database",
		Long: `Restore a backup into the database, completely or not at all. It is a NAME from
tomo backup list or any FILE. If there is a file called NAME here, the file is
meant. The passphrase or the private keys of --identity open it.

What the restore replaces is stored as a backup first, and tomo backup undo
brings it back. That backup is sealed for the keys of --recipient, or else with
the passphrase, or without one for the private key that opened the restored
backup. It is encrypted completely if the restored backup is.

  --full                  replaces ALL current data, and asks first
  --only servers,users    restores these collections only
  neither                 restores every collection that the backup has

The --strategy decides about records that are on both sides and differ:

  skip-duplicates         keeps the current record (the default: only missing
                          records are added)
  merge                   takes the record of the backup, member by member
  replace                 takes the record of the backup, and deletes records
                          that the backup does not have; asks first

The settings of backups stay those of this machine, unless --backup-settings is
given or nothing was set here yet. If other folders come from the backup, those
of this machine stay in use beside them.

--dry-run shows, record by record, what would happen. The restore is tried, and
rolled back, so what the database refuses shows too. With --untried it is only
compared, which is faster. The question before a restore is asked after a trial.`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && flags.input != "" {
				return usagef("restore one backup: either %s or --input %s", args[0], flags.input)
			}
			if len(args) > 0 {
				flags.input = args[0]
			}
			if flags.input == "" {
				return usagef("say which backup: a NAME from tomo backup list, or --input FILE")
			}
			if err := c.checkCollections(cmd, "only", flags.only); err != nil {
				return err
			}
			if flags.untried && !flags.dryRun {
				return usagef("--untried goes with --dry-run only: a restore finds out what the database takes")
			}
			strategy, err := flags.chosen(cmd.Flags().Changed("strategy"))
			if err != nil {
				return err
			}
			if strategy == backup.Replace && !flags.yes && !flags.dryRun && !c.interactive() {
				return usagef("this replaces current data, and there is no terminal to ask for consent: add --yes, or --dry-run to see what would happen")
			}
			return c.restore(cmd.Context(), flags, strategy)
		},
	}
	cmd.Flags().StringVar(&flags.input, "input", "", "`FILE` to restore, or a name from tomo backup list")
	cmd.Flags().BoolVar(&flags.full, "full", false, "replace ALL current data")
	cmd.Flags().StringSliceVar(&flags.only, "only", nil, "`COLLECTIONS` to restore, such as servers,users")
	cmd.Flags().StringVar(&flags.strategy, "strategy", string(backup.SkipDuplicates), "merge, replace or skip-duplicates")
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "try it, show what would happen, and change nothing")
	cmd.Flags().BoolVar(&flags.untried, "untried", false, "with --dry-run: compare only, and try nothing")
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "do not ask before current data is replaced")
	cmd.Flags().BoolVar(&flags.leaveOutInvalid, "leave-out-invalid", false, "leave out records that are not valid, and name them")
	cmd.Flags().BoolVar(&flags.allowNewer, "allow-newer", false, "accept a backup from a newer Tomo, if its data has the same form")
	cmd.Flags().BoolVar(&flags.allowUnknown, "allow-unknown", false, "leave out collections that this Tomo does not know")
	cmd.Flags().BoolVar(&flags.allowDangling, "allow-dangling", false, "accept references to records that do not exist, and name them")
	cmd.Flags().BoolVar(&flags.skipClashes, "skip-clashes", false, "leave out records that clash with current ones over a unique value, and name them")
	cmd.Flags().BoolVar(&flags.allowSalvaged, "allow-salvaged", false, "replace current data even from a salvaged file, which lacks records")
	cmd.Flags().BoolVar(&flags.backupSettings, "backup-settings", false, "take the settings of backups from the backup too: folders, schedule, what is kept")
	c.locationFlags(cmd)
	c.openFlags(cmd)
	c.recipientFlags(cmd, "what is replaced")
	return cmd
}

// chosen returns the strategy of the flags. changed tells whether --strategy was given.
func (f restoreFlags) chosen(changed bool) (backup.Strategy, error) {
	strategy := backup.Strategy(f.strategy)
	if strategy == "" || strategy.Validate() != nil {
		return "", usagef("--strategy %q: want merge, replace or skip-duplicates", f.strategy)
	}
	if f.full {
		if len(f.only) > 0 {
			return "", usagef("--full and --only exclude each other")
		}
		if changed && strategy != backup.Replace {
			return "", usagef("--full replaces all data: remove --strategy %s, or --full", f.strategy)
		}
		strategy = backup.Replace
	}
	return strategy, nil
}

func (c *cli) restore(ctx context.Context, flags restoreFlags, strategy backup.Strategy) error {
	k, err := c.openKeeper(ctx, !flags.dryRun)
	if err != nil {
		return err
	}
	defer k.Close()
	failed := func(err error) error {
		if strings.HasPrefix(err.Error(), "open "+flags.input+": ") { // it names the backup
			return fmt.Errorf("restore failed%s: %w", unchanged(err), err)
		}
		return fmt.Errorf("restore failed%s: %s: %w", unchanged(err), flags.input, err)
	}
	snapshot, closeSnapshot, err := c.openBackup(ctx, k, flags.input)
	if err != nil {
		return failed(err)
	}
	defer closeSnapshot()
	manager, back := k.Manager, sealing{}
	if !flags.dryRun {
		if m := snapshot.Manifest(); m.Sealed && len(k.keys.openers) == 0 && k.keys.recipients == nil {
			return failed(opensWith(fmt.Errorf("%w: its secrets are sealed, and no key was given to open them", backup.ErrNoKey), m.Keys))
		}
		if back, err = k.keys.wayBack(snapshot.Manifest().Encrypted); err != nil {
			return failed(err)
		}
		if err := c.keepWayBackElsewhere(k); err != nil {
			return failed(err)
		}
		manager = k.storing(back)
	}

	opts := backup.RestoreOptions{
		Only:            flags.only,
		Strategy:        strategy,
		AllowNewerApp:   flags.allowNewer,
		AllowUnknown:    flags.allowUnknown,
		AllowDangling:   flags.allowDangling,
		SkipClashes:     flags.skipClashes,
		Untried:         flags.untried,
		AllowSalvaged:   flags.allowSalvaged,
		LeaveOutInvalid: flags.leaveOutInvalid,
		TakeOwn:         flags.backupSettings,
		Progress:        k.show,
	}
	if !flags.dryRun && (flags.yes || strategy != backup.Replace) {
		report, err := manager.Restore(ctx, snapshot, opts)
		if err != nil {
			return failed(err)
		}
		k.wipe()
		c.restored(ctx, k, report, back)
		return nil
	}
	plan, err := manager.Plan(ctx, snapshot, opts)
	if err != nil {
		return failed(err)
	}
	k.wipe()
	if flags.dryRun {
		if c.json {
			return c.printPlanJSON(ctx, plan)
		}
		return c.printPlan(ctx, plan, flags, k.database.path)
	}
	what := "ALL current data"
	if len(flags.only) > 0 {
		what = "the current " + strings.Join(flags.only, ", ")
	}
	agreed, err := c.askReplace(ctx, what, k.database.path, plan.Report())
	if err != nil {
		return err
	}
	if !agreed {
		return errors.New("not confirmed: nothing was changed")
	}
	report, err := manager.Apply(ctx, plan)
	if err != nil {
		return failed(err)
	}
	k.wipe()
	c.restored(ctx, k, report, back)
	return nil
}

// openBackup opens a backup by its name or its file. The caller calls close
// when done with the snapshot.
func (c *cli) openBackup(ctx context.Context, k *keeper, input string) (snapshot *backup.Snapshot, close func(), err error) {
	if !c.isName(input) {
		return c.openFile(ctx, input, k.keys, k.show)
	}
	snapshot, err = k.Open(ctx, input)
	if err != nil {
		return nil, nil, explainMissing(err)
	}
	return snapshot, func() { snapshot.Close() }, nil
}

// askReplace warns of what Replace does, and asks for consent.
func (c *cli) askReplace(ctx context.Context, what, database string, report backup.Report) (bool, error) {
	t := totalsOf(report)
	fmt.Fprintf(c.stderr, "WARNING: this replaces %s in %s with the backup of %s:\n  %s added, %s changed, %s deleted. It was tried, and rolled back.\n",
		what, printable(database), moment(report.CreatedAt), plural(t.added, "record", "records"), count(t.updated), count(t.deleted))
	if t.off() > 0 {
		fmt.Fprintf(c.stderr, "  %s would not be as in the backup:\n", plural(t.off(), "record", "records"))
	}
	for _, warning := range report.Warnings {
		fmt.Fprintf(c.stderr, "  %s\n", printable(warning))
	}
	return c.askYes(ctx, "Type yes to go on: ")
}

// totals are sums over several collections.
type totals struct{ added, updated, deleted, skipped, unchanged, altered, extra int64 }

func (t *totals) add(r backup.CollectionReport) {
	t.added += r.Added
	t.updated += r.Updated
	t.deleted += r.Deleted
	t.skipped += r.Skipped
	t.unchanged += r.Unchanged
	t.altered += r.Altered
	t.extra += r.Extra
}

// off returns how many records are not as in the backup, because the database
// does something by itself.
func (t totals) off() int64 { return t.altered + t.extra }

func totalsOf(report backup.Report) (t totals) {
	for _, r := range report.Collections {
		t.add(r)
	}
	return t
}

// restored ends a restore, which took place: the folder that has the way back stays in use.
func (c *cli) restored(ctx context.Context, k *keeper, report backup.Report, back sealing) {
	if report.UndoneBy != "" {
		folders, err := c.keepFolder(ctx, k)
		if err != nil {
			report.Warnings = append(report.Warnings, fmt.Sprintf("the way back is in %s, and could not be added to the settings: give it to tomo backup undo with --dir: %v", k.folders[0], err))
		} else if folders != nil {
			report.Warnings = append(report.Warnings, "the backup brought other folders of backups; the one of this machine stays in use beside them: "+strings.Join(folders, ", "))
		}
	}
	c.tellRestored(report, k.database.path, back)
}

// tellRestored prints the report of a restore that took place. Whoever cannot get
// the report must not take the restore for failed, and run it again.
func (c *cli) tellRestored(report backup.Report, database string, back sealing) {
	if err := c.printRestored(report, database, back); err != nil {
		kept := ""
		if report.UndoneBy != "" {
			kept = "; what was there before is kept as " + printable(report.UndoneBy)
		}
		fmt.Fprintf(c.stderr, "tomo: warning: the restore took place, but its report cannot be printed: %s%s\n", printable(err.Error()), kept)
	}
}

func (c *cli) printRestored(report backup.Report, database string, back sealing) error {
	if c.json {
		return c.printJSON(report)
	}
	but := ""
	if off := totalsOf(report).off(); off > 0 {
		but = ",\nbut not all is as in the backup: " + plural(off, "record", "records")
	}
	fmt.Fprintf(c.stdout, "Restored the backup of %s (Tomo %s) into %s%s.\n\n", moment(report.CreatedAt), printable(report.ApplicationVersion), printable(database), but)
	if err := c.printReport(report, "ADDED", "CHANGED", "DELETED", "KEPT"); err != nil {
		return err
	}
	if report.UndoneBy == "" {
		fmt.Fprintln(c.stdout, "\nNothing had to be changed.")
		return nil
	}
	how := "sealed"
	if back.encrypt != nil {
		how = "encrypted"
	}
	undo := []string{"undo"}
	for _, path := range c.open.identities {
		undo = append(undo, "--identity", path)
	}
	fmt.Fprintf(c.stdout, "\nWhat was there before is kept as %s,\n%s for %s. To bring it back:\n  %s\nIf Tomo is running, restart it.\n",
		printable(report.UndoneBy), how, keyNames(back.names()), c.hint(undo...))
	return nil
}

// printReport prints the table of a report.
func (c *cli) printReport(report backup.Report, headings ...string) error {
	t := totalsOf(report)
	headings = append(headings, "UNCHANGED")
	if t.off() > 0 {
		headings = append(headings, "ALTERED", "EXTRA")
	}
	table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	row := func(name, strategy string, t totals) {
		fmt.Fprintf(table, "%s\t%s", name, strategy)
		for _, n := range []int64{t.added, t.updated, t.deleted, t.skipped, t.unchanged, t.altered, t.extra}[:len(headings)] {
			fmt.Fprint(table, "\t"+count(n))
		}
		fmt.Fprintln(table)
	}
	fmt.Fprintf(table, "COLLECTION\tSTRATEGY\t%s\n", strings.Join(headings, "\t"))
	for _, r := range report.Collections {
		var of totals
		of.add(r)
		row(printable(r.Name), string(r.Strategy), of)
	}
	row("total", "", t)
	if err := table.Flush(); err != nil {
		return err
	}
	for _, r := range report.Collections {
		c.printKeys("Kept as it is in the database, though the backup differs or clashes", r.Name, r.Skipped, r.Conflicts)
		c.printKeys("The database does not leave them as the restore writes them", r.Name, r.Altered, r.AlteredKeys)
		c.printKeys("Others that the database makes, changes, removes or keeps by itself", r.Name, r.Extra, r.ExtraKeys)
	}
	c.printRemarks(report)
	return nil
}

// printKeys prints the first keys of n records, if there are any.
func (c *cli) printKeys(what, collection string, n int64, keys []string) {
	if n == 0 {
		return
	}
	shown, more := keys[:min(len(keys), maxKeys)], ""
	if hidden := n - int64(len(shown)); hidden > 0 {
		more = fmt.Sprintf(" … and %s more", count(hidden))
	}
	fmt.Fprintf(c.stdout, "%s: %s %s%s\n", what, printable(collection), printable(strings.Join(shown, ", ")), more)
}

const (
	maxKeys    = 10 // keys that are shown for a collection
	maxChanges = 40 // changes that are shown
	maxValue   = 60 // characters of a value that are shown
)

// printPlan shows what a restore would do.
func (c *cli) printPlan(ctx context.Context, plan *manager.Plan, flags restoreFlags, database string) error {
	report := plan.Report()
	fmt.Fprintf(c.stdout, "Restoring %s (made %s by Tomo %s)\ninto %s would do this:\n\n",
		printable(flags.input), moment(report.CreatedAt), printable(report.ApplicationVersion), printable(database))
	if err := c.printReport(report, "ADD", "CHANGE", "DELETE", "KEEP"); err != nil {
		return err
	}
	t := totalsOf(report)
	all := t.added + t.updated + t.deleted + t.skipped
	// All changes are read before they are printed: the database is locked
	// while they are read, and a person may be using a pager.
	var changes []backup.Change
	for change, err := range plan.Changes(ctx) {
		if err != nil {
			return err
		}
		if changes = append(changes, change); len(changes) == maxChanges {
			break
		}
	}
	fmt.Fprintln(c.stdout)
	for _, change := range changes {
		printChange(c.stdout, change)
	}
	if more := all - int64(len(changes)); more > 0 {
		fmt.Fprintf(c.stdout, "… and %s more; --json prints all\n", count(more))
	}
	if flags.untried {
		fmt.Fprintln(c.stdout, "\nNothing was changed, and nothing was tried: this was a dry run with --untried.")
	} else {
		fmt.Fprintln(c.stdout, "\nNothing was changed: this was a dry run. The restore was tried, and rolled back.")
	}
	return nil
}

// printChange prints one change, field by field.
func printChange(w io.Writer, change backup.Change) {
	record := printable(change.Collection + " " + change.Key)
	switch change.Action {
	case backup.Add:
		fmt.Fprintf(w, "+ %s\n", record)
	case backup.Delete:
		fmt.Fprintf(w, "- %s\n", record)
	case backup.Skip:
		what := "kept"
		if change.With != "" {
			what = "left out: clashes with " + printable(change.With)
		}
		fmt.Fprintf(w, "= %s (%s)\n", record, what)
		printFields(w, change.Fields)
	case backup.Update:
		fmt.Fprintf(w, "~ %s\n", record)
		printFields(w, change.Fields)
	}
}

func printFields(w io.Writer, fields []backup.FieldChange) {
	value := func(v json.RawMessage) string {
		if v == nil {
			return "absent"
		}
		return shortened(printable(string(v)), maxValue)
	}
	for _, f := range fields {
		pointer := f.Pointer
		if pointer == "" {
			pointer = "the value"
		}
		fmt.Fprintf(w, "    %s: %s → %s\n", printable(pointer), value(f.Before), value(f.After))
	}
}

// printPlanJSON prints a plan as one document. It uses a temporary file: there
// may be millions of changes, and the database is locked while they are read.
func (c *cli) printPlanJSON(ctx context.Context, plan *manager.Plan) error {
	report, err := json.Marshal(plan.Report())
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp("", "tomo-plan-*.json")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	out := bufio.NewWriter(temp)
	fmt.Fprintf(out, `{"report":%s,"changes":[`, report)
	separator := "\n"
	for change, err := range plan.Changes(ctx) {
		if err != nil {
			return err
		}
		line, err := json.Marshal(change)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s%s", separator, line)
		separator = ",\n"
	}
	fmt.Fprintln(out, "\n]}")
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write %s: %w", temp.Name(), err)
	}
	if _, err := temp.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = io.Copy(c.stdout, temp)
	return err
}

// unchanged returns that nothing was changed, if that is certain in spite of
// err.
func unchanged(err error) string {
	if errors.Is(err, backup.ErrUncertain) {
		return ""
	}
	return ", nothing was changed"
}

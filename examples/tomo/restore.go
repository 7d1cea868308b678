package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
)

// restoreFlags are the flags of tomo backup restore.
type restoreFlags struct {
	input    string // the path of a file or the name of a backup
	full     bool
	only     []string
	records  []string // COLLECTION/KEY, or a label in place of the key
	refs     bool
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
  --record servers/web-1  restores this record only, and can be given again
  none of them            restores every collection that the backup has

A record is named by its key, or by its name if no other has the same. With
--with-references, what it refers to is restored too. Nothing else is touched,
also with --strategy replace, and undo brings back these records only.

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
			if err := c.checkRecords(cmd, flags); err != nil {
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
	flags.register(cmd)
	c.locationFlags(cmd)
	c.openFlags(cmd)
	c.recipientFlags(cmd, "what is replaced")
	return cmd
}

// register has the flags parsed.
func (f *restoreFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.input, "input", "", "`FILE` to restore, or a name from tomo backup list")
	cmd.Flags().BoolVar(&f.full, "full", false, "replace ALL current data")
	cmd.Flags().StringSliceVar(&f.only, "only", nil, "`COLLECTIONS` to restore, such as servers,users")
	cmd.Flags().StringArrayVar(&f.records, "record", nil, "`COLLECTION/KEY` of a record to restore alone, such as servers/web-1, or its name in place of the key")
	cmd.Flags().BoolVar(&f.refs, "with-references", false, "with --record: restore what the record refers to as well")
	cmd.Flags().StringVar(&f.strategy, "strategy", string(backup.SkipDuplicates), "merge, replace or skip-duplicates")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "try it, show what would happen, and change nothing")
	cmd.Flags().BoolVar(&f.untried, "untried", false, "with --dry-run: compare only, and try nothing")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask before current data is replaced")
	cmd.Flags().BoolVar(&f.leaveOutInvalid, "leave-out-invalid", false, "leave out records that are not valid, and name them")
	cmd.Flags().BoolVar(&f.allowNewer, "allow-newer", false, "accept a backup from a newer Tomo, if its data has the same form")
	cmd.Flags().BoolVar(&f.allowUnknown, "allow-unknown", false, "leave out collections that this Tomo does not know")
	cmd.Flags().BoolVar(&f.allowDangling, "allow-dangling", false, "accept references to records that do not exist, and name them")
	cmd.Flags().BoolVar(&f.skipClashes, "skip-clashes", false, "leave out records that clash with current ones over a unique value, and name them")
	cmd.Flags().BoolVar(&f.allowSalvaged, "allow-salvaged", false, "replace current data even from a salvaged file, which lacks records")
	cmd.Flags().BoolVar(&f.backupSettings, "backup-settings", false, "take the settings of backups from the backup too: folders, schedule, what is kept")
}

// checkRecords refuses flags about single records that make no sense.
func (c *cli) checkRecords(cmd *cobra.Command, flags restoreFlags) error {
	if len(flags.records) == 0 {
		if flags.refs {
			return usagef("--with-references goes with --record only: otherwise all records are restored")
		}
		return nil
	}
	for _, other := range []string{"full", "only"} {
		if cmd.Flags().Changed(other) {
			return usagef("--record and --%s exclude each other", other)
		}
	}
	for _, record := range flags.records {
		collection, name, _ := strings.Cut(record, "/")
		if name == "" {
			return usagef("--record %q: want COLLECTION/KEY, such as servers/web-1", record)
		}
		if err := c.checkCollections(cmd, "record", []string{collection}); err != nil {
			return err
		}
	}
	return nil
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

// options returns what the flags say of a restore.
func (f restoreFlags) options(strategy backup.Strategy, show func(backup.Progress)) backup.RestoreOptions {
	return backup.RestoreOptions{
		Only:            f.only,
		WithReferences:  f.refs,
		Strategy:        strategy,
		AllowNewerApp:   f.allowNewer,
		AllowUnknown:    f.allowUnknown,
		AllowDangling:   f.allowDangling,
		SkipClashes:     f.skipClashes,
		Untried:         f.untried,
		AllowSalvaged:   f.allowSalvaged,
		LeaveOutInvalid: f.leaveOutInvalid,
		TakeOwn:         f.backupSettings,
		Progress:        show,
	}
}

func (c *cli) restore(ctx context.Context, flags restoreFlags, strategy backup.Strategy) error {
	k, err := c.openKeeper(ctx, !flags.dryRun)
	if err != nil {
		return err
	}
	defer k.Close()
	failed := func(err error) error {
		if errors.Is(err, backup.ErrDangling) && len(flags.records) > 0 && !flags.refs {
			err = fmt.Errorf("%w\n--with-references restores them too, and --allow-dangling goes without them", err)
		}
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

	opts := flags.options(strategy, k.show)
	if opts.Records, err = k.App.Resolve(ctx, snapshot, flags.records); errors.Is(err, fs.ErrNotExist) {
		return failed(fmt.Errorf("%w\ntomo backup find looks for a text in all backups", err))
	} else if err != nil {
		return failed(err)
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
	agreed, err := c.askReplace(ctx, flags.replaced(), k.database.path, plan.Report())
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

// replaced says what a restore replaces.
func (f restoreFlags) replaced() string {
	switch {
	case f.refs && len(f.records) > 1:
		return "the current " + printable(strings.Join(f.records, ", ")) + " and what they refer to"
	case f.refs:
		return "the current " + printable(f.records[0]) + " and what it refers to"
	case len(f.records) > 0:
		return "the current " + printable(strings.Join(f.records, ", "))
	case len(f.only) > 0:
		return "the current " + strings.Join(f.only, ", ")
	}
	return "ALL current data"
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

// unchanged returns that nothing was changed, if that is certain in spite of
// err.
func unchanged(err error) string {
	if errors.Is(err, backup.ErrUncertain) {
		return ""
	}
	return ", nothing was changed"
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/tomo"
)

// The exit statuses.
const (
	statusDone   = 0
	statusFailed = 1
	statusUsage  = 2
)

// cli is one run of the command: its streams and the flags that several
// commands share.
type cli struct {
	stdin, stdout, stderr *os.File

	app            *backup.App
	databasePath   string  // --db
	passphraseFile string  // --passphrase-file
	json           bool    // --json
	dir            folder  // --dir
	further        folders // --location
	open           openFlags
	seal           sealFlags

	// inParts is set by a command that works in several parts. If it is
	// interrupted, the finished parts stay.
	inParts bool
}

// run executes the command that args name and returns the exit status.
func (c *cli) run(ctx context.Context, args []string) int {
	c.app = tomo.App(version)
	root := c.rootCommand()
	root.SetArgs(args)
	root.SetIn(c.stdin)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)

	cmd, err := root.ExecuteContextC(ctx)
	var wrong *usageError
	var told verdictError
	failed, misused := statusFailed, statusUsage
	if cmd.Name() == statusCommand { // a monitor must not take a failure for a verdict
		failed, misused = statusUnknown, statusUnknown
	}
	switch {
	case err == nil:
		return statusDone
	case errors.As(err, &told):
		return told.status()
	case errors.As(err, &wrong):
		fmt.Fprintf(c.stderr, "tomo: %s\nRun '%s --help' for usage.\n", printable(err.Error()), cmd.CommandPath())
		return misused
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || sqliteCode(err) == sqlite3.SQLITE_INTERRUPT):
		what := "nothing was changed"
		if c.inParts {
			what = "the finished parts stay"
		}
		fmt.Fprintf(c.stderr, "tomo: interrupted: %s\n", what)
		return failed
	}
	fmt.Fprintf(c.stderr, "tomo: %s\n", printableLines(err.Error()))
	if hint := advice(err); hint != "" {
		fmt.Fprintf(c.stderr, "  %s\n", hint)
	}
	return failed
}

func (c *cli) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "tomo",
		Short:         "Run Tomo, and back up and restore its database",
		Version:       version,
		Args:          cobra.ArbitraryArgs, // group reports an unknown command
		RunE:          group,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().StringVar(&c.databasePath, "db", "", "database `PATH` (default ~/.tomo/tomo.db)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })

	backups := &cobra.Command{
		Use:   "backup",
		Short: "Make, keep, check and restore backups",
		Args:  cobra.ArbitraryArgs,
		RunE:  group,
	}
	backups.PersistentFlags().BoolVar(&c.json, "json", false, "print one JSON document for machines")
	backups.AddCommand(
		c.createCommand(), c.listCommand(), c.statusCommand(), c.verifyCommand(), c.restoreCommand(), c.undoCommand(), c.diffCommand(),
		c.historyCommand(), c.findCommand(), c.runCommand(), c.pruneCommand(), c.acceptCommand(), c.drillCommand(), c.salvageCommand(), c.rewrapCommand(), c.extractCommand())

	root.AddCommand(backups, c.keyCommand(), c.initCommand(), c.serveCommand(), c.userCommand(), c.demoCommand())
	return root
}

// group is the action of a command that only contains other commands.
func group(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unknown command %q for %q", args[0], cmd.CommandPath())
	}
	names := []string{}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return usagef("say what to do: %s %s", cmd.CommandPath(), strings.Join(names, " | "))
}

// A usageError is a mistake in the command line, and not a failure of the work.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// arguments turns the error about a wrong number of arguments into a
// usageError.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{err}
		}
		return nil
	}
}

// checkCollections refuses the name of an unknown collection in a flag, and a
// flag without any name.
func (c *cli) checkCollections(cmd *cobra.Command, flag string, names []string) error {
	if cmd.Flags().Changed(flag) && len(names) == 0 {
		return usagef("--%s: no collection named", flag)
	}
	for _, name := range names {
		if err := c.checkCollection("--"+flag, name); err != nil {
			return err
		}
	}
	return nil
}

// checkCollection refuses the name of an unknown collection.
func (c *cli) checkCollection(where, name string) error {
	var known []string
	for _, collection := range c.app.Collections {
		known = append(known, collection.Name)
	}
	if !slices.Contains(known, name) {
		return usagef("%s: unknown collection %q; there are %s", where, name, strings.Join(known, ", "))
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
)

func (c *cli) undoCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "undo",
		Short: "Take the last restore back",
		Long: `Take the last restore back: what it replaced was stored before, and replaces
what is there now, in the same collections. It says what will happen, and asks.

Undo is a restore too, and can be undone: a second one brings back what the
first took away. It needs the passphrase that the last restore was given.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !yes && !c.interactive() {
				return usagef("this replaces current data, and there is no terminal to ask for consent: add --yes")
			}
			return c.undo(cmd.Context(), yes)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.locationFlags(cmd)
	c.passphraseFlag(cmd)
	return cmd
}

func (c *cli) undo(ctx context.Context, yes bool) error {
	k, err := c.openKeeper(ctx, true)
	if err != nil {
		return err
	}
	defer k.Close()
	failed := func(err error) error { return fmt.Errorf("undo failed, nothing was changed: %w", err) }
	last, err := k.lastBeforeRestore(ctx)
	if err != nil {
		return failed(err)
	}
	if !yes {
		report, err := k.planUndo(ctx, last)
		if err != nil {
			return failed(err)
		}
		k.wipe()
		agreed, err := c.askReplace(ctx, "what the last restore changed", k.database.path, report)
		if err != nil {
			return err
		}
		if !agreed {
			return errors.New("not confirmed: nothing was changed")
		}
		if now, err := k.lastBeforeRestore(ctx); err != nil || now != last {
			return failed(fmt.Errorf("%w: there was another restore meanwhile", errors.Join(backup.ErrStale, err)))
		}
	}
	report, err := k.Undo(ctx)
	if err != nil {
		return failed(err)
	}
	k.wipe()
	return c.printRestored(report, k.database.path)
}

// lastBeforeRestore returns the name of the backup that undo restores.
func (k *keeper) lastBeforeRestore(ctx context.Context) (string, error) {
	backups, err := k.List(ctx)
	i := slices.IndexFunc(backups, func(b backup.Backup) bool { return b.Trigger == backup.TriggerBeforeRestore })
	if i < 0 {
		return "", errors.Join(errors.New("there is no restore to take back"), err)
	}
	return backups[i].Name, nil
}

// planUndo says what undo would do now.
func (k *keeper) planUndo(ctx context.Context, name string) (backup.Report, error) {
	snapshot, err := k.Open(ctx, name)
	if err != nil {
		return backup.Report{}, err
	}
	defer snapshot.Close()
	// References to nothing that were there before come back.
	plan, err := k.Plan(ctx, snapshot, backup.RestoreOptions{Strategy: backup.Replace, AllowDangling: true, Progress: k.show})
	if err != nil {
		return backup.Report{}, err
	}
	return plan.Report(), nil
}

package main

import (
	"context"
	"errors"
	"fmt"

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
	failed := func(err error) error { return fmt.Errorf("undo failed%s: %w", unchanged(err), err) }
	undo := k.Undo
	if !yes {
		plan, err := k.PlanUndo(ctx)
		if err != nil {
			return failed(err)
		}
		defer plan.Close()
		k.wipe()
		agreed, err := c.askReplace(ctx, "what the last restore changed", k.database.path, plan.Report())
		if err != nil {
			return err
		}
		if !agreed {
			return errors.New("not confirmed: nothing was changed")
		}
		undo = func(ctx context.Context) (backup.Report, error) { return k.Apply(ctx, plan) }
	}
	report, err := undo(ctx)
	if err != nil {
		return failed(err)
	}
	k.wipe()
	return c.printRestored(report, k.database.path)
}

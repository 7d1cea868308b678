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
		Long: `Take the last restore back. The restore stored what it replaced. Undo puts this
back in place of the current data, in the same collections. After a restore of
single records (--record) it touches these records only. It says what will
happen, and asks.

Undo is a restore too: a second undo takes back the first. It needs the key that
the last restore named. It stores what it replaces, as tomo backup restore does.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !yes && !c.interactive() {
				return usagef("this replaces current data, and there is no terminal to ask for consent: add --yes")
			}
			return c.undo(cmd.Context(), yes)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask before current data is replaced")
	c.locationFlags(cmd)
	c.openFlags(cmd)
	c.recipientFlags(cmd, "what is replaced")
	return cmd
}

func (c *cli) undo(ctx context.Context, yes bool) error {
	k, err := c.openKeeper(ctx, true)
	if err != nil {
		return err
	}
	defer k.Close()
	// Whoever does not look at the plan does not mind that it changes because
	// Tomo goes on writing.
	for tries := 3; ; tries-- {
		err := c.undoOnce(ctx, k, yes)
		if !yes || tries == 1 || !errors.Is(err, backup.ErrStale) {
			return err
		}
	}
}

func (c *cli) undoOnce(ctx context.Context, k *keeper, yes bool) error {
	failed := func(err error) error { return fmt.Errorf("undo failed%s: %w", unchanged(err), err) }
	plan, err := k.PlanUndo(ctx)
	if err != nil {
		return failed(err)
	}
	defer plan.Close()
	k.wipe()
	back, err := k.keys.wayBack(storedAs(plan.Report().Backup).Encrypted)
	if err != nil {
		return failed(err)
	}
	if !yes {
		agreed, err := c.askReplace(ctx, "what the last restore changed", k.database.path, plan.Report())
		if err != nil {
			return err
		}
		if !agreed {
			return errors.New("not confirmed: nothing was changed")
		}
	}
	report, err := k.storing(back).Apply(ctx, plan)
	if err != nil {
		return failed(err)
	}
	k.wipe()
	c.restored(ctx, k, report, back)
	return nil
}

package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (c *cli) acceptCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "accept NAME",
		Short: "Accept what a backup has lost, or its new key",
		Long: `Say that the losses of a backup are all right.

A backup that has lost most of a collection, compared with the one before, is
marked as shrunk in the list. Then no backup is deleted: the older ones may be
all that is left of the data. After accept, pruning goes on.

The same goes for a backup that tomo serve or tomo backup run has sealed with
another key than those before it: the passphrase may have been mistyped.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return c.accept(cmd.Context(), args[0]) },
	}
	c.locationFlags(cmd)
	return cmd
}

func (c *cli) accept(ctx context.Context, name string) error {
	k, err := c.lookAround(ctx)
	if err != nil {
		return err
	}
	defer k.Close()
	if err := k.Accept(ctx, name); err != nil {
		return explainMissing(err)
	}
	if c.json {
		c.done("the backup was accepted", func() error { return c.printJSON(map[string]string{"accepted": name}) })
		return nil
	}
	fmt.Fprintf(c.stdout, "Accepted: %s. Pruning goes on.\n", printable(name))
	return nil
}

package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup/examples/tomo/web"
)

func (c *cli) userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "See to it that somebody can log in",
		Args:  cobra.ArbitraryArgs,
		RunE:  group,
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "password NAME",
		Short: "Give a user a new password, and print it",
		Long: `Give a user a new password, and print it. The user can log in with it whatever
was in the way: a user who is disabled is enabled, and a second factor is taken
off. If there is no user NAME one is made, who is an admin.

This is for who has forgotten a password, or has restored users of whom nobody
can log in. Tomo may run meanwhile; who was logged in as the user is logged out.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return c.newPassword(cmd.Context(), args[0]) },
	})
	return cmd
}

func (c *cli) newPassword(ctx context.Context, name string) error {
	return c.withDatabase(ctx, func(db *database) error {
		password, made, err := web.NewAccounts(db.store, c.logger()).SetPassword(ctx, name)
		if err != nil {
			return err
		}
		what := "The user %s"
		if made {
			what = "The new admin %s"
		}
		fmt.Fprintf(c.stdout, what+" logs in with the password %s\n", printable(name), password)
		return nil
	})
}

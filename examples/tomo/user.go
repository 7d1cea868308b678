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
		Short: "Help users who cannot log in",
		Args:  cobra.ArbitraryArgs,
		RunE:  group,
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "password NAME",
		Short: "Give a user a new password, and print it",
		Long: `Give a user a new password, and print it. The user can log in with it, whatever
was in the way: a disabled user is enabled, and a second factor is removed. If
there is no user NAME, the command makes one, who is an admin.

Use this for a forgotten password, or after a restore of users none of whom can
log in. Tomo may be running; sessions of the user are ended.`,
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
		fmt.Fprintf(c.stdout, what+" can log in with the password %s\n", printable(name), password)
		return nil
	})
}

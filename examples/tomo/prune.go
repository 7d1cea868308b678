package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

func (c *cli) pruneCommand() *cobra.Command {
	var policy policyFlags
	var opts manager.PruneOptions
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Delete the backups that the policy does not keep",
		Long: `Delete the backups that the policy does not keep, and say for each backup why.

The policy comes from the settings backup_keep_last and backup_keep_days. If a
--keep flag is given, the policy comes from the --keep flags alone. A backup is
kept if any rule keeps it. Without a rule, all are kept. Backups made by hand
are kept too, unless --manual is given. Files with other names are never
deleted.

The newest good backup is always kept. Before any other is deleted, it is read
and verified: with the passphrase or the private key, or without a key as far as
its digest tells. If a backup has lost most of a collection, compared with the
one before, nothing is deleted until somebody has looked (tomo backup accept).`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.prune(cmd.Context(), policy, opts) },
	}
	cmd.Flags().BoolVar(&opts.DryRun, "dry-run", false, "show what would be deleted, and delete nothing")
	cmd.Flags().BoolVar(&opts.Manual, "manual", false, "apply the policy to backups made by hand too")
	policy.add(cmd)
	c.locationFlags(cmd)
	c.openFlags(cmd)
	return cmd
}

func (c *cli) prune(ctx context.Context, policy policyFlags, opts manager.PruneOptions) error {
	k, err := c.lookAround(ctx)
	if err != nil {
		return err
	}
	defer k.Close()
	if k.Retention, err = policy.retention(k.settings); err != nil {
		return err
	}
	c.inParts = !opts.DryRun
	pruned, err := k.Prune(ctx, opts)
	k.wipe()
	if len(pruned) > 0 {
		print := func() error { return c.printPruned(pruned, opts, err) }
		if err == nil && !opts.DryRun {
			c.done("the backups were pruned", print)
		} else if printed := print(); printed != nil {
			return errors.Join(err, printed)
		}
	}
	if errors.Is(err, manager.ErrShrunk) {
		shrunk := newest(pruned, func(b manager.Backup) bool { return len(b.Shrunk) > 0 })
		err = fmt.Errorf("%w\nTo get the data back from an older backup: tomo backup restore NAME\nTo accept the loss:\n  %s", err, c.hint("accept", shrunk))
	}
	if errors.Is(err, manager.ErrRekeyed) {
		rekeyed := newest(pruned, func(b manager.Backup) bool { return b.Rekeyed })
		err = fmt.Errorf("%w\nTo accept the new key:\n  %s", err, c.hint("accept", rekeyed))
	}
	return err
}

// newest returns the name of the newest backup of a kind. Accepting it accepts the earlier
// ones of its kind too.
func newest(pruned []manager.Pruned, kind func(manager.Backup) bool) string {
	var found []manager.Backup
	for _, p := range pruned {
		for _, d := range p.Decisions {
			if kind(d.Backup) {
				found = append(found, d.Backup)
			}
		}
	}
	backup.SortNewestFirst(found, manager.Backup.Dated)
	if len(found) == 0 {
		return "NAME"
	}
	return found[0].Name
}

func (c *cli) printPruned(pruned []manager.Pruned, opts manager.PruneOptions, failed error) error {
	if c.json {
		return c.printJSON(pruned)
	}
	for _, p := range pruned {
		fmt.Fprintf(c.stdout, "%s\n", printable(p.Location))
		if len(p.Decisions) == 0 && p.Err == nil {
			fmt.Fprintln(c.stdout, "  no backups")
		}
		table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
		remove := 0
		for _, d := range p.Decisions {
			verdict := "keep"
			if !d.Keep {
				verdict = "delete"
				remove++
			}
			fmt.Fprintf(table, "  %s\t%s\t%s\t%s\t%s\n", verdict, printable(d.Name), orDash(printable(d.Trigger)), orDash(printable(d.Holds)), printable(strings.Join(d.Reasons, "; ")))
		}
		if err := table.Flush(); err != nil {
			return err
		}
		n := plural(int64(max(remove, len(p.Deleted))), "backup", "backups")
		switch {
		case p.Err != nil && opts.DryRun:
			fmt.Fprintf(c.stdout, "  It would delete nothing: %s\n", printable(p.Err.Error()))
		case p.Err != nil:
			fmt.Fprintf(c.stdout, "  Deleted %d of %s. Then this failed: %s\n", len(p.Deleted), n, printable(p.Err.Error()))
		case opts.DryRun && remove > 0:
			fmt.Fprintf(c.stdout, "  It would delete %s. Nothing was deleted: this was a dry run.\n", n)
		case len(p.Deleted) > 0:
			fmt.Fprintf(c.stdout, "  Deleted %s.\n", n)
		case len(p.Decisions) > 0 && (failed != nil || remove == 0):
			fmt.Fprintln(c.stdout, "  Nothing was deleted.")
		}
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

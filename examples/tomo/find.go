package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup/manager"
)

// findFlags are the flags of tomo backup find.
type findFlags struct {
	only         []string
	limit        int
	installation string
}

func (c *cli) findCommand() *cobra.Command {
	var flags findFlags
	cmd := &cobra.Command{
		Use:   "find TEXT",
		Short: "Find a record that was lost, in the backups of all days",
		Long: `Find the records that have TEXT in their key or in any text that is no secret,
such as their name, in large or small letters. The newest full backup of each day
is searched, from the newest day back, and each record is shown once: as it was
when it was last seen with TEXT. Nothing is written, and no database is needed.
The passphrase or the private keys of --identity open the backups. Those of
another installation, such as an old server, are left out: --installation looks
in those.

The last line is the command that restores one of these records: the first that
the newest backup does not have so, or else the first. tomo backup history tells
what has changed in a record, and looks into all backups.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(args[0]) == "" {
				return usagef("say which text to look for, such as a part of a name")
			}
			if flags.limit < 1 {
				return usagef("--limit %d: want 1 or more", flags.limit)
			}
			if err := c.checkCollections(cmd, "only", flags.only); err != nil {
				return err
			}
			return c.find(cmd.Context(), args[0], flags)
		},
	}
	cmd.Flags().StringSliceVar(&flags.only, "only", nil, "`COLLECTIONS` to look in, such as servers,users")
	cmd.Flags().IntVar(&flags.limit, "limit", 20, "stop after so many records")
	installationFlag(cmd, &flags.installation)
	c.locationFlags(cmd)
	c.openFlags(cmd)
	return cmd
}

// findResult is what find prints with --json.
type findResult struct {
	Found    []manager.Found `json:"found"`
	Unread   []manager.Found `json:"unread,omitempty"`
	Searched []string        `json:"searched"`       // the names of the backups
	More     bool            `json:"more,omitempty"` // it ended at the limit
}

func (c *cli) find(ctx context.Context, text string, flags findFlags) error {
	k, err := c.lookBack(ctx, flags.installation)
	if err != nil {
		return err
	}
	defer k.Close()
	result := findResult{Found: []manager.Found{}, Searched: []string{}}
	out := &output{w: c.stdout}
	var oldest manager.Backup
	var failed error
	opts := manager.FindOptions{Collections: flags.only, Searched: func(b manager.Backup) {
		result.Searched, oldest = append(result.Searched, b.Name), b
	}}
	for f, err := range k.Find(ctx, text, opts) {
		k.wipe()
		switch {
		case err != nil: // the last, and maybe of one folder only
			failed = err
		case f.Err != nil:
			result.Unread = append(result.Unread, f)
		case len(result.Found) == flags.limit:
			result.More = true
		default:
			if result.Found = append(result.Found, f); !c.json {
				printFound(out, f, text)
			}
		}
		if result.More {
			break
		}
	}
	k.wipe()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case failed != nil && len(result.Searched)+len(result.Unread) == 0:
		return failed
	case c.json:
		if err := c.printJSON(result); err != nil {
			return err
		}
	default:
		c.endFind(out, result, oldest)
	}
	if len(result.Found) > 0 {
		return errors.Join(failed, out.err)
	}
	return errors.Join(c.notFound(ctx, k, text, flags, result, oldest), failed, out.err)
}

// notFound is the error about a text that no record has, as far as backups could be read.
func (c *cli) notFound(ctx context.Context, k *keeper, text string, flags findFlags, result findResult, oldest manager.Backup) error {
	folders := strings.Join(k.folders, ", ")
	missing := fmt.Sprintf("nothing was searched for %q.", shortened(text, maxKey))
	switch n := len(result.Searched); {
	case n > 0:
		where := ""
		if len(result.Unread) > 0 {
			where = ", in the backups that could be read"
		}
		missing = fmt.Sprintf("no record has %q in its key or a text that is no secret%s.\n  Searched: the newest full backup of each day, %s\n  back to %s, in %s.\n  Try a shorter text. If you know its key: %s COLLECTION KEY",
			shortened(text, maxKey), where, plural(int64(n), "backup", "backups"), moment(oldest.CreatedAt), folders, c.hint("history"))
	case len(result.Unread) == 0:
		missing += fmt.Sprintf("\n  There is no full backup of %s in %s.", whoseOf(flags.installation), folders)
	}
	others, newest := k.others(ctx)
	return &notFound{missing + c.searchOthers(others, newest, "find", text), unreadOf(result.Unread)}
}

func unreadOf(found []manager.Found) (list []unread) {
	for _, f := range found {
		list = append(list, unread{f.Backup, f.CreatedAt, f.Err})
	}
	return list
}

// printFound prints a record that was found.
func printFound(w io.Writer, f manager.Found, text string) {
	what := f.Collection + " " + shortened(printable(f.Key), maxKey)
	if f.Label != "" && f.Label != f.Key {
		what += ", " + shortened(printable(f.Label), maxKey)
	}
	state := "last seen there"
	if f.Newest {
		state = "in the newest searched backup"
	}
	where := f.Pointer
	switch {
	case where != "":
	case strings.Contains(strings.ToLower(f.Key), strings.ToLower(text)):
		where = "its key"
	default:
		where = "its value"
	}
	fmt.Fprintf(w, "%s\n  %s  %s\n  %s, with the text in %s\n", what, moment(f.CreatedAt), printable(f.Backup), state, shortened(printable(where), maxKey))
}

// endFind prints what is told when all backups have been searched.
func (c *cli) endFind(w io.Writer, result findResult, oldest manager.Backup) {
	if len(result.Found) > 0 {
		fmt.Fprintln(w)
	}
	printUnread(w, unreadOf(result.Unread))
	if len(result.Found) == 0 {
		return
	}
	if len(result.Unread) > 0 {
		fmt.Fprintln(w)
	}
	if result.More {
		fmt.Fprintf(w, "There are more than these %d. A longer text finds fewer, --limit shows more.\n", len(result.Found))
	} else {
		fmt.Fprintf(w, "%s, in the newest full backup of each day\nback to %s: %s searched.\n",
			plural(int64(len(result.Found)), "record", "records"), moment(oldest.CreatedAt), plural(int64(len(result.Searched)), "backup", "backups"))
	}
	restore := result.Found[0]
	for _, f := range result.Found {
		if !f.Newest {
			restore = f
			break
		}
	}
	fmt.Fprintf(w, "To restore %s %s as it was then:\n  %s\n", restore.Collection, shortened(printable(restore.Key), maxKey),
		c.restoreHint(restore.Backup, restore.Collection, restore.Key, !restore.Newest))
}

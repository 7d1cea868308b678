package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

func (c *cli) historyCommand() *cobra.Command {
	var installation string
	cmd := &cobra.Command{
		Use:   "history COLLECTION RECORD",
		Short: "Tell when a record came, changed and went",
		Long: `Tell in which backups a RECORD is, such as servers web-1: when it came, what
changed in it, and when it was gone, from the newest backup back. It is named by
its key, or by its name if no record ever had that key. Nothing is
written, and no database is needed. Secrets are not shown, only that they
changed. The passphrase or the private keys of --identity open the backups.

  gone      the first backup without it
  there     the newest backup with it in this state
  changed   the first backup with it in this state, and what has changed
  added     the first backup with it, after a backup without it
  first     the oldest backup that tells of it has it already

A backup of other collections says nothing of it. A backup that cannot be read is
named. Files with names of their own are left out, and so are the backups of
another installation, such as an old server: --installation looks in those.

The last line is the command that restores the record as it is in the newest
backup that has it. For an earlier state, put in the NAME of that backup.
tomo backup find finds the key.`,
		Args: arguments(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.checkCollection("history", args[0]); err != nil {
				return err
			}
			return c.history(cmd.Context(), args[0], args[1], installation)
		},
	}
	installationFlag(cmd, &installation)
	c.locationFlags(cmd)
	c.openFlags(cmd)
	return cmd
}

// installationFlag has a search look in the backups of another installation.
func installationFlag(cmd *cobra.Command, id *string) {
	cmd.Flags().StringVar(id, "installation", "", "look in the backups of another installation: its `ID` from tomo backup list")
}

// whoseOf names the installation whose backups are searched.
func whoseOf(id string) string {
	if id == "" {
		return "this installation"
	}
	return "installation " + printable(id)
}

// lookBack is lookAround for a search in the backups of an installation; "": of this one.
func (c *cli) lookBack(ctx context.Context, installation string) (*keeper, error) {
	k, err := c.lookAround(ctx)
	if err == nil && installation != "" {
		k.Installation = installation
	}
	return k, err
}

// historyResult is what history prints with --json.
type historyResult struct {
	Collection string                `json:"collection"`
	Key        string                `json:"key"`
	States     []manager.RecordState `json:"states"`
}

func (c *cli) history(ctx context.Context, collection, key, installation string) error {
	k, err := c.lookBack(ctx, installation)
	if err != nil {
		return err
	}
	defer k.Close()
	out := &output{w: c.stdout}
	h := &chronicle{cli: c, out: out, installation: installation}
	failed := h.read(ctx, k, collection, key)
	if h.newest == nil && ctx.Err() == nil && c.hasLabel(collection) {
		switch labelled, err := k.KeyOf(ctx, collection, key); {
		case err == nil:
			h = &chronicle{cli: c, out: out, installation: installation}
			failed = h.read(ctx, k, collection, labelled)
		case errors.Is(err, backup.ErrInvalid): // several have the name
			return err
		}
		k.wipe()
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case failed != nil && len(h.result.States) == 0:
		return failed
	case c.json:
		if err := c.printJSON(h.result); err != nil {
			return err
		}
	default:
		h.end()
	}
	if h.count[manager.Present] == 0 {
		return errors.Join(h.missing(ctx, k), failed, out.err)
	}
	return errors.Join(failed, out.err)
}

// hasLabel tells whether people call the records of a collection by something else than keys.
func (c *cli) hasLabel(collection string) bool {
	return slices.ContainsFunc(c.app.Collections, func(col backup.Collection) bool { return col.Name == collection && col.Label != "" })
}

// A chronicle prints the history of a record.
type chronicle struct {
	*cli
	out          *output
	installation string // of --installation

	result historyResult
	count  map[manager.Presence]int
	newest *manager.RecordState // the newest backup that has the record; nil: none yet
	gone   bool                 // a newer backup does not have it

	// The backups with the state that is looked at.
	first, last *manager.RecordState // the newest, the oldest; nil: none yet
	unread      []unread
}

// read reads and prints the history. Its error may be of one folder only.
func (h *chronicle) read(ctx context.Context, k *keeper, collection, key string) error {
	h.result = historyResult{collection, key, []manager.RecordState{}}
	for state, err := range k.History(ctx, collection, key) {
		k.wipe()
		if err != nil {
			return err
		}
		h.add(state)
	}
	return nil
}

// add takes what the next older backup tells.
func (h *chronicle) add(s manager.RecordState) {
	kept := s
	if !h.json {
		kept.Then = nil // it may be as large as two records, and was printed
	}
	h.result.States = append(h.result.States, kept)
	if h.count == nil {
		h.count = make(map[manager.Presence]int)
	}
	h.count[s.Presence]++
	switch s.Presence {
	case manager.Silent:
		return
	case manager.Unread:
		h.unread = append(h.unread, unread{s.Backup, s.CreatedAt, s.Err})
		return
	case manager.Present:
		if h.newest == nil {
			h.newest, h.gone = &s, h.last != nil
			h.say("History of %s %s, newest first:\n\n", h.result.Collection, shortened(printable(h.result.Key), maxKey))
			h.state(s.Then)
		} else if s.Then != nil {
			h.state(s.Then)
		}
	case manager.Absent:
		if h.newest != nil && s.Then != nil {
			h.state(s.Then)
		}
	}
	if s.Then != nil || h.first == nil {
		h.first = &s
	}
	h.last = &s
}

// state prints the state whose backups have been seen. then is what happened to the record
// when it came to be so; nil: nobody knows.
func (h *chronicle) state(then *backup.Change) {
	if h.last == nil {
		return
	}
	present := h.last.Presence == manager.Present
	if present && h.first.Backup != h.last.Backup {
		h.line(h.first, "there")
	}
	switch {
	case then == nil && present:
		h.line(h.last, "first")
	case then == nil:
	case then.Action == backup.Delete:
		h.line(h.last, "gone")
	case then.Action == backup.Add:
		h.line(h.last, "added")
	default:
		h.line(h.last, "changed")
		if !h.json {
			printShortFields(h.out, then.Fields)
		}
	}
}

func (h *chronicle) say(format string, args ...any) {
	if !h.json {
		fmt.Fprintf(h.out, format, args...)
	}
}

func (h *chronicle) line(s *manager.RecordState, what string) {
	h.say("%s  %-7s  %s\n", moment(s.CreatedAt), what, printable(s.Backup))
}

// end prints what is told when all backups have been seen.
func (h *chronicle) end() {
	if h.newest == nil {
		printUnread(h.out, h.unread)
		return
	}
	h.state(nil)
	h.say("\n")
	if printUnread(h.out, h.unread); len(h.unread) > 0 {
		h.say("\n")
	}
	has, tell := h.count[manager.Present], h.count[manager.Present]+h.count[manager.Absent]
	label := ""
	if h.newest.Label != "" {
		label = ", last called " + shortened(printable(h.newest.Label), maxKey)
	}
	h.say("It is in %s of %s%s.\n", count(int64(has)), plural(int64(tell), "backup", "backups"), label)
	if n := h.count[manager.Silent]; n > 0 {
		h.say("Silent about it, since they are partial or lack records: %s.\n", plural(int64(n), "backup", "backups"))
	}
	h.say("To restore it as it was on %s:\n  %s\n", moment(h.newest.CreatedAt), h.restoreHint(h.newest.Backup, h.result.Collection, h.result.Key, h.gone))
}

// missing is the error about a record that no backup has, as far as they could be read.
func (h *chronicle) missing(ctx context.Context, k *keeper) error {
	others, newest := k.others(ctx)
	whose, readable, folders := "", "", strings.Join(k.folders, ", ")
	if others > 0 {
		whose = " of " + whoseOf(h.installation)
	}
	if len(h.unread) > 0 {
		readable = " that could be read"
	}
	text := fmt.Sprintf("no backup%s%s has %s %s.", whose, readable, h.result.Collection, shortened(printable(h.result.Key), maxKey))
	switch absent, silent := h.count[manager.Absent], h.count[manager.Silent]; {
	case absent > 0:
		text += fmt.Sprintf(" Searched: %s with %s,\n  back to %s, in %s.\n  Look for a part of its name with: %s",
			plural(int64(absent), "backup", "backups"), h.result.Collection, moment(h.last.CreatedAt), folders, h.hint("find", h.result.Key))
	case silent > 0:
		text += fmt.Sprintf("\n  Silent about it, since they are partial or lack records: %s, in %s.", plural(int64(silent), "backup", "backups"), folders)
	case len(h.unread) == 0:
		text += fmt.Sprintf(" There is none, in %s.", folders)
	}
	return &notFound{text + h.searchOthers(others, newest, "history", h.result.Collection, h.result.Key), h.unread}
}

// others returns how many backups of other installations a search left out, and the
// installation that made the newest of them.
func (k *keeper) others(ctx context.Context) (count int64, newest string) {
	list, _ := k.List(ctx) // what could not be listed is told by the search
	for _, b := range list {
		if b.Foreign {
			count++
			newest = cmp.Or(newest, b.Manifest.Installation)
		}
	}
	return count, newest
}

// searchOthers says how the backups of another installation are searched.
func (c *cli) searchOthers(count int64, installation string, args ...string) string {
	if count == 0 {
		return ""
	}
	return fmt.Sprintf("\n  Left out: %s of another installation. To search there:\n  %s",
		plural(count, "backup", "backups"), c.withIdentities(append(args, "--installation", installation)))
}

// restoreHint returns the command that restores one record. gone says that the database has
// it no more, as far as the backups tell.
func (c *cli) restoreHint(name, collection, key string, gone bool) string {
	args := []string{"restore", name, "--record", collection + "/" + key}
	if !gone {
		args = append(args, "--strategy", string(backup.Replace))
	}
	return c.withIdentities(args)
}

// withIdentities is hint for a command that opens backups with the same private keys.
func (c *cli) withIdentities(args []string) string {
	for _, path := range c.open.identities {
		args = append(args, "--identity", path)
	}
	return c.hint(args...)
}

// maxKey is how many characters of a key or a label are shown.
const maxKey = 30

// An unread is a backup that could not be read.
type unread struct {
	name string
	at   time.Time
	err  error
}

// printUnread names backups that could not be read.
func printUnread(w io.Writer, list []unread) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(w, "Not read:")
	for _, u := range list[:min(len(list), maxKeys)] {
		fmt.Fprintf(w, "%s  %s\n    %s\n", moment(u.at), printable(u.name), shortened(printable(whyUnread(u.err)), maxLine-4))
	}
	if more := len(list) - maxKeys; more > 0 {
		fmt.Fprintf(w, "… and %s more; --json names all\n", count(int64(more)))
	}
}

// whyUnread says in short why a backup could not be read.
func whyUnread(err error) string {
	switch {
	case errors.Is(err, backup.ErrWrongKey):
		return "none of the given keys opens it"
	case errors.Is(err, backup.ErrNoKey):
		return "it takes a key, and none was given"
	}
	return reason(err)
}

// A notFound is the error of a search that has found nothing. Its text is for people, and
// advice goes by what could not be read.
type notFound struct {
	text   string
	unread []unread
}

func (e *notFound) Error() string {
	if len(e.unread) == 0 {
		return e.text
	}
	return fmt.Sprintf("%s\n  Not read, so not searched: %s", e.text, plural(int64(len(e.unread)), "backup", "backups"))
}

func (e *notFound) Unwrap() (errs []error) {
	for _, u := range e.unread {
		errs = append(errs, u.err)
	}
	return errs
}

// maxLine is how many characters a line may have, unless it is a command.
const maxLine = 80

// printShortFields prints fields in lines that a narrow terminal shows whole.
func printShortFields(w io.Writer, fields []backup.FieldChange) {
	for _, f := range fields[:min(len(fields), maxKeys)] {
		pointer := shortened(printable(cmp.Or(f.Pointer, "the value")), maxKey)
		room := (maxLine - len([]rune(pointer)) - len("    :  → ")) / 2
		value := func(v json.RawMessage) string {
			if v == nil {
				return "absent"
			}
			return shortened(printable(string(v)), room)
		}
		fmt.Fprintf(w, "    %s: %s → %s\n", pointer, value(f.Before), value(f.After))
	}
	if more := len(fields) - maxKeys; more > 0 {
		fmt.Fprintf(w, "    … and %s more; --json shows all\n", plural(int64(more), "field", "fields"))
	}
}

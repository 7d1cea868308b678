package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

// totals are sums over several collections.
type totals struct{ added, updated, deleted, skipped, unchanged, altered, extra int64 }

func (t *totals) add(r backup.CollectionReport) {
	t.added += r.Added
	t.updated += r.Updated
	t.deleted += r.Deleted
	t.skipped += r.Skipped
	t.unchanged += r.Unchanged
	t.altered += r.Altered
	t.extra += r.Extra
}

// off returns how many records are not as in the backup, because the database
// does something by itself.
func (t totals) off() int64 { return t.altered + t.extra }

func totalsOf(report backup.Report) (t totals) {
	for _, r := range report.Collections {
		t.add(r)
	}
	return t
}

// restored ends a restore, which took place: the folder that has the way back stays in use.
func (c *cli) restored(ctx context.Context, k *keeper, report backup.Report, back sealing) {
	if report.UndoneBy != "" {
		folders, err := c.keepFolder(ctx, k)
		if err != nil {
			report.Warnings = append(report.Warnings, fmt.Sprintf("the way back is in %s, and could not be added to the settings: give it to tomo backup undo with --dir: %v", k.folders[0], err))
		} else if folders != nil {
			report.Warnings = append(report.Warnings, "the backup brought other folders of backups; the one of this machine stays in use beside them: "+strings.Join(folders, ", "))
		}
	}
	c.tellRestored(report, k.database.path, back)
}

// tellRestored prints the report of a restore that took place. Whoever cannot get
// the report must not take the restore for failed, and run it again.
func (c *cli) tellRestored(report backup.Report, database string, back sealing) {
	if err := c.printRestored(report, database, back); err != nil {
		kept := ""
		if report.UndoneBy != "" {
			kept = "; what was there before is kept as " + printable(report.UndoneBy)
		}
		fmt.Fprintf(c.stderr, "tomo: warning: the restore took place, but its report cannot be printed: %s%s\n", printable(err.Error()), kept)
	}
}

func (c *cli) printRestored(report backup.Report, database string, back sealing) error {
	if c.json {
		return c.printJSON(report)
	}
	but := ""
	if off := totalsOf(report).off(); off > 0 {
		but = ",\nbut not all is as in the backup: " + plural(off, "record", "records")
	}
	fmt.Fprintf(c.stdout, "Restored the backup of %s (Tomo %s) into %s%s.\n\n", moment(report.CreatedAt), printable(report.ApplicationVersion), printable(database), but)
	if err := c.printReport(report, "ADDED", "CHANGED", "DELETED", "KEPT"); err != nil {
		return err
	}
	if report.UndoneBy == "" {
		fmt.Fprintln(c.stdout, "\nNothing had to be changed.")
		return nil
	}
	how := "sealed"
	if back.encrypt != nil {
		how = "encrypted"
	}
	undo := []string{"undo"}
	for _, path := range c.open.identities {
		undo = append(undo, "--identity", path)
	}
	fmt.Fprintf(c.stdout, "\nWhat was there before is kept as %s,\n%s for %s. To bring it back:\n  %s\nIf Tomo is running, restart it.\n",
		printable(report.UndoneBy), how, keyNames(back.names()), c.hint(undo...))
	return nil
}

// printReport prints the table of a report.
func (c *cli) printReport(report backup.Report, headings ...string) error {
	t := totalsOf(report)
	headings = append(headings, "UNCHANGED")
	if t.off() > 0 {
		headings = append(headings, "ALTERED", "EXTRA")
	}
	table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	row := func(name, strategy string, t totals) {
		fmt.Fprintf(table, "%s\t%s", name, strategy)
		for _, n := range []int64{t.added, t.updated, t.deleted, t.skipped, t.unchanged, t.altered, t.extra}[:len(headings)] {
			fmt.Fprint(table, "\t"+count(n))
		}
		fmt.Fprintln(table)
	}
	fmt.Fprintf(table, "COLLECTION\tSTRATEGY\t%s\n", strings.Join(headings, "\t"))
	for _, r := range report.Collections {
		var of totals
		of.add(r)
		row(printable(r.Name), string(r.Strategy), of)
	}
	row("total", "", t)
	if err := table.Flush(); err != nil {
		return err
	}
	for _, r := range report.Collections {
		c.printKeys("Kept as it is in the database, though the backup differs or clashes", r.Name, r.Skipped, r.Conflicts)
		c.printKeys("The database does not leave them as the restore writes them", r.Name, r.Altered, r.AlteredKeys)
		c.printKeys("Others that the database makes, changes, removes or keeps by itself", r.Name, r.Extra, r.ExtraKeys)
		var pairs []string
		for _, from := range slices.Sorted(maps.Keys(r.RekeyedKeys)) {
			pairs = append(pairs, from+" → "+r.RekeyedKeys[from])
		}
		c.printKeys("Under another key than in the backup", r.Name, r.Rekeyed, pairs)
	}
	c.printRemarks(report)
	return nil
}

// printKeys prints the first keys of n records, if there are any.
func (c *cli) printKeys(what, collection string, n int64, keys []string) {
	if n == 0 {
		return
	}
	shown, more := keys[:min(len(keys), maxKeys)], ""
	if hidden := n - int64(len(shown)); hidden > 0 {
		more = fmt.Sprintf(" … and %s more", count(hidden))
	}
	fmt.Fprintf(c.stdout, "%s: %s %s%s\n", what, printable(collection), printable(strings.Join(shown, ", ")), more)
}

const (
	maxKeys    = 10 // keys that are shown for a collection
	maxChanges = 40 // changes that are shown
	maxValue   = 60 // characters of a value that are shown
)

// printPlan shows what a restore would do.
func (c *cli) printPlan(ctx context.Context, plan *manager.Plan, flags restoreFlags, database string) error {
	report := plan.Report()
	fmt.Fprintf(c.stdout, "Restoring %s (made %s by Tomo %s)\ninto %s would do this:\n\n",
		printable(flags.input), moment(report.CreatedAt), printable(report.ApplicationVersion), printable(database))
	if err := c.printReport(report, "ADD", "CHANGE", "DELETE", "KEEP"); err != nil {
		return err
	}
	t := totalsOf(report)
	all := t.added + t.updated + t.deleted + t.skipped
	if all > 0 {
		fmt.Fprintln(c.stdout)
	}
	shown := int64(0)
	for change, err := range plan.Changes(ctx) {
		if err != nil {
			return err
		}
		printChange(c.stdout, change)
		if shown++; shown == maxChanges {
			break
		}
	}
	if more := all - shown; more > 0 {
		fmt.Fprintf(c.stdout, "… and %s more; --json prints all\n", count(more))
	}
	if flags.untried {
		fmt.Fprintln(c.stdout, "\nNothing was changed, and nothing was tried: this was a dry run with --untried.")
	} else {
		fmt.Fprintln(c.stdout, "\nNothing was changed: this was a dry run. The restore was tried, and rolled back.")
	}
	return nil
}

// printChange prints one change, field by field.
func printChange(w io.Writer, change backup.Change) {
	record := printable(change.Collection + " " + change.Key)
	if change.From != "" {
		record += ", in the backup " + printable(change.From)
	}
	switch change.Action {
	case backup.Add:
		fmt.Fprintf(w, "+ %s\n", record)
	case backup.Delete:
		fmt.Fprintf(w, "- %s\n", record)
	case backup.Skip:
		what := "kept"
		if change.With != "" {
			what = "left out: clashes with " + printable(change.With)
		}
		fmt.Fprintf(w, "= %s (%s)\n", record, what)
		printFields(w, change.Fields)
	case backup.Update:
		fmt.Fprintf(w, "~ %s\n", record)
		printFields(w, change.Fields)
	}
}

func printFields(w io.Writer, fields []backup.FieldChange) {
	for _, f := range fields {
		pointer := f.Pointer
		if pointer == "" {
			pointer = "the value"
		}
		fmt.Fprintf(w, "    %s: %s → %s\n", printable(pointer), fieldValue(f.Before), fieldValue(f.After))
	}
}

// fieldValue shows a value, or a part of a long one.
func fieldValue(v json.RawMessage) string {
	if v == nil {
		return "absent"
	}
	return shortened(printable(string(v[:min(len(v), 4*(maxValue+1))])), maxValue)
}

// printPlanJSON prints a plan as one document. There may be millions of changes.
func (c *cli) printPlanJSON(ctx context.Context, plan *manager.Plan) error {
	report, err := json.Marshal(plan.Report())
	if err != nil {
		return err
	}
	out := bufio.NewWriter(c.stdout)
	fmt.Fprintf(out, `{"report":%s,"changes":[`, report)
	if err := writeChanges(out, plan.Changes(ctx)); err != nil {
		return err
	}
	fmt.Fprintln(out, "\n]}")
	return out.Flush()
}

// writeChanges writes the elements of a JSON array of changes, each on a line.
func writeChanges(w io.Writer, changes iter.Seq2[backup.Change, error]) error {
	separator := "\n"
	for change, err := range changes {
		if err != nil {
			return err
		}
		line, err := json.Marshal(change)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s%s", separator, line)
		separator = ",\n"
	}
	return nil
}

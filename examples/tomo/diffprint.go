package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/tomo-project/backup"
)

// printDiff prints a difference for people.
func (c *cli) printDiff(d *diffing, changes iter.Seq2[backup.Change, error], flags diffFlags) error {
	out := bufio.NewWriter(c.stdout)
	defer out.Flush()
	to := fmt.Sprintf("the database %s, as it is now", printable(d.to.Database))
	if d.to.Manifest != nil {
		to = made(d.to)
	}
	fmt.Fprintf(out, "From %s\nto   %s:\n\n", made(d.from), to)
	p := &diffPrinter{out: out, colours: coloured(c.stdout), lines: -1}
	if isTerminal(c.stdout) && !flags.all {
		p.lines = screen(c.stdout)
	}
	for change, err := range changes {
		if err != nil {
			if !p.shown {
				out.Reset(io.Discard) // the heading alone says that nothing changed
			}
			return err
		}
		p.print(change)
	}
	if all := d.added + d.changed + d.deleted; all > 0 {
		if p.hidden > 0 {
			fmt.Fprintf(out, "… and %s more; --all shows all\n", count(p.hidden))
		}
		var by []string
		for _, name := range d.order {
			by = append(by, printable(name)+" "+count(d.counts[name]))
		}
		fmt.Fprintf(out, "\n%s: %s added, %s changed, %s deleted (%s)\n", plural(all, "change", "changes"), count(d.added), count(d.changed), count(d.deleted), strings.Join(by, ", "))
	} else if len(d.skipped) > 0 {
		fmt.Fprintln(out, "Nothing changed in what was compared.")
	} else {
		fmt.Fprintln(out, "Nothing changed.")
	}
	for _, note := range d.notes() {
		fmt.Fprintf(out, "Note: %s\n", note)
	}
	return out.Flush()
}

// made says when a backup was made, and by which Tomo.
func made(side compared) string {
	return fmt.Sprintf("%s (made %s by Tomo %s)", side, moment(side.Manifest.CreatedAt), printable(side.Manifest.ApplicationVersion))
}

// screen returns how many lines of changes fit on a screen, beside what stands around them.
func screen(f *os.File) int {
	const around, least = 9, 5
	_, height, err := term.GetSize(int(f.Fd()))
	if err != nil || height == 0 {
		height = 24
	}
	return max(height-around, least)
}

// coloured tells whether a file is a terminal that shows colours (https://no-color.org).
func coloured(f *os.File) bool {
	return isTerminal(f) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// The colours of a terminal.
const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

// A diffPrinter prints changes, a block for each record.
type diffPrinter struct {
	out     io.Writer
	colours bool
	lines   int   // how many more may be printed; negative: any number
	shown   bool  // a block was printed
	hidden  int64 // changes that were not printed
}

func (p *diffPrinter) print(change backup.Change) {
	if change.Action != backup.Update { // what is not set tells nothing of a record that is all new, or gone
		change.Fields = slices.DeleteFunc(change.Fields, func(f backup.FieldChange) bool { return string(f.Before)+string(f.After) == "null" })
	}
	more := 0 // fields that do not fit
	if p.lines >= 0 {
		needs := 1 + len(change.Fields)
		if p.hidden > 0 || needs > p.lines && p.shown {
			p.hidden++
			return
		}
		if needs > p.lines { // one record alone fills the screen
			more = needs - p.lines + 1
			change.Fields = change.Fields[:len(change.Fields)-more]
		}
		p.lines = max(0, p.lines-needs)
	}
	p.shown = true
	p.block(change)
	if more > 0 {
		fmt.Fprintf(p.out, "    … and %s more\n", plural(int64(more), "field", "fields"))
	}
}

func (p *diffPrinter) block(change backup.Change) {
	sign, colour := "~", yellow
	switch change.Action {
	case backup.Add:
		sign, colour = "+", green
	case backup.Delete:
		sign, colour = "-", red
	}
	label := ""
	if change.Label != "" && change.Label != change.Key {
		label = " (" + shortened(printable(change.Label), maxValue) + ")"
	}
	fmt.Fprintln(p.out, p.in(colour, fmt.Sprintf("%s %s %s%s", sign, printable(change.Collection), shortened(printable(change.Key), maxValue), label)))
	for _, f := range change.Fields {
		pointer := shortened(printable(cmp.Or(f.Pointer, "the value")), maxValue)
		switch change.Action {
		case backup.Add:
			fmt.Fprintf(p.out, "    %s: %s\n", pointer, p.in(green, fieldValue(f.After)))
		case backup.Delete:
			fmt.Fprintf(p.out, "    %s: %s\n", pointer, p.in(red, fieldValue(f.Before)))
		default:
			fmt.Fprintf(p.out, "    %s: %s → %s\n", pointer, p.in(red, fieldValue(f.Before)), p.in(green, fieldValue(f.After)))
		}
	}
}

// in returns a text in a colour.
func (p *diffPrinter) in(colour, text string) string {
	if !p.colours {
		return text
	}
	return colour + text + plain
}

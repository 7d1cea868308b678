package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup/manager"
)

// The exit statuses of tomo backup status, as monitors know them. 0 is for protected.
const (
	statusAtRisk      = 1
	statusUnprotected = 2
	statusUnknown     = 3
)

// statusCommand is the name of the command whose failures mean that nobody can tell.
const statusCommand = "status"

func (c *cli) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   statusCommand,
		Short: "Say how well the data is protected, and why",
		Long: `Say how well the data is protected, and why: whether there is a good backup of
all of it, how old it is, where its copies are, and whether it was tried. The
command reads the lists of files and no backup, so a monitor may run it often.

The exit status is for monitors:

  0  protected     nothing is known to be wrong
  1  at risk       there is a good backup of everything, but something is to be done
  2  unprotected   there is no good backup of everything, or none in reach
  3                nobody can tell: the command failed

What counts as at risk: the backup is overdue, a folder cannot be reached, there
is one copy only or all are on the disk of the database, no key was tried on it,
it has lost data, or no backup was verified for 35 days.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.status(cmd.Context()) },
	}
	c.locationFlags(cmd)
	c.openFlags(cmd)
	return cmd
}

// A verdictError ends the command with the exit status of a verdict. It is no failure.
type verdictError manager.Verdict

func (v verdictError) Error() string { return string(v) }

func (v verdictError) status() int {
	if manager.Verdict(v) == manager.AtRisk {
		return statusAtRisk
	}
	return statusUnprotected
}

func (c *cli) status(ctx context.Context) error {
	k, err := c.lookAround(ctx)
	if err != nil {
		return err
	}
	defer k.Close()
	if on, err := k.settings.yes("backup_enabled"); err != nil {
		return err
	} else if on {
		zone, err := k.settings.zone()
		if err != nil {
			return err
		}
		if k.Schedule, _, err = k.settings.schedule(zone); err != nil {
			return err
		}
	}
	if exists(installationFile(k.DataPath)) { // what another installation has made protects nothing here
		if k.Installation, err = installation(ctx, k.DataPath); err != nil {
			return err
		}
	}
	s, err := k.Status(ctx)
	if err != nil {
		return err
	}
	k.wipe()
	if c.json {
		err = c.printJSON(s)
	} else {
		err = c.printStatus(s)
	}
	if err == nil && s.Verdict != manager.Protected {
		return verdictError(s.Verdict)
	}
	return err
}

func (c *cli) printStatus(s manager.Status) error {
	if _, err := fmt.Fprintf(c.stdout, "%s.\n", printable(s.String())); err != nil {
		return err // nobody has read the verdict
	}
	for _, r := range s.Reasons {
		fmt.Fprintf(c.stdout, "  ! %s\n", printable(r.Text))
	}
	for _, text := range s.Unchecked {
		fmt.Fprintf(c.stdout, "  ? %s\n", printable(text))
	}
	if s.CreatedAt != nil {
		fmt.Fprintf(c.stdout, "Newest good full backup: %s, %s\n", printable(s.Backup), moment(*s.CreatedAt))
	}
	for _, p := range s.Places {
		fmt.Fprintf(c.stdout, "  at %s: %s\n", printable(p.Location), printable(placeText(p)))
	}
	done := func(what string, m *manager.Marked) {
		if m != nil {
			fmt.Fprintf(c.stdout, "%s: %s, %s\n", what, moment(m.At), printable(m.Backup))
		}
	}
	done("Last scheduled", s.Scheduled)
	done("Last verified", s.Verified)
	done("Last drill", s.Drilled)
	done("Last rehearsal", s.Rehearsed)
	if s.Next != nil {
		fmt.Fprintf(c.stdout, "Next: %s\n", moment(*s.Next))
	}
	return nil
}

// placeText says what a folder has of the newest good full backup.
func placeText(p manager.Place) string {
	text := "no copy"
	switch {
	case p.Whole:
		text = "a copy"
	case p.Error != "":
		text = p.Error
	}
	if p.SameDisk != nil && *p.SameDisk {
		text += ", on the disk of the database"
	} else if p.SameDisk != nil {
		text += ", on another file system"
	}
	return text
}

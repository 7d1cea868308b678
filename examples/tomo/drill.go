package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (c *cli) drillCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drill [NAME]",
		Short: "Prove that a backup restores, in a temporary database",
		Long: `Prove that a backup restores: NAME, or else the newest full backup without a known
problem. It is restored
into a temporary database in the folder for temporary files, read back, and
compared record by record. Your own database is not touched. The temporary
database contains the data in clear, and is removed at the end. The drill needs
the passphrase, or the private key with --identity.

It reports how old the data is: that is what you would lose if the disk died now
(the guide's Recovery Point). A backup that does not hold all of the data cannot
tell that. And it reports how long the restore took (Recovery
Time).`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			return c.drill(cmd.Context(), name)
		},
	}
	c.locationFlags(cmd)
	c.openFlags(cmd)
	return cmd
}

func (c *cli) drill(ctx context.Context, name string) error {
	k, err := c.lookAround(ctx)
	if err != nil {
		return err
	}
	defer k.Close()
	report, err := k.Drill(ctx, name)
	if err != nil {
		return explainMissing(err)
	}
	k.wipe()
	if c.json {
		return c.printJSON(report)
	}
	fmt.Fprintf(c.stdout, "%s restores.\n", printable(report.Backup))
	fmt.Fprintf(c.stdout, "  %s restored into a new database, read back and compared: all equal\n", plural(report.Records, "record", "records"))
	switch {
	case report.Age <= 0:
		fmt.Fprintf(c.stdout, "  it does not hold all of the data (%s), so how much would be lost if the disk died now is not told (RPO)\n", printable(report.Holds))
	case name != "": // there may be a newer backup
		fmt.Fprintf(c.stdout, "  the data is %s old: this much would be lost if there were no other backup (RPO)\n", span(report.Age))
	default:
		fmt.Fprintf(c.stdout, "  the data is %s old: this much would be lost if the disk died now (RPO)\n", span(report.Age))
	}
	fmt.Fprintf(c.stdout, "  the restore took %s (RTO), with the comparison %s\n", span(report.Took), span(report.Total))
	c.printRemarks(report.Report)
	return nil
}

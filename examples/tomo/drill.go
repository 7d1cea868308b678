package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (c *cli) drillCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drill [NAME]",
		Short: "Prove that a backup restores, in a database made for it",
		Long: `Prove that a backup restores: the newest one, or NAME. It is restored into a
database made for it in the folder for temporary files, read back and compared
record by record. Your own database is not touched. The temporary one, which
holds the data in clear, is removed at the end. It needs the passphrase, or the
private key with --identity.

It says how old the data is, which is what would be lost if the disk died now
(the guide's Recovery Point), and how long the restore took (Recovery Time).`,
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
	fmt.Fprintf(c.stdout, "  the data is %s old: what would be lost if the disk died now (RPO)\n", span(report.Age))
	fmt.Fprintf(c.stdout, "  the restore took %s (RTO), with the comparison %s\n", span(report.Took), span(report.Total))
	c.printRemarks(report.Report)
	return nil
}

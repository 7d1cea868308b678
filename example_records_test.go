package backup_test

import (
	"context"
	"fmt"

	"github.com/tomo-project/backup"
)

// A person has lost one application. It comes back with the server that it needs, and all
// other records stay as they are.
func ExampleRestoreOptions_records() {
	ctx := context.Background()
	host := exampleHost()
	snapshot := exampleSnapshot(exampleApp, host)
	defer snapshot.Close()
	clear(host["applications"])
	clear(host["servers"])
	host["settings"]["theme"] = `"light"`

	records, err := exampleApp.Resolve(ctx, snapshot, []string{"applications/a1"})
	check(err)
	plan, err := exampleApp.Plan(ctx, snapshot, host, backup.RestoreOptions{
		Strategy: backup.Replace, Records: records, WithReferences: true,
	})
	check(err)
	defer plan.Close()
	for change, err := range plan.Changes(ctx) {
		check(err)
		fmt.Println(change.Action, change.Collection, change.Key)
	}
	_, err = plan.Apply(ctx)
	check(err)
	fmt.Println("theme:", host["settings"]["theme"])
	// Output:
	// add servers s1
	// add applications a1
	// theme: "light"
}

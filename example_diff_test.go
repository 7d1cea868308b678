package backup_test

import (
	"cmp"
	"context"
	"fmt"

	"github.com/tomo-project/backup"
)

// What changed since Monday? Each side may be a snapshot, or the host as it is now. No
// secret is shown.
func ExampleApp_Diff() {
	ctx := context.Background()
	host := exampleHost()
	monday := exampleSnapshot(exampleApp, host)
	defer monday.Close()
	host["servers"] = map[string]string{
		"s1": `{"id":"s1","name":"nas","password":"correct horse"}`,
		"s3": `{"id":"s3","name":"laptop"}`,
	}
	host["settings"]["theme"] = `"light"`

	for change, err := range exampleApp.Diff(ctx, monday, host) {
		check(err)
		if change.Action == backup.Skip {
			fmt.Println("only one of the two has", change.Collection)
			continue
		}
		fmt.Println(change.Action, change.Collection, change.Key)
		for _, f := range change.Fields {
			fmt.Printf("  %s: %s -> %s\n", f.Pointer, cmp.Or(string(f.Before), "absent"), cmp.Or(string(f.After), "absent"))
		}
	}
	// Output:
	// add servers s3
	//   /id: absent -> "s3"
	//   /name: absent -> "laptop"
	// update servers s1
	//   /password: "(secret)" -> "(secret)"
	// delete servers s2
	//   /id: "s2" -> absent
	//   /name: "pi" -> absent
	// update settings theme
	//   : "dark" -> "light"
}

//go:build !race

package integration

import (
	"fmt"

	"github.com/tomo-project/backup"
)

// The samples of the conformance tests for what a database enforces: servers.place is
// unique, as are apps.enabled and apps.slot together, and all references lead to servers.

// unique returns the server or application number with a unique value.
func unique(collection string, number, value int) backup.Record {
	id := fmt.Sprintf("srv-%d", number)
	switch collection {
	case "servers":
		return record(id, fmt.Sprintf(`{"id":%q,"name":"pi","port":null,"parent":null,"place":%d}`, id, value))
	case "apps":
		return record(fmt.Sprint(number), fmt.Sprintf(`{"id":%d,"server":%q,"enabled":true,"weight":1.25,"icon":"AP8Q","slot":%d}`, number, id, value))
	}
	return backup.Record{}
}

// dangling returns a record that refers to a server that does not exist.
func dangling(collection string) backup.Record {
	switch collection {
	case "servers":
		return record("dangles", `{"id":"dangles","name":"pi","port":null,"parent":"gone"}`)
	case "apps":
		return record("5000", `{"id":5000,"server":"gone","enabled":true,"weight":1.25,"icon":"AP8Q"}`)
	case "members":
		return member("dangles", "1", `"gone"`, "null")
	}
	return backup.Record{}
}

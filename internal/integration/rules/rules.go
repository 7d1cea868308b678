// Package rules has the records with which the conformance suite runs on each database
// and each driver.
package rules

import (
	"fmt"
	"strconv"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/codec"
)

// Fixture returns the records. In the tables for them, servers.place is unique, as are
// apps.enabled and apps.slot together, and all references lead to servers.
func Fixture() backuptest.Fixture {
	return backuptest.Fixture{
		Collections: []string{"servers", "apps", "members", "settings"},
		App: &backup.App{
			Name: "conformance", Version: "1.0.0", SchemaVersion: 1,
			Collections: []backup.Collection{
				{Name: "servers", Key: "/id", Refs: []backup.Ref{{Pointer: "/parent", Collection: "servers"}}, Secrets: []string{"/note", "/labels/n/*"}},
				{Name: "apps", Key: "/id", Refs: []backup.Ref{{Pointer: "/server", Collection: "servers"}}},
				{Name: "members", Key: "/usr,/grp", Refs: []backup.Ref{{Pointer: "/server", Collection: "servers"}}, Secrets: []string{"/pin"}},
				{Name: "settings", Shape: backup.Map, Secrets: []string{"/*/token"}},
			},
		},
		Record:     sample,
		WithUnique: unique,
		Dangling:   dangling,
		WithKey: func(collection, key string) backup.Record {
			switch collection {
			case "settings":
				return record(key, `{"a":1}`)
			case "servers":
				return record(key, fmt.Sprintf(`{"id":%s,"name":"n","port":1,"parent":null}`, codec.Quote(key)))
			}
			return backup.Record{}
		},
		WithParts: func(collection, first, second string) backup.Record {
			if collection != "members" {
				return backup.Record{}
			}
			return member(first, second, "null", "null")
		},
	}
}

func record(key, value string) backup.Record {
	return backup.Record{Key: key, Value: []byte(value)}
}

func server(number int) string { return fmt.Sprintf("srv-%d", number) }

// sample returns one of the records of a collection, which differ by their number.
func sample(collection string, number, revision int) backup.Record {
	id := server(number)
	switch {
	case collection == "settings":
		return record(fmt.Sprint("s", number), fmt.Sprintf(`{"n":%d,"revision":[%d,1.50],"token":"made-up-%d"}`, number, revision, number))
	case collection == "members": // each shares a part of its key with others
		return member(strconv.Itoa(number/10), strconv.Itoa(number%10), fmt.Sprintf("%q", id), fmt.Sprintf(`"made-up-%d-%d"`, number, revision))
	case collection == "apps":
		return record(fmt.Sprint(number), fmt.Sprintf(`{"id":%d,"server":%q,"enabled":%t,"weight":%d.25,"icon":"AP8Q"}`, number, id, revision == 0, number))
	case revision == 0:
		return record(id, fmt.Sprintf(`{"id":%q,"name":"nas","port":9007199254740993,"labels":{"n":[%d.0,null]},"note":"a \"note\"","parent":null}`, id, number))
	default:
		return record(id, fmt.Sprintf(`{"id":%q,"name":"pi","port":null,"parent":null}`, id))
	}
}

// member returns a record that is identified by two columns, the second of which is the
// first in the table.
func member(usr, grp, server, pin string) backup.Record {
	return record(codec.JoinKey([]string{usr, grp}), fmt.Sprintf(`{"grp":%s,"usr":%s,"server":%s,"pin":%s}`, codec.Quote(grp), codec.Quote(usr), server, pin))
}

// unique returns the server or application number with a unique value.
func unique(collection string, number, value int) backup.Record {
	id := server(number)
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

package main

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

func TestStoreKeepsTheRules(t *testing.T) {
	newStore := func(*testing.T) backuptest.Store { return &store{data: records{"notes": {}, "settings": {}}} }
	backuptest.TestStore(t, newStore, backuptest.Fixture{
		Collections: []string{"notes", "settings"},
		Record: func(collection string, number, revision int) backup.Record {
			key := fmt.Sprint(number)
			if collection == "settings" {
				return backup.Record{Key: key, Value: json.RawMessage(fmt.Sprint(revision))}
			}
			return backup.Record{Key: key, Value: note(number, fmt.Sprint("revision ", revision))}
		},
	})
}

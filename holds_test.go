package backup_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

func TestABackupSaysWhatItHolds(t *testing.T) {
	app := &backup.App{Name: "tomo", Version: "1.0.0", SchemaVersion: 3}
	for _, name := range []string{"servers", "users", "notes", "settings", "teams", "logs"} {
		app.Collections = append(app.Collections, backup.Collection{Name: name, Key: "/id", Optional: name == "logs"})
	}
	has := func(names ...string) map[string]int64 {
		records := map[string]int64{}
		for _, name := range names {
			records[name] = 0
		}
		return records
	}
	all := has("servers", "users", "notes", "settings", "teams")
	for words, m := range map[string]backup.Manifest{
		"Full":                              {SchemaVersion: 3, Format: "x", Records: all},
		"All but users":                     {SchemaVersion: 3, Format: "x", Partial: true, Records: has("servers", "notes", "settings", "teams", "logs")},
		"Servers only":                      {SchemaVersion: 3, Format: "x", Partial: true, Records: has("servers")},
		"Servers and users only":            {SchemaVersion: 3, Records: has("servers", "users")}, // before "partial" was written
		"Étagères only":                     {SchemaVersion: 2, Partial: true, Records: has("étagères")},
		"A, b, c and 2 more only":           {SchemaVersion: 2, Partial: true, Records: has("a", "b", "c", "d", "e")},
		"2 collections":                     {SchemaVersion: 2, Records: has("a", "b")}, // nothing tells
		"Partial":                           {SchemaVersion: 3, Partial: true},
		"No collection":                     {SchemaVersion: 3, Partial: true, Records: has()},
		"Before a restore: notes only":      {SchemaVersion: 3, Partial: true, Records: has("notes"), Metadata: map[string]string{"trigger": "before restore"}},
		"Before a restore: full":            {SchemaVersion: 3, Format: "x", Records: all, Metadata: map[string]string{"trigger": "before restore"}},
		"Salvaged":                          {SchemaVersion: 3, Format: "x", Records: all, Salvaged: &backup.Salvaged{}},
		"The database":                      {Database: true},
		"1 collection":                      {SchemaVersion: 3, Application: "another", Records: has("a")},
		"0 collections":                     {SchemaVersion: 3},
		"Before a restore: all but servers": {SchemaVersion: 3, Records: has("users", "notes", "settings", "teams"), Metadata: map[string]string{"trigger": "before restore"}},
		"Servers, settings, teams and users only": {SchemaVersion: 3, Partial: true, Records: has("servers", "settings", "teams", "users"), Application: "another"},
	} {
		require.Equal(t, words, app.Holds(m))
	}
	require.True(t, app.Partial(backup.Manifest{SchemaVersion: 3, Records: has("servers")}))
	require.False(t, app.Partial(backup.Manifest{SchemaVersion: 3, Format: "x", Records: has("servers")}), "it says of itself that it is full")
	require.False(t, app.Partial(backup.Manifest{SchemaVersion: 3, Records: all}))
}

func TestAVerdictNamesWhatABackupLacks(t *testing.T) {
	app := homelab()
	records := map[string]int64{"servers": 1}
	checked := backup.Report{Collections: []backup.CollectionReport{{Name: "servers"}}}
	for words, m := range map[string]backup.Manifest{
		"is whole and can be restored":                                                                          {Format: "x", SHA256: "00", Records: records},
		"is whole and can be restored; it is partial: servers only":                                             {Format: "x", SHA256: "00", Records: records, Partial: true},
		"can be restored, and has no digest to tell whether it is whole":                                        {Format: "x", Records: records},
		"can be restored, but was salvaged: lost are all of users, 7 bytes of the damaged file, and maybe more": {Format: "x", SHA256: "00", Records: records, Salvaged: &backup.Salvaged{LostBytes: 7, LostCollections: []string{"users"}}},
		"can be restored, but was salvaged: nothing is known to be lost":                                        {Format: "x", SHA256: "00", Records: records, Salvaged: &backup.Salvaged{Counts: "known"}},
	} {
		require.Equal(t, words, app.Verdict(m, checked))
	}
	require.Equal(t, "is whole, as far as its digest tells; it is partial: servers only", app.Verdict(backup.Manifest{SHA256: "00", Partial: true, Records: records}, backup.Report{}))
}

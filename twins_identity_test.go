package backup_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

// What tells nothing about a record must not tell that it is another.

func TestAUniqueWithAReferenceOfAnotherInstallationTellsNothing(t *testing.T) {
	app := shopApp()
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"1": `{"id":1,"name":"ann"}`}, "notes": {"5": `{"id":5,"user":1,"title":"a","text":"of ann"}`}, "log": {}})
	here := records{"9": `{"id":9,"user":1,"title":"a","text":"of bob"}`}
	host := shop(records{"1": `{"id":1,"name":"bob"}`}, here, nil)
	opts := backup.RestoreOptions{Strategy: backup.Merge, Installation: "here", Only: []string{"notes"}}
	_, err := app.Plan(t.Context(), s, host, opts)
	require.ErrorContains(t, err, `notes "5" /user,/title clashes with "9"`, "the note is not merged into that of another user")
	opts.SkipClashes = true
	tried(t, app, s, host, opts)
	require.Equal(t, here, host.MapStore["notes"])
}

func TestAUniqueThatHoldsReferencesToItsOwnCollectionTellsNothing(t *testing.T) {
	app := &backup.App{Name: "shop", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "nodes", Key: "/id", Unique: []string{"/name", "/in"}, Refs: []backup.Ref{{Pointer: "/in/*", Collection: "nodes"}}},
	}}
	s := snapshotOf(t, app, backuptest.MapStore{"nodes": {"1": `{"id":1,"name":"x"}`, "2": `{"id":2,"in":[1]}`}})
	here := records{"1": `{"id":1,"name":"other"}`, "7": `{"id":7,"name":"x"}`, "9": `{"id":9,"in":[1]}`}
	host := backuptest.RuledStore{MapStore: backuptest.MapStore{"nodes": here}, Numbered: []string{"nodes"}}
	opts := backup.RestoreOptions{Strategy: backup.Merge, Installation: "here"}
	tried(t, app, s, host, opts)
	require.Equal(t, records{"1": here["1"], "7": here["7"], "9": here["9"], "2": `{"id":2,"in":[7]}`}, host.MapStore["nodes"])
	twice(t, app, s, host, opts)
}

func TestAKeyThatHoldsAReferenceIsNoNumber(t *testing.T) {
	app := &backup.App{Name: "shop", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "users", Key: "/id", Unique: []string{"/name"}},
		{Name: "profiles", Key: "/id", Unique: []string{"/nick"}, Refs: []backup.Ref{{Pointer: "/id", Collection: "users"}}},
	}}
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"1": `{"id":1,"name":"ann"}`, "2": `{"id":2,"name":"bob"}`}, "profiles": {"1": `{"id":1,"nick":"a"}`, "2": `{"id":2,"nick":"b"}`}})
	host := backuptest.RuledStore{Numbered: []string{"users", "profiles"}, MapStore: backuptest.MapStore{
		"users":    {"1": `{"id":1,"name":"zoe"}`, "7": `{"id":7,"name":"ann"}`},
		"profiles": {"1": `{"id":1,"nick":"z"}`, "7": `{"id":7,"nick":"old"}`}}}
	opts := backup.RestoreOptions{Strategy: backup.Merge, Installation: "here"}
	tried(t, app, s, host, opts)
	require.Equal(t, records{"1": `{"id":1,"nick":"z"}`, "7": `{"id":7,"nick":"a"}`, "2": `{"id":2,"nick":"b"}`}, host.MapStore["profiles"])
	twice(t, app, s, host, opts)
}

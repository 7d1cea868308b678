package backup_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

// shopApp has records that each installation numbers by itself.
func shopApp() *backup.App {
	return &backup.App{Name: "shop", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "users", Key: "/id", Unique: []string{"/name"}},
		{Name: "notes", Key: "/id", Unique: []string{"/user,/title"}, Refs: []backup.Ref{{Pointer: "/user", Collection: "users"}}},
		{Name: "log", Key: "/id", Refs: []backup.Ref{{Pointer: "/user", Collection: "users"}}},
	}}
}

func shop(users, notes, log records) backuptest.RuledStore {
	host := backuptest.RuledStore{MapStore: backuptest.MapStore{"users": users, "notes": notes, "log": log}, Numbered: []string{"users", "notes", "log"},
		Unique: map[string][]string{"users": {"/name"}, "notes": {"/user,/title"}},
		Refs:   map[string][]backup.Ref{"notes": {{Pointer: "/user", Collection: "users"}}, "log": {{Pointer: "/user", Collection: "users"}}}}
	for name, records := range host.MapStore {
		if records == nil {
			host.MapStore[name] = map[string]string{}
		}
	}
	return host
}

func TestTwoInstallationsBecomeOne(t *testing.T) {
	app := shopApp()
	s := snapshotOf(t, app, backuptest.MapStore{
		"users": {"1": `{"id":1,"name":"ann"}`, "2": `{"id":2,"name":"bob"}`, "3": `{"id":3,"name":"cid"}`, "4": `{"id":4,"name":"dan"}`, "12": `{"id":12,"name":"eve"}`},
		"notes": {"1": `{"id":1,"user":1,"title":"a"}`, "2": `{"id":2,"user":2,"title":"a"}`, "3": `{"id":3,"user":3,"title":"x"}`},
		"log":   {},
	})
	for _, strategy := range []backup.Strategy{backup.SkipDuplicates, backup.Merge} {
		host := shop(
			records{"1": `{"id":1,"name":"bob","here":1}`, "2": `{"id":2,"name":"zoe"}`, "3": `{"id":3,"name":"cid","here":3}`, "11": `{"id":11,"name":"max"}`},
			records{"1": `{"id":1,"user":1,"title":"a","here":1}`, "2": `{"id":2,"user":2,"title":"a"}`}, nil)
		opts := backup.RestoreOptions{Strategy: strategy, Installation: "here"}
		report := tried(t, app, s, host, opts)
		require.Equal(t, backuptest.MapStore{
			"users": {"1": `{"id":1,"name":"bob","here":1}`, "2": `{"id":2,"name":"zoe"}`, "3": `{"id":3,"name":"cid","here":3}`, "11": `{"id":11,"name":"max"}`,
				"13": `{"id":13,"name":"ann"}`, "4": `{"id":4,"name":"dan"}`, "12": `{"id":12,"name":"eve"}`},
			"notes": {"1": `{"id":1,"user":1,"title":"a","here":1}`, "2": `{"id":2,"user":2,"title":"a"}`,
				"4": `{"id":4,"user":13,"title":"a"}`, "3": `{"id":3,"user":3,"title":"x"}`},
			"log": {},
		}, host.MapStore, "12 is free, and the snapshot has a record for it")
		require.Equal(t, map[string]string{"1": "13", "2": "1"}, report.Collections[0].RekeyedKeys)
		require.Equal(t, map[string]string{"1": "4", "2": "1"}, report.Collections[1].RekeyedKeys)
		twice(t, app, s, host, opts)
	}
}

func TestTheSameInstallationGoesByKey(t *testing.T) {
	app := shopApp()
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"1": `{"id":1,"name":"ann"}`}, "notes": {}, "log": {}})
	for _, installation := range []string{"", "there"} {
		host := shop(records{"1": `{"id":1,"name":"bob"}`}, nil, nil)
		tried(t, app, s, host, backup.RestoreOptions{Strategy: backup.Merge, Installation: installation})
		require.Equal(t, records{"1": `{"id":1,"name":"ann"}`}, host.MapStore["users"])
	}
	host := shop(records{"1": `{"id":1,"name":"bob"}`}, nil, nil)
	host.Numbered = nil
	tried(t, app, s, host, backup.RestoreOptions{Strategy: backup.Merge, Installation: "here"})
	require.Equal(t, records{"1": `{"id":1,"name":"ann"}`}, host.MapStore["users"], "keys that nobody counts are the same everywhere")
	host = shop(records{"1": `{"id":1,"name":"bob"}`}, nil, nil)
	tried(t, app, s, host, backup.RestoreOptions{Strategy: backup.Replace, Installation: "here"})
	require.Equal(t, records{"1": `{"id":1,"name":"ann"}`}, host.MapStore["users"])
}

func TestWhatTellsNothingIsSaid(t *testing.T) {
	app := shopApp()
	s := snapshotOf(t, app, backuptest.MapStore{"users": {"1": `{"id":1,"name":"ann"}`}, "notes": {}, "log": {"1": `{"id":1,"user":1}`, "2": `{"id":2}`}})
	host := shop(records{"1": `{"id":1,"name":"bob"}`}, nil, records{"2": `{"id":2}`})
	opts := backup.RestoreOptions{Installation: "here"}
	report := tried(t, app, s, host, opts)
	require.Equal(t, []string{"the backup is of another installation, and each numbers its log by itself: records with the same key are taken for the same, which they need not be; declare what is Unique of log"}, report.Warnings)
	require.Equal(t, records{"1": `{"id":1,"user":2}`, "2": `{"id":2}`}, host.MapStore["log"])
	twice(t, app, s, host, opts)

	opts.Only = []string{"notes"}
	report = tried(t, app, s, host, opts)
	require.Equal(t, []string{"the backup is of another installation, and each numbers its users by itself: /user of notes may refer to other records here; restore users too"}, report.Warnings)
}

func TestARecordThatNothingIdentifiesClashes(t *testing.T) {
	app := shopApp()
	there := backuptest.MapStore{"users": {"1": `{"id":1,"n":1}`, "2": `{"id":2,"n":2}`, "3": `{"id":3,"n":3}`},
		"notes": {"1": `{"id":1,"user":1,"title":"a"}`, "2": `{"id":2,"user":2,"title":"a"}`}, "log": {}}
	s := snapshotOf(t, app, there)
	here := records{"1": `{"id":1,"n":7}`, "2": `{"id":2,"n":2}`}
	opts := backup.RestoreOptions{Installation: "here"}
	_, err := app.Plan(t.Context(), s, shop(here, nil, nil), opts)
	require.ErrorIs(t, err, backup.ErrClash)
	require.ErrorContains(t, err, `users "1" (byte`)
	require.ErrorContains(t, err, `the host has another record under the key "1", and nothing tells whether it is the same`)
	for _, dangling := range []bool{false, true} {
		opts.SkipClashes, opts.AllowDangling = true, dangling
		host := shop(here, nil, nil)
		report := tried(t, app, s, host, opts)
		require.Len(t, report.LeftOut, 2)
		require.Equal(t, records{"1": here["1"], "2": here["2"], "3": there["users"]["3"]}, host.MapStore["users"])
		require.Equal(t, records{"2": there["notes"]["2"]}, host.MapStore["notes"], "a note of the other 1 is not given to ours")
		twice(t, app, s, host, opts)
	}
}

func TestAReferenceToAnUnknownNumberIsDangling(t *testing.T) {
	app := shopApp()
	s := backedUp(t, app, backuptest.MapStore{"users": {}, "notes": {"1": `{"id":1,"user":1,"title":"a"}`}, "log": {}},
		backup.BackupOptions{LeaveOutInvalid: true, Installation: "there", Serial: 1})
	host := shop(records{"1": `{"id":1,"name":"bob"}`}, nil, nil)
	_, err := app.Plan(t.Context(), s, host, backup.RestoreOptions{Installation: "here"})
	require.ErrorIs(t, err, backup.ErrDangling)
	require.ErrorContains(t, err, `notes "1" /user`)
}

func TestFreshKeysAreNoneOfTheSnapshot(t *testing.T) {
	app := shopApp()
	users, here := records{}, records{}
	for i := range 2000 {
		users[strconv.Itoa(i+1)] = fmt.Sprintf(`{"id":%d,"name":"there%d"}`, i+1, i)
	}
	for i := range 10 {
		here[strconv.Itoa(i+1)] = fmt.Sprintf(`{"id":%d,"name":"here%d"}`, i+1, i)
	}
	s := snapshotOf(t, app, backuptest.MapStore{"users": users, "notes": {}, "log": {}})
	host := shop(here, nil, nil)
	opts := backup.RestoreOptions{Installation: "here"}
	report := tried(t, app, s, host, opts)
	require.Equal(t, int64(10), report.Collections[0].Rekeyed)
	require.Len(t, host.MapStore["users"], 2010)
	for from, to := range report.Collections[0].RekeyedKeys {
		n, err := strconv.Atoi(to)
		require.NoError(t, err)
		require.Greater(t, n, 2000, from)
	}
	twice(t, app, s, host, opts)
}

package backup_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/testtime"
)

// officeApp has records that refer to others in every way, also by their keys.
func officeApp() *backup.App {
	return &backup.App{Name: "office", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "users", Key: "/id", Unique: []string{"/name", "fold:/mail"}},
		{Name: "folders", Key: "/id", Unique: []string{"/path", "/owner,/parent,/name"}, Refs: []backup.Ref{{Pointer: "/parent", Collection: "folders"}, {Pointer: "/owner", Collection: "users"}}},
		{Name: "members", Key: "/folder,/user", Refs: []backup.Ref{{Pointer: "/folder", Collection: "folders"}, {Pointer: "/user", Collection: "users"}}},
		{Name: "shares", Key: "/id", Refs: []backup.Ref{{Pointer: "/folder,/user", Collection: "members"}, {Pointer: "/with/*", Collection: "users"}}},
	}}
}

func officeStore(data backuptest.MapStore, numbered bool) backuptest.RuledStore {
	store := backuptest.RuledStore{MapStore: data, Unique: map[string][]string{}, Refs: map[string][]backup.Ref{}}
	for _, col := range officeApp().Collections {
		store.Unique[col.Name], store.Refs[col.Name] = col.Unique, col.Refs
	}
	store.Unique["users"] = []string{"/name", "/mail"} // all addresses are in small letters
	if numbered {
		store.Numbered = []string{"users", "folders"}
	}
	return store
}

// office returns the random data of an installation. It breaks none of its rules.
func office(r *rand.Rand) backuptest.MapStore {
	data := backuptest.MapStore{"users": {}, "folders": {}, "members": {}, "shares": {}}
	free := func(collection string, numbers int) int {
		for {
			if n := r.IntN(numbers) + 1; data[collection][fmt.Sprint(n)] == "" {
				return n
			}
		}
	}
	add := func(collection, key string, value map[string]any) {
		text, _ := json.Marshal(value)
		old := data[collection][key]
		data[collection][key] = string(text)
		if found := officeBroken(data); len(found) > 0 || old != "" {
			if delete(data[collection], key); old != "" {
				data[collection][key] = old
			}
		}
	}
	some := func(collection string) (string, map[string]any) {
		keys := slices.Sorted(maps.Keys(data[collection]))
		if len(keys) == 0 {
			return "", nil
		}
		key, value := keys[r.IntN(len(keys))], map[string]any{}
		_ = json.Unmarshal([]byte(data[collection][key]), &value)
		return key, value
	}
	for range r.IntN(5) {
		n, user := free("users", 8), map[string]any{"note": r.IntN(3)}
		user["id"] = n
		if r.IntN(4) > 0 {
			user["name"] = fmt.Sprint("name", r.IntN(5))
		}
		if r.IntN(2) > 0 {
			user["mail"] = fmt.Sprint("mail", r.IntN(5))
		}
		add("users", fmt.Sprint(n), user)
	}
	for range r.IntN(7) {
		n, folder := free("folders", 10), map[string]any{"note": r.IntN(3)}
		folder["id"] = n
		if _, parent := some("folders"); parent != nil && r.IntN(4) > 0 {
			folder["parent"], folder["name"] = parent["id"], fmt.Sprint("f", r.IntN(2))
		} else {
			folder["path"] = fmt.Sprint("/", r.IntN(2))
		}
		if _, owner := some("users"); owner != nil && r.IntN(4) > 0 {
			folder["owner"] = owner["id"]
		}
		add("folders", fmt.Sprint(n), folder)
	}
	for range r.IntN(5) {
		_, folder := some("folders")
		if _, user := some("users"); user != nil && folder != nil {
			add("members", backup.JoinKey(fmt.Sprint(folder["id"]), fmt.Sprint(user["id"])), map[string]any{"folder": folder["id"], "user": user["id"], "note": r.IntN(3)})
		}
	}
	for i := range r.IntN(4) {
		_, member := some("members")
		if _, user := some("users"); member != nil {
			add("shares", fmt.Sprint("s", i), map[string]any{"id": fmt.Sprint("s", i), "folder": member["folder"], "user": member["user"], "with": []any{user["id"], nil}})
		}
	}
	return data
}

// officeBroken returns what is wrong with the data of an installation.
func officeBroken(data backuptest.MapStore) (found []error) {
	empty := backuptest.MapStore{"users": {}, "folders": {}, "members": {}, "shares": {}}
	err := officeStore(empty, false).Update(context.Background(), func(w backup.Writer) error {
		for name, records := range data {
			var all []backup.Record
			for key, value := range records {
				all = append(all, backup.Record{Key: key, Value: json.RawMessage(value)})
			}
			if err := w.Put(context.Background(), name, all); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		found = append(found, err)
	}
	return found
}

func TestTwinsOfRandomInstallations(t *testing.T) {
	refused, moved := 0, 0
	for seed := range testtime.Pick(t, uint64(1500), uint64(20000)) {
		r := rand.New(rand.NewPCG(seed, 18))
		there, here := office(r), office(r)
		require.Empty(t, officeBroken(there), seed)
		numbered := r.IntN(2) == 0
		opts := backup.RestoreOptions{Strategy: []backup.Strategy{backup.SkipDuplicates, backup.Merge}[r.IntN(2)], SkipClashes: r.IntN(3) > 0}
		if numbered {
			opts.Installation = "here"
		}
		host := officeStore(here, numbered)
		before := host.Clone()
		s := snapshotOf(t, officeApp(), there)
		var back *backup.Snapshot
		opts.Before = func(_ context.Context, held backup.DataSource, names []string) error {
			back = backedUp(t, officeApp(), held, backup.BackupOptions{Only: names})
			return nil
		}
		p, err := officeApp().Plan(t.Context(), s, host, opts)
		if errors.Is(err, backup.ErrClash) && !opts.SkipClashes {
			refused++
			require.Equal(t, before, host.MapStore, seed)
			continue
		}
		require.NoError(t, err, seed)
		report, err := p.Apply(t.Context())
		require.NoError(t, err, seed)
		require.Equal(t, withoutDuration(p.Report()), withoutDuration(report), seed)
		after := host.Clone()
		require.Empty(t, officeBroken(after), seed)
		moved += int(checkArrivals(t, seed, there, before, after, report))

		again, err := officeApp().Restore(t.Context(), s, host, opts)
		require.NoError(t, err, seed)
		if len(report.LeftOut) == 0 { // otherwise it may have changed what a record clashed with
			require.False(t, again.Changed(), "seed %d: twice is once", seed)
			require.Equal(t, after, host.MapStore, seed)
		}

		if back = nil; report.Changed() {
			back = backedUp(t, officeApp(), before, backup.BackupOptions{})
			_, err = officeApp().Restore(t.Context(), back, host, backup.RestoreOptions{Strategy: backup.Replace, AsItWas: true})
			require.NoError(t, err, seed)
			require.Equal(t, before, host.MapStore, "seed %d: undo is exact", seed)
		}
	}
	require.Greater(t, refused, 10)
	require.Greater(t, moved, 100)
}

// checkArrivals checks that nothing of the host is lost, and that each record of the snapshot
// refers to what it referred to.
func checkArrivals(t *testing.T, seed uint64, there, before, after backuptest.MapStore, report backup.Report) (moved int64) {
	left := map[[2]string]bool{}
	for _, e := range report.LeftOut {
		left[[2]string{e.Collection, e.Key}] = true
	}
	to := map[string]map[string]string{}
	for _, c := range report.Collections {
		to[c.Name] = c.RekeyedKeys
		moved += c.Rekeyed
		for key, old := range before[c.Name] {
			require.Contains(t, after[c.Name], key, seed)
			if c.Strategy == backup.SkipDuplicates {
				require.Equal(t, old, after[c.Name][key], seed)
			}
		}
	}
	arrival := func(collection, key string) string {
		if moved, ok := to[collection][key]; ok {
			return moved
		}
		return key
	}
	for _, col := range officeApp().Collections {
		for key, text := range there[col.Name] {
			if left[[2]string{col.Name, key}] {
				continue
			}
			at := arrival(col.Name, key)
			require.Contains(t, after[col.Name], at, "seed %d: %s %s", seed, col.Name, key)
			_, old := before[col.Name][at]
			if old && report.Collections[0].Strategy == backup.SkipDuplicates {
				continue
			}
			var was, is map[string]any
			require.NoError(t, json.Unmarshal([]byte(text), &was))
			require.NoError(t, json.Unmarshal([]byte(after[col.Name][at]), &is))
			require.Equal(t, was["note"], is["note"], seed)
			for member, target := range map[string]string{"parent": "folders", "owner": "users", "user": "users", "folder": "folders"} {
				if ref, ok := was[member]; ok {
					require.Equal(t, arrival(target, fmt.Sprint(ref)), fmt.Sprint(is[member]), "seed %d: %s of %s %s", seed, member, col.Name, key)
				}
			}
		}
	}
	return moved
}

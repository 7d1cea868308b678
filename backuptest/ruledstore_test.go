package backuptest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

// users is a store in which a name belongs to one user, and a note to a user.
func users(data MapStore) RuledStore {
	return RuledStore{
		MapStore: data,
		Unique:   map[string][]string{"users": {"/name", "/team,/seat"}},
		Refs:     map[string][]backup.Ref{"notes": {{Pointer: "/user", Collection: "users"}, {Pointer: "/seen/*", Collection: "users"}}},
	}
}

func rec(key, value string) backup.Record {
	return backup.Record{Key: key, Value: json.RawMessage(value)}
}

// put returns a write that puts one record after the other, each in a call of its own.
func put(ctx context.Context, collection string, records ...backup.Record) func(backup.Writer) error {
	return func(w backup.Writer) error {
		for _, r := range records {
			if err := w.Put(ctx, collection, []backup.Record{r}); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestARuledStoreTakesEveryEndStateThatKeepsItsRules(t *testing.T) {
	ctx := t.Context()
	store := users(MapStore{"users": {"1": `{"name":"bob"}`, "2": `{"name":"carol", "team":"a","seat":1}`}, "notes": {}})
	require.NoError(t, store.Update(ctx, func(w backup.Writer) error {
		return errors.Join(
			put(ctx, "notes", rec("n", `{"user":"3","seen":["1",null]}`))(w),
			put(ctx, "users", rec("1", `{"name":"carol","team":"a"}`), rec("2", `{"name":"bob","team":"a","seat":null}`), rec("3", `{"name":null}`), rec("4", `{}`))(w))
	}))
	require.Len(t, store.MapStore["users"], 4)
	require.NoError(t, store.Update(ctx, func(w backup.Writer) error {
		return errors.Join(w.Delete(ctx, "users", []string{"3"}), w.Delete(ctx, "notes", []string{"n"}))
	}))
}

func TestARuledStoreNamesBothRecordsOfAClash(t *testing.T) {
	ctx := t.Context()
	for name, c := range map[string]struct {
		record    backup.Record
		key, with string
		pointer   string
	}{
		"a new record":              {rec("0", `{"name":"bob"}`), "0", "1", "/name"},
		"a changed record":          {rec("2", `{"name":"bob"}`), "2", "1", "/name"},
		"a value of two parts":      {rec("0", `{"team":"a","seat":1.0}`), "0", "2", "/team,/seat"},
		"a name and another record": {rec("1", `{"name":"carol"}`), "1", "2", "/name"},
	} {
		t.Run(name, func(t *testing.T) {
			store := users(MapStore{"users": {"1": `{"name":"bob"}`, "2": `{"name":"carol","team":"a","seat":1}`}})
			before := store.Clone()
			err := store.Update(ctx, put(ctx, "users", c.record))
			var broken *backup.RecordError
			require.ErrorAs(t, err, &broken)
			require.ErrorIs(t, err, backup.ErrClash)
			require.ErrorIs(t, err, backup.ErrRolledBack)
			require.Equal(t, []string{"users", c.key, c.with, c.pointer}, []string{broken.Collection, broken.Key, broken.With, broken.Pointer})
			require.Equal(t, before, store.MapStore)
		})
	}
}

func TestARuledStoreRefusesAReferenceThatDanglesUnlessItIsAllowed(t *testing.T) {
	ctx := t.Context()
	data := func() MapStore {
		return MapStore{"users": {"1": `{}`}, "notes": {"n": `{"user":"1"}`, "old": `{"user":"gone"}`}}
	}
	for name, write := range map[string]func(backup.Writer) error{
		"the target is deleted":  func(w backup.Writer) error { return w.Delete(ctx, "users", []string{"1"}) },
		"the target never comes": put(ctx, "notes", rec("n", `{"user":"2"}`)),
		"one of a list":          put(ctx, "notes", rec("n", `{"seen":["1","2"]}`)),
	} {
		t.Run(name, func(t *testing.T) {
			store := users(data())
			err := store.Update(ctx, write)
			require.ErrorIs(t, err, backup.ErrDangling)
			require.ErrorContains(t, err, `notes "n"`)
			require.NotContains(t, err.Error(), "old", "what dangles in the host's data stands in nobody's way")
			require.Equal(t, data(), store.MapStore)

			require.NoError(t, store.Update(ctx, func(w backup.Writer) error {
				w.(*ruledWriter).AllowDangling(true)
				return write(w)
			}))
			require.NotEqual(t, data(), store.MapStore)
		})
	}
}

func TestARuledStoreSettlesAgainAndIsDeadAfterAnError(t *testing.T) {
	ctx := t.Context()
	store := users(MapStore{"users": {"1": `{"name":"bob"}`, "2": `{"name":"carol"}`}})
	require.NoError(t, store.Update(ctx, func(w backup.Writer) error {
		settle := w.(*ruledWriter).Settle
		return errors.Join(
			put(ctx, "users", rec("1", `{"name":"carol"}`), rec("2", `{"name":"bob"}`))(w), settle(ctx),
			put(ctx, "users", rec("1", `{"name":"bob"}`), rec("2", `{"name":"dan"}`))(w), settle(ctx))
	}))
	want := MapStore{"users": {"1": `{"name":"bob"}`, "2": `{"name":"dan"}`}}
	require.Equal(t, want, store.MapStore)

	err := store.Update(ctx, func(w backup.Writer) error {
		require.NoError(t, put(ctx, "users", rec("3", `{"name":"dan"}`))(w))
		require.ErrorIs(t, w.(*ruledWriter).Settle(ctx), backup.ErrClash)
		require.Error(t, w.Delete(ctx, "users", []string{"3"}))
		return nil
	})
	require.ErrorIs(t, err, backup.ErrClash)
	require.Equal(t, want, store.MapStore)
}

func TestTheWriterOfARuledStoreReadsItsTransaction(t *testing.T) {
	ctx := t.Context()
	store := users(MapStore{"users": {"1": `{}`}, "notes": {}})
	var kept backup.Reader
	require.NoError(t, store.Update(ctx, func(w backup.Writer) error {
		kept = w.(backup.Reader)
		require.NoError(t, put(ctx, "users", rec("0", `{"a":1}`))(w))
		require.Equal(t, []backup.Record{rec("0", `{"a":1}`), rec("1", `{}`)}, gather(kept.Records(ctx, "users")))
		for range kept.Records(ctx, "users") {
			require.Error(t, w.Delete(ctx, "users", []string{"1"}), "called inside a loop")
		}
		parents, err := w.(*ruledWriter).Parents(ctx, "notes")
		require.Equal(t, []string{"users"}, parents)
		return err
	}))
	for _, err := range kept.Records(ctx, "users") {
		require.ErrorIs(t, err, errOver)
	}
}

func TestAFaultyStoreFailsAtSettle(t *testing.T) {
	ctx := t.Context()
	store := users(MapStore{"users": {}, "notes": {}})
	write := func(w backup.Writer) error {
		return errors.Join(put(ctx, "users", rec("1", `{}`))(w), w.(settler).Settle(ctx))
	}
	f := &Faulty{Source: store, Sink: store, On: CallSettle, Nth: 1, Err: io.ErrUnexpectedEOF}
	require.ErrorIs(t, f.Update(ctx, write), io.ErrUnexpectedEOF)
	require.Empty(t, store.MapStore["users"])
	require.NoError(t, f.Update(ctx, write))
	require.Equal(t, 2, f.Count())
	require.Len(t, store.MapStore["users"], 1)
}

// What triggers do in the databases of hosts.
func TestTriggersOfARuledStoreDoWhatTriggersOfADatabaseDo(t *testing.T) {
	ctx := t.Context()
	value := func(w backup.Writer, collection, key string) (v map[string]any, err error) {
		found, err := w.Lookup(ctx, collection, []string{key})
		for _, r := range found {
			err = errors.Join(err, json.Unmarshal(r.Value, &v))
		}
		return v, err
	}
	count := Trigger{Name: "count", Do: func(ctx context.Context, w backup.Writer, c Change) error {
		v, err := value(w, "counters", c.Collection)
		if err != nil {
			return err
		}
		n, _ := v["n"].(float64)
		switch {
		case c.Before == nil:
			n++
		case c.After == nil:
			n--
		}
		return put(ctx, "counters", rec(c.Collection, fmt.Sprintf(`{"n":%v}`, n)))(w)
	}}
	stamp := Trigger{Name: "stamp", Do: func(ctx context.Context, w backup.Writer, c Change) error {
		if c.After == nil {
			return nil
		}
		return put(ctx, c.Collection, rec(c.Key, `{"updated_at":"now"}`))(w)
	}}
	softly := Trigger{Name: "softly", Do: func(ctx context.Context, w backup.Writer, c Change) error {
		if c.After != nil {
			return nil
		}
		return put(ctx, c.Collection, backup.Record{Key: c.Key, Value: c.Before})(w)
	}}
	forbid := Trigger{Name: "forbid", Do: func(context.Context, backup.Writer, Change) error { return errors.New("no") }}

	change := func(w backup.Writer) error {
		return errors.Join(
			w.Put(ctx, "users", []backup.Record{rec("1", `{"a":1}`), rec("2", `{}`), rec("3", `{}`)}),
			w.Delete(ctx, "users", []string{"2", "absent"}))
	}
	for name, c := range map[string]struct {
		trigger Trigger
		want    MapStore
	}{
		"a counter":                 {count, MapStore{"users": {"1": `{"a":1}`, "3": `{}`}, "counters": {"users": `{"n":1}`}}},
		"a time of the last change": {stamp, MapStore{"users": {"1": `{"updated_at":"now"}`, "3": `{"updated_at":"now"}`}, "counters": {}}},
		"a soft delete":             {softly, MapStore{"users": {"1": `{"a":1}`, "2": `{}`, "3": `{}`}, "counters": {}}},
		"a ban":                     {forbid, MapStore{"users": {"1": `{}`}, "counters": {}}},
	} {
		t.Run(name, func(t *testing.T) {
			store := RuledStore{MapStore: MapStore{"users": {"1": `{}`}, "counters": {}}, Triggers: map[string][]Trigger{"users": {c.trigger}}}
			err := store.Update(ctx, func(w backup.Writer) error {
				names, err := w.(*ruledWriter).Effects(ctx, "users")
				require.Equal(t, []string{c.trigger.Name}, names)
				return errors.Join(err, change(w))
			})
			if c.trigger.Name == "forbid" {
				require.ErrorContains(t, err, `users "1": trigger forbid: no`)
			} else {
				require.NoError(t, err)
			}
			require.Equal(t, c.want, store.MapStore)
		})
	}
}

package backuphttp

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/tomo"
)

// The host has rules of its own: names of servers are unique, and triggers run.

func ruled(store backuptest.MapStore, triggers ...backuptest.Trigger) backuptest.RuledStore {
	return backuptest.RuledStore{
		MapStore: store,
		Unique:   map[string][]string{"servers": {"/name"}},
		Triggers: map[string][]backuptest.Trigger{"servers": triggers},
	}
}

// stubborn writes a name in another way, and keeps the servers that are
// deleted.
var stubborn = backuptest.Trigger{Name: "trigger stubborn", Do: func(ctx context.Context, w backup.Writer, c backuptest.Change) error {
	value := strings.Replace(string(c.After), `"nas`, `"NAS`, 1)
	if c.After == nil {
		value = string(c.Before)
	}
	return w.Put(ctx, c.Collection, []backup.Record{{Key: c.Key, Value: json.RawMessage(value)}})
}}

func TestTheAPINamesBothRecordsOfAClashAndLeavesThemOut(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, _ *Options) { m.Sink = ruled(h.store) })
	name := h.made()
	h.store["servers"] = map[string]string{"z9": `{"id":"z9","name":"nas"}`}
	h.store["stack_services"] = map[string]string{}
	before := h.store.Clone()
	at := "restores/" + h.do(201, "POST", "restores", obj{"backup": name}).restored(t).ID
	some := obj{"full": false, "only": []string{"servers", "stack_services"}, "strategy": "merge"}

	refused := h.do(422, "POST", at+"/plan", some)
	require.Equal(t, "clash", refused.code(t))
	var e struct {
		Records []struct{ Collection, Key, With, Pointer string }
	}
	refused.into(t, &e)
	require.Equal(t, []struct{ Collection, Key, With, Pointer string }{{"servers", "a1", "z9", "/name"}}, e.Records)
	require.Equal(t, before, h.store.Clone())

	some["untried"] = true
	require.EqualValues(t, 3, h.do(200, "POST", at+"/plan", some).restored(t).Plan.Changes, "nobody has asked the host")
	require.Equal(t, before, h.store.Clone())

	some["untried"], some["skip_clashes"] = false, true
	plan := h.do(200, "POST", at+"/plan", some).restored(t).Plan
	require.EqualValues(t, 1, plan.Changes)
	require.EqualValues(t, 1, plan.Report.Collections[0].Skipped)
	var page struct {
		Changes []struct{ Action, Key, With string }
	}
	h.get(h.changesOf(at)).into(t, &page)
	require.Equal(t, []struct{ Action, Key, With string }{{"skip", "a1", "z9"}, {"add", "b2", ""}, {"skip", "x", ""}}, page.Changes)
	j := h.began(at+"/apply", h.agreed(at, obj{}))
	require.Empty(t, j.Error)
	require.Len(t, h.store["servers"], 2)
	require.Equal(t, before["servers"]["z9"], h.store["servers"]["z9"])
}

func TestPeopleLeaveOutRecordsThatClash(t *testing.T) {
	h := newPageHost(t, func(h *pageHost) {
		h.manager.Sink = backuptest.RuledStore{MapStore: h.store, Unique: map[string][]string{"settings": {"/name"}, "users": {"/email"}}}
	})
	b := h.browse(t)
	b.made()
	var key string
	for k := range h.store["users"] {
		key = max(key, k)
	}
	h.store["users"]["u-new"] = strings.NewReplacer(`"`+key+`"`, `"u-new"`, `"username":"`, `"username":"new-`).Replace(h.store["users"][key])
	delete(h.store["users"], key)
	h.store["preferences"] = map[string]string{}
	before := h.now()

	b.open("/settings/backup/")
	b.press("Restore this backup", nil)
	b.sees("Leave out records that clash with records here over a unique value", "The restore is tried, and rolled back: nothing changes yet.")
	b.press("Show what it would do", url.Values{"mode": {"selective"}, "only": {"users", "servers"}, "strategy": {"merge"}})
	require.Equal(t, 422, b.code)
	b.sees("1 record of the backup would clash over a unique value, so nothing was changed: see below", "Records that clash", "Users"+key+"u-new/email")
	require.Equal(t, before, h.now())

	b.press("Leave them out, and show what it would do", nil)
	require.Equal(t, "What the restore will do", b.title(), b.text)
	b.sees("The restore was tried, and rolled back: nothing has changed yet.", "No changes", "Left out Users "+key+" clashes with u-new", "Users: 1 in conflict, what is here stays", "Records left out: 1")
	require.Equal(t, []string{"1"}, filledIn(b.all)["skip_clashes"], "a new plan leaves them out too")
	require.Equal(t, before, h.now())
}

func TestARestoreThatTheHostMakesOtherwiseIsNotCalledComplete(t *testing.T) {
	h := newPageHost(t, func(h *pageHost) { h.manager.Sink = ruled(h.store, stubborn) })
	b := h.browse(t)
	first := tomo.Sample("servers", 0)
	server := func(id, name string) string {
		return strings.NewReplacer(`"`+first.Key+`"`, `"`+id+`"`, `"name":"`, `"name":"`+name).Replace(string(first.Value))
	}
	h.store["servers"] = map[string]string{"a1": server("a1", "nas")}
	h.store["applications"] = map[string]string{}
	b.made()
	h.store["servers"] = map[string]string{"z9": server("z9", "pi")}
	b.open("/settings/backup/")
	b.press("Restore this backup", nil)
	b.press("Show what it would do", url.Values{"mode": {"selective"}, "only": {"servers", "applications"}, "strategy": {"replace"}})
	require.Equal(t, "What the restore will do", b.title(), b.text)
	off := []string{"Servers: 1 record that the application does not leave as the restore writes them", "Servers: 1 other record that the application makes, changes, removes or keeps by itself", "trigger stubborn"}
	b.sees(append(off, "2 changes", "2 records would not be as in the backup.")...)
	b.press("Restore Selected", url.Values{"confirm": {"tomo"}})
	require.Equal(t, "Restore done, but 2 records are not as in the backup", b.title(), b.text)
	b.sees(append(off, "Done, but not all as in the backup")...)
	require.Contains(t, h.store["servers"]["a1"], "NAS")
}

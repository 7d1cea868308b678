package backup_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/testtime"
)

// changed returns what Diff tells: a line for each change, with its fields.
func changed(t testing.TB, app *backup.App, from, to backup.DataSource) []string {
	t.Helper()
	lines, err := diffed(app.Diff(t.Context(), from, to))
	require.NoError(t, err)
	return lines
}

func diffed(seq iter.Seq2[backup.Change, error]) (lines []string, err error) {
	for c, err := range seq {
		if err != nil {
			return lines, err
		}
		var fields []string
		for _, f := range c.Fields {
			fields = append(fields, fmt.Sprintf("%s %s→%s", f.Pointer, f.Before, f.After))
		}
		line := fmt.Sprintf("%s %s %s", c.Action, c.Collection, c.Key)
		if len(fields) > 0 {
			line += ": " + strings.Join(fields, ", ")
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// Of Monday's backup and Tuesday's, people want to know what happened between the two.
func TestADiffTellsWhatWasAddedChangedAndDeleted(t *testing.T) {
	app, monday := homelab(), homelabStore()
	tuesday := monday.Clone()
	tuesday["servers"] = map[string]string{
		"s1": `{"id":"s1","name":"nas","port":2222,"password":"hunter23"}`,
		"s3": `{"id":"s3","name":"new","password":"hunter24"}`,
	}
	tuesday["settings"] = map[string]string{"theme": `"light"`, "smtp_password": `"other-pass"`, "home_server": `"s1"`}
	tuesday["applications"] = map[string]string{"a1": monday["applications"]["a1"]}
	want := []string{
		`delete applications a2: /id "a2"→, /name "proxy"→, /server_id "s2"→, /needs [{"application":"a1"}]→`,
		`add servers s3: /id →"s3", /name →"new", /password →"(secret)"`,
		`update servers s1: /port 22→2222, /password "(secret)"→"(secret)"`,
		`delete servers s2: /id "s2"→, /name "pi"→, /parent "s1"→`,
		`update settings smtp_password:  "(secret)"→"(secret)"`,
		`update settings theme:  "dark"→"light"`,
	}
	all := backup.BackupOptions{Include: []string{"logs"}}
	before, after := backedUp(t, app, monday, all), backedUp(t, app, tuesday, all)
	for name, sides := range map[string][2]backup.DataSource{
		"two snapshots":         {before, after},
		"a snapshot and a host": {before, tuesday},
		"a host and a snapshot": {monday, after},
		"two hosts":             {monday, tuesday},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, want, changed(t, app, sides[0], sides[1]))
			require.Empty(t, changed(t, app, sides[0], sides[0]))
			require.Empty(t, changed(t, app, sides[1], sides[1]))
		})
	}
}

// A partial backup does not say that the rest is gone, and neither does its diff.
func TestACollectionThatOneSideLacksIsNotCompared(t *testing.T) {
	app, store := homelab(), homelabStore()
	full := backedUp(t, app, store, backup.BackupOptions{Include: []string{"logs"}})
	part := backedUp(t, app, store, backup.BackupOptions{Only: []string{"servers"}})
	require.Equal(t, []string{"skip applications :  2→", "skip settings :  3→", "skip users :  1→", "skip logs :  1→"}, changed(t, app, full, part))
	require.Equal(t, []string{"skip applications :  →2", "skip settings :  →3", "skip users :  →1", "skip logs :  →1"}, changed(t, app, part, full))
	require.Equal(t, []string{"skip applications :  →null", "skip settings :  →null", "skip users :  →null", "skip logs :  →null"}, changed(t, app, part, store),
		"a host is not read to count its records")
	require.Empty(t, changed(t, app, full, store))

	text, err := json.Marshal(backup.Change{Collection: "logs", Action: backup.Skip, Fields: []backup.FieldChange{{After: json.RawMessage("null")}}})
	require.NoError(t, err)
	require.Equal(t, `{"collection":"logs","key":"","action":"skip","fields":[{"pointer":"","after":null}]}`, string(text))
}

func TestADiffNamesCollectionsThatTheAppDoesNotKnow(t *testing.T) {
	app := homelab()
	from := written(t, app, 1, `{"users":[{"id":1}],"plugins":[{"x":1},{"x":2}]}`)
	to := written(t, app, 1, `{"users":[{"id":1}],"plugins":[{"x":1}],"addons":[]}`)
	require.Equal(t, []string{"skip addons :  →0", "skip plugins :  2→1"}, changed(t, app, from, to))
	require.Equal(t, []string{"skip plugins :  2→"}, changed(t, app, from, backuptest.MapStore{"users": {"1": `{"id":1}`}, "servers": {}})[4:])
}

// What is written otherwise, or sealed with other nonces, is the same.
func TestWhatIsOnlyWrittenOtherwiseHasNotChanged(t *testing.T) {
	app := homelab()
	from := written(t, app, 1, `{"users":[{"id":1,"name":"ada","rank":1.0,"tags":{"a":1,"b":[]}},{"id":2,"n":1}]}`)
	to := written(t, app, 1, `{"users":[{"id":2,"n":1.5},{"tags":{"b":[],"a":1},"name":"\u0061da","rank":1,"id":1}]}`)
	require.Equal(t, []string{"update users 2: /n 1→1.5"}, changed(t, app, from, to))

	one, two := backedUp(t, app, homelabStore(), backup.BackupOptions{}), backedUp(t, app, homelabStore(), backup.BackupOptions{})
	require.Empty(t, changed(t, app, one, two))
}

// The record of an older backup is compared in the form that it has today.
func TestAnOlderBackupIsComparedInTodaysForm(t *testing.T) {
	app := grown()
	old := written(t, app, 1, `{"hosts":[{"id":"s1","name":"nas","password":"secret-1"},{"id":"s2","name":"pi"},{"id":"s3","name":"gone"}],"settings":[{"id":"theme","value":"dark"}]}`)
	now := written(t, app, 4, `{"servers":[{"id":"s1","name":"nas","port":22,"password":"secret-1"},{"id":"s2","name":"pi","port":23},{"id":"s4","name":"new","port":22}],"settings":{"theme":"dark"}}`)
	require.Equal(t, []string{
		`add servers s4: /id →"s4", /name →"new", /port →22`,
		`update servers s2: /port 22→23`,
		`delete servers s3: /id "s3"→, /name "gone"→, /port 22→`,
	}, changed(t, app, old, now))
	require.Equal(t, []string{
		`add servers s3: /id →"s3", /name →"gone", /port →22`,
		`update servers s2: /port 23→22`,
		`delete servers s4: /id "s4"→, /name "new"→, /port 22→`,
	}, changed(t, app, now, old))
	require.Empty(t, changed(t, app, old, old))
}

// Nothing is told of two backups that cannot both be read: half of it would be taken for all.
func TestADiffIsRefusedBeforeItsFirstChange(t *testing.T) {
	app, store := homelab(), homelabStore()
	other := store.Clone()
	other["applications"] = nil // the first collection would differ
	good := backedUp(t, app, other, backup.BackupOptions{})
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, store, backup.BackupOptions{Recipients: sealed, Only: []string{"settings"}})
	require.NoError(t, err)
	locked, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(file.Bytes()), backup.OpenOptions{Name: "monday.json"})
	require.NoError(t, err)
	closed := backedUp(t, app, store, backup.BackupOptions{})
	require.NoError(t, closed.Close())
	foreign := strings.Replace(document(app, 1, `{}`), `"application":"homelab"`, `"application":"other"`, 1)
	for name, c := range map[string]struct {
		bad  backup.DataSource
		kind error
	}{
		"without its key":       {locked, backup.ErrNoKey},
		"of another App":        {opened(t, foreign), backup.ErrForeign},
		"of a newer schema":     {written(t, app, 2, `{}`), backup.ErrTooNew},
		"of another shape":      {written(t, app, 1, `{"servers":{}}`), backup.ErrInvalid},
		"closed":                {closed, fs.ErrClosed},
		"nil":                   {nil, backup.ErrInvalid},
		"a nil Snapshot":        {(*backup.Snapshot)(nil), backup.ErrInvalid},
		"a Snapshot of nothing": {&backup.Snapshot{}, backup.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			for _, sides := range [][2]backup.DataSource{{good, c.bad}, {c.bad, good}, {c.bad, store}, {store, c.bad}} {
				lines, err := diffed(app.Diff(t.Context(), sides[0], sides[1]))
				require.ErrorIs(t, err, c.kind)
				require.Empty(t, lines)
			}
		})
	}
	_, err = diffed(app.Diff(t.Context(), good, locked))
	require.ErrorContains(t, err, "diff: monday.json: ")
	newer := strings.Replace(document(app, 1, `{"users":[]}`), `"2.1.0"`, `"9.0.0"`, 1)
	require.Empty(t, changed(t, app, opened(t, newer), opened(t, newer)), "of the same schema, from a newer version: it can be read")
}

// A record that cannot be told from another is no change, but an error that names it.
func TestADiffNamesRecordsThatCannotBeCompared(t *testing.T) {
	app := homelab()
	good := written(t, app, 1, `{"users":[{"id":1},{"id":2}]}`)
	for name, c := range map[string]struct{ data, says string }{
		"the same key twice, and equal": {`{"users":[{"id":1},{"id":2},{"id":1}]}`, `users "1" (byte `},
		"the same key twice":            {`{"users":[{"id":1},{"id":1,"x":2}]}`, `another record has the same key`},
		"no key":                        {`{"users":[{"id":1},{"name":"x"}]}`, `users /id (byte `},
		"a key that is no key":          {`{"users":[{"id":1},{"id":[2]}]}`, `the key is neither a string nor an integer`},
	} {
		t.Run(name, func(t *testing.T) {
			bad := written(t, app, 1, c.data)
			for _, sides := range [][2]backup.DataSource{{good, bad}, {bad, good}} {
				_, err := diffed(app.Diff(t.Context(), sides[0], sides[1]))
				require.ErrorIs(t, err, backup.ErrInvalid)
				require.ErrorContains(t, err, c.says)
				_, isRecord := errors.AsType[*backup.RecordError](err)
				require.True(t, isRecord)
			}
		})
	}
	// Today's schema does not matter: a record of yesterday's is shown as it is.
	require.Equal(t, []string{`update users 1: /x →{}`}, changed(t, app, good, written(t, app, 1, `{"users":[{"id":1,"x":{}},{"id":2}]}`)))
	invalid := written(t, app, 1, `{"servers":[{"id":"s1","port":"none"}]}`)
	require.Equal(t, []string{`update servers s1: /port "none"→99999999`}, changed(t, app, invalid, written(t, app, 1, `{"servers":[{"id":"s1","port":99999999}]}`)))
}

// Secrets are never shown, not even those that somebody has put in clear into a file.
func TestADiffShowsNoSecret(t *testing.T) {
	app, store := homelab(), homelabStore()
	from, to := backedUp(t, app, store, backup.BackupOptions{}), written(t, app, 1, `{"applications":[{"id":"a1","env":{"TOKEN":"in-clear","NEW":"in-clear"}}],"servers":[{"id":"s1","password":["in-clear"]},{"id":"s9","password":"in-clear"}],"settings":{"smtp_password":"in-clear"},"users":[]}`)
	for _, sides := range [][2]backup.DataSource{{from, to}, {to, from}, {store, to}} {
		lines := strings.Join(changed(t, app, sides[0], sides[1]), "\n")
		require.Contains(t, lines, `/env/TOKEN "(secret)"→"(secret)"`)
		for _, secret := range []string{"in-clear", "hunter", "t0ken", "mail-pass"} {
			require.NotContains(t, lines, secret)
		}
	}
	// A sealed value where the snapshot lists none must not pass for data.
	forged := written(t, app, 1, `{"servers":[{"id":"s1","password":{"$sealed":"AAAA"}}],"applications":[],"settings":{},"users":[]}`)
	_, err := diffed(app.Diff(t.Context(), forged, forged))
	require.ErrorIs(t, err, backup.ErrDamaged)
}

// What is damaged after it was opened is told as such.
func TestADiffOfAFileThatChangesIsRefused(t *testing.T) {
	app := homelab()
	text := []byte(document(app, 1, `{"users":[{"id":1},{"id":2}]}`))
	s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader(text), backup.OpenOptions{Name: "monday.json"})
	require.NoError(t, err)
	defer s.Close()
	text[bytes.Index(text, []byte(`"id":2`))] = 'x'
	_, err = diffed(app.Diff(t.Context(), backuptest.MapStore{"users": {"1": `{"id":1}`}, "servers": {}, "applications": {}, "settings": {}, "logs": {}}, s))
	require.ErrorIs(t, err, backup.ErrDamaged)
	require.ErrorContains(t, err, "monday.json")
}

// What goes wrong on the way says of which of the two it is, and what to do.
func TestADiffThatFailsSaysWhere(t *testing.T) {
	app := grown()
	app.Migrators[1] = step(1, func(_ string, r backup.Record, emit emitFunc) error { return fmt.Errorf("no port for %s", r.Value) })
	old := written(t, app, 1, `{"hosts":[{"id":"s1","name":"nas"}]}`)
	now := written(t, app, 4, `{"servers":[]}`)
	_, err := diffed(app.Diff(t.Context(), now, old))
	require.ErrorContains(t, err, `diff: the second snapshot: hosts (byte `)
	require.ErrorContains(t, err, "migrate from schema version 1 to 2: no port for")

	// Without a place for what differs, much of it cannot be told, and little can.
	app = benchApp("")
	open := func(user string, n int) *backup.Snapshot {
		var text strings.Builder
		for i := range n {
			fmt.Fprintf(&text, `,{"id":"%d","user":"%s"}`, i, strings.Repeat(user, 1000))
		}
		s, err := backup.OpenSnapshot(t.Context(), bytes.NewReader([]byte(document(app, 1, `{"servers":[`+text.String()[1:]+`]}`))), backup.OpenOptions{TempDir: "/nowhere/at/all"})
		require.NoError(t, err)
		t.Cleanup(func() { s.Close() })
		return s
	}
	_, err = diffed(app.Diff(t.Context(), open("a", 1000), open("b", 1000)))
	require.ErrorContains(t, err, "what differs could not be kept: make a temporary copy")
	require.ErrorContains(t, err, "set TempDir to a folder that exists")
	require.Len(t, changed(t, app, open("a", 10), open("b", 10)), 10)
}

func TestADiffEndsWhenItsCallerDoes(t *testing.T) {
	app, store := homelab(), homelabStore()
	empty := backuptest.MapStore{"servers": {}, "applications": {}, "settings": {}, "users": {}, "logs": {}}
	for _, sides := range [][2]backup.DataSource{{store, empty}, {empty, store}, {backedUp(t, app, store, backup.BackupOptions{}), empty}} {
		n := 0
		for _, err := range app.Diff(t.Context(), sides[0], sides[1]) {
			require.NoError(t, err)
			if n++; n == 2 {
				break
			}
		}
		require.Equal(t, 2, n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	seq := app.Diff(ctx, store, empty)
	cancel()
	_, err := diffed(seq)
	require.ErrorIs(t, err, context.Canceled)

	// At whichever call a host fails, its error comes, and nothing after it.
	broken := errors.New("broken")
	for _, call := range []backuptest.Call{backuptest.CallView, backuptest.CallRecords} {
		for nth := 1; ; nth++ {
			from := &backuptest.Faulty{Source: store, On: call, Nth: nth, Err: broken}
			to := &backuptest.Faulty{Source: store, On: call, Nth: nth, Err: broken}
			_, err := diffed(app.Diff(t.Context(), from, empty))
			_, err2 := diffed(app.Diff(t.Context(), empty, to))
			if !from.Reached() && !to.Reached() {
				break
			}
			if from.Reached() {
				require.ErrorIs(t, err, broken, "%s %d", call, nth)
			}
			if to.Reached() {
				require.ErrorIs(t, err2, broken, "%s %d", call, nth)
			}
		}
	}
}

// The label is what people know a record by.
func TestAChangeHasTheLabelOfItsRecord(t *testing.T) {
	app := homelab()
	app.Collections[1].Label = "/name"
	store := homelabStore()
	other := store.Clone()
	other["servers"] = map[string]string{"s1": `{"id":"s1","name":"tower"}`, "s3": `{"id":"s3","name":["x"]}`}
	other["settings"] = nil
	var labels []string
	for c, err := range app.Diff(t.Context(), store, other) {
		require.NoError(t, err)
		labels = append(labels, c.Key+" "+c.Label)
	}
	require.Equal(t, []string{"s3 ", "s1 tower", "s2 pi", "home_server ", "smtp_password ", "theme "}, labels)
}

// randomState returns some records of homelab, of which a part is as in the state before.
func randomState(r *rand.Rand, before backuptest.MapStore) backuptest.MapStore {
	s := backuptest.MapStore{"servers": {}, "applications": {}, "settings": {}, "users": {}, "logs": {}}
	for name, records := range s {
		for i := range r.IntN(40) {
			key := fmt.Sprint("k", i)
			old, had := before[name][key]
			switch n := r.IntN(6); {
			case had && n < 3:
				records[key] = old
			case n == 5: // gone
			case name == "settings":
				records[key] = fmt.Sprint(r.IntN(3))
			case name == "servers":
				records[key] = fmt.Sprintf(`{"id":%q,"name":"n","password":"p%04d","port":%d}`, key, r.IntN(3), 1+r.IntN(3))
			default:
				records[key] = fmt.Sprintf(`{"id":%q,"name":"n%d","x":{"y":%d}}`, key, r.IntN(3), r.IntN(3))
			}
		}
	}
	return s
}

// Diff says what a comparison of two maps says, whatever the two are.
func TestADiffIsThatOfTwoMaps(t *testing.T) {
	app := homelab()
	for round := range testtime.Pick(t, 60, 2000) {
		r := rand.New(rand.NewPCG(uint64(round), 1))
		old := randomState(r, nil)
		now := randomState(r, old)
		var want []string
		for name := range old {
			keys := maps.Clone(old[name])
			maps.Copy(keys, now[name])
			for key := range keys {
				before, had := old[name][key]
				after, has := now[name][key]
				switch {
				case !had:
					want = append(want, "add "+name+" "+key)
				case !has:
					want = append(want, "delete "+name+" "+key)
				case before != after:
					want = append(want, "update "+name+" "+key)
				}
			}
		}
		slices.Sort(want)
		all := backup.BackupOptions{Include: []string{"logs"}}
		froms := []backup.DataSource{old, backedUp(t, app, old, all)}
		tos := []backup.DataSource{now, backedUp(t, app, now, all)}
		var first []string
		for _, from := range froms {
			for _, to := range tos {
				lines := changed(t, app, from, to)
				if first == nil {
					first = lines
				}
				require.Equal(t, first, lines, "round %d: the order is always the same", round)
				var got []string
				for _, line := range lines {
					got = append(got, strings.Split(line, ":")[0])
				}
				slices.Sort(got)
				require.Equal(t, want, got, "round %d", round)
			}
		}
	}
}

// A record may have many megabytes, and all records may differ.
func TestTheMemoryOfADiffIsBounded(t *testing.T) {
	testtime.NotForRace(t)
	app := benchApp("")
	records := testtime.Pick(t, 60_000, 300_000)
	var before bytes.Buffer
	_, err := app.Backup(t.Context(), &before, generated(records), backup.BackupOptions{})
	require.NoError(t, err)
	text := before.String()
	large := func(fill string) string {
		return document(app, 1, `{"servers":[{"id":"a","x":"`+strings.Repeat(fill, 8<<20)+`"},{"id":"b","x":"`+strings.Repeat(fill, 8<<20)+`"}]}`)
	}
	for _, c := range []struct {
		name, from, to string
		changes        int
		most           uint64 // MiB
	}{
		{"all equal", text, text, 0, 32},
		{"all changed", text, strings.ReplaceAll(text, `"user":"tomo"`, `"user":"toma"`), records, 48},
		{"all other keys", text, strings.ReplaceAll(text, `"id":"srv-`, `"id":"new-`), 2 * records, 48},
		{"huge records", large("a"), large("b"), 2, 120},
	} {
		t.Run(c.name, func(t *testing.T) {
			if before, _, sealed := strings.Cut(c.to, `"integrity"`); sealed { // it is not that of the altered text
				c.to = strings.TrimSuffix(strings.TrimSpace(before), ",") + "}"
			}
			from, to := opened(t, c.from), opened(t, c.to)
			defer debug.SetGCPercent(debug.SetGCPercent(4)) // the texts are large, and garbage may be as large
			n := 0
			took := peak(func() {
				for _, err := range app.Diff(t.Context(), from, to) {
					require.NoError(t, err)
					n++
				}
			})
			t.Logf("%d MiB", took>>20)
			require.Equal(t, c.changes, n)
			require.Less(t, took, c.most<<20)
		})
	}
}

func BenchmarkDiff(b *testing.B) {
	app := benchApp(benchSchema)
	var buf bytes.Buffer
	_, err := app.Backup(b.Context(), &buf, generated(benchRecords), backup.BackupOptions{})
	require.NoError(b, err)
	for name, file := range map[string]string{
		"equal":          buf.String(),
		"1 % changed":    strings.ReplaceAll(buf.String(), `rack 9`, `rick 9`),
		"all changed":    strings.ReplaceAll(buf.String(), `"user":"tomo"`, `"user":"toma"`),
		"all other keys": strings.ReplaceAll(buf.String(), `"id":"srv-`, `"id":"new-`),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(buf.Len()))
			if before, _, sealed := strings.Cut(file, `"integrity"`); sealed {
				file = strings.TrimSuffix(strings.TrimSpace(before), ",") + "}"
			}
			for b.Loop() {
				from, err := backup.OpenSnapshot(b.Context(), bytes.NewReader(buf.Bytes()), backup.OpenOptions{})
				require.NoError(b, err)
				to, err := backup.OpenSnapshot(b.Context(), strings.NewReader(file), backup.OpenOptions{})
				require.NoError(b, err)
				for _, err := range app.Diff(b.Context(), from, to) {
					require.NoError(b, err)
				}
				from.Close()
				to.Close()
			}
		})
	}
}

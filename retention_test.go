package backup_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
)

var update = flag.Bool("update", false, "write the golden files in testdata anew")

const day = 24 * time.Hour

// history makes backups out of lines of a time and, after a space, "damaged".
// Those of the same second get suffixes in turn.
func history(t *testing.T, lines ...string) []backup.Dated {
	app := &backup.App{Name: "tomo"}
	var backups []backup.Dated
	for _, line := range lines {
		stamp, mark, _ := strings.Cut(line, " ")
		at, err := time.Parse(time.RFC3339, stamp)
		require.NoError(t, err)
		name := app.BackupName(at)
		for n := 2; slices.ContainsFunc(backups, func(b backup.Dated) bool { return b.Name == name }); n++ {
			name = strings.TrimSuffix(app.BackupName(at), ".json") + fmt.Sprintf("-%d.json", n)
		}
		backups = append(backups, backup.Dated{Name: name, CreatedAt: at, Damaged: mark == "damaged"})
	}
	return backups
}

// every returns n times, the first at start, in the zone of start.
func every(step time.Duration, n int, start time.Time) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = start.Add(time.Duration(i) * step).Format(time.RFC3339)
	}
	return lines
}

func daily(n int) []string {
	return every(day, n, time.Date(2024, 1, 1, 2, 0, 0, 0, time.UTC))
}

func zone(t testing.TB, name string) *time.Location {
	loc, err := time.LoadLocation(name)
	require.NoError(t, err)
	return loc
}

func TestRetentionGoldens(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	for _, c := range []struct {
		name    string
		policy  backup.Retention
		history []string
		now     string // 2030 if empty
	}{
		{name: "keep-all", history: daily(3)},
		{name: "keep-last-3", policy: backup.Retention{Last: 3}, history: daily(5)},
		{name: "keep-for-7-days", policy: backup.Retention{Within: 7 * day}, history: daily(10)},
		{name: "keep-for-36-hours", policy: backup.Retention{Within: 36 * time.Hour}, history: daily(4)},
		{name: "negative-is-no-rule", policy: backup.Retention{Last: -1, Within: -day, Daily: -5}, history: daily(3)},
		{name: "negative-beside-a-rule", policy: backup.Retention{Last: 1, Daily: -5}, history: daily(3)},
		{
			name:    "generations",
			policy:  backup.Retention{Last: 2, Daily: 3, Weekly: 2, Monthly: 3, Yearly: 2},
			history: append([]string{"2022-06-01T02:00:00Z", "2022-12-31T23:59:59Z", "2023-11-30T02:00:00Z", "2023-12-30T02:00:00Z"}, daily(40)...),
		},
		{
			name:    "hourly-several-an-hour",
			policy:  backup.Retention{Hourly: 3},
			history: every(20*time.Minute, 13, time.Date(2024, 1, 15, 10, 0, 0, 0, time.UTC)),
		},
		{
			name:    "gaps-are-not-counted",
			policy:  backup.Retention{Daily: 3},
			history: []string{"2021-01-01T02:00:00Z", "2022-05-05T02:00:00Z", "2023-12-01T02:00:00Z", "2024-01-15T02:00:00Z"},
		},
		{
			name:    "iso-weeks-over-new-year",
			policy:  backup.Retention{Weekly: 3},
			history: every(day, 14, time.Date(2020, 12, 25, 2, 0, 0, 0, time.UTC)),
		},
		{
			name:    "damaged-takes-no-place",
			policy:  backup.Retention{Last: 2, Daily: 3},
			history: []string{"2024-01-10T02:00:00Z", "2024-01-11T02:00:00Z damaged", "2024-01-12T02:00:00Z", "2024-01-13T02:00:00Z damaged", "2024-01-14T02:00:00Z damaged", "2024-01-14T03:00:00Z", "2024-01-15T02:00:00Z", "2024-01-16T02:00:00Z damaged"},
		},
		{
			name:    "damaged-goes-with-its-time",
			policy:  backup.Retention{Within: 2 * day},
			history: []string{"2024-01-10T02:00:00Z damaged", "2024-01-14T02:00:00Z damaged", "2024-01-15T02:00:00Z"},
		},
		{
			name:    "none-good",
			policy:  backup.Retention{Last: 1},
			history: []string{"2024-01-14T02:00:00Z damaged", "2024-01-15T02:00:00Z damaged"},
		},
		{
			name:    "future-pushes-nothing-out",
			policy:  backup.Retention{Last: 2, Within: day},
			history: append(daily(4), "2038-01-19T03:14:07Z", "2038-01-19T03:14:08Z damaged"),
			now:     "2024-01-04T02:00:00Z",
		},
		{name: "clock-of-now-is-behind", policy: backup.Retention{Last: 1}, history: daily(3), now: "1970-01-01T00:00:00Z"},
		{name: "without-a-date", policy: backup.Retention{Last: 1}, history: append(daily(2), "0001-01-01T00:00:00Z")},
		{
			name:    "same-second",
			policy:  backup.Retention{Last: 2},
			history: slices.Repeat([]string{"2024-01-15T10:30:00Z"}, 11),
		},
		{
			name:    "days-begin-in-berlin",
			policy:  backup.Retention{Daily: 2, Location: berlin},
			history: []string{"2024-01-14T22:59:59Z", "2024-01-14T23:00:00Z", "2024-01-15T22:59:59Z", "2024-01-15T23:00:00Z"},
		},
		{
			name:    "days-begin-in-utc",
			policy:  backup.Retention{Daily: 2},
			history: []string{"2024-01-14T22:59:59+01:00", "2024-01-15T00:30:00+01:00", "2024-01-15T01:30:00+01:00"},
		},
		{
			name:    "berlin-skips-an-hour",
			policy:  backup.Retention{Hourly: 3, Daily: 1, Location: berlin},
			history: every(30*time.Minute, 8, time.Date(2024, 3, 30, 23, 30, 0, 0, time.UTC)),
		},
		{
			name:    "berlin-repeats-an-hour",
			policy:  backup.Retention{Hourly: 3, Daily: 1, Location: berlin},
			history: every(30*time.Minute, 8, time.Date(2024, 10, 26, 23, 0, 0, 0, time.UTC)),
		},
		{
			// One minute past midnight of 31 October 1999 it was 23:01 of 30
			// October again.
			name:    "st-johns-repeats-a-midnight",
			policy:  backup.Retention{Daily: 2, Location: zone(t, "America/St_Johns")},
			history: []string{"1999-10-30T02:00:00Z", "1999-10-31T02:29:00Z", "1999-10-31T02:30:30Z", "1999-10-31T03:00:00Z", "1999-10-31T12:00:00Z"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			now, err := time.Parse(time.RFC3339, cmp.Or(c.now, "2030-01-01T00:00:00Z"))
			require.NoError(t, err)
			backups := history(t, c.history...)

			checkPromises(t, c.policy, backups, now)

			var got strings.Builder
			for _, d := range c.policy.Decide(backups, now) {
				verb := "delete"
				if d.Keep {
					verb = "keep  "
				}
				fmt.Fprintf(&got, "%s %s: %s\n", verb, d.Name, strings.Join(d.Reasons, "; "))
			}
			file := filepath.Join("testdata", "retention", c.name+".golden")
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
				require.NoError(t, os.WriteFile(file, []byte(got.String()), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err, "run the test with -update to make it")
			require.Equal(t, string(want), got.String())
		})
	}
}

// checkPromises checks what holds under every policy, for every history.
func checkPromises(t *testing.T, policy backup.Retention, backups []backup.Dated, now time.Time) {
	t.Helper()
	before := slices.Clone(backups)
	decisions := policy.Decide(backups, now)
	require.Equal(t, before, backups, "the input is not changed")
	require.Len(t, decisions, len(backups))

	var newestGood *backup.Decision
	for i, d := range decisions {
		require.Contains(t, backups, d.Dated)
		require.NotEmpty(t, d.Reasons, "each decision has a reason")
		require.NotContains(t, d.Reasons, "")
		if i > 0 {
			requireNewer(t, decisions[i-1].Dated, d.Dated)
		}
		future := d.CreatedAt.After(now)
		if future {
			require.True(t, d.Keep, "what is dated in the future is kept")
		}
		if newestGood == nil && !d.Damaged && !future && !d.CreatedAt.IsZero() {
			newestGood = &decisions[i]
		}
	}
	if newestGood != nil {
		require.True(t, newestGood.Keep, "the newest good backup is kept")
	}

	shuffled := slices.Clone(backups)
	random := rand.New(rand.NewPCG(1, uint64(len(backups))))
	for range 3 {
		random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		require.Equal(t, decisions, policy.Decide(shuffled, now), "the order of the input makes no difference")
	}

	kept := keptOf(decisions)
	require.Equal(t, kept, keptOf(policy.Decide(kept, now)), "pruning twice is pruning once")

	require.Len(t, keptOf(backup.Retention{Location: policy.Location}.Decide(backups, now)), len(backups), "the zero policy keeps all")
	if !keepsAll(policy) {
		for _, larger := range largerThan(policy) {
			require.Subset(t, keptOf(larger.Decide(backups, now)), kept, "a larger policy keeps at least as much: %+v", larger)
		}
	}

	earlier := keptOf(policy.Decide(backups, now.Add(-5*day)))
	require.Subset(t, earlier, kept, "a clock that is behind deletes nothing more")

	good := func(b backup.Dated) bool { return !b.Damaged }
	require.Equal(t, filter(kept, good), keptOf(policy.Decide(filter(backups, good), now)), "damaged backups push no good one out")
	past := func(b backup.Dated) bool { return !b.CreatedAt.After(now) && !b.CreatedAt.IsZero() }
	require.Equal(t, filter(kept, past), keptOf(policy.Decide(filter(backups, past), now)), "backups dated in the future push nothing out")

	if len(filter(backups, past)) == len(filter(backups, func(b backup.Dated) bool { return !b.CreatedAt.IsZero() })) {
		require.Equal(t, decisions, policy.Decide(backups, now.AddDate(20, 0, 0)), "a job that has stalled for years loses nothing")
	}
}

// requireNewer checks two backups that stand in this order, newest first.
func requireNewer(t *testing.T, newer, older backup.Dated) {
	t.Helper()
	switch {
	case newer.Serial > 0 && older.Serial > 0 && newer.Installation == older.Installation && newer.Serial != older.Serial:
		require.Greater(t, newer.Serial, older.Serial, "newest first, by serial")
	case newer.Serial == 0 && older.Serial == 0:
		require.False(t, older.CreatedAt.After(newer.CreatedAt), "newest first, by date")
	}
}

func keptOf(decisions []backup.Decision) []backup.Dated {
	kept := []backup.Dated{}
	for _, d := range decisions {
		if d.Keep {
			kept = append(kept, d.Dated)
		}
	}
	return kept
}

func filter(backups []backup.Dated, ok func(backup.Dated) bool) []backup.Dated {
	return slices.DeleteFunc(append([]backup.Dated{}, backups...), func(b backup.Dated) bool { return !ok(b) })
}

func keepsAll(r backup.Retention) bool {
	return max(r.Last, r.Hourly, r.Daily, r.Weekly, r.Monthly, r.Yearly) <= 0 && r.Within <= 0
}

// largerThan returns policies that have one rule larger than policy, and one
// that has all.
func largerThan(policy backup.Retention) []backup.Retention {
	grow := []func(*backup.Retention){
		func(r *backup.Retention) { r.Last = max(r.Last, 0) + 2 },
		func(r *backup.Retention) { r.Within = max(r.Within, 0) + 3*day },
		func(r *backup.Retention) { r.Hourly = max(r.Hourly, 0) + 2 },
		func(r *backup.Retention) { r.Daily = max(r.Daily, 0) + 2 },
		func(r *backup.Retention) { r.Weekly = max(r.Weekly, 0) + 2 },
		func(r *backup.Retention) { r.Monthly = max(r.Monthly, 0) + 2 },
		func(r *backup.Retention) { r.Yearly = max(r.Yearly, 0) + 2 },
	}
	var larger []backup.Retention
	all := policy
	for _, f := range grow {
		one := policy
		f(&one)
		f(&all)
		larger = append(larger, one)
	}
	return append(larger, all)
}

// randomCase makes a history of up to some months before epoch, with damaged
// backups, gaps, several in a second and some dated after epoch or not at all.
func randomCase(t testing.TB, random *rand.Rand) (policy backup.Retention, backups []backup.Dated) {
	zones := []string{"UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"}
	n := func(most int) int { return max(0, random.IntN(2*most+1)-most) } // no rule half of the time
	policy = backup.Retention{
		Last: n(6), Within: time.Duration(n(60)) * 7 * time.Hour,
		Hourly: n(8), Daily: n(8), Weekly: n(5), Monthly: n(5), Yearly: n(3),
		Location: zone(t, zones[random.IntN(len(zones))]),
	}
	step := []time.Duration{time.Second, time.Hour, day, 20 * day}[random.IntN(4)]
	at := epoch.Add(step * time.Duration(random.IntN(10)) / 2)
	for i := range random.IntN(40) {
		b := backup.Dated{Name: fmt.Sprintf("%03d", i), CreatedAt: at, Damaged: random.IntN(4) == 0}
		if random.IntN(50) == 0 {
			b.CreatedAt = time.Time{}
		}
		backups = append(backups, b)
		at = at.Add(-time.Duration(random.Int64N(int64(2*step)/1e9)) * time.Second)
	}
	return policy, backups
}

// The clocks of Berlin are set back an hour later.
var epoch = time.Date(2024, 10, 27, 0, 0, 0, 0, time.UTC)

func TestRetentionPromisesHoldForRandomHistories(t *testing.T) {
	testtime.NotForRace(t)
	random := rand.New(rand.NewPCG(2024, 1))
	for i := range 500 {
		policy, backups := randomCase(t, random)
		if !t.Run(fmt.Sprint(i), func(t *testing.T) { checkPromises(t, policy, backups, epoch) }) {
			t.Fatalf("%+v\n%+v", policy, backups)
		}
	}
}

// clocksJump gives the backups of a random case the serials of an installation, and some of
// them dates of a clock that was wrong.
func clocksJump(random *rand.Rand, backups []backup.Dated) {
	wrong := time.Duration(0)
	for i := range slices.Backward(backups) {
		b := &backups[i]
		b.Installation, b.Serial = "a1", int64(len(backups)-i)
		if random.IntN(5) == 0 {
			wrong = []time.Duration{0, 0, -20 * day, 30 * day, -9000 * day, 4000 * day}[random.IntN(6)]
		}
		if !b.CreatedAt.IsZero() {
			b.CreatedAt = b.CreatedAt.Add(wrong)
		}
	}
}

func TestRetentionPromisesHoldWhateverTheClockSaid(t *testing.T) {
	testtime.NotForRace(t)
	random := rand.New(rand.NewPCG(2024, 3))
	for i := range 500 {
		policy, backups := randomCase(t, random)
		clocksJump(random, backups)
		if !t.Run(fmt.Sprint(i), func(t *testing.T) { checkPromises(t, policy, backups, epoch) }) {
			t.Fatalf("%+v\n%+v", policy, backups)
		}
	}
}

// Whatever has a serial and whatever has none: there is one order, which no serial and, among
// backups without a serial, no date contradicts.
func TestThereIsOneOrderOfBackups(t *testing.T) {
	random := rand.New(rand.NewPCG(2024, 4))
	for range 500 {
		_, backups := randomCase(t, random)
		clocksJump(random, backups)
		for i := range backups {
			switch b := &backups[i]; random.IntN(4) {
			case 0:
				b.Installation, b.Serial = "", 0
			case 1:
				b.Installation = "b2"
			case 2:
				b.Serial = int64(1 + random.IntN(3))
			}
		}
		sorted := slices.Clone(backups)
		backup.SortNewestFirst(sorted, func(b backup.Dated) backup.Dated { return b })
		for range 3 {
			random.Shuffle(len(backups), func(i, j int) { backups[i], backups[j] = backups[j], backups[i] })
			again := slices.Clone(backups)
			backup.SortNewestFirst(again, func(b backup.Dated) backup.Dated { return b })
			require.Equal(t, sorted, again)
		}
		for i := range sorted {
			for _, older := range sorted[i+1:] {
				requireNewer(t, sorted[i], older)
			}
		}
	}
}

func TestRetentionAfterEachBackupKeepsTheSameAsOnceAtTheEnd(t *testing.T) {
	random := rand.New(rand.NewPCG(2024, 2))
	for range 300 {
		policy, backups := randomCase(t, random)
		backups = filter(backups, func(b backup.Dated) bool { return !b.CreatedAt.IsZero() })
		var stored []backup.Dated
		now := epoch
		for _, b := range slices.Backward(backups) {
			if b.CreatedAt.After(now) {
				now = b.CreatedAt
			}
			stored = keptOf(policy.Decide(append(stored, b), now))
		}
		require.ElementsMatch(t, keptOf(policy.Decide(backups, now)), stored, "%+v", policy)
	}
}

func TestRetentionOfNoBackupsIsEmpty(t *testing.T) {
	require.Equal(t, []backup.Decision{}, backup.Retention{Last: 1}.Decide(nil, epoch))
}

func TestRetentionKeepsABackupAsOldAsWithinExactly(t *testing.T) {
	backups := history(t, "2024-01-01T02:00:00Z", "2024-01-31T02:00:00Z")
	require.Len(t, keptOf(backup.Retention{Within: 30 * day}.Decide(backups, epoch)), 2)
	require.Len(t, keptOf(backup.Retention{Within: 30*day - 1}.Decide(backups, epoch)), 1)
}

func TestRetentionOfABackupMadeThisInstantCountsIt(t *testing.T) {
	backups := history(t, daily(2)...)
	require.Equal(t, backups[1:], keptOf(backup.Retention{Last: 1}.Decide(backups, backups[1].CreatedAt)))
}

func TestDecisionIsFlatInJSON(t *testing.T) {
	decisions := backup.Retention{Last: 1}.Decide(history(t, "2024-01-15T10:30:00Z"), epoch)
	got, err := json.Marshal(decisions)
	require.NoError(t, err)
	require.JSONEq(t, `[{"name":"tomo-backup-2024-01-15T10-30-00.json","created_at":"2024-01-15T10:30:00Z",
		"keep":true,"reasons":["newest good one","among the last 1"]}]`, string(got))
}

func TestRetentionValidateNamesEachNegativeRule(t *testing.T) {
	require.NoError(t, backup.Retention{}.Validate())
	require.NoError(t, backup.Retention{Last: 1, Within: day, Hourly: 1, Daily: 1, Weekly: 1, Monthly: 1, Yearly: 1}.Validate())

	err := backup.Retention{Last: -1, Within: -day, Hourly: -2, Daily: -3, Weekly: -4, Monthly: -5, Yearly: -6}.Validate()
	for _, part := range []string{"Last is -1", "Within is -24h0m0s", "Hourly is -2", "Daily is -3", "Weekly is -4", "Monthly is -5", "Yearly is -6"} {
		require.ErrorContains(t, err, part)
	}
}

// FuzzDecide reads from history, for each backup, four bytes of seconds before
// epoch (negative: after it) and one of flags: 1 damaged, 2 without a date.
// From rules it reads a byte for each, as a signed number.
func FuzzDecide(f *testing.F) {
	seeds, err := filepath.Glob(filepath.Join("testdata", "fuzz", "FuzzDecide", "*"))
	require.NoError(f, err)
	require.NotEmpty(f, seeds, "the committed seeds are gone")

	f.Fuzz(func(t *testing.T, history, rules []byte, location string) {
		var policy backup.Retention
		var within int
		for i, rule := range []*int{&policy.Last, &within, &policy.Hourly, &policy.Daily, &policy.Weekly, &policy.Monthly, &policy.Yearly} {
			if i < len(rules) {
				*rule = int(int8(rules[i]))
			}
		}
		policy.Within = time.Duration(within) * 6 * time.Hour
		loc, err := time.LoadLocation(location)
		if err != nil {
			t.Skip("no such zone")
		}
		policy.Location = loc

		var backups []backup.Dated
		for r := bytes.NewReader(history); len(backups) < 200; {
			var entry struct {
				Age   int32
				Flags uint8
			}
			if binary.Read(r, binary.BigEndian, &entry) != nil {
				break
			}
			b := backup.Dated{Name: fmt.Sprint(len(backups)), CreatedAt: epoch.Add(-time.Duration(entry.Age) * time.Second), Damaged: entry.Flags&1 != 0}
			if entry.Flags&2 != 0 {
				b.CreatedAt = time.Time{}
			}
			backups = append(backups, b)
		}
		checkPromises(t, policy, backups, epoch)
	})
}

package backup_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/tomo"
)

// tomoFile is a snapshot of Tomo's six collections with n records each.
func tomoFile(t testing.TB, n int) string {
	t.Helper()
	store := backuptest.MapStore{}
	app := tomo.App("2.1.0")
	for _, col := range app.Collections {
		store[col.Name] = map[string]string{}
		for i := range n {
			if r := tomo.Sample(col.Name, i); r.Key != "" {
				store[col.Name][r.Key] = string(r.Value)
			}
		}
	}
	return fileOf(t, app, store)
}

func fileOf(t testing.TB, app *backup.App, store backuptest.MapStore) string {
	t.Helper()
	var file bytes.Buffer
	_, err := app.Backup(t.Context(), &file, store, backup.BackupOptions{Recipients: sealed, CreatedAt: at, Metadata: map[string]string{"trigger": "scheduled", "note": "n"}})
	require.NoError(t, err)
	return file.String()
}

// bareApp is homelab without schemas, and bareStore has no two lines alike.
func bareApp() *backup.App {
	app := homelab()
	for i := range app.Collections {
		app.Collections[i].Schema = nil
	}
	return app
}

func bareStore() backuptest.MapStore {
	store := homelabStore()
	for i := range 8 {
		for _, name := range []string{"servers", "applications", "users"} {
			key := fmt.Sprintf("%s-%d", name, i)
			store[name][key] = fmt.Sprintf(`{"id":%q,"name":"the name of %s","password":"p%d","n":[1,{"a":"}"},2]}`, key, key, i)
		}
		store["settings"][fmt.Sprintf("setting%d", i)] = fmt.Sprintf(`{"n":%d,"text":"a \"quoted\" text"}`, i)
		store["settings"][fmt.Sprintf("number%d", i)] = fmt.Sprint(1000 + i)
	}
	return store
}

// salvaged salvages a file, and holds what comes out to what is always true.
func salvaged(t testing.TB, app *backup.App, file string, opts backup.SalvageOptions) (string, backup.SalvageReport) {
	t.Helper()
	var out bytes.Buffer
	report, err := app.Salvage(t.Context(), &out, strings.NewReader(file), opts)
	require.NoError(t, err)
	s := openedWith(t, out.String(), opts.Identities)
	require.Equal(t, report.Manifest, s.Manifest())
	require.NotNil(t, report.Manifest.Salvaged, "it must be marked")
	require.Equal(t, "salvaged", report.Manifest.Metadata["trigger"])
	require.Equal(t, report.Kept, report.Manifest.Records)
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(report.Warnings))), len(report.Warnings), "nothing is told twice: %q", report.Warnings)
	return out.String(), report
}

func openedWith(t testing.TB, file string, identities []backup.Identity) *backup.Snapshot {
	t.Helper()
	s, err := backup.OpenSnapshot(t.Context(), strings.NewReader(file), backup.OpenOptions{Identities: identities})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

var (
	opens      = regexp.MustCompile(`^"([a-z0-9_]+)":[\[{]$`)
	secret     = regexp.MustCompile(`,"[^"]*":\{"\$sealed":"[^"]*"\}`)
	loneSecret = regexp.MustCompile(`\{"[^"]*":\{"\$sealed":"[^"]*"\},?`)
	number     = regexp.MustCompile(`:[0-9]+$`)
)

// recordLines returns the lines of the records of a file as it was written, by
// collection. It knows nothing but the layout.
func recordLines(file string) map[string][]string {
	lines := make(map[string][]string)
	collection := ""
	for line := range strings.Lines(file) {
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), ",")
		switch m := opens.FindStringSubmatch(line); {
		case m != nil && m[1] != "data":
			collection = m[1]
			lines[collection] = nil
		case line == "]" || line == "}":
			collection = ""
		case collection != "":
			lines[collection] = append(lines[collection], line)
		}
	}
	return lines
}

// line returns the line of file that holds text, with its line feed.
func line(t testing.TB, file, text string) string {
	t.Helper()
	i := strings.Index(file, text)
	require.GreaterOrEqual(t, i, 0, "%s is not in the file", text)
	start := strings.LastIndex(file[:i], "\n") + 1
	return file[start : i+strings.Index(file[i:], "\n")+1]
}

func TestSalvageKeepsWhatIsIntactAndNamesTheRest(t *testing.T) {
	whole := tomoFile(t, 3)
	app := tomo.App("2.1.0")
	without := func(parts ...string) func(string) string {
		return func(f string) string {
			for _, part := range parts {
				require.Contains(t, f, part)
				f = strings.Replace(f, part, "", 1)
			}
			return f
		}
	}
	zeroed := func(from, to string) func(string) string {
		return func(f string) string {
			i, j := strings.Index(f, from), strings.Index(f, to)
			require.True(t, 0 <= i && i < j, "%s, %s", from, to)
			return f[:i] + strings.Repeat("\x00", j-i) + f[j:]
		}
	}
	replaced := func(old, new string) func(string) string {
		return func(f string) string {
			require.Contains(t, f, old)
			return strings.Replace(f, old, new, 1)
		}
	}
	all := func(but map[string]int64) map[string]int64 {
		m := map[string]int64{"applications": 3, "preferences": 3, "repositories": 3, "servers": 3, "settings": 3, "users": 3}
		for name, n := range but {
			if m[name] = n; n < 0 {
				delete(m, name)
			}
		}
		return m
	}
	type lost = []string // collection, key
	for name, c := range map[string]struct {
		damage   func(string) string
		kept     map[string]int64
		lost     lost
		missing  map[string]int64
		warnings []string
		opts     backup.SalvageOptions
	}{
		"nothing": {
			damage: func(f string) string { return f }, kept: all(nil),
			warnings: []string{"the file is whole: use it, and not what was made of it"},
		},
		"a record altered behind its key": {
			damage: replaced(`1","name":"node 1"`, `1","name":"node 1`), kept: all(map[string]int64{"servers": 2}),
			lost: lost{"servers server-0000001"}, missing: map[string]int64{"servers": 1}, warnings: []string{"digest does not fit"},
		},
		"a record altered before its key": {
			damage: replaced(`{"id":"server-0000001`, `{"id":server-0000001`), kept: all(map[string]int64{"servers": 2}),
			lost: lost{"servers "}, missing: map[string]int64{"servers": 1}, warnings: []string{"digest does not fit"},
		},
		"a record that its schema refuses": {
			damage: replaced(`"port":22`, `"port":"2"`), kept: all(map[string]int64{"servers": 2}),
			lost: lost{"servers server-0000000"}, missing: map[string]int64{"servers": 1}, warnings: []string{"digest does not fit"},
		},
		"a value that is still valid": {
			damage: replaced(`"name":"node 1"`, `"name":"nodf 1"`), kept: all(nil),
			warnings: []string{"a value that was altered and is still valid cannot be told from an intact one"},
		},
		"a setting": {
			damage: replaced(`"theme":"dark"`, `"theme":"dark`), kept: all(map[string]int64{"settings": 2}),
			lost: lost{"settings theme"}, missing: map[string]int64{"settings": 1}, warnings: []string{"digest does not fit"},
		},
		"a key twice": {
			damage: replaced(`{"id":"server-0000001`, `{"id":"server-0000000`), kept: all(map[string]int64{"servers": 2}),
			lost: lost{"servers server-0000000"}, missing: map[string]int64{"servers": 1}, warnings: []string{"were not opened", "digest does not fit"},
		},
		"a secret that does not open": {
			damage: func(f string) string {
				i := strings.Index(f, `{"$sealed":"`) + 20
				return f[:i] + string(f[i]^1) + f[i+1:]
			},
			opts: backup.SalvageOptions{Identities: identities}, kept: all(map[string]int64{"servers": 2}),
			lost: lost{"servers server-0000000"}, missing: map[string]int64{"servers": 1}, warnings: []string{"digest does not fit"},
		},
		"a secret that is no base64, without a key": {
			damage: replaced(`{"$sealed":"`, `{"$sealed":"#`), kept: all(map[string]int64{"servers": 2}),
			lost: lost{"servers server-0000000"}, missing: map[string]int64{"servers": 1}, warnings: []string{"were not opened", "digest does not fit"},
		},
		"the end": {
			damage: func(f string) string { return f[:strings.Index(f, `"username":"user-1"`)] }, kept: all(map[string]int64{"users": 1, "preferences": -1}),
			lost: lost{"users user-0000001"}, warnings: []string{"the integrity line is lost"},
		},
		"the beginning": {
			damage: func(f string) string { return f[strings.Index(f, `"name":"node 1"`):] },
			// Without "encryption" the secrets go, and users and applications need theirs.
			kept: all(map[string]int64{"servers": 1, "applications": -1, "users": -1}),
			lost: lost{" ", "applications app-0000000"}, missing: map[string]int64{"servers": 2, "applications": 3, "users": 3},
			warnings: []string{"version of the format is lost", "application is lost; the file was taken for one of tomo", "taken for made now", "version of the application is lost",
				"schema version is lost", "metadata may be lost", "the origin of the snapshot may be lost", "taken off 4 records", "digest does not fit", "records of servers follow damage"},
		},
		"a hole over a record and a half": {
			damage: zeroed(`{"id":"repo-0000000"`, `"type":"git","branch":"main","enabled":true,"token"`), kept: all(map[string]int64{"repositories": 1}),
			lost: lost{"repositories "}, missing: map[string]int64{"repositories": 2}, warnings: []string{"digest does not fit"},
		},
		"a hole over where a collection begins": {
			damage: zeroed(`"name":"node 2"`, `"name":"Repository 0"`), kept: all(map[string]int64{"servers": 2, "repositories": 2}),
			lost: lost{"servers server-0000002"}, missing: map[string]int64{"servers": 1, "repositories": 1}, warnings: []string{"digest does not fit", "records of repositories follow damage"},
		},
		"a hole over all of a collection": {
			damage: zeroed(`"repositories":[`, `"applications":[`), kept: all(map[string]int64{"repositories": -1}),
			missing: map[string]int64{"repositories": 3}, lost: lost{" "}, warnings: []string{"digest does not fit", "records of applications follow damage"},
		},
		"all records of a collection": {
			damage: zeroed(`{"id":"repo-0000000"`, "],\n\"applications\""), kept: all(map[string]int64{"repositories": -1}),
			missing: map[string]int64{"repositories": 3}, lost: lost{"repositories "}, warnings: []string{"digest does not fit"},
		},
		"the name of a collection": {
			damage: replaced("\"servers\":[", "\"servers\":\x7b"), kept: all(nil), lost: lost{"servers "}, warnings: []string{"digest does not fit"},
		},
		"the bracket of a collection": {
			damage: replaced("\"repositories\":[", "\"repositorhes\":["), kept: all(nil), lost: lost{"repositories "}, warnings: []string{"digest does not fit"},
		},
		"the line of a collection": {
			damage: without("\"repositories\":[\n"), kept: all(nil), warnings: []string{"digest does not fit", "records of repositories follow damage"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := c.damage(whole)
			if c.opts.Identities == nil && !slices.ContainsFunc(c.warnings, func(w string) bool { return w == "were not opened" }) {
				c.opts.Identities = identities
			}
			out, report := salvaged(t, app, file, c.opts)
			require.Equal(t, c.kept, report.Kept)
			require.Equal(t, c.missing, report.Missing)
			var found lost
			for _, l := range report.Lost {
				found = append(found, l.Collection+" "+l.Key)
				require.NotEmpty(t, l.Reason)
			}
			for _, want := range c.lost {
				require.Contains(t, found, want)
			}
			if len(c.lost) == 0 {
				require.Empty(t, found)
			}
			require.Len(t, report.Warnings, len(c.warnings), "%q", report.Warnings)
			for i, want := range c.warnings {
				require.Contains(t, report.Warnings[i], want)
			}
			checkSalvage(t, app, whole, file, out, report, c.opts)
		})
	}
}

// stripped takes sealed members off a line.
func stripped(line string) string {
	return loneSecret.ReplaceAllString(secret.ReplaceAllString(line, ""), "{")
}

// compacted takes white space out of a line that is JSON.
func compacted(line string) string {
	var b bytes.Buffer
	switch {
	case strings.HasPrefix(line, "{") && json.Compact(&b, []byte(line)) == nil:
		return b.String()
	case strings.HasPrefix(line, `"`) && json.Compact(&b, []byte("{"+line+"}")) == nil:
		return b.String()[1 : b.Len()-1]
	}
	return line
}

var structure = regexp.MustCompile(`^(\{"version":.*|"(format|created_at|application|application_version|schema_version|origin|partial|metadata|encryption|salvaged|left_out|integrity)":.*|[\]}]|"[a-z][a-z0-9_]*":[\[{])$`)

// checkSalvage holds what was salvaged against the whole file and the damaged
// one. It shares no code with Salvage: it compares lines.
func checkSalvage(t testing.TB, app *backup.App, whole, damaged, out string, report backup.SalvageReport, opts backup.SalvageOptions) {
	t.Helper()
	// With anything altered in "encryption", secrets may have to go.
	encryption := line(t, whole, `"encryption"`)
	encrypted := strings.Contains("\n"+strings.ReplaceAll(damaged, "\r", ""), "\n"+encryption) && strings.Contains(out, "\n"+encryption)
	normal := func(line string) string {
		line = compacted(line)
		if !encrypted {
			line = stripped(line)
		}
		return line
	}
	kept := make(map[string]map[string]bool) // collection → lines
	total := int64(0)
	for name, lines := range recordLines(out) {
		kept[name] = make(map[string]bool)
		for _, line := range lines {
			kept[name][normal(line)] = true
		}
		total += report.Kept[name]
		require.Len(t, lines, int(report.Kept[name]))
	}
	inAny := func(line string) bool {
		for _, lines := range kept {
			if lines[line] {
				return true
			}
		}
		return false
	}

	original := make(map[string]string) // line → collection, of those that are unique
	for name, lines := range recordLines(whole) {
		for _, line := range lines {
			if _, twice := original[line]; twice {
				name = ""
			}
			original[line] = name
		}
	}
	opening := make(map[string]bool) // collections whose beginning is intact
	for line := range strings.Lines(damaged) {
		if m := opens.FindStringSubmatch(strings.TrimRight(line, "\r\n")); m != nil {
			opening[m[1]] = true
		}
	}
	// The schemas of Tomo alone tell all its collections apart.
	sure := app.Name == "tomo" && report.Manifest.SchemaVersion == app.SchemaVersion
	everyOpening := true
	for name := range recordLines(whole) {
		everyOpening = everyOpening && opening[name]
	}

	end, sum := int64(0), int64(0)
	for _, l := range report.Lost {
		require.GreaterOrEqual(t, l.From, end, "ranges must be in order")
		require.Greater(t, l.To, l.From)
		require.True(t, l.From == 0 || damaged[l.From-1] == '\n')
		end = l.To
		sum += l.To - l.From
	}
	require.LessOrEqual(t, end, int64(len(damaged)))
	require.Less(t, report.Ranges, int64(1000))
	require.Len(t, report.Lost, int(report.Ranges))
	require.Equal(t, sum, report.LostBytes)

	offset, next, standing := int64(0), 0, int64(0)
	here := make(map[string]bool)
	for text := range strings.Lines(damaged) {
		for next < len(report.Lost) && report.Lost[next].To <= offset {
			next++
		}
		reason := ""
		if next < len(report.Lost) && report.Lost[next].From <= offset {
			reason = report.Lost[next].Reason
		}
		offset += int64(len(text))
		line, ended := strings.CutSuffix(text, "\n")
		line = strings.TrimRight(strings.TrimSuffix(strings.TrimRight(line, " \t\r"), ","), " \t\r")
		here[normal(line)] = true
		if reason == "" && !structure.MatchString(line) {
			standing++
			require.True(t, inAny(normal(line)), "a line is neither kept nor lost: %.100q", line)
		}
		name := original[line]
		switch {
		case name == "", reason == "a record before it has the same key":
		case !ended && number.MatchString(line): // it may have had more digits
		case !encrypted && (strings.Contains(reason, "without its secrets") || strings.Contains(reason, "a sealed secret, and")):
		case !sure && !opening[name]:
		case !sure && !everyOpening:
			require.True(t, inAny(normal(line)), "%s is lost: %s: %.100q", name, reason, line)
		default:
			require.True(t, kept[name][normal(line)], "lost to %s: %s: %.100q", name, reason, line)
		}
	}
	require.Equal(t, total, standing, "each line is a record that was kept, or lost, or of the frame")
	for name, lines := range kept {
		for line := range lines {
			require.True(t, here[line], "made up in %s: %.200q", name, line)
		}
	}

	if report.Manifest.SchemaVersion == app.SchemaVersion && (opts.Identities != nil || !strings.Contains(out, "\n\"encryption\":")) {
		_, err := app.Verify(t.Context(), openedWith(t, out, opts.Identities), backup.RestoreOptions{AllowDangling: true, AllowNewerApp: true, AllowUnknown: true})
		require.NoError(t, err)
	}
}

// harm damages a file in a way that it draws.
func harm(rng *rand.Rand, f string) (string, string) {
	if len(f) < 100 {
		return f, "nothing"
	}
	i := rng.IntN(len(f))
	n := min(len(f)-i, 1<<rng.IntN(12))
	b := []byte(f)
	switch rng.IntN(10) {
	case 0:
		return f[:i], fmt.Sprintf("truncated at %d", i)
	case 1:
		return f[i/2:], fmt.Sprintf("without the first %d", i/2)
	case 2:
		clear(b[i : i+n])
		return string(b), fmt.Sprintf("zeros at %d, %d", i, n)
	case 3:
		return f[:i] + f[i+n:], fmt.Sprintf("removed at %d, %d", i, n)
	case 4:
		for j := range n {
			b[i+j] = byte(rng.Uint32())
		}
		return string(b), fmt.Sprintf("random bytes at %d, %d", i, n)
	case 5:
		return strings.ReplaceAll(f, "\n", "\r\n"), "line ends converted"
	case 6: // whole lines
		lines := strings.SplitAfter(f, "\n")
		k := rng.IntN(len(lines))
		m := min(len(lines)-k, 1+rng.IntN(6))
		return strings.Join(slices.Delete(lines, k, k+m), ""), fmt.Sprintf("removed lines %d, %d", k, m)
	default:
		flips := 1 + rng.IntN(20)
		for range flips {
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		}
		return string(b), fmt.Sprintf("%d bits", flips)
	}
}

func TestAThousandDamagedFiles(t *testing.T) {
	testtime.NotForRace(t)
	seed := uint64(20240115)
	if text := os.Getenv("SALVAGE_SEED"); text != "" { // for more than a thousand
		_, err := fmt.Sscan(text, &seed)
		require.NoError(t, err)
	}
	share := testtime.Every(t, 5) // of a thousand
	t.Logf("seed %d", seed)
	var total atomic.Int64
	t.Run("all", func(t *testing.T) {
		for k, c := range []struct {
			name  string
			app   *backup.App
			whole string
			n     int
		}{
			{"Tomo", tomo.App("2.1.0"), tomoFile(t, 3), 100},
			{"schemas that overlap", homelab(), fileOf(t, homelab(), bareStoreValid()), 450},
			{"no schemas", bareApp(), fileOf(t, bareApp(), bareStore()), 450},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				for i := range c.n / share {
					t.Run(fmt.Sprint(i), func(t *testing.T) {
						rng := rand.New(rand.NewPCG(seed, uint64(k)<<32|uint64(i)))
						if salvageDamaged(t, rng, c.app, c.whole) {
							total.Add(1)
						}
					})
				}
			})
		}
	})
	require.Greater(t, total.Load(), int64(800/share))
}

// salvageDamaged damages a file, salvages it, and tells whether there was
// anything to salvage.
func salvageDamaged(t *testing.T, rng *rand.Rand, app *backup.App, whole string) bool {
	file, how := whole, []string(nil)
	for range 1 + rng.IntN(6)/3 + rng.IntN(6)/5 {
		var what string
		file, what = harm(rng, file)
		how = append(how, what)
	}
	opts := backup.SalvageOptions{Identities: identities}
	if rng.IntN(3) == 0 {
		opts.Identities = nil
	}
	if rng.IntN(2) == 0 {
		opts.Name = app.BackupName(at)
	}
	var out bytes.Buffer
	report, err := app.Salvage(t.Context(), &out, strings.NewReader(file), opts)
	defer func() {
		if t.Failed() {
			text, _ := json.MarshalIndent(report, "", " ")
			t.Logf("damage: %s\nreport: %s\nfile:\n%q", strings.Join(how, ", "), text, file)
		}
	}()
	if errors.Is(err, backup.ErrWrongKey) { // the wrapped key is damaged
		require.NotContains(t, file, line(t, whole, `"encryption"`))
		require.ErrorContains(t, err, "without a key the sealed values are copied")
		opts.Identities = nil
		out.Reset()
		report, err = app.Salvage(t.Context(), &out, strings.NewReader(file), opts)
	}
	switch {
	case errors.Is(err, backup.ErrForeign):
		require.Empty(t, opts.Name)
		require.NotContains(t, file, line(t, whole, `"application"`))
		return false
	case errors.Is(err, backup.ErrFormat):
		require.NotContains(t, file, `{"version":"1.0",`)
		return false
	case errors.Is(err, backup.ErrDamaged):
		require.ErrorContains(t, err, "nothing to salvage")
		opened := func(name string) bool {
			return strings.Contains(file, "\n\""+name+"\":[\n") || strings.Contains(file, "\n\""+name+"\":{\n")
		}
		for name, lines := range recordLines(whole) {
			for _, line := range lines {
				if strings.Contains(line, "$sealed") || !opened(name) {
					continue // it may have gone with its secrets, or for want of a place
				}
				require.NotContains(t, file, "\n"+line+",\n", "there is something to salvage")
			}
		}
		return false
	}
	require.NoError(t, err)
	require.NotNil(t, openedWith(t, out.String(), opts.Identities).Manifest().Salvaged)
	checkSalvage(t, app, whole, file, out.String(), report, opts)
	return true
}

// bareStoreValid is bareStore as the schemas of homelab want it.
func bareStoreValid() backuptest.MapStore {
	store := bareStore()
	for i := range 8 {
		key := fmt.Sprintf("servers-%d", i)
		store["servers"][key] = fmt.Sprintf(`{"id":%q,"name":"the name of %s","port":%d,"password":"long enough"}`, key, key, 1000+i)
	}
	return store
}

func salvageError(t testing.TB, app *backup.App, file string, opts backup.SalvageOptions) error {
	t.Helper()
	_, err := app.Salvage(t.Context(), io.Discard, strings.NewReader(file), opts)
	require.Error(t, err)
	return err
}

func TestAWholeFileGivesTheSameRecordsAndIsMarked(t *testing.T) {
	for name, c := range map[string]struct {
		app   *backup.App
		whole string
	}{
		"Tomo":            {tomo.App("2.1.0"), tomoFile(t, 20)},
		"without schemas": {bareApp(), fileOf(t, bareApp(), bareStore())},
		"an optional one": {homelab(), func() string {
			var file bytes.Buffer
			_, err := homelab().Backup(t.Context(), &file, homelabStore(), backup.BackupOptions{Recipients: sealed, Include: []string{"logs"}})
			require.NoError(t, err)
			return file.String()
		}()},
		"an empty one": {homelab(), func() string {
			store := homelabStore()
			store["users"] = map[string]string{}
			return fileOf(t, homelab(), store)
		}()},
	} {
		t.Run(name, func(t *testing.T) {
			for _, opts := range []backup.SalvageOptions{{}, {Identities: identities}} {
				out, report := salvaged(t, c.app, c.whole, opts)
				require.Equal(t, recordLines(c.whole), recordLines(out))
				require.Empty(t, report.Lost)
				require.Zero(t, report.LostBytes)
				require.Nil(t, report.Missing)
				require.Nil(t, report.SecretsLost)
				require.Equal(t, &backup.Salvaged{Digest: "fits", Counts: "known"}, report.Manifest.Salvaged)
				require.True(t, report.Manifest.Sealed)
				require.Equal(t, line(t, c.whole, `"encryption":`), line(t, out, `"encryption":`))
				require.Contains(t, report.Warnings[len(report.Warnings)-1], "the file is whole")
			}
		})
	}
}

func TestReplaceFromASalvagedSnapshotIsRefused(t *testing.T) {
	whole := homelabFile(t)
	out, report := salvaged(t, homelab(), strings.Replace(whole, `{"id":"s2"`, `{"id":s2"`, 1), backup.SalvageOptions{Identities: identities})
	require.Equal(t, map[string]int64{"servers": 1}, report.Missing)
	require.Equal(t, map[string]int64{"servers": 1}, report.Manifest.Salvaged.Records)

	for name, how := range map[string]backup.RestoreOptions{
		"everything":          {Strategy: backup.Replace},
		"one collection":      {Strategies: map[string]backup.Strategy{"users": backup.Replace}},
		"only one collection": {Strategy: backup.Replace, Only: []string{"settings"}},
	} {
		t.Run(name, func(t *testing.T) {
			how.AllowDangling = true
			s := openedWith(t, out, identities)
			host := other()
			_, err := homelab().Restore(t.Context(), s, host, how)
			require.ErrorIs(t, err, backup.ErrSalvaged)
			require.ErrorContains(t, err, "Lost are 1 record of servers, ")
			require.ErrorContains(t, err, "use merge or skip-duplicates, or allow it explicitly")
			_, planErr := homelab().Plan(t.Context(), s, host, how)
			require.ErrorIs(t, planErr, backup.ErrSalvaged)
			require.Equal(t, other(), host)

			how.AllowSalvaged = true
			restoredReport, err := homelab().Restore(t.Context(), s, host, how)
			require.NoError(t, err)
			require.Contains(t, strings.Join(restoredReport.Warnings, "\n"), "the snapshot was saved from a damaged file. Lost are ")
			require.NotEqual(t, other(), host)
		})
	}
	for _, strategy := range []backup.Strategy{backup.SkipDuplicates, backup.Merge} {
		host := other()
		how := backup.RestoreOptions{Strategy: strategy}
		_, err := homelab().Restore(t.Context(), openedWith(t, out, identities), host, how)
		require.ErrorIs(t, err, backup.ErrDangling, "what was lost is referred to")
		how.AllowDangling = true
		restoredReport, err := homelab().Restore(t.Context(), openedWith(t, out, identities), host, how)
		require.NoError(t, err)
		require.Contains(t, strings.Join(restoredReport.Warnings, "\n"), "1 record of servers")
		require.Contains(t, host["servers"], "s9", "nothing is deleted")
	}
}

func TestWhatIsMadeOfASalvagedSnapshotIsMarkedToo(t *testing.T) {
	file := strings.Replace(homelabFile(t), `{"id":"s2"`, `{"id":s2"`, 1)
	out, first := salvaged(t, homelab(), file, backup.SalvageOptions{Identities: identities})

	var copied bytes.Buffer
	m, err := homelab().Backup(t.Context(), &copied, openedWith(t, out, identities), backup.BackupOptions{Recipients: sealed, LeaveOutInvalid: true})
	require.NoError(t, err)
	require.Equal(t, first.Manifest.Salvaged, m.Salvaged)

	// And a second damage is added to the first.
	_, second := salvaged(t, homelab(), strings.Replace(out, `{"id":"s1"`, `{"id":s1"`, 1), backup.SalvageOptions{Identities: identities})
	require.Equal(t, map[string]int64{"servers": 1}, second.Missing)
	require.Equal(t, map[string]int64{"servers": 2}, second.Manifest.Salvaged.Records)
	require.Equal(t, first.LostBytes+second.LostBytes, second.Manifest.Salvaged.LostBytes)
	require.Equal(t, "salvaged", second.Manifest.Metadata["trigger"])
}

func TestWhatIsLostOfTheHeaderIsReplaced(t *testing.T) {
	whole := fileOf(t, homelab(), homelabStore())
	name := homelab().BackupName(at.Add(time.Hour))
	for member, c := range map[string]struct {
		want, named string // warnings
		check       func(t *testing.T, m backup.Manifest, named bool)
	}{
		`{"version"`: {"the version of the format is lost; it was taken for 1.0", "", func(t *testing.T, m backup.Manifest, _ bool) { require.Equal(t, "1.0", m.Version) }},
		`"created_at"`: {"taken for made now", "taken from the name of the file", func(t *testing.T, m backup.Manifest, named bool) {
			if named {
				require.Equal(t, at.Add(time.Hour), m.CreatedAt)
			} else {
				require.WithinDuration(t, time.Now(), m.CreatedAt, time.Minute)
			}
		}},
		`"application"`:         {"the file was taken for one of homelab", "by the name of the file it is homelab", func(t *testing.T, m backup.Manifest, _ bool) { require.Equal(t, "homelab", m.Application) }},
		`"application_version"`: {"the version of the application is lost; it was taken for 2.1.0", "", func(t *testing.T, m backup.Manifest, _ bool) { require.Equal(t, "2.1.0", m.ApplicationVersion) }},
		`"schema_version"`:      {"the schema version is lost; it was taken for 1", "", func(t *testing.T, m backup.Manifest, _ bool) { require.Equal(t, 1, m.SchemaVersion) }},
		`"metadata"`: {"the metadata may be lost", "", func(t *testing.T, m backup.Manifest, _ bool) {
			require.Equal(t, map[string]string{"trigger": "salvaged"}, m.Metadata)
		}},
	} {
		t.Run(member, func(t *testing.T) {
			lost := line(t, whole, member)
			for how, file := range map[string]string{
				"altered": strings.Replace(whole, lost, strings.Replace(lost, `":`, `"#`, 1), 1),
				"zeroed":  strings.Replace(whole, lost, strings.Repeat("\x00", len(lost)-1)+"\n", 1),
				"removed": strings.Replace(whole, lost, "", 1),
			} {
				if how == "removed" && member == `"metadata"` {
					continue // nobody can tell
				}
				for _, opts := range []backup.SalvageOptions{{Identities: identities}, {Identities: identities, Name: name}} {
					out, report := salvaged(t, homelab(), file, opts)
					require.Equal(t, recordLines(whole), recordLines(out), how)
					want := c.want
					if opts.Name != "" && c.named != "" {
						want = c.named
					}
					require.Contains(t, strings.Join(report.Warnings, "\n"), want, how)
					c.check(t, report.Manifest, opts.Name != "")
					if how == "removed" {
						require.Empty(t, report.Lost)
					} else {
						i := int64(strings.Index(whole, lost))
						require.Equal(t, []backup.LostRange{{From: i, To: i + int64(len(lost)), Reason: "a damaged line of the header"}}, report.Lost)
					}
				}
			}
		})
	}
}

func TestTheSchemaVersionIsFoundOutByTheKey(t *testing.T) {
	file := tomoFile(t, 2)
	app := tomo.App("2.1.0")
	app.SchemaVersion = 4
	app.Migrators = append(app.Migrators, backup.Migration(3, func(_ context.Context, c string, r backup.Record, emit func(string, backup.Record) error) error {
		return emit(c, r)
	}))
	file = strings.Replace(file, "\"schema_version\":3,\n", "", 1)
	_, report := salvaged(t, app, file, backup.SalvageOptions{Identities: identities})
	require.Equal(t, 3, report.Manifest.SchemaVersion)
	require.Contains(t, strings.Join(report.Warnings, "\n"), "it was 3")
	require.Empty(t, report.Lost)
}

func TestAnotherVersionOfTheFormatIsRefusedAndDamageOfItIsNot(t *testing.T) {
	whole := homelabFile(t)
	for version, want := range map[string]error{"1.1": backup.ErrTooNew, "2.0": backup.ErrTooNew, "0.9": backup.ErrFormat, "1.p": nil, "q.0": nil, "10": nil} {
		file := strings.Replace(whole, `{"version":"1.0"`, fmt.Sprintf(`{"version":%q`, version), 1)
		if want != nil {
			require.ErrorIs(t, salvageError(t, homelab(), file, backup.SalvageOptions{}), want, version)
			continue
		}
		salvaged(t, homelab(), file, backup.SalvageOptions{})
	}
}

func TestAFileOfAnotherApplicationIsRefusedUnlessItsNameSaysOtherwise(t *testing.T) {
	file := strings.Replace(homelabFile(t), `"application":"homelab"`, `"application":"homelac"`, 1)
	require.ErrorIs(t, salvageError(t, homelab(), file, backup.SalvageOptions{}), backup.ErrForeign)
	require.ErrorIs(t, salvageError(t, homelab(), file, backup.SalvageOptions{Name: "homelac-backup-2024-01-15T10-30-00.json"}), backup.ErrForeign)
	_, report := salvaged(t, homelab(), file, backup.SalvageOptions{Name: homelab().BackupName(at), Identities: identities})
	require.Equal(t, "homelab", report.Manifest.Application)
	require.Len(t, report.Lost, 1)
	require.Contains(t, report.Warnings[0], "by the name of the file it is homelab")
}

func TestWithoutWhatOpensThemTheSecretsGo(t *testing.T) {
	whole := homelabFile(t)
	lost := line(t, whole, `"encryption"`)
	id := strings.Index(lost, `"id":"`) + 6
	for how, c := range map[string]struct {
		with string
		opts backup.SalvageOptions
	}{
		"the line is removed":   {"", backup.SalvageOptions{Identities: identities}},
		"the line is cut":       {lost[:100] + "\n", backup.SalvageOptions{}},
		"the id is malformed":   {lost[:id] + "#" + lost[id+1:], backup.SalvageOptions{}},
		"another id, and a key": {lost[:id] + "AAAA" + lost[id+4:], backup.SalvageOptions{Identities: identities}},
		"another cipher":        {strings.Replace(lost, "xchacha20", "xchacha21", 1), backup.SalvageOptions{}},
	} {
		t.Run(how, func(t *testing.T) {
			file := strings.Replace(whole, lost, c.with, 1)
			out, report := salvaged(t, homelab(), file, c.opts)
			require.NotContains(t, out, "$sealed")
			require.NotContains(t, out, "encryption")
			require.Equal(t, map[string]int64{"servers": 1, "applications": 1}, report.SecretsLost)
			require.Equal(t, map[string]int64{"servers": 2, "applications": 2, "settings": 2, "users": 1}, report.Kept)
			require.Contains(t, strings.Join(report.Warnings, "\n"), "nothing opens the secrets any more: they were taken off 2 records")
			require.False(t, report.Manifest.Sealed)
			require.Contains(t, out, `{"id":"s1","name":"nas","port":22}`)
			require.Contains(t, out, `"env":{}`)
			last := report.Lost[len(report.Lost)-1]
			require.Equal(t, "settings smtp_password", last.Collection+" "+last.Key)
			require.Contains(t, last.Reason, "that opens it is lost")

			host := other()
			_, err := homelab().Restore(t.Context(), openedWith(t, out, nil), host, backup.RestoreOptions{Strategy: backup.Merge})
			require.NoError(t, err)
			checkSalvage(t, homelab(), whole, file, out, report, c.opts)
		})
	}
}

func TestAWrongKeyIsRefusedAndNoKeyIsNot(t *testing.T) {
	whole := homelabFile(t)
	err := salvageError(t, homelab(), whole, backup.SalvageOptions{Identities: []backup.Identity{testKey("other")}})
	require.ErrorIs(t, err, backup.ErrWrongKey)
	require.ErrorContains(t, err, "without a key the sealed values are copied as they are")

	// Without a key a secret that is altered is copied; with it, it is found.
	i := strings.Index(whole, `{"$sealed":"`) + 30
	other := "A" // of base64 too
	if whole[i] == 'A' {
		other = "B"
	}
	file := whole[:i] + other + whole[i+1:]
	out, report := salvaged(t, homelab(), file, backup.SalvageOptions{})
	require.Equal(t, recordLines(file), recordLines(out))
	require.Contains(t, strings.Join(report.Warnings, "\n"), "salvage with the key to find it")
	_, report = salvaged(t, homelab(), file, backup.SalvageOptions{Identities: identities})
	require.Equal(t, map[string]int64{"servers": 1}, report.Missing)
	require.Contains(t, report.Lost[0].Reason, "does not open")
}

func TestNothingToSalvage(t *testing.T) {
	for name, file := range map[string]string{
		"empty":          "",
		"cut gzip":       "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff",
		"a line feed":    "\n",
		"zeros":          strings.Repeat("\x00", 100_000),
		"something else": "Dear Sir,\n\n{yours}\n",
		"a header":       homelabFile(t)[:300],
		"pretty-printed": func() string {
			var b bytes.Buffer
			require.NoError(t, json.Indent(&b, []byte(homelabFile(t)), "", "  "))
			return b.String()
		}(),
		"all on one line":   strings.ReplaceAll(homelabFile(t), "\n", ""),
		"no records":        document(homelab(), 1, "{}"),
		"only the frame":    "{\"version\":\"1.0\",\n\"data\":{\n\"servers\":[\n],\n}\n}\n",
		"records of no one": "{\"a\":1},\n{\"a\":2},\n",
	} {
		t.Run(name, func(t *testing.T) {
			err := salvageError(t, homelab(), file, backup.SalvageOptions{})
			require.ErrorIs(t, err, backup.ErrDamaged)
			require.ErrorContains(t, err, "nothing to salvage")
			says := cmp.Or(map[string]string{
				"empty":    "the file is empty",
				"cut gzip": "nothing of it could be decrypted or expanded",
			}[name], "only to be opened")
			require.ErrorContains(t, err, says)
		})
	}
}

func TestCollectionsThatTheAppDoesNotDeclareAreKept(t *testing.T) {
	// Another build declared plugins, and an older one had other data.
	app := homelab()
	app.Collections = append(app.Collections, backup.Collection{Name: "plugins", Key: "/name", Secrets: []string{"/token"}}, backup.Collection{Name: "flags", Shape: backup.Map})
	store := homelabStore()
	store["plugins"] = map[string]string{"p1": `{"name":"p1","token":"secret"}`, "p2": `{"name":"p2"}`}
	store["flags"] = map[string]string{"a": `true`, "b": `[1]`}
	file := fileOf(t, app, store)

	damaged := strings.Replace(file, `{"name":"p2"`, `{"name":"p1"`, 1)
	out, report := salvaged(t, homelab(), damaged, backup.SalvageOptions{Identities: identities})
	require.Equal(t, int64(1), report.Kept["plugins"], "its key is known by what is sealed")
	require.Equal(t, int64(2), report.Kept["flags"])
	require.Equal(t, map[string]int64{"plugins": 1}, report.Missing)
	require.Equal(t, recordLines(file)["flags"], recordLines(out)["flags"])

	newer := homelab()
	newer.SchemaVersion, newer.Migrators = 2, []backup.Migrator{backup.Migration(1, func(_ context.Context, c string, r backup.Record, emit func(string, backup.Record) error) error {
		return emit(c, r)
	})}
	newer.Collections[1].Schema = []byte(`{"required":["something new"]}`)
	out, report = salvaged(t, newer, file, backup.SalvageOptions{Identities: identities})
	require.Equal(t, recordLines(file), recordLines(out), "no schema is held against what is older")
	require.Empty(t, report.Lost)
	require.Equal(t, 1, report.Manifest.SchemaVersion)
}

func TestANumberAtTheEndOfTheFileMayHaveBeenLonger(t *testing.T) {
	whole := fileOf(t, bareApp(), bareStore())
	i := strings.Index(whole, `"number3":1003`)
	_, report := salvaged(t, bareApp(), whole[:i+len(`"number3":10`)], backup.SalvageOptions{})
	last := report.Lost[len(report.Lost)-1]
	require.Equal(t, backup.LostRange{From: int64(i), To: int64(i + len(`"number3":10`)), Collection: "settings", Key: "number3", Reason: "the file ends within it"}, last)
	require.Equal(t, int64(4), report.Kept["settings"], "home_server and the numbers before it")

	_, report = salvaged(t, bareApp(), whole[:i+len(`"number3":1003,`)], backup.SalvageOptions{})
	require.Equal(t, int64(5), report.Kept["settings"], "a comma ends a number")
}

func TestSalvageReadsAStreamAsItReadsAFile(t *testing.T) {
	file := strings.Replace(homelabFile(t), `{"id":"s2"`, `{"id":s2"`, 1)
	want, wantReport := salvaged(t, homelab(), file, backup.SalvageOptions{Identities: identities})
	dir := t.TempDir()
	for name, r := range map[string]io.Reader{
		"a stream":       struct{ io.Reader }{strings.NewReader(file)},
		"byte by byte":   iotest.OneByteReader(strings.NewReader(file)),
		"with its error": iotest.DataErrReader(strings.NewReader(file)),
		"from a place":   func() io.Reader { r := strings.NewReader("before" + file); r.Seek(6, io.SeekStart); return r }(),
	} {
		var out bytes.Buffer
		report, err := homelab().Salvage(t.Context(), &out, r, backup.SalvageOptions{Identities: identities, TempDir: dir})
		require.NoError(t, err, name)
		require.Equal(t, want, out.String(), name)
		require.Equal(t, wantReport, report, name)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "temporary copies are removed")
}

func TestErrorsThatAreNoDamage(t *testing.T) {
	file := homelabFile(t)
	broken := errors.New("the disk is on fire")
	run := func(w io.Writer, r io.Reader, opts backup.SalvageOptions) error {
		_, err := homelab().Salvage(t.Context(), w, r, opts)
		require.Error(t, err)
		return err
	}
	err := run(io.Discard, io.MultiReader(strings.NewReader(file), iotest.ErrReader(broken)), backup.SalvageOptions{})
	require.ErrorIs(t, err, broken)
	require.NotErrorIs(t, err, backup.ErrDamaged)

	for n := range len(file) / 100 {
		_, err = homelab().Salvage(t.Context(), &fullDisk{n * 100}, strings.NewReader(file), backup.SalvageOptions{})
		require.ErrorContains(t, err, "check disk space")
		require.NotErrorIs(t, err, backup.ErrDamaged)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = homelab().Salvage(ctx, io.Discard, strings.NewReader(file), backup.SalvageOptions{})
	require.ErrorIs(t, err, context.Canceled)

	many := manyFile(t, 8_000)
	for phase := range map[string]bool{"read": true, "check": true, "backup": true} {
		ctx, cancel := context.WithCancel(t.Context())
		var phases []string
		_, err := benchApp("").Salvage(ctx, io.Discard, strings.NewReader(many), backup.SalvageOptions{Progress: func(p backup.Progress) {
			if phases = append(phases, p.Phase); p.Phase == phase {
				cancel()
			}
		}})
		require.ErrorIs(t, err, context.Canceled, phase)
		require.Contains(t, phases, phase)
	}

	app := homelab()
	app.Version = "two"
	_, err = app.Salvage(t.Context(), io.Discard, strings.NewReader(file), backup.SalvageOptions{})
	require.ErrorContains(t, err, `Version "two"`)
}

// manyFile is a snapshot of benchApp.
func manyFile(t testing.TB, n int) string {
	t.Helper()
	var file bytes.Buffer
	_, err := benchApp("").Backup(t.Context(), &file, generated(n), backup.BackupOptions{})
	require.NoError(t, err)
	return file.String()
}

func TestSalvageRefusesAFileThatChanges(t *testing.T) {
	file := manyFile(t, 3_000)
	data := []byte(file)
	at := strings.LastIndex(file, `"id":"`) + 6
	_, err := benchApp("").Salvage(t.Context(), io.Discard, bytes.NewReader(data), backup.SalvageOptions{Progress: func(p backup.Progress) {
		if p.Phase == "backup" {
			data[at] = 'x'
		}
	}})
	require.ErrorIs(t, err, backup.ErrDamaged)
	require.ErrorContains(t, err, "was changed at byte")
}

func TestSalvageKeepsToTheLimits(t *testing.T) {
	testtime.NotForRace(t)
	whole := fileOf(t, bareApp(), bareStore())
	for name, l := range map[string]backup.Limits{
		"the whole": {TotalBytes: int64(len(whole)) - 1},
		"records":   {Records: 10},
	} {
		require.ErrorIs(t, salvageError(t, bareApp(), whole, backup.SalvageOptions{Limits: l}), backup.ErrLimit, name)
	}
	for name, l := range map[string]backup.Limits{"bytes": {RecordBytes: 60}, "depth": {Depth: 2}, "values": {Values: 6}} {
		var out bytes.Buffer
		report, err := bareApp().Salvage(t.Context(), &out, strings.NewReader(whole), backup.SalvageOptions{Limits: l})
		require.NoError(t, err)
		require.NotEmpty(t, report.Lost)
		for _, r := range report.Lost {
			require.Contains(t, r.Reason, "limit", name)
		}
		_, err = backup.OpenSnapshot(t.Context(), &out, backup.OpenOptions{Limits: l})
		require.NoError(t, err, name)
	}
}

func TestTheListOfWhatIsLostIsBoundedAndTheCountsAreNot(t *testing.T) {
	app := benchApp("")
	name := app.Collections[0].Name
	var file strings.Builder
	whole := manyFile(t, 3_000)
	n, lost := 0, int64(0)
	for text := range strings.Lines(whole) {
		if strings.HasPrefix(text, `{"id"`) {
			if n++; n%2 == 0 {
				text = strings.Replace(text, "}", "#", 1)
				lost += int64(len(text))
			}
		}
		file.WriteString(text)
	}
	_, report := salvaged(t, app, file.String(), backup.SalvageOptions{})
	require.Len(t, report.Lost, 1000)
	require.Equal(t, int64(1500), report.Ranges)
	require.Equal(t, lost, report.LostBytes)
	require.Equal(t, int64(1500), report.Kept[name])
	require.NotEmpty(t, report.Lost[0].Key)

	// Lines next to each other are one range if no key tells them apart.
	text := strings.Replace(whole, "\n{\"id\"", "\n[\"id\"", -1)
	text = strings.Replace(text, "\n[\"id\"", "\n{\"id\"", 1)
	_, report = salvaged(t, app, text, backup.SalvageOptions{})
	require.Len(t, report.Lost, 1)
	require.Equal(t, int64(2999), report.Missing[name])
}

func TestTheReportNeverQuotesADamagedLine(t *testing.T) {
	store := bareStore()
	for key := range store["servers"] {
		store["servers"][key] = fmt.Sprintf(`{"id":%q,"MARKED":"MARKED","name":"MARKED"}`, key)
	}
	whole := fileOf(t, bareApp(), store)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		file := []byte(whole)
		for range 30 {
			file[rng.IntN(len(file))] ^= 1 << rng.IntN(8)
		}
		report, err := bareApp().Salvage(t.Context(), io.Discard, bytes.NewReader(file), backup.SalvageOptions{Name: bareApp().BackupName(at)})
		if err != nil {
			require.NotContains(t, err.Error(), "MARKED")
			continue
		}
		text, err := json.Marshal(report)
		require.NoError(t, err)
		require.NotContains(t, string(text), "MARKED")
		var again backup.SalvageReport
		require.NoError(t, json.Unmarshal(text, &again))
		require.Equal(t, report, again)
	}
}

// A long reader gives one line without an end.
type long struct{ left int64 }

func (l *long) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), l.left)
	for i := range p[:n] {
		p[i] = '['
	}
	l.left -= n
	return int(n), nil
}

func TestALineWithoutEndIsNotHeldInMemory(t *testing.T) {
	testtime.NotForRace(t)
	const size = 64 << 20
	begin := strings.TrimSuffix(homelabFile(t)[:strings.Index(homelabFile(t), `{"id":"s2"`)], "\n") + "\n"
	var before, after runtime.MemStats
	var out bytes.Buffer
	runtime.GC()
	runtime.ReadMemStats(&before)
	report, err := homelab().Salvage(t.Context(), &out, io.MultiReader(strings.NewReader(begin), &long{size}), backup.SalvageOptions{Limits: backup.Limits{RecordBytes: 1 << 20}, TempDir: t.TempDir()})
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"servers": 1}, report.Kept)
	require.Equal(t, []backup.LostRange{{From: int64(len(begin)), To: int64(len(begin)) + size, Collection: "servers", Reason: "longer than the limit on a record, 1048576 bytes (Limits.RecordBytes)"}}, report.Lost)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(24<<20), "all that was ever allocated")
}

func TestTheMemoryOfSalvageDependsOnTheNumberOfKeys(t *testing.T) {
	testtime.NotForRace(t)
	records := 50_000 // of about 250 bytes: 12 MB
	if testtime.Race {
		records = 10_000
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "snapshot.json"))
	require.NoError(t, err)
	defer file.Close()
	_, err = benchApp("").Backup(t.Context(), file, generated(records), backup.BackupOptions{})
	require.NoError(t, err)
	_, err = file.Seek(0, io.SeekStart)
	require.NoError(t, err)
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most, calls := live(), uint64(0), 0
	_, err = benchApp("").Salvage(t.Context(), io.Discard, file, backup.SalvageOptions{Progress: func(backup.Progress) {
		if calls++; calls%8 == 0 {
			most = max(most, live())
		}
	}})
	require.NoError(t, err)
	require.Greater(t, calls, 20)
	require.Less(t, most-min(most, before), uint64(5<<20))
}

func TestWhatComesOutCanBeOpenedWhateverWentIn(t *testing.T) {
	whole := homelabFile(t)
	var collections strings.Builder // as many as there may be, and settings, whose beginning is lost
	collections.WriteString("\"data\":{\n\"servers\":[\n],\n\"applications\":[\n],\n\"theme\":\"dark\"\n},\n\"users\":[\n],\n")
	for i := range 997 {
		fmt.Fprintf(&collections, "\"c%d\":[\n{\"id\":1}\n],\n", i)
	}
	require.ErrorIs(t, salvageError(t, homelab(), collections.String(), backup.SalvageOptions{}), backup.ErrLimit)

	for name, file := range map[string]string{
		"numbers that overflow": strings.Replace(strings.Replace(whole, "\"data\":{", "\"salvaged\":{\"lost_bytes\":9223372036854775807,\"records\":{\"servers\":9223372036854775807}},\n\"data\":{", 1), `{"id":"s2"`, `{"id":s2"`, 1),
		"numbers at their end":  strings.Replace(strings.Replace(whole, "\"data\":{", "\"salvaged\":{\"lost_bytes\":9007199254740991,\"records\":{\"servers\":9007199254740991}},\n\"data\":{", 1), `{"id":"s2"`, `{"id":s2"`, 1),
		"counts below zero":     strings.Replace(whole, `"servers":2`, `"servers":-9223372036854775808`, 1),
		"two names of nothing":  strings.Replace(whole, "\"settings\":{\n", "\"other\":{\n\"\":1,\n\"a\":1,\n\"\":2\n},\n\"settings\":{\n", 1),
	} {
		t.Run(name, func(t *testing.T) { salvaged(t, homelab(), file, backup.SalvageOptions{}) })
	}
}

func TestALineThatIsCutShortBeginsNoCollection(t *testing.T) {
	whole := fileOf(t, bareApp(), bareStore())
	i := strings.Index(whole, `"setting3":{`)
	_, report := salvaged(t, bareApp(), whole[:i+len(`"setting3":{`)], backup.SalvageOptions{})
	require.Equal(t, []backup.LostRange{{From: int64(i), To: int64(i + len(`"setting3":{`)), Collection: "settings", Key: "setting3", Reason: "not well-formed JSON"}}, report.Lost)
}

func TestRecordsThatLookLikeTheEndAreKept(t *testing.T) {
	store := bareStore()
	sum := strings.Repeat("a", 64)
	store["settings"] = map[string]string{
		"a":         fmt.Sprintf(`{"sha256":%q,"size":1}`, sum),
		"integrity": fmt.Sprintf(`{"sha256":%q,"records":{"servers":1}}`, sum),
		"left_out":  `{"servers":1}`,
		"z":         fmt.Sprintf(`{"sha256":%q}`, sum),
	}
	whole := fileOf(t, bareApp(), store)
	i := strings.Index(whole, "\n\"settings\":{\n") + 1
	for text := range strings.Lines(whole[i:strings.Index(whole, "\"users\":[")]) {
		i += len(text)
		out, report := salvaged(t, bareApp(), whole[:i], backup.SalvageOptions{Identities: identities})
		require.Empty(t, report.Lost, "the file ends behind %s", text)
		require.Equal(t, recordLines(whole[:i])["settings"], recordLines(out)["settings"])
	}
	for _, name := range []string{"integrity", "left_out"} {
		store["settings"] = map[string]string{name: store["settings"][name]}
		whole := fileOf(t, bareApp(), store)
		out, report := salvaged(t, bareApp(), whole, backup.SalvageOptions{Identities: identities})
		require.Empty(t, report.Lost)
		require.Equal(t, recordLines(whole), recordLines(out))
		store["settings"] = map[string]string{"left_out": `{"servers":1}`}
	}
}

func TestACollectionOfAnotherBuildStaysWhatItIs(t *testing.T) {
	app := bareApp()
	app.Collections = append(app.Collections, backup.Collection{Name: "zebras", Key: "/id"})
	store := bareStore()
	store["zebras"] = map[string]string{"z1": `{"id":"z1"}`, "z2": `{"id":"z2"}`}
	whole := fileOf(t, app, store)

	// What is damaged is its count.
	out, _ := salvaged(t, bareApp(), strings.Replace(whole, `"zebras":2`, `"zebrbs":2`, 1), backup.SalvageOptions{Identities: identities})
	require.Equal(t, recordLines(whole), recordLines(out))

	// Without its beginning nobody knows what it was, but not one of users, which has ended.
	out, report := salvaged(t, bareApp(), strings.Replace(whole, "\"zebras\":[\n", "", 1), backup.SalvageOptions{Identities: identities})
	require.NotContains(t, out, `"z1"`)
	require.Equal(t, map[string]int64{"zebras": 2}, report.Missing)
}

func TestWhatTheCountsSayDecides(t *testing.T) {
	// Servers and applications look the same here, and the lines between them are
	// gone.
	whole := fileOf(t, bareApp(), bareStore())
	out, _ := salvaged(t, bareApp(), strings.Replace(whole, "],\n\"applications\":[\n", "", 1), backup.SalvageOptions{Identities: identities})
	require.Equal(t, recordLines(whole), recordLines(out))
}

func TestSecretsOfAnotherSchemaVersionGoToo(t *testing.T) {
	app := homelab()
	app.SchemaVersion, app.Migrators = 2, []backup.Migrator{backup.Migration(1, func(_ context.Context, c string, r backup.Record, emit func(string, backup.Record) error) error {
		return emit(c, r)
	})}
	app.Collections[1].Secrets = []string{"/other"}
	file := homelabFile(t)
	out, report := salvaged(t, app, strings.Replace(file, line(t, file, `"encryption":`), "", 1), backup.SalvageOptions{})
	require.Equal(t, 1, report.Manifest.SchemaVersion)
	require.NotContains(t, out, "$sealed")
	require.Equal(t, map[string]int64{"servers": 1, "applications": 1}, report.SecretsLost)
}

func TestAnAlteredPlaceOfSecretsCostsNoRecordWithoutTheKey(t *testing.T) {
	file := strings.Replace(homelabFile(t), `"secrets":["/password"]`, `"secrets":["/passworc"]`, 1)
	_, report := salvaged(t, homelab(), file, backup.SalvageOptions{})
	require.Empty(t, report.Lost)
}

func TestManyCollectionsAndCountsTakeNoLongerThanTheirBytes(t *testing.T) {
	var file strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&file, "\"c%d\":[\n", i)
	}
	file.WriteString(strings.Repeat("x\n{\"id\":\"y\n{}\n", 20_000))
	file.WriteString("{\"id\":1}\n]\n}\n\"integrity\":{\"sha256\":\"" + strings.Repeat("a", 64) + "\",\"records\":{\"c\":1")
	for i := range 60_000 {
		fmt.Fprintf(&file, ",\"d%d\":1", i)
	}
	file.WriteString("}}\n}\n")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // it takes less than one
	defer cancel()
	_, err := homelab().Salvage(ctx, io.Discard, strings.NewReader(file.String()), backup.SalvageOptions{})
	require.NoError(t, err)
}

func FuzzSalvage(f *testing.F) {
	whole := fileOf(f, homelab(), homelabStore())
	f.Add([]byte(whole), true)
	rng := rand.New(rand.NewPCG(3, 4))
	for range 10 {
		file, _ := harm(rng, whole)
		f.Add([]byte(file), rng.IntN(2) == 0)
	}
	app := homelab()
	f.Fuzz(func(t *testing.T, file []byte, key bool) {
		opts := backup.SalvageOptions{Name: app.BackupName(at), Limits: backup.Limits{Records: 1000, RecordBytes: 1 << 16, TotalBytes: 1 << 20}}
		if key {
			opts.Identities = identities
		}
		var out bytes.Buffer
		report, err := app.Salvage(t.Context(), &out, bytes.NewReader(file), opts)
		if err != nil {
			require.NotNil(t, kindOf(err), "%v", err)
			return
		}
		s := openedWith(t, out.String(), opts.Identities)
		require.Equal(t, report.Manifest, s.Manifest())
		require.LessOrEqual(t, report.LostBytes, int64(len(file)))
		if key && report.Manifest.SchemaVersion == app.SchemaVersion {
			_, err := app.Verify(t.Context(), s, backup.RestoreOptions{AllowDangling: true, AllowNewerApp: true, AllowUnknown: true})
			require.NoError(t, err)
		}
	})
}

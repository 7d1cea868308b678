package backup_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

func markApp() *backup.App {
	return &backup.App{Name: "demo", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "servers", Key: "/id", Schema: []byte(`{"required":["host"]}`)},
		{Name: "users", Key: "/id", Schema: []byte(`{"required":["email"]}`)},
		{Name: "logs", Key: "/id", Schema: []byte(`{"required":["line"]}`), Optional: true},
	}}
}

// The mark says what became of the digest, of the counts, and of whole collections.
func TestTheMarkSaysWhatIsKnownOfTheLoss(t *testing.T) {
	app := markApp()
	whole := fileOf(t, app, backuptest.MapStore{
		"servers": {"s1": `{"id":"s1","host":"nas"}`, "s2": `{"id":"s2","host":"pi"}`},
		"users":   {"u1": `{"id":"u1","email":"a@example.org"}`},
	})
	cut := whole[:strings.Index(whole, "],\n\"users\"")]
	noEnd := whole[:strings.Index(whole, `"integrity"`)]
	for name, c := range map[string]struct {
		file string
		want backup.Salvaged
	}{
		"nothing":               {whole, backup.Salvaged{Digest: "fits", Counts: "known"}},
		"a value is altered":    {strings.Replace(whole, "nas", "naz", 1), backup.Salvaged{Digest: "differs", Counts: "known"}},
		"the last line is gone": {noEnd, backup.Salvaged{Digest: "lost", Counts: "lost"}},
		"the end is gone":       {cut, backup.Salvaged{Digest: "lost", Counts: "lost", LostCollections: []string{"users"}}},
		"a collection is gone":  {strings.Replace(whole, `{"id":"u1","email":"a@example.org"}`+"\n", "", 1), backup.Salvaged{Digest: "differs", Counts: "known", Records: map[string]int64{"users": 1}, LostCollections: []string{"users"}}},
		"one of two is gone":    {strings.Replace(whole, `{"id":"s1","host":"nas"},`+"\n", "", 1), backup.Salvaged{Digest: "differs", Counts: "known", Records: map[string]int64{"servers": 1}}},
		"the digest is damaged": {strings.Replace(whole, `"sha256":"`, `"sha256":"00`, 1), backup.Salvaged{Digest: "lost", Counts: "lost"}},
		"a partial one is cut":  {strings.Replace(cut, `"data":`, "\"partial\":true,\n\"data\":", 1), backup.Salvaged{Digest: "lost", Counts: "lost"}},
		"another opening":       {strings.Replace(noEnd, "\"users\":[\n", "\"logs\":[\n", 1), backup.Salvaged{Digest: "lost", Counts: "lost", Records: map[string]int64{"logs": 1}, LostCollections: []string{"logs", "users"}}},
	} {
		t.Run(name, func(t *testing.T) {
			out, report := salvaged(t, app, c.file, backup.SalvageOptions{})
			got := *report.Manifest.Salvaged
			got.LostBytes = 0
			require.Equal(t, c.want, got)
			again := opened(t, out).Manifest().Salvaged
			again.LostBytes = 0
			require.Equal(t, c.want, *again, "the file says the same")
		})
	}
}

// What was not known of the first loss is not known of both.
func TestTheMarkOfASalvagedFileIsTheWorseOne(t *testing.T) {
	app := markApp()
	whole := fileOf(t, app, backuptest.MapStore{"servers": {"s1": `{"id":"s1","host":"nas"}`}, "users": {"u1": `{"id":"u1","email":"a@example.org"}`}})
	first, _ := salvaged(t, app, whole, backup.SalvageOptions{})
	for name, c := range map[string]struct {
		before string // what the mark of the first file says beside the bytes
		damage func(string) string
		want   backup.Salvaged
	}{
		"it fits twice":            {`"digest":"fits","counts":"known"`, nil, backup.Salvaged{Digest: "fits", Counts: "known"}},
		"it differed":              {`"digest":"differs","counts":"known"`, nil, backup.Salvaged{Digest: "differs", Counts: "known"}},
		"they were lost":           {`"digest":"lost","counts":"lost"`, nil, backup.Salvaged{Digest: "lost", Counts: "lost"}},
		"it was not known":         {`"records":{"users":3}`, nil, backup.Salvaged{Records: map[string]int64{"users": 3}}},
		"not known, and differs":   {`"records":{"users":3}`, altered, backup.Salvaged{Records: map[string]int64{"users": 3}, Digest: "differs"}},
		"a collection was lost":    {`"digest":"fits","counts":"known","lost_collections":["logs"]`, nil, backup.Salvaged{Digest: "fits", Counts: "known", LostCollections: []string{"logs"}}},
		"differed, and is lost":    {`"digest":"differs","counts":"known"`, endless, backup.Salvaged{Digest: "lost", Counts: "lost"}},
		"was lost, and now is not": {`"digest":"lost","counts":"lost"`, altered, backup.Salvaged{Digest: "lost", Counts: "lost"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := resummed(t, strings.Replace(first, `"digest":"fits","counts":"known"`, c.before, 1))
			if c.damage != nil {
				file = c.damage(file)
			}
			_, report := salvaged(t, app, file, backup.SalvageOptions{})
			got := *report.Manifest.Salvaged
			got.LostBytes = 0
			require.Equal(t, c.want, got)
		})
	}
}

func altered(file string) string { return strings.Replace(file, "nas", "naz", 1) }

func endless(file string) string { return file[:strings.Index(file, `"integrity"`)] }

// A record whose place in the file is known stays in its collection, whatever a damaged
// one before it looks like.
func TestIntactRecordsDoNotMoveToAnotherCollection(t *testing.T) {
	app := &backup.App{Name: "demo", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "users", Key: "/id", Secrets: []string{"/password"}, Schema: []byte(`{"required":["email"],"properties":{"age":{"type":"integer"}}}`)},
		{Name: "notes", Key: "/id"}, // takes anything
	}}
	users := backuptest.MapStore{"users": {}, "notes": {"n1": `{"id":"n1"}`}}
	for _, key := range []string{"u1", "u2", "u3", "u4"} {
		users["users"][key] = `{"id":"` + key + `","age":3,"email":"a@example.org","password":"secret"}`
	}
	whole := fileOf(t, app, users)
	cut := whole[:strings.Index(whole, "],\n\"notes\"")]
	u2 := strings.Index(cut, `{"id":"u2"`)
	flip := func(file, after, old, new string) string {
		at := strings.Index(file, after)
		return file[:at] + strings.Replace(file[at:], old, new, 1)
	}
	for name, c := range map[string]struct {
		file string
		kept map[string]int64
	}{
		"a sealed value of the first":      {flip(cut, `{"id":"u1"`, `sealed":"`, `sealed":"%`), map[string]int64{"users": 3}},
		"a sealed value of the second":     {flip(cut, `{"id":"u2"`, `sealed":"`, `sealed":"%`), map[string]int64{"users": 3}},
		"a value of the first":             {flip(cut, `{"id":"u1"`, `"age":3`, `"age":"3"`), map[string]int64{"users": 3}},
		"a value of the last":              {flip(cut, `{"id":"u4"`, `"age":3`, `"age":"3"`), map[string]int64{"users": 3}},
		"a line, and a value of the next":  {flip(flip(cut, `{"id":"u1"`, `{`, `}`), `{"id":"u2"`, `"age":3`, `"age":"3"`), map[string]int64{"users": 2, "notes": 1}},
		"a line, and a value of a later":   {flip(cut[:u2]+"\x00\n"+cut[u2:], `{"id":"u3"`, `"age":3`, `"age":"3"`), map[string]int64{"users": 3}},
		"nothing":                          {cut, map[string]int64{"users": 4}},
		"a value, and the counts are kept": {flip(whole, `{"id":"u1"`, `"age":3`, `"age":"3"`), map[string]int64{"users": 3, "notes": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			out, _ := salvaged(t, app, c.file, backup.SalvageOptions{Identities: identities})
			kept := opened(t, out).Manifest().Records
			require.Equal(t, c.kept["users"], kept["users"])
			require.Equal(t, c.kept["notes"], kept["notes"])
		})
	}
}

func TestTheLossIsSaidInWords(t *testing.T) {
	require.Equal(t, "Lost are all of notes and users, 3 records of servers, 215 bytes of the damaged file. The counts of the damaged file were lost, so more may be missing. Its digest differed: an altered value that is still valid cannot be told from an intact one.",
		(&backup.Salvaged{LostBytes: 215, Records: map[string]int64{"servers": 3, "users": 2}, LostCollections: []string{"notes", "users"}, Digest: "differs", Counts: "lost"}).Loss())
	require.Equal(t, "Nothing is known to be lost. Its digest fitted: what was kept is as it was written.", (&backup.Salvaged{Digest: "fits", Counts: "known"}).Loss())
	require.Equal(t, "Lost are 7 bytes of the damaged file. It is not known whether the counts of the damaged file were lost, so more may be missing. It is not known whether its digest fitted.", (&backup.Salvaged{LostBytes: 7}).Loss())
}

// A damaged header does not turn a partial snapshot into a full one in silence.
func TestAPartialSnapshotStaysPartial(t *testing.T) {
	app := markApp()
	var f bytes.Buffer
	_, err := app.Backup(t.Context(), &f, backuptest.MapStore{"servers": {"s1": `{"id":"s1","host":"nas"}`}, "users": {}},
		backup.BackupOptions{Only: []string{"servers"}, Installation: "a1", Serial: 7, CreatedAt: at})
	require.NoError(t, err)
	whole := f.String()
	require.Contains(t, whole, "\n\"partial\":true,\n")
	const (
		mayBePartial = "the snapshot may be partial"
		noOrigin     = "the origin of the snapshot may be lost"
		byCounts     = "by its counts the snapshot was partial"
	)
	for name, c := range map[string]struct {
		old, new string
		endless  bool
		partial  bool
		warned   []string
		not      []string
	}{
		"nothing":                       {"", "", false, true, nil, []string{mayBePartial, noOrigin, byCounts}},
		"the counts":                    {"", "", true, true, nil, []string{mayBePartial, noOrigin, byCounts}},
		"its value":                     {`"partial":true`, `"partial":tru`, false, true, nil, []string{mayBePartial, noOrigin, byCounts}},
		"its value, and the counts":     {`"partial":true`, `"partial":tru`, true, true, nil, []string{mayBePartial, noOrigin}},
		"its name":                      {`"partial"`, `"partia"`, false, true, []string{byCounts}, []string{mayBePartial, noOrigin}},
		"its name, and the counts":      {`"partial"`, `"partia"`, true, false, []string{mayBePartial}, []string{noOrigin, byCounts}},
		"the line is gone":              {"\"partial\":true,\n", "", false, true, []string{byCounts}, []string{noOrigin}},
		"the origin":                    {`"origin":{`, `"origin":}`, false, true, []string{noOrigin}, []string{mayBePartial, byCounts}},
		"its name, with schema version": {"\"schema_version\":1,\n" + line(t, whole, `"origin"`) + `"partial"`, `"partia"`, false, false, []string{mayBePartial, noOrigin}, []string{byCounts}},
	} {
		t.Run(name, func(t *testing.T) {
			file := strings.Replace(whole, c.old, c.new, 1)
			if c.endless {
				file = endless(file)
			}
			out, report := salvaged(t, app, file, backup.SalvageOptions{})
			require.Equal(t, c.partial, report.Manifest.Partial)
			require.Equal(t, c.partial, opened(t, out).Manifest().Partial)
			if c.partial {
				require.Empty(t, report.Manifest.Salvaged.LostCollections)
			}
			warnings := strings.Join(report.Warnings, "\n")
			for _, text := range c.warned {
				require.Contains(t, warnings, text)
			}
			for _, text := range c.not {
				require.NotContains(t, warnings, text)
			}
		})
	}
}

// A collection that an earlier salvage has lost was not left out on request.
func TestALostCollectionIsNotLeftOut(t *testing.T) {
	app := markApp()
	whole := fileOf(t, app, backuptest.MapStore{"servers": {"s1": `{"id":"s1","host":"nas"}`}, "users": {"u1": `{"id":"u1","email":"a@example.org"}`}})
	out, first := salvaged(t, app, strings.Replace(whole, `{"id":"u1"`, `{"id":u1"`, 1), backup.SalvageOptions{})
	require.Equal(t, []string{"users"}, first.Manifest.Salvaged.LostCollections)
	_, second := salvaged(t, app, altered(out), backup.SalvageOptions{})
	require.False(t, second.Manifest.Partial)
}

// Without the line that begins the data, a record named "partial" is no header.
func TestARecordNamedPartialSaysNothing(t *testing.T) {
	app := &backup.App{Name: "demo", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{{Name: "settings", Shape: backup.Map}}}
	whole := fileOf(t, app, backuptest.MapStore{"settings": {"a": `1`, "partial": `2`, "z": `3`}})
	_, report := salvaged(t, app, whole[strings.Index(whole, `"partial"`):], backup.SalvageOptions{})
	require.False(t, report.Manifest.Partial)
}

// A damaged line that ends or begins a collection is no record.
func TestOnlyRecordsCountAsLost(t *testing.T) {
	app := markApp()
	app.Collections = append(app.Collections, backup.Collection{Name: "settings", Shape: backup.Map}, backup.Collection{Name: "themes", Shape: backup.Map})
	whole := endless(fileOf(t, app, backuptest.MapStore{
		"servers":  {"s1": `{"id":"s1","host":"nas"}`, "s2": `{"id":"s2","host":"pi"}`},
		"users":    {"u1": `{"id":"u1","host":"h","email":"a@example.org"}`},
		"settings": {"a": `1`}, "themes": {"b": `2`},
	}))
	for _, c := range [][2]string{
		{"],\n\"users\":[\n", "]x\n\"usersx:[\n"},
		{"},\n\"themes\":{\n", "}x\n\"themesx:{\n"},
	} {
		require.Contains(t, whole, c[0])
		_, report := salvaged(t, app, strings.Replace(whole, c[0], c[1], 1), backup.SalvageOptions{})
		require.Empty(t, report.Manifest.Salvaged.Records, c[1])
	}
	_, report := salvaged(t, app, strings.Replace(whole, `"host":"pi"`, `"host":"pi`, 1), backup.SalvageOptions{})
	require.Equal(t, map[string]int64{"servers": 1}, report.Manifest.Salvaged.Records)
}

// A large record that each misfit is held against is read once.
func TestMisfitsDoNotReadTheLastRecordAgain(t *testing.T) {
	app := &backup.App{Name: "demo", Version: "1.0.0", SchemaVersion: 1, Collections: []backup.Collection{
		{Name: "a", Key: "/id", Schema: []byte(`{"required":["large"]}`)},
		{Name: "b", Key: "/id", Schema: []byte(`{"required":["id"]}`)},
	}}
	const lines = 2000
	whole := fileOf(t, app, backuptest.MapStore{"a": {"a1": `{"id":"a1","large":"` + strings.Repeat("x", 1<<20) + `"}`}, "b": {}})
	cut := whole[:strings.Index(whole, "],\n\"b\"")]
	file := &countedFile{Reader: strings.NewReader(strings.TrimSuffix(cut, "\n") + ",\n" + strings.Repeat(`{"id":"a2"},`+"\n", lines))}
	var out strings.Builder
	_, err := app.Salvage(t.Context(), &out, file, backup.SalvageOptions{})
	require.NoError(t, err)
	require.Less(t, file.read, int64(20*len(cut)), "each line read the large record")
}

// A countedFile counts what is read from it.
type countedFile struct {
	*strings.Reader
	read int64
}

func (f *countedFile) ReadAt(b []byte, at int64) (int, error) {
	n, err := f.Reader.ReadAt(b, at)
	f.read += int64(n)
	return n, err
}

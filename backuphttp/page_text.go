package backuphttp

import (
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

// The words of the page that are not in the templates.

var functions = template.FuncMap{
	"pair":      func(page, item any) pair { return pair{page, item} },
	"path":      url.PathEscape,
	"many":      many,
	"number":    func(i int) int { return i + 1 },
	"both":      both,
	"retention": retention,
	"version":   func(file string) string { return versions[file] },
	"iso":       func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"count":     count[int64],
	"size":      size,
	"took":      func(d time.Duration) string { return max(d.Round(time.Millisecond), time.Millisecond).String() },
	"label":     label,
	"trigger":   trigger,
	"total":     total,
	"sorted":    func(m map[string]int64) []string { return slices.Sorted(maps.Keys(m)) },
	"value":     value,
	"progress":  progress,
	"percent":   percent,
	"heading":   heading,
	"has":       slices.Contains[[]string],
	"strategy":  func(s backup.Strategy) string { return strategies[s] },
	"change":    changeWord,
	"off":       off,
	"lacking":   lacking,
	"unsure":    unsure,
	"mood":      mood,
	"join":      func(list []string) string { return strings.Join(list, ", ") },
}

// mood is the class of a notice about how well the data is protected.
func mood(v manager.Verdict) string {
	switch v {
	case manager.Protected:
		return "good"
	case manager.AtRisk:
		return "warn"
	}
	return "bad"
}

// A pair is the data of a part of a page: the page, and the item that the part shows.
type pair struct{ Page, Item any }

// count formats a number with commas: "1,234".
func count[T int | int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// many formats a number of things: "1 file", "1,234 files".
func many(n any, one string) string {
	text := fmt.Sprint(n)
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		text = count(i)
	}
	if text != "1" {
		one += "s"
	}
	return text + " " + one
}

// size formats a number of bytes: "1.2 MB".
func size(bytes int64) string {
	n, unit := float64(bytes), 0
	for n >= 999.5 && unit < len(units)-1 {
		n, unit = n/1000, unit+1
	}
	if unit == 0 || n >= 99.95 {
		return fmt.Sprintf("%.0f %s", n, units[unit])
	}
	return fmt.Sprintf("%.1f %s", n, units[unit])
}

var units = []string{"bytes", "kB", "MB", "GB", "TB", "PB"}

// label makes a name for people: "Audit logs" of "audit_logs".
func label(collection string) string {
	name := strings.NewReplacer("_", " ", "-", " ").Replace(collection)
	for i, first := range name {
		return name[:i] + string(unicode.ToUpper(first)) + name[i+utf8.RuneLen(first):]
	}
	return name
}

func trigger(b manager.Backup) string {
	switch b.Trigger {
	case manager.TriggerManual:
		return "by hand"
	case manager.TriggerScheduled:
		return "by schedule"
	case manager.TriggerBeforeRestore:
		return "before a restore"
	case "":
		return "in an unknown way"
	}
	return b.Trigger
}

func total(records map[string]int64) (n int64) {
	for _, of := range records {
		n += of
	}
	return n
}

// both returns a map with the names of both maps.
func both(a, b map[string]int64) map[string]int64 {
	all := make(map[string]int64)
	maps.Copy(all, a)
	maps.Copy(all, b)
	return all
}

// value returns a value of a record, or the beginning of a long value.
func value(v json.RawMessage) string {
	const most = 400
	if len(v) <= most {
		return string(v)
	}
	cut := most
	for !utf8.RuneStart(v[cut]) {
		cut--
	}
	return fmt.Sprintf("%s… (%s in all)", v[:cut], size(int64(len(v))))
}

var phases = map[string]string{
	"backup":  "Writing",
	"key":     "Trying a passphrase",
	"read":    "Reading",
	"trace":   "Following references",
	"check":   "Checking",
	"compare": "Comparing",
	"restore": "Restoring",
	"try":     "Trying",
	"confirm": "Reading back",
}

// progress says how far a job is. page.js uses the same words.
func progress(p *backup.Progress) string {
	if p == nil {
		return "Starting…"
	}
	text := phases[p.Phase]
	if text == "" {
		text = p.Phase
	}
	if p.Collection != "" {
		text += " " + label(p.Collection)
	}
	if p.Phase == "key" {
		return text // the bytes are those of memory
	}
	text += ": " + many(p.Records, "record")
	if p.Total > 0 {
		text += ", " + size(p.Bytes) + " of " + size(p.Total)
	}
	return text
}

// percent returns how much of its phase a job has done, or -1 if nobody knows.
func percent(p *backup.Progress) int64 {
	if p == nil || p.Total <= 0 {
		return -1
	}
	return min(100*p.Bytes/p.Total, 100)
}

// heading returns the title of a job: while it runs, when it is done, or when it has
// failed.
func heading(j job) string {
	words, ok := headings[j.Kind]
	switch {
	case !ok:
		return j.Kind
	case j.Ended == nil:
		return words[0]
	case j.Error == "" && lacking(j) == 1:
		return words[3] + ", but 1 record is not as in the backup"
	case j.Error == "" && lacking(j) > 0:
		return fmt.Sprintf("%s, but %s are not as in the backup", words[3], many(lacking(j), "record"))
	case j.Error == "":
		return words[1]
	case j.Kind == "verify" && j.Code == "wrong_key":
		return "Backup is sealed with another key"
	}
	return words[2]
}

// off returns how many records are not as in the backup after a restore, because the host
// does something by itself.
func off(r backup.Report) (n int64) {
	for _, c := range r.Collections {
		n += c.Altered + c.Extra
	}
	return n
}

// lacking returns what off returns for the restore that a job was.
func lacking(j job) int64 {
	if j.Report == nil {
		return 0
	}
	return off(*j.Report)
}

// unsure tells whether nothing shows that a backup which was read to its end is whole.
func unsure(m backup.Manifest) bool {
	return m.SHA256 == "" && m.Authentic == "" && !m.Encrypted && !m.Database
}

// headings are the titles of a job while it runs, when it is done, when it has failed, and
// when it is done but the host has made something otherwise.
var headings = map[string][4]string{
	"create":    {"Creating a backup", "Backup created", "Backup failed"},
	"scheduled": {"Making the scheduled backup", "Scheduled backup made", "Scheduled backup failed"},
	"verify":    {"Verifying a backup", "Backup verified", "Backup does not verify"},
	"restore":   {"Restoring", "Restore complete", "Restore failed", "Restore done"},
	"undo":      {"Undoing the last restore", "Restore undone", "Undo failed", "Restore undone"},
	"prune":     {"Deleting old backups", "Old backups deleted", "Deleting old backups failed"},
	"salvage":   {"Saving what is intact", "Saved what is intact", "Nothing could be saved"},
}

var strategies = map[backup.Strategy]string{
	backup.SkipDuplicates: "Skip duplicates",
	backup.Merge:          "Merge",
	backup.Replace:        "Replace",
}

var changeWords = map[backup.Action]string{
	backup.Add:    "Added",
	backup.Update: "Changed",
	backup.Skip:   "Kept as it is",
	backup.Delete: "Deleted",
}

// changeWord says what happens to a record.
func changeWord(c backup.Change) string {
	here := slices.ContainsFunc(c.Fields, func(f backup.FieldChange) bool { return f.Before != nil })
	if c.Action == backup.Skip && (c.With != "" || !here) {
		return "Left out"
	}
	return changeWords[c.Action]
}

// zoneOf returns the time zone of the settings.
func zoneOf(s Settings) *time.Location {
	if zone, err := time.LoadLocation(s.Zone); err == nil && s.Zone != "" {
		return zone
	}
	return time.Local
}

// scheduleText says when backups are made: "every day at 02:30 (Europe/Berlin)".
func scheduleText(s Settings) string {
	var when string
	switch s.Schedule {
	case "hourly":
		return "every hour"
	case "daily":
		when = "every day"
	case "weekly":
		when = "every " + label(s.Weekday)
	case "monthly":
		when = "on the 1st of each month"
	default:
		return "at times that the server decides"
	}
	if s.Time != "" {
		when += " at " + s.Time
	}
	if s.Zone != "" {
		when += " (" + s.Zone + ")"
	}
	return when
}

// retention says which backups are kept.
func retention(s Settings) string {
	switch {
	case s.KeepLast > 0 && s.KeepDays > 0:
		return fmt.Sprintf("The last %s, and all of the last %s days", count(s.KeepLast), count(s.KeepDays))
	case s.KeepLast > 0:
		return fmt.Sprintf("The last %s", count(s.KeepLast))
	case s.KeepDays > 0:
		return fmt.Sprintf("All of the last %s days", count(s.KeepDays))
	}
	return "All: none is deleted automatically"
}

// A day is a day of the calendar.
type day struct {
	dayInfo
	at time.Time
}

var dayStates = map[string]string{
	"none":    "nothing was due",
	"made":    "made",
	"manual":  "made by hand",
	"missed":  "missed",
	"failed":  "failed",
	"damaged": "damaged",
	"due":     "due",
}

// Number returns the day of the month. Text says what became of the day.
func (d day) Number() int { return d.at.Day() }

func (d day) Text() string {
	text := dayStates[d.State]
	switch {
	case d.Detail == "":
	case d.State == "none", strings.HasPrefix(d.Detail, text):
		text = d.Detail
	default:
		text += ": " + d.Detail
	}
	return d.at.Format("Monday, 2 January: ") + text
}

func (d day) Trouble() bool {
	return d.State == "missed" || d.State == "failed" || d.State == "damaged"
}

func calendar(days []dayInfo) []day {
	var list []day
	for _, info := range days {
		if at, err := time.Parse(time.DateOnly, info.Date); err == nil {
			list = append(list, day{info, at})
		}
	}
	return list
}

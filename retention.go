package backup

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Dated is a backup at one location, as [Retention] sees it.
type Dated struct {
	// Name is the name of the backup, unique at its location.
	Name string `json:"name"`

	// CreatedAt is the point in time that the snapshot shows. Zero means not known.
	CreatedAt time.Time `json:"created_at"`

	// Installation and Serial are those of the [Manifest], or zero. Serials tell which
	// backup of an installation was made later, even if its clock was wrong.
	Installation string `json:"installation,omitempty"`
	Serial       int64  `json:"serial,omitempty"`

	// Damaged says that the backup is known not to restore. A backup of which nothing
	// is known counts as good.
	Damaged bool `json:"damaged,omitempty"`
}

// SortNewestFirst sorts backups by what dated tells of them, newest first. Of two backups
// of one installation that both have a serial, the higher serial is the newer. All other
// backups are placed by their dates. A backup with a serial counts there as no older than
// the backups of its installation that have a lower serial: its clock may have been behind.
//
// Backups of one serial, or without any, are in the order of their dates. Of several in
// the same second, the backup with the highest suffix is the newest, whatever their endings
// (see [App.ParseBackupName]).
func SortNewestFirst[T any](backups []T, dated func(T) Dated) {
	entries := make([]placed, len(backups))
	for i, b := range backups {
		d := dated(b)
		if d.Serial <= 0 || d.Installation == "" {
			d.Serial, d.Installation = 0, ""
		}
		entries[i] = placed{i, d, d.CreatedAt}
	}
	slices.SortFunc(entries, func(a, b placed) int {
		if c := strings.Compare(a.Installation, b.Installation); c != 0 {
			return c
		}
		return b.compare(&a.Dated)
	})
	for i := 1; i < len(entries); i++ {
		if e, before := &entries[i], entries[i-1]; e.Serial > 0 && e.Installation == before.Installation && e.at.Before(before.at) {
			e.at = before.at
		}
	}
	slices.SortFunc(entries, func(a, b placed) int {
		if c := cmp.Or(b.at.Compare(a.at), strings.Compare(b.Installation, a.Installation)); c != 0 {
			return c
		}
		return a.compare(&b.Dated)
	})
	unsorted := slices.Clone(backups)
	for i, e := range entries {
		backups[i] = unsorted[e.index]
	}
}

// A placed backup has its place among backups of all installations.
type placed struct {
	index int // of the backup
	Dated
	at time.Time // its date, or that of a backup before it if that is later
}

// compare orders backups of one installation, or without any, newest first.
func (d *Dated) compare(e *Dated) int {
	if c := cmp.Or(cmp.Compare(e.Serial, d.Serial), e.CreatedAt.Compare(d.CreatedAt)); c != 0 {
		return c
	}
	stem, _, _ := strings.Cut(d.Name, ".")
	other, _, _ := strings.Cut(e.Name, ".")
	return cmp.Or(
		cmp.Compare(len(other), len(stem)), // "-10" before "-9" before none
		strings.Compare(other, stem),
		strings.Compare(e.Name, d.Name),
	)
}

// Retention is a policy that says which backups to keep (guide, "Backup Retention"
// and "Retention Policy"). The zero value keeps all. Other simple policies are
//
//	Retention{Last: 7}                     // keep the last 7 backups
//	Retention{Within: 30 * 24 * time.Hour} // keep the backups of the last 30 days
//
// The fields but Location are its rules. A backup is kept if any rule keeps it, so a
// larger number or one more rule never deletes more. A rule that is zero or negative
// is not in force, and a policy with no rule in force keeps all. [Retention.Decide]
// says what holds under every policy.
type Retention struct {
	// Last keeps the newest N backups.
	Last int

	// Within keeps the backups that are at most this much older than the newest good
	// backup. It does not count back from now, so that a job that has stalled does
	// not lose its history. A day is 24 hours here.
	Within time.Duration

	// Each of these keeps the newest backup of each of the last N periods that have a
	// backup. Periods without a backup do not count. An hour that the end of daylight
	// saving time repeats counts as two hours. Weeks are ISO weeks, which begin on
	// Monday.
	Hourly, Daily, Weekly, Monthly, Yearly int

	// Location is the time zone of these hours, days, weeks, months and years. Nil
	// means UTC.
	Location *time.Location
}

// Validate returns an error that names each rule that is negative. [Retention.Decide]
// ignores such a rule, but whoever wrote it may have meant something else.
func (r Retention) Validate() error {
	var errs []error
	negative := func(rule string, value any) {
		errs = append(errs, fmt.Errorf("retention: %s is %v: use a positive value, or 0 to leave the rule out", rule, value))
	}
	if r.Last < 0 {
		negative("Last", r.Last)
	}
	if r.Within < 0 {
		negative("Within", r.Within)
	}
	for _, p := range r.periods() {
		if p.n < 0 {
			negative(p.field, p.n)
		}
	}
	return errors.Join(errs...)
}

// A Decision says whether a [Retention] keeps one backup.
type Decision struct {
	Dated
	Keep bool `json:"keep"`

	// Reasons tell a person why. There is at least one. If the backup is kept, they
	// are the rules that keep it, and otherwise why each rule does not.
	Reasons []string `json:"reasons"`
}

// Decide says for each backup of one location whether to keep it, and why. It deletes
// nothing itself, and does not change backups. The result is in the order of
// [SortNewestFirst]. It depends neither on the order of backups nor on any
// clock but now. Under every policy:
//
//   - The newest good backup is kept. A backup is good if it is not Damaged.
//   - A Damaged backup never takes the place of a good one. It is kept as long as no
//     good backup is newer, because somebody will want to know what happened. After
//     that it is kept as long as the policy would keep it if it were good, because it
//     may be all that is left to salvage of its time.
//   - A backup dated after now, or without a date, is kept and does not count. A clock
//     was wrong, and that must not push out good backups.
//   - Serials say which backup is newer, and dates say of which hour, day, week, month or
//     year it is. A date that is too early stands: it may take a place of a wrong day.
//   - It makes no difference how long ago the newest backup was made.
//   - The backups that are kept would be kept again: pruning twice is the same as
//     pruning once.
func (r Retention) Decide(backups []Dated, now time.Time) []Decision {
	decisions := make([]Decision, len(backups))
	for i, d := range backups {
		decisions[i].Dated = d
	}
	SortNewestFirst(decisions, func(d Decision) Dated { return d.Dated })

	counted := func(d Decision) bool { return !d.CreatedAt.IsZero() && !d.CreatedAt.After(now) }
	newest := slices.IndexFunc(decisions, func(d Decision) bool { return counted(d) && !d.Damaged })
	var rules []retentionRule
	if newest >= 0 {
		rules = r.rules(decisions[newest].CreatedAt)
	}
	for i := range decisions {
		d := &decisions[i]
		switch {
		case r.KeepsAll():
			d.keep("the policy keeps all")
		case d.CreatedAt.IsZero():
			d.keep("without a date, not counted")
		case !counted(*d):
			d.keep("dated in the future, not counted")
		case newest < 0 || i < newest:
			d.keep("damaged, and no good one is newer")
		default:
			d.decide(rules, i == newest)
		}
	}
	return decisions
}

func (d *Decision) keep(reason string) {
	d.Keep, d.Reasons = true, []string{reason}
}

func (d *Decision) decide(rules []retentionRule, newest bool) {
	var keep, del []string
	if newest {
		keep = append(keep, "newest good one")
	}
	for _, rule := range rules {
		if ok, reason := rule(d.Dated); ok {
			keep = append(keep, reason)
		} else {
			del = append(del, reason)
		}
	}
	d.Keep = len(keep) > 0
	d.Reasons = del
	if d.Keep {
		d.Reasons = keep
	}
	if d.Damaged && d.Keep {
		d.Reasons = slices.Insert(d.Reasons, 0, "damaged: takes no place, kept as if it were good")
	} else if d.Damaged {
		d.Reasons = slices.Insert(d.Reasons, 0, "damaged")
	}
}

// KeepsAll tells whether the policy keeps all backups because no rule is in force.
func (r Retention) KeepsAll() bool {
	return max(r.Last, r.Hourly, r.Daily, r.Weekly, r.Monthly, r.Yearly) <= 0 && r.Within <= 0
}

// A retentionRule decides about one backup after the other, from the newest good one
// to the oldest. It counts the good ones.
type retentionRule func(Dated) (keep bool, reason string)

// rules returns the rules in force. They count, so each Decide needs new ones.
func (r Retention) rules(newest time.Time) []retentionRule {
	var rules []retentionRule
	if r.Last > 0 {
		rules = append(rules, r.lastRule())
	}
	if r.Within > 0 {
		rules = append(rules, r.withinRule(newest))
	}
	for _, p := range r.periods() {
		if p.n > 0 {
			rules = append(rules, p.rule(cmp.Or(r.Location, time.UTC)))
		}
	}
	return rules
}

func (r Retention) lastRule() retentionRule {
	good := 0
	return func(b Dated) (bool, string) {
		if good >= r.Last {
			return false, fmt.Sprintf("not among the last %d", r.Last)
		}
		if !b.Damaged {
			good++
		}
		return true, fmt.Sprintf("among the last %d", r.Last)
	}
}

func (r Retention) withinRule(newest time.Time) retentionRule {
	d := r.Within
	text := d.String()
	if day := 24 * time.Hour; d%day == 0 {
		text = plural(int(d/day), "day")
	} else if d%time.Hour == 0 {
		text = plural(int(d/time.Hour), "hour")
	}
	return func(b Dated) (bool, string) {
		if newest.Sub(b.CreatedAt) > d {
			return false, "older than " + text + " before the newest"
		}
		return true, "within " + text + " of the newest"
	}
}

type retentionPeriod struct {
	field, adjective, noun string
	n                      int
	label                  func(time.Time) string // names the period of a local time
}

func (r Retention) periods() []retentionPeriod {
	layout := func(l string) func(time.Time) string {
		return func(t time.Time) string { return t.Format(l) }
	}
	week := func(t time.Time) string {
		year, week := t.ISOWeek()
		return fmt.Sprintf("%04d-W%02d", year, week)
	}
	return []retentionPeriod{
		// The offset tells the two hours apart that a clock shows when it is set back.
		{"Hourly", "hourly", "hour", r.Hourly, layout("2006-01-02 15:00 -07:00")},
		{"Daily", "daily", "day", r.Daily, layout("2006-01-02")},
		{"Weekly", "weekly", "week", r.Weekly, week},
		{"Monthly", "monthly", "month", r.Monthly, layout("2006-01")},
		{"Yearly", "yearly", "year", r.Yearly, layout("2006")},
	}
}

func (p retentionPeriod) rule(loc *time.Location) retentionRule {
	// The last label alone is not enough: a clock that is set back after midnight comes to
	// the new day twice.
	taken := map[string]bool{}
	return func(b Dated) (bool, string) {
		label := p.label(b.CreatedAt.In(loc))
		if taken[label] {
			return false, fmt.Sprintf("not the newest of %s %s (%s)", p.noun, label, p.adjective)
		}
		if len(taken) >= p.n {
			return false, fmt.Sprintf("%s %s is before the last %s with a backup (%s)", p.noun, label, plural(p.n, p.noun), p.adjective)
		}
		nth := len(taken) + 1
		if !b.Damaged {
			taken[label] = true
		}
		return true, fmt.Sprintf("newest of %s %s (%s %d of %d)", p.noun, label, p.adjective, nth, p.n)
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

package backup

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Dated is what [Retention] goes by: a backup at one location.
type Dated struct {
	// Name is the name of the backup, unique at its location.
	Name string `json:"name"`

	// CreatedAt is the time that the snapshot shows. Zero means not known.
	CreatedAt time.Time `json:"created_at"`

	// Damaged says that the backup is known not to restore. One that nothing is
	// known of counts as good.
	Damaged bool `json:"damaged,omitempty"`
}

// Compare orders backups newest first: it is negative if d is newer than e. Of those of
// one second the one with the highest suffix is the newest, whatever their endings.
func (d Dated) Compare(e Dated) int {
	stem := func(d Dated) string { stem, _, _ := strings.Cut(d.Name, "."); return stem }
	return cmp.Or(
		e.CreatedAt.Compare(d.CreatedAt),
		cmp.Compare(len(stem(e)), len(stem(d))), // "-10" before "-9" before none
		cmp.Compare(stem(e), stem(d)),
		cmp.Compare(e.Name, d.Name),
	)
}

// Retention says which backups to keep (guide, "Backup Retention" and
// "Retention Policy"). The zero value keeps all; the other plain cases are
//
//	Retention{Last: 7}                    // keep the last 7 backups
//	Retention{Within: 30 * 24 * time.Hour} // keep backups for 30 days
//
// Rules add up: what any rule keeps is kept, so a larger number or one more
// rule beside others never deletes more. A rule that is zero or negative is not
// there; a policy without rules keeps all. See [Retention.Decide] for what
// holds under every policy.
type Retention struct {
	// Last keeps the newest N backups.
	Last int

	// Within keeps the backups that are at most this much older than the newest
	// good one. It does not count back from now: a job that has stalled does
	// not lose its history. A day is 24 hours here.
	Within time.Duration

	// Each of these keeps the newest backup of each of the last N periods that
	// have a backup; periods without one are not counted. An hour that the end
	// of daylight saving time repeats is two hours. Weeks are ISO weeks: they
	// begin on Monday.
	Hourly, Daily, Weekly, Monthly, Yearly int

	// Location is the time zone whose hours, days, weeks, months and years
	// these are. Nil means UTC.
	Location *time.Location
}

// Validate returns an error that names each rule that is negative.
// [Retention.Decide] takes such a rule as not there, but whoever wrote it may
// have meant something else.
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

// A Decision is what retention makes of one backup.
type Decision struct {
	Dated
	Keep bool `json:"keep"`

	// Reasons tell a person why, one a rule, never none: for a backup that is
	// kept those that keep it, for one to delete why no rule keeps it.
	Reasons []string `json:"reasons"`
}

// Decide says for each backup of one location whether to keep it, and why. It
// deletes nothing itself. The result is newest first; of those of the same time
// the one with the highest suffix is the newest (see [App.ParseBackupName]). It
// depends neither on the order of backups, which are not changed, nor on any
// clock but now. Whatever the policy:
//
//   - The newest good backup, one not Damaged, is kept.
//   - A Damaged backup never takes the place of a good one. It is kept as long
//     as no good one is newer, because someone will want to know what happened,
//     and after that as long as the policy would keep it if it were good,
//     because it may be all that is left to salvage of its time.
//   - A backup dated after now is kept and not counted, and so is one without a
//     date: a clock was wrong, and that must not push out good history.
//   - How far now is after the newest backup makes no difference.
//   - What is kept would be kept again: pruning twice is pruning once.
func (r Retention) Decide(backups []Dated, now time.Time) []Decision {
	decisions := make([]Decision, len(backups))
	for i, d := range backups {
		decisions[i].Dated = d
	}
	slices.SortFunc(decisions, func(a, b Decision) int { return a.Compare(b.Dated) })

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

// KeepsAll tells whether the policy has no rules.
func (r Retention) KeepsAll() bool {
	return max(r.Last, r.Hourly, r.Daily, r.Weekly, r.Monthly, r.Yearly) <= 0 && r.Within <= 0
}

// A retentionRule is asked once for each backup, from the newest good one on,
// and counts the good ones.
type retentionRule func(Dated) (keep bool, reason string)

// rules returns the rules that are there, fresh ones for each Decide.
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
	label                  func(time.Time) string // what names the period that a local time lies in
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
		// The offset tells the two hours apart that a clock set back shows.
		{"Hourly", "hourly", "hour", r.Hourly, layout("2006-01-02 15:00 -07:00")},
		{"Daily", "daily", "day", r.Daily, layout("2006-01-02")},
		{"Weekly", "weekly", "week", r.Weekly, week},
		{"Monthly", "monthly", "month", r.Monthly, layout("2006-01")},
		{"Yearly", "yearly", "year", r.Yearly, layout("2006")},
	}
}

func (p retentionPeriod) rule(loc *time.Location) retentionRule {
	// A set, not the last label alone: a clock set back just after midnight
	// comes to the same day again.
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

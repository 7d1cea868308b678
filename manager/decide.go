package manager

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tomo-project/backup"
)

// A Decision says whether Prune keeps one backup at one Location.
type Decision struct {
	Backup
	Keep bool `json:"keep"`

	// Reasons tell a person why. There is always a reason (see [backup.Decision]).
	Reasons []string `json:"reasons"`
}

// The classes of copies of the database, and of scheduled backups that are Partial. The
// other classes are triggers.
const (
	classDatabase = "database"
	classPartial  = "partial"
)

// classes are the kinds of backups that retention applies to. Each is judged by itself, so
// that none takes the places of another.
var classes = []string{TriggerScheduled, classPartial, TriggerBeforeRestore, classDatabase}

// class returns the class of a backup, or "" if retention does not apply to it.
func (o *operation) class(b Backup, opts PruneOptions) string {
	switch {
	case b.Foreign, !o.genuine(b):
		return ""
	case b.Database && o.RequireProof: // nothing can prove it
		return ""
	case b.Database && (b.Trigger == TriggerScheduled || b.Trigger == TriggerManual && opts.Manual):
		return classDatabase
	case b.Database:
		return ""
	case b.Partial && (b.Trigger == TriggerScheduled || b.Trigger == TriggerManual && opts.Manual):
		return classPartial
	case b.Trigger == TriggerManual && opts.Manual:
		return TriggerScheduled
	case b.Trigger == TriggerScheduled, b.Trigger == TriggerBeforeRestore:
		return b.Trigger
	}
	return ""
}

// decide decides about each of the backups at one site.
func (o *operation) decide(backups []Backup, opts PruneOptions) []Decision {
	policies := map[string]backup.Retention{TriggerScheduled: o.Retention, classPartial: o.Retention, classDatabase: o.Retention}
	if o.KeepBeforeRestore > 0 || !o.Retention.KeepsAll() {
		policies[TriggerBeforeRestore] = backup.Retention{Last: cmp.Or(o.KeepBeforeRestore, 5)}
	}
	judged := make(map[string][]Backup)
	var decisions []Decision
	for _, b := range backups {
		if class := o.class(b, opts); class != "" {
			judged[class] = append(judged[class], b)
			continue
		}
		reason := "no trigger that retention applies to"
		switch {
		case b.Foreign:
			reason = "of another installation"
		case b.Manifest == nil && !b.Damaged:
			reason = "nothing beside it tells what it is"
		case b.Manifest == nil:
			reason = "unreadable, it may be anything"
		case !o.genuine(b):
			reason = "does not say of itself what its name says, with a digest"
		case b.Trigger == TriggerManual:
			reason = "made by hand"
		}
		decisions = append(decisions, Decision{Backup: b, Keep: true, Reasons: []string{reason}})
	}
	for class, list := range judged {
		decided := judge(policies[class], list)
		for _, a := range anchors(decided) {
			if d := &decided[a.index]; !d.Keep {
				d.Keep, d.Reasons = true, []string{"newest good one with " + a.collection}
			}
		}
		decisions = append(decisions, decided...)
	}
	backup.SortNewestFirst(decisions, func(d Decision) backup.Dated { return d.Dated() })
	return decisions
}

// judge applies a policy to the backups of one class.
func judge(policy backup.Retention, list []Backup) []Decision {
	dated := make([]backup.Dated, len(list))
	byName := make(map[string]Backup, len(list))
	for i, b := range list {
		dated[i], byName[b.Name] = b.Dated(), b
	}
	decisions := make([]Decision, 0, len(list))
	for _, d := range policy.Decide(dated, time.Now()) {
		b := byName[d.Name]
		if b.OtherKey && !b.Damaged { // which retention knows as damaged
			for i, reason := range d.Reasons {
				d.Reasons[i] = strings.Replace(reason, "damaged, and", "sealed with another key, and", 1)
			}
		}
		decisions = append(decisions, Decision{b, d.Keep, d.Reasons})
	}
	return decisions
}

// anything stands for a collection that every backup has.
const anything = ""

// An anchor is the newest good backup of its class that has a collection.
type anchor struct {
	collection string
	index      int // of the decision about the backup
}

// anchors returns the anchors among the decisions about one class, newest first.
func anchors(decisions []Decision) []anchor {
	var found []anchor
	seen := make(map[string]bool)
	now := time.Now()
	for i, d := range decisions {
		if d.coming || d.Damaged || d.OtherKey || d.CreatedAt.After(now) {
			continue
		}
		for _, name := range append([]string{anything}, slices.Sorted(maps.Keys(d.Manifest.Records))...) {
			if !seen[name] {
				seen[name] = true
				found = append(found, anchor{name, i})
			}
		}
	}
	return found
}

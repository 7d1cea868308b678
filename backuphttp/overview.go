package backuphttp

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

// overview returns what the first page shows.
func (h *Handler) overview(ctx context.Context) (overview, error) {
	m := h.now()
	lastRun := h.lastRun() // before the list, which then has what that run has made
	backups, err := m.List(ctx)
	if backups == nil && err != nil {
		return overview{}, err
	}
	backups = h.judged(backups)
	now := time.Now()
	o := overview{
		App:         m.App.Name,
		Version:     m.App.Version,
		Backups:     make([]backupInfo, 0, len(backups)),
		Unreachable: reasons(err),
		Undo:        undoes(backups, now),
		Good:        newestGood(backups, now),
		Shrunk:      slices.ContainsFunc(backups, func(b manager.Backup) bool { return len(b.Shrunk) > 0 }),
		Rekeyed:     slices.ContainsFunc(backups, func(b manager.Backup) bool { return b.Rekeyed }),
	}
	for _, c := range m.App.Collections {
		o.Collections = append(o.Collections, collectionOf(m.App, c.Name))
	}
	o.Automated.Editable = h.opts.Automation != nil
	o.Automated.Locations = namesOf(m)
	o.Automated.Settings = h.settings()
	o.Automated.LastRun = lastRun
	if o.Status, err = m.Status(ctx); err != nil {
		return overview{}, err
	}
	if next := o.Status.Next; next != nil {
		o.Automated.Next, o.Automated.Late = next, now.Sub(*next) > time.Minute
	}
	past := history{backups: backups, schedule: m.Schedule, zone: m.TimeZone, retention: m.Retention}
	h.remember(&o, m, backups, &past)
	o.Automated.Days = past.days(now)
	return o, nil
}

// remember adds what only this process knows to an overview and to a history.
func (h *Handler) remember(o *overview, m *manager.Manager, backups []manager.Backup, past *history) {
	only := onlyGood(backups, time.Now())
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range backups {
		info := backupInfo{Backup: b, NeedsKey: !opens(m.Identities, b), CanDelete: b.Name != only}
		if v, ok := h.verdicts[b.Name]; b.Damaged {
		} else if ok {
			info.Verified = &v.at
		} else {
			info.Verified = b.VerifiedAt
		}
		o.Backups = append(o.Backups, info)
	}
	o.OtherKey = h.otherKey
	o.Running = h.running != nil && h.running.open
	if t := h.active(); t != nil {
		j := t.job
		o.Job = &j
	}
	for _, t := range h.tasks {
		if t.Ended != nil && (o.Last == nil || !t.Ended.Before(*o.Last.Ended)) {
			j := t.job
			o.Last = &j
		}
	}
	past.failures, past.since, past.busy = slices.Clone(h.failures), h.since, h.scheduled != nil
}

// lastRun returns the last scheduled backup of this process that has ended, or nil.
func (h *Handler) lastRun() *job {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.lastScheduled()
	if t == nil {
		return nil
	}
	j := t.job
	return &j
}

// A verdict is what this process has found when it has read a backup.
type verdict struct {
	at      time.Time
	damaged bool
	copies  int // how many copies a damaged backup had; another copy may be whole
}

// judge remembers a verdict on a stored backup.
func (h *Handler) judge(name string, v verdict) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.verdicts[name] = v
}

// judged returns the backups, Damaged where a verdict says so.
func (h *Handler) judged(backups []manager.Backup) []manager.Backup {
	backups = slices.Clone(backups)
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, b := range backups {
		switch v := h.verdicts[b.Name]; {
		case !v.damaged:
		case v.copies == len(b.Copies):
			backups[i].Damaged = true
		default:
			delete(h.verdicts, b.Name)
		}
	}
	return backups
}

// reasons splits the error of List into one text for each location.
func reasons(err error) []string {
	if err == nil {
		return nil
	}
	for e := err; e != nil; {
		switch wrapped := e.(type) {
		case interface{ Unwrap() []error }:
			var texts []string
			for _, part := range wrapped.Unwrap() {
				texts = append(texts, part.Error())
			}
			return texts
		case interface{ Unwrap() error }:
			e = wrapped.Unwrap()
		default:
			e = nil
		}
	}
	return []string{err.Error()}
}

// undoes returns the name of the backup that takes back the last restore.
func undoes(backups []manager.Backup, now time.Time) string {
	for _, b := range backups {
		if b.Trigger == manager.TriggerBeforeRestore && b.Usable(now) {
			return b.Name
		}
	}
	return ""
}

// newestGood returns the name of the backup to recover from: the newest that is Good. So it
// is full, and the page warns of nothing in it. It need not be verified.
func newestGood(backups []manager.Backup, now time.Time) string {
	for _, b := range backups {
		if b.Good(now) {
			return b.Name
		}
	}
	return ""
}

// onlyGood returns the name of the backup that alone is Good, or else of the backup that
// alone is usable. It returns "" if there are none or several.
func onlyGood(backups []manager.Backup, now time.Time) string {
	for _, counts := range []func(manager.Backup) bool{
		func(b manager.Backup) bool { return b.Good(now) },
		func(b manager.Backup) bool { return b.Usable(now) },
	} {
		var names []string
		for _, b := range backups {
			if counts(b) {
				names = append(names, b.Name)
			}
		}
		switch len(names) {
		case 0:
			continue
		case 1:
			return names[0]
		}
		return ""
	}
	return ""
}

// opens tells whether identities open a backup, by the names of keys in the backup. An
// Identity that does not tell its names may be the right one, so it counts.
func opens(identities []backup.Identity, b manager.Backup) bool {
	if b.Manifest == nil {
		return b.Damaged || !strings.HasSuffix(b.Name, ".age")
	}
	if !b.Manifest.Sealed && !b.Manifest.Encrypted {
		return true
	}
	return slices.ContainsFunc(identities, func(id backup.Identity) bool {
		ids := []string{"passphrase"}
		switch id := id.(type) {
		case *backup.PassphraseKey, backup.PassphraseKey:
			if b.Manifest.Encrypted {
				return false // a PassphraseKey is no Decrypter
			}
		case interface{ KeyIDs() []string }:
			ids = id.KeyIDs()
		default:
			return true
		}
		return slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(b.Manifest.Keys, id) })
	})
}

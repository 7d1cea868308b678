package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuphttp"
)

// automation keeps what people set on the page for backups in the settings of
// Tomo, where the command line finds it too.
type automation struct{ *server }

// Settings implements [backuphttp.Automation], as the next two methods do.
func (a automation) Settings(ctx context.Context) (backuphttp.Settings, error) {
	s, err := readSettings(ctx, a.db)
	if err != nil {
		return backuphttp.Settings{}, err
	}
	p, err := a.cli.toPage(s)
	if err != nil { // a restore may have brought it, and people can set it right on the page
		a.log.Warn("going on with the defaults", "error", err.Error())
	}
	return p, nil
}

func (a automation) Save(ctx context.Context, p backuphttp.Settings) error {
	s, err := a.cli.fromPage(p)
	if err != nil {
		return err
	}
	err = a.db.store.Update(ctx, func(w backup.Writer) error {
		var put []backup.Record
		var unset []string
		for _, key := range slices.Sorted(maps.Keys(s)) {
			if s[key] == nil {
				unset = append(unset, key)
			} else {
				put = append(put, backup.Record{Key: key, Value: s[key]})
			}
		}
		if err := w.Delete(ctx, "settings", unset); err != nil {
			return err
		}
		return w.Put(ctx, "settings", put)
	})
	if err == nil {
		a.log.Info("settings of automatic backups changed")
	}
	return err
}

func (a automation) Manager(ctx context.Context, p backuphttp.Settings) (*backup.Manager, error) {
	s, err := a.cli.fromPage(p)
	if err != nil {
		return nil, err
	}
	locations, err := a.cli.locations(s)
	if err != nil {
		return nil, err
	}
	if own, ok := locations[0].(ownFolder); ok {
		if err := own.Make(); err != nil { // people can set another one on the page
			a.log.Warn("no folder for backups", "error", err.Error())
		}
	}
	m := a.cli.newManager(a.db, a.keys, locations)
	if err := a.cli.unattended(m, a.keys); err != nil {
		return nil, err
	}
	stored, err := readSettings(ctx, a.db)
	if err != nil {
		return nil, err
	}
	if m.Scheduled.Include, err = stored.include(); err != nil {
		a.log.Warn("going on without logs in backups", "error", err.Error())
	}
	m.AfterRestore, m.OnEvent, m.Logger = a.afterRestore, a.busy.note, a.log
	return m, nil
}

// toPage returns the settings as the page has them. One that is wrong has its
// default there, and the error says so.
func (c *cli) toPage(s settings) (p backuphttp.Settings, err error) {
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	p.Enabled, err = s.yes("backup_enabled")
	note(err)
	p.Schedule, err = s.every()
	note(err)
	p.Weekday, err = s.weekday()
	note(err)
	p.Time, err = s.timeOfDay()
	note(err)
	if zone, err := s.zone(); err != nil {
		note(err)
	} else if s.has("timezone") {
		p.Zone = zone.String()
	}
	p.KeepLast, err = s.number("backup_keep_last")
	note(err)
	p.KeepDays, err = s.number("backup_keep_days")
	note(err)

	// The default folder is shown too, so that nobody leaves it without knowing who
	// only wants to add another.
	first, err := c.firstLocation(s)
	if err != nil {
		note(err)
		if first, err = c.firstLocation(nil); err != nil {
			return p, errors.Join(append(errs, err)...)
		}
	}
	p.Locations = []string{fmt.Sprint(first)}
	further, err := s.locations()
	note(err)
	p.Locations = append(p.Locations, further...)
	return p, errors.Join(errs...)
}

// fromPage returns what the page has set as Tomo's settings; nil takes one away. It
// refuses what the rest of Tomo would refuse, and what would be in no backup.
func (c *cli) fromPage(p backuphttp.Settings) (settings, error) {
	at, err := parseTimeOfDay(cmp.Or(p.Time, "02:30"))
	if err != nil {
		return nil, err
	}
	day, err := parseWeekday(cmp.Or(p.Weekday, "sunday"))
	if err != nil {
		return nil, err
	}
	own, err := c.firstLocation(nil)
	if err != nil {
		return nil, err
	}
	for _, path := range p.Locations {
		if !filepath.IsAbs(path) {
			return nil, fmt.Errorf("%q is not the absolute path of a folder, such as /mnt/nas/tomo", path)
		}
	}
	s := settings{
		"backup_enabled":   asJSON(p.Enabled),
		"backup_schedule":  asJSON(cmp.Or(p.Schedule, "daily")),
		"backup_weekday":   asJSON(strings.ToLower(day.String())),
		"backup_time":      asJSON(fmt.Sprintf("%02d:%02d", int(at.Hours()), int(at.Minutes())%60)),
		"backup_keep_last": asJSON(p.KeepLast),
		"backup_keep_days": asJSON(p.KeepDays),
		"backup_dir":       nil,
		"backup_locations": nil,
		"timezone":         nil,
	}
	if p.Zone != "" {
		s["timezone"] = asJSON(p.Zone)
	}
	if len(p.Locations) > 0 && filepath.Clean(p.Locations[0]) != fmt.Sprint(own) { // which may be another on another machine
		s["backup_dir"] = asJSON(p.Locations[0])
	}
	if len(p.Locations) > 1 {
		s["backup_locations"] = asJSON(p.Locations[1:])
	}
	_, wrong := s.every()
	_, zone := s.zone()
	_, keep := s.retention()
	return s, errors.Join(wrong, zone, keep)
}

// has tells whether a setting is there.
func (s settings) has(key string) bool { return s[key] != nil && string(s[key]) != "null" }

func asJSON(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // texts, numbers and lists of texts
	}
	return text
}

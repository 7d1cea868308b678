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
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuphttp"
	"github.com/tomo-project/backup/manager"
)

// automation keeps the settings of the page for backups among the settings of
// Tomo, where the command line finds them too.
type automation struct{ *server }

// Settings implements [backuphttp.Automation], as the next two methods do. The
// stored settings may come from the command line, another machine or a restore.
// So it returns only settings that the page accepts and that make a Manager: no
// stored setting keeps the server from starting, and people can correct it on
// the page.
func (a automation) Settings(ctx context.Context) (backuphttp.Settings, error) {
	s, err := readSettings(ctx, a.db)
	if err != nil {
		return backuphttp.Settings{}, err
	}
	p, err := a.cli.toPage(s)
	if err != nil {
		a.log.Warn("some settings of backups cannot be used: correct them under Settings > System", "error", err.Error())
	}
	if err = a.works(p); err == nil {
		return p, nil
	}
	a.log.Error("the settings of backups cannot be used: ALL DEFAULTS are in effect, and no scheduled backup is made, until they are corrected under Settings > System", "error", err.Error())
	p, _ = a.cli.toPage(nil)
	return p, nil
}

// works returns an error if p cannot make a Manager.
func (a automation) works(p backuphttp.Settings) error {
	if err := p.Validate(); err != nil {
		return err
	}
	m, err := a.manager(p)
	if err != nil {
		return err
	}
	return errors.Join(p.Apply(m), m.Validate())
}

func (a automation) Save(ctx context.Context, p backuphttp.Settings) error {
	s, err := a.cli.fromPage(p)
	if err != nil {
		return err
	}
	if err = a.db.saveSettings(ctx, s); err == nil {
		a.log.Info("settings of automatic backups changed")
	}
	return err
}

// saveSettings stores settings; nil removes one.
func (db *database) saveSettings(ctx context.Context, s settings) error {
	return db.store.Update(ctx, func(w backup.Writer) error {
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
}

// keepFolder has the first folder of backups stay in use after a restore that has brought
// other folders: the way back is in it. It returns the folders that are then in use, or nil
// if nothing had to be done.
func (c *cli) keepFolder(ctx context.Context, k *keeper) ([]string, error) {
	if c.dir != "" {
		return nil, nil
	}
	s, err := readSettings(ctx, k.database)
	if err != nil {
		return nil, err
	}
	p, _ := c.toPage(s) // what is wrong becomes its default
	for _, path := range p.Locations {
		if path == k.folders[0] || sameFile(path, k.folders[0]) {
			return nil, nil
		}
	}
	p.Locations = append([]string{k.folders[0]}, p.Locations[:min(len(p.Locations), mostLocations-1)]...)
	if s, err = c.fromPage(p); err != nil {
		return nil, err
	}
	return p.Locations, k.database.saveSettings(ctx, settings{"backup_dir": s["backup_dir"], "backup_locations": s["backup_locations"]})
}

func (a automation) Manager(ctx context.Context, p backuphttp.Settings) (*manager.Manager, error) {
	stored, err := readSettings(ctx, a.db)
	if err != nil {
		return nil, err
	}
	m, err := a.manager(p)
	if err != nil {
		return nil, err
	}
	if m.Scheduled.Include, err = stored.include(); err != nil {
		a.log.Warn("going on without logs in backups", "error", err.Error())
	}
	return m, nil
}

func (a automation) manager(p backuphttp.Settings) (*manager.Manager, error) {
	s, err := a.cli.fromPage(p)
	if err != nil {
		return nil, err
	}
	locations, err := a.cli.locations(s)
	if err != nil {
		return nil, err
	}
	m := a.cli.newManager(a.db, a.keys, locations)
	if err := a.cli.unattended(m, a.keys); err != nil {
		return nil, err
	}
	m.OnEvent, m.Logger = a.busy.note, a.log
	m.AfterRestore = func(ctx context.Context, r backup.Report) error {
		// The page does not show which optional collections are in automatic
		// backups. If only they have changed, the page does not notice.
		if s, err := readSettings(ctx, a.db); err == nil {
			if include, _ := s.include(); !slices.Equal(include, m.Scheduled.Include) {
				a.log.Warn("backup_include_logs takes effect at the next start, or when a setting of backups is changed")
			}
		}
		return a.afterRestore(ctx, r)
	}
	return m, nil
}

// toPage returns the settings in the form of the page. A setting that is wrong,
// or that the page does not accept, becomes its default or the nearest value
// that the page accepts. The error names such settings.
func (c *cli) toPage(s settings) (p backuphttp.Settings, err error) {
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	p.Enabled, err = s.yes("backup_enabled")
	note(err)
	p.Schedule, err = s.every()
	note(err)
	p.Weekday, err = s.weekday()
	p.Weekday = strings.ToLower(p.Weekday)
	note(err)
	p.Time, err = s.timeOfDay()
	note(err)
	if at, err := parseTimeOfDay(p.Time); err == nil {
		p.Time = clock(at)
	}
	if zone, err := s.zone(); err != nil {
		note(err)
	} else if s.has("timezone") {
		p.Zone = zone.String()
	}
	for key, n := range map[string]*int{"backup_keep_last": &p.KeepLast, "backup_keep_days": &p.KeepDays} {
		if *n, err = s.number(key); *n > mostKept {
			err = fmt.Errorf("the setting %s is %d: going on with %d", key, *n, mostKept)
			*n = mostKept
		}
		note(err)
	}
	p.Locations, err = c.pageLocations(s)
	note(err)
	return p, errors.Join(errs...)
}

// The highest values that the page accepts.
const (
	mostKept      = 100_000
	mostLocations = 20
)

// pageLocations returns the folders of backups that the page accepts. It
// includes the default folder: otherwise somebody who adds a folder would lose
// the default one without knowing.
func (c *cli) pageLocations(s settings) (paths []string, err error) {
	var errs []error
	add := func(key, path string) {
		err := backuphttp.Settings{Locations: []string{path}}.Validate()
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("the setting %s has %s, which is left out: %w", key, shortened(fmt.Sprintf("%q", path), maxValue), err))
		case slices.ContainsFunc(paths, func(known string) bool { return filepath.Clean(known) == filepath.Clean(path) || sameFile(known, path) }):
			errs = append(errs, fmt.Errorf("the setting %s has %q twice: one is left out", key, path))
		case len(paths) == mostLocations:
			errs = append(errs, fmt.Errorf("the setting %s has %q, which is left out: the most is %d folders", key, path, mostLocations))
		default:
			paths = append(paths, path)
		}
	}
	first, err := c.firstLocation(s)
	errs = append(errs, err)
	if err == nil {
		add("backup_dir", fmt.Sprint(first))
	}
	if len(paths) == 0 {
		if first, err = c.firstLocation(nil); err != nil {
			return nil, errors.Join(append(errs, err)...)
		}
		paths = []string{fmt.Sprint(first)}
	}
	further, err := s.locations()
	errs = append(errs, err)
	for _, path := range further {
		add("backup_locations", path)
	}
	return paths, errors.Join(errs...)
}

// fromPage returns the settings of the page in the form of Tomo; nil removes a
// setting. It refuses settings that the rest of Tomo refuses, and those that no
// backup could contain.
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
		"backup_time":      asJSON(clock(at)),
		"backup_keep_last": asJSON(p.KeepLast),
		"backup_keep_days": asJSON(p.KeepDays),
		"backup_dir":       nil,
		"backup_locations": nil,
		"timezone":         nil,
	}
	if p.Zone != "" {
		s["timezone"] = asJSON(p.Zone)
	}
	if len(p.Locations) > 0 && filepath.Clean(p.Locations[0]) != fmt.Sprint(own) { // on another machine it may be another folder
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

// clock writes a time of day in the form of the page.
func clock(at time.Duration) string { return time.Time{}.Add(at).Format("15:04") }

// has tells whether a setting is there and not null.
func (s settings) has(key string) bool { return s[key] != nil && string(s[key]) != "null" }

func asJSON(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // only texts, numbers and lists of texts get here
	}
	return text
}

package backuphttp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// Settings are what people set on the page "Automated Backups" (guide, section of that
// name).
type Settings struct {
	Enabled  bool   `json:"enabled"`
	Schedule string `json:"schedule"` // "daily", "weekly" or "monthly"
	Weekday  string `json:"weekday"`  // of a weekly schedule: "sunday"
	Time     string `json:"time"`     // of day: "02:30"
	Zone     string `json:"zone"`     // of Time: "Europe/Berlin"; empty: the zone of the server

	// KeepLast and KeepDays are the retention. A backup that one of them keeps is kept.
	// If both are 0, all backups are kept.
	KeepLast int `json:"keep_last"`
	KeepDays int `json:"keep_days"`

	// Locations are where backups are kept. The host decides what the texts mean;
	// usually they are absolute paths of folders. None means the default of the host.
	Locations []string `json:"locations"`
}

// An Automation keeps Settings and makes Managers of them.
type Automation interface {
	// Settings returns what was saved last, or the host's defaults. New calls it, Run
	// calls it when it begins, and a restore calls it at its end, because the restore may
	// have changed the settings.
	Settings(ctx context.Context) (Settings, error)

	// Save keeps s. Manager has returned no error for s before.
	Save(ctx context.Context, s Settings) error

	// Manager returns a new Manager for s, with the Locations of s. The Handler sets
	// Schedule and Retention ([Settings.Apply]). The error says what is wrong with s: the
	// person who has typed s sees it, so it must not hold a password. Manager is also called to try settings that are
	// not saved afterwards.
	Manager(ctx context.Context, s Settings) (*manager.Manager, error)
}

// The limits of what people may set.
const (
	mostKept      = 100_000
	mostLocations = 20
)

// Validate returns an error that says what is wrong with s, with a line for each
// mistake. Schedule, Weekday and Time may be empty if they are not needed. Validate
// does not know what the host makes of Locations.
func (s Settings) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch s.Schedule {
	case "daily", "weekly", "monthly":
	case "":
		if s.Enabled {
			fail("no schedule is chosen: choose daily, weekly or monthly")
		}
	default:
		fail("the schedule %q is not known: choose daily, weekly or monthly", brief(s.Schedule))
	}
	if _, ok := weekdays[s.Weekday]; !ok && (s.Weekday != "" || s.Enabled && s.Schedule == "weekly") {
		fail("%q is not a day of the week: choose a day such as sunday", brief(s.Weekday))
	}
	if _, err := timeOfDay(s.Time); err != nil && (s.Time != "" || s.Enabled) {
		fail("%q is not a time of day: type hours and minutes, such as 02:30", brief(s.Time))
	}
	if _, err := s.zone(); err != nil {
		fail("the time zone %q is not known: type a name such as Europe/Berlin, or leave it empty for the time zone of the server", brief(s.Zone))
	}
	if s.KeepLast < 0 || s.KeepLast > mostKept {
		fail("keep the last %d backups: type a number from 0 (no such rule) to %d", s.KeepLast, mostKept)
	}
	if s.KeepDays < 0 || s.KeepDays > mostKept {
		fail("keep backups for %d days: type a number from 0 (no such rule) to %d", s.KeepDays, mostKept)
	}
	if len(s.Locations) > mostLocations {
		fail("%d locations are too many: type at most %d", len(s.Locations), mostLocations)
	}
	for i, l := range s.Locations {
		switch {
		case l == "" || strings.TrimSpace(l) != l:
			fail("location %d is empty, or begins or ends with a space: remove it", i+1)
		case len(l) > 4096 || !utf8.ValidString(l) || strings.ContainsFunc(l, unicode.IsControl):
			fail("location %d is too long, or has control characters: type it again", i+1)
		case slices.Contains(s.Locations[:i], l):
			fail("location %q is there twice: remove one", brief(l))
		}
	}
	return errors.Join(errs...)
}

// brief shortens a text that a person has typed, to show it again.
func brief(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

var weekdays = func() map[string]time.Weekday {
	days := make(map[string]time.Weekday)
	for d := time.Sunday; d <= time.Saturday; d++ {
		days[strings.ToLower(d.String())] = d
	}
	return days
}()

func timeOfDay(text string) (time.Duration, error) {
	t, err := time.Parse("15:04", text)
	if err == nil && len(text) != len("15:04") {
		err = errors.New("want two digits each")
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, err
}

func (s Settings) zone() (*time.Location, error) {
	if s.Zone == "" {
		return time.Local, nil
	}
	return time.LoadLocation(s.Zone)
}

// Apply sets Schedule and Retention of a Manager that was not used yet. If s is not
// Enabled, Schedule becomes nil. Apply returns the error of Validate.
func (s Settings) Apply(m *manager.Manager) error {
	if err := fault.Missing("the Manager", m); err != nil {
		return err
	}
	if err := s.Validate(); err != nil {
		return err
	}
	zone, err := s.zone()
	if err != nil {
		return err
	}
	m.Schedule = nil
	if s.Enabled {
		at, err := timeOfDay(s.Time)
		if err != nil {
			return err
		}
		switch s.Schedule {
		case "daily":
			m.Schedule = schedule.Daily{At: at, Location: zone}
		case "weekly":
			m.Schedule = schedule.Weekly{Day: weekdays[s.Weekday], At: at, Location: zone}
		case "monthly":
			m.Schedule = schedule.Monthly{At: at, Location: zone}
		}
	}
	m.Retention = backup.Retention{Last: s.KeepLast, Within: time.Duration(s.KeepDays) * 24 * time.Hour, Location: zone}
	return nil
}

// settingsOf returns what a Manager does as Settings, as far as Settings can say it. A
// schedule of another type is "other".
func settingsOf(m *manager.Manager) Settings {
	s := Settings{
		Enabled:   m.Schedule != nil,
		KeepLast:  m.Retention.Last,
		KeepDays:  int(m.Retention.Within / (24 * time.Hour)),
		Locations: namesOf(m),
	}
	at := func(d time.Duration) string { return time.Time{}.Add(d).Format("15:04") }
	switch schedule := m.Schedule.(type) {
	case nil:
	case schedule.Daily:
		s.Schedule, s.Time = "daily", at(schedule.At)
	case schedule.Weekly:
		s.Schedule, s.Time, s.Weekday = "weekly", at(schedule.At), strings.ToLower(schedule.Day.String())
	case schedule.Monthly:
		s.Schedule, s.Time = "monthly", at(schedule.At)
	case schedule.Hourly:
		s.Schedule, s.Time = "hourly", fmt.Sprintf("00:%02d", schedule.Minute)
	default:
		s.Schedule = "other"
	}
	if m.Schedule != nil {
		if zone := zoneOfSchedule(m.Schedule, cmp.Or(m.TimeZone, time.Local)); zone != time.Local {
			s.Zone = zone.String()
		}
	}
	return s
}

// zoneOfSchedule returns the time zone of a schedule. If it does not say, that is the zone of
// the host.
func zoneOfSchedule(s schedule.Schedule, host *time.Location) *time.Location {
	var zone *time.Location
	switch s := s.(type) {
	case schedule.Hourly:
		zone = s.Location
	case schedule.Daily:
		zone = s.Location
	case schedule.Weekly:
		zone = s.Location
	case schedule.Monthly:
		zone = s.Location
	default:
		return host
	}
	if zone == nil {
		return time.UTC
	}
	return zone
}

// namesOf returns the names of the locations of a Manager, as its messages have them.
func namesOf(m *manager.Manager) []string {
	names := make([]string, len(m.Locations))
	for i, l := range m.Locations {
		names[i] = fmt.Sprintf("location %d", i+1)
		if s, ok := l.(fmt.Stringer); ok {
			names[i] = s.String()
		}
	}
	return names
}

// managerOf makes the Manager for settings. The error says what is wrong with them.
func (h *Handler) managerOf(ctx context.Context, s Settings) (*manager.Manager, error) {
	if err := s.Validate(); err != nil {
		return nil, invalid("invalid", "%v", err)
	}
	m, err := h.opts.Automation.Manager(ctx, s)
	if err == nil && m == nil {
		err = errors.New("the Automation returned neither a Manager nor an error")
	}
	if err == nil {
		err = errors.Join(s.Apply(m), m.Validate())
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, invalid("invalid", "%v", err)
	}
	return m, nil
}

// settings returns the settings that are in effect.
func (h *Handler) settings() Settings {
	if h.opts.Automation == nil {
		return settingsOf(h.opts.Manager)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.set
	s.Locations = append([]string{}, s.Locations...)
	return s
}

// save keeps settings and puts them into effect while nothing else runs. If the
// locations have changed, they have to work, unless force is set.
func (h *Handler) save(ctx context.Context, s Settings, force bool) error {
	if h.opts.Automation == nil {
		return invalid("fixed", "the settings cannot be changed here: change them in the configuration of the server")
	}
	if !force {
		if err := h.work(ctx, s); err != nil {
			return err
		}
	}
	return h.aside(ctx, "a change of the settings", func(ctx context.Context) error {
		return h.change(ctx, s, true)
	})
}

// work tries the locations of settings if they differ from those in effect.
func (h *Handler) work(ctx context.Context, s Settings) error {
	if slices.Equal(h.settings().Locations, s.Locations) {
		return nil
	}
	m, err := h.managerOf(ctx, s)
	if err != nil {
		return err
	}
	tried, err := m.Probe(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var wrong []string
	for _, c := range tried {
		if c.Err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", c.Location, c.Err))
		}
	}
	if len(wrong) == 0 {
		return err
	}
	return invalid(badLocation, "nothing was saved, because not all locations work:\n%s", strings.Join(wrong, "\n"))
}

// badLocation is the code of the error that a location does not work.
const badLocation = "location"

// change puts settings into effect, and saves them if keep is set. It is called in Run,
// while nothing else runs there.
func (h *Handler) change(ctx context.Context, s Settings, keep bool) error {
	m, err := h.managerOf(ctx, s)
	if err != nil {
		return err
	}
	h.mu.Lock()
	r, old, begun := h.running, h.set, h.scheduled != nil
	h.mu.Unlock()
	if begun {
		return errScheduled
	}
	// If a scheduled backup begins at this moment, pause stops it, and resume makes it.
	r.pause()
	defer h.resume(r)
	if keep {
		if err := h.opts.Automation.Save(ctx, s); err != nil {
			return h.hide("save the settings", err)
		}
	}
	h.adopt(m, s)
	h.mu.Lock()
	defer h.mu.Unlock()
	if !reflect.DeepEqual(s.when(), old.when()) {
		h.since = time.Now()
	}
	if !slices.Equal(old.Locations, s.Locations) {
		clear(h.verdicts)
	}
	return nil
}

// when returns the settings without those that do not say when backups are made.
func (s Settings) when() Settings {
	return Settings{Enabled: s.Enabled, Schedule: s.Schedule, Weekday: s.Weekday, Time: s.Time, Zone: s.Zone}
}

// reload puts settings into effect that a restore, or the host, has saved. After a restore
// the first location stays in use, beside those that were restored: the way back is there.
func (h *Handler) reload(ctx context.Context, restored bool) {
	if h.opts.Automation == nil {
		return
	}
	s, err := h.opts.Automation.Settings(ctx)
	if err == nil {
		h.mu.Lock()
		old := h.set
		h.mu.Unlock()
		if reflect.DeepEqual(normal(s), normal(old)) {
			return
		}
		stays := restored && len(old.Locations) > 0 && !slices.Contains(s.Locations, old.Locations[0])
		if stays {
			s.Locations = append([]string{old.Locations[0]}, s.Locations[:min(len(s.Locations), mostLocations-1)]...)
		}
		err = h.change(ctx, s, stays)
	}
	if err != nil && ctx.Err() == nil {
		h.log("read the settings again; the former ones stay in effect", err)
	}
}

// normal returns settings in a form that can be compared.
func normal(s Settings) Settings {
	if len(s.Locations) == 0 {
		s.Locations = nil
	}
	return s
}

// prunePreview returns what retention would delete if s were in effect. If people cannot
// change the settings, s does not matter. It may return decisions together with an
// error, as Prune does.
func (h *Handler) prunePreview(ctx context.Context, s Settings) ([]manager.Pruned, error) {
	m := h.now()
	if h.opts.Automation != nil {
		var err error
		if m, err = h.managerOf(ctx, s); err != nil {
			return nil, err
		}
	}
	return m.Prune(ctx, manager.PruneOptions{DryRun: true})
}

// probe tries each location of s. If people cannot change the settings, it tries those of
// the Manager.
func (h *Handler) probe(ctx context.Context, s Settings) ([]manager.Copy, error) {
	m := h.now()
	if h.opts.Automation != nil {
		var err error
		if m, err = h.managerOf(ctx, Settings{Locations: s.Locations}); err != nil {
			return nil, err
		}
	}
	return m.Probe(ctx)
}

package backuphttp

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"

	"github.com/tomo-project/backup"
)

// Settings are what people set under "Automated Backups" of the guide.
type Settings struct {
	Enabled  bool   `json:"enabled"`
	Schedule string `json:"schedule"` // "daily", "weekly" or "monthly"
	Weekday  string `json:"weekday"`  // of a weekly one: "sunday"
	Time     string `json:"time"`     // of day: "02:30"
	Zone     string `json:"zone"`     // of Time: "Europe/Berlin"; empty: that of the server

	// KeepLast and KeepDays are the retention: rules add up, and if both are 0 all
	// are kept.
	KeepLast int `json:"keep_last"`
	KeepDays int `json:"keep_days"`

	// Locations are where backups are kept, in the words of the host: absolute
	// paths of folders, usually. Empty means its default.
	Locations []string `json:"locations"`
}

// An Automation keeps Settings and makes of them what the library runs.
type Automation interface {
	// Settings returns what was saved, or the host's defaults. It is asked by New, by
	// Run when it begins, and after a restore, which may have changed them.
	Settings(ctx context.Context) (Settings, error)

	// Save keeps s, for which Manager has returned no error before.
	Save(ctx context.Context, s Settings) error

	// Manager returns a new Manager for s, with Locations; Schedule and Retention are
	// set by the Handler ([Settings.Apply]). Its error is shown to who has set s: it
	// says what is wrong with it. It is also called to try settings that are not saved
	// afterwards.
	Manager(ctx context.Context, s Settings) (*manager.Manager, error)
}

// What people may set at the most.
const (
	mostKept      = 100_000
	mostLocations = 20
)

// Validate returns an error that says what is wrong with s, each in a line.
// Schedule, Weekday and Time may be empty where they are not needed. What the host
// makes of Locations it does not know.
func (s Settings) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch s.Schedule {
	case "daily", "weekly", "monthly":
	case "":
		if s.Enabled {
			fail("no schedule: choose daily, weekly or monthly")
		}
	default:
		fail("there is no schedule %q: choose daily, weekly or monthly", brief(s.Schedule))
	}
	if _, ok := weekdays[s.Weekday]; !ok && (s.Weekday != "" || s.Enabled && s.Schedule == "weekly") {
		fail("%q is no day of the week: choose one, such as sunday", brief(s.Weekday))
	}
	if _, err := timeOfDay(s.Time); err != nil && (s.Time != "" || s.Enabled) {
		fail("%q is no time of day: type hours and minutes, such as 02:30", brief(s.Time))
	}
	if _, err := s.zone(); err != nil {
		fail("the time zone %q is not known: type one such as Europe/Berlin, or leave it empty for that of the server", brief(s.Zone))
	}
	if s.KeepLast < 0 || s.KeepLast > mostKept {
		fail("keep the last %d backups: want a number from 0, for no such rule, to %d", s.KeepLast, mostKept)
	}
	if s.KeepDays < 0 || s.KeepDays > mostKept {
		fail("keep backups for %d days: want a number from 0, for no such rule, to %d", s.KeepDays, mostKept)
	}
	if len(s.Locations) > mostLocations {
		fail("%d locations: the most is %d", len(s.Locations), mostLocations)
	}
	for i, l := range s.Locations {
		switch {
		case l == "" || strings.TrimSpace(l) != l:
			fail("location %d is empty, or begins or ends with a space", i+1)
		case len(l) > 4096 || !utf8.ValidString(l) || strings.ContainsFunc(l, unicode.IsControl):
			fail("location %d is too long, or has control characters", i+1)
		case slices.Contains(s.Locations[:i], l):
			fail("location %q is there twice", brief(l))
		}
	}
	return errors.Join(errs...)
}

// brief cuts what somebody has typed in and is to be shown again.
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

// Apply sets Schedule and Retention of a Manager that was not used yet: Schedule to
// nil if s is not Enabled. Its error is that of Validate.
func (s Settings) Apply(m *manager.Manager) error {
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

// settingsOf says in Settings what a Manager does, as far as they can. A schedule
// that they do not know is "other".
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
		if zone := zoneOfSchedule(m.Schedule); zone != time.Local {
			s.Zone = zone.String()
		}
	}
	return s
}

// zoneOfSchedule returns the time zone whose days a schedule is about.
func zoneOfSchedule(s schedule.Schedule) *time.Location {
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
		return time.Local
	}
	if zone == nil {
		return time.UTC
	}
	return zone
}

// namesOf returns the names of the locations of a Manager, as it uses them.
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

// managerOf makes the Manager of settings. What is wrong with them is the error.
func (h *Handler) managerOf(ctx context.Context, s Settings) (*manager.Manager, error) {
	if err := s.Validate(); err != nil {
		return nil, invalid("invalid", "%v", err)
	}
	m, err := h.opts.Automation.Manager(ctx, s)
	if err == nil && m == nil {
		err = errors.New("the Automation made no Manager")
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

// settings returns those that are in effect.
func (h *Handler) settings(context.Context) (Settings, error) {
	if h.opts.Automation == nil {
		return settingsOf(h.opts.Manager), nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.set
	s.Locations = append([]string{}, s.Locations...)
	return s, nil
}

// save keeps settings and has them take effect, but not in the middle of anything.
// Locations that were not there before have to work, unless force says to save them
// all the same.
func (h *Handler) save(ctx context.Context, s Settings, force bool) error {
	if h.opts.Automation == nil {
		return invalid("fixed", "the settings are those of the server: change them in its configuration")
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

// work tries the locations of settings, if they are others than before.
func (h *Handler) work(ctx context.Context, s Settings) error {
	now, err := h.settings(ctx)
	if err != nil || slices.Equal(now.Locations, s.Locations) {
		return err
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

// badLocation is the code of an error about a location that does not work.
const badLocation = "location"

// change has settings take effect, in Run, while nothing else runs there.
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
	// One that begins only now ends at its beginning, and is made when it is done.
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

// when returns those of the settings that say when backups are made.
func (s Settings) when() Settings {
	return Settings{Enabled: s.Enabled, Schedule: s.Schedule, Weekday: s.Weekday, Time: s.Time, Zone: s.Zone}
}

// reload has settings take effect that were saved by somebody else: by a restore.
func (h *Handler) reload(ctx context.Context) {
	if h.opts.Automation == nil {
		return
	}
	s, err := h.opts.Automation.Settings(ctx)
	if err == nil {
		h.mu.Lock()
		same := reflect.DeepEqual(normal(s), normal(h.set))
		h.mu.Unlock()
		if same {
			return
		}
		err = h.change(ctx, s, false)
	}
	if err != nil && ctx.Err() == nil {
		h.log("the settings could not be read again, so the former are in effect", err)
	}
}

func normal(s Settings) Settings {
	if len(s.Locations) == 0 {
		s.Locations = nil
	}
	return s
}

// prunePreview says what retention would delete, with s in effect where they can be
// set. As of Prune, there may be decisions beside the error.
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

// probe tries each of the Locations of s, where they can be set. The rest of s does
// not matter.
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

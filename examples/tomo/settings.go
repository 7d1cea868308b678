package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a small container may have no time zones

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/schedule"
)

// settings are those of Tomo's web page under Settings > System. A setting that
// is absent or null has its default. Each setting is checked only when it is
// needed, so that a wrong setting does not stop the restore that may correct
// it.
type settings map[string]json.RawMessage

func readSettings(ctx context.Context, db *database) (settings, error) {
	s := settings{}
	// No setting is secret, so they can be read without the master key.
	err := db.store.store.View(ctx, func(r backup.Reader) error {
		for record, err := range r.Records(ctx, "settings") {
			if err != nil {
				return err
			}
			if strings.HasPrefix(record.Key, "backup_") || record.Key == "timezone" || record.Key == "session_timeout" { // other settings must not appear in messages
				s[record.Key] = json.RawMessage(strings.Clone(string(record.Value)))
			}
		}
		return nil
	})
	return s, err
}

// setting returns a setting, or fallback where there is none.
func setting[T any](s settings, key, want string, fallback T, valid func(T) bool) (T, error) {
	text := string(s[key])
	if text == "" || text == "null" {
		return fallback, nil
	}
	var value T
	if json.Unmarshal([]byte(text), &value) != nil || !valid(value) {
		return fallback, fmt.Errorf("the setting %s is %s: want %s", key, shortened(text, maxValue), want)
	}
	return value, nil
}

func (s settings) number(key string) (int, error) {
	return setting(s, key, "a whole number from 0", 0, func(n int) bool { return n >= 0 })
}

func (s settings) yes(key string) (bool, error) {
	return setting(s, key, "true or false", false, func(bool) bool { return true })
}

// dir returns the folder of the backups. It is empty for the default.
func (s settings) dir() (string, error) {
	return setting(s, "backup_dir", "an absolute path, or null for the folder beside the database", "", filepath.IsAbs)
}

// locations returns the further folders, with copies.
func (s settings) locations() ([]string, error) {
	return setting(s, "backup_locations", "a list of absolute paths", nil, func(paths []string) bool {
		return !slices.ContainsFunc(paths, func(path string) bool { return !filepath.IsAbs(path) })
	})
}

// zone returns the time zone of backup_time, in which also each day begins.
func (s settings) zone() (*time.Location, error) {
	var zone *time.Location
	_, err := setting(s, "timezone", `a time zone such as "Europe/Berlin"`, "", func(name string) (ok bool) {
		var err error
		zone, err = time.LoadLocation(name)
		return err == nil
	})
	if zone == nil {
		zone = time.Local
	}
	return zone, err
}

func (s settings) timeOfDay() (string, error) {
	return setting(s, "backup_time", `a time of day such as "02:30"`, "02:30", func(text string) bool {
		_, err := parseTimeOfDay(text)
		return err == nil
	})
}

func (s settings) weekday() (string, error) {
	return setting(s, "backup_weekday", `a day of the week such as "sunday"`, "sunday", func(name string) bool {
		_, err := parseWeekday(name)
		return err == nil
	})
}

func (s settings) every() (string, error) {
	return setting(s, "backup_schedule", `"daily", "weekly" or "monthly"`, "daily", func(name string) bool {
		return name == "daily" || name == "weekly" || name == "monthly"
	})
}

// schedule returns when automatic backups are made, and a description of it.
func (s settings) schedule(zone *time.Location) (schedule.Schedule, string, error) {
	text, err := s.timeOfDay()
	if err != nil {
		return nil, "", err
	}
	at, _ := parseTimeOfDay(text)
	day, err := s.weekday()
	if err != nil {
		return nil, "", err
	}
	weekday, _ := parseWeekday(day)
	every, err := s.every()
	switch every {
	case "weekly":
		return schedule.Weekly{Day: weekday, At: at, Location: zone}, "weekly " + day + ":" + text, err
	case "monthly":
		return schedule.Monthly{At: at, Location: zone}, "monthly 1:" + text, err
	}
	return schedule.Daily{At: at, Location: zone}, "daily " + text, err
}

// include returns the optional collections that automatic backups contain.
func (s settings) include() ([]string, error) {
	logs, err := s.yes("backup_include_logs")
	if !logs {
		return nil, err
	}
	return []string{"logs"}, err
}

// retention returns the policy.
func (s settings) retention() (backup.Retention, error) {
	last, err := s.number("backup_keep_last")
	if err != nil {
		return backup.Retention{}, err
	}
	days, err := s.number("backup_keep_days")
	return backup.Retention{Last: last, Within: inDays(days)}, err
}

// sessionTimeout returns after how long without a request a user is logged out.
func (s settings) sessionTimeout() (time.Duration, error) {
	minutes, err := setting(s, "session_timeout", "minutes from 1 to 525600", 720, func(n int) bool { return n >= 1 && n <= 525_600 })
	return time.Duration(minutes) * time.Minute, err
}

// inDays returns n days, at most the 292 years that a duration can hold.
func inDays(n int) time.Duration { return time.Duration(min(n, 100_000)) * 24 * time.Hour }

// parseTimeOfDay returns "02:30" as a duration since midnight.
func parseTimeOfDay(text string) (time.Duration, error) {
	t, err := time.Parse("15:04", text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a time of day such as 02:30", text)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

func parseWeekday(name string) (time.Weekday, error) {
	for day := time.Sunday; day <= time.Saturday; day++ {
		if strings.EqualFold(day.String(), name) {
			return day, nil
		}
	}
	return 0, fmt.Errorf("%q is not a day of the week such as sunday", name)
}

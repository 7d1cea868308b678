package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// runFlags are the flags of tomo backup run.
type runFlags struct {
	hourly                 bool
	daily, weekly, monthly string
	zone                   string
	drill, rehearsal       string
	minCopies              int
	database               bool
	policy                 policyFlags

	onEvent func(manager.Event) // only the demo sets it
}

func (c *cli) runCommand() *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Make backups on a schedule, until stopped",
		Long: `Make backups on a schedule, and prune after each, until stopped with Ctrl-C or
SIGTERM. The log goes to standard error.

The schedule, the policy and the folders come from the settings, which are read
at the start: backup_enabled, backup_schedule, backup_time, backup_weekday,
backup_keep_last, backup_keep_days, backup_dir, backup_locations,
backup_include_logs, timezone. A flag overrides its setting. Any --keep flag
overrides the whole policy, and --dir overrides all folders.

The existing backups show what is due. So this command can be stopped and
started at any time: missed backups are made up for with one. If there is no
scheduled backup yet, the first is made at once. After a failure it tries again.

The passphrase is needed at the start, unless --recipient is given. With
--recipient alone, backups are made, copied and pruned without a key that opens
them. Then only their digests are verified. A --drill needs a key that opens
them.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			given := 0
			for _, name := range []string{"hourly", "daily", "weekly", "monthly"} {
				if flag := cmd.Flags().Lookup(name); flag.Changed {
					given++
					if flag.Value.String() == "" {
						return usagef("--%s: say when", name)
					}
				}
			}
			if given > 1 {
				return usagef("--hourly, --daily, --weekly and --monthly exclude each other")
			}
			return c.schedule(cmd.Context(), flags)
		},
	}
	cmd.Flags().BoolVar(&flags.hourly, "hourly", false, "make a backup every full hour")
	cmd.Flags().StringVar(&flags.daily, "daily", "", "every day at this `TIME`: 03:00")
	cmd.Flags().StringVar(&flags.weekly, "weekly", "", "every week on this `DAY:TIME`: sunday:03:00")
	cmd.Flags().StringVar(&flags.monthly, "monthly", "", "every month on this `DAY:TIME`: 1:03:00; 31 is the last day")
	cmd.Flags().StringVar(&flags.zone, "time-zone", "", "`ZONE` of these times, such as Europe/Berlin (default: the setting timezone, or that of the machine)")
	cmd.Flags().StringVar(&flags.drill, "drill", "", "prove, `HOW-OFTEN`, that a new backup restores: daily, weekly or monthly")
	cmd.Flags().StringVar(&flags.rehearsal, "rehearsal", "", "remind in the log, `HOW-OFTEN`, to prove that a key opens the backups: daily, weekly or monthly")
	flags.policy.add(cmd)
	databaseFlag(cmd, &flags.database)
	c.locationFlags(cmd)
	minCopiesFlag(cmd, &flags.minCopies)
	c.openFlags(cmd)
	c.sealFlags(cmd)
	return cmd
}

// schedule runs the scheduler until ctx is done. That is no error.
func (c *cli) schedule(ctx context.Context, flags runFlags) error {
	k, err := c.openKeeper(ctx, true)
	if err != nil {
		return err
	}
	defer k.Close()
	if err := c.setMinCopies(k, flags.minCopies); err != nil {
		return err
	}
	zone, err := flags.location(k.settings)
	if err != nil {
		return err
	}
	schedule, text, err := flags.schedule(k.settings, zone)
	if err != nil {
		return err
	}
	if k.Retention, err = flags.policy.retention(k.settings); err != nil {
		return err
	}
	k.Retention.Location = zone
	if k.Drills.Schedule, err = howOften("drill", flags.drill, zone); err != nil {
		return err
	}
	if k.Rehearsals, err = howOften("rehearsal", flags.rehearsal, zone); err != nil {
		return err
	}
	if k.Scheduled.Include, err = k.settings.include(); err != nil {
		return err
	}
	if err := c.unattended(k.Manager, k.keys); err != nil {
		return err
	}
	if flags.database {
		k.copyDatabases()
	}
	if k.Drills.Schedule != nil && len(k.Identities) == 0 {
		return usagef("--drill: a drill needs a key that opens the backup: add --identity FILE, or a passphrase")
	}

	k.Schedule, k.Logger, k.OnEvent = schedule, c.logger(), flags.onEvent
	k.Logger.InfoContext(ctx, "backups are scheduled", "schedule", text, "time_zone", zone.String(),
		"next_time", schedule.Next(time.Now()).Format(time.RFC3339), "keep", policyText(k.Retention), "locations", strings.Join(k.folders, ", "))
	err = k.Run(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		k.Logger.Info("stopped; missed backups are made up for at the next start")
		return nil
	}
	return err
}

// unattended sets the keys of a Manager that works while nobody can be asked
// for a passphrase.
func (c *cli) unattended(m *manager.Manager, keys *keyring) error {
	if err := c.sealNew(m, keys); err != nil {
		return err
	}
	if !keys.passphrase.known() {
		m.Identities = keys.openers[:len(keys.identities)]
	}
	if c.open.requireProof && m.Signer == nil && !keys.passphrase.known() {
		return usagef("--require-proof: nothing would prove the backups that are made here: add --sign FILE, or a passphrase")
	}
	return nil
}

// logger returns the log of long-running commands, on standard error.
func (c *cli) logger() *slog.Logger {
	if c.json {
		return slog.New(slog.NewJSONHandler(c.stderr, nil))
	}
	return slog.New(slog.NewTextHandler(c.stderr, nil))
}

func (f runFlags) location(s settings) (*time.Location, error) {
	if f.zone == "" {
		return s.zone()
	}
	zone, err := time.LoadLocation(f.zone)
	if err != nil {
		return nil, usagef("--time-zone: %w: want a name such as Europe/Berlin", err)
	}
	return zone, nil
}

// schedule returns the schedule of the flags or the settings, and a description
// of it.
func (f runFlags) schedule(s settings, zone *time.Location) (schedule.Schedule, string, error) {
	switch {
	case f.hourly:
		return schedule.Hourly{Location: zone}, "hourly", nil
	case f.daily != "":
		at, err := parseTimeOfDay(f.daily)
		if err != nil {
			return nil, "", usagef("--daily: %w", err)
		}
		return schedule.Daily{At: at, Location: zone}, "daily " + f.daily, nil
	case f.weekly != "":
		name, clock, _ := strings.Cut(f.weekly, ":")
		day, err := parseWeekday(name)
		at, wrong := parseTimeOfDay(clock)
		if err = cmp.Or(err, wrong); err != nil {
			return nil, "", usagef("--weekly %s: %w; want it as in sunday:03:00", f.weekly, err)
		}
		return schedule.Weekly{Day: day, At: at, Location: zone}, "weekly " + f.weekly, nil
	case f.monthly != "":
		number, clock, _ := strings.Cut(f.monthly, ":")
		day, err := strconv.Atoi(number)
		if err != nil || day < 1 || day > 31 {
			err = fmt.Errorf("%q is not a day of the month from 1 to 31", number)
		}
		at, wrong := parseTimeOfDay(clock)
		if err = cmp.Or(err, wrong); err != nil {
			return nil, "", usagef("--monthly %s: %w; want it as in 1:03:00", f.monthly, err)
		}
		return schedule.Monthly{Day: day, At: at, Location: zone}, "monthly " + f.monthly, nil
	}
	enabled, err := s.yes("backup_enabled")
	if err != nil {
		return nil, "", err
	}
	if !enabled {
		return nil, "", errors.New("automatic backups are off: the setting backup_enabled is not true.\nTurn them on in the settings, or give a schedule: --daily 03:00")
	}
	return s.schedule(zone)
}

// howOften returns the schedule of a flag, or nil if the flag was not given.
func howOften(flag, value string, zone *time.Location) (schedule.Schedule, error) {
	switch value {
	case "":
		return nil, nil
	case "daily":
		return schedule.Daily{Location: zone}, nil
	case "weekly":
		return schedule.Weekly{Location: zone}, nil
	case "monthly":
		return schedule.Monthly{Location: zone}, nil
	}
	return nil, usagef("--%s %s: want daily, weekly or monthly", flag, value)
}

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
)

// policyFlags are the rules of retention.
type policyFlags struct {
	backup.Retention
	days  int
	given bool
}

func (f *policyFlags) add(cmd *cobra.Command) {
	rule := func(n *int, name, usage string) { cmd.Flags().Var(&ruleFlag{n, &f.given}, name, usage) }
	rule(&f.Last, "keep-last", "keep the last `N` backups")
	rule(&f.days, "keep-days", "keep the backups of the last `N` days before the newest")
	rule(&f.Hourly, "keep-hourly", "keep the newest backup of each of the last `N` hours that have one")
	rule(&f.Daily, "keep-daily", "keep the newest backup of each of the last `N` days that have one")
	rule(&f.Weekly, "keep-weekly", "keep the newest backup of each of the last `N` weeks that have one")
	rule(&f.Monthly, "keep-monthly", "keep the newest backup of each of the last `N` months that have one")
	rule(&f.Yearly, "keep-yearly", "keep the newest backup of each of the last `N` years that have one")
}

// retention returns the policy of the flags or, without such flags, of the
// settings. The two are never mixed: nobody would have chosen the result.
func (f policyFlags) retention(s settings) (r backup.Retention, err error) {
	r = f.Retention
	r.Within = inDays(f.days)
	if !f.given {
		if r, err = s.retention(); err != nil {
			return r, err
		}
	}
	r.Location, err = s.zone()
	return r, err
}

// A ruleFlag is the value of a flag that takes a whole number from 0.
type ruleFlag struct {
	n     *int
	given *bool
}

// Set implements pflag.Value, as the next two methods do.
func (f *ruleFlag) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return errors.New("want a whole number from 0")
	}
	*f.n, *f.given = n, true
	return nil
}

func (f *ruleFlag) String() string { return "" }
func (f *ruleFlag) Type() string   { return "int" }

// policyText sums up a policy for the log.
func policyText(r backup.Retention) string {
	var rules []string
	for _, rule := range []struct {
		n    int
		text string
	}{
		{r.Last, "last"}, {int(r.Within / (24 * time.Hour)), "days"},
		{r.Hourly, "hourly"}, {r.Daily, "daily"}, {r.Weekly, "weekly"}, {r.Monthly, "monthly"}, {r.Yearly, "yearly"},
	} {
		if rule.n > 0 {
			rules = append(rules, fmt.Sprintf("%s %d", rule.text, rule.n))
		}
	}
	if len(rules) == 0 {
		return "all"
	}
	return strings.Join(rules, ", ")
}

package backuphttp

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tomo-project/backup/manager"
)

// A settingsPage is "Automated Backups": a form, or only the settings.
type settingsPage struct {
	*frame
	Automated automated
	Form      settingsForm
	Tested    []manager.Copy // what a test of locations has found
	Test      int            // the field that was tested; -1: all
	Preview   *prunePreview
	Force     bool // offer to save in spite of the error
}

// A settingsForm is what the person has typed, right or wrong.
type settingsForm struct {
	Enabled                  bool
	Schedule, Weekday, Time  string
	Zone, KeepLast, KeepDays string
	Locations                []string
}

// A prunePreview is what retention would delete, and why.
type prunePreview struct {
	Pruned  []manager.Pruned
	Problem string // why nothing would be deleted now
}

// Deletes returns how many files would be deleted. At a location with a problem, that is none.
func (p prunePreview) Deletes() (n int) {
	for _, at := range p.Pruned {
		for _, d := range at.Decisions {
			if !d.Keep && at.Err == nil {
				n++
			}
		}
	}
	return n
}

func (settingsPage) Weekdays() []string {
	return []string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}
}

func formOf(s Settings) settingsForm {
	number := func(n int) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(n)
	}
	return settingsForm{
		Enabled: s.Enabled, Schedule: s.Schedule, Weekday: s.Weekday, Time: s.Time, Zone: s.Zone,
		KeepLast: number(s.KeepLast), KeepDays: number(s.KeepDays), Locations: s.Locations,
	}
}

func typedSettings(r *http.Request) settingsForm {
	return settingsForm{
		Enabled:   r.PostFormValue("enabled") != "",
		Schedule:  r.PostFormValue("schedule"),
		Weekday:   r.PostFormValue("weekday"),
		Time:      r.PostFormValue("time"),
		Zone:      strings.TrimSpace(r.PostFormValue("zone")),
		KeepLast:  strings.TrimSpace(r.PostFormValue("keep_last")),
		KeepDays:  strings.TrimSpace(r.PostFormValue("keep_days")),
		Locations: r.PostForm["location"],
	}
}

// settings returns the form as Settings, and by field what is wrong with it.
func (f settingsForm) settings() (Settings, map[string]string) {
	wrong := make(map[string]string)
	number := func(field, text string) int {
		if text == "" {
			return 0
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			wrong[field] = fmt.Sprintf("%q is not a number of %s: type a whole number, or leave it empty", text, map[string]string{"keep_last": "backups", "keep_days": "days"}[field])
		}
		return n
	}
	s := Settings{Enabled: f.Enabled, Schedule: f.Schedule, Weekday: f.Weekday, Time: f.Time, Zone: f.Zone}
	s.KeepLast, s.KeepDays = number("keep_last", f.KeepLast), number("keep_days", f.KeepDays)
	for _, location := range f.Locations {
		if location = strings.TrimSpace(location); location != "" {
			s.Locations = append(s.Locations, location)
		}
	}
	return s, wrong
}

func (p *pages) showSettings(w http.ResponseWriter, r *http.Request) error {
	return p.answerSettings(w, r, settingsPage{frame: p.frame(r, "Automated Backups"), Test: -1}, nil, nil)
}

// answerSettings answers with the form: with typed, or with the settings in effect if
// typed is nil.
func (p *pages) answerSettings(w http.ResponseWriter, r *http.Request, page settingsPage, typed *settingsForm, wrong error) error {
	o, err := p.overview(r.Context())
	if err != nil {
		return err
	}
	page.Automated, page.Form = o.Automated, formOf(o.Automated.Settings)
	if typed != nil {
		page.Form = *typed
	}
	// An empty field at the end is for one more location.
	if n := len(page.Form.Locations); n == 0 || strings.TrimSpace(page.Form.Locations[n-1]) != "" {
		page.Form.Locations = append(slices.Clone(page.Form.Locations), "")
	}
	code := p.problem(page.frame, wrong)
	return p.show(w, code, "settings", page)
}

// doSettings does what the button says: it saves, shows what retention would delete, or
// tests a location.
func (p *pages) doSettings(w http.ResponseWriter, r *http.Request) error {
	typed := typedSettings(r)
	page := settingsPage{frame: p.frame(r, "Automated Backups"), Test: -1}
	s, wrong := typed.settings()
	if page.Invalid = wrong; len(wrong) > 0 {
		return p.answerSettings(w, r, page, &typed, invalid("invalid", "some fields cannot be saved"))
	}
	do, field, _ := strings.Cut(r.PostFormValue("do"), " ")
	var err error
	switch do {
	case "preview":
		page.Preview, err = p.preview(r, s)
	case "test":
		if n, e := strconv.Atoi(field); e == nil && n >= 0 && n < len(typed.Locations) {
			page.Test, s.Locations = n, nil
			if location := strings.TrimSpace(typed.Locations[n]); location != "" {
				s.Locations = []string{location}
			}
		}
		page.Tested, err = p.probe(r.Context(), s)
	default:
		if err = p.save(r.Context(), s, r.PostFormValue("force") != ""); err == nil {
			return p.next(w, r, "?done=saved")
		}
		_, code := classify(err)
		page.Force = code == badLocation
	}
	return p.answerSettings(w, r, page, &typed, err)
}

// preview returns what retention would delete. It returns an error only if there is
// nothing to show.
func (p *pages) preview(r *http.Request, s Settings) (*prunePreview, error) {
	pruned, err := p.prunePreview(r.Context(), s)
	if err != nil && pruned == nil {
		return nil, err
	}
	preview := &prunePreview{Pruned: pruned}
	if err != nil {
		preview.Problem = err.Error()
	}
	return preview, nil
}

// A prunePage shows what retention would delete now.
type prunePage struct {
	*frame
	Settings Settings
	Preview  *prunePreview
}

func (p *pages) showPrune(w http.ResponseWriter, r *http.Request) error {
	s := p.settings()
	preview, err := p.preview(r, s)
	if err != nil {
		return err
	}
	return p.show(w, http.StatusOK, "prune", prunePage{p.frame(r, "Delete old backups"), s, preview})
}

func (p *pages) doPrune(w http.ResponseWriter, r *http.Request) error {
	j, err := p.prune(r.Context())
	return p.watchJob(w, r, j, err)
}

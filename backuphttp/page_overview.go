package backuphttp

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/tomo-project/backup/manager"
)

// An overviewPage is the first page, "Backup & Restore".
type overviewPage struct {
	*frame
	overview
	Include []string // the optional collections that are ticked
	From    int      // the index of the first backup on the page
}

// backupsAPage is how many backups are shown at a time.
const backupsAPage = 50

// Listed returns the backups that the page shows. FirstListed and LastListed are the
// numbers of the first and the last of them, counted from 1.
func (o overviewPage) Listed() []backupInfo {
	return o.Backups[o.From:min(o.From+backupsAPage, len(o.Backups))]
}
func (o overviewPage) FirstListed() int64 { return int64(o.From) + 1 }
func (o overviewPage) LastListed() int64  { return int64(o.From + len(o.Listed())) }

// Newer and Older are where the pages beside this one begin, and Oldest is where the last
// page begins.
func (o overviewPage) Newer() int  { return max(o.From-backupsAPage, 0) }
func (o overviewPage) Older() int  { return o.From + backupsAPage }
func (o overviewPage) Oldest() int { return max(len(o.Backups)-1, 0) / backupsAPage * backupsAPage }

// Best returns the backup to recover from: the newest full one without a known problem. It
// returns nil if there is none.
func (o overview) Best() *backupInfo {
	i := slices.IndexFunc(o.Backups, func(b backupInfo) bool { return b.Name == o.Good })
	if i < 0 {
		return nil
	}
	return &o.Backups[i]
}

// Passed tells whether a newer backup than Best was made to keep the data, and is not good.
func (o overview) Passed() bool {
	for _, b := range o.Backups {
		if b.Name == o.Good {
			break
		}
		if b.Trigger != manager.TriggerBeforeRestore && !b.Database {
			return true
		}
	}
	return false
}

// Always returns the collections that every backup has. Chosen returns those that a
// backup has only if a person ticks them.
func (o overview) Always() []collectionInfo {
	return slices.DeleteFunc(slices.Clone(o.Collections), func(c collectionInfo) bool { return c.Optional })
}

func (o overview) Chosen() []collectionInfo {
	return slices.DeleteFunc(slices.Clone(o.Collections), func(c collectionInfo) bool { return !c.Optional })
}

// Calendar returns the last 30 days. Troubled returns those that a person should look
// at.
func (o overview) Calendar() []day { return calendar(o.Automated.Days) }

func (o overview) Troubled() []day {
	return slices.DeleteFunc(o.Calendar(), func(d day) bool { return !d.Trouble() })
}

func (a automated) Schedule() string  { return scheduleText(a.Settings) }
func (a automated) Retention() string { return retention(a.Settings) }

// done are the texts that a redirect to the overview can name: it cannot bring others.
var done = map[string]string{
	"deleted":   "The backup was deleted.",
	"accepted":  "The backup is accepted. Old backups are deleted again, as the settings say.",
	"saved":     "The settings are saved and in effect.",
	"discarded": "The restore was cancelled. Nothing was changed.",
}

func (p *pages) showOverview(w http.ResponseWriter, r *http.Request) error {
	f := p.frame(r, "Backup & Restore")
	f.Done = done[r.FormValue("done")]
	return p.answerOverview(w, r, f, http.StatusOK)
}

func (p *pages) answerOverview(w http.ResponseWriter, r *http.Request, f *frame, code int) error {
	o, err := p.overview(r.Context())
	if err != nil {
		return err
	}
	page := overviewPage{frame: f, overview: o, Include: r.PostForm["include"]}
	if from, err := strconv.Atoi(r.FormValue("from")); err == nil {
		page.From = min(max(from, 0), page.Oldest())
	}
	return p.show(w, code, "overview", page)
}

// sorry answers with the overview and an error.
func (p *pages) sorry(w http.ResponseWriter, r *http.Request, err error) error {
	f := p.frame(r, "Backup & Restore")
	return p.answerOverview(w, r, f, p.problem(f, err))
}

// watchJob sends the browser to the page of a job, or shows why no job was started.
func (p *pages) watchJob(w http.ResponseWriter, r *http.Request, j job, err error) error {
	if err != nil {
		return p.sorry(w, r, err)
	}
	return p.next(w, r, "jobs/"+url.PathEscape(j.ID))
}

func (p *pages) doCreate(w http.ResponseWriter, r *http.Request) error {
	j, err := p.create(r.Context(), r.PostForm["include"])
	return p.watchJob(w, r, j, err)
}

func (p *pages) doVerify(w http.ResponseWriter, r *http.Request) error {
	j, err := p.verify(r.Context(), r.PathValue("name"))
	return p.watchJob(w, r, j, err)
}

func (p *pages) doAccept(w http.ResponseWriter, r *http.Request) error {
	if err := p.accept(r.Context(), r.PathValue("name")); err != nil {
		return p.sorry(w, r, err)
	}
	return p.next(w, r, "?done=accepted")
}

func (p *pages) download(w http.ResponseWriter, r *http.Request) error {
	file, err := p.file(r.Context(), r.PathValue("name"))
	return send(w, r, file, err)
}

// A deletePage asks whether to delete a backup.
type deletePage struct {
	*frame
	Backup  backupInfo
	App     string // the word to type if it is the only good backup
	Confirm string // what the person has typed
}

func (p *pages) showDelete(w http.ResponseWriter, r *http.Request) error {
	return p.answerDelete(w, r, nil)
}

func (p *pages) doDelete(w http.ResponseWriter, r *http.Request) error {
	if err := p.delete(r.Context(), r.PathValue("name"), r.PostFormValue("confirm")); err != nil {
		return p.answerDelete(w, r, err)
	}
	return p.next(w, r, "?done=deleted")
}

func (p *pages) answerDelete(w http.ResponseWriter, r *http.Request, wrong error) error {
	o, err := p.overview(r.Context())
	if err != nil {
		return err
	}
	b, err := o.backup(r.PathValue("name"))
	if err != nil {
		return err
	}
	f := p.frame(r, "Delete this backup?")
	code := p.problem(f, wrong)
	return p.show(w, code, "delete", deletePage{f, b, o.App, r.PostFormValue("confirm")})
}

func (o overview) backup(name string) (backupInfo, error) {
	i := slices.IndexFunc(o.Backups, func(b backupInfo) bool { return b.Name == name })
	if i < 0 {
		return backupInfo{}, fmt.Errorf("there is no backup %q: %w", name, fs.ErrNotExist)
	}
	return o.Backups[i], nil
}

// A jobPage shows a job: its progress, or its result.
type jobPage struct {
	*frame
	Job job
}

func (p *pages) showJob(w http.ResponseWriter, r *http.Request) error {
	j, err := p.job(r.PathValue("id"))
	if err != nil {
		return err
	}
	f := p.frame(r, heading(j))
	f.Refresh, f.Focus = j.Ended == nil, j.Ended != nil
	return p.show(w, http.StatusOK, "job", jobPage{frame: f, Job: j})
}

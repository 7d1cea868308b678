package backuphttp

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tomo-project/backup"
)

// A choosePage is "Restore Backup": it asks for a stored backup or a file.
type choosePage struct {
	*frame
	overview
	Most int64 // the largest size of a file to upload
}

// mostChoices is how many backups there are to choose from. The pages of the list have all.
const mostChoices = 500

// Choices returns the newest backups, and the suggested backup if it is older.
func (p choosePage) Choices() []backupInfo {
	if len(p.Backups) <= mostChoices {
		return p.Backups
	}
	newest := slices.Clip(p.Backups[:mostChoices])
	if i := slices.IndexFunc(p.Backups, func(b backupInfo) bool { return b.Name == p.Good }); i >= mostChoices {
		newest = append(newest, p.Backups[i])
	}
	return newest
}

func (p *pages) showChoose(w http.ResponseWriter, r *http.Request) error {
	return p.answerChoose(w, r, nil)
}

func (p *pages) answerChoose(w http.ResponseWriter, r *http.Request, wrong error) error {
	o, err := p.overview(r.Context())
	if err != nil {
		return err
	}
	f := p.frame(r, "Restore Backup")
	code := p.problem(f, wrong)
	return p.show(w, code, "choose", choosePage{f, o, p.mostUpload()})
}

// doUpload reads the form as a stream: the file may be larger than the memory.
func (p *pages) doUpload(w http.ResponseWriter, r *http.Request) error {
	parts, err := r.MultipartReader()
	if err != nil {
		return p.answerChoose(w, r, invalid("no_file", "the browser has sent no file: choose a file"))
	}
	for range mostParts {
		part, err := parts.NextPart()
		if err == io.EOF {
			return p.answerChoose(w, r, invalid("no_file", "the browser has sent no file: choose a file"))
		}
		if err != nil {
			return p.answerChoose(w, r, unreadable(err, "the upload was cut off: try again"))
		}
		if part.FormName() != "file" {
			continue
		}
		if part.FileName() == "" {
			return p.answerChoose(w, r, invalid("no_file", "no file was chosen: choose a file, then upload it"))
		}
		info, err := p.upload(r.Context(), part.FileName(), part)
		return p.lookedInto(w, r, info, err)
	}
	return p.answerChoose(w, r, invalid("no_file", "the browser has sent many parts of a form and no file: choose a file"))
}

func (p *pages) doLook(w http.ResponseWriter, r *http.Request) error {
	info, err := p.look(r.Context(), r.PostFormValue("name"))
	return p.lookedInto(w, r, info, err)
}

func (p *pages) doUndo(w http.ResponseWriter, r *http.Request) error {
	info, err := p.lookUndo(r.Context())
	return p.lookedInto(w, r, info, err)
}

func (p *pages) lookedInto(w http.ResponseWriter, r *http.Request, info restoreInfo, err error) error {
	if err != nil {
		return p.answerChoose(w, r, err)
	}
	if info.Undo && info.Plan != nil { // there is nothing to choose
		return p.next(w, r, restorePath(info.ID)+"/plan")
	}
	return p.next(w, r, restorePath(info.ID))
}

func restorePath(id string) string { return "restore/" + url.PathEscape(id) }

// A restorePage shows what is in a backup, whether it can be restored, and what a person
// can choose of it.
type restorePage struct {
	*frame
	Restore restoreInfo
	Input   planInput             // what the person has chosen
	Mode    string                // "full" or "selective"; empty: nothing is chosen yet
	Clashes []*backup.RecordError // that refused the restore; the person can leave them out
}

// WithoutClashes returns the choice of the person without the records that clash.
func (p restorePage) WithoutClashes() planInput {
	in := p.Input
	in.Clashes = true
	return in
}

// Choice tells whether there is something to choose: everything in an open backup, and
// in a locked backup the collections without secrets.
func (p restorePage) Choice() bool {
	return p.Restore.State == "ok" || p.Restore.State == "locked" && slices.ContainsFunc(p.Restore.Collections, func(c collectionInfo) bool { return !c.Secrets })
}

// Whole tells whether the check of the backup has found that nothing is missing in it.
func (p restorePage) Whole() bool {
	m := p.Restore.Manifest
	return (m == nil || m.Salvaged == nil) && !p.Restore.Partial
}

// More tells whether to show the options that help if a restore is refused.
func (p restorePage) More() bool {
	in := p.Input
	return p.Problem != "" || p.Restore.Problem != "" || in.Dangling || in.Clashes || in.LeaveOut || in.NewerApp || in.Unknown || in.Salvaged
}

func (p *pages) showRestore(w http.ResponseWriter, r *http.Request) error {
	info, err := p.restore(r.PathValue("id"))
	if err != nil {
		return err
	}
	return p.answerRestore(w, r, info, nil)
}

func (p *pages) answerRestore(w http.ResponseWriter, r *http.Request, info restoreInfo, wrong error) error {
	page := restorePage{frame: p.frame(r, "Restore this backup"), Restore: info}
	if info.Undo {
		page.Title = "Undo the last restore"
	}
	if info.Plan != nil {
		page.Input, page.Mode = info.Plan.Input, mode(info.Plan.Input)
	}
	if r.PostForm["mode"] != nil || r.PostForm["only"] != nil {
		page.Input, page.Mode = planOf(r)
	}
	code := p.problem(page.frame, wrong)
	page.showClashes(wrong)
	retryAfter(w, wrong)
	return p.show(w, code, "restore", page)
}

// showClashes puts the clashes that refused a restore on the page.
func (p *restorePage) showClashes(wrong error) {
	if !errors.Is(wrong, backup.ErrClash) || p.Restore.Undo || p.Input.Clashes {
		return
	}
	records := recordsOf(wrong)
	p.Clashes = slices.DeleteFunc(slices.Clone(records), func(r *backup.RecordError) bool { return !errors.Is(r, backup.ErrClash) })
	if n := len(p.Clashes); n == mostRecords {
		p.Problem = "many records of the backup clash with records here over a unique value, so nothing was changed; the first of them are below"
	} else if n > 0 && n == len(records) {
		p.Problem = many(n, "record") + " of the backup would clash over a unique value, so nothing was changed: see below"
	}
}

// again answers with the page of a restore and an error.
func (p *pages) again(w http.ResponseWriter, r *http.Request, wrong error) error {
	info, err := p.restore(r.PathValue("id"))
	if err != nil {
		return err
	}
	return p.answerRestore(w, r, info, wrong)
}

// doUnlock opens a backup with a passphrase, or with the text of a key file.
func (p *pages) doUnlock(w http.ResponseWriter, r *http.Request) error {
	key := []byte(r.PostFormValue("passphrase"))
	if file := strings.TrimSpace(r.PostFormValue("key")); file != "" {
		if len(key) > 0 {
			return p.again(w, r, invalid("no_key", "you gave both a passphrase and a key: leave one of them empty"))
		}
		key = []byte(strings.ReplaceAll(file, "\r\n", "\n") + "\n")
	}
	if len(key) == 0 {
		return p.again(w, r, invalid("no_key", "type the passphrase, or paste the key"))
	}
	if _, err := p.unlock(r.Context(), r.PathValue("id"), key); err != nil {
		return p.again(w, r, err)
	}
	return p.next(w, r, restorePath(r.PathValue("id")))
}

func (p *pages) doSalvage(w http.ResponseWriter, r *http.Request) error {
	j, err := p.salvage(r.Context(), r.PathValue("id"))
	if err != nil {
		return p.again(w, r, err)
	}
	return p.watchJob(w, r, j, nil)
}

func (p *pages) downloadSalvaged(w http.ResponseWriter, r *http.Request) error {
	file, err := p.salvaged(r.PathValue("id"))
	return send(w, r, file, err)
}

func (p *pages) doDiscard(w http.ResponseWriter, r *http.Request) error {
	if err := p.discard(r.PathValue("id")); err != nil {
		return err
	}
	return p.next(w, r, "?done=discarded")
}

// planOf reads the form that says what to restore.
func planOf(r *http.Request) (planInput, string) {
	ticked := func(name string) bool { return r.PostFormValue(name) != "" }
	in := planInput{
		Full:     r.PostFormValue("mode") == "full",
		Only:     r.PostForm["only"],
		Strategy: r.PostFormValue("strategy"),
		Dangling: ticked("allow_dangling"),
		Clashes:  ticked("skip_clashes"),
		LeaveOut: ticked("leave_out_invalid"),
		NewerApp: ticked("allow_newer_app"),
		Unknown:  ticked("allow_unknown"),
		Salvaged: ticked("allow_salvaged"),
		TakeOwn:  ticked("take_own"),
	}
	return in, r.PostFormValue("mode")
}

func mode(in planInput) string {
	if in.Full {
		return "full"
	}
	return "selective"
}

func (p *pages) doPlan(w http.ResponseWriter, r *http.Request) error {
	in, mode := planOf(r)
	switch {
	case mode != "full" && mode != "selective":
		return p.again(w, r, invalid("invalid", "choose Full Restore or Selective Restore"))
	case mode == "selective" && len(in.Only) == 0:
		return p.again(w, r, invalid("invalid", "tick at least one item to restore"))
	}
	if _, err := p.plan(r.Context(), r.PathValue("id"), in); err != nil {
		return p.again(w, r, err)
	}
	return p.next(w, r, restorePath(r.PathValue("id"))+"/plan")
}

// A planPage shows what a restore would do before it does it.
type planPage struct {
	*frame
	Restore    restoreInfo
	Changes    []backup.Change
	From, Next int    // the index of the first change on the page, and on the next one; Next 0: this is the last
	Confirm    string // what the person has typed
	Ready      bool   // the page is complete, so the person can agree
}

// changesAPage is how many changes are shown at a time.
const changesAPage = 100

// First and Last are the numbers of the first and the last change on the page, counted
// from 1.
func (p planPage) First() int64  { return int64(p.From) + 1 }
func (p planPage) Last() int64   { return int64(p.From + len(p.Changes)) }
func (p planPage) Previous() int { return max(p.From-changesAPage, 0) }
func (p planPage) Mode() string  { return mode(p.Restore.Plan.Input) }

func (p *pages) showPlan(w http.ResponseWriter, r *http.Request) error {
	return p.answerPlan(w, r, nil)
}

func (p *pages) answerPlan(w http.ResponseWriter, r *http.Request, wrong error) error {
	id := r.PathValue("id")
	info, err := p.restore(id)
	if err != nil {
		return err
	}
	if info.Plan == nil {
		return p.next(w, r, restorePath(id))
	}
	page := planPage{frame: p.frame(r, "What the restore will do"), Restore: info, Confirm: r.PostFormValue("confirm")}
	if info.Undo {
		page.Title = "What undoing will do"
	}
	if plan := r.FormValue("plan"); plan != "" && plan != info.Plan.ID {
		wrong, page.Confirm = cmp.Or(wrong, errOtherPlan), ""
	} else if from, err := strconv.Atoi(r.FormValue("from")); err == nil {
		page.From = max(from, 0)
	}
	var more bool
	page.Changes, more, err = p.changes(r.Context(), id, info.Plan.ID, page.From, changesAPage)
	if page.Ready = err == nil; more {
		page.Next = page.From + len(page.Changes)
	}
	return p.show(w, p.problem(page.frame, cmp.Or(wrong, err)), "plan", page)
}

func (p *pages) doApply(w http.ResponseWriter, r *http.Request) error {
	j, err := p.apply(r.Context(), r.PathValue("id"), r.PostFormValue("plan"), r.PostFormValue("confirm"))
	if err != nil {
		return p.answerPlan(w, r, err)
	}
	return p.watchJob(w, r, j, nil)
}

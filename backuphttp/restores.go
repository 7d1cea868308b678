package backuphttp

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/tomo-project/backup"
)

// Backups that somebody looks into, to restore them: from a location or uploaded. A
// few at a time, each used by one at a time, and forgotten after an hour without use
// or when Run ends.

const (
	mostRestores = 8
	forgetAfter  = time.Hour
)

// A restore is a backup that somebody looks into. What is in it is changed by whom has
// its turn, and info only with the lock of the Handler too.
type restore struct {
	info restoreInfo
	turn chan struct{} // has an element while it is free

	// Guarded by the Handler.
	users int       // who have its turn, or wait for it
	used  time.Time // last
	job   bool      // a job has its turn
	gone  bool

	applied string // the plan that was applied last, or is
	by      string // the job that does it

	file       *spool            // nil: it is at a location
	identities []backup.Identity // that a person has given; nil: those of the Manager
	snapshot   *backup.Snapshot  // nil: it cannot be opened
	problem    error             // why
	plan       *backup.ManagedPlan
	planned    *backup.Manager // by which the plan was made
	end        func()          // of what the snapshot is read by, or the plan of an undo
}

// drop closes what was made of the snapshot, and it.
func (r *restore) drop() {
	r.dropPlan()
	if r.snapshot != nil {
		r.snapshot.Close()
		r.end()
		r.snapshot = nil
	}
}

func (r *restore) dropPlan() {
	if r.plan != nil && r.info.Undo { // others have a snapshot that is used again
		r.plan.Close()
		r.end()
	}
	r.plan, r.planned = nil, nil
}

// outlive opens something that is read after the request has ended. That ends only
// the opening; end is for when it was closed.
func outlive[T io.Closer](h *Handler, ctx context.Context, open func(ctx context.Context) (T, error)) (opened T, end func(), err error) {
	h.mu.Lock()
	life := h.running.ctx
	h.mu.Unlock()
	life, cancel := context.WithCancel(life)
	stop := context.AfterFunc(ctx, cancel)
	opened, err = open(life)
	if !stop() && err == nil { // the request has ended just now
		opened.Close()
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		var none T
		opened = none
	}
	return opened, cancel, err
}

// close gives up all of it. Nobody uses it any more.
func (r *restore) close() {
	r.drop()
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// keep takes a restore among those that people look into. Somebody has its turn, until
// they call release.
func (h *Handler) keep(r *restore) (release func(), err error) {
	r.info.ID, r.turn = rand.Text(), make(chan struct{}, 1)
	h.mu.Lock()
	for len(h.restores) >= mostRestores {
		old := h.oldest(func(*restore) bool { return true })
		if old == nil {
			h.mu.Unlock()
			return nil, fmt.Errorf("%w: %d backups are being looked into, which are all that can be at a time; try again when somebody has finished", backup.ErrBusy, mostRestores)
		}
		delete(h.restores, old.info.ID)
		h.mu.Unlock()
		old.close()
		h.mu.Lock()
	}
	r.users, r.used = 1, time.Now()
	h.restores[r.info.ID] = r
	h.mu.Unlock()
	return sync.OnceFunc(func() { h.release(r) }), nil
}

// oldest returns the restore that was not used for longest, of those that are not used
// now; nil if there is none.
func (h *Handler) oldest(of func(*restore) bool) *restore {
	var old *restore
	for _, r := range h.restores {
		if r.users == 0 && of(r) && (old == nil || r.used.Before(old.used)) {
			old = r
		}
	}
	return old
}

// expire forgets what was not used for long.
func (h *Handler) expire() {
	h.forget(func(r *restore) bool { return r.users == 0 && time.Since(r.used) >= forgetAfter })
}

// forgetAll forgets all of them. Nobody uses one any more.
func (h *Handler) forgetAll() { h.forget(func(*restore) bool { return true }) }

func (h *Handler) forget(which func(*restore) bool) {
	var old []*restore
	h.mu.Lock()
	for id, r := range h.restores {
		if which(r) {
			delete(h.restores, id)
			old = append(old, r)
		}
	}
	h.mu.Unlock()
	for _, r := range old {
		r.close()
	}
}

var errForgotten = notFound("this backup is not being looked into any more: it is forgotten after an hour, and when the server restarts or others need the room; choose or upload it again")

// take returns a restore when it is the caller's turn, with a context that ends with
// Run too.
func (h *Handler) take(ctx context.Context, id string) (_ *restore, _ context.Context, release func(), err error) {
	ctx, leave, err := h.join(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	h.mu.Lock()
	r := h.restores[id]
	switch {
	case r == nil:
		err = errForgotten
	case r.job:
		err = fmt.Errorf("%w: a job is at this backup; wait until it has ended", backup.ErrBusy)
	default:
		r.users++
	}
	h.mu.Unlock()
	if err != nil {
		leave()
		return nil, nil, nil, err
	}
	select {
	case <-r.turn:
	case <-ctx.Done():
		err = ctx.Err()
		h.unuse(r)
		leave()
		return nil, nil, nil, err
	}
	release = sync.OnceFunc(func() { h.release(r); leave() })
	h.mu.Lock()
	gone := r.gone
	h.mu.Unlock()
	if gone {
		release()
		return nil, nil, nil, errForgotten
	}
	return r, ctx, release, nil
}

// release gives the turn to the next.
func (h *Handler) release(r *restore) {
	h.mu.Lock()
	r.used, r.job = time.Now(), false
	h.mu.Unlock()
	h.unuse(r)
	r.turn <- struct{}{}
}

// unuse closes what was removed when nobody waits for it any more.
func (h *Handler) unuse(r *restore) {
	h.mu.Lock()
	r.users--
	last := r.users == 0 && r.gone
	h.mu.Unlock()
	if last {
		r.close()
	}
}

// remove forgets a restore whose turn is the caller's.
func (h *Handler) remove(r *restore) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.restores, r.info.ID)
	r.gone = true
}

// setInfo changes what is told of a restore.
func (h *Handler) setInfo(r *restore, info restoreInfo) restoreInfo {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.info = info
	return info
}

// restore tells what is known of a restore. It waits for nobody.
func (h *Handler) restore(id string) (restoreInfo, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.restores[id]
	if r == nil {
		return restoreInfo{}, errForgotten
	}
	r.used = time.Now()
	return r.info, nil
}

// discard forgets a restore.
func (h *Handler) discard(id string) error {
	r, _, release, err := h.take(context.Background(), id)
	if err != nil {
		return err
	}
	h.remove(r)
	release()
	return nil
}

// begin looks into a backup that nobody looks into yet.
func (h *Handler) begin(ctx context.Context, r *restore, look func(ctx context.Context) (restoreInfo, error)) (restoreInfo, error) {
	ctx, leave, err := h.join(ctx)
	if err != nil {
		r.close()
		return restoreInfo{}, err
	}
	defer leave()
	release, err := h.keep(r)
	if err != nil {
		r.close()
		return restoreInfo{}, err
	}
	defer release()
	info, err := look(ctx)
	if err != nil {
		h.remove(r)
	}
	return info, err
}

// look looks into a stored backup.
func (h *Handler) look(ctx context.Context, name string) (restoreInfo, error) {
	if _, err := h.find(ctx, name); err != nil {
		return restoreInfo{}, err
	}
	r := &restore{info: restoreInfo{Name: name}}
	return h.begin(ctx, r, func(ctx context.Context) (restoreInfo, error) { return h.examine(ctx, r) })
}

// upload looks into a backup that somebody sends.
func (h *Handler) upload(ctx context.Context, name string, from io.Reader) (restoreInfo, error) {
	file, err := h.newSpool()
	if err != nil {
		return restoreInfo{}, err
	}
	r := &restore{file: file, info: restoreInfo{Name: fileName(name), Uploaded: true}}
	return h.begin(ctx, r, func(ctx context.Context) (restoreInfo, error) {
		most := h.opts.MaxUpload
		n, err := io.Copy(file, io.LimitReader(contextReader{ctx, from}, most+1))
		switch {
		case h.ending():
			err = errStopped
		case err == nil && n > most:
			err = &http.MaxBytesError{Limit: most}
		case err == nil && n == 0:
			err = fmt.Errorf("%w: the file is empty", backup.ErrInvalid)
		}
		if err != nil {
			return restoreInfo{}, fmt.Errorf("upload: %w", err)
		}
		return h.examine(ctx, r)
	})
}

// A contextReader ends when a context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// fileName makes a name for people, and for a download, of what a browser calls a
// file.
func fileName(name string) string {
	name = path.Base(strings.ReplaceAll(strings.ToValidUTF8(name, ""), `\`, "/"))
	name = strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || strings.ContainsRune(`"<>|:*?;`, r) {
			return -1
		}
		return r
	}, name))
	for len(name) > 200 {
		name = strings.ToValidUTF8(name[:200], "")
	}
	if strings.Trim(name, "./") == "" {
		return "backup.json"
	}
	return name
}

// lookUndo plans the way back of the last restore.
func (h *Handler) lookUndo(ctx context.Context) (restoreInfo, error) {
	r := &restore{info: restoreInfo{Undo: true, State: "ok"}}
	info, err := h.begin(ctx, r, func(ctx context.Context) (restoreInfo, error) { return h.replan(ctx, r, planInput{Full: true}) })
	if errors.Is(err, fs.ErrNotExist) {
		err = notFound("there is nothing to undo: no restore has changed anything here, or the backup from before it is gone")
	}
	if !needsKey(err) {
		return info, err
	}
	// The way back takes a key, as any other backup: it is restored by its name.
	backups, _ := h.now().List(ctx)
	if name := undoes(backups); name != "" {
		return h.look(ctx, name)
	}
	return info, err
}

// unlock opens a backup with what somebody has typed in.
func (h *Handler) unlock(ctx context.Context, id string, key []byte) (restoreInfo, error) {
	r, ctx, release, err := h.take(ctx, id)
	if err != nil {
		return restoreInfo{}, err
	}
	defer release()
	if r.info.Undo {
		return r.info, nil // it is open
	}
	ids, err := h.opts.Identities(key)
	if err == nil && len(ids) == 0 {
		err = fmt.Errorf("%w: there is no key in what was typed in", backup.ErrNoKey)
	}
	if err != nil {
		return r.info, invalid("no_key", "%s", unless(key, err.Error()))
	}
	m := h.now()
	var s *backup.Snapshot
	var end func()
	err = h.tries.one(func() error {
		s, end, err = h.open(ctx, r, m, ids)
		return err
	})
	_, refused := errors.AsType[*refusal](err)
	if err != nil && (refused || ctx.Err() != nil || needsKey(err)) {
		return r.info, err
	}
	r.identities = ids
	return h.describe(ctx, r, m, s, end, err)
}

// unless returns a text unless a key is in it.
func unless(key []byte, text string) string {
	if key = bytes.TrimSpace(key); len(key) > 0 && strings.Contains(text, string(key)) {
		return "there is no key in what was typed in"
	}
	return text
}

// plan says what restoring what somebody has chosen would do.
func (h *Handler) plan(ctx context.Context, id string, in planInput) (restoreInfo, error) {
	r, ctx, release, err := h.take(ctx, id)
	if err != nil {
		return restoreInfo{}, err
	}
	defer release()
	return h.replan(ctx, r, in)
}

func (h *Handler) replan(ctx context.Context, r *restore, in planInput) (restoreInfo, error) {
	m := h.now()
	var plan *backup.ManagedPlan
	end := r.end
	switch opts, err := in.options(m.App); {
	case r.info.Undo:
		in = planInput{Full: true}
		if plan, end, err = outlive(h, ctx, m.PlanUndo); err != nil {
			return restoreInfo{}, err
		}
	case err != nil:
		return restoreInfo{}, err
	case r.snapshot == nil:
		return restoreInfo{}, r.problem
	default:
		if plan, err = m.Plan(ctx, r.snapshot, opts); err != nil {
			return restoreInfo{}, err
		}
	}
	r.dropPlan()
	r.plan, r.planned, r.end = plan, m, end
	if in.Only == nil {
		in.Only = []string{}
	}
	report := plan.Report()
	p := planInfo{ID: rand.Text(), Input: in, Report: report}
	if in.Full {
		p.Confirm = m.App.Name
	}
	for _, c := range report.Collections {
		p.Changes += c.Added + c.Updated + c.Deleted
		if c.Deleted > 0 {
			p.Confirm = m.App.Name
		}
	}
	info := r.info
	info.Plan = &p
	if info.Undo {
		h.describeUndo(ctx, m, &info, report)
	}
	return h.setInfo(r, info), nil
}

// describeUndo says what the way back restores.
func (h *Handler) describeUndo(ctx context.Context, m *backup.Manager, info *restoreInfo, report backup.Report) {
	info.Name, info.Collections = report.Backup, nil
	for _, c := range report.Collections {
		info.Collections = append(info.Collections, collectionOf(m.App, c.Name))
	}
	if b, err := h.find(ctx, report.Backup); err == nil {
		info.Manifest = b.Manifest
	}
}

// options are what the library makes of a choice.
func (in planInput) options(app *backup.App) (backup.RestoreOptions, error) {
	opts := backup.RestoreOptions{
		AllowDangling:   in.Dangling,
		LeaveOutInvalid: in.LeaveOut,
		AllowNewerApp:   in.NewerApp,
		AllowUnknown:    in.Unknown,
		AllowSalvaged:   in.Salvaged,
	}
	if in.Full {
		opts.Strategy = backup.Replace
		return opts, nil
	}
	strategy, err := backup.ParseStrategy(cmp.Or(in.Strategy, backup.SkipDuplicates.String()))
	if err != nil {
		return opts, fmt.Errorf("%w: there is no strategy %q: choose merge, replace or skip-duplicates", backup.ErrInvalid, brief(in.Strategy))
	}
	if len(in.Only) == 0 {
		return opts, fmt.Errorf("%w: nothing is chosen: choose what to restore", backup.ErrInvalid)
	}
	opts.Only, opts.Strategy = in.Only, strategy
	return opts, nil
}

// changesBytes is how large the values of one page of changes may be, unless it has
// one only.
const changesBytes = 4 << 20

// changes returns some of the changes of a plan, and whether there are more.
func (h *Handler) changes(ctx context.Context, id, plan string, from, most int) (changes []backup.Change, more bool, err error) {
	r, ctx, release, err := h.take(ctx, id)
	if err != nil {
		return nil, false, err
	}
	defer release()
	if err := r.shows(plan); err != nil {
		return nil, false, err
	}
	changes = []backup.Change{}
	n, size := 0, 0
	for c, err := range r.plan.Changes(ctx) {
		if errors.Is(err, backup.ErrStale) {
			err = h.stale(r)
		}
		if err != nil {
			return nil, false, err
		}
		if n++; n <= from {
			continue
		}
		for _, f := range c.Fields {
			size += len(f.Before) + len(f.After)
		}
		if len(changes) == most || len(changes) > 0 && size > changesBytes {
			return changes, true, nil
		}
		changes = append(changes, c)
	}
	return changes, false, nil
}

// What is wrong with a plan that somebody has looked at.
var (
	errNoPlan    = fmt.Errorf("%w: there is no plan; make one, and look at it", backup.ErrStale)
	errOtherPlan = fmt.Errorf("%w: the plan is another one now: look at it again", backup.ErrStale)
	errStalePlan = fmt.Errorf("%w: the data or the settings have changed since the plan was made, so nothing was done: plan again, and look at it", backup.ErrStale)
)

// shows returns an error unless the plan is still the one that somebody has looked at.
func (r *restore) shows(plan string) error {
	switch {
	case r.plan == nil:
		return errNoPlan
	case plan != r.info.Plan.ID:
		return errOtherPlan
	case r.info.Plan.Stale:
		return errStalePlan
	}
	return nil
}

// stale remembers that a plan does not fit any more, and says so. It is not made
// anew, so that nobody agrees to another one than they have looked at.
func (h *Handler) stale(r *restore) error {
	info, p := r.info, *r.info.Plan
	p.Stale = true
	info.Plan = &p
	h.setInfo(r, info)
	return errStalePlan
}

// applying returns the job that applies a plan, or has: who asks for the same twice
// has it done once.
func (h *Handler) applying(id, plan string) (j job, ok bool) {
	h.mu.Lock()
	by := ""
	if r := h.restores[id]; r != nil && r.applied == plan {
		by = r.by
	}
	h.mu.Unlock()
	if by == "" {
		return job{}, false
	}
	j, err := h.job(by)
	return j, err == nil
}

// apply does what the plan says that somebody has looked at.
func (h *Handler) apply(ctx context.Context, id, plan, confirm string) (job, error) {
	if j, ok := h.applying(id, plan); ok {
		return j, nil
	}
	r, _, release, err := h.take(ctx, id)
	if err != nil {
		return job{}, err
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	if j, ok := h.applying(id, plan); ok { // while this has waited
		release()
		return j, nil
	}
	err = r.shows(plan)
	switch {
	case err != nil:
	case r.planned != h.now():
		err = h.stale(r)
	case r.info.Plan.Confirm != "" && confirm != r.info.Plan.Confirm:
		err = invalid("confirm", "this replaces or deletes data: to do it, type %s", r.info.Plan.Confirm)
	}
	if err != nil {
		return job{}, err
	}
	kind := "restore"
	if r.info.Undo {
		kind = "undo"
	}
	h.mu.Lock()
	r.job = true
	h.mu.Unlock()
	j, err := h.start(ctx, kind, r.info.Name, func(ctx context.Context, t *task) error {
		defer release()
		h.appliedBy(r, plan, t.ID)
		report, err := r.planned.Apply(ctx, r.plan)
		if errors.Is(err, backup.ErrBusy) || errors.Is(err, backup.ErrStale) {
			h.appliedBy(r, "", "")
		}
		if errors.Is(err, backup.ErrBusy) {
			return err // the plan is as good as before
		}
		if errors.Is(err, backup.ErrStale) {
			return h.stale(r)
		}
		r.dropPlan()
		info := r.info
		info.Plan = nil
		h.setInfo(r, info)
		if err != nil {
			return err
		}
		h.update(t, func(j *job) { j.Report = &report })
		h.reload(ctx)
		return nil
	})
	return j, err
}

// appliedBy remembers which job applies a plan.
func (h *Handler) appliedBy(r *restore, plan, by string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.applied, r.by = plan, by
}

// salvage saves what is intact in a damaged backup, as one that is looked into.
func (h *Handler) salvage(ctx context.Context, id string) (job, error) {
	r, _, release, err := h.take(ctx, id)
	if err != nil {
		return job{}, err
	}
	if !r.info.Salvage {
		release()
		return job{}, fmt.Errorf("%w: there is nothing to salvage: the backup is not damaged, or it is none", backup.ErrInvalid)
	}
	h.mu.Lock()
	r.job = true
	h.mu.Unlock()
	j, err := h.start(ctx, "salvage", r.info.Name, func(ctx context.Context, t *task) error {
		defer release()
		m := h.now()
		file, err := h.newSpool()
		if err != nil {
			return err
		}
		name, _, _ := strings.Cut(r.info.Name, ".")
		name += "-salvaged.json"
		if m.Encrypt != nil {
			name += ".age"
		}
		saved := &restore{file: file, identities: r.identities, info: restoreInfo{Name: name, Uploaded: true}}
		_, err = h.begin(ctx, saved, func(ctx context.Context) (restoreInfo, error) {
			report, err := h.salvageTo(ctx, saved, m, r, t)
			if err != nil {
				return restoreInfo{}, err
			}
			h.update(t, func(j *job) { j.Salvage = &report })
			return h.examine(ctx, saved)
		})
		if err != nil {
			return err
		}
		h.update(t, func(j *job) { j.Restore = saved.info.ID })
		return nil
	})
	if err != nil {
		release()
	}
	return j, err
}

// salvaged opens the file of what was saved from a damaged backup, or uploaded.
func (h *Handler) salvaged(_ context.Context, id string) (io.ReadCloser, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.restores[id]
	switch {
	case r == nil:
		return nil, errForgotten
	case r.file == nil:
		return nil, notFound("%s was not uploaded: download it from the list of backups", r.info.Name)
	}
	r.used = time.Now()
	return r.file.open(), nil
}

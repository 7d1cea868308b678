package backuphttp

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
)

// The backups that people look into to restore them: stored or uploaded ones. The Handler
// keeps a few at a time. It forgets a backup when nobody has used it for an hour, and
// all of them when Run ends.

const (
	mostRestores = 8
	forgetAfter  = time.Hour
)

// A restore is a backup that a person looks into. One request or job at a time has its
// turn. Only the holder of the turn reads or changes the fields that no lock guards.
type restore struct {
	info restoreInfo   // changed by the holder of the turn, with the lock of the Handler
	turn chan struct{} // has an element while nobody holds the turn

	// Guarded by the lock of the Handler.
	users   int       // how many hold the turn, or wait for it
	used    time.Time // the last time
	job     bool      // a job holds the turn
	gone    bool      // it is forgotten
	applied string    // the ID of the plan that was, or is being, applied last
	by      string    // the ID of the job that applies it

	file       *spool            // nil: it is a stored backup
	identities []backup.Identity // given by a person; nil: use those of the Manager
	snapshot   *backup.Snapshot  // nil: it cannot be opened
	problem    error             // why it cannot be opened or restored
	plan       *manager.Plan
	planned    *manager.Manager // the Manager that made the plan
	end        func()           // ends the context of the snapshot, or of the plan of an undo
}

// drop closes the plan and the snapshot.
func (r *restore) drop() {
	r.dropPlan()
	if r.snapshot != nil {
		r.snapshot.Close()
		r.end()
		r.snapshot = nil
	}
}

func (r *restore) dropPlan() {
	switch {
	case r.plan == nil:
	case r.info.Undo:
		r.plan.Close()
		r.end()
	default: // other plans share the snapshot, which stays open
		r.plan.DropChanges()
	}
	r.plan, r.planned = nil, nil
}

// close closes everything. Nobody may use the restore after that.
func (r *restore) close() {
	r.drop()
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// keep adds a restore to those that people look into. The caller has its turn, until it
// calls release.
func (h *Handler) keep(r *restore) (release func(), err error) {
	r.info.ID, r.turn = rand.Text(), make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.restores) >= mostRestores {
		if !h.forgetOldest(func(*restore) bool { return true }) {
			return nil, fmt.Errorf("%w: people are looking into %d backups, and more are not possible at a time; try again when somebody has finished", location.ErrBusy, mostRestores)
		}
	}
	r.users, r.used = 1, time.Now()
	h.restores[r.info.ID] = r
	return sync.OnceFunc(func() { h.release(r) }), nil
}

// forgetOldest forgets one restore to make room: of those that match and that nobody
// uses now, the one that was unused for the longest time. It returns false if there is
// none. The caller holds the lock of the Handler; forgetOldest releases it for a moment.
func (h *Handler) forgetOldest(of func(*restore) bool) bool {
	var old *restore
	for _, r := range h.restores {
		if r.users == 0 && of(r) && (old == nil || r.used.Before(old.used)) {
			old = r
		}
	}
	if old == nil {
		return false
	}
	delete(h.restores, old.info.ID)
	h.mu.Unlock()
	defer h.mu.Lock()
	old.close()
	return true
}

// expire forgets the restores that nobody has used for an hour.
func (h *Handler) expire() {
	h.forget(func(r *restore) bool { return r.users == 0 && time.Since(r.used) >= forgetAfter })
}

// forgetAll forgets all restores. Nobody may use one any more.
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

var errForgotten = notFound("the server has forgotten which backup you were looking into: it does so after an hour, when it restarts, and when others need the room; choose or upload the backup again")

// take waits for the turn at a restore. The context that it returns ends with ctx and
// with Run.
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
		err = fmt.Errorf("%w: a job is working on this backup; wait until it has ended", location.ErrBusy)
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

// release passes the turn on.
func (h *Handler) release(r *restore) {
	h.mu.Lock()
	r.used, r.job = time.Now(), false
	h.mu.Unlock()
	h.unuse(r)
	r.turn <- struct{}{}
}

// unuse counts one user less. It closes a restore that is forgotten when it has no more
// users.
func (h *Handler) unuse(r *restore) {
	h.mu.Lock()
	r.users--
	last := r.users == 0 && r.gone
	h.mu.Unlock()
	if last {
		r.close()
	}
}

// remove forgets a restore. The caller has its turn.
func (h *Handler) remove(r *restore) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.restores, r.info.ID)
	r.gone = true
}

// setInfo changes what people see of a restore.
func (h *Handler) setInfo(r *restore, info restoreInfo) restoreInfo {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.info = info
	return info
}

// restore returns what people see of a restore. It does not wait for the turn.
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

// startOn starts a job that keeps the caller's turn at a restore until it ends.
func (h *Handler) startOn(ctx context.Context, r *restore, release func(), kind string, do func(ctx context.Context, t *task) error) (job, error) {
	h.mu.Lock()
	r.job = true
	h.mu.Unlock()
	j, err := h.start(ctx, kind, r.info.Name, func(ctx context.Context, t *task) error {
		defer release()
		return do(ctx, t)
	})
	if err != nil {
		release()
	}
	return j, err
}

// discard forgets a restore that a person has cancelled.
func (h *Handler) discard(id string) error {
	r, _, release, err := h.take(context.Background(), id)
	if err != nil {
		return err
	}
	h.remove(r)
	release()
	return nil
}

package backuphttp

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"

	"github.com/tomo-project/backup"
)

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
	plan       *manager.Plan
	planned    *manager.Manager // by which the plan was made
	end        func()           // of what the snapshot is read by, or the plan of an undo
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
	defer h.mu.Unlock()
	for len(h.restores) >= mostRestores {
		if !h.forgetOldest(func(*restore) bool { return true }) {
			return nil, fmt.Errorf("%w: %d backups are being looked into, which are all that can be at a time; try again when somebody has finished", location.ErrBusy, mostRestores)
		}
	}
	r.users, r.used = 1, time.Now()
	h.restores[r.info.ID] = r
	return sync.OnceFunc(func() { h.release(r) }), nil
}

// forgetOldest makes room: of the restores that match and that nobody uses now, it
// forgets the one that was not used for the longest time. It returns false if there
// is none. The caller holds the lock of the Handler, which is let go meanwhile.
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
		err = fmt.Errorf("%w: a job is at this backup; wait until it has ended", location.ErrBusy)
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

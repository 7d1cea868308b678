package manager

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/location"
)

// lock holds a site for an app: with the lock of its Location, or with leases if that
// has none. cancel is called when the hold is lost. check returns an error if it is.
func (s *site) lock(ctx context.Context, cancel context.CancelCauseFunc, app, holder string) (unlock func() error, check checkFunc, err error) {
	if locker, ok := s.Location.(location.Locker); ok {
		unlock, err := within(ctx, func(ctx context.Context, _ func()) (func() error, error) {
			return locker.Lock(ctx, app, holder)
		}, func(unlock func() error) { unlock() })
		if !errors.Is(err, errors.ErrUnsupported) {
			// The lock ends with the process, and not while it sleeps.
			return unlock, func(context.Context) error { return nil }, err
		}
	}
	held, err := leaseTaker{s, app, holder}.take(ctx, cancel)
	if err != nil {
		return nil, nil, err
	}
	return held.release, held.check, nil
}

// A lease is a file that holds a location which is no Locker. Each process that wants
// the location puts a lease of its own there, and then looks for leases of others. So
// of two processes at the same moment at most one gets the location. A lease says until
// when it counts. A Location overwrites nothing, so a lease is prolonged by a new lease
// in its place. A lease that a killed process has left is deleted when it has expired.
// A process that finds its own lease deleted stops: it was asleep, or its clock is
// wrong. It looks before it stores, deletes or commits anything.
type lease struct {
	Holder string    `json:"holder"`
	Until  time.Time `json:"until"`
}

const leaseTime = 10 * time.Minute

var leaseName = regexp.MustCompile(`^([a-z0-9-]+)-[a-z2-7]{26}\.lease$`) // the letters of rand.Text

// A leaseTaker holds a site by leases.
type leaseTaker struct {
	*site
	app, holder string
}

// take holds the site until the lease is released. It calls cancel if the hold is lost.
func (t leaseTaker) take(ctx context.Context, cancel context.CancelCauseFunc) (*heldLease, error) {
	mine, until, err := t.put(ctx)
	if full(err) {
		mine, until, err = t.putWhereFull(ctx)
	}
	if err != nil {
		return nil, err
	}
	if err := t.other(ctx, mine); err != nil {
		t.remove(ctx, mine)
		return nil, err
	}
	h := &heldLease{leaseTaker: t, cancel: cancel, mine: mine, until: until, seen: time.Now(), left: []string{mine}}
	h.using, h.stopped = make(chan struct{}, 1), make(chan struct{})
	h.ctx, h.stop = context.WithCancel(ctx)
	go h.keepUp()
	return h, nil
}

// A heldLease is the lease of a process that works.
type heldLease struct {
	leaseTaker
	cancel context.CancelCauseFunc

	ctx     context.Context // of the renewals
	stop    func()
	stopped chan struct{}

	using chan struct{} // has an element while somebody uses what follows
	mine  string
	until time.Time
	seen  time.Time // when the lease was last known to be there
	left  []string  // the leases to be deleted in the end
	lost  error
}

const (
	leaseMargin = leaseTime * 2 / 5 // with less time left, nothing is done before a renewal
	leaseSeen   = 10 * time.Second  // how long a look at the lease is good for
)

// remaining returns how long the lease counts, by the clock that goes on while the machine
// sleeps and by the clock that nobody sets.
func (h *heldLease) remaining() time.Duration {
	now := time.Now()
	return min(h.until.Sub(now), h.until.Round(0).Sub(now.Round(0)))
}

// keepUp renews the lease until it is released or lost.
func (h *heldLease) keepUp() {
	defer close(h.stopped)
	renew := time.NewTicker(leaseTime / 5)
	defer renew.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-renew.C:
		}
		h.using <- struct{}{}
		err := h.renew(h.ctx)
		if err != nil && h.lost == nil && h.ctx.Err() == nil && h.remaining() < leaseMargin {
			h.lose(fmt.Errorf("%s: the hold on it could not be renewed: %w", h.name, err))
		}
		lost := h.lost
		<-h.using
		if lost != nil {
			return
		}
	}
}

// renew puts a new lease in the place of the old lease, if that is still there.
func (h *heldLease) renew(ctx context.Context) error {
	next, until, err := h.put(ctx)
	if err != nil {
		return err
	}
	h.left = append(h.left, next)
	mine := h.mine // for a call that is left behind
	_, err = within(ctx, func(ctx context.Context, _ func()) (struct{}, error) { return struct{}{}, h.Delete(ctx, mine) }, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return h.gone()
	}
	if err == nil {
		h.left = slices.DeleteFunc(h.left, func(name string) bool { return name == h.mine })
	}
	h.mine, h.until, h.seen = next, until, time.Now()
	return nil
}

// check returns an error if the hold is lost. A process that has slept past its lease finds
// it deleted by whoever came next, or else renews it.
func (h *heldLease) check(ctx context.Context) error {
	select {
	case h.using <- struct{}{}:
		defer func() { <-h.using }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	slept := h.remaining() < leaseMargin
	since := max(time.Since(h.seen), time.Now().Round(0).Sub(h.seen.Round(0)))
	switch {
	case h.lost != nil:
		return h.lost
	case !slept && since < leaseSeen:
		return nil
	}
	mine := h.mine // for a call that is left behind
	_, err := within(ctx, func(ctx context.Context, _ func()) (lease, error) { return h.read(ctx, mine) }, nil)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return h.gone()
	case err == nil && !slept:
		h.seen = time.Now()
		return nil
	case err == nil:
		if err = h.renew(ctx); err == nil {
			err = h.other(ctx, h.mine)
		}
	case !slept: // it counts, so nobody who keeps to the rules has taken the hold
		return nil
	}
	if err != nil && h.lost == nil {
		h.lose(fmt.Errorf("%s: the hold on it has run out, and could not be renewed: %w", h.name, err))
	}
	return h.lost
}

// gone tells that somebody has deleted the lease.
func (h *heldLease) gone() error {
	return h.lose(fmt.Errorf("%s: somebody else has taken the hold on it; make sure that the clocks agree, and try again", h.name))
}

func (h *heldLease) lose(err error) error {
	h.lost = err
	h.cancel(err)
	return err
}

// release ends the hold.
func (h *heldLease) release() error {
	h.stop()
	<-h.stopped
	var errs []error
	for _, name := range h.left {
		errs = append(errs, h.remove(h.ctx, name))
	}
	return errors.Join(errs...)
}

// put stores a new lease.
func (t leaseTaker) put(ctx context.Context) (name string, until time.Time, err error) {
	name = t.app + "-" + strings.ToLower(rand.Text()) + ".lease"
	until = time.Now().Add(leaseTime)
	text, err := json.Marshal(lease{t.holder, until.UTC()})
	if err != nil {
		return "", until, err
	}
	_, err = within(ctx, func(ctx context.Context, _ func()) (struct{}, error) {
		return struct{}{}, t.Put(ctx, name, bytes.NewReader(text))
	}, nil)
	if err != nil {
		t.remove(ctx, name) // it may be there all the same
	}
	return name, until, err
}

// putWhereFull stores a new lease where there is no room for it: in the place of leases
// that have expired, or of the README. Whoever has the lease can make more room.
func (t leaseTaker) putWhereFull(ctx context.Context) (name string, until time.Time, err error) {
	if err := t.other(ctx, ""); err != nil {
		return "", until, err
	}
	if name, until, err = t.put(ctx); err != nil && t.spareReadme(ctx, t.app) {
		return t.put(ctx)
	}
	return name, until, err
}

// other returns ErrBusy if somebody else has a lease, and deletes leases that have
// expired.
func (t leaseTaker) other(ctx context.Context, mine string) error {
	files, err := t.files(ctx)
	if err != nil {
		return err
	}
	for _, f := range files {
		if m := leaseName.FindStringSubmatch(f.Name); m == nil || m[1] != t.app || f.Name == mine {
			continue
		}
		other, err := within(ctx, func(ctx context.Context, _ func()) (lease, error) { return t.read(ctx, f.Name) }, nil)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist):
			continue // given back meanwhile
		case err == nil && other.Until.After(time.Now().Add(2*leaseTime)):
			err = errors.New("the clock of its holder is ahead")
			fallthrough
		case err != nil:
			return fmt.Errorf("%w: %s is held, and it cannot be told until when: %w; delete %s there if no backup or restore is running", location.ErrBusy, t.name, err, f.Name)
		case time.Now().After(other.Until):
			if err := t.remove(ctx, f.Name); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: %s is held by %s", location.ErrBusy, t.name, fault.Shorten(other.Holder))
		}
	}
	return nil
}

func (t leaseTaker) read(ctx context.Context, name string) (lease, error) {
	r, err := t.Open(ctx, name)
	if err != nil {
		return lease{}, err
	}
	defer r.Close()
	var l lease
	err = json.NewDecoder(io.LimitReader(r, 64<<10)).Decode(&l)
	if err == nil && l.Until.IsZero() {
		err = errors.New("it does not say until when it counts")
	}
	return l, err
}

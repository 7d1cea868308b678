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
	"strings"
	"time"

	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/location"
)

// lock holds a site for an app: with the lock of its Location, or with leases if that
// has none. cancel is called when the hold is lost.
func (s *site) lock(ctx context.Context, cancel context.CancelCauseFunc, app, holder string) (unlock func() error, err error) {
	if locker, ok := s.Location.(location.Locker); ok {
		unlock, err := within(ctx, func(ctx context.Context, _ func()) (func() error, error) {
			return locker.Lock(ctx, app, holder)
		}, func(unlock func() error) { unlock() })
		if !errors.Is(err, errors.ErrUnsupported) {
			return unlock, err
		}
	}
	return leaseTaker{s, app, holder}.take(ctx, cancel)
}

// A lease is a file that holds a location which is no Locker. Each process that wants
// the location puts a lease of its own there, and then looks for leases of others. So
// of two processes at the same moment at most one gets the location. A lease says until
// when it counts. A Location overwrites nothing, so a lease is prolonged by a new lease
// in its place. A lease that a killed process has left is deleted when it has expired.
// A process that finds its own lease deleted stops: it was asleep, or its clock is
// wrong.
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

// take holds the site until release is called. It calls cancel if the hold is lost.
func (t leaseTaker) take(ctx context.Context, cancel context.CancelCauseFunc) (release func() error, err error) {
	mine, until, err := t.put(ctx)
	if err != nil {
		return nil, err
	}
	if err := t.other(ctx, mine); err != nil {
		t.remove(ctx, mine)
		return nil, err
	}
	left := []string{mine} // to be deleted in the end
	renewing, stop := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		renew := time.NewTicker(leaseTime / 5)
		defer renew.Stop()
		for {
			select {
			case <-renewing.Done():
				return
			case <-renew.C:
			}
			next, nextUntil, err := t.put(renewing)
			if err != nil {
				if time.Until(until) < leaseTime*2/5 {
					cancel(fmt.Errorf("%s: the hold on it could not be renewed: %w", t.name, err))
					return
				}
				continue
			}
			_, err = within(renewing, func(ctx context.Context, _ func()) (struct{}, error) { return struct{}{}, t.Delete(ctx, mine) }, nil)
			if errors.Is(err, fs.ErrNotExist) {
				cancel(fmt.Errorf("%s: somebody else has taken the hold on it; make sure that the clocks agree", t.name))
			}
			if err == nil {
				left = left[:len(left)-1]
			}
			mine, until = next, nextUntil
			left = append(left, mine)
		}
	}()
	return func() error {
		stop()
		<-stopped
		var errs []error
		for _, name := range left {
			errs = append(errs, t.remove(ctx, name))
		}
		return errors.Join(errs...)
	}, nil
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

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

// lock holds a site, by its own means if it has any.
func (m *Manager) lock(ctx context.Context, cancel context.CancelCauseFunc, p *site, holder string) (func(), error) {
	if locker, ok := p.Location.(location.Locker); ok {
		unlock, err := within(ctx, func(ctx context.Context, _ func()) (func() error, error) {
			return locker.Lock(ctx, m.App.Name, holder)
		}, func(unlock func() error) { unlock() })
		if err == nil {
			return func() { unlock() }, nil
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			return nil, err
		}
	}
	return takeLease(ctx, cancel, p, m.App.Name, holder)
}

// A lease holds a location that is no Locker. Each process that wants it puts a
// file of its own there and looks whether there is another; so of two at the
// same moment at most one gets it. The file says until when it counts. It is
// replaced by a new one while the operation lasts, since a Location overwrites
// nothing, and what a killed process has left is taken away when it has expired.
// Who finds that his own was taken away, because he was asleep or his clock is
// wrong, stops.
type lease struct {
	Holder string    `json:"holder"`
	Until  time.Time `json:"until"`
}

const leaseTime = 10 * time.Minute

var leaseName = regexp.MustCompile(`^([a-z0-9-]+)-[a-z2-7]{26}\.lease$`) // as rand.Text has it

// takeLease holds a site until the function that it returns is called, and
// cancels the operation if it cannot hold it any longer.
func takeLease(ctx context.Context, cancel context.CancelCauseFunc, p *site, app, holder string) (func(), error) {
	mine, until, err := putLease(ctx, p, app, holder)
	if err != nil {
		return nil, err
	}
	if err := otherLease(ctx, p, app, mine); err != nil {
		p.remove(ctx, mine)
		return nil, err
	}
	left := []string{mine} // to be taken away in the end
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
			next, nextUntil, err := putLease(renewing, p, app, holder)
			if err != nil {
				if time.Until(until) < leaseTime*2/5 {
					cancel(fmt.Errorf("%s: the hold on it could not be renewed: %w", p.name, err))
					return
				}
				continue
			}
			_, err = within(renewing, func(ctx context.Context, _ func()) (struct{}, error) { return struct{}{}, p.Delete(ctx, mine) }, nil)
			if errors.Is(err, fs.ErrNotExist) {
				cancel(fmt.Errorf("%s: somebody else has taken the hold on it; make sure that the clocks agree", p.name))
			}
			if err == nil {
				left = left[:len(left)-1]
			}
			mine, until = next, nextUntil
			left = append(left, mine)
		}
	}()
	return func() {
		stop()
		<-stopped
		for _, name := range left {
			p.remove(ctx, name)
		}
	}, nil
}

func putLease(ctx context.Context, p *site, app, holder string) (name string, until time.Time, err error) {
	name = app + "-" + strings.ToLower(rand.Text()) + ".lease"
	until = time.Now().Add(leaseTime)
	text, err := json.Marshal(lease{holder, until.UTC()})
	if err != nil {
		return "", until, err
	}
	_, err = within(ctx, func(ctx context.Context, _ func()) (struct{}, error) {
		return struct{}{}, p.Put(ctx, name, bytes.NewReader(text))
	}, nil)
	if err != nil {
		p.remove(ctx, name) // it may be there all the same
	}
	return name, until, err
}

// otherLease returns ErrBusy if somebody else holds the site.
func otherLease(ctx context.Context, p *site, app, mine string) error {
	files, err := p.files(ctx)
	if err != nil {
		return err
	}
	for _, f := range files {
		if m := leaseName.FindStringSubmatch(f.Name); m == nil || m[1] != app || f.Name == mine {
			continue
		}
		other, err := within(ctx, func(ctx context.Context, _ func()) (lease, error) { return readLease(ctx, p, f.Name) }, nil)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist):
			continue // given up meanwhile
		case err == nil && other.Until.After(time.Now().Add(2*leaseTime)):
			err = errors.New("the clock of its holder is ahead")
			fallthrough
		case err != nil:
			return fmt.Errorf("%w: %s is held by somebody who cannot be made out: %w; delete %s if nobody is at it", location.ErrBusy, p.name, err, f.Name)
		case time.Now().After(other.Until):
			if err := p.Delete(ctx, f.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		default:
			return fmt.Errorf("%w: %s is held by %s", location.ErrBusy, p.name, fault.Shorten(other.Holder))
		}
	}
	return nil
}

func readLease(ctx context.Context, p *site, name string) (lease, error) {
	r, err := p.Open(ctx, name)
	if err != nil {
		return lease{}, err
	}
	defer r.Close()
	var l lease
	err = json.NewDecoder(io.LimitReader(r, 64<<10)).Decode(&l)
	if err == nil && l.Until.IsZero() {
		err = errors.New("it does not say until when")
	}
	return l, err
}

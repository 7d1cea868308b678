package backuptest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tomo-project/backup/location"
)

// locker returns the location as a Locker, or nil if it has no locks.
func (p *place) locker() (location.Locker, error) {
	l, ok := p.Location.(location.Locker)
	if !ok {
		return nil, nil
	}
	unlock, err := l.Lock(p.ctx, "probe", "probe")
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("Lock: %w", err)
	}
	return l, unlock()
}

func (p *place) lockExcludes() error {
	l, err := p.locker()
	if l == nil || err != nil {
		return err
	}
	for round := range 3 {
		holder := fmt.Sprintf("tomo on nas, process %d, since 10:30", round)
		unlock, err := l.Lock(p.ctx, "a", holder)
		if err != nil {
			return fmt.Errorf("Lock of a free name: %w", err)
		}
		for range 2 {
			began := time.Now()
			second, err := l.Lock(p.ctx, "a", "somebody else")
			switch {
			case err == nil:
				return errors.Join(errors.New("a second Lock of a taken name returned nil"), second(), unlock())
			case !errors.Is(err, location.ErrBusy):
				return errors.Join(fmt.Errorf("Lock of a taken name must return ErrBusy, but returned %w", err), unlock())
			case !strings.Contains(err.Error(), holder):
				return errors.Join(fmt.Errorf("the error does not name the holder %q: %w", holder, err), unlock())
			case time.Since(began) > patience:
				return errors.Join(fmt.Errorf("Lock of a taken name must return at once, but took %v", time.Since(began)), unlock())
			}
		}
		if err := unlock(); err != nil {
			return fmt.Errorf("unlock: %w", err)
		}
	}
	return p.oneLockWins(l)
}

// oneLockWins checks that of several calls of Lock at the same time exactly one succeeds.
func (p *place) oneLockWins(l location.Locker) error {
	const racers = 16
	unlocks := make([]func() error, racers)
	errs := race(racers, func(i int) (err error) {
		unlocks[i], err = l.Lock(p.ctx, "a", "racer")
		return err
	})
	taken := 0
	for i, err := range errs {
		switch {
		case err == nil:
			taken++
			if err := unlocks[i](); err != nil {
				return fmt.Errorf("unlock: %w", err)
			}
		case !errors.Is(err, location.ErrBusy):
			return fmt.Errorf("a Lock that lost must return ErrBusy, but returned %w", err)
		}
	}
	if taken != 1 {
		return fmt.Errorf("%d of %d Locks of one name at the same time succeeded, want 1", taken, racers)
	}
	return nil
}

func (p *place) lockNames() error {
	l, err := p.locker()
	if l == nil || err != nil {
		return err
	}
	var unlocks []func() error
	for _, name := range []string{"a", "b", "a.lock", "a b"} {
		unlock, err := l.Lock(p.ctx, name, "holder of "+name)
		if err != nil {
			return fmt.Errorf("Lock of %q, while %d locks with other names are taken: %w", name, len(unlocks), err)
		}
		unlocks = append(unlocks, unlock)
	}
	for _, unlock := range unlocks {
		if err := unlock(); err != nil {
			return fmt.Errorf("unlock: %w", err)
		}
	}
	return nil
}

func (p *place) lockIsNoFile() error {
	l, err := p.locker()
	if l == nil || err != nil {
		return err
	}
	unlock, err := l.Lock(p.ctx, "a", "holder")
	if err != nil {
		return fmt.Errorf("Lock: %w", err)
	}
	err = func() error {
		if err := p.listed(); err != nil {
			return err
		}
		if err := p.lacks("a"); err != nil {
			return err
		}
		if err := p.put("a", []byte("content")); err != nil {
			return fmt.Errorf("a file with the name of a taken lock: %w", err)
		}
		if err := p.Delete(p.ctx, "a"); err != nil {
			return fmt.Errorf("Delete: %w", err)
		}
		if unlock, err := l.Lock(p.ctx, "a", "somebody else"); !errors.Is(err, location.ErrBusy) {
			if err == nil {
				err = unlock()
			}
			return fmt.Errorf("after Delete of a file with the same name the lock must still be taken, but Lock returned %v", err)
		}
		return nil
	}()
	if err := errors.Join(err, unlock()); err != nil {
		return err
	}
	return p.listed()
}

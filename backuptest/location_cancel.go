package backuptest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/tomo-project/backup/location"
)

func (p *place) cancelPut() error {
	for _, n := range []int{0, 100, 3 << 20} {
		ctx, cancel := context.WithCancel(p.ctx)
		r := &endless{left: n, at: cancel}
		err := p.Put(ctx, "a", r)
		cancel()
		if r.left < -enough {
			return fmt.Errorf("the context was done after %d bytes, but Put read %d more", n, -r.left)
		}
		if !errors.Is(err, context.Canceled) {
			return fmt.Errorf("the context was done after %d bytes of an endless reader, but Put returned %v", n, err)
		}
		if err := p.lacks("a"); err != nil {
			return fmt.Errorf("the context was done after %d bytes: %w", n, err)
		}
	}
	if err := p.put("a", noise(1, 1000)); err != nil {
		return fmt.Errorf("after cancelled Puts of the same name: %w", err)
	}
	return p.listed("a")
}

// enough is the number of bytes that Put may still read after its context is done.
// A location that uploads a file in parts may finish the current part.
const enough = 32 << 20

// An endless reader calls at after left bytes and goes on. It ends after enough bytes
// more, so that a Put that ignores its context ends too.
type endless struct {
	left int
	at   func()
}

func (r *endless) Read(p []byte) (int, error) {
	if r.left <= 0 && r.at != nil {
		r.at()
		r.at = nil
	}
	if r.left < -enough {
		return 0, io.EOF
	}
	r.left -= len(p)
	return len(p), nil
}

func (p *place) cancelled() error {
	if err := p.put("a", []byte("a")); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(p.ctx)
	cancel()
	calls := map[Call]error{
		CallPut:    p.Put(ctx, "b", strings.NewReader("b")),
		CallDelete: p.Delete(ctx, "a"),
	}
	f, err := p.Open(ctx, "a")
	if err == nil {
		f.Close()
	}
	calls[CallOpen] = err
	_, calls[CallList] = p.List(ctx)
	if l, ok := p.Location.(location.Locker); ok {
		unlock, err := l.Lock(ctx, "a", "holder")
		if err == nil {
			err = unlock()
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			calls[CallLock] = err
		}
	}
	for call, err := range calls {
		if !errors.Is(err, context.Canceled) {
			return fmt.Errorf("the context was done, but %s returned %v", call, err)
		}
	}
	if err := p.listed("a"); err != nil {
		return err
	}
	return p.holds("a", []byte("a"))
}

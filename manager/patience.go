package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tomo-project/backup"
)

// patience is how long a location may take to answer, or to go on with a long answer.
const patience = time.Minute

var errNoAnswer = errors.New("it does not answer")

// within asks a location something. If alive is not called for as long as patience lasts,
// it returns errNoAnswer. It does not wait for a call that ignores its context: what that
// call returns later is given to drop, if that is not nil.
func within[T any](ctx context.Context, ask func(ctx context.Context, alive func()) (T, error), drop func(T)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(patience, func() { cancel(errNoAnswer) })
	defer timer.Stop()
	answers := make(chan answer, 1)
	go func() {
		value, err := ask(limited, func() {
			if limited.Err() == nil {
				timer.Reset(patience)
			}
		})
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		if a.err != nil && ctx.Err() == nil && limited.Err() != nil {
			a.err = fmt.Errorf("%w: %w", errNoAnswer, a.err)
		}
		return a.value, a.err
	case <-limited.Done():
		if drop != nil {
			go func() {
				if a := <-answers; a.err == nil {
					drop(a.value)
				}
			}()
		}
		var none T
		return none, context.Cause(limited)
	}
}

// keep calls alive now and then until stop is called.
func keep(alive func()) (stop func()) {
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(patience / 4)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				alive()
			}
		}
	}()
	alive()
	return func() {
		alive()
		close(done)
	}
}

// lively returns r with alive called whenever it is read. If r can be read anywhere, so can
// the result.
func lively(r io.ReadCloser, alive func()) io.ReadCloser {
	if at, ok := r.(interface {
		io.ReaderAt
		io.Seeker
	}); ok {
		return livelySeeker{livelyFile{r, alive}, at, at}
	}
	return livelyFile{r, alive}
}

type livelyFile struct {
	io.ReadCloser
	alive func()
}

func (f livelyFile) Read(p []byte) (int, error) {
	f.alive()
	return f.ReadCloser.Read(p)
}

type livelySeeker struct {
	livelyFile
	io.Seeker
	at io.ReaderAt
}

func (f livelySeeker) ReadAt(p []byte, off int64) (int, error) {
	f.alive()
	return f.at.ReadAt(p, off)
}

// patient returns identities that keep a question alive while they are asked for a key,
// since a person may have to type it in.
func patient(identities []backup.Identity, alive func()) []backup.Identity {
	var all []backup.Identity
	for _, id := range identities {
		p := patientIdentity{id, alive}
		if d, ok := id.(backup.Decrypter); ok {
			all = append(all, patientDecrypter{p, d})
		} else {
			all = append(all, p)
		}
	}
	return all
}

type patientIdentity struct {
	backup.Identity
	alive func()
}

// OtherForms are those of the Identity (see [backup.Identity]).
func (p patientIdentity) OtherForms() []backup.Identity {
	if f, ok := p.Identity.(interface{ OtherForms() []backup.Identity }); ok {
		return patient(f.OtherForms(), p.alive)
	}
	return nil
}

func (p patientIdentity) Unwrap(wrapped json.RawMessage) ([]byte, error) {
	defer keep(p.alive)()
	return p.Identity.Unwrap(wrapped)
}

type patientDecrypter struct {
	patientIdentity
	decrypter backup.Decrypter
}

// Decrypt keeps the question alive while the key is asked for, and not while the file is
// read.
func (p patientDecrypter) Decrypt(r io.Reader) (io.Reader, error) {
	w := &waiting{r: r, alive: p.alive}
	w.stop = keep(p.alive)
	defer w.end()
	return p.decrypter.Decrypt(w)
}

// A waiting reader keeps a question alive until end, except while it reads.
type waiting struct {
	r     io.Reader
	alive func()
	stop  func()
}

func (w *waiting) Read(b []byte) (int, error) {
	if w.stop == nil {
		return w.r.Read(b)
	}
	w.end()
	n, err := w.r.Read(b)
	w.stop = keep(w.alive)
	return n, err
}

func (w *waiting) end() {
	if stop := w.stop; stop != nil {
		w.stop = nil
		stop()
	}
}

package backuphttp

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"syscall"

	"github.com/tomo-project/backup/location"
)

// A spool is a file with a backup that is at no location: an upload, or what was
// saved of a damaged one. Nobody else can open it, and it is gone when the process is.
type spool struct {
	h    *Handler
	f    *os.File
	name string // to be removed at the end; empty: it has none any more
	size int64
	used int // by so many; closed by the last
}

func (h *Handler) newSpool() (*spool, error) {
	f, err := os.CreateTemp(h.opts.TempDir, "backuphttp-*.tmp") // with mode 0600
	if err != nil {
		return nil, h.spoolFailed(err)
	}
	s := &spool{h: h, f: f, used: 1}
	if os.Remove(f.Name()) != nil { // not while it is open, on some systems
		s.name = f.Name()
	}
	return s, nil
}

// spoolFailed keeps the path to the temporary files from the browser.
func (h *Handler) spoolFailed(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		h.log("keep an uploaded backup", err)
		return &refusal{status: http.StatusInsufficientStorage, code: "no_space", text: "there is no room on the server to keep the file meanwhile: check its disk space"}
	}
	return h.hide("keep an uploaded backup", err)
}

// Write implements io.Writer.
func (s *spool) Write(p []byte) (int, error) {
	if err := s.h.grow(int64(len(p))); err != nil {
		return 0, err
	}
	n, err := s.f.Write(p)
	s.size += int64(n)
	s.h.grow(int64(n - len(p)))
	if err != nil {
		return n, s.h.spoolFailed(err)
	}
	return n, nil
}

// empty throws away what was written.
func (s *spool) empty() error {
	_, err := s.f.Seek(0, io.SeekStart)
	if err = errors.Join(err, s.f.Truncate(0)); err != nil {
		return s.h.spoolFailed(err)
	}
	s.h.grow(-s.size)
	s.size = 0
	return nil
}

// reader returns a reader of the whole, from its beginning.
func (s *spool) reader() *io.SectionReader { return io.NewSectionReader(s.f, 0, s.size) }

// open returns the same for somebody who takes their time. The Handler is locked.
func (s *spool) open() io.ReadCloser {
	s.used++
	return struct {
		io.Reader
		io.Closer
	}{s.reader(), s}
}

// Close gives the file up.
func (s *spool) Close() error {
	s.h.mu.Lock()
	s.used--
	last := s.used == 0
	if last {
		s.h.spooled -= s.size
	}
	s.h.mu.Unlock()
	if !last {
		return nil
	}
	err := s.f.Close()
	if s.name != "" {
		err = errors.Join(err, os.Remove(s.name))
	}
	return err
}

// grow reserves room for temporary files. What was not used for longest makes room.
func (h *Handler) grow(n int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n > 0 && h.spooled+n > 2*h.opts.MaxUpload {
		if !h.forgetOldest(func(r *restore) bool { return r.file != nil }) {
			return fmt.Errorf("%w: there is no room for another uploaded backup; give up one that is not needed, or try again later", location.ErrBusy)
		}
	}
	h.spooled += n
	return nil
}

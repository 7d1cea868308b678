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

// A spool is a temporary file with a backup that is at no location: an uploaded backup,
// or a salvaged one. Nobody else can open it, and it disappears with the process.
type spool struct {
	h    *Handler
	f    *os.File
	name string // to be removed at the end; empty: it is removed already
	size int64
	used int // how many use it; the last one closes it
}

func (h *Handler) newSpool() (*spool, error) {
	f, err := os.CreateTemp(h.opts.TempDir, "backuphttp-*.tmp") // with mode 0600
	if err != nil {
		return nil, h.spoolFailed(err)
	}
	s := &spool{h: h, f: f, used: 1}
	if os.Remove(f.Name()) != nil { // some systems remove no open file
		s.name = f.Name()
	}
	return s, nil
}

// spoolFailed logs an error of a temporary file, and returns an error for the browser
// that does not show the path of the file.
func (h *Handler) spoolFailed(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		h.log("keep a temporary file", err)
		return &refusal{status: http.StatusInsufficientStorage, code: "no_space", text: "the server has no room for the file: free some disk space, then try again"}
	}
	return h.hide("keep a temporary file", err)
}

// Write implements io.Writer. It reserves the room first.
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

// empty deletes the content.
func (s *spool) empty() error {
	_, err := s.f.Seek(0, io.SeekStart)
	if err = errors.Join(err, s.f.Truncate(0)); err != nil {
		return s.h.spoolFailed(err)
	}
	s.h.grow(-s.size)
	s.size = 0
	return nil
}

// reader returns a reader of the whole file.
func (s *spool) reader() *io.SectionReader { return io.NewSectionReader(s.f, 0, s.size) }

// open returns a reader that keeps the file open until it is closed. The caller holds
// the lock of the Handler.
func (s *spool) open() io.ReadCloser {
	s.used++
	return struct {
		io.Reader
		io.Closer
	}{s.reader(), s}
}

// Close closes the file when its last user has closed it.
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

// grow reserves room for temporary files. If there is not enough, the restores that
// were unused for the longest time are forgotten.
func (h *Handler) grow(n int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n > 0 && h.spooled+n > 2*h.opts.MaxUpload {
		if !h.forgetOldest(func(r *restore) bool { return r.file != nil }) {
			return fmt.Errorf("%w: there is no room for another uploaded backup; cancel a restore that is not needed, or try again later", location.ErrBusy)
		}
	}
	h.spooled += n
	return nil
}

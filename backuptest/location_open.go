package backuptest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

func (p *place) openMissing() error {
	if err := p.put("a", nil); err != nil {
		return err
	}
	for _, name := range []string{"b", "aa", "a.json", "A a"} {
		if err := p.lacks(name); err != nil {
			return err
		}
	}
	return nil
}

func (p *place) closeEarly() error {
	content := noise(1, 2<<20)
	if err := p.put("a", content); err != nil {
		return err
	}
	for _, n := range []int{0, 1, 1 << 20} {
		f, err := p.Open(p.ctx, "a")
		if err != nil {
			return fmt.Errorf("Open: %w", err)
		}
		got := make([]byte, n)
		if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, content[:n]) {
			return errors.Join(fmt.Errorf("the first %d bytes differ from those that were Put, or Read failed: %v", n, err), f.Close())
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("Close after %d bytes: %w", n, err)
		}
	}
	if err := p.holds("a", content); err != nil {
		return err
	}
	return p.Delete(p.ctx, "a")
}

func (p *place) seeks() error {
	content := noise(1, 1<<20)
	if err := p.put("a", content); err != nil {
		return err
	}
	f, err := p.Open(p.ctx, "a")
	if err != nil {
		return fmt.Errorf("Open: %w", err)
	}
	defer f.Close()
	s, ok := f.(seekable)
	if !ok {
		return nil
	}
	size, err := s.Seek(0, io.SeekEnd)
	if err != nil || size != int64(len(content)) {
		return fmt.Errorf("Seek to the end of %d bytes returned %d and the error %v", len(content), size, err)
	}
	for _, at := range []int64{size - 1, 0, 500_000, 499_999, size} {
		if now, err := s.Seek(at, io.SeekStart); err != nil || now != at {
			return fmt.Errorf("Seek to %d returned %d and the error %v", at, now, err)
		}
		part := content[at:min(size, at+1000)]
		got := make([]byte, len(part))
		if n, err := s.ReadAt(got, at); n != len(part) || err != nil && err != io.EOF || !bytes.Equal(got, part) {
			return fmt.Errorf("ReadAt %d of %d bytes returned %d bytes and the error %v, or other bytes than were Put", at, len(part), n, err)
		}
		clear(got)
		if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, part) {
			return fmt.Errorf("Read after Seek to %d and ReadAt returned the error %v, or other bytes than were Put", at, err)
		}
	}
	if n, err := s.ReadAt(make([]byte, 10), size-3); n != 3 || err != io.EOF {
		return fmt.Errorf("ReadAt of 10 bytes, 3 bytes before the end, returned %d bytes and the error %v", n, err)
	}
	if _, err := s.Seek(-1, io.SeekStart); err == nil {
		return errors.New("Seek to -1 returned nil")
	}
	if _, err := s.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("Seek to the beginning: %w", err)
	}
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, content) {
		return fmt.Errorf("reading the file again from its beginning returned %d bytes and the error %v, or other bytes than were Put", len(got), err)
	}
	return nil
}

package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/tomo-project/backup/internal/fault"
)

// A Spool is a temporary file with a copy of a snapshot. It is encrypted with a key
// that exists only in memory, so that no secret of an encrypted file stays on a disk.
type Spool struct {
	f      *os.File
	block  cipher.Block
	stream cipher.Stream // for writing
	buf    []byte
}

// NewSpool makes a Spool in a folder. Empty means os.TempDir.
func NewSpool(dir string) (*Spool, error) {
	f, err := os.CreateTemp(dir, "backup-snapshot-*")
	if err != nil {
		return nil, fault.NoPlace(err)
	}
	// Where an open file needs no name, a process that is killed leaves nothing.
	os.Remove(f.Name())
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Spool{f: f, block: block, stream: streamAt(block, 0)}, nil
}

// streamAt returns the key stream that begins at an offset of the file.
func streamAt(block cipher.Block, offset int64) cipher.Stream {
	var counter [aes.BlockSize]byte
	binary.BigEndian.PutUint64(counter[8:], uint64(offset/aes.BlockSize))
	stream := cipher.NewCTR(block, counter[:])
	var skip [aes.BlockSize]byte
	stream.XORKeyStream(skip[:offset%aes.BlockSize], skip[:offset%aes.BlockSize])
	return stream
}

// Write implements io.Writer.
func (s *Spool) Write(p []byte) (int, error) {
	s.buf = append(s.buf[:0], p...)
	s.stream.XORKeyStream(s.buf, s.buf)
	n, err := s.f.Write(s.buf)
	if err != nil {
		err = fault.Advise(fmt.Errorf("make a temporary copy: %w", err))
	}
	return n, err
}

// ReadAt implements io.ReaderAt.
func (s *Spool) ReadAt(p []byte, offset int64) (int, error) {
	n, err := s.f.ReadAt(p, offset)
	if n > 0 {
		streamAt(s.block, offset).XORKeyStream(p[:n], p[:n])
	}
	return n, err
}

// Close removes the file.
func (s *Spool) Close() error {
	err := s.f.Close()
	os.Remove(s.f.Name())
	return err
}

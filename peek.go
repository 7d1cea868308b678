package backup

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"maps"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/internal/stream"
)

// Peek reads the manifest of a snapshot without reading all of it, where that can be
// done: from both ends of a file that can be read in places and ends as it was
// written. Of a compressed or encrypted file it reads what stands before the data,
// and Records is nil. Anything else it reads to the end, as [OpenSnapshot] does. Of
// opts it uses Identities, for a file that is encrypted as a whole, Limits and
// TempDir.
//
// With an error the Manifest is what the beginning of the file says, nil if that
// cannot be read either. What lies between the ends was not looked at: a snapshot
// without an error may still be damaged.
func Peek(ctx context.Context, r io.Reader, opts OpenOptions) (*Manifest, error) {
	s := &Snapshot{limits: opts.Limits.codec()}
	at, inPlaces := r.(readSeekerAt)
	buffered := bufio.NewReader(r)
	head, err := buffered.Peek(envelope.SniffBytes)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if !envelope.Sniff(head).Plain() {
		return s.peekInto(ctx, buffered, opts)
	}
	if !inPlaces {
		return peekThrough(ctx, buffered, opts, nil)
	}
	begins, over, err := s.peekEnds(at)
	if over {
		return begins, err
	}
	if _, err := at.Seek(0, io.SeekStart); err != nil {
		return begins, err
	}
	return peekThrough(ctx, at, opts, begins)
}

// peekEnds reads the two ends of a document, and tells whether that is all: it is if
// the beginning cannot be read, or the end is as it was written.
func (s *Snapshot) peekEnds(at readSeekerAt) (begins *Manifest, over bool, err error) {
	size, err := at.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, true, err
	}
	members, ended, err := codec.Peek(at, size, checkFormat)
	if err != nil {
		return nil, true, fromCodec(err)
	}
	// The counts stand in the last member, which is read for its digest only.
	var sum integrity
	if ended {
		err = codec.Unmarshal(members["integrity"], &sum)
	}
	if err = cmp.Or(err, s.header(&codec.Document{Members: members, Bytes: size})); err == nil {
		begins = &s.manifest
		begins.Records = sum.Records
	}
	return begins, ended, err
}

// peekThrough reads all of a document. If it cannot be read, what it begins with is
// still known.
func peekThrough(ctx context.Context, r io.Reader, opts OpenOptions, begins *Manifest) (*Manifest, error) {
	s, err := OpenSnapshot(ctx, r, OpenOptions{Limits: opts.Limits, TempDir: opts.TempDir})
	if err != nil {
		return begins, err
	}
	defer s.Close()
	m := s.Manifest()
	return &m, nil
}

// peekInto reads what stands before the data of a compressed or encrypted document. To
// learn the rest would take expanding all of it.
func (s *Snapshot) peekInto(ctx context.Context, r io.Reader, opts OpenOptions) (*Manifest, error) {
	in, err := s.unwrap(ctx, stream.WithContext(ctx, r), opts)
	if err != nil {
		return nil, err
	}
	if s.release != nil {
		defer s.release()
	}
	errSeen := errors.New("seen")
	_, err = codec.Scan(in, s.limits, codec.Hooks{Version: checkFormat, Header: func(members map[string][]byte) error {
		all := maps.Clone(members)
		all["data"] = []byte{}
		if err := s.header(&codec.Document{Members: all}); err != nil {
			return err
		}
		return errSeen
	}})
	if err != errSeen {
		return nil, fromCodec(err)
	}
	s.manifest.Records = nil // which is not known
	return &s.manifest, nil
}

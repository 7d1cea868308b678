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

// Peek reads the manifest of a snapshot, and not all of its data where it can avoid
// that. What it reads depends on r, which must stand at its beginning:
//
//   - Of a plain file, or another reader that is an io.Seeker and io.ReaderAt, Peek
//     reads both ends. If the end is not as a backup writes it, Peek reads all.
//   - Of a compressed or encrypted file it reads the members before the data.
//     Manifest.Records is nil then, and Bytes and SHA256 are not known.
//   - Any other input it reads to the end, as [OpenSnapshot] does.
//
// Peek does not look at what it does not read: a snapshot without an error may still
// be damaged. It opens no secrets and checks no proof. Of opts it uses Identities, Limits and
// TempDir. With Identities it refuses a snapshot that none of them opens, with
// [ErrWrongKey]: it unwraps the data key, and compares the check value. Then it reads all
// of a plain file, since a wrapped key that is damaged looks like a wrong key.
//
// Its errors are those of OpenSnapshot. Beside an error, the Manifest is what the
// beginning of a plain file says, or nil if that cannot be read.
func Peek(ctx context.Context, r io.Reader, opts OpenOptions) (*Manifest, error) {
	if err := opts.given(r); err != nil {
		return nil, err
	}
	s := &Snapshot{limits: opts.Limits.codec()}
	at, inPlaces := r.(readSeekerAt)
	if inPlaces { // a pipe is a file too, and cannot
		_, err := at.Seek(0, io.SeekCurrent)
		inPlaces = err == nil
	}
	buffered := bufio.NewReader(r)
	head, err := buffered.Peek(envelope.SniffBytes)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if !envelope.Sniff(head).Plain() {
		return s.peekEnvelope(ctx, buffered, opts)
	}
	if !inPlaces {
		return readThrough(ctx, buffered, opts, nil)
	}
	begins, done, err := s.peekEnds(at)
	if done && err == nil {
		err = s.unlock(ctx, opts.Identities, opts.Progress)
	}
	if done && !errors.Is(err, ErrWrongKey) { // whether the wrapped key is damaged only the digest tells
		return begins, err
	}
	if _, err := at.Seek(0, io.SeekStart); err != nil {
		return begins, err
	}
	return readThrough(ctx, at, opts, begins)
}

// peekEnds reads both ends of a document. It is done if the beginning cannot be read,
// or the end is as a backup writes it.
func (s *Snapshot) peekEnds(at readSeekerAt) (begins *Manifest, done bool, err error) {
	size, err := at.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, true, err
	}
	members, ended, err := codec.Peek(at, size, checkFormat)
	if err != nil {
		return nil, true, fromCodec(err)
	}
	// readHeader takes the counts from the data, which was not read.
	var sum integrity
	if ended {
		err = codec.UnmarshalMember(members["integrity"], &sum)
	}
	if err = cmp.Or(err, s.readHeader(&codec.Document{Members: members, Bytes: size})); err == nil {
		begins = &s.manifest
		begins.Records = sum.Records
	}
	return begins, ended, err
}

// readThrough reads all of a document. If that fails it returns begins, which is what
// the beginning says.
func readThrough(ctx context.Context, r io.Reader, opts OpenOptions, begins *Manifest) (*Manifest, error) {
	s, err := OpenSnapshot(ctx, r, OpenOptions{Identities: opts.Identities, Limits: opts.Limits, TempDir: opts.TempDir})
	if err != nil {
		return begins, err
	}
	defer s.Close()
	m := s.Manifest()
	return &m, nil
}

// peekEnvelope reads the members before the data of a compressed or encrypted
// document. To read the others it would have to expand all of it.
func (s *Snapshot) peekEnvelope(ctx context.Context, r io.Reader, opts OpenOptions) (*Manifest, error) {
	in, err := s.openEnvelope(ctx, stream.WithContext(ctx, r), opts)
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
		if err := s.readHeader(&codec.Document{Members: all}); err != nil {
			return err
		}
		if err := s.unlock(ctx, opts.Identities, opts.Progress); err != nil {
			return err
		}
		return errSeen
	}})
	if err != errSeen {
		return nil, fromCodec(err)
	}
	s.manifest.Records = nil // not known
	return &s.manifest, nil
}

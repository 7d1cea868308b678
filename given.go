package backup

import (
	"cmp"
	"crypto"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"

	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/seal"
)

// given returns an error if something that a backup needs is nil.
func (o BackupOptions) given(w io.Writer, src DataSource) error {
	if s, ok := src.(*Snapshot); ok {
		if err := s.given(); err != nil {
			return err
		}
	}
	return cmp.Or(
		fault.Missing("the io.Writer", w),
		fault.Missing("the DataSource", src),
		givenKeys(o.Recipients, o.Encrypt, o.Signer),
		seal.CheckTrusted(o.Trusted),
	)
}

// given returns an error if something that opening a snapshot needs is nil.
func (o OpenOptions) given(r io.Reader) error {
	return cmp.Or(
		fault.Missing("the io.Reader", r),
		fault.MissingIn("Identities", o.Identities),
		seal.CheckTrusted(o.Trusted),
	)
}

// given returns an error if something that rewrapping needs is nil.
func (o RewrapOptions) given(w io.Writer) error {
	return cmp.Or(fault.Missing("the io.Writer", w), givenKeys(o.Recipients, o.Encrypt, o.Signer))
}

// given returns an error if something that salvaging needs is nil.
func (o SalvageOptions) given(w io.Writer, r io.Reader) error {
	return cmp.Or(
		fault.Missing("the io.Writer", w),
		fault.Missing("the io.Reader", r),
		fault.MissingIn("Identities", o.Identities),
		givenKeys(nil, o.Encrypt, nil),
	)
}

// givenKeys returns an error if one of the Recipients is nil, or if Encrypt or Signer
// holds a pointer or slice that is nil: they say that there is to be a key.
func givenKeys(recipients []Recipient, encrypt Encrypter, signer crypto.Signer) error {
	err := fault.MissingIn("Recipients", recipients)
	if err == nil && encrypt != nil {
		err = fault.Missing("Encrypt", encrypt)
	}
	if err == nil && signer != nil {
		err = fault.Missing("Signer", signer)
	}
	return err
}

// given returns an error unless the snapshot is open.
func (s *Snapshot) given() error {
	switch {
	case s == nil:
		return fault.Missing("the Snapshot", s)
	case s.r == nil:
		return fmt.Errorf("%w: the Snapshot was not opened: get it from OpenSnapshot", ErrInvalid)
	case atomic.LoadInt32(&s.closed) != 0:
		return fmt.Errorf("the Snapshot is closed: %w; open it again", fs.ErrClosed)
	}
	return nil
}

// given returns an error unless the plan was made by [App.Plan].
func (p *Plan) given() error {
	if p == nil || p.in == nil {
		return fmt.Errorf("%w: the Plan is empty: get it from App.Plan", ErrInvalid)
	}
	return p.in.snapshot.given()
}

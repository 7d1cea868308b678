package backup

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/seal"
)

// proof is the member "proof" (FORMAT.md, "Proof"). It covers the whole document
// before it, and proves that somebody who has the key made that.
type proof struct {
	MAC     string     `json:"mac,omitempty"`
	Ed25519 *signature `json:"ed25519,omitempty"`
}

type signature struct {
	Key       string `json:"key"`
	Signature string `json:"signature"`
}

// The values of Manifest.Authentic.
const (
	provenByPassphrase = "passphrase"
	provenByEd25519    = "ed25519 " // the public key follows
)

// prove makes the proof of a document from the digest of all that stands before the
// proof. It returns nil if nothing can prove the document. A salvaged document has
// no box and so no proof, since nobody knows what was in the damaged file.
func prove(digest []byte, e *encryption, box *seal.Box, signer crypto.Signer) (*proof, error) {
	var p proof
	// Only a passphrase makes the data key prove something: anybody can wrap a data
	// key of their own for a public key.
	if e != nil && box != nil && slices.ContainsFunc(e.Keys, byPassphrase) {
		p.MAC = box.Prove(digest)
	}
	if signer != nil {
		public, err := seal.PublicKey(signer)
		if err != nil {
			return nil, err
		}
		message := seal.ProofMessage(digest)
		sum, err := signer.Sign(rand.Reader, message, crypto.Hash(0))
		if err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
		if !ed25519.Verify(public, message, sum) {
			return nil, errors.New("sign: the signature that the Signer made does not fit its public key")
		}
		p.Ed25519 = &signature{Key: encodeBase64(public), Signature: encodeBase64(sum)}
	}
	if p == (proof{}) {
		return nil, nil
	}
	return &p, nil
}

// authenticate checks the proof of the document.
func (s *Snapshot) authenticate(doc *codec.Document, opts OpenOptions) error {
	p := s.proof
	if p == nil {
		p = &proof{}
	}
	if p.MAC != "" {
		if err := checkBase64(p.MAC, sha256.Size); err != nil {
			return fmt.Errorf("%w: its proof is malformed: %w; do not restore it, use another copy", ErrUnauthentic, err)
		}
	}
	if p.MAC != "" && s.box != nil {
		if err := s.box.VerifyProof(p.MAC, doc.Proven); err != nil {
			return fmt.Errorf("%w: it was altered by somebody without the key: %w; do not restore it, use another copy", ErrUnauthentic, err)
		}
		if s.byPassphrase {
			s.manifest.Authentic = provenByPassphrase
		}
	}
	if p.Ed25519 != nil {
		key, notKey := codec.DecodeBase64(nil, []byte(p.Ed25519.Key))
		sum, notSum := codec.DecodeBase64(nil, []byte(p.Ed25519.Signature))
		if notKey != nil || notSum != nil || len(key) != ed25519.PublicKeySize || len(sum) != ed25519.SignatureSize {
			return fmt.Errorf("%w: its signature is malformed; do not restore it, use another copy", ErrUnauthentic)
		}
		if slices.ContainsFunc(opts.Trusted, func(t ed25519.PublicKey) bool { return t.Equal(ed25519.PublicKey(key)) }) {
			if !ed25519.Verify(key, seal.ProofMessage(doc.Proven), sum) {
				return fmt.Errorf("%w: it was altered after it was signed with %s; do not restore it, use another copy", ErrUnauthentic, p.Ed25519.Key)
			}
			s.manifest.Authentic = provenByEd25519 + p.Ed25519.Key
		}
	}
	switch {
	case !opts.RequireProof || s.manifest.Authentic != "":
		return nil
	case p.Ed25519 != nil && p.MAC == "":
		return fmt.Errorf("%w: it is signed with %s, which is not trusted here; trust that key if you know it, or use another backup", ErrUnauthentic, p.Ed25519.Key)
	case p.MAC != "" && s.box == nil && len(opts.Identities) == 0:
		return fmt.Errorf("%w: a proof is required, and only the passphrase can tell whether it is authentic: give the passphrase", ErrNoKey)
	case p.MAC != "" && s.box != nil && !s.byPassphrase:
		return fmt.Errorf("%w: a proof is required, and the key that opened it is no passphrase: anybody could have made it for that key; open it with the passphrase", ErrUnauthentic)
	}
	return fmt.Errorf("%w: a proof is required, and it carries none; if you know where it comes from, open it without requiring one", ErrUnauthentic)
}

// lacksProof tells whether the member "mac" is missing that each writer makes for a
// passphrase, but for one that salvages. Whoever alters the file can take it away.
func (s *Snapshot) lacksProof() bool {
	e, m := s.encryption, s.manifest
	return e != nil && slices.ContainsFunc(e.Keys, byPassphrase) && (s.proof == nil || s.proof.MAC == "") && m.Salvaged == nil && m.Authentic == ""
}

// Proven tells whether the snapshot was proven authentic when it was opened: by a
// passphrase, or by a signature with one of the trusted keys.
func (s *Snapshot) Proven(trusted []ed25519.PublicKey) bool {
	key, signed := strings.CutPrefix(s.manifest.Authentic, provenByEd25519)
	return s.manifest.Authentic != "" && (!signed || slices.ContainsFunc(trusted, func(t ed25519.PublicKey) bool { return encodeBase64(t) == key }))
}

// byPassphrase tells whether a data key is wrapped with a passphrase. Making such a
// wrapped key takes the passphrase, just as opening it does.
func byPassphrase(wrapped json.RawMessage) bool { return keyType(wrapped) == seal.TypePassphrase }

func encodeBase64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

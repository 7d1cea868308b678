package seal

import (
	"crypto"
	"crypto/ed25519"
	"fmt"
	"strconv"
	"strings"

	"github.com/tomo-project/backup/internal/fault"
)

// PassphraseID is what stands for a passphrase among the names of keys.
const PassphraseID = "passphrase"

// NameKeys names keys for a person, any of which will do.
func NameKeys(ids []string) string {
	if len(ids) == 0 {
		return "a key that it does not name"
	}
	named := make([]string, 0, len(ids))
	for _, id := range ids {
		if id == PassphraseID {
			named = append(named, "the passphrase")
			continue
		}
		named = append(named, strconv.Quote(id))
	}
	return strings.Join(named, " or ")
}

// PublicKey returns the public key of a signer. It refuses any but an Ed25519 key.
func PublicKey(signer crypto.Signer) (ed25519.PublicKey, error) {
	public, ok := signer.Public().(ed25519.PublicKey)
	if !ok || len(public) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%w: Signer is %T and not an Ed25519 key", fault.ErrInvalid, signer)
	}
	return public, nil
}

// CheckTrusted returns an error if one of the trusted keys is no key of Ed25519.
func CheckTrusted(keys []ed25519.PublicKey) error {
	for i, key := range keys {
		if len(key) != ed25519.PublicKeySize {
			return fmt.Errorf("%w: Trusted[%d] has %d bytes, and a public key of Ed25519 has %d", fault.ErrInvalid, i, len(key), ed25519.PublicKeySize)
		}
	}
	return nil
}

// Package agekey uses the keys of age (age-encryption.org) for backups. It
// wraps the key of a snapshot for them, and encrypts whole files for them. A
// server that only makes backups needs only public keys, so whoever breaks into
// it cannot read old backups.
//
//	recipient, err := agekey.ParseRecipients(os.Getenv("BACKUP_RECIPIENTS"))
//
// The keys are those of age-keygen, including post-quantum ones, ed25519 and
// RSA keys of SSH, and passphrases. The result is an ordinary age file: the age
// command opens it without this library (FORMAT.md, "Wrapped keys" and
// "Compressed and encrypted files").
//
// An altered age file is refused. But an age file does not prove who made it:
// whoever knows the public key can make another. Only a file that opens with a
// passphrase was made by somebody who knows the passphrase.
//
// The values of this package are safe for concurrent use if their age keys are,
// as all keys of package age are.
package agekey

import (
	"fmt"
	"strconv"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/passphrase"
	"github.com/tomo-project/backup/internal/seal"
)

const (
	dataKeySize = 32

	maxShownID = 32 // of an id that is longer than a classic age key

	// maxTries is how often one Identity may try passphrases on one file, at the largest
	// work factor. With a lower work factor it may try more.
	maxTries = 8

	// maxForms is how often it may try other forms of a passphrase besides, at the usual
	// work factor.
	maxForms = 8
)

// Passphrase returns a Recipient that encrypts with a passphrase, as "age -p"
// does, and an Identity that opens the result. The bytes are used unchanged: if
// you read them from a file, remove the line break. An empty passphrase is
// ErrNoKey.
//
// Of a passphrase that a person could not type again, the Recipient encrypts nothing: its
// errors are those of [backup.PassphraseKey.Validate]. If the passphrase does not open a
// file as it is, the Identity tries other forms of it, within bounds of time.
//
// Each use takes about a second and 256 MiB of memory. For the secrets in a
// snapshot, [backup.Passphrase] takes less. Use this one for whole files, and
// where the age command alone must be able to open them.
func Passphrase(secret []byte) (*Recipient, *Identity, error) {
	text := string(secret)
	refused := backup.Passphrase(secret).Validate()
	if text == "" {
		return nil, nil, refused
	}
	r, err := age.NewScryptRecipient(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", backup.ErrNoKey, err)
	}
	r.SetWorkFactor(seal.ScryptWork())
	i, err := age.NewScryptIdentity(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", backup.ErrNoKey, err)
	}
	recipient, err := NewRecipient(r)
	if err != nil {
		return nil, nil, err
	}
	recipient.refused = refused
	keys := []privateKey{{Identity: i, id: seal.PassphraseID}}
	for _, form := range passphrase.Others(secret) {
		other, err := age.NewScryptIdentity(string(form))
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", backup.ErrNoKey, err)
		}
		keys = append(keys, privateKey{Identity: other, otherForm: true})
	}
	identity, err := newIdentity(keys)
	return recipient, identity, err
}

// recipientID returns the text by which people know a public key.
func recipientID(r age.Recipient) string {
	const unknown = "unknown"
	switch r := r.(type) {
	case *age.ScryptRecipient:
		return "passphrase"
	case *age.X25519Recipient:
		return r.String()
	case *agessh.Ed25519Recipient:
		return ssh.KeyAlgoED25519 // package agessh does not reveal the key
	case *agessh.RSARecipient:
		return ssh.KeyAlgoRSA
	case fmt.Stringer:
		id := r.String()
		id = id[:min(len(id), maxShownID)]
		printable := id != "" && strings.IndexFunc(id, func(c rune) bool { return c < ' ' || c > '~' }) < 0
		if !printable || isPrivate(id) {
			return unknown
		}
		return id
	}
	return unknown
}

// sshID is what ssh-keygen -l prints of a key.
func sshID(key ssh.PublicKey) string {
	return key.Type() + " " + ssh.FingerprintSHA256(key)
}

// isPrivate reports whether a text is a private key, or begins like one.
func isPrivate(text string) bool {
	upper := strings.ToUpper(text)
	return strings.HasPrefix(upper, "AGE-SECRET-KEY-") || strings.HasPrefix(upper, "AGE-PLUGIN-") ||
		strings.HasPrefix(upper, "-----BEGIN") && strings.Contains(upper, "PRIVATE KEY-----")
}

// list joins texts for an error. They may come from a hostile file.
func list(texts []string) string {
	const most = 5
	quoted := make([]string, 0, most+1)
	for i, text := range texts {
		if i == most {
			quoted = append(quoted, fmt.Sprintf("%d more", len(texts)-most))
			break
		}
		if len(text) > 80 {
			text = text[:80] + "..."
		}
		if q := strconv.QuoteToASCII(text); q != `"`+text+`"` {
			text = q
		}
		quoted = append(quoted, text)
	}
	return strings.Join(quoted, ", ")
}

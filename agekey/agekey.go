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
	"encoding/base64"
	jsonv1 "encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/crypto/ssh"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/seal"
)

const (
	typeAge     = "age"
	dataKeySize = 32

	// The limits of a wrapped key.
	maxFile = 64 << 10
	maxIDs  = 64
	maxID   = 200 // bytes

	maxShownID = 32 // of an id that is longer than a classic age key
	maxWork    = 20 // scrypt with 2^20 takes 1 GiB
)

// Passphrase returns a Recipient that encrypts with a passphrase, as "age -p"
// does, and an Identity that opens the result. The bytes are used unchanged: if
// you read them from a file, remove the line break. An empty passphrase is
// ErrNoKey.
//
// Each use takes about a second and 256 MiB of memory. For the secrets in a
// snapshot, [backup.Passphrase] takes less. Use this one for whole files, and
// where the age command alone must be able to open them.
func Passphrase(passphrase []byte) (*Recipient, *Identity, error) {
	text := string(passphrase)
	if text == "" {
		return nil, nil, fmt.Errorf("%w: the passphrase is empty; set one and keep it apart from the backups, for nobody can open them without it", backup.ErrNoKey)
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
	identity, err := NewIdentity(i)
	return recipient, identity, err
}

// wrappedKey is a wrapped key in a snapshot. A nil member is absent.
type wrappedKey struct {
	Type *string        `json:"type"`
	File *string        `json:"file"`
	IDs  jsontext.Value `json:"ids,omitempty"`
}

var errOtherType = errors.New("key of another type")

func marshalWrapped(file []byte, ids []string) (jsonv1.RawMessage, error) {
	names, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	return json.Marshal(wrappedKey{new(typeAge), new(base64.StdEncoding.EncodeToString(file)), names})
}

// parseWrapped returns the age file of a wrapped key, and the ids of the keys
// that are said to open it. The error is errOtherType, or says what is
// malformed.
func parseWrapped(wrapped []byte) (file []byte, ids []string, err error) {
	// The type is read first: other types have other members.
	var head struct {
		Type *string `json:"type"`
	}
	if err := json.Unmarshal(wrapped, &head); err != nil {
		return nil, nil, err
	}
	if head.Type == nil {
		return nil, nil, errors.New(`no "type"`)
	}
	if *head.Type != typeAge {
		return nil, nil, errOtherType
	}
	var k wrappedKey
	if err := json.Unmarshal(wrapped, &k, json.RejectUnknownMembers(true)); err != nil {
		return nil, nil, err
	}
	if ids, err = parseIDs(k.IDs); err != nil {
		return nil, nil, err
	}
	if k.File == nil {
		return nil, nil, errors.New(`"file" is required`)
	}
	if len(*k.File) > base64.StdEncoding.EncodedLen(maxFile) {
		return nil, nil, fmt.Errorf("file of more than %d bytes", maxFile)
	}
	if file, err = codec.DecodeBase64(nil, []byte(*k.File)); err != nil {
		return nil, nil, fmt.Errorf("file: %w", err)
	}
	if len(file) > maxFile {
		return nil, nil, fmt.Errorf("file of more than %d bytes", maxFile)
	}
	return file, ids, nil
}

func parseIDs(value jsontext.Value) ([]string, error) {
	if value == nil {
		return nil, nil
	}
	var texts []*string
	if err := json.Unmarshal(value, &texts); err != nil || texts == nil {
		return nil, errors.New("ids is not an array of strings")
	}
	if len(texts) > maxIDs {
		return nil, fmt.Errorf("%d ids, the most is %d", len(texts), maxIDs)
	}
	ids := make([]string, len(texts))
	for i, text := range texts {
		switch {
		case text == nil:
			return nil, errors.New("ids is not an array of strings")
		case len(*text) > maxID:
			return nil, fmt.Errorf("an id of %d bytes, the most is %d", len(*text), maxID)
		}
		ids[i] = *text
	}
	return ids, nil
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

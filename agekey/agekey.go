// Package agekey brings the keys of age (age-encryption.org) to package backup:
// the key of a snapshot is wrapped for them, and whole files are encrypted for
// them. Public keys are enough to make backups, so that a server that is broken
// into gives away no old ones.
//
//	recipient, err := agekey.ParseRecipients(os.Getenv("BACKUP_RECIPIENTS"))
//
// A key is one that age-keygen makes, post-quantum ones included, or an ed25519
// or RSA key of SSH, or a passphrase. What is written are ordinary age files: the
// age command opens them without this library (FORMAT.md, "Wrapped keys" and
// "Compressed and encrypted files").
//
// An age file that was altered is refused. But it does not prove who made it:
// whoever knows the public key can make another. Only what opens with a
// passphrase was made by somebody who knows the passphrase.
//
// The values of this package are safe for concurrent use if the age keys that
// they were made of are, as all of package age itself are.
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
	"github.com/tomo-project/backup/internal/seal"
)

const (
	typeAge     = "age"
	dataKeySize = 32

	// Of a wrapped key.
	maxFile = 64 << 10
	maxIDs  = 64
	maxID   = 200 // bytes

	maxShownID = 32 // of what is longer than the text of a classic age key
	maxWork    = 20 // scrypt with 2^20 takes 1 GiB
)

// Passphrase returns what encrypts with a passphrase as "age -p" does, and what
// opens it. The bytes are taken as they are: trim the line break of one read from
// a file. It returns ErrNoKey if there are none.
//
// Each use takes about a second and 256 MiB of memory. For the secrets in a
// snapshot [backup.Passphrase] takes less; this is for whole files, and where the
// age command alone should be enough to open them.
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

// strict refuses bits that do not count; line breaks it must be spared.
var strict = base64.StdEncoding.Strict()

func marshalWrapped(file []byte, ids []string) (jsonv1.RawMessage, error) {
	names, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	return json.Marshal(wrappedKey{new(typeAge), new(strict.EncodeToString(file)), names})
}

// parseWrapped returns the age file of a wrapped key and the ids of the keys that
// are said to open it. The error is errOtherType or says what is malformed.
func parseWrapped(wrapped []byte) (file []byte, ids []string, err error) {
	// The members of another type are its own, so the type is read first.
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
	if len(*k.File) > strict.EncodedLen(maxFile) {
		return nil, nil, fmt.Errorf("file of more than %d bytes", maxFile)
	}
	if strings.ContainsAny(*k.File, "\r\n") {
		return nil, nil, errors.New("file: line break in base64")
	}
	if file, err = strict.DecodeString(*k.File); err != nil {
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
		return ssh.KeyAlgoED25519 // it does not tell its key
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

// isPrivate reports whether a text is, or begins like, a private key.
func isPrivate(text string) bool {
	upper := strings.ToUpper(text)
	return strings.HasPrefix(upper, "AGE-SECRET-KEY-") || strings.HasPrefix(upper, "AGE-PLUGIN-") ||
		strings.HasPrefix(upper, "-----BEGIN") && strings.Contains(upper, "PRIVATE KEY-----")
}

// list puts texts that may come from a hostile file in a line for people.
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

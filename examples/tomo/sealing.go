package main

import (
	"fmt"
	"strings"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
)

// publicKeys are the keys of --recipient. age does not encrypt one file for
// post-quantum keys and others together, so each kind has its own Recipient.
type publicKeys struct{ kinds []*agekey.Recipient }

// readRecipients reads public keys from flags and files.
func readRecipients(keys []string, files []string) (*publicKeys, error) {
	var classic, postQuantum []string
	add := func(text string, wrong func(line int, err error) error) error {
		n := 0
		for line := range strings.Lines(text) {
			n++
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			if _, err := agekey.ParseRecipients(line); err != nil {
				return wrong(n, err)
			}
			if strings.HasPrefix(line, "age1pq1") {
				postQuantum = append(postQuantum, line)
			} else {
				classic = append(classic, line)
			}
		}
		return nil
	}
	// agekey's errors begin with "line 1 is ".
	what := func(err error) string { return strings.TrimPrefix(err.Error(), "line 1 is ") }
	for i, key := range keys {
		err := add(key, func(_ int, err error) error { return usagef("--recipient: key %d is %s", i+1, what(err)) })
		if err != nil {
			return nil, err
		}
	}
	for _, path := range files {
		text, err := readKeyFile(path)
		if err == nil {
			err = add(string(text), func(line int, err error) error { return fmt.Errorf("line %d is %s", line, what(err)) })
		}
		if err != nil {
			return nil, fmt.Errorf("recipients file %s: %w", path, err)
		}
	}
	if len(classic)+len(postQuantum) == 0 {
		return nil, usagef("--recipient: no public key given")
	}
	found := &publicKeys{}
	for _, kind := range [][]string{classic, postQuantum} {
		if len(kind) == 0 {
			continue
		}
		r, err := agekey.ParseRecipients(strings.Join(kind, "\n"))
		if err != nil {
			return nil, fmt.Errorf("recipients: %w", err)
		}
		found.kinds = append(found.kinds, r)
	}
	return found, nil
}

// whole returns an Encrypter of whole files for all of the keys.
func (p *publicKeys) whole() (backup.Encrypter, error) {
	if len(p.kinds) > 1 {
		return nil, usagef("a whole file cannot be encrypted for post-quantum keys (age1pq1…) and others together: give recipients of one kind, or seal only the secrets, which works for both")
	}
	return p.kinds[0], nil
}

// A sealing says who can open what is stored.
type sealing struct {
	recipients []backup.Recipient
	encrypt    backup.Encrypter // nil: only the secrets are sealed
}

// sealing returns who can open what this run stores. With --recipient these are
// the recipients, and whoever has the passphrase, if one was given. Otherwise
// it is whoever has the passphrase. The keys are found now, so that nobody is
// asked in the middle of the work.
func (k *keyring) sealing(whole bool) (s sealing, err error) {
	if k.recipients == nil {
		return k.withPassphrase(whole)
	}
	for _, r := range k.recipients.kinds {
		s.recipients = append(s.recipients, r)
	}
	if k.given {
		if err := k.passphrase.get(true); err != nil {
			return s, err
		}
		s.recipients = append(s.recipients, k.passphrase)
	}
	if whole {
		s.encrypt, err = k.recipients.whole()
	}
	return s, err
}

func (k *keyring) withPassphrase(whole bool) (s sealing, err error) {
	if err := k.passphrase.get(true); err != nil {
		return s, err
	}
	s.recipients = []backup.Recipient{k.passphrase}
	if whole {
		s.encrypt, _, err = k.passphrase.age()
	}
	return s, err
}

// wayBack returns who can open what a restore replaces. These are the
// recipients of --recipient; or whoever has the passphrase, if one was given or
// asked for; or else the owners of the private keys that opened the backup. So
// a key in a file is enough to restore.
func (k *keyring) wayBack(whole bool) (s sealing, err error) {
	if k.recipients != nil || k.given || k.passphrase.known() || len(k.identities) == 0 {
		return k.sealing(whole)
	}
	ids := k.identities // all of them, if nothing had to be opened
	for _, id := range k.identities {
		if id.opened.Load() {
			ids = []*identityFile{id}
			break
		}
	}
	for _, id := range ids {
		r, err := id.Recipient()
		if err != nil {
			return s, fmt.Errorf("the replaced data cannot be sealed for the keys in %s; give a public key with --recipient: %w", id.path, err)
		}
		s.recipients = append(s.recipients, r)
		if whole && s.encrypt == nil {
			s.encrypt = r
		}
	}
	return s, nil
}

// names returns the keys in words for a person.
func (s sealing) names() []string {
	var names []string
	add := func(of any) {
		switch of := of.(type) {
		case *lazyKey:
			names = append(names, passphraseID)
		case interface{ KeyIDs() []string }:
			names = append(names, of.KeyIDs()...)
		}
	}
	if s.encrypt != nil {
		add(s.encrypt)
		return names
	}
	for _, r := range s.recipients {
		add(r)
	}
	return names
}

// passphraseID stands for the passphrase in [backup.Manifest].Keys.
const passphraseID = "passphrase"

// keyNames lists the names of keys in one line.
func keyNames(ids []string) string {
	const most = 8
	var names []string
	for i, id := range ids {
		if i == most {
			names = append(names, count(int64(len(ids)-most))+" more")
			break
		}
		if id == passphraseID {
			id = "the passphrase"
		}
		names = append(names, printable(shortened(id, 120)))
	}
	return strings.Join(names, ", ")
}

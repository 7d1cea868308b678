package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
)

const (
	passphraseVariable = "TOMO_BACKUP_PASSPHRASE"
	maxPassphrase      = 64 << 10
)

var errNoPassphrase = errors.New("a passphrase is needed for the secrets in the backup, or a key. Give it in one of these ways:\n" +
	"  in the environment variable " + passphraseVariable + "\n" +
	"  in a file, with --passphrase-file FILE\n" +
	"  at the prompt, by running the command in a terminal\n" +
	"  a new one in a file, with a sheet to print: tomo key generate --passphrase --output FILE --sheet FILE\n" +
	"  without a passphrase: --recipient KEY seals for a public key, --identity FILE opens with a private key")

// passphraseFlag adds --passphrase-file. There is no flag for the passphrase
// itself: every user of the machine can read the arguments of a process.
func (c *cli) passphraseFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.passphraseFile, "passphrase-file", "", "`FILE` with the passphrase (default: "+passphraseVariable+", or a prompt)")
}

// passphrase returns the passphrase from the file, the environment or the
// terminal. It asks twice for a new one.
func (c *cli) passphrase(ctx context.Context, isNew bool) ([]byte, error) {
	if c.passphraseFile != "" {
		return readPassphrase(c.passphraseFile)
	}
	if value, set := os.LookupEnv(passphraseVariable); set {
		if value == "" {
			return nil, fmt.Errorf("%s is set but empty", passphraseVariable)
		}
		return []byte(value), nil
	}
	if !c.interactive() {
		return nil, errNoPassphrase
	}
	first, err := c.askSecret(ctx, "Passphrase of the backup: ")
	if err != nil {
		return nil, err
	}
	if len(first) == 0 {
		return nil, errors.New("the passphrase is empty")
	}
	if isNew {
		second, err := c.askSecret(ctx, "The same once more: ")
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(first, second) {
			return nil, errors.New("the two passphrases differ")
		}
	}
	return first, nil
}

// readPassphrase returns the content of a file without its last line break.
func readPassphrase(name string) ([]byte, error) {
	text, err := readSmall(name, maxPassphrase)
	if err != nil {
		return nil, fmt.Errorf("passphrase file: %w", err)
	}
	if rest, found := bytes.CutSuffix(text, []byte("\n")); found {
		text = bytes.TrimSuffix(rest, []byte("\r"))
	}
	if len(text) == 0 {
		return nil, fmt.Errorf("passphrase file %s: empty", name)
	}
	return text, nil
}

// A lazyKey is the passphrase as a recipient and an identity. It looks for the
// passphrase only when that is needed, so that nobody is asked in vain.
type lazyKey struct {
	find func(isNew bool) ([]byte, error)
	key  *backup.PassphraseKey

	// For whole files. A closure hides the passphrase from whatever prints a
	// lazyKey.
	reveal func() []byte
}

func (c *cli) key(ctx context.Context) *lazyKey {
	return &lazyKey{find: func(isNew bool) ([]byte, error) { return c.passphrase(ctx, isNew) }}
}

// get finds the passphrase. It asks twice for a new one: nothing is sealed with
// it yet that would reveal a mistake.
func (l *lazyKey) get(isNew bool) error {
	if l.known() {
		return nil
	}
	passphrase, err := l.find(isNew)
	if err != nil {
		return err
	}
	key := backup.Passphrase(passphrase)
	if isNew { // it must not seal anything
		if err := key.Validate(); err != nil {
			return fmt.Errorf("passphrase: %w", err)
		}
	}
	l.key = key
	l.reveal = func() []byte { return passphrase }
	return nil
}

func (l *lazyKey) known() bool { return l.key != nil }

// Wrap implements [backup.Recipient].
func (l *lazyKey) Wrap(key []byte) (json.RawMessage, error) {
	if err := l.get(true); err != nil {
		return nil, err
	}
	return l.key.Wrap(key)
}

// Unwrap implements [backup.Identity].
func (l *lazyKey) Unwrap(wrapped json.RawMessage) ([]byte, error) {
	var head struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(wrapped, &head) == nil && head.Type != "argon2id" {
		return nil, fmt.Errorf("%w: no passphrase opens it", backup.ErrWrongKey)
	}
	if err := l.get(false); err != nil {
		return nil, err
	}
	return l.key.Unwrap(wrapped)
}

// age returns the passphrase in the form of package agekey, for whole files.
func (l *lazyKey) age() (*agekey.Recipient, *agekey.Identity, error) {
	if err := l.get(true); err != nil {
		return nil, nil, err
	}
	return agekey.Passphrase(l.reveal())
}

// OtherForms returns the keys for other forms of the passphrase (see
// [backup.Identity]), unless nobody has asked for it yet.
func (l *lazyKey) OtherForms() []backup.Identity {
	if !l.known() {
		return nil
	}
	return l.key.OtherForms()
}

// Decrypt implements [backup.Decrypter].
func (l *lazyKey) Decrypt(r io.Reader) (io.Reader, error) {
	var read bytes.Buffer // the beginning of the file, which says what opens it
	kinds := &kindsOfKeys{}
	look, err := agekey.NewIdentity(kinds)
	if err != nil {
		return nil, err
	}
	if _, err := look.Decrypt(io.TeeReader(r, &read)); !slices.Contains(kinds.names, passphraseID) {
		if errors.Is(err, backup.ErrWrongKey) {
			err = fmt.Errorf("%w: no passphrase opens the file, it is encrypted for a private key", backup.ErrWrongKey)
		}
		return nil, err
	}
	if err := l.get(false); err != nil {
		return nil, err
	}
	_, id, err := agekey.Passphrase(l.reveal())
	if err != nil {
		return nil, err
	}
	plain, err := id.Decrypt(io.MultiReader(&read, r))
	if errors.Is(err, backup.ErrWrongKey) {
		err = fmt.Errorf("%w: this passphrase does not open the file; use the one that was set when the backup was made", backup.ErrWrongKey)
	}
	return plain, err
}

// passphraseGiven reports whether a passphrase was given explicitly.
func (c *cli) passphraseGiven() bool {
	_, set := os.LookupEnv(passphraseVariable)
	return set || c.passphraseFile != ""
}

// hasPassphrase reports whether a passphrase was given or somebody can be asked
// for it.
func (c *cli) hasPassphrase() bool { return c.passphraseGiven() || c.interactive() }

// interactive reports whether somebody can be asked. Questions go to standard
// error, so that standard output can go into a pipe.
func (c *cli) interactive() bool {
	return isTerminal(c.stdin) && isTerminal(c.stderr)
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// askSecret reads a line from the terminal without showing it.
func (c *cli) askSecret(ctx context.Context, question string) ([]byte, error) {
	fd := int(c.stdin.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	fmt.Fprint(c.stderr, wipe, question)
	defer fmt.Fprintln(c.stderr)
	answer, err := wait(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	if ctx.Err() != nil {
		term.Restore(fd, before) // the read goes on waiting, with the echo off
	}
	return answer, err
}

// askYes asks a question. Only the word yes is consent.
func (c *cli) askYes(ctx context.Context, question string) (bool, error) {
	fmt.Fprint(c.stderr, wipe, question)
	answer, err := wait(ctx, func() (string, error) {
		var line []byte
		for b := make([]byte, 1); len(line) < 100; { // byte by byte, because what follows the line belongs to others
			n, err := c.stdin.Read(b)
			if n == 0 && err != nil && !errors.Is(err, io.EOF) {
				return "", err
			}
			if n == 0 || b[0] == '\n' {
				break
			}
			line = append(line, b[0])
		}
		return string(bytes.TrimSpace(line)), nil
	})
	return answer == "yes", err
}

// wait returns the result of f, or the error of ctx if that ends first. A read
// from a terminal cannot be interrupted.
func wait[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

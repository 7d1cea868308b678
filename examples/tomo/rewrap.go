package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
)

// rewrapFlags are the flags of tomo backup rewrap.
type rewrapFlags struct {
	newPassphrase pathFlag // --new-passphrase-file
	deleteOld     bool
}

func (c *cli) rewrapCommand() *cobra.Command {
	var flags rewrapFlags
	cmd := &cobra.Command{
		Use:   "rewrap NAME",
		Short: "Change who can open a backup",
		Long: `Change who can open a backup that tomo backup list shows: after a change of keys,
or for one more person. NAME is opened with --identity or its passphrase; what is
made of it is another backup of the same time, for the keys of --recipient and
the passphrase of --new-passphrase-file alone. Nothing else in it changes, and
its records are not read into any database.

The old backup stays, and whoever could open it still can, unless --delete-old is
given, which needs the new private key as a further --identity, or the new
passphrase: nothing is deleted for what nobody here can open. Neither changes what
somebody has copied.

A file that is encrypted as a whole stays so, and one that is compressed too;
--encrypt and --compress do it to one that is not. What proves that a backup is
authentic is made anew if it was proven: open it with its passphrase, or --trust
the key that it is signed with; and keep a passphrase, or give --sign. One that
nothing proves is not signed, and gets no passphrase.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !c.seal.given() && flags.newPassphrase == "" {
				return usagef("say who can open it from now on: --recipient KEY or --new-passphrase-file FILE")
			}
			return c.rewrap(cmd.Context(), args[0], flags)
		},
	}
	cmd.Flags().Var(&flags.newPassphrase, "new-passphrase-file", "`FILE` that holds a passphrase that opens it from now on")
	cmd.Flags().BoolVar(&flags.deleteOld, "delete-old", false, "delete the old backup where the new one is")
	c.locationFlags(cmd)
	c.openFlags(cmd)
	c.sealFlags(cmd)
	return cmd
}

func (c *cli) rewrap(ctx context.Context, name string, flags rewrapFlags) error {
	k, err := c.lookAround(ctx)
	if err != nil {
		return err
	}
	defer k.Close()
	// The keys that opened the old backup do not decide who opens the new one.
	was := storedAs(name)
	s, err := k.keys.renewed(string(flags.newPassphrase), c.seal.encrypt || was.Encrypted)
	if err != nil {
		return err
	}
	k.Compress, k.Signer = backup.Compression(c.seal.compress), k.keys.signer
	if k.Compress == "" {
		k.Compress = was.Compressed
	}
	if k.keys.given { // the passphrase comes first, because it also proves what it opens
		k.Identities = slices.Insert(slices.Clone(k.keys.openers), 0, backup.Identity(k.keys.passphrase))
	}
	for _, r := range s.recipients { // the new backup is tried with them
		if id, ok := r.(backup.Identity); ok {
			k.Identities = append(slices.Clone(k.Identities), id)
		}
	}
	if k.Signer != nil {
		if err := c.checkProven(ctx, k, name); err != nil {
			return err
		}
	}
	c.inParts = len(k.folders) > 1
	b, err := k.Rewrap(ctx, name, backup.RewrapOptions{Recipients: s.recipients, Encrypt: s.encrypt, Delete: flags.deleteOld})
	k.wipe()
	if err != nil && b.Name == "" {
		return explainMissing(c.proofLost(ctx, k, name, err))
	}
	if printed := c.printRewrapped(name, b, s, flags.deleteOld && err == nil); printed != nil {
		return printed
	}
	if err != nil {
		return err
	}
	c.warn(k)
	return nil
}

// storedAs says, from the name of a backup, in which form its file is stored.
func storedAs(name string) (m backup.Manifest) {
	name, m.Encrypted = strings.CutSuffix(name, ".age")
	switch {
	case strings.HasSuffix(name, ".json.gz"):
		m.Compressed = backup.Gzip
	case strings.HasSuffix(name, ".json.zst"):
		m.Compressed = backup.Zstd
	}
	return m
}

// renewed returns who can open the new backup.
func (k *keyring) renewed(passphraseFile string, whole bool) (sealing, error) {
	other := &keyring{recipients: k.recipients, given: passphraseFile != ""}
	other.passphrase = &lazyKey{find: func(bool) ([]byte, error) { return readPassphrase(passphraseFile) }}
	return other.sealing(whole)
}

// checkProven refuses to sign a backup without a proof: somebody else may have
// made it.
func (c *cli) checkProven(ctx context.Context, k *keeper, name string) error {
	old, err := k.Open(ctx, name)
	if err != nil {
		return explainMissing(err)
	}
	defer old.Close()
	if old.Manifest().Authentic == "" {
		return fmt.Errorf("%s is not signed, because nothing proves that it is authentic: give its passphrase, or --trust the key that it is signed with; if it carries no proof, leave --sign away", name)
	}
	return nil
}

// proofLost rewords an error about a proof that rewrap would lose or make up,
// so that it does not look like a forgery: the old backup can still be opened.
func (c *cli) proofLost(ctx context.Context, k *keeper, name string, err error) error {
	if !errors.Is(err, backup.ErrUnauthentic) {
		return err
	}
	old, failed := k.Open(ctx, name)
	if failed != nil {
		return err
	}
	old.Close()
	return fmt.Errorf("%s\n  (a passphrase: --new-passphrase-file FILE; a signer: --sign FILE; whom to trust: --trust KEY)", err)
}

func (c *cli) printRewrapped(name string, b backup.Backup, s sealing, deleted bool) error {
	if c.json {
		return c.printJSON(b)
	}
	fmt.Fprintf(c.stdout, "Made of %s:\n  %s\n  opens with %s\n", printable(name), printable(b.Name), keyNames(s.names()))
	for _, copy := range b.Copies {
		if copy.Err == nil {
			fmt.Fprintf(c.stdout, "  at %s\n", printable(copy.Location))
		}
	}
	if deleted {
		fmt.Fprintln(c.stdout, "The old one is deleted.")
		return nil
	}
	fmt.Fprintln(c.stdout, "The old one is still there, and opens with the keys that it had. To delete it:")
	for _, copy := range b.Copies {
		path := filepath.Join(copy.Location, name)
		if !exists(path) {
			continue
		}
		files := quoted(path)
		if note := path + ".manifest"; exists(note) {
			files += " " + quoted(note)
		}
		fmt.Fprintf(c.stdout, "  rm %s\n", files)
	}
	return nil
}

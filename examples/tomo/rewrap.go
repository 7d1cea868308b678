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
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
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
		Long: `Change who can open a backup, after a change of keys or for one more person.
NAME, from tomo backup list, is opened with --identity or its passphrase. The
result is a new backup with the same time. Only the keys of --recipient and the
passphrase of --new-passphrase-file open it. Nothing else in it changes, and its
records go into no database.

The old backup stays, and whoever could open it still can. --delete-old deletes
it. That needs the new private key as a further --identity, or the new
passphrase, so that nothing is deleted for a backup that nobody here can open.
Copies that somebody has made do not change.

A backup that is encrypted completely or compressed stays so. --encrypt and
--compress do this to one that is not. The proof that a backup is authentic is
renewed if the old one holds: open the backup with its passphrase, or --trust
the key that signed it, and keep a passphrase or give --sign. A backup without a
proof is not signed, and gets no passphrase.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !c.seal.given() && flags.newPassphrase == "" {
				return usagef("say who can open the new backup: --recipient KEY or --new-passphrase-file FILE")
			}
			return c.rewrap(cmd.Context(), args[0], flags)
		},
	}
	cmd.Flags().Var(&flags.newPassphrase, "new-passphrase-file", "`FILE` with the passphrase that will open the new backup")
	cmd.Flags().BoolVar(&flags.deleteOld, "delete-old", false, "delete the old backup in each folder that has the new one")
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
	b, err := k.Rewrap(ctx, name, manager.RewrapOptions{Recipients: s.recipients, Encrypt: s.encrypt, Delete: flags.deleteOld})
	k.wipe()
	if err != nil && b.Name == "" {
		return explainMissing(c.proofLost(ctx, k, name, err))
	}
	c.done("the new backup was made", func() error { return c.printRewrapped(name, b, s, flags.deleteOld && err == nil) })
	if err != nil {
		return err
	}
	if !c.json {
		c.printOldKeys(ctx, k, s, name, b.Name)
	}
	c.warn(k)
	return nil
}

// printOldKeys says which other backups the new keys do not open, and until when.
func (c *cli) printOldKeys(ctx context.Context, k *keeper, s sealing, except ...string) {
	after := &manager.Manager{App: k.App, Locations: k.Locations, Installation: k.Installation, Recipients: s.recipients, Encrypt: s.encrypt}
	for _, r := range s.recipients {
		if id, ok := r.(backup.Identity); ok {
			after.Identities = append(after.Identities, id)
		}
	}
	after.Retention, _ = (policyFlags{}).retention(k.settings) // only the date depends on them
	after.Schedule = scheduleOf(k.settings)
	old, _ := after.OldKeys(ctx, except...) // a folder that cannot be asked is told otherwise
	k.wipe()
	if said := old.Kept(); said != "" {
		fmt.Fprintf(c.stdout, "Besides, %s. Keep that key until then, or give them the new key too.\n", printable(said))
	}
}

// scheduleOf returns when the settings have backups made, or nil.
func scheduleOf(s settings) schedule.Schedule {
	on, err := s.yes("backup_enabled")
	zone, wrong := s.zone()
	if err != nil || wrong != nil || !on {
		return nil
	}
	made, _, err := s.schedule(zone)
	if err != nil {
		return nil
	}
	return made
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
		return fmt.Errorf("%s is not signed, because nothing proves that it is authentic: give its passphrase, or --trust the key that signed it; if it carries no proof, remove --sign", name)
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

func (c *cli) printRewrapped(name string, b manager.Backup, s sealing, deleted bool) error {
	if c.json {
		return c.printJSON(b)
	}
	fmt.Fprintf(c.stdout, "Made from %s:\n  %s\n  opens with %s\n", printable(name), printable(b.Name), keyNames(s.names()))
	for _, copy := range b.Copies {
		if copy.Err == nil {
			fmt.Fprintf(c.stdout, "  at %s\n", printable(copy.Location))
		}
	}
	if deleted {
		fmt.Fprintln(c.stdout, "The old one is deleted.")
		return nil
	}
	fmt.Fprintln(c.stdout, "The old one is still there, and opens with the keys that it had. With --delete-old, rewrap deletes it. To delete it now:")
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

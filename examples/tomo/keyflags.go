package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
)

// openFlags say which keys open backups, and what must prove them.
type openFlags struct {
	identities   paths    // --identity
	trusted      []string // --trust
	requireProof bool     // --require-proof
}

// sealFlags say who can open what is stored, and in which form it is stored.
// The keys are checked later, and no error quotes them: somebody may give a
// private key by mistake, and pflag would print it.
type sealFlags struct {
	recipients     []string    // --recipient
	recipientFiles paths       // --recipients-file
	sign           string      // --sign
	encrypt        bool        // --encrypt
	compress       compression // --compress
}

// given tells whether there are public keys to seal for.
func (f sealFlags) given() bool { return len(f.recipients)+len(f.recipientFiles) > 0 }

// identityFlags adds the flags for the keys that open backups.
func (c *cli) identityFlags(cmd *cobra.Command) {
	c.passphraseFlag(cmd)
	cmd.Flags().Var(&c.open.identities, "identity", "`FILE` with a private key of age or SSH that opens backups; may be repeated")
}

// openFlags adds the flags of a command that opens backups and can tell whether
// they are authentic.
func (c *cli) openFlags(cmd *cobra.Command) {
	c.identityFlags(cmd)
	cmd.Flags().StringArrayVar(&c.open.trusted, "trust", nil, "public `KEY` whose signature proves that a backup is authentic; may be repeated")
	cmd.Flags().BoolVar(&c.open.requireProof, "require-proof", false, "refuse a backup that neither the passphrase nor a --trust key proves")
}

// recipientFlags adds the flags that say for whom something is sealed, and who
// signs it.
func (c *cli) recipientFlags(cmd *cobra.Command, what string) {
	cmd.Flags().StringArrayVar(&c.seal.recipients, "recipient", nil, "seal "+what+" for this public `KEY`: age1…, age1pq1… or 'ssh-ed25519 …'; may be repeated")
	cmd.Flags().Var(&c.seal.recipientFiles, "recipients-file", "`FILE` with public keys as for --recipient, one a line; may be repeated")
	cmd.Flags().Var((*pathFlag)(&c.seal.sign), "sign", "sign "+what+" with the key in this `FILE` (tomo key generate --signing)")
}

// sealFlags adds the flags of a command that makes backups.
func (c *cli) sealFlags(cmd *cobra.Command) {
	c.recipientFlags(cmd, "it")
	cmd.Flags().BoolVar(&c.seal.encrypt, "encrypt", false, "encrypt the whole file, and not only the secrets in it")
	cmd.Flags().Var(&c.seal.compress, "compress", "compress the file: `gzip|zstd`")
}

// paths is the value of a flag that may be repeated and names a file each time.
type paths []string

// Set implements pflag.Value, as the next two methods do.
func (p *paths) Set(path string) error {
	if path == "" {
		return errors.New("the path is empty")
	}
	*p = append(*p, path)
	return nil
}

func (p *paths) String() string { return "" }
func (p *paths) Type() string   { return "file" }

// pathFlag is the value of a flag that names one file.
type pathFlag string

// Set implements pflag.Value, as the next two methods do.
func (f *pathFlag) Set(path string) error {
	if path == "" {
		return errors.New("the path is empty")
	}
	*f = pathFlag(path)
	return nil
}

func (f *pathFlag) String() string { return string(*f) }
func (f *pathFlag) Type() string   { return "file" }

// compression is the value of --compress.
type compression backup.Compression

// Set implements pflag.Value, as the next two methods do.
func (c *compression) Set(name string) error {
	*c = compression(name)
	if name != string(backup.Gzip) && name != string(backup.Zstd) {
		return fmt.Errorf("want %s or %s", backup.Gzip, backup.Zstd)
	}
	return nil
}

func (c *compression) String() string { return string(*c) }
func (c *compression) Type() string   { return "string" }

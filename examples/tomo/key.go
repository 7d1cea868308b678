package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/tomo-project/backup"
)

func (c *cli) keyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make keys for backups, and prove that they open them",
		Args:  cobra.ArbitraryArgs,
		RunE:  group,
	}
	cmd.PersistentFlags().BoolVar(&c.json, "json", false, "print one JSON document for machines")
	cmd.AddCommand(c.generateCommand(), c.rehearseCommand())
	return cmd
}

// generateFlags are the flags of tomo key generate.
type generateFlags struct {
	output      string
	postQuantum bool
	signing     bool
	passphrase  bool
	sheet       string
}

func (c *cli) generateCommand() *cobra.Command {
	var flags generateFlags
	cmd := &cobra.Command{
		Use:   "generate --output FILE",
		Short: "Make a key for backups",
		Long: `Make a key for backups. The private key is written to FILE, which must not
exist. The public key is printed.

Without --signing it is a key of age, in a file as age-keygen writes it. With
the public key (--recipient KEY), a machine makes backups that it cannot open
itself. The private key opens them: --identity FILE, or the age command. Keep it
away from the machine that makes the backups, and in more than one place:
without it the backups are lost.

With --signing it is an Ed25519 key, PKCS #8 in PEM, for --sign FILE. It stays
with whoever makes backups. Whoever restores a backup gives the public key
(--trust KEY): it proves that nobody else has made or altered the backup.

With --passphrase it is a passphrase of 120 random bits, for --passphrase-file
FILE, in letters and digits that a person can read and type. It is not printed.
--sheet FILE writes a recovery sheet too, to print and keep with your papers:
the passphrase, what it opens, and how, with Tomo and without.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.output == "" || flags.output == "-" {
				return usagef("say where the private key goes: --output FILE")
			}
			if flags.passphrase && (flags.signing || flags.postQuantum) {
				return usagef("--passphrase excludes --signing and --post-quantum")
			}
			if flags.sheet != "" && !flags.passphrase {
				return usagef("--sheet is for --passphrase")
			}
			if flags.passphrase {
				return c.generatePassphrase(flags)
			}
			if flags.signing && flags.postQuantum {
				return usagef("--post-quantum makes keys that open backups: remove it, or --signing")
			}
			return c.generate(flags)
		},
	}
	cmd.Flags().StringVar(&flags.output, "output", "", "`FILE` to write the private key to, which must not exist")
	cmd.Flags().BoolVar(&flags.postQuantum, "post-quantum", false, "make a key that a quantum computer cannot break either; it is long")
	cmd.Flags().BoolVar(&flags.signing, "signing", false, "make a key that signs backups")
	cmd.Flags().BoolVar(&flags.passphrase, "passphrase", false, "make a passphrase")
	cmd.Flags().StringVar(&flags.sheet, "sheet", "", "`FILE` to write a recovery sheet to, which must not exist")
	return cmd
}

// generated is what key generate prints with --json.
type generated struct {
	Path      string `json:"path"`
	Type      string `json:"type"` // "age", "age-post-quantum", "ed25519" or "passphrase"
	PublicKey string `json:"public_key,omitempty"`
	Sheet     string `json:"sheet,omitempty"` // the recovery sheet
}

func (c *cli) generate(flags generateFlags) error {
	made := generated{Path: flags.output, Type: "age"}
	var text string
	var err error
	switch {
	case flags.signing:
		made.Type = "ed25519"
		text, made.PublicKey, err = newSigningKey()
	case flags.postQuantum:
		made.Type = "age-post-quantum"
		var id *age.HybridIdentity
		if id, err = age.GenerateHybridIdentity(); err == nil {
			made.PublicKey = id.Recipient().String()
			text = identityText(made.PublicKey, id.String())
		}
	default:
		var id *age.X25519Identity
		if id, err = age.GenerateX25519Identity(); err == nil {
			made.PublicKey = id.Recipient().String()
			text = identityText(made.PublicKey, id.String())
		}
	}
	if err != nil {
		return err
	}
	if err := writeKey(flags.output, text); err != nil {
		return err
	}
	if c.json {
		return c.printJSON(made)
	}
	fmt.Fprintf(c.stdout, "Private key written: %s\nPublic key: %s\n\n", printable(flags.output), made.PublicKey)
	if flags.signing {
		fmt.Fprintf(c.stdout, `Keep the file with who makes backups, readable for nobody else, and sign them:
  tomo backup create --sign %s
Keep the public key where backups are restored. It proves who made one:
  tomo backup restore NAME --require-proof --trust %s
`, quoted(flags.output), made.PublicKey)
		return nil
	}
	key := made.PublicKey
	if flags.postQuantum { // its public key fills a screen
		key = "KEY"
	}
	fmt.Fprintf(c.stdout, `Keep the file away from this machine, and in more than one place: whoever has it
opens the backups, and without it nobody does. Here the public key is enough:
  tomo backup create --recipient %s
Where the file is, prove now and then that it opens them:
  tomo key rehearse --identity %s
`, key, quoted(filepath.Base(flags.output)))
	return nil
}

// identityText returns the text of an identity file, as age-keygen writes it.
func identityText(public, private string) string {
	return fmt.Sprintf("# created: %s\n# public key: %s\n%s\n", time.Now().Format(time.RFC3339), public, private)
}

func newSigningKey() (text, public string, err error) {
	key, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	text = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return text, base64.StdEncoding.EncodeToString(key), nil
}

// writeKey writes a private key into a new file that only its owner can read,
// and that survives a loss of power.
func writeKey(path, text string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w; a key is never overwritten: give a new name with --output", err)
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil { // nobody knows the key yet
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(path))
	}
	return nil
}

func (c *cli) rehearseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rehearse",
		Short: "Prove that your key opens the backups",
		Long: `Prove that your key opens the backups, before the day when it must. In each
folder, the newest backup is opened with the private keys of --identity alone,
or without any with the passphrase. Every record in it is checked. Nothing is
restored.

A machine that makes backups for public keys cannot do this itself. So do it now
and then, where the private key is kept. The success is noted beside the
backups, and tomo backup run --rehearsal monthly reminds you in its log.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.rehearse(cmd.Context()) },
	}
	c.locationFlags(cmd)
	c.openFlags(cmd)
	return cmd
}

func (c *cli) rehearse(ctx context.Context) error {
	k, err := c.lookAround(ctx)
	if err != nil {
		return err
	}
	defer k.Close()
	keys := k.keys.openers
	if len(k.keys.identities) > 0 { // a passphrase must not hide that the private keys do not open them
		keys = nil
		for _, id := range k.keys.identities {
			keys = append(keys, id)
		}
	}
	found, failed := k.Rehearse(ctx, keys...)
	k.wipe()
	switch {
	case len(found) == 0 || ctx.Err() != nil:
		return failed
	case c.json:
		if err := c.printJSON(found); err != nil {
			return err
		}
		return failed
	}
	for _, v := range found {
		location := printable(v.Location)
		switch {
		case v.Err == nil:
			fmt.Fprintf(c.stdout, "%s: your key opens %s (%s, all checked)\n", location, printable(v.Backup), plural(sum(v.Manifest.Records), "record", "records"))
		case v.Backup != "":
			fmt.Fprintf(c.stdout, "%s: %s was NOT opened\n", location, printable(v.Backup))
		default:
			fmt.Fprintf(c.stdout, "%s: no backup was opened\n", location)
		}
	}
	if failed == nil {
		c.warn(k)
	}
	return failed
}

// proofText says what proved that a backup is authentic, or what could prove it. opened
// says that the passphrase opened it.
func proofText(m backup.Manifest, opened bool) string {
	if key, signed := strings.CutPrefix(m.Authentic, "ed25519 "); signed {
		return "signed by " + printable(key)
	}
	if m.Authentic != "" {
		return "proven by the " + printable(m.Authentic)
	}
	switch {
	case m.Salvaged != nil:
		return "not proven: what was salvaged carries no proof, so nothing can prove it"
	case m.Encrypted && m.SHA256 == "": // nobody has looked inside
	case !slices.Contains(m.Keys, "passphrase"):
		return "not proven: no passphrase can prove it, only a signature of a --trust key"
	case opened:
		return "not proven: the passphrase opens it, but the proof that belongs to it is missing: somebody may have taken it away"
	}
	return "not proven: the passphrase or a signature of a --trust key would prove it"
}

//go:build !race

package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tomo-project/backup/manager"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
)

func TestAKeyThatIsMadeIsAnOrdinaryOne(t *testing.T) {
	m := newMachine(t, -1)
	path := m.path("key.txt")
	o := m.ok("key", "generate", "--output", path)
	text := read(t, path)
	require.Regexp(t, `^# created: \S+\n# public key: age1[a-z0-9]+\nAGE-SECRET-KEY-1[A-Z0-9]+\n$`, text)
	ids, err := age.ParseIdentities(strings.NewReader(text))
	require.NoError(t, err)
	public := ids[0].(*age.X25519Identity).Recipient().String()
	require.Contains(t, text, "# public key: "+public+"\n")
	require.Contains(t, o.stdout, "Public key: "+public+"\n")
	for _, next := range []string{"--recipient " + public, "tomo key rehearse --identity key.txt", "Keep the file away"} {
		require.Contains(t, o.stdout, next)
	}
	require.NotContains(t, o.stdout, "AGE-SECRET-KEY")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	if keygen, err := exec.LookPath("age-keygen"); err == nil {
		out, err := exec.Command(keygen, "-y", path).Output()
		require.NoError(t, err)
		require.Equal(t, public, strings.TrimSpace(string(out)))
	}

	m.fails(statusFailed, "exists", "key", "generate", "--output", path)
	require.Equal(t, text, read(t, path))
	link := m.path("link")
	require.NoError(t, os.Symlink(m.path("nowhere"), link))
	m.fails(statusFailed, "exists", "key", "generate", "--output", link)
	m.fails(statusUsage, "--output", "key", "generate")
	m.fails(statusUsage, "--post-quantum", "key", "generate", "--signing", "--post-quantum", "--output", m.path("x"))
	m.fails(statusUsage, "generate | rehearse", "key")

	path, public = m.generate("--post-quantum")
	ids, err = age.ParseIdentities(strings.NewReader(read(t, path)))
	require.NoError(t, err)
	require.Equal(t, public, ids[0].(*age.HybridIdentity).Recipient().String())

	path, public = m.generate("--signing")
	signer, err := readSigner(path)
	require.NoError(t, err)
	require.Equal(t, public, base64.StdEncoding.EncodeToString(signer.Public().(ed25519.PublicKey)))
	if openssl, err := exec.LookPath("openssl"); err == nil {
		der, err := exec.Command(openssl, "pkey", "-in", path, "-pubout", "-outform", "DER").Output()
		require.NoError(t, err)
		require.Equal(t, public, base64.StdEncoding.EncodeToString(der[len(der)-ed25519.PublicKeySize:]))
	}
}

// A server has public keys only, and does all but open.
func TestAMachineWithPublicKeysMakesBackupsThatItCannotOpen(t *testing.T) {
	m := newMachine(t, 3).without(passphraseVariable)
	identity, public := m.generate()
	_, postQuantum := m.generate("--post-quantum")
	recipients := m.path("recipients.txt")
	write(t, recipients, "# who may restore\n\n"+postQuantum+"\n"+read(t, "../../agekey/testdata/keys/ed25519.pub"))
	before := m.dump()

	o := m.ok("backup", "create", "--recipient", public, "--recipients-file", recipients, "--include", "logs")
	require.Contains(t, o.stdout, "sealed for "+public+", ssh-ed25519 SHA256:")
	require.Contains(t, o.stdout, postQuantum[:32])
	b := m.list()[0]
	require.Len(t, b.Manifest.Keys, 3)
	require.False(t, b.Manifest.Encrypted)

	o = m.ok("backup", "verify", b.Name)
	require.Contains(t, o.stdout, "is whole, as far as its digest tells")
	require.Contains(t, o.stdout, "no key was given")
	require.Contains(t, o.stdout, "opens with: "+public)
	require.Contains(t, o.stdout, "authentic: not proven")
	o = m.ok("backup", "verify", filepath.Join(m.backups(), b.Name))
	require.Contains(t, o.stdout, "is whole, as far as its digest tells")

	encrypted := m.create("--recipient", public, "--encrypt", "--compress", "zstd")
	require.Regexp(t, `-2\.json\.zst\.age$|\d\.json\.zst\.age$`, encrypted.Name)
	require.Contains(t, m.ok("backup", "verify", encrypted.Name).stdout, "the digest beside it")
	flip(t, filepath.Join(m.backups(), encrypted.Name))
	m.fails(statusFailed, "damaged", "backup", "verify", encrypted.Name)

	m.old(2, "scheduled")
	m.old(1, "scheduled")
	require.Contains(t, m.ok("backup", "prune", "--keep-last", "1").stdout, "Deleted 1 backup")

	for _, args := range [][]string{{"restore", b.Name}, {"restore", b.Name, "--dry-run"}, {"drill", b.Name}, {"restore", encrypted.Name}} {
		o := m.fails(statusFailed, "no key", append([]string{"backup"}, args...)...)
		require.Contains(t, o.stderr, public, "it says which key is needed")
		require.Contains(t, o.stderr, "--identity FILE", "and how to give it")
		require.Contains(t, o.stderr, passphraseVariable)
	}
	m.fails(statusFailed, "an age key", "backup", "verify", filepath.Join(m.backups(), encrypted.Name))

	other := m.elsewhere()
	for _, key := range []string{identity, "../../agekey/testdata/keys/ed25519"} {
		key, err := filepath.Abs(key)
		require.NoError(t, err)
		o := other.ok("backup", "restore", b.Name, "--identity", key, "--full", "--yes")
		require.Equal(t, before, other.dump())
		require.Contains(t, o.stdout, "tomo backup undo --identity "+key)
		other.ok("backup", "undo", "--identity", key, "--yes")
		require.NotEqual(t, before, other.dump())
	}
}

func TestRecipientsThatAreNoneAreNeverPrinted(t *testing.T) {
	m := newMachine(t, 1).without(passphraseVariable)
	path, public := m.generate()
	private := strings.Fields(read(t, path))[7]
	require.Contains(t, private, "AGE-SECRET-KEY-1")
	_, postQuantum := m.generate("--post-quantum")
	secret := read(t, "../../agekey/testdata/keys/ed25519")
	write(t, m.path("file"), public+"\n"+private+"\n")
	write(t, m.path("none"), "# nobody\n")
	for _, test := range []struct {
		status int
		says   string
		args   []string
	}{
		{statusUsage, "key 2 is a private key", []string{"--recipient", public, "--recipient", private}},
		{statusUsage, "key 1 is a private key", []string{"--recipient", secret}},
		{statusUsage, "key 1 is not a whole age public key", []string{"--recipient", public[:40]}},
		{statusUsage, "no public key", []string{"--recipient", ""}},
		{statusFailed, "line 2 is a private key", []string{"--recipients-file", m.path("file")}},
		{statusUsage, "no public key", []string{"--recipients-file", m.path("none")}},
		{statusFailed, "missing", []string{"--recipients-file", m.path("missing")}},
		{statusUsage, "post-quantum keys (age1pq1…) and others", []string{"--recipient", public, "--recipient", postQuantum, "--encrypt"}},
		{statusUsage, "gzip or zstd", []string{"--recipient", public, "--compress", "lz4"}},
		{statusUsage, "empty", []string{"--recipient", public, "--sign", ""}},
		{statusFailed, "not a private key in PEM", []string{"--recipient", public, "--sign", path}},
		{statusFailed, "another kind", []string{"--recipient", public, "--sign", "ssh"}},
	} {
		write(t, m.path("ssh"), secret)
		o := m.fails(test.status, test.says, append([]string{"backup", "create"}, test.args...)...)
		require.NotContains(t, o.stderr, private)
		require.NotContains(t, o.stderr, strings.Fields(secret)[5])
	}
	require.Empty(t, m.list())
	m.fails(statusUsage, "--trust: key 1", "backup", "verify", "x", "--trust", "AAAA")
	m.fails(statusFailed, "no-such", "backup", "verify", "x", "--identity", "no-such")
	m.fails(statusFailed, "a public key, where a private", "backup", "verify", "x", "--identity", func() string { write(t, m.path("pub"), public); return m.path("pub") }())
}

func TestAWrongIdentityNamesTheKeysThatAreNeededAndSeveralAreTried(t *testing.T) {
	m := newMachine(t, 3).without(passphraseVariable)
	right, public := m.generate()
	wrong, wrongPublic := m.generate()
	plain, whole := m.create("--recipient", public), m.create("--recipient", public, "--encrypt")
	m.sql("DELETE FROM preferences")
	before := m.dump()

	o := m.fails(statusFailed, "wrong key", "backup", "restore", plain.Name, "--identity", wrong, "--full", "--yes")
	require.Contains(t, o.stderr, public)
	o = m.fails(statusFailed, "wrong key", "backup", "restore", whole.Name, "--identity", wrong, "--full", "--yes")
	require.Contains(t, o.stderr, "it is encrypted for an age key")
	require.Contains(t, o.stderr, wrongPublic, "it says what was given")
	m.with(passphraseVariable, "wrong").fails(statusFailed, "no passphrase opens the file", "backup", "verify", whole.Name)
	m.with(passphraseVariable, "wrong").fails(statusFailed, public, "backup", "verify", plain.Name)
	require.Equal(t, before, m.dump())

	for _, b := range []manager.Backup{plain, whole} {
		o := m.ok("backup", "restore", b.Name, "--identity", wrong, "--identity", right, "--full", "--yes")
		require.Regexp(t, `(sealed|encrypted) for `+public+`\.`, o.stdout, "what is replaced is for the key that opened")
		require.NotContains(t, o.stdout, wrongPublic)
		back := m.kept(o)
		require.Equal(t, b.Manifest.Encrypted, back.Manifest.Encrypted, "it is stored like what was restored")
		require.Equal(t, []string{public}, back.Manifest.Keys)
		m.ok("backup", "undo", "--yes", "--identity", right)
		require.Equal(t, before, m.dump())
	}
}

func TestWhatIsReplacedIsSealedForWhomItShouldBe(t *testing.T) {
	m := newMachine(t, 2)
	identity, public := m.generate()
	_, other := m.generate()
	b := m.create("--recipient", public)
	require.Equal(t, []string{public, "passphrase"}, b.Manifest.Keys, "a passphrase that was given opens it too")
	none := m.without(passphraseVariable)
	for _, test := range []struct {
		name string
		m    *machine
		args []string
		want []string
	}{
		{"recipient", none, []string{"--identity", identity, "--recipient", other}, []string{other}},
		{"recipient and passphrase", m, []string{"--recipient", other}, []string{other, "passphrase"}},
		{"passphrase", m, []string{"--identity", identity}, []string{"passphrase"}},
		{"identity", none, []string{"--identity", identity}, []string{public}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m.sql("DELETE FROM preferences")
			o := test.m.ok(append([]string{"backup", "restore", b.Name, "--full", "--yes"}, test.args...)...)
			require.Equal(t, test.want, m.kept(o).Manifest.Keys)
		})
	}
	// A file that has nothing to open is restored with a key that it does not take.
	write(t, m.path("guide.json"), guideDocument)
	o := none.ok("backup", "restore", "--input", m.path("guide.json"), "--identity", identity)
	require.Equal(t, []string{public}, m.kept(o).Manifest.Keys)
}

func TestRewrappingChangesWhoCanOpenABackup(t *testing.T) {
	m := newMachine(t, 3)
	before := m.dump()
	drive := m.path("drive")
	require.NoError(t, os.Mkdir(drive, 0o700))
	oldKey, oldPublic := m.generate()
	newKey, newPublic := m.generate("--post-quantum")
	none := m.without(passphraseVariable)
	b := none.create("--recipient", oldPublic, "--location", drive, "--include", "logs")

	none.fails(statusUsage, "--recipient KEY or --new-passphrase-file", "backup", "rewrap", b.Name)
	none.fails(statusFailed, oldPublic, "backup", "rewrap", b.Name, "--recipient", newPublic)
	none.fails(statusFailed, "wrong key", "backup", "rewrap", b.Name, "--identity", newKey, "--recipient", newPublic)
	none.fails(statusFailed, "tomo backup list shows", "backup", "rewrap", "tomo-backup-2024-01-15T10-30-00.json", "--recipient", newPublic)
	require.Len(t, m.list(), 1)

	o := none.ok("backup", "rewrap", b.Name, "--identity", oldKey, "--recipient", newPublic, "--location", drive)
	made := m.made(o)
	require.NotEqual(t, b.Name, made.Name)
	require.True(t, b.CreatedAt.Equal(made.CreatedAt))
	require.Contains(t, o.stdout, made.Name)
	require.Contains(t, o.stdout, "rm "+filepath.Join(m.backups(), b.Name))
	require.Contains(t, o.stdout, "rm "+filepath.Join(drive, b.Name))
	other := m.elsewhere()
	other.fails(statusFailed, "wrong key", "backup", "restore", made.Name, "--identity", oldKey)
	other.ok("backup", "verify", b.Name, "--identity", oldKey)
	other.ok("backup", "restore", made.Name, "--identity", newKey, "--full", "--yes")
	require.Equal(t, before, other.dump())

	// One that is encrypted as a whole stays so.
	whole := none.create("--new-key", "--recipient", oldPublic, "--encrypt", "--compress", "gzip", "--location", drive)
	write(t, m.path("new"), "another passphrase\n")
	none.fails(statusFailed, "a passphrase must not seem to prove it", "backup", "rewrap", whole.Name, "--identity", oldKey, "--new-passphrase-file", m.path("new"), "--location", drive)
	none.fails(statusFailed, "does not open with the keys that were given", "backup", "rewrap", whole.Name, "--identity", oldKey, "--recipient", newPublic, "--delete-old", "--location", drive)
	o = none.ok("backup", "rewrap", whole.Name, "--identity", oldKey, "--identity", newKey, "--recipient", newPublic, "--delete-old", "--location", drive)
	require.Contains(t, o.stdout, "The old one is deleted")
	for _, dir := range []string{m.backups(), drive} {
		require.NoFileExists(t, filepath.Join(dir, whole.Name))
		require.NoFileExists(t, filepath.Join(dir, whole.Name+".manifest"))
	}
	made = m.made(o)
	require.True(t, strings.HasSuffix(made.Name, ".json.gz.age"), made.Name)
	none.fails(statusFailed, "wrong key", "backup", "verify", made.Name, "--identity", oldKey)
	o = none.ok("backup", "verify", made.Name, "--identity", newKey)
	require.Contains(t, o.stdout, "authentic: not proven", "what nothing proved is not vouched for")

	// What a passphrase proves must not lose its proof.
	proven := m.create("--new-key")
	o = m.fails(statusFailed, "would be lost", "backup", "rewrap", proven.Name, "--recipient", newPublic)
	require.Contains(t, o.stderr, "--sign FILE")
	require.NotContains(t, o.stderr, "Do not restore it")
	signing, trusted := m.generate("--signing")
	none.fails(statusFailed, "nothing proves", "backup", "rewrap", b.Name, "--identity", oldKey, "--recipient", newPublic, "--sign", signing)
	both := m.create("--recipient", oldPublic)
	none.fails(statusFailed, "a proof that was not checked", "backup", "rewrap", both.Name, "--identity", oldKey, "--recipient", newPublic)
	m.fails(statusFailed, "would be lost", "backup", "rewrap", both.Name, "--recipient", newPublic, "--sign", signing) // who has oldKey could have made it
	made = m.made(m.ok("backup", "rewrap", proven.Name, "--recipient", newPublic, "--sign", signing))
	o = none.ok("backup", "verify", made.Name, "--identity", newKey, "--trust", trusted, "--require-proof")
	require.Contains(t, o.stdout, "signed by "+trusted)
	flip(t, filepath.Join(m.backups(), proven.Name))
	m.fails(statusFailed, "list shows other copies", "backup", "rewrap", proven.Name, "--recipient", newPublic, "--sign", signing)
}

func TestWhatIsNotAuthenticIsRefusedAndNothingChanges(t *testing.T) {
	m := newMachine(t, 3)
	identity, public := m.generate()
	signing, trusted := m.generate("--signing")
	_, stranger := m.generate("--signing")
	none := m.without(passphraseVariable)
	signed, forged := m.path("signed.json"), m.path("forged.json")
	none.ok("backup", "create", "--output", signed, "--recipient", public, "--sign", signing)
	m.sql("DELETE FROM preferences")
	before := m.dump()
	proof := []string{"--require-proof", "--trust", trusted}
	restore := func(file string, args ...string) []string {
		return append([]string{"backup", "restore", "--input", file, "--full", "--yes", "--identity", identity}, args...)
	}

	o := none.ok(append([]string{"backup", "verify", signed, "--identity", identity}, proof...)...)
	require.Contains(t, o.stdout, "authentic: signed by "+trusted)
	none.fails(statusFailed, "not trusted here", restore(signed, "--require-proof", "--trust", stranger)...)
	none.fails(statusFailed, "not trusted here", restore(signed, "--require-proof")...)

	for name, text := range map[string]string{
		"altered": remade(t, read(t, signed), `"host":"10.0.0.0"`, `"host":"evil.example.net"`),
		"stripped": func() string {
			text := regexp.MustCompile(`(?m)^"proof":.*\n`).ReplaceAllString(read(t, signed), "")
			return remade(t, text, `"host":"10.0.0.0"`, `"host":"evil.example.net"`)
		}(),
	} {
		write(t, forged, text)
		require.Contains(t, none.ok("backup", "verify", forged, "--identity", identity).stdout, "authentic: not proven", name)
		o := none.fails(statusFailed, "not authentic", restore(forged, proof...)...)
		require.Contains(t, o.stderr, "Do not restore it")
	}
	none.ok("backup", "create", "--output", forged, "--recipient", public, "--force") // by anybody with the public key
	none.fails(statusFailed, "carries none", restore(forged, proof...)...)
	require.Equal(t, before, m.dump())
	require.Empty(t, m.list())

	// Whoever restores with a private key alone has nothing to prove with what is
	// replaced, and can do it.
	none.ok(restore(signed, proof...)...)
	require.Contains(t, m.dump(), "preferences")
	none.fails(statusFailed, "not authentic", append([]string{"backup", "undo", "--yes", "--identity", identity}, proof...)...)
	none.ok("backup", "undo", "--yes", "--identity", identity)
	require.Equal(t, before, m.dump())
	none.ok(restore(signed, append(proof, "--sign", signing)...)...)
	none.ok(append([]string{"backup", "undo", "--yes", "--identity", identity}, proof...)...)
	require.Equal(t, before, m.dump())
}

func TestThePassphraseProvesThatABackupIsAuthentic(t *testing.T) {
	m := newMachine(t, 3)
	identity, public := m.generate()
	file, forged := m.path("b.json"), m.path("forged.json")
	m.ok("backup", "create", "--output", file, "--recipient", public)
	before := m.dump()
	require.Contains(t, m.ok("backup", "verify", file, "--require-proof").stdout, "authentic: proven by the passphrase")
	// A private key opens it as well, and proves nothing.
	require.Contains(t, m.ok("backup", "verify", file, "--require-proof", "--identity", identity).stdout, "proven by the passphrase")
	m.without(passphraseVariable).fails(statusFailed, "open it with the passphrase", "backup", "verify", file, "--require-proof", "--identity", identity)

	write(t, forged, remade(t, read(t, file), `"host":"10.0.0.0"`, `"host":"evil.example.net"`))
	o := m.fails(statusFailed, "not authentic", "backup", "restore", "--input", forged, "--full", "--yes")
	require.Contains(t, o.stderr, "Do not restore it")
	require.Equal(t, before, m.dump())
	m.without(passphraseVariable).fails(statusUsage, "--sign FILE", "backup", "run", "--daily", "03:00", "--require-proof", "--recipient", public)
}

func TestAWholeFileIsEncryptedAndCompressed(t *testing.T) {
	m := newMachine(t, 20)
	before := m.dump()
	plain := m.create()
	b := m.create("--encrypt", "--compress", "zstd")
	require.True(t, strings.HasSuffix(b.Name, ".json.zst.age"), b.Name)
	text := read(t, filepath.Join(m.backups(), b.Name))
	require.True(t, strings.HasPrefix(text, "age-encryption.org/v1\n"))
	require.NotContains(t, text, "server-0000001")
	require.Less(t, len(text), len(read(t, filepath.Join(m.backups(), plain.Name)))/2)
	gz := m.create("--compress", "gzip")

	o := m.ok("backup", "list")
	require.Regexp(t, regexp.QuoteMeta(b.Name)+` .* 116 .* whole, zstd, encrypted, no key tried\n`, o.stdout)
	require.Regexp(t, regexp.QuoteMeta(gz.Name)+` .* whole, gzip, no key tried\n`, o.stdout)
	require.Regexp(t, regexp.QuoteMeta(plain.Name)+` .* whole, no key tried\n`, o.stdout)
	require.Contains(t, m.ok("backup", "verify", b.Name).stdout, "zstd, encrypted, secrets sealed")

	m.sql("DELETE FROM applications")
	damaged := m.dump()
	m.with(passphraseVariable, "wrong").fails(statusFailed, "this passphrase does not open the file", "backup", "restore", b.Name, "--full", "--yes")
	back := m.kept(m.ok("backup", "restore", b.Name, "--full", "--yes"))
	require.Equal(t, before, m.dump())
	require.True(t, strings.HasSuffix(back.Name, ".json.age"), back.Name)
	back = m.kept(m.ok("backup", "undo", "--yes"))
	require.Equal(t, damaged, m.dump())
	require.True(t, strings.HasSuffix(back.Name, ".json.age"), back.Name)
	m.ok("backup", "drill", b.Name)

	// A name that a person chose is used as it is, and what is in the file shows.
	odd := m.path("odd name")
	require.Contains(t, m.ok("backup", "create", "--output", odd, "--encrypt", "--compress", "gzip").stdout, "encrypted for the passphrase")
	require.Contains(t, m.ok("backup", "verify", odd).stdout, "gzip, encrypted")
	m.ok("backup", "restore", "--input", odd)

	// Without the file beside it nobody knows what is in an encrypted one.
	require.NoError(t, os.Remove(filepath.Join(m.backups(), b.Name+".manifest")))
	require.Regexp(t, regexp.QuoteMeta(b.Name)+` .* - +- +- +encrypted, not known\n`, m.ok("backup", "list").stdout)
	dir := m.path("other names")
	require.NoError(t, os.Mkdir(dir, 0o700))
	m.ok("backup", "create", "--output", filepath.Join(dir, "tomo-backup-monday.json.zst"), "--compress", "zstd")
	m.ok("backup", "create", "--output", filepath.Join(dir, "tomo-backup-monday.json.age"), "--encrypt")
	m.ok("backup", "create", "--output", filepath.Join(dir, "not-ours.json.age"), "--encrypt")
	o = m.without(passphraseVariable).ok("backup", "list", "--dir", dir)
	require.Regexp(t, `tomo-backup-monday.json.zst .* whole, zstd, no key tried\n`, o.stdout)
	require.Regexp(t, `tomo-backup-monday.json.age .* encrypted, not known\n`, o.stdout)
	require.NotContains(t, o.stdout, "not-ours")
}

func TestAKeyIsRehearsed(t *testing.T) {
	m := newMachine(t, 3)
	drive := m.path("drive")
	require.NoError(t, os.Mkdir(drive, 0o700))
	identity, public := m.generate()
	wrong, _ := m.generate()
	m.fails(statusFailed, "no backup", "key", "rehearse", "--identity", identity)
	b := m.create("--recipient", public, "--encrypt", "--location", drive) // and for the passphrase

	o := m.ok("key", "rehearse", "--identity", identity, "--location", drive)
	require.Equal(t, 2, strings.Count(o.stdout, "your key opens "+b.Name+" (18 records, all checked)"))
	require.FileExists(t, filepath.Join(m.backups(), b.Name+".rehearsed"))
	o = m.fails(statusFailed, "wrong key", "key", "rehearse", "--identity", wrong)
	require.Contains(t, o.stdout, b.Name+" was NOT opened")
	m.without(passphraseVariable).fails(statusFailed, "give the key", "key", "rehearse")

	// The passphrase opens the secrets in it, and not the file.
	m.fails(statusFailed, "encrypted for a private key", "key", "rehearse")
	time.Sleep(time.Until(b.CreatedAt.Add(time.Second))) // so that it is the newest
	sealed := m.create("--recipient", public)
	found := parse[[]struct{ Backup, Error string }](t, m.ok("key", "rehearse", "--json").stdout)
	require.Equal(t, sealed.Name, found[0].Backup)
	o = m.fails(statusFailed, "wrong key", "key", "rehearse", "--identity", wrong)
	require.Contains(t, o.stderr, "passphrase", "the passphrase at hand does not hide that the key does not open it")

	require.NoError(t, os.Remove(filepath.Join(drive, b.Name)))
	o = m.fails(statusFailed, "no backup", "key", "rehearse", "--identity", identity, "--location", drive)
	require.Contains(t, o.stdout, drive+": no backup was opened")
	require.Contains(t, o.stdout, m.backups()+": your key opens")
}

func TestEncryptedSalvageNeedsItsKey(t *testing.T) {
	m := newMachine(t, 40).without(passphraseVariable)
	identity, public := m.generate()
	b := m.create("--recipient", public, "--encrypt")
	path, out := filepath.Join(m.backups(), b.Name), m.path("saved.json")
	text := read(t, path)
	write(t, path, text[:len(text)-1000])
	m.fails(statusFailed, "no key", "backup", "salvage", b.Name, "--output", out)
	require.NoFileExists(t, out)
	m.fails(statusUsage, "require-proof", "backup", "salvage", b.Name, "--output", out, "--require-proof")
	m.ok("backup", "salvage", b.Name, "--output", out, "--identity", identity)
	require.NotContains(t, read(t, out), "made-up-")
	m.ok("backup", "restore", "--input", out, "--identity", identity, "--strategy", "merge", "--allow-dangling")
}

// A file for the age command is one for it years from now.
func TestTheAgeCommandOpensABackup(t *testing.T) {
	command, err := exec.LookPath("age")
	if err != nil && os.Getenv("BACKUP_REQUIRE_SERVICES") == "1" {
		t.Fatal("the command age is not in PATH, and BACKUP_REQUIRE_SERVICES=1 requires it")
	} else if err != nil {
		t.Skip("the command age is not in PATH; set BACKUP_REQUIRE_SERVICES=1 to be sure that nothing is skipped")
	}
	m := newMachine(t, 2).without(passphraseVariable)
	identity, public := m.generate()
	m.ok("backup", "create", "--recipient", public, "--encrypt", "--output", m.path("b.age"))
	var plain bytes.Buffer
	cmd := exec.Command(command, "-d", "-i", identity, m.path("b.age"))
	cmd.Stdout = &plain
	require.NoError(t, cmd.Run())
	require.Contains(t, plain.String(), `"version":"1.0"`)
	require.Contains(t, plain.String(), "server-0000001")
}

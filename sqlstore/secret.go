package sqlstore

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// secrets returns the pointers of the columns with the name of a secret. It leaves out
// the columns that are taken by keys and references.
func (t *table) secrets(taken []*column) (secrets []string) {
	for i, c := range t.columns {
		called := isSecret(c.Name) || isSecret(c.Field) || i == t.value
		if called && c.Kind != Bool && !slices.Contains(taken, c) {
			secrets = append(secrets, t.pointer(c))
		}
	}
	return secrets
}

// keyIsSecret refuses a key with the name of a secret. A key is in clear, and so are the
// references to it.
func (t *table) keyIsSecret(key []*column) error {
	for _, c := range key {
		if hasSecretPart(c.Name) && !refers.MatchString(c.Name) {
			return fmt.Errorf("sqlstore: collection %q in table %q: the key %q is called like a secret, and a key cannot be sealed: leave the table out with Store.Exclude, or say in Table.Key what identifies a row", t.collection, t.plain, c.Name)
		}
	}
	return nil
}

// keyGiven tells whether the host has named the key of a table.
func (d *description) keyGiven(t *table) bool {
	return slices.ContainsFunc(d.Store.Tables, func(declared Table) bool { return tableName(declared) == t.plain && declared.Key != "" })
}

var (
	// A name with a secretPart anywhere is the name of a secret. harmlessParts only look
	// like that. The name of what only refers to a secret matches refers.
	secretPart    = regexp.MustCompile(`(?i)pass(word|wd|phrase)|pwhash|secret|token|credential|mnemonic|private|pass$`)
	harmlessParts = regexp.MustCompile(`(?i)secretar|tokeni[sz]|(com|by|tres)pass`)
	refers        = regexp.MustCompile(`(?i)(id|name|type|count|at)$`)
)

func hasSecretPart(name string) bool {
	return secretPart.MatchString(harmlessParts.ReplaceAllString(name, ""))
}

var (
	secretWords = regexp.MustCompile(`\b(pass|password|passwd|pwd|pw|passphrase|passcode|pin|secret|token|credential|cred|otp|totp|psk|jwt|cookie|pem|dsn|` +
		`(api|access|auth|private|encryption|signing|ssh) ?key|privkey|webhook ur[il]|connection (string|ur[il])|(backup|recovery) code)s?\b`)
	keyWords     = regexp.MustCompile(`\w keys?$`)
	harmlessKeys = regexp.MustCompile(`\b(public|pub|primary|foreign|sort|order|cache|group|partition|unique|natural|lookup|idempotency) keys?$`)
)

// isSecret tells whether a column has the name of a secret. To seal a column too many
// does less harm than to seal one too few.
func isSecret(name string) bool {
	words := wordsOf(name)
	return hasSecretPart(name) || secretWords.MatchString(words) || keyWords.MatchString(words) && !harmlessKeys.MatchString(words)
}

// wordsOf returns the words of a name in lower case: "api key" for api_key, apiKey
// and APIKey2.
func wordsOf(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if !unicode.IsLetter(r) {
			b.WriteByte(' ')
			continue
		}
		if i > 0 && unicode.IsUpper(r) && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

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
		called := c.calledSecret(c.Name) || c.calledSecret(c.Field) || i == t.value
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
		name := c.Name
		if strings.EqualFold(name, "id") && ofSessions.MatchString(wordsOf(t.plain)) {
			name = "session_id"
		}
		is := judge(name)
		if is == secret || is == ofSession && !c.isNumber() {
			return fmt.Errorf("sqlstore: collection %q in table %q: the key %q is called like a secret, and a key cannot be sealed: leave the table out with Store.Exclude, or say in Table.Key what identifies a row", t.collection, t.plain, c.Name)
		}
	}
	return nil
}

var ofSessions = regexp.MustCompile(`\bsessions?$`)

// keyGiven tells whether the host has named the key of a table.
func (d *description) keyGiven(t *table) bool {
	return slices.ContainsFunc(d.Store.Tables, func(declared Table) bool { return tableName(declared) == t.plain && declared.Key != "" })
}

// calledSecret tells whether a name of the column is that of a secret. To seal a column too
// many does less harm than to seal one too few.
func (c *column) calledSecret(name string) bool {
	is := judge(name)
	return is == secret || is == perhaps || is == ofSession && !c.isNumber()
}

// isNumber tells whether the column can hold nothing but numbers, or is declared so.
func (c *column) isNumber() bool {
	return c.Kind == Integer || c.Kind == Real || strings.Contains(c.declared, "INT") && c.Kind == Auto
}

// A verdict is what a name says about a column.
type verdict int

const (
	noSecret  verdict = iota
	perhaps           // the name of a secret, but a key may have it: plugin_key
	ofSession         // the name of a secret, unless the column holds numbers
	secret
)

// nameRules judge a name by its words. The first that matches decides. Names that match
// none are no secrets.
var nameRules = []struct {
	is      verdict
	pattern *regexp.Regexp
}{
	{ofSession, regexp.MustCompile(`\bsession ?(id|key|hash|code|data)s?$|\bsids?$`)},
	// What is said about a secret is none.
	{noSecret, regexp.MustCompile(`(pass|passw(or)?d|pwd|passphrase|passcode|secret|token|credential|key|pin|otp|cookie|webhook|code)s? (.* )?` +
		`(id|name|type|kind|count|length|len|size|min|max|expire[sd]?|expiry|expiration|age|ttl|lifetime|days|date|time|at|on|by|policy|rules?|enabled|required|changed|updated|created|status|attempts|limit|version|algorithm)s?$`)},
	{noSecret, regexp.MustCompile(`^(is|has|must|needs?|requires?|can|allows?|enables?|disables?) `)},
	{noSecret, regexp.MustCompile(`\bpublic keys?$|\bpub ?keys?$`)},
	{secret, regexp.MustCompile(`pass(word|wd|phrase)|pass$|pwhash|secret|token|credential|mnemonic`)},
	{secret, regexp.MustCompile(`\b(pass|pwd|pw|passcode|pin|cred|otp|totp|psk|jwt|cookie|pem|dsn)s?\b`)},
	{secret, regexp.MustCompile(`(api|access|auth|private|encryption|signing|ssh|license|priv) ?keys?\b|\b(ssh|rsa|ecdsa|ed|tls|ssl|gpg|pgp|wireguard|wg) private$`)},
	{secret, regexp.MustCompile(`webhooks?( ?(ur[il]|link|address|endpoint)s?)?$|\b(proxy|database|db|redis|smtp|amqp|ldap|broker|connection) (ur[il]|link|string)s?$`)},
	{secret, regexp.MustCompile(`\b(backup|recovery|share|sharing|invite|invitation|access|reset|verification|login) (code|link|hash)s?$`)},
	// A key that only tells rows or things apart.
	{noSecret, regexp.MustCompile(`\b(primary|foreign|sort|order|cache|group|partition|unique|natural|lookup|idempotency|meta|storage|object|file|image|blob|bucket|path|parent|row|column|field|` +
		`setting|settings|config|option|property|attribute|label|tag|translation|message|lang|language|locale|text|event|metric|feature|flag|template|resource|entity|item|type|name|slug|route|menu|page|job|queue|issue|project|index|range|map|hash|external|dedup|dedupe) keys?$`)},
	{perhaps, regexp.MustCompile(`\w keys?$`)},
}

// innocent are parts of words that only look like the name of a secret.
var innocent = regexp.MustCompile(`secretar|tokeni[sz]|(com|by|tres|sur|over|under)pass`)

// judge tells what a name says about its column.
func judge(name string) verdict {
	words := innocent.ReplaceAllString(wordsOf(name), "")
	for _, r := range nameRules {
		if r.pattern.MatchString(words) {
			return r.is
		}
	}
	return noSecret
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

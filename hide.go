package backup

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
)

// secretTexts gathers the texts of the secrets of records, so that they can be taken out
// of an error of the host.
type secretTexts map[string]bool

// add adds what stands at the secrets of a record's view.
func (t secretTexts) add(view []byte, secrets []codec.Pointer) {
	if len(secrets) == 0 {
		return
	}
	_ = codec.Find(view, secrets, func(_ string, start, end int) error {
		switch raw := string(view[start:end]); raw {
		case "true", "false", "null":
			return nil // these tell nothing
		default:
			t.addText(unquoted(raw))
		}
		d := json.NewDecoder(bytes.NewReader(view[start:end]))
		d.UseNumber()
		var value any
		if d.Decode(&value) == nil {
			t.addValue(value)
		}
		return nil
	})
}

func (t secretTexts) addValue(value any) {
	switch value := value.(type) {
	case string:
		t.addText(value)
		t.addText(unquoted(string(codec.Quote(value))))
	case json.Number:
		t.addText(value.String())
	case []any:
		for _, v := range value {
			t.addValue(v)
		}
	case map[string]any:
		for _, v := range value {
			t.addValue(v)
		}
	}
}

// addText adds a text as it is, and as the verb %q prints it.
func (t secretTexts) addText(text string) {
	for _, form := range []string{text, unquoted(strconv.Quote(text)), unquoted(strconv.QuoteToASCII(text))} {
		t[form] = true
	}
}

func unquoted(text string) string {
	if len(text) >= 2 && text[0] == '"' {
		return text[1 : len(text)-1]
	}
	return text
}

// hide returns err with a text that has no secret and is not long. The result wraps err.
func (t secretTexts) hide(err error) error {
	text := err.Error()
	// A longer secret may contain a shorter one.
	for _, secret := range slices.SortedFunc(t.each, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) }) {
		text = hideText(text, secret)
	}
	return fault.Retell(err, text)
}

func (t secretTexts) each(yield func(string) bool) {
	for secret := range t {
		if strings.TrimSpace(secret) != "" && !yield(secret) {
			return
		}
	}
}

const hidden = "(secret)"

// hideText hides a secret in a text. A very short secret is hidden only where it stands
// alone: a word with a letter missing would tell which letter is the secret.
func hideText(text, secret string) string {
	if len(secret) > 3 {
		return strings.ReplaceAll(text, secret, hidden)
	}
	var b strings.Builder
	for {
		i := strings.Index(text, secret)
		if i < 0 {
			return b.String() + text
		}
		before, _ := utf8.DecodeLastRuneInString(b.String() + text[:i])
		after, _ := utf8.DecodeRuneInString(text[i+len(secret):])
		b.WriteString(text[:i])
		if inWord(before) || inWord(after) {
			b.WriteString(secret)
		} else {
			b.WriteString(hidden)
		}
		text = text[i+len(secret):]
	}
}

func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// hide hides the secrets of some values of one record in an error about it.
func (col *collection) hide(err error, key string, values ...[]byte) error {
	texts := secretTexts{}
	for _, value := range values {
		texts.add(col.view(key, value), col.secrets)
	}
	return texts.hide(err)
}

// veil takes the secrets of the snapshot, and those of some values of the host, out of an
// error of the host. A trigger or a driver may quote them.
func (c *comparison) veil(err error, col *collection, held map[string][]byte) error {
	text := err.Error()
	records := recordsIn(err)
	for _, r := range records {
		text += "\n" + r.Err.Error()
	}
	texts := secretTexts{}
	gather := func(col *collection, key string, value []byte) {
		of := secretTexts{}
		of.add(col.view(key, value), col.secrets)
		for secret := range of.each {
			if strings.Contains(text, secret) {
				texts[secret] = true
			}
		}
	}
	for key, value := range held {
		if value != nil {
			gather(col, key, value)
		}
	}
	for _, col := range c.cols {
		if len(col.secrets) == 0 {
			continue
		}
		found := c.incoming.eachBatch(context.WithoutCancel(c.ctx), col, func(b *batch) error {
			for _, r := range b.items {
				gather(col, r.key, r.value)
			}
			return nil
		})
		if found != nil {
			break // the error of the host is what matters
		}
	}
	switch {
	case len(texts) == 0:
		return gathered(err, records)
	case len(records) == 0:
		return texts.hide(err)
	}
	for i, r := range records {
		veiled := *r
		veiled.Err = texts.hide(r.Err)
		records[i] = &veiled
	}
	return gathered(errors.Join(asErrors(records)...), records) // without err, which quotes them
}

func asErrors(records []*RecordError) (errs []error) {
	for _, r := range records {
		errs = append(errs, r)
	}
	return errs
}

// gathered returns an error about records that names only the first of many.
func gathered(err error, records []*RecordError) error {
	kind := ErrInvalid
	for _, k := range []error{ErrDangling, ErrClash} {
		if errors.Is(err, k) {
			kind = k
		}
	}
	switch len(records) {
	case 0, 1:
		return err
	}
	return &recordErrors{kind: kind, list: records, total: len(records), cause: err}
}

// secretsIn gathers the secrets of a record of the snapshot: by what the snapshot says,
// and by what the App declares today.
func (in *incoming) secretsIn(sec *codec.Section, r item) secretTexts {
	texts := secretTexts{}
	view := r.value
	if sec.IsMap {
		view = viewMember(r.key, r.value)
	}
	if e := in.snapshot.encryption; e != nil {
		if _, secrets, err := places(e.Fields[sec.Name], sec.IsMap); err == nil {
			texts.add(view, secrets)
		}
	}
	if col := in.byName[sec.Name]; col != nil {
		texts.add(view, col.secrets)
	}
	return texts
}

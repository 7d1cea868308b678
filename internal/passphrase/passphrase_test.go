package passphrase

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	composed   = "caf\u00e9 cr\u00e8me"
	decomposed = "cafe\u0301 cre\u0300me"
)

func TestAPassphraseThatNobodyCouldTypeAgainIsRefused(t *testing.T) {
	for _, good := range []string{"correct horse", composed, "пароль", "パスワード", "नमस्ते", "می\u200cخواهم", "a\u00a0b", "👨\u200d👩\u200d👧", "x"} {
		require.NoError(t, Check([]byte(good)), good)
	}
	for name, c := range map[string]struct{ text, says string }{
		"byte order mark":       {"\ufeffcorrect horse", "byte order mark"},
		"UTF-16, little-endian": {"\xff\xfec\x00o\x00", "UTF-16"},
		"UTF-16, big-endian":    {"\xfe\xff\x00c\x00o", "UTF-16"},
		"UTF-16 without a mark": {"c\x00o\x00", "U+0000"},
		"random bytes":          {"\x9c\x01\xf3", "not text"},
		"line feed":             {"correct horse\n", "line break"},
		"empty last line":       {"correct horse\n\n", "line break"},
		"carriage return":       {"correct horse\r", "line break"},
		"blank before":          {" correct horse", "blank"},
		"blank after":           {"correct horse\u00a0", "blank"},
		"only a blank":          {" ", "blank"},
		"line feed inside":      {"correct\nhorse", "U+000A"},
		"tab inside":            {"correct\thorse", "U+0009"},
		"zero width":            {"correct\u200bhorse", "U+200B"},
		"lost character":        {"correct \ufffd horse", "U+FFFD"},
		"other normal form":     {decomposed, "NFC"},
	} {
		err := Check([]byte(c.text))
		require.ErrorContains(t, err, c.says, name)
		require.NotContains(t, err.Error(), "correct", name)
	}
}

// Whatever a program has made of a passphrase, the person who types the text opens it.
// And whatever a program makes of it now, it opens what was sealed with the text.
func TestTheFormsOfAPassphraseLeadToEachOther(t *testing.T) {
	for _, text := range []string{"correct horse", composed} {
		made := [][]byte{
			[]byte(text + "\n"), []byte(text + "\r\n"), []byte(byteOrderMark + text),
			[]byte(toUTF16(text)), []byte(toUTF16(text + "\r\n")),
		}
		if text == composed {
			made = append(made, []byte(decomposed))
		}
		for _, form := range made {
			require.Contains(t, Others([]byte(text)), form)
			require.Equal(t, text, string(Others(form)[0]), "the likely form comes first")
			require.NotContains(t, Others(form), form)
		}
	}
	for _, form := range []string{"\xfe\xff\x00c\x00o", "\n\n", "", "\xff\xfe", "\xff"} {
		require.LessOrEqual(t, len(Others([]byte(form))), 8)
	}
	require.Empty(t, Others([]byte("\r\n")))
	require.NotContains(t, Others([]byte("correct horse ")), []byte("correct horse"), "a blank makes another passphrase")
}

package sqlstore

import "context"

// look takes columns of bytes for text, since applications keep text in them: MediaWiki
// does for all of its text. Bytes that are not UTF-8 are wrapped. It does not look at any
// row, so the form of a value stays the same in all backups. BINARY, whose values all have
// one length, is rather for hashes and identifiers.
func (tx *mariadbTx) look(_ context.Context, t *table) error {
	for _, c := range t.columns {
		if c.my.auto && !c.key && c.Kind == Blob && c.my.base != "binary" {
			c.Kind, c.wraps, c.textBytes, c.looked = Text, true, true, true
		}
	}
	return nil
}

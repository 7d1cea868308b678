package backuptest

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/tomo-project/backup"
)

func (h *harness) wholeBackup() error {
	if h.App == nil {
		return nil
	}
	if err := h.fill(0, backedUp, 0); err != nil {
		return err
	}
	want := h.want(0, backedUp, 0)
	key := backup.Passphrase([]byte("conformance"))
	var file bytes.Buffer
	if _, err := h.App.Backup(h.ctx, &file, h.store, backup.BackupOptions{Only: h.Collections, Recipients: []backup.Recipient{key}}); err != nil {
		return err
	}
	for _, c := range h.App.Collections {
		if !slices.Contains(h.Collections, c.Name) {
			continue
		}
		for _, secret := range h.secrets(c) {
			if bytes.Contains(file.Bytes(), []byte(secret)) {
				return fmt.Errorf("%s: the backup contains a secret in plain text", c.Name)
			}
		}
	}
	if err := h.expect(want); err != nil {
		return fmt.Errorf("the backup changed its source: %w", err)
	}
	s, err := backup.OpenSnapshot(h.ctx, bytes.NewReader(file.Bytes()), backup.OpenOptions{Identities: []backup.Identity{key}})
	if err != nil {
		return err
	}
	defer s.Close()
	other := h.another()
	for again := range 2 {
		report, err := h.App.Restore(h.ctx, s, other.store, backup.RestoreOptions{Strategy: backup.Replace})
		if err != nil {
			return fmt.Errorf("the restore into another store: %w", err)
		}
		if err := other.expect(want); err != nil {
			return fmt.Errorf("the other store after Restore: %w", err)
		}
		for _, c := range report.Collections {
			if c.Altered+c.Extra > 0 {
				return fmt.Errorf("%s: read back in the transaction, %d records differ from what was put", c.Name, c.Altered+c.Extra)
			}
			if changed := c.Added + c.Updated + c.Deleted; again > 0 && changed > 0 {
				return fmt.Errorf("%s: the second Restore of the same backup changes %d records", c.Name, changed)
			}
		}
	}
	return nil
}

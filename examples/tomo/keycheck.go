package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/tomo-project/backup"
)

// checkKeys refuses to seal a backup with another key than the newest one, unless that is
// wanted. It says what a change of keys means for the kept backups.
func (c *cli) checkKeys(ctx context.Context, k *keeper, newKey bool) error {
	if !k.keys.passphrase.known() { // nobody is asked for a passphrase that seals nothing
		k.Identities = k.keys.openers[:len(k.keys.identities)]
	}
	k.Schedule = scheduleOf(k.settings) // it tells until when a key is needed
	found, err := k.CheckKeys(ctx)
	k.wipe()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, backup.ErrWrongKey) && !newKey:
		return fmt.Errorf("no backup was made: %w\n  To go on with the new key: --new-key\n  To give an old backup the new key: tomo backup rewrap NAME", err)
	case found.String() != "":
		fmt.Fprintf(c.stderr, "tomo: warning: %s (%s)\n", printable(found.String()), "tomo backup rewrap NAME")
	case err != nil: // the backup is more important
		fmt.Fprintf(c.stderr, "tomo: warning: whether the keys open the newest backup is not known: %s\n", printableLines(err.Error()))
	}
	return nil
}

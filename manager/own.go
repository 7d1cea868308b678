package manager

import (
	"cmp"
	"context"
	"fmt"

	"github.com/tomo-project/backup"
)

// metaOwn is the name in the metadata of a backup from before a restore that the restore
// took the records of Own too. Then Undo brings them back.
const (
	metaOwn  = "own_records"
	ownTaken = "restored"
)

// options fills in what the Manager knows and the caller has not said.
func (m *Manager) options(ctx context.Context, opts backup.RestoreOptions) (backup.RestoreOptions, error) {
	opts.Installation = cmp.Or(opts.Installation, m.Installation)
	return m.withOwn(ctx, opts)
}

// withOwn fills in the records of Own. An installation that has none takes those of the
// backup.
func (m *Manager) withOwn(ctx context.Context, opts backup.RestoreOptions) (backup.RestoreOptions, error) {
	if opts.Own != nil || len(m.Own) == 0 {
		return opts, nil
	}
	opts.Own = m.Own
	if opts.TakeOwn || m.Source == nil {
		return opts, nil
	}
	has := false
	err := m.Source.View(ctx, func(r backup.Reader) error {
		for name := range m.Own {
			for _, err := range r.Records(ctx, name) {
				if err != nil {
					return fmt.Errorf("read %s of the host: %w", name, err)
				}
				has = true
				return nil
			}
		}
		return nil
	})
	opts.TakeOwn = !has
	return opts, err
}

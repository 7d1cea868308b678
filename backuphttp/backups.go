package backuphttp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

// What people do with stored backups, except to restore them.

// create makes a backup that includes these optional collections.
func (h *Handler) create(ctx context.Context, include []string) (job, error) {
	for _, name := range include {
		if !slices.ContainsFunc(h.now().App.Collections, func(c backup.Collection) bool { return c.Name == name }) {
			return job{}, fmt.Errorf("%w: there is no collection %q to include: choose one of those that the overview lists", backup.ErrInvalid, brief(name))
		}
	}
	return h.start(ctx, "create", "", func(ctx context.Context, t *task) error {
		b, err := h.now().Create(ctx, backup.BackupOptions{Include: include})
		if b.Name != "" {
			h.update(t, func(j *job) { j.Backup, j.Made = b.Name, &b })
		}
		return err
	})
}

// find returns a backup from the list.
func (h *Handler) find(ctx context.Context, name string) (manager.Backup, error) {
	backups, err := h.now().List(ctx)
	for _, b := range backups {
		if b.Name == name {
			return b, nil
		}
	}
	return manager.Backup{}, errors.Join(notFound("there is no backup %q", brief(name)), err)
}

// verify reads every copy of a backup.
func (h *Handler) verify(ctx context.Context, name string) (job, error) {
	if _, err := h.find(ctx, name); err != nil {
		return job{}, err
	}
	return h.start(ctx, "verify", name, func(ctx context.Context, t *task) error {
		m := h.now()
		m.List(ctx) // the Manager remembers what Verify finds only of files that it has listed
		found, err := m.Verify(ctx, name)
		h.update(t, func(j *job) {
			j.Verified = found
			if delete(h.verdicts, name); err == nil {
				h.verdicts[name] = verdict{at: time.Now()}
			}
		})
		return err
	})
}

// file opens the file of a backup for a download.
func (h *Handler) file(ctx context.Context, name string) (download, error) {
	b, err := h.find(ctx, name)
	if err != nil {
		return download{}, err
	}
	return h.download(func() (download, error) {
		r, err := h.now().OpenFile(ctx, name)
		return download{r, b.Name, b.Bytes}, err
	})
}

// delete deletes a backup. If it is the only good backup, confirm has to be the name of
// the app.
func (h *Handler) delete(ctx context.Context, name, confirm string) error {
	return h.aside(ctx, "the deletion of a backup", func(ctx context.Context) error {
		m := h.now()
		backups, err := m.List(ctx)
		if err != nil && backups == nil {
			return err
		}
		if onlyGood(h.judged(backups), time.Now()) == name && confirm != m.App.Name {
			return invalid("confirm", "%s is the only good backup: to delete it anyway, type %s", name, m.App.Name)
		}
		if err := m.Delete(ctx, name); err != nil {
			return err
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.verdicts, name)
		return nil
	})
}

// accept remembers that a person accepts what a backup has lost.
func (h *Handler) accept(ctx context.Context, name string) error {
	return h.aside(ctx, "the acceptance of a loss", func(ctx context.Context) error { return h.now().Accept(ctx, name) })
}

// prune applies retention.
func (h *Handler) prune(ctx context.Context) (job, error) {
	return h.start(ctx, "prune", "", func(ctx context.Context, t *task) error {
		pruned, err := h.now().Prune(ctx, manager.PruneOptions{})
		h.update(t, func(j *job) { j.Pruned = pruned })
		return err
	})
}

package backuphttp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

// salvage saves what is intact in a damaged backup. The result is another backup that
// people look into.
func (h *Handler) salvage(ctx context.Context, id string) (job, error) {
	r, _, release, err := h.take(ctx, id)
	if err != nil {
		return job{}, err
	}
	if !r.info.Salvage {
		release()
		return job{}, fmt.Errorf("%w: there is nothing to salvage: the backup is not damaged, or the file is no backup", backup.ErrInvalid)
	}
	return h.startOn(ctx, r, release, "salvage", func(ctx context.Context, t *task) error { return h.salvageAside(ctx, r, t) })
}

// salvageAside is the job of salvage.
func (h *Handler) salvageAside(ctx context.Context, r *restore, t *task) error {
	m := h.now()
	file, err := h.newSpool()
	if err != nil {
		return err
	}
	name, _, _ := strings.Cut(r.info.Name, ".")
	name += "-salvaged.json"
	if m.Encrypt != nil {
		name += ".age"
	}
	saved := &restore{file: file, identities: r.identities, info: restoreInfo{Name: name, Uploaded: true}}
	_, err = h.begin(ctx, saved, func(ctx context.Context) (restoreInfo, error) {
		report, err := h.salvageTo(ctx, saved, m, r, t)
		if err != nil {
			return restoreInfo{}, err
		}
		h.update(t, func(j *job) { j.Salvage = &report })
		return h.examine(ctx, saved)
	})
	if err != nil {
		return err
	}
	h.update(t, func(j *job) { j.Restore = saved.info.ID })
	return nil
}

// salvageTo writes what is intact in the damaged backup r to the file of the restore to.
func (h *Handler) salvageTo(ctx context.Context, to *restore, m *manager.Manager, r *restore, t *task) (backup.SalvageReport, error) {
	opts := backup.SalvageOptions{
		Name:       r.info.Name,
		Identities: r.identities,
		Encrypt:    m.Encrypt,
		Limits:     m.Limits,
		TempDir:    h.opts.TempDir,
		Progress:   func(p backup.Progress) { h.update(t, func(j *job) { j.Progress = &p }) },
	}
	if opts.Identities == nil {
		opts.Identities = m.Identities
	}
	if r.file != nil {
		report, err := m.App.Salvage(ctx, to.file, r.file.reader(), opts)
		if ofSystem(err) {
			err = h.spoolFailed(err)
		}
		return report, err
	}
	// One copy is enough: the first of which something can be saved.
	errs := []error{fmt.Errorf("no location has %s: %w", r.info.Name, fs.ErrNotExist)}
	for i, l := range m.Locations {
		from, err := l.Open(ctx, r.info.Name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var report backup.SalvageReport
		if err == nil {
			report, err = m.App.Salvage(ctx, to.file, from, opts)
			from.Close()
		}
		if err == nil {
			return report, nil
		}
		if len(errs) == 1 {
			errs = nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", namesOf(m)[i], err))
		if err := to.file.empty(); err != nil {
			return backup.SalvageReport{}, err
		}
	}
	return backup.SalvageReport{}, errors.Join(errs...)
}

// salvaged opens the file of a salvaged backup, or of an uploaded one.
func (h *Handler) salvaged(id string) (download, error) {
	return h.download(func() (download, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		r := h.restores[id]
		switch {
		case r == nil:
			return download{}, errForgotten
		case r.file == nil:
			return download{}, notFound("%s is a stored backup: download it from the list of backups", r.info.Name)
		}
		r.used = time.Now()
		return download{r.file.open(), r.info.Name, r.file.size}, nil
	})
}

package backuphttp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/manager"
)

// To look into a backup is to open it, and to find out what it has and whether this app
// can restore it.

// begin adds a restore and calls look, which fills it. If look fails, the restore is
// forgotten.
func (h *Handler) begin(ctx context.Context, r *restore, look func(ctx context.Context) (restoreInfo, error)) (restoreInfo, error) {
	ctx, leave, err := h.join(ctx)
	if err != nil {
		r.close()
		return restoreInfo{}, err
	}
	defer leave()
	release, err := h.keep(r)
	if err != nil {
		r.close()
		return restoreInfo{}, err
	}
	defer release()
	info, err := look(ctx)
	if err != nil {
		h.remove(r)
	}
	return info, err
}

// look looks into a stored backup.
func (h *Handler) look(ctx context.Context, name string) (restoreInfo, error) {
	if _, err := h.find(ctx, name); err != nil {
		return restoreInfo{}, err
	}
	r := &restore{info: restoreInfo{Name: name}}
	return h.begin(ctx, r, func(ctx context.Context) (restoreInfo, error) { return h.examine(ctx, r) })
}

// unlock opens a backup with the key that a person has typed or pasted in.
func (h *Handler) unlock(ctx context.Context, id string, key []byte) (restoreInfo, error) {
	r, ctx, release, err := h.take(ctx, id)
	if err != nil {
		return restoreInfo{}, err
	}
	defer release()
	if r.info.Undo {
		return r.info, nil // it is open already
	}
	ids, err := h.opts.Identities(key)
	switch {
	case err != nil:
		return r.info, invalid("no_key", "%s", withoutKey(key, err.Error()))
	case len(ids) == 0:
		return r.info, invalid("no_key", notAKey)
	}
	m := h.now()
	var s *backup.Snapshot
	var end func()
	err = h.tries.one(func() error {
		s, end, err = h.open(ctx, r, m, ids)
		return err
	})
	_, refused := errors.AsType[*refusal](err)
	if err != nil && (refused || ctx.Err() != nil || needsKey(err)) {
		return r.info, err
	}
	r.identities = ids
	return h.describe(ctx, r, m, s, end, err)
}

const notAKey = "this text is no key: type a passphrase, or paste the text of a key file"

// withoutKey returns a text, or another one if the key is in it.
func withoutKey(key []byte, text string) string {
	if key = bytes.TrimSpace(key); len(key) > 0 && strings.Contains(text, string(key)) {
		return notAKey
	}
	return text
}

// examine opens the backup of a restore with the keys that are known, and describes it.
// A problem of the backup is part of the description and no error.
func (h *Handler) examine(ctx context.Context, r *restore) (restoreInfo, error) {
	m := h.now()
	s, end, err := h.open(ctx, r, m, r.identities)
	return h.describe(ctx, r, m, s, end, err)
}

// open opens the backup of a restore, with the Identities of the Manager if identities is
// nil. It opens one backup at a time, because a backup with a passphrase may need much
// memory to derive the key. It returns what outlive returns.
func (h *Handler) open(ctx context.Context, r *restore, m *manager.Manager, identities []backup.Identity) (*backup.Snapshot, func(), error) {
	select {
	case h.opening <- struct{}{}:
		defer func() { <-h.opening }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	return outlive(h, ctx, func(ctx context.Context) (*backup.Snapshot, error) {
		switch {
		case r.file != nil:
			if identities == nil {
				identities = m.Identities
			}
			return backup.OpenSnapshot(ctx, r.file.reader(), backup.OpenOptions{
				Identities:   identities,
				Limits:       m.Limits,
				RequireProof: m.RequireProof,
				Trusted:      m.Trusted,
				TempDir:      h.opts.TempDir,
			})
		case identities == nil:
			return m.Open(ctx, r.info.Name)
		}
		return m.OpenWith(ctx, r.info.Name, identities...)
	})
}

// outlive opens something that is still used after the request has ended: only the
// opening ends with ctx. The caller calls end after it has closed the opened thing.
func outlive[T io.Closer](h *Handler, ctx context.Context, open func(ctx context.Context) (T, error)) (opened T, end func(), err error) {
	h.mu.Lock()
	life := h.running.ctx
	h.mu.Unlock()
	life, cancel := context.WithCancel(life)
	stop := context.AfterFunc(ctx, cancel)
	opened, err = open(life)
	if !stop() && err == nil { // the request has ended at this moment
		opened.Close()
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		var none T
		opened = none
	}
	return opened, cancel, err
}

// describe describes a backup and keeps its snapshot for a plan. err says why it could
// not be opened.
func (h *Handler) describe(ctx context.Context, r *restore, m *manager.Manager, s *backup.Snapshot, end func(), err error) (restoreInfo, error) {
	switch {
	case ctx.Err() != nil && err != nil:
		return restoreInfo{}, ctx.Err()
	case r.file == nil && errors.Is(err, fs.ErrNotExist):
		return restoreInfo{}, err
	case r.file != nil && ofSystem(err):
		return restoreInfo{}, h.spoolFailed(err)
	}
	info := restoreInfo{ID: r.info.ID, Name: r.info.Name, Uploaded: r.info.Uploaded, Own: len(m.Own) > 0}
	if needsKey(err) { // collections without secrets can be restored without a key
		if bare, endBare, e := h.open(ctx, r, m, []backup.Identity{}); e == nil {
			s, end = bare, endBare
		}
	}
	if s != nil {
		manifest := s.Manifest()
		info.Manifest = &manifest
		for _, name := range s.Collections() {
			info.Collections = append(info.Collections, collectionOf(m.App, name))
		}
	} else if r.file == nil { // the list may have its Manifest
		if b, e := h.find(ctx, info.Name); e == nil {
			info.Manifest = b.Manifest
		}
	}
	if info.Manifest != nil {
		info.Keys, info.Holds, info.Partial = info.Manifest.Keys, m.App.Holds(*info.Manifest), m.App.Partial(*info.Manifest)
	}
	if err == nil {
		var problem error
		if info.Verified, problem, err = h.check(ctx, m, s); problem != nil {
			info.Problem = problem.Error()
		}
		if ctx.Err() != nil {
			s.Close()
			end()
			return restoreInfo{}, ctx.Err()
		}
	}
	if err != nil {
		info.Problem = err.Error()
	}
	h.setState(r, m, &info, err)
	if r.file == nil {
		h.conclude(ctx, m, &info)
	}
	r.drop()
	r.snapshot, r.problem, r.end = s, err, end
	return h.setInfo(r, info), nil
}

// setState says whether a backup can be restored. err says why it cannot.
func (h *Handler) setState(r *restore, m *manager.Manager, info *restoreInfo, err error) {
	switch {
	case err == nil:
		info.State, info.Verdict = "ok", m.App.Verdict(*info.Manifest, *info.Verified)
		info.Collections = nil // with the names that this version gives them
		for _, c := range info.Verified.Collections {
			info.Collections = append(info.Collections, collectionOf(m.App, c.Name))
		}
	case needsKey(err):
		info.State = "locked"
	case errors.Is(err, backup.ErrDamaged) && !h.alien(r, m):
		info.State, info.Salvage = "damaged", true
	case errors.Is(err, backup.ErrDamaged):
		info.State, info.Problem = "refused", "this file is not a backup of this application: choose another file. Reading it failed: "+info.Problem
	default:
		info.State = "refused"
		// It may be a backup whose beginning is damaged.
		info.Salvage = errors.Is(err, backup.ErrFormat) && !errors.Is(err, backup.ErrTooNew)
	}
}

// check reads a whole snapshot. problem says what a plan has to allow to restore it, and
// err says why it cannot be restored at all.
func (h *Handler) check(ctx context.Context, m *manager.Manager, s *backup.Snapshot) (_ *backup.Report, problem, err error) {
	report, err := m.App.Verify(ctx, s, backup.RestoreOptions{})
	if err != nil && !needsKey(err) && ctx.Err() == nil {
		problem = err
		report, err = m.App.Verify(ctx, s, backup.RestoreOptions{AllowNewerApp: true, AllowUnknown: true, AllowDangling: true, LeaveOutInvalid: true})
	}
	if err != nil {
		return nil, nil, err
	}
	return &report, problem, nil
}

// conclude remembers whether a stored backup is damaged. For a damaged backup, it finds
// the older backup to use instead.
func (h *Handler) conclude(ctx context.Context, m *manager.Manager, info *restoreInfo) {
	if info.State == "ok" {
		h.judge(info.Name, verdict{at: time.Now()})
	}
	if !info.Salvage {
		return
	}
	backups, _ := m.List(ctx)
	i := slices.IndexFunc(backups, func(b manager.Backup) bool { return b.Name == info.Name })
	if i < 0 {
		return
	}
	h.judge(info.Name, verdict{at: time.Now(), damaged: true, copies: len(backups[i].Copies)})
	info.Older = newestGood(h.judged(backups[i+1:]), time.Now())
}

// alien tells whether an upload that cannot be read does not look like a backup at all.
func (h *Handler) alien(r *restore, m *manager.Manager) bool {
	if r.file == nil {
		return false
	}
	if _, ok := m.App.ParseBackupName(r.info.Name); ok {
		return false
	}
	head := make([]byte, 64)
	n, _ := r.file.reader().ReadAt(head, 0)
	head = bytes.TrimLeft(head[:n], " \t\r\n")
	for _, magic := range []string{"{", "\x1f\x8b", "\x28\xb5\x2f\xfd", "age-encryption.org/", "-----BEGIN AGE"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return false
		}
	}
	return true
}

// needsKey tells whether an error says that a backup needs a key, or another key.
func needsKey(err error) bool {
	return errors.Is(err, backup.ErrNoKey) || errors.Is(err, backup.ErrWrongKey)
}

// ofSystem tells whether an error is of a file of the server.
func ofSystem(err error) bool {
	_, ok := errors.AsType[*fs.PathError](err)
	return ok
}

// collectionOf describes a collection. The app need not have it any more.
func collectionOf(app *backup.App, name string) collectionInfo {
	info := collectionInfo{Name: name, Label: label(name)}
	for _, c := range app.Collections {
		if c.Name == name {
			info.Optional, info.Secrets = c.Optional, len(c.Secrets) > 0
		}
	}
	return info
}

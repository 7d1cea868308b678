package backuphttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/tomo-project/backup/manager"

	"github.com/tomo-project/backup"
)

// begin looks into a backup that nobody looks into yet.
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

// unlock opens a backup with what somebody has typed in.
func (h *Handler) unlock(ctx context.Context, id string, key []byte) (restoreInfo, error) {
	r, ctx, release, err := h.take(ctx, id)
	if err != nil {
		return restoreInfo{}, err
	}
	defer release()
	if r.info.Undo {
		return r.info, nil // it is open
	}
	ids, err := h.opts.Identities(key)
	if err == nil && len(ids) == 0 {
		err = fmt.Errorf("%w: there is no key in what was typed in", backup.ErrNoKey)
	}
	if err != nil {
		return r.info, invalid("no_key", "%s", unless(key, err.Error()))
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

// unless returns a text unless a key is in it.
func unless(key []byte, text string) string {
	if key = bytes.TrimSpace(key); len(key) > 0 && strings.Contains(text, string(key)) {
		return "there is no key in what was typed in"
	}
	return text
}

// examine opens the backup of a restore with the keys that there are, and describes
// it. What is wrong with the backup is no error.
func (h *Handler) examine(ctx context.Context, r *restore) (restoreInfo, error) {
	m := h.now()
	s, end, err := h.open(ctx, r, m, r.identities)
	return h.describe(ctx, r, m, s, end, err)
}

// open opens the backup of a restore, with identities if they are not nil and else
// with those of the Manager. One at a time is opened: for a key that is made of a
// passphrase, a file may ask for much memory. See outlive for what it returns.
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

// outlive opens something that is read after the request has ended. That ends only
// the opening; end is for when it was closed.
func outlive[T io.Closer](h *Handler, ctx context.Context, open func(ctx context.Context) (T, error)) (opened T, end func(), err error) {
	h.mu.Lock()
	life := h.running.ctx
	h.mu.Unlock()
	life, cancel := context.WithCancel(life)
	stop := context.AfterFunc(ctx, cancel)
	opened, err = open(life)
	if !stop() && err == nil { // the request has ended just now
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

// describe says what is in a backup that was opened, or why it was not.
func (h *Handler) describe(ctx context.Context, r *restore, m *manager.Manager, s *backup.Snapshot, end func(), err error) (restoreInfo, error) {
	switch {
	case ctx.Err() != nil && err != nil:
		return restoreInfo{}, ctx.Err()
	case r.file == nil && errors.Is(err, fs.ErrNotExist):
		return restoreInfo{}, err
	case r.file != nil && ofSystem(err):
		return restoreInfo{}, h.spoolFailed(err)
	}
	info := restoreInfo{ID: r.info.ID, Name: r.info.Name, Uploaded: r.info.Uploaded}
	if needsKey(err) { // what needs none can be restored all the same
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
	} else if r.file == nil { // it may be known all the same
		if b, e := h.find(ctx, info.Name); e == nil {
			info.Manifest = b.Manifest
		}
	}
	if info.Manifest != nil {
		info.Keys = info.Manifest.Keys
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
	switch {
	case err == nil:
		info.State = "ok"
		info.Collections = nil // as they are called now
		for _, c := range info.Verified.Collections {
			info.Collections = append(info.Collections, collectionOf(m.App, c.Name))
		}
	case needsKey(err):
		info.State = "locked"
	case errors.Is(err, backup.ErrDamaged) && !h.alien(r, m):
		info.State, info.Salvage = "damaged", true
	case errors.Is(err, backup.ErrDamaged):
		info.State, info.Problem = "refused", "this file is no backup, or of something else: choose another one. It says: "+info.Problem
	default:
		info.State = "refused"
		// It may be the beginning that is damaged.
		info.Salvage = errors.Is(err, backup.ErrFormat) && !errors.Is(err, backup.ErrTooNew)
	}
	if r.file == nil {
		h.concludes(ctx, m, &info)
	}
	r.drop()
	r.snapshot, r.problem, r.end = s, err, end
	return h.setInfo(r, info), nil
}

// check reads all of a snapshot. problem is what has to be allowed before it can be
// restored, and err why it cannot be at all.
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

// concludes remembers what looking into a stored backup has shown, and says which to
// look into instead of a damaged one.
func (h *Handler) concludes(ctx context.Context, m *manager.Manager, info *restoreInfo) {
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

// alien tells whether an upload that cannot be read does not even look like a backup.
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

// needsKey tells whether an error is about the key of a backup.
func needsKey(err error) bool {
	return errors.Is(err, backup.ErrNoKey) || errors.Is(err, backup.ErrWrongKey)
}

// ofSystem tells whether an error is about a file of the server.
func ofSystem(err error) bool {
	_, ok := errors.AsType[*fs.PathError](err)
	return ok
}

// collectionOf says of a collection what people want to know.
func collectionOf(app *backup.App, name string) collectionInfo {
	info := collectionInfo{Name: name, Label: label(name)}
	for _, c := range app.Collections {
		if c.Name == name {
			info.Optional, info.Secrets = c.Optional, len(c.Secrets) > 0
		}
	}
	return info
}

package filestore

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

var errTrial = errors.New("only a trial")

func settle(t testing.TB, w backup.Writer) error {
	return w.(interface {
		Settle(context.Context) error
	}).Settle(t.Context())
}

// trial puts a record, settles, and rolls back, as a plan does.
func trial(t testing.TB, s Store, collection string, records ...backup.Record) error {
	err := s.Update(t.Context(), func(w backup.Writer) error {
		if err := w.Put(t.Context(), collection, records); err != nil {
			return err
		}
		if err := settle(t, w); err != nil {
			return err
		}
		return errTrial
	})
	if errors.Is(err, errTrial) {
		return nil
	}
	return err
}

func TestATrialLeavesNothing(t *testing.T) {
	s := newStore(t)
	lay(t, s, map[string]string{"servers/a.json": `{"id":"a"}`, "locked/inner/z": "z"})
	require.NoError(t, os.Chmod(filepath.Join(s.Path, "locked"), 0o500))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(s.Path, "locked"), 0o700) })
	before := tree(t, s.Path)
	require.NoError(t, trial(t, s, "servers", record("a", `{"id":"a","n":1}`), record("b", `{"id":"b"}`)))
	require.Equal(t, before, tree(t, s.Path))
	require.Empty(t, beside(t, s))
	require.NoError(t, trial(t, s, "servers"), "nothing is changed, so nothing is prepared")
}

func TestWhatIsChangedAfterSettleIsCommittedToo(t *testing.T) {
	s := newStore(t)
	lay(t, s, map[string]string{"servers/a.json": `{"id":"a"}`})
	require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error {
		require.NoError(t, w.Put(t.Context(), "servers", []backup.Record{record("b", `{"id":"b"}`), record("c", `{"id":"c"}`)}))
		require.NoError(t, settle(t, w))
		require.NoError(t, settle(t, w))
		require.NoError(t, w.Delete(t.Context(), "servers", []string{"a", "c"}))
		require.NoError(t, settle(t, w))
		return w.Put(t.Context(), "servers", []backup.Record{record("b", `{"id":"b","n":2}`)})
	}))
	text, _, err := read(s, "servers")
	require.NoError(t, err)
	require.Equal(t, `b={"id":"b","n":2} `, text)
	require.Empty(t, beside(t, s))
}

func TestSettleIsToldWhatTheCommitWouldBeTold(t *testing.T) {
	full := func(step string) error {
		if step == "sync" {
			return syscall.ENOSPC
		}
		return nil
	}
	for name, c := range map[string]struct {
		step func(string) error
		want error
		text string
	}{
		"folders cannot be exchanged": {noExchange, errors.ErrUnsupported, "AllowGap"},
		"the disk is full":            {full, syscall.ENOSPC, "check disk space"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			lay(t, s, map[string]string{"servers/a.json": `{"id":"a"}`})
			before := tree(t, s.Path)
			s.step = c.step
			err := trial(t, s, "servers", record("b", `{"id":"b"}`))
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.text)
			require.Equal(t, before, tree(t, s.Path))
			require.Empty(t, beside(t, s))
		})
	}
}

// On a file system that takes two names for one, the second record clashes.
func TestANameThatIsTakenIsAClashOfItsRecord(t *testing.T) {
	s := newStore(t)
	stage := filepath.Join(filepath.Dir(s.Path), ".data.filestore.new", "servers", "b.json")
	s.step = func(step string) error {
		if step == "sync" && !exists(stage) { // a.json is written: make the name of b.json exist
			return os.WriteFile(stage, nil, 0o600)
		}
		return nil
	}
	err := trial(t, s, "servers", record("a", `{"id":"a"}`), record("b", `{"id":"b"}`))
	require.ErrorIs(t, err, backup.ErrClash)
	about, ok := errors.AsType[*backup.RecordError](err)
	require.True(t, ok)
	require.Equal(t, "b", about.Key)
	require.Empty(t, beside(t, s))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

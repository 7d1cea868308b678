package backuptest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tomo-project/backup/location"

	"github.com/stretchr/testify/require"
)

func TestDirKeepsEveryRule(t *testing.T) {
	TestLocation(t, func(t *testing.T) location.Location { return location.Dir(t.TempDir()) })
}

func TestEveryBrokenRuleOfALocationIsFoundAndNamed(t *testing.T) {
	const (
		refuses    = "every method refuses a name that CheckName refuses, before it reads or changes anything"
		accepts    = "every method accepts a name that CheckName accepts"
		stores     = "Put stores exactly the bytes that its reader delivers"
		taken      = "Put returns fs.ErrExist if the name is taken, and does not change the existing file"
		fails      = "if its reader fails, Put returns the error of the reader and stores nothing"
		cancelPut  = "Put ends soon after its context is done, returns the error of the context and stores nothing"
		oneWins    = "if several Puts of one name run at the same time, exactly one succeeds"
		whole      = "no method shows a file before its Put is complete"
		openNone   = "Open returns fs.ErrNotExist if there is no such file"
		deleteNone = "Delete returns fs.ErrNotExist if there is no such file"
		freeAgain  = "after Delete the name is free again"
		closeEarly = "the caller may close an opened file at any time, even before its end"
		seeks      = "an opened file that can seek delivers the right bytes at every position"
		lists      = "List returns every file with its size, in the order of names"
		several    = "several goroutines may use a location at the same time"
		done       = "if the context is done, every method returns the error of the context and changes nothing"
		excludes   = "while a lock is taken, Lock returns ErrBusy at once and names the holder"
		lockNames  = "locks with different names do not exclude each other"
		lockNoFile = "a lock is not a file: no method shows it, and its name stays free for a file"
		tells      = "a Watcher names every file that was stored or deleted since it was last asked"
	)
	ctx := context.Background()

	cases := map[string]struct {
		rule  string
		spoil func(*badPlace)
	}{
		"Put of any name": {refuses, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				return b.MapLocation.Put(ctx, filepath.Base("x"+strings.Trim(name, `./\`)), r)
			}
		}},
		"a path is cleaned": {refuses, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				return b.MapLocation.Put(ctx, strings.TrimPrefix(name, "../"), r)
			}
		}},
		"reads before it refuses": {refuses, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				content, err := io.ReadAll(r)
				return errors.Join(err, b.MapLocation.Put(ctx, name, bytes.NewReader(content)))
			}
		}},
		"Open looks for any name": {refuses, func(b *badPlace) {
			b.open = func(ctx context.Context, name string) (io.ReadCloser, error) {
				if location.CheckName(name) != nil {
					return nil, fs.ErrNotExist
				}
				return b.MapLocation.Open(ctx, name)
			}
		}},
		"Delete follows paths": {refuses, func(b *badPlace) {
			b.delete = func(ctx context.Context, name string) error {
				return b.MapLocation.Delete(ctx, filepath.Base(name))
			}
		}},
		"locks any name": {refuses, func(b *badPlace) {
			b.lock = func(ctx context.Context, name, holder string) (func() error, error) {
				return b.lockable.Lock(ctx, "x", holder)
			}
		}},
		"letters of English only": {accepts, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				if strings.Contains(name, "é") {
					return fs.ErrInvalid
				}
				return b.MapLocation.Put(ctx, name, r)
			}
		}},
		"names are unescaped": {accepts, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				return b.MapLocation.Put(ctx, strings.ReplaceAll(name, "+", " "), r)
			}
		}},
		"reads once": {stores, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				p := make([]byte, 8<<20)
				n, err := r.Read(p)
				if err != nil && err != io.EOF {
					return err
				}
				return b.MapLocation.Put(ctx, name, bytes.NewReader(p[:n]))
			}
		}},
		"loses what comes with io.EOF": {stores, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				return b.MapLocation.Put(ctx, name, readerFunc(func(p []byte) (int, error) {
					n, err := r.Read(p)
					if err == io.EOF {
						n = 0
					}
					return n, err
				}))
			}
		}},
		"refuses an empty file": {stores, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				content, err := io.ReadAll(r)
				if err == nil && len(content) == 0 {
					err = io.ErrUnexpectedEOF
				}
				return errors.Join(err, b.MapLocation.Put(ctx, name, bytes.NewReader(content)))
			}
		}},
		"no sizes": {stores, func(b *badPlace) {
			b.list = func(ctx context.Context) ([]location.File, error) {
				files, err := b.MapLocation.List(ctx)
				for i := range files {
					files[i].Bytes = 0
				}
				return files, err
			}
		}},
		"overwrites": {taken, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				b.clear(name)
				return b.MapLocation.Put(ctx, name, r)
			}
		}},
		"overwrites and complains": {taken, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				err := b.MapLocation.Put(ctx, name, r)
				if errors.Is(err, fs.ErrExist) {
					b.set(name, "overwritten")
				}
				return err
			}
		}},
		"another error for a name that is taken": {taken, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				if err := b.MapLocation.Put(ctx, name, r); err != nil {
					return errors.New("412 Precondition Failed")
				}
				return nil
			}
		}},
		"publishes half files": {fails, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				var half bytes.Buffer
				_, err := half.ReadFrom(r)
				return errors.Join(b.MapLocation.Put(ctx, name, &half), err)
			}
		}},
		"takes an error for the end": {fails, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				var half bytes.Buffer
				_, _ = half.ReadFrom(r)
				return b.MapLocation.Put(ctx, name, &half)
			}
		}},
		"takes io.ErrUnexpectedEOF for the end": {fails, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				content, err := io.ReadAll(r)
				if err != nil && err != io.ErrUnexpectedEOF {
					return err
				}
				return b.MapLocation.Put(ctx, name, bytes.NewReader(content))
			}
		}},
		"another error than the reader's": {fails, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				if err := b.MapLocation.Put(ctx, name, r); err != nil {
					return fmt.Errorf("put: %v", err)
				}
				return nil
			}
		}},
		"deaf to cancellation": {cancelPut, func(b *badPlace) {
			b.put = func(_ context.Context, name string, r io.Reader) error { return b.MapLocation.Put(ctx, name, r) }
		}},
		"notices a cancellation at the end": {cancelPut, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				content, err := io.ReadAll(r)
				return errors.Join(err, b.MapLocation.Put(ctx, name, bytes.NewReader(content)))
			}
		}},
		"publishes half files when cancelled": {cancelPut, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				err := b.MapLocation.Put(ctx, name, r)
				if errors.Is(err, context.Canceled) {
					b.set(name, "half")
				}
				return err
			}
		}},
		"looks first and writes then": {oneWins, func(b *badPlace) {
			all := make(chan struct{})
			var looking sync.WaitGroup
			looking.Add(16)
			go func() { looking.Wait(); close(all) }()
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				content, err := io.ReadAll(r)
				if err != nil {
					return err
				}
				looking.Done()
				<-all
				b.set(name, string(content))
				return nil
			}
		}},
		"all lose": {oneWins, func(b *badPlace) {
			b.put = func(context.Context, string, io.Reader) error { return fs.ErrExist }
		}},
		"a mixture wins": {oneWins, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				return b.MapLocation.Put(ctx, name, io.MultiReader(r, strings.NewReader("of another")))
			}
		}},
		"writes under the name": {whole, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				if err := b.MapLocation.Put(ctx, name, strings.NewReader("")); err != nil {
					return err
				}
				content, err := io.ReadAll(r)
				if err != nil {
					b.clear(name)
					return err
				}
				b.set(name, string(content))
				return nil
			}
		}},
		"lists temporary names": {whole, func(b *badPlace) {
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				b.set(name+".part", "")
				defer b.clear(name + ".part")
				return b.MapLocation.Put(ctx, name, r)
			}
		}},
		"no file is an empty file": {openNone, func(b *badPlace) {
			b.open = func(ctx context.Context, name string) (io.ReadCloser, error) {
				f, err := b.MapLocation.Open(ctx, name)
				if errors.Is(err, fs.ErrNotExist) {
					return io.NopCloser(strings.NewReader("")), nil
				}
				return f, err
			}
		}},
		"another error for no file": {openNone, func(b *badPlace) {
			b.open = func(context.Context, string) (io.ReadCloser, error) { return nil, errors.New("404 Not Found") }
		}},
		"Delete of no file is fine": {deleteNone, func(b *badPlace) {
			b.delete = func(ctx context.Context, name string) error {
				if err := b.MapLocation.Delete(ctx, name); !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				return nil
			}
		}},
		"Delete deletes nothing": {freeAgain, func(b *badPlace) {
			b.delete = func(context.Context, string) error { return nil }
		}},
		"the name stays taken": {freeAgain, func(b *badPlace) {
			names := map[string]bool{}
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				if names[name] {
					return fs.ErrExist
				}
				names[name] = true
				return b.MapLocation.Put(ctx, name, r)
			}
		}},
		"Close wants all to be read": {closeEarly, func(b *badPlace) {
			b.open = func(ctx context.Context, name string) (io.ReadCloser, error) {
				f, err := b.MapLocation.Open(ctx, name)
				return &readToTheEnd{f}, err
			}
		}},
		"ReadAt moves Read": {seeks, func(b *badPlace) {
			b.open = func(ctx context.Context, name string) (io.ReadCloser, error) {
				f, err := b.MapLocation.Open(ctx, name)
				if err != nil {
					return nil, err
				}
				return movingReadAt{f.(*mapFile)}, nil
			}
		}},
		"in any order": {lists, func(b *badPlace) {
			b.list = func(ctx context.Context) ([]location.File, error) {
				files, err := b.MapLocation.List(ctx)
				slices.Reverse(files)
				return files, err
			}
		}},
		"in the order of Put": {lists, func(b *badPlace) {
			var mutex sync.Mutex
			var order []string
			b.put = func(ctx context.Context, name string, r io.Reader) error {
				mutex.Lock()
				defer mutex.Unlock()
				order = append(order, name)
				return b.MapLocation.Put(ctx, name, r)
			}
			b.list = func(ctx context.Context) ([]location.File, error) {
				files, err := b.MapLocation.List(ctx)
				slices.SortFunc(files, func(x, y location.File) int {
					return slices.Index(order, x.Name) - slices.Index(order, y.Name)
				})
				return files, err
			}
		}},
		"the first page only": {lists, func(b *badPlace) {
			b.list = func(ctx context.Context) ([]location.File, error) {
				files, err := b.MapLocation.List(ctx)
				return files[:min(len(files), 1000)], err
			}
		}},
		"a file that goes breaks List": {several, func(b *badPlace) {
			b.list = func(ctx context.Context) ([]location.File, error) {
				files, err := b.MapLocation.List(ctx)
				for i, f := range files {
					if f.Name != "m" {
						return files[:i], errors.Join(err, fs.ErrNotExist)
					}
				}
				return files, err
			}
		}},
		"List goes on": {done, func(b *badPlace) {
			b.list = func(context.Context) ([]location.File, error) { return b.MapLocation.List(ctx) }
		}},
		"Delete goes on": {done, func(b *badPlace) {
			b.delete = func(c context.Context, name string) error {
				return errors.Join(b.MapLocation.Delete(ctx, name), c.Err())
			}
		}},
		"Lock goes on": {done, func(b *badPlace) {
			b.lock = func(_ context.Context, name, holder string) (func() error, error) {
				return b.lockable.Lock(ctx, name, holder)
			}
		}},
		"locks nothing": {excludes, func(b *badPlace) {
			b.lock = func(context.Context, string, string) (func() error, error) {
				return func() error { return nil }, nil
			}
		}},
		"does not tell by whom": {excludes, func(b *badPlace) {
			b.lock = func(ctx context.Context, name, _ string) (func() error, error) {
				return b.lockable.Lock(ctx, name, "somebody")
			}
		}},
		"is never free again": {excludes, func(b *badPlace) {
			b.lock = func(ctx context.Context, name, holder string) (func() error, error) {
				_, err := b.lockable.Lock(ctx, name, holder)
				return func() error { return nil }, err
			}
		}},
		"one lock for all names": {lockNames, func(b *badPlace) {
			b.lock = func(ctx context.Context, name, holder string) (func() error, error) {
				return b.lockable.Lock(ctx, "a", holder)
			}
		}},
		"tells of no change":   {tells, func(b *badPlace) { b.told = []string{} }},
		"tells of no deletion": {tells, func(b *badPlace) { b.told = []string{"new"} }},
		"locks are files": {lockNoFile, func(b *badPlace) {
			b.lock = func(ctx context.Context, name, holder string) (func() error, error) {
				unlock, err := b.lockable.Lock(ctx, name, holder)
				if err != nil {
					return nil, err
				}
				b.set(name, holder)
				return func() error { b.clear(name); return unlock() }, nil
			}
		}},
	}
	found := map[string]bool{}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			i := slices.IndexFunc(locationRules, func(r rule[*place]) bool { return r.name == c.rule })
			require.GreaterOrEqual(t, i, 0, "no such rule: %s", c.rule)
			err := locationRules[i].run(func(ctx context.Context) *place {
				l := newLockable()
				b := &badPlace{lockable: l, put: l.Put, open: l.Open, list: l.List, delete: l.Delete, lock: l.Lock}
				c.spoil(b)
				return &place{b, ctx}
			})
			var broken *RuleError
			require.ErrorAs(t, err, &broken)
			require.Equal(t, c.rule, broken.Rule)
			t.Log(err)
			found[c.rule] = true
		})
	}
	for _, r := range locationRules {
		require.True(t, found[r.name], "no location is broken in this way: %s", r.name)
	}
}

func TestCheckLocationReturnsEveryBrokenRule(t *testing.T) {
	err := CheckLocation(func() location.Location {
		return &FaultyLocation{Location: MapLocation{}, On: CallDelete, Nth: -1, Err: os.ErrDeadlineExceeded}
	})
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.ErrorContains(t, err, "rule broken: after Delete the name is free again: ")
	require.ErrorContains(t, err, "rule broken: the caller may close an opened file at any time, even before its end: ")
	require.NotContains(t, err.Error(), "rule broken: Open returns")
}

func TestALocationThatPanicsIsReported(t *testing.T) {
	err := CheckLocation(func() location.Location { return (*badPlace)(nil) })
	require.ErrorContains(t, err, "panic")
	require.Len(t, strings.Split(err.Error(), "rule broken"), len(locationRules)+1)
}

func TestALockThatIsNotSupportedIsNone(t *testing.T) {
	l := &FaultyLocation{Location: MapLocation{}}
	_, err := l.Lock(t.Context(), "a", "holder")
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.NoError(t, CheckLocation(func() location.Location { return &FaultyLocation{Location: MapLocation{}} }))
}

package backuptest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/tomo-project/backup"
)

// TestLocation holds a location against every rule in the documentation of
// [backup.Location] and [backup.File], and of [backup.Locker] if it is one, each
// in a subtest. new returns an empty location, another one at each call. A
// Locker whose Lock returns an error that wraps errors.ErrUnsupported counts as
// none.
func TestLocation(t *testing.T, new func(t *testing.T) backup.Location) {
	t.Helper()
	for _, rule := range locationRules {
		t.Run(strings.ReplaceAll(rule.name, " ", "_"), func(t *testing.T) {
			if err := rule.run(func() backup.Location { return new(t) }); err != nil {
				t.Error(err)
			}
		})
	}
}

// CheckLocation is TestLocation without a test: it returns the broken rules,
// each a [*RuleError], joined.
func CheckLocation(new func() backup.Location) error {
	var errs []error
	for _, rule := range locationRules {
		errs = append(errs, rule.run(new))
	}
	return errors.Join(errs...)
}

type locationRule struct {
	name  string
	check func(*place) error
}

func (r locationRule) run(new func() backup.Location) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := guarded(func() error { return r.check(&place{new(), ctx}) }); err != nil {
		return &RuleError{r.name, err}
	}
	return nil
}

var locationRules = []locationRule{
	{"a name that CheckName refuses is refused before anything is touched", (*place).refusesNames},
	{"a name that CheckName accepts is accepted", (*place).acceptsNames},
	{"Put stores what its reader delivers", (*place).roundTrip},
	{"Put returns fs.ErrExist if the name is taken and leaves what is there alone", (*place).neverOverwrites},
	{"Put returns the error of its reader and stores nothing", (*place).readerFails},
	{"Put ends soon after its context is done, with its error, and stores nothing", (*place).cancelPut},
	{"of several Puts of one name at a time one succeeds", (*place).onePutWins},
	{"nothing is seen of a file before its Put is done", (*place).wholeOrNot},
	{"Open returns fs.ErrNotExist if there is no such file", (*place).openMissing},
	{"Delete returns fs.ErrNotExist if there is no such file", (*place).deleteMissing},
	{"a name is free again after Delete", (*place).nameIsFreeAgain},
	{"an opened file may be closed at any time", (*place).closeEarly},
	{"an opened file that seeks delivers the same in any order", (*place).seeks},
	{"List returns every file in the order of names", (*place).lists},
	{"several goroutines may use a location at a time", (*place).concurrent},
	{"every method returns the error of a context that is done, and does nothing", (*place).cancelled},
	{"Lock returns ErrBusy at once and tells by whom until the lock is free", (*place).lockExcludes},
	{"locks of different names do not exclude each other", (*place).lockNames},
	{"a lock is no file", (*place).lockIsNoFile},
}

// A place is one location under test.
type place struct {
	backup.Location
	ctx context.Context
}

// noise returns n bytes, of which no part is like another.
func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func (p *place) put(name string, content []byte) error {
	if err := p.Put(p.ctx, name, bytes.NewReader(content)); err != nil {
		return fmt.Errorf("Put of %q, %d bytes: %w", name, len(content), err)
	}
	return nil
}

// holds compares what is there under a name.
func (p *place) holds(name string, want []byte) error {
	f, err := p.Open(p.ctx, name)
	if err != nil {
		return fmt.Errorf("Open of %q: %w", name, err)
	}
	got := make([]byte, len(want)+1)
	n, err := io.ReadFull(f, got)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("reading %q: %w", name, err)
	}
	if !bytes.Equal(got[:n], want) {
		return fmt.Errorf("%q holds %d bytes or more that are not the %d that were Put", name, n, len(want))
	}
	return nil
}

// lacks fails if anything is there under a name.
func (p *place) lacks(name string) error {
	f, err := p.Open(p.ctx, name)
	if err == nil {
		return errors.Join(fmt.Errorf("%q can be opened", name), f.Close())
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("Open of %q, which was not stored: %w", name, err)
	}
	files, err := p.List(p.ctx)
	if err != nil {
		return fmt.Errorf("List: %w", err)
	}
	if slices.ContainsFunc(files, func(f backup.File) bool { return f.Name == name }) {
		return fmt.Errorf("List shows %q", name)
	}
	return nil
}

// listed fails unless List returns these names.
func (p *place) listed(want ...string) error {
	files, err := p.List(p.ctx)
	if err != nil {
		return fmt.Errorf("List: %w", err)
	}
	var got []string
	for _, f := range files {
		got = append(got, f.Name)
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("List returned %d files, want %d: got %.200q, want %.200q", len(got), len(want), got, want)
	}
	return nil
}

func (p *place) refusesNames() error {
	if err := p.put("a", []byte("a")); err != nil {
		return err
	}
	for _, name := range []string{
		"", ".", "..", "../a", "/a", "a/", "a/b", "/", "./a", `a\b`, `..\a`, ".a", ".a.lock", "C:", "a:b", "a\x00", "a\n",
		"a\x7f", "a\u0085", "a\xff", strings.Repeat("a", 201), strings.Repeat("é", 101),
	} {
		in := &countingReader{r: strings.NewReader("x")}
		calls := map[Call]error{CallPut: p.Put(p.ctx, name, in), CallDelete: p.Delete(p.ctx, name)}
		f, err := p.Open(p.ctx, name)
		if err == nil {
			f.Close()
		}
		calls[CallOpen] = err
		if l, ok := p.Location.(backup.Locker); ok {
			unlock, err := l.Lock(p.ctx, name, "holder")
			if err == nil {
				return errors.Join(fmt.Errorf("%q can be locked", name), unlock())
			}
		}
		for call, err := range calls {
			switch {
			case err == nil:
				return fmt.Errorf("%s of %q returned nil", call, name)
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrExist):
				return fmt.Errorf("%s of %q has looked for the file: %w", call, name, err)
			}
		}
		if in.n > 0 {
			return fmt.Errorf("Put of %q has read", name)
		}
	}
	if err := p.listed("a"); err != nil {
		return err
	}
	return p.holds("a", []byte("a"))
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	c.n++
	return c.r.Read(p)
}

func (p *place) acceptsNames() error {
	names := []string{
		"-rf", "0", "A B", "a", "a..b", "a.json", "a.json.tmp", "a.lock", "a%2e%2e%2fb", "a+b", "b&c=d", "~", "é", "日本語", "🚀",
		strings.Repeat("c", 200), strings.Repeat("é", 100),
	}
	slices.Sort(names)
	for _, name := range names {
		if err := p.put(name, []byte(name)); err != nil {
			return err
		}
	}
	if err := p.listed(names...); err != nil {
		return err
	}
	for _, name := range names {
		if err := p.holds(name, []byte(name)); err != nil {
			return err
		}
		if err := p.Delete(p.ctx, name); err != nil {
			return fmt.Errorf("Delete of %q: %w", name, err)
		}
	}
	return p.listed()
}

func (p *place) roundTrip() error {
	large, small := noise(1, 5<<20), noise(2, 10_000)
	for _, c := range []struct {
		name    string
		content []byte
		reader  func(io.Reader) io.Reader
	}{
		{"a file of 0 bytes", nil, nil},
		{"a file of 1 byte", small[:1], nil},
		{"a file of 5 MiB", large, nil},
		{"a reader that cannot do anything else", small, func(r io.Reader) io.Reader { return struct{ io.Reader }{r} }},
		{"a reader that delivers one byte at a time", small, iotest.OneByteReader},
		{"a reader that delivers half of what it is asked for", small, iotest.HalfReader},
		{"a reader that delivers data together with io.EOF", small, iotest.DataErrReader},
		{"a reader that delivers nothing at every other call", small, func(r io.Reader) io.Reader { return &idleReader{r: r} }},
	} {
		var r io.Reader = bytes.NewReader(c.content)
		if c.reader != nil {
			r = c.reader(r)
		}
		if err := p.Put(p.ctx, c.name, r); err != nil {
			return fmt.Errorf("%s: Put: %w", c.name, err)
		}
		if err := p.holds(c.name, c.content); err != nil {
			return err
		}
		files, err := p.List(p.ctx)
		if err != nil {
			return fmt.Errorf("List: %w", err)
		}
		i := slices.IndexFunc(files, func(f backup.File) bool { return f.Name == c.name })
		if i < 0 || files[i].Bytes != int64(len(c.content)) {
			return fmt.Errorf("%s of %d bytes: List returned %+v", c.name, len(c.content), files)
		}
	}
	return nil
}

type idleReader struct {
	r    io.Reader
	busy bool
}

func (r *idleReader) Read(p []byte) (int, error) {
	if r.busy = !r.busy; !r.busy {
		return 0, nil
	}
	return r.r.Read(p[:min(len(p), 100)])
}

func (p *place) neverOverwrites() error {
	content := noise(1, 100_000)
	if err := p.put("a", content); err != nil {
		return err
	}
	before, err := p.List(p.ctx)
	if err != nil {
		return err
	}
	for _, other := range [][]byte{nil, noise(2, 10), noise(2, 200_000), content} {
		if err := p.Put(p.ctx, "a", bytes.NewReader(other)); !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("Put of a name that is taken returned %v", err)
		}
		// What fails has not made the name free either.
		if err := p.Put(p.ctx, "a", iotest.ErrReader(errProbe)); err == nil {
			return errors.New("Put of a name that is taken from a reader that fails returned nil")
		}
		if err := p.holds("a", content); err != nil {
			return err
		}
	}
	after, err := p.List(p.ctx)
	if err != nil {
		return err
	}
	if len(before) != 1 || len(after) != 1 || after[0].Bytes != before[0].Bytes || !after[0].ModTime.Equal(before[0].ModTime) {
		return fmt.Errorf("List returned %+v and then %+v", before, after)
	}
	return nil
}

func (p *place) readerFails() error {
	content := noise(1, 2<<20)
	for _, n := range []int{0, 100, 1 << 20, len(content)} {
		r := io.MultiReader(bytes.NewReader(content[:n]), iotest.ErrReader(errProbe))
		if err := p.Put(p.ctx, "a", r); !errors.Is(err, errProbe) {
			return fmt.Errorf("the reader failed after %d bytes, Put returned %v", n, err)
		}
		if err := p.lacks("a"); err != nil {
			return fmt.Errorf("the reader failed after %d bytes: %w", n, err)
		}
	}
	for _, end := range []error{io.ErrUnexpectedEOF, fmt.Errorf("wrapped: %w", io.EOF)} {
		r := io.MultiReader(bytes.NewReader(content[:1000]), iotest.ErrReader(end))
		if err := p.Put(p.ctx, "a", r); !errors.Is(err, end) {
			return fmt.Errorf("the reader failed with %q, which is not its end, and Put returned %v", end, err)
		}
		if err := p.lacks("a"); err != nil {
			return fmt.Errorf("the reader failed with %q: %w", end, err)
		}
	}
	if err := p.put("a", content); err != nil {
		return fmt.Errorf("after Puts of the name that failed: %w", err)
	}
	if err := p.listed("a"); err != nil {
		return err
	}
	return p.holds("a", content)
}

func (p *place) cancelPut() error {
	for _, n := range []int{0, 100, 3 << 20} {
		ctx, cancel := context.WithCancel(p.ctx)
		r := &endless{left: n, at: cancel}
		err := p.Put(ctx, "a", r)
		cancel()
		if r.left < -enough {
			return fmt.Errorf("the context was done after %d bytes, and Put has read %d more", n, -r.left)
		}
		if !errors.Is(err, context.Canceled) {
			return fmt.Errorf("the context was done after %d bytes of an endless reader, Put returned %v", n, err)
		}
		if err := p.lacks("a"); err != nil {
			return fmt.Errorf("the context was done after %d bytes: %w", n, err)
		}
	}
	if err := p.put("a", noise(1, 1000)); err != nil {
		return fmt.Errorf("after Puts of the name that were cancelled: %w", err)
	}
	return p.listed("a")
}

// enough is how many bytes Put may still read: the rest of a part that it sends
// as a whole.
const enough = 32 << 20

// An endless reader calls at once after some bytes. It does end if it is read
// for long after that.
type endless struct {
	left int
	at   func()
}

func (r *endless) Read(p []byte) (int, error) {
	if r.left <= 0 && r.at != nil {
		r.at()
		r.at = nil
	}
	if r.left < -enough {
		return 0, io.EOF
	}
	r.left -= len(p)
	return len(p), nil
}

func (p *place) onePutWins() error {
	for round := range 4 {
		const racers = 16
		name := fmt.Sprint("race-", round)
		contents, errs := make([][]byte, racers), make([]error, racers)
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i := range racers {
			contents[i] = noise(byte(i), 10_000*i)
			wg.Go(func() {
				<-start
				errs[i] = guarded(func() error { return p.Put(p.ctx, name, bytes.NewReader(contents[i])) })
			})
		}
		close(start)
		wg.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				return errors.New("two of them have succeeded")
			case err == nil:
				winner = i
			case !errors.Is(err, fs.ErrExist):
				return fmt.Errorf("one of those that lost returned %w", err)
			}
		}
		if winner < 0 {
			return fmt.Errorf("none has succeeded: %w", errs[0])
		}
		if err := p.holds(name, contents[winner]); err != nil {
			return err
		}
	}
	return nil
}

func (p *place) wholeOrNot() error {
	content := noise(1, 2<<20)
	if err := p.put("z", content[:10]); err != nil {
		return err
	}
	for _, n := range []int{0, 100, 1 << 20, len(content)} {
		var seen error
		look := func() {
			if seen = p.lacks("a"); seen == nil {
				seen = p.listed("z")
			}
			if seen == nil {
				if err := p.Delete(p.ctx, "a"); !errors.Is(err, fs.ErrNotExist) {
					seen = fmt.Errorf("Delete returned %v", err)
				}
			}
		}
		r := io.MultiReader(bytes.NewReader(content[:n]), &call{look}, bytes.NewReader(content[n:]))
		if err := p.Put(p.ctx, "a", r); err != nil {
			return fmt.Errorf("Put: %w", err)
		}
		if seen != nil {
			return fmt.Errorf("after %d bytes of %d: %w", n, len(content), seen)
		}
		if err := p.listed("a", "z"); err != nil {
			return err
		}
		if err := p.holds("a", content); err != nil {
			return err
		}
		if err := p.Delete(p.ctx, "a"); err != nil {
			return fmt.Errorf("Delete: %w", err)
		}
	}
	return nil
}

// A call is a reader of nothing that calls.
type call struct{ do func() }

func (c *call) Read([]byte) (int, error) {
	c.do()
	return 0, io.EOF
}

func (p *place) openMissing() error {
	if err := p.put("a", nil); err != nil {
		return err
	}
	for _, name := range []string{"b", "aa", "a.json", "A a"} {
		if err := p.lacks(name); err != nil {
			return err
		}
	}
	return nil
}

func (p *place) deleteMissing() error {
	if err := p.put("a", nil); err != nil {
		return err
	}
	for range 2 {
		for _, name := range []string{"b", "aa", "a.json", "A a"} {
			if err := p.Delete(p.ctx, name); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("Delete of %q returned %v", name, err)
			}
		}
	}
	return p.listed("a")
}

func (p *place) nameIsFreeAgain() error {
	for i := range 3 {
		content := noise(byte(i), 3000>>i)
		if err := p.put("a", content); err != nil {
			return err
		}
		if err := p.holds("a", content); err != nil {
			return err
		}
		if err := p.Delete(p.ctx, "a"); err != nil {
			return fmt.Errorf("Delete: %w", err)
		}
		if err := p.lacks("a"); err != nil {
			return fmt.Errorf("after Delete: %w", err)
		}
		if err := p.Delete(p.ctx, "a"); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("a second Delete returned %v", err)
		}
	}
	return p.listed()
}

func (p *place) closeEarly() error {
	content := noise(1, 2<<20)
	if err := p.put("a", content); err != nil {
		return err
	}
	for _, n := range []int{0, 1, 1 << 20} {
		f, err := p.Open(p.ctx, "a")
		if err != nil {
			return fmt.Errorf("Open: %w", err)
		}
		got := make([]byte, n)
		if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, content[:n]) {
			return errors.Join(fmt.Errorf("the first %d bytes are not those that were Put: %v", n, err), f.Close())
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("Close after %d bytes: %w", n, err)
		}
	}
	if err := p.holds("a", content); err != nil {
		return err
	}
	return p.Delete(p.ctx, "a")
}

func (p *place) seeks() error {
	content := noise(1, 1<<20)
	if err := p.put("a", content); err != nil {
		return err
	}
	f, err := p.Open(p.ctx, "a")
	if err != nil {
		return fmt.Errorf("Open: %w", err)
	}
	defer f.Close()
	s, ok := f.(seekable)
	if !ok {
		return nil
	}
	size, err := s.Seek(0, io.SeekEnd)
	if err != nil || size != int64(len(content)) {
		return fmt.Errorf("Seek to the end of %d bytes returned %d, %v", len(content), size, err)
	}
	for _, at := range []int64{size - 1, 0, 500_000, 499_999, size} {
		if now, err := s.Seek(at, io.SeekStart); err != nil || now != at {
			return fmt.Errorf("Seek to %d returned %d, %v", at, now, err)
		}
		part := content[at:min(size, at+1000)]
		got := make([]byte, len(part))
		if n, err := s.ReadAt(got, at); n != len(part) || err != nil && err != io.EOF || !bytes.Equal(got, part) {
			return fmt.Errorf("ReadAt %d of %d bytes returned %d, %v, and not what was Put", at, len(part), n, err)
		}
		clear(got)
		if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, part) {
			return fmt.Errorf("Read after Seek to %d and ReadAt: %v, or not what was Put", at, err)
		}
	}
	if n, err := s.ReadAt(make([]byte, 10), size-3); n != 3 || err != io.EOF {
		return fmt.Errorf("ReadAt of 10 bytes, 3 before the end, returned %d, %v", n, err)
	}
	if _, err := s.Seek(-1, io.SeekStart); err == nil {
		return errors.New("Seek to -1 returned nil")
	}
	if _, err := s.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("Seek to the beginning: %w", err)
	}
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, content) {
		return fmt.Errorf("read again from the beginning: %d bytes, %v", len(got), err)
	}
	return nil
}

// guarded turns a panic, which in a goroutine would end the test, into an error.
func guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return do()
}

// each does work on all numbers below n, several at a time.
func each(n int, work func(i int) error) error {
	numbers, errs := make(chan int), make([]error, n)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range numbers {
				errs[i] = guarded(func() error { return work(i) })
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	wg.Wait()
	return errors.Join(errs...)
}

func (p *place) lists() error {
	if err := p.listed(); err != nil {
		return fmt.Errorf("a new location should be empty: %w", err)
	}
	const files = 1200 // more than what services return in a page
	var names []string
	for i := range files {
		names = append(names, fmt.Sprintf("app-%d.json", i))
	}
	shuffled := slices.Clone(names)
	rand.Shuffle(files, func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	slices.Sort(names)
	err := each(files, func(i int) error { return p.put(shuffled[i], []byte(shuffled[i])) })
	if err != nil {
		return err
	}
	if err := p.listed(names...); err != nil {
		return err
	}
	first, err := p.List(p.ctx)
	if err != nil {
		return err
	}
	again, err := p.List(p.ctx)
	if err != nil {
		return err
	}
	for i, f := range first {
		if f.Bytes != int64(len(f.Name)) {
			return fmt.Errorf("%q has %d bytes, List says %d", f.Name, len(f.Name), f.Bytes)
		}
		if !again[i].ModTime.Equal(f.ModTime) {
			return fmt.Errorf("the ModTime of %q changes though the content does not: %v, %v", f.Name, f.ModTime, again[i].ModTime)
		}
	}
	err = each(files/2, func(i int) error { return p.Delete(p.ctx, names[i]) })
	if err != nil {
		return fmt.Errorf("Delete: %w", err)
	}
	return p.listed(names[files/2:]...)
}

func (p *place) concurrent() error {
	if err := p.put("m", []byte("stays")); err != nil {
		return err
	}
	err := each(100, func(i int) error {
		name, content := fmt.Sprint("f", i), noise(byte(i), 1000)
		if err := p.put(name, content); err != nil {
			return err
		}
		if err := p.holds(name, content); err != nil {
			return err
		}
		if err := p.snapshot(); err != nil {
			return err
		}
		if err := p.Delete(p.ctx, name); err != nil {
			return fmt.Errorf("Delete: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return p.listed("m")
}

// snapshot checks what List returns while files come and go.
func (p *place) snapshot() error {
	files, err := p.List(p.ctx)
	if err != nil {
		return fmt.Errorf("List while files come and go: %w", err)
	}
	stays := false
	for i, f := range files {
		if i > 0 && files[i-1].Name >= f.Name {
			return fmt.Errorf("List while files come and go: %q before %q", files[i-1].Name, f.Name)
		}
		if f.Name[0] == 'f' && f.Bytes != 1000 {
			return fmt.Errorf("List while files come and go: %q has %d bytes of 1000", f.Name, f.Bytes)
		}
		stays = stays || f.Name == "m"
	}
	if !stays {
		return errors.New("List while files come and go: a file that stays is missing")
	}
	return nil
}

func (p *place) cancelled() error {
	if err := p.put("a", []byte("a")); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(p.ctx)
	cancel()
	calls := map[Call]error{
		CallPut:    p.Put(ctx, "b", strings.NewReader("b")),
		CallDelete: p.Delete(ctx, "a"),
	}
	f, err := p.Open(ctx, "a")
	if err == nil {
		f.Close()
	}
	calls[CallOpen] = err
	_, calls[CallList] = p.List(ctx)
	if l, ok := p.Location.(backup.Locker); ok {
		unlock, err := l.Lock(ctx, "a", "holder")
		if err == nil {
			err = unlock()
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			calls[CallLock] = err
		}
	}
	for call, err := range calls {
		if !errors.Is(err, context.Canceled) {
			return fmt.Errorf("%s with a context that is done returned %v", call, err)
		}
	}
	if err := p.listed("a"); err != nil {
		return err
	}
	return p.holds("a", []byte("a"))
}

// locker returns nil if the location has no locks.
func (p *place) locker() (backup.Locker, error) {
	l, ok := p.Location.(backup.Locker)
	if !ok {
		return nil, nil
	}
	unlock, err := l.Lock(p.ctx, "probe", "probe")
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("Lock: %w", err)
	}
	return l, unlock()
}

func (p *place) lockExcludes() error {
	l, err := p.locker()
	if l == nil || err != nil {
		return err
	}
	for round := range 3 {
		holder := fmt.Sprintf("tomo on nas, process %d, since 10:30", round)
		unlock, err := l.Lock(p.ctx, "a", holder)
		if err != nil {
			return fmt.Errorf("Lock of a free lock: %w", err)
		}
		for range 2 {
			began := time.Now()
			second, err := l.Lock(p.ctx, "a", "somebody else")
			switch {
			case err == nil:
				return errors.Join(errors.New("a lock was taken twice"), second(), unlock())
			case !errors.Is(err, backup.ErrBusy):
				return errors.Join(fmt.Errorf("Lock of what is taken returned %w", err), unlock())
			case !strings.Contains(err.Error(), holder):
				return errors.Join(fmt.Errorf("the error does not tell that %q has the lock: %w", holder, err), unlock())
			case time.Since(began) > patience:
				return errors.Join(fmt.Errorf("Lock of what is taken returned after %v", time.Since(began)), unlock())
			}
		}
		if err := unlock(); err != nil {
			return fmt.Errorf("unlock: %w", err)
		}
	}
	const racers = 16
	var wg sync.WaitGroup
	unlocks, errs := make([]func() error, racers), make([]error, racers)
	for i := range racers {
		wg.Go(func() {
			errs[i] = guarded(func() (err error) {
				unlocks[i], err = l.Lock(p.ctx, "a", "racer")
				return err
			})
		})
	}
	wg.Wait()
	taken := 0
	for i, err := range errs {
		switch {
		case err == nil:
			taken++
			if err := unlocks[i](); err != nil {
				return fmt.Errorf("unlock: %w", err)
			}
		case !errors.Is(err, backup.ErrBusy):
			return fmt.Errorf("one of several that ask for a lock at a time: %w", err)
		}
	}
	if taken != 1 {
		return fmt.Errorf("of %d that ask for a lock at a time %d got it", racers, taken)
	}
	return nil
}

func (p *place) lockNames() error {
	l, err := p.locker()
	if l == nil || err != nil {
		return err
	}
	var unlocks []func() error
	for _, name := range []string{"a", "b", "a.lock", "a b"} {
		unlock, err := l.Lock(p.ctx, name, "holder of "+name)
		if err != nil {
			return fmt.Errorf("Lock of %q while %d others are held: %w", name, len(unlocks), err)
		}
		unlocks = append(unlocks, unlock)
	}
	for _, unlock := range unlocks {
		if err := unlock(); err != nil {
			return fmt.Errorf("unlock: %w", err)
		}
	}
	return nil
}

func (p *place) lockIsNoFile() error {
	l, err := p.locker()
	if l == nil || err != nil {
		return err
	}
	unlock, err := l.Lock(p.ctx, "a", "holder")
	if err != nil {
		return fmt.Errorf("Lock: %w", err)
	}
	err = func() error {
		if err := p.listed(); err != nil {
			return err
		}
		if err := p.lacks("a"); err != nil {
			return err
		}
		if err := p.put("a", []byte("content")); err != nil {
			return fmt.Errorf("the name is that of a lock: %w", err)
		}
		if err := p.Delete(p.ctx, "a"); err != nil {
			return fmt.Errorf("Delete: %w", err)
		}
		if unlock, err := l.Lock(p.ctx, "a", "somebody else"); !errors.Is(err, backup.ErrBusy) {
			if err == nil {
				err = unlock()
			}
			return fmt.Errorf("the lock was lost with a file of its name: Lock returned %v", err)
		}
		return nil
	}()
	if err := errors.Join(err, unlock()); err != nil {
		return err
	}
	return p.listed()
}

package codec

import (
	"hash/maphash"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/tomo-project/backup/internal/keyset"
)

// A lane reads the records of a section faster than the decoder, as long as each
// record has a line as the Writer writes it. It cuts the text into blocks of
// whole lines. Workers check the blocks, the goroutine that called takes them in
// order, and one more goroutine adds them to the digest.
//
// The lane ends before the first line that is not fine or not as written. The
// decoder goes on there, so it writes every error about the text.
type lane struct {
	s       *scanner
	size    int // of a block, about
	workers int
	blocks  []*block // all that were made
	waiting int      // bytes that were taken since the last call of Progress

	// Of the section that is read:
	sec   *Section
	keys  *keyset.Set
	at    int64  // behind the last record that was taken
	last  int    // the size of that record, with the text before it
	next  int64  // offset of carry
	carry []byte // what was read and is in no block
	queue []*block
	ended bool // nothing more can be cut
	long  bool // the next line is so long that it is read alone
}

// blockBytes is the approximate size of a block. firstBytes is that of the first
// block of a section: most sections are small.
const (
	blockBytes = 128 << 10
	firstBytes = 16 << 10
)

// maxWorkers is enough to keep up with one stream of SHA-256.
const maxWorkers = 8

func newLane(s *scanner, size int) *lane {
	return &lane{s: s, size: size, workers: min(runtime.GOMAXPROCS(0), maxWorkers)}
}

// records reads records of a section, whose bracket was just read.
func (l *lane) records(sec *Section, keys *keyset.Set) error {
	l.sec, l.keys, l.at, l.last, l.ended, l.long = sec, keys, l.s.offset(), 0, false, false
	if !l.begins() {
		return nil
	}
	l.next = l.at
	l.carry = l.s.in.take(l.carry[:0], l.at)
	err := l.inline(min(firstBytes, l.size))
	for err == nil && !l.ended {
		if l.workers == 1 || l.long {
			err = l.inline(l.size)
		} else {
			err = l.parallel()
		}
	}
	if err != nil {
		return err
	}
	l.s.in.back(l.carry)
	return l.resume()
}

// opening is how each record of the section begins.
func (l *lane) opening() byte {
	if l.sec.IsMap {
		return '"'
	}
	return '{'
}

// begins tells whether the text behind the bracket is a line of a record.
func (l *lane) begins() bool {
	ahead := l.s.in.peek(l.at, 2)
	return len(ahead) >= 2 && ahead[0] == '\n' && ahead[1] == l.opening()
}

// block returns block i of the lane.
func (l *lane) block(i int) *block {
	for len(l.blocks) <= i {
		l.blocks = append(l.blocks, &block{checked: make(chan struct{}, 1)})
	}
	return l.blocks[i]
}

// inline does all the work on one block.
func (l *lane) inline(size int) error {
	b := l.block(0)
	l.long = false
	if !l.cut(b, size, l.s.limits.RecordBytes+HeaderBytes) {
		l.ended = true
		return nil
	}
	b.check()
	<-b.checked
	if _, err := l.take(b); err != nil {
		return err
	}
	l.s.in.whole.Write(b.text)
	b.release(longLine * l.size)
	return nil
}

// parallel reads blocks until the lane ends, or a line is long. All goroutines
// have ended when it returns.
func (l *lane) parallel() error {
	n := 2*l.workers + 3
	jobs, taken, free := make(chan *block, n), make(chan *block, n), make(chan *block, n)
	for i := range n {
		free <- l.block(i)
	}
	var running sync.WaitGroup
	for range l.workers {
		running.Go(func() {
			for b := range jobs {
				b.check()
			}
		})
	}
	running.Go(func() {
		for b := range taken {
			l.s.in.whole.Write(b.text)
			b.release(longLine * l.size)
			free <- b
		}
	})
	defer func() {
		close(jobs)
		close(taken)
		running.Wait()
		for _, b := range l.queue {
			<-b.checked
		}
		l.queue = l.queue[:0]
	}()
	for {
		for !l.ended && !l.long && len(l.queue) < n-2 && (len(l.queue) == 0 || len(free) > 0) {
			b := <-free
			if !l.cut(b, l.size, longLine*l.size) {
				free <- b
				break
			}
			l.queue = append(l.queue, b)
			jobs <- b
		}
		if len(l.queue) == 0 {
			return nil
		}
		b := l.queue[0]
		<-b.checked
		l.queue = slices.Delete(l.queue, 0, 1)
		stops, err := l.take(b)
		if err != nil {
			return err
		}
		if taken <- b; stops {
			return nil
		}
	}
}

// longLine is how many times the size of a block a line has at least that is long.
const longLine = 8

// cut makes a block of the next lines, which has more than size bytes only if a
// line has. It returns false if there are no more lines, or if the next line is
// longer than most.
func (l *lane) cut(b *block, size, most int) bool {
	in := l.s.in
	b.begin(l.sec, l.s.limits)
	text := append(b.text[:0], l.carry...)
	for more := true; ; size *= 2 {
		if room := in.max - l.next; int64(size) >= room {
			size, more = int(room), false
		}
		var full bool
		text, full = in.fill(text, size)
		closed := b.split(text, l.opening())
		if l.ended = closed || !more || !full; l.ended || len(b.ends) > 0 {
			break
		}
		if size > most {
			l.long = true
			break
		}
	}
	end := 0
	if n := len(b.ends); n > 0 {
		end = b.ends[n-1]
	}
	l.carry = append(l.carry[:0], text[end:]...)
	l.next += int64(end)
	b.text = text[:end]
	return end > 0
}

// take takes the records of a block that are fine. If some are not, it stops: the
// lane ends, and all other text is carried. b keeps the text that was taken.
func (l *lane) take(b *block) (stops bool, err error) {
	if b.panicked != nil {
		panic(b.panicked)
	}
	n, err := l.accept(b)
	if err != nil {
		return true, err
	}
	end, before := 0, 0
	if n > 0 {
		end = b.ends[n-1]
	}
	if n > 1 {
		before = b.ends[n-2]
	}
	if rest := b.text[end:]; len(rest) > 0 {
		stops, l.ended = true, true
		rest = slices.Clone(rest)
		for _, b := range l.queue {
			rest = append(rest, b.text...)
		}
		l.carry = append(rest, l.carry...)
		b.text = b.text[:end]
		b.sum = maphash.Bytes(l.sec.seed, b.text)
	}
	if n == 0 {
		return stops, nil
	}
	l.sec.Count += int64(n)
	l.s.records += int64(n)
	if running := l.s.in.part; l.at == l.sec.Start+1 { // it has the bracket
		running.Write(b.text)
		b.sum = running.Sum64()
		running.Reset()
	}
	l.at += int64(end)
	l.last = end - before
	l.sec.parts = append(l.sec.parts, part{l.at, b.sum, true})
	return stops, l.progress(end)
}

// progress calls the hook once enough bytes were taken since the last call.
func (l *lane) progress(n int) error {
	if l.waiting += n; l.waiting < partBytes {
		return nil
	}
	l.waiting = 0
	if err := l.s.hooks.Progress(l.sec.Name, l.s.records, l.at); err != nil {
		return hookError{err}
	}
	return nil
}

// accept returns how many records of a block are taken. It adds their names to
// those of the section.
func (l *lane) accept(b *block) (int, error) {
	s := l.s
	n := int(min(int64(b.fine), s.limits.Records-s.records))
	if !l.sec.IsMap {
		return n, nil
	}
	for i, name := range b.names[:n] {
		sum := s.keyBytes
		if s.limits.AddKey(&sum, len(name)) != nil {
			return i, nil
		}
		s.keyBytes = sum
		if err := s.addName(l.keys, name, l.at+int64(b.start(i))); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// resume lets the decoder go on behind the last record that was taken. The
// decoder begins anew, with a text that brings it to the same place of the
// layout.
func (l *lane) resume() error {
	s := l.s
	prefix := `{"":{"":[`
	switch {
	case l.sec.IsMap && l.last > 0:
		prefix = `{"":{"":{"":""`
	case l.sec.IsMap:
		prefix = `{"":{"":{`
	case l.last > 0:
		prefix += `""`
	}
	if l.last > 0 {
		s.allowRecord(l.at - int64(l.last))
	}
	s.in.n = l.at
	s.base = l.at - int64(len(prefix))
	s.dec.Reset(io.MultiReader(strings.NewReader(prefix), s.in), options...)
	for s.offset() < l.at {
		if _, err := s.dec.ReadToken(); err != nil {
			return err
		}
	}
	return nil
}

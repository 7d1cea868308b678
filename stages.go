package backup

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// stages take batches of records through up to three stages, several batches at a time.
// All that the host sees is the same as if there were no stages: a batch enters a stage
// that counts only after the batch before it.
//
// With one processor, and for a batch that is alone, all stages run in the goroutine that
// calls put. stop must be called at the end.
type stages struct {
	work  func(*batch)       // in goroutines of its own, in any order
	write func(*batch) error // in a goroutine of its own, in order; nil for none
	done  func(*batch) error // in the goroutine that calls put, in order

	line    []*batch // on their way, the oldest first
	free    []*batch // to be used again
	err     error    // the first error: nothing is done any more
	workers int      // 0 before the first batch
	todo    chan *batch
	order   chan *batch
	running sync.WaitGroup
	stopped atomic.Bool
}

// maxWorkers bounds the memory for batches that are on their way.
const maxWorkers = 8

// batch returns an empty batch.
func (s *stages) batch(col *collection) *batch {
	var b *batch
	if n := len(s.free); n > 0 {
		b, s.free = s.free[n-1], s.free[:n-1]
	} else {
		b = &batch{worked: make(chan struct{}, 1), ready: make(chan struct{}, 1)}
	}
	b.col = col
	return b
}

// put takes a batch through the stages. alone says that it may be the only one. The error may
// be about a batch before it.
func (s *stages) put(b *batch, alone bool) error {
	if s.err != nil {
		return s.err
	}
	if len(s.line) == 0 && (alone || runtime.GOMAXPROCS(0) == 1) {
		s.work(b)
		if s.write != nil {
			s.err = s.write(b)
		}
		return s.finish(b)
	}
	s.start()
	s.line = append(s.line, b)
	s.todo <- b
	if s.order != nil {
		s.order <- b
	}
	most := s.workers + 1
	if len(b.buf)+b.part.Size() > 2*batchBytes { // a large record is alone
		most = 0
	}
	return s.wait(most)
}

// wait waits until at most so many batches are on their way.
func (s *stages) wait(most int) error {
	for len(s.line) > most && s.err == nil {
		b := s.line[0]
		s.line = slices.Delete(s.line, 0, 1)
		<-b.ready
		if b.crash != nil {
			b.crash.again()
		}
		s.err = b.err
		if err := s.finish(b); err != nil {
			return err
		}
	}
	return s.err
}

// finish takes a batch through the last stage.
func (s *stages) finish(b *batch) error {
	if s.err == nil {
		s.err = s.done(b)
	}
	b.reset()
	s.free = append(s.free, b)
	return s.err
}

// start starts the goroutines.
func (s *stages) start() {
	if s.workers > 0 {
		return
	}
	s.workers = min(runtime.GOMAXPROCS(0), maxWorkers)
	s.todo = make(chan *batch, s.workers+2)
	for range s.workers {
		s.running.Go(func() {
			for b := range s.todo {
				next := b.ready
				if s.write != nil {
					next = b.worked
				}
				s.run(b, next, func() { s.work(b) })
			}
		})
	}
	if s.write == nil {
		return
	}
	s.order = make(chan *batch, s.workers+2)
	s.running.Go(func() {
		failed := false
		for b := range s.order {
			<-b.worked
			if failed = failed || b.crash != nil; failed {
				b.ready <- struct{}{}
				continue
			}
			failed = s.run(b, b.ready, func() { b.err = s.write(b) })
		}
	})
}

// run calls f for a batch, and then sends to next, also if f does not return. The batch
// then belongs to another goroutine. failed tells whether it is the last to be written.
func (s *stages) run(b *batch, next chan<- struct{}, f func()) (failed bool) {
	returned := false
	defer func() {
		if !returned {
			b.crash = &crash{recover()}
		}
		failed = b.err != nil || b.crash != nil
		next <- struct{}{}
	}()
	if !s.stopped.Load() {
		f()
	}
	returned = true
	return false
}

// A crash is what ended a function that did not return: the value of a panic, or nil for
// runtime.Goexit.
type crash struct{ value any }

// again ends the calling goroutine in the same way.
func (c *crash) again() {
	if c.value == nil {
		runtime.Goexit()
	}
	panic(c.value)
}

// stop ends the goroutines, and waits for them. What they have not begun is not done.
func (s *stages) stop() {
	if s.workers == 0 {
		return
	}
	s.stopped.Store(true)
	close(s.todo)
	if s.order != nil {
		close(s.order)
	}
	s.running.Wait()
}

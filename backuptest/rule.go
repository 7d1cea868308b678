package backuptest

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// A RuleError says which rule of the interfaces of package backup a store has
// broken, and how.
type RuleError struct {
	Rule string // in words, "Delete ignores keys that do not exist"
	Err  error
}

// Error returns the rule and what was seen.
func (e *RuleError) Error() string { return fmt.Sprintf("rule broken: %s: %v", e.Rule, e.Err) }

// Unwrap returns what was seen.
func (e *RuleError) Unwrap() error { return e.Err }

// patience is how long the suite waits for what may rightly be blocked.
const patience = time.Second

var errProbe = errors.New("the error that the function returned")

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

package backuptest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A rule is a promise of an interface, with the check that tells whether a subject keeps it.
type rule[T any] struct {
	name  string
	check func(T) error
}

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

// testRules checks each rule on a new subject, in a subtest.
func testRules[T any](t *testing.T, rules []rule[T], new func(context.Context, *testing.T) T) {
	t.Helper()
	for _, r := range rules {
		t.Run(strings.ReplaceAll(r.name, " ", "_"), func(t *testing.T) {
			if err := r.run(func(ctx context.Context) T { return new(ctx, t) }); err != nil {
				t.Error(err)
			}
		})
	}
}

// checkRules checks each rule on a new subject and joins the errors.
func checkRules[T any](rules []rule[T], new func(context.Context) T) error {
	var errs []error
	for _, r := range rules {
		errs = append(errs, r.run(new))
	}
	return errors.Join(errs...)
}

// run returns a [*RuleError] if a new subject breaks the rule or panics.
func (r rule[T]) run(new func(context.Context) T) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := guarded(func() error { return r.check(new(ctx)) }); err != nil {
		return &RuleError{r.name, err}
	}
	return nil
}

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

// race calls work in n goroutines, all at the same time, and returns the error of
// each.
func race(n int, work func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = guarded(func() error { return work(i) })
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// each calls work for all numbers below n, in 16 goroutines.
func each(n int, work func(i int) error) error {
	errs := make([]error, n)
	var next atomic.Int64
	race(16, func(int) error {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			errs[i] = guarded(func() error { return work(i) })
		}
		return nil
	})
	return errors.Join(errs...)
}

package backuptest

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A rule is a sentence that every implementation must keep, with its check.
type rule[T any] struct {
	name  string
	check func(T) error
}

// A RuleError names a rule that a store or a location breaks.
type RuleError struct {
	Rule string // a sentence, "Keys yields every key exactly once"
	Err  error  // what the suite saw
}

// Error returns the rule and what the suite saw.
func (e *RuleError) Error() string { return fmt.Sprintf("rule broken: %s: %v", e.Rule, e.Err) }

// Unwrap returns what the suite saw.
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

// checkRules checks each rule on a new subject, and joins the errors.
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

// patience is how long the suite waits for a call that is allowed to block. Machines
// with 32 bits are slow.
const patience = time.Second * (1 + 9*(64-bits.UintSize)/32)

// errProbe is what functions of the suite return to see whether it comes back.
var errProbe = errors.New("the error that the function returned")

// guarded returns a panic as an error. In a goroutine a panic would end the whole
// test binary.
func guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return do()
}

// race calls work in n goroutines at the same time and returns the error of each.
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

// each calls work for every number below n, in 16 goroutines.
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

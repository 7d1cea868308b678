package backuptest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
)

// A spoiltRules is a RuledStore with another writer or Update.
type spoiltRules struct {
	RuledStore
	writer func(*ruledWriter) backup.Writer
	update func(context.Context, func(backup.Writer) error) error
}

func (s *spoiltRules) Update(ctx context.Context, write func(backup.Writer) error) error {
	if s.update != nil {
		return s.update(ctx, write)
	}
	return s.RuledStore.Update(ctx, func(w backup.Writer) error {
		if s.writer != nil {
			w = s.writer(w.(*ruledWriter))
		}
		return write(w)
	})
}

// An otherWriter is the Writer of a RuledStore with other methods. A nil function
// leaves its method alone.
type otherWriter struct {
	*ruledWriter
	records  func(ctx context.Context, collection string) iter.Seq2[backup.Record, error]
	put      func(ctx context.Context, collection string, records []backup.Record) error
	settle   func(ctx context.Context) error
	effects  func(ctx context.Context, collection string) ([]string, error)
	parents  func(ctx context.Context, collection string) ([]string, error)
	dangling func(allow bool)
	numbers  func(ctx context.Context, collection string, n int) ([]string, error)
}

func (w otherWriter) Records(ctx context.Context, c string) iter.Seq2[backup.Record, error] {
	if w.records != nil {
		return w.records(ctx, c)
	}
	return w.ruledWriter.Records(ctx, c)
}

func (w otherWriter) Put(ctx context.Context, c string, records []backup.Record) error {
	if w.put != nil {
		return w.put(ctx, c, records)
	}
	return w.ruledWriter.Put(ctx, c, records)
}

func (w otherWriter) Settle(ctx context.Context) error {
	if w.settle != nil {
		return w.settle(ctx)
	}
	return w.ruledWriter.Settle(ctx)
}

func (w otherWriter) Effects(ctx context.Context, c string) ([]string, error) {
	if w.effects != nil {
		return w.effects(ctx, c)
	}
	return w.ruledWriter.Effects(ctx, c)
}

func (w otherWriter) Parents(ctx context.Context, c string) ([]string, error) {
	if w.parents != nil {
		return w.parents(ctx, c)
	}
	return w.ruledWriter.Parents(ctx, c)
}

func (w otherWriter) NewKeys(ctx context.Context, c string, n int) ([]string, error) {
	if w.numbers != nil {
		return w.numbers(ctx, c, n)
	}
	return w.ruledWriter.NewKeys(ctx, c, n)
}

func (w otherWriter) AllowDangling(allow bool) {
	if w.dangling != nil {
		w.dangling(allow)
		return
	}
	w.ruledWriter.AllowDangling(allow)
}

// brokenRules are stores with rules of their own, each of which breaks a rule of the
// suite.
func brokenRules() map[string]brokenStore {
	const (
		reads    = "a Writer that is a Reader shows what its transaction sees"
		unique   = "uniqueness holds at the commit and not at each step"
		clash    = "a clash over a unique value fails with the names of both records, and changes nothing"
		dangling = "a reference that dangles fails with the name of its record and changes nothing, unless it is allowed"
		settle   = "Settle refuses what the commit would, and may be called again after more changes"
		tries    = "an Update that only tries leaves the store as it was"
		answers  = "Effects and Parents answer for every collection"
		none     = "NewKeys is unsupported for any number of records or for none, and the transaction goes on"
		fresh    = "NewKeys returns as many keys as it is asked for, which no record has and no call has returned before"
		trace    = "NewKeys leaves no trace: on the same data it returns the same keys in every transaction"
		unknown  = "every call that names an unknown collection returns an error"
	)
	spoil := func(f func(s *spoiltRules)) func() Store {
		return func() Store {
			s := &spoiltRules{RuledStore: ruledStore()}
			f(s)
			return s
		}
	}
	spoilWriter := func(f func(w *otherWriter)) func() Store {
		return spoil(func(s *spoiltRules) {
			s.writer = func(ruled *ruledWriter) backup.Writer {
				w := otherWriter{ruledWriter: ruled}
				f(&w)
				return w
			}
		})
	}
	// spoilError returns a store that alters the errors about records.
	spoilError := func(alter func(e *backup.RecordError)) func() Store {
		return spoil(func(s *spoiltRules) {
			s.update = func(ctx context.Context, write func(backup.Writer) error) error {
				err := s.RuledStore.Update(ctx, write)
				for _, e := range recordErrors(err) {
					alter(e)
				}
				return err
			}
		})
	}
	without := func(drop func(s *RuledStore)) func() Store {
		return spoil(func(s *spoiltRules) { drop(&s.RuledStore) })
	}
	ctx := context.Background()
	spoilNumbers := func(f func(w *otherWriter, c string, n int) ([]string, error)) func() Store {
		return spoilWriter(func(w *otherWriter) {
			w.numbers = func(_ context.Context, c string, n int) ([]string, error) { return f(w, c, n) }
		})
	}
	nothing := func(context.Context, string) ([]string, error) { return nil, nil }

	return map[string]brokenStore{
		"Records of the state before": {reads, spoilWriter(func(w *otherWriter) {
			w.records = (&mapReader{data: w.before}).Records
		})},
		"Records in the order of changes": {reads, spoilWriter(func(w *otherWriter) {
			w.records = func(ctx context.Context, c string) iter.Seq2[backup.Record, error] {
				rs := gather(w.ruledWriter.Records(ctx, c))
				slices.Reverse(rs)
				return yieldAll(rs)
			}
		})},
		"Records goes on after the caller": {reads, spoilWriter(func(w *otherWriter) {
			w.records = func(ctx context.Context, c string) iter.Seq2[backup.Record, error] {
				return func(yield func(backup.Record, error) bool) {
					for r, err := range w.ruledWriter.Records(ctx, c) {
						yield(r, err)
					}
				}
			}
		})},
		"checks at each Put": {unique, spoilWriter(func(w *otherWriter) {
			w.put = func(ctx context.Context, c string, records []backup.Record) error {
				return errors.Join(w.ruledWriter.Put(ctx, c, records), w.ruledWriter.Settle(ctx))
			}
		})},
		"checks at each record": {unique, spoilWriter(func(w *otherWriter) {
			w.put = func(ctx context.Context, c string, records []backup.Record) error {
				for _, r := range records {
					if err := errors.Join(w.ruledWriter.Put(ctx, c, []backup.Record{r}), w.ruledWriter.Settle(ctx)); err != nil {
						return err
					}
				}
				return nil
			}
		})},
		"a cascade on the way": {unique, spoil(func(s *spoiltRules) {
			s.Triggers["servers"] = []Trigger{{"cascade", func(ctx context.Context, w backup.Writer, c Change) error {
				return w.Delete(ctx, "applications", []string{strings.Replace(c.Key, "servers", "applications", 1)})
			}}}
		})},
		"no uniqueness": {clash, without(func(s *RuledStore) { s.Unique = nil })},
		"one name":      {clash, spoilError(func(e *backup.RecordError) { e.With = "" })},
		"a clash without its kind": {clash, spoil(func(s *spoiltRules) {
			s.update = func(ctx context.Context, write func(backup.Writer) error) error {
				if err := s.RuledStore.Update(ctx, write); err != nil {
					return fmt.Errorf("%w: %v", backup.ErrRolledBack, err)
				}
				return nil
			}
		})},
		"another record is blamed": {clash, spoil(func(s *spoiltRules) {
			s.update = func(ctx context.Context, write func(backup.Writer) error) error {
				err := s.RuledStore.Update(ctx, write)
				for _, e := range recordErrors(err) {
					return errors.Join(err, &backup.RecordError{Collection: e.Collection, Key: e.Key, With: "servers-9", Err: e.Err})
				}
				return err
			}
		})},
		"a clash that is there":           {clash, spoil(commitsInSpite)},
		"no references":                   {dangling, without(func(s *RuledStore) { s.Refs = nil })},
		"a reference without its record":  {dangling, spoilError(func(e *backup.RecordError) { e.Key = "" })},
		"a reference that is there":       {dangling, spoil(commitsInSpite)},
		"what dangles stays in the way":   {dangling, spoil(danglesInTheWay)},
		"a record that dangles is lost":   {dangling, spoil(losesWhatDangles)},
		"dangling is allowed for ever":    {dangling, spoil(allowsForEver)},
		"AllowDangling(false) is ignored": {dangling, spoilWriter(func(w *otherWriter) { w.dangling = func(bool) { w.ruledWriter.AllowDangling(true) } })},
		"Settle says nothing":             {settle, spoilWriter(func(w *otherWriter) { w.settle = func(context.Context) error { return nil } })},
		"Settle works once": {settle, spoilWriter(func(w *otherWriter) {
			settled := false
			w.settle = func(ctx context.Context) error {
				if settled {
					return io.EOF
				}
				settled = true
				return w.ruledWriter.Settle(ctx)
			}
		})},
		"each step is checked after Settle": {settle, spoilWriter(func(w *otherWriter) {
			settled := false
			w.settle = func(ctx context.Context) error {
				settled = true
				return w.ruledWriter.Settle(ctx)
			}
			w.put = func(ctx context.Context, c string, records []backup.Record) error {
				err := w.ruledWriter.Put(ctx, c, records)
				if err == nil && settled {
					err = w.ruledWriter.Settle(ctx)
				}
				return err
			}
		})},
		"the commit does what Settle refused": {settle, spoil(commitsInSpite)},
		"Settle commits": {tries, spoil(func(s *spoiltRules) {
			s.writer = func(ruled *ruledWriter) backup.Writer {
				return otherWriter{ruledWriter: ruled, settle: func(ctx context.Context) error {
					s.MapStore.commit(ruled.before, ruled.mapWriter)
					return nil
				}}
			}
		})},
		"a trial is remembered": {tries, spoil(func(s *spoiltRules) {
			s.update = func(ctx context.Context, write func(backup.Writer) error) error {
				err := s.RuledStore.Update(ctx, write)
				if errors.Is(err, errProbe) {
					s.update = func(context.Context, func(backup.Writer) error) error { return err }
				}
				return err
			}
		})},
		"Effects fails": {answers, spoilWriter(func(w *otherWriter) {
			w.effects = func(context.Context, string) ([]string, error) { return nil, io.EOF }
		})},
		"an effect without a name": {answers, spoil(func(s *spoiltRules) { s.Triggers["servers"][0].Name = "" })},
		"Parents fails": {answers, spoilWriter(func(w *otherWriter) {
			w.parents = func(context.Context, string) ([]string, error) { return nil, io.EOF }
		})},
		"a collection before itself": {answers, spoilWriter(func(w *otherWriter) {
			w.parents = func(_ context.Context, c string) ([]string, error) { return []string{c}, nil }
		})},
		"NewKeys fails for a text": {none, spoilNumbers(func(w *otherWriter, c string, n int) ([]string, error) {
			if c != "servers" {
				return nil, io.EOF
			}
			return w.ruledWriter.NewKeys(ctx, c, n)
		})},
		"NewKeys says it too late": {none, spoilNumbers(func(w *otherWriter, c string, n int) ([]string, error) {
			if n == 0 {
				return nil, nil
			}
			return w.ruledWriter.NewKeys(ctx, c, n)
		})},
		"NewKeys says it for nothing": {none, spoilNumbers(func(w *otherWriter, c string, n int) ([]string, error) {
			if n == 0 {
				return nil, errors.ErrUnsupported
			}
			return w.ruledWriter.NewKeys(ctx, c, n)
		})},
		"NewKeys is unsupported and has keys": {none, spoilNumbers(func(w *otherWriter, c string, n int) ([]string, error) {
			keys, err := w.ruledWriter.NewKeys(ctx, c, n)
			if err != nil && n > 0 {
				keys = []string{"1"}
			}
			return keys, err
		})},
		"NewKeys ends the transaction": {none, spoilNumbers(func(w *otherWriter, c string, n int) ([]string, error) {
			keys, err := w.ruledWriter.NewKeys(ctx, c, n)
			if err != nil && n > 0 {
				_ = w.fail(err)
			}
			return keys, err
		})},
		"a key too few": {fresh, spoilNumbers(func(w *otherWriter, c string, n int) ([]string, error) {
			keys, err := w.ruledWriter.NewKeys(ctx, c, n)
			return keys[:min(len(keys), 3)], err
		})},
		"a key that a record has": {fresh, spoilNumbers(func(w *otherWriter, c string, n int) ([]string, error) {
			keys, err := w.ruledWriter.NewKeys(ctx, c, n)
			if n == 3 {
				keys[1] = "servers-7"
			}
			return keys, err
		})},
		"the same keys in each call": {fresh, spoilNumbers(func(w *otherWriter, c string, n int) ([]string, error) {
			w.ruledWriter.numbers = nil
			return w.ruledWriter.NewKeys(ctx, c, n)
		})},
		"a key of a record that was put": {trace, spoilNumbers(func(w *otherWriter, c string, n int) ([]string, error) {
			before := &ruledWriter{mapWriter: &mapWriter{data: w.before}, rules: w.rules, numbers: w.ruledWriter.numbers}
			keys, err := before.NewKeys(ctx, c, n)
			w.ruledWriter.numbers = before.numbers
			if w.changed[c] {
				return []string{"1", "2", "3"}[:n], err
			}
			return keys, err
		})},
		"a sequence that is used up": {trace, func() Store {
			used := 0
			return spoilNumbers(func(w *otherWriter, c string, n int) ([]string, error) {
				if c == "servers" && n > 0 {
					w.ruledWriter.numbers = map[string]int{c: used}
					used += n
				}
				return w.ruledWriter.NewKeys(ctx, c, n)
			})()
		}},
		"NewKeys of an unknown collection": {unknown, spoilNumbers(func(*otherWriter, string, int) ([]string, error) { return nil, nil })},
		"Effects of an unknown collection": {unknown, spoilWriter(func(w *otherWriter) { w.effects = nothing })},
		"Parents of an unknown collection": {unknown, spoilWriter(func(w *otherWriter) { w.parents = nothing })},
		"Records of an unknown collection": {unknown, spoilWriter(func(w *otherWriter) {
			w.records = func(context.Context, string) iter.Seq2[backup.Record, error] { return yieldAll(nil) }
		})},
	}
}

// commitsInSpite returns the error, but makes the changes.
func commitsInSpite(s *spoiltRules) {
	s.update = func(ctx context.Context, write func(backup.Writer) error) error {
		var told error
		err := s.MapStore.Update(ctx, func(plain backup.Writer) error {
			w := &ruledWriter{mapWriter: plain.(*mapWriter), rules: s.RuledStore, before: s.MapStore.Clone()}
			w.reader.data = w.data
			if err := write(w); err != nil {
				return err
			}
			told = w.Settle(ctx)
			return nil
		})
		return errors.Join(err, told)
	}
}

// danglesInTheWay checks all references at each commit.
func danglesInTheWay(s *spoiltRules) {
	s.update = func(ctx context.Context, write func(backup.Writer) error) error {
		return s.RuledStore.Update(ctx, func(w backup.Writer) error {
			err := write(w)
			w.(*ruledWriter).before = MapStore{}
			return err
		})
	}
}

// losesWhatDangles leaves out the records that dangle.
func losesWhatDangles(s *spoiltRules) {
	s.writer = func(ruled *ruledWriter) backup.Writer {
		w := otherWriter{ruledWriter: ruled}
		allowed := false
		w.dangling = func(allow bool) { allowed = allow }
		w.put = func(ctx context.Context, c string, records []backup.Record) error {
			return ruled.Put(ctx, c, slices.DeleteFunc(slices.Clone(records), func(r backup.Record) bool {
				return allowed && bytes.Contains(r.Value, []byte("gone"))
			}))
		}
		return w
	}
}

// allowsForEver remembers what an earlier transaction allowed.
func allowsForEver(s *spoiltRules) {
	allowed := false
	s.writer = func(ruled *ruledWriter) backup.Writer {
		ruled.AllowDangling(allowed)
		return otherWriter{ruledWriter: ruled, dangling: func(allow bool) {
			allowed = allowed || allow
			ruled.AllowDangling(allow)
		}}
	}
}

package backuptest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/codec"
)

func fixture() Fixture {
	return Fixture{
		Collections: []string{"servers", "applications", "members", "settings"},
		Record: func(collection string, number, revision int) backup.Record {
			if collection == "members" { // every key shares a part with other keys
				return member(strconv.Itoa(number/10), strconv.Itoa(number%10), fmt.Sprintf(`,"revision":%d`, revision))
			}
			key := fmt.Sprintf("%s-%d", collection, number)
			value := fmt.Sprintf(`{"id":%q,"server":"servers-%d","n":1234567890123456789%d,"note":null,"x":[1.50,"é\u2028"],"secrets":{"a/b":"made-up-%d",":":[true,null]}}`, key, number, number, number)
			if revision == 1 {
				value = fmt.Sprintf(`{"id":%q,"server":"servers-%d","n":-0}`, key, number)
			}
			return backup.Record{Key: key, Value: json.RawMessage(value)}
		},
		WithKey: func(collection, key string) backup.Record {
			id, err := json.Marshal(key)
			if err != nil {
				panic(err)
			}
			return backup.Record{Key: key, Value: fmt.Appendf(nil, `{"id":%s}`, id)}
		},
		WithParts: func(collection, first, second string) backup.Record {
			if collection != "members" {
				return backup.Record{}
			}
			return member(first, second, "")
		},
		App: &backup.App{
			Name: "conformance", Version: "1.0.0", SchemaVersion: 1,
			Collections: []backup.Collection{
				{Name: "servers", Key: "/id", Secrets: []string{"/secrets/a~1b"}},
				{Name: "applications", Key: "/id", Refs: []backup.Ref{{Pointer: "/server", Collection: "servers"}}, Secrets: []string{"/secrets/*"}},
				{Name: "members", Key: "/user,/group"},
				{Name: "settings", Shape: backup.Map, Secrets: []string{"/*/secrets/a~1b"}},
				{Name: "logs", Key: "/id"},
			},
		},
	}
}

// member returns a record whose key has two parts.
func member(user, group, more string) backup.Record {
	return backup.Record{
		Key:   codec.JoinKey([]string{user, group}),
		Value: fmt.Appendf(nil, `{"user":%s,"group":%s%s}`, codec.Quote(user), codec.Quote(group), more),
	}
}

func emptyStore() MapStore {
	return MapStore{"servers": {}, "applications": nil, "members": {}, "settings": {}}
}

// ruledFixture has what a store with rules of its own needs besides.
func ruledFixture() Fixture {
	f := fixture()
	f.WithUnique = func(collection string, number, value int) backup.Record {
		key := fmt.Sprintf("%s-%d", collection, number)
		switch collection {
		case "servers":
			return rec(key, fmt.Sprintf(`{"id":%q,"position":%d}`, key, value))
		case "applications":
			return rec(key, fmt.Sprintf(`{"id":%q,"server":"servers-%d","host":"h","port":%d}`, key, number, value))
		}
		return backup.Record{}
	}
	f.Dangling = func(collection string) backup.Record {
		if collection != "applications" {
			return backup.Record{}
		}
		return rec("dangles", `{"id":"dangles","server":"gone"}`)
	}
	return f
}

func ruledStore() RuledStore {
	return RuledStore{
		MapStore: emptyStore(),
		Unique:   map[string][]string{"servers": {"/position"}, "applications": {"/host,/port"}},
		Refs:     map[string][]backup.Ref{"applications": {{Pointer: "/server", Collection: "servers"}}},
		Numbered: []string{"servers"},
		Triggers: map[string][]Trigger{"servers": {{"watch", func(context.Context, backup.Writer, Change) error { return nil }}}},
	}
}

func TestRuledStoreKeepsEveryRule(t *testing.T) {
	TestStore(t, func(*testing.T) Store { return ruledStore() }, ruledFixture())
}

func TestMapStoreKeepsEveryRule(t *testing.T) {
	TestStore(t, func(*testing.T) Store { return emptyStore() }, fixture())
}

func TestFaultyThatNeverFailsKeepsEveryRule(t *testing.T) {
	TestStore(t, func(*testing.T) Store {
		s := ruledStore()
		return &Faulty{Source: s, Sink: s}
	}, ruledFixture())
	require.NoError(t, CheckStore(func() Store {
		s := emptyStore()
		return &Faulty{Source: s, Sink: s}
	}, fixture()))
}

// A brokenStore is a store that breaks a rule.
type brokenStore struct {
	rule string
	new  func() Store
}

func TestEveryBrokenRuleIsFoundAndNamed(t *testing.T) {
	spoilReader := func(f func(r backup.Reader) reader) func() Store {
		return func() Store {
			return &spoilt{MapStore: emptyStore(), reader: func(r backup.Reader) backup.Reader { return f(r) }}
		}
	}
	spoilWriter := func(f func(w writer) writer) func() Store {
		return func() Store {
			return &spoilt{MapStore: emptyStore(), writer: func(w backup.Writer) backup.Writer { return f(writer{Writer: w}) }}
		}
	}
	spoil := func(f func(s *spoilt)) func() Store {
		return func() Store {
			s := &spoilt{MapStore: emptyStore()}
			f(s)
			return s
		}
	}
	ctx := context.Background()
	// exchange puts other text in the place of the secrets.
	exchange := func(rs []backup.Record, by string) []backup.Record {
		rs = slices.Clone(rs)
		for i := range rs {
			rs[i].Value = regexp.MustCompile(`"made-up-\d+"`).ReplaceAll(rs[i].Value, []byte(by))
		}
		return rs
	}
	const whole = "a backup with sealed secrets restores the same records into another store"

	cases := map[string]brokenStore{
		"View reads twice": {"View calls read exactly once and returns the error of read", spoil(func(s *spoilt) {
			s.view = func(ctx context.Context, read func(backup.Reader) error) error {
				return errors.Join(s.MapStore.View(ctx, read), s.MapStore.View(ctx, read))
			}
		})},
		"View swallows the error": {"View calls read exactly once and returns the error of read", spoil(func(s *spoilt) {
			s.view = func(ctx context.Context, read func(backup.Reader) error) error {
				_ = s.MapStore.View(ctx, read)
				return nil
			}
		})},
		"a record in every collection": {"a collection without records yields no records, no keys and no error", spoilReader(func(r backup.Reader) reader {
			return func(ctx context.Context, c string) iter.Seq2[backup.Record, error] {
				return yieldAll(append(gather(r.Records(ctx, c)), backup.Record{Key: "x", Value: []byte(`{}`)}))
			}
		})},
		"a record twice": {"every record is read exactly once, with its value unchanged", spoilReader(func(r backup.Reader) reader {
			return func(ctx context.Context, c string) iter.Seq2[backup.Record, error] {
				rs := gather(r.Records(ctx, c))
				return yieldAll(append(rs, rs[:min(1, len(rs))]...))
			}
		})},
		"numbers become floats": {"every record is read exactly once, with its value unchanged", spoilWriter(func(w writer) writer {
			w.put = func(ctx context.Context, c string, records []backup.Record) error {
				rs := slices.Clone(records)
				for i, r := range rs {
					var v any
					_ = json.Unmarshal(r.Value, &v)
					rs[i].Value, _ = json.Marshal(v)
				}
				return w.Writer.Put(ctx, c, rs)
			}
			return w
		})},
		"random order": {"two stores with the same data yield their records in the same order", spoilReader(func(r backup.Reader) reader {
			return func(ctx context.Context, c string) iter.Seq2[backup.Record, error] {
				rs := gather(r.Records(ctx, c))
				rand.Shuffle(len(rs), func(i, j int) { rs[i], rs[j] = rs[j], rs[i] })
				return yieldAll(rs)
			}
		})},
		"a sequence that runs once": {"the caller may stop a sequence of records at any record and start it again", spoilReader(func(r backup.Reader) reader {
			return func(ctx context.Context, c string) iter.Seq2[backup.Record, error] {
				rs := gather(r.Records(ctx, c))
				return func(yield func(backup.Record, error) bool) {
					for len(rs) > 0 {
						next := rs[0]
						rs = rs[1:]
						if !yield(next, nil) {
							return
						}
					}
				}
			}
		})},
		"unknown is empty": {"every call that names an unknown collection returns an error", spoilReader(func(r backup.Reader) reader {
			return func(ctx context.Context, c string) iter.Seq2[backup.Record, error] {
				return yieldAll(gather(r.Records(ctx, c)))
			}
		})},
		"goes on after an error": {"every call that names an unknown collection returns an error", spoilReader(func(r backup.Reader) reader {
			return func(ctx context.Context, c string) iter.Seq2[backup.Record, error] {
				return func(yield func(backup.Record, error) bool) {
					for rec, err := range r.Records(ctx, c) {
						if !yield(rec, err) || err != nil && !yield(backup.Record{}, io.EOF) {
							return
						}
					}
				}
			}
		})},
		"Put into an unknown collection is lost": {"every call that names an unknown collection returns an error", spoilWriter(func(w writer) writer {
			w.put = func(ctx context.Context, c string, records []backup.Record) error {
				_ = w.Writer.Put(ctx, c, records)
				return nil
			}
			return w
		})},
		"deaf to cancellation": {"a sequence ends with an error soon after its context is done", spoilReader(func(r backup.Reader) reader {
			return func(_ context.Context, c string) iter.Seq2[backup.Record, error] { return r.Records(ctx, c) }
		})},
		"stops short when cancelled": {"a sequence ends with an error soon after its context is done", spoilReader(func(r backup.Reader) reader {
			return func(ctx context.Context, c string) iter.Seq2[backup.Record, error] {
				return func(yield func(backup.Record, error) bool) {
					for rec, err := range r.Records(ctx, c) {
						if errors.Is(err, context.Canceled) || !yield(rec, err) {
							return
						}
					}
				}
			}
		})},
		"goes on after the error of its context": {"a sequence ends with an error soon after its context is done", spoilReader(func(r backup.Reader) reader {
			return func(ctx context.Context, c string) iter.Seq2[backup.Record, error] {
				return func(yield func(backup.Record, error) bool) {
					for rec, err := range r.Records(ctx, c) {
						if !yield(rec, err) || err != nil && !yield(backup.Record{}, err) {
							return
						}
					}
				}
			}
		})},
		"a View of now": {"a View shows all collections at one point in time while the host goes on writing", spoil(func(s *spoilt) {
			s.view = func(ctx context.Context, read func(backup.Reader) error) error {
				return read(reader(func(ctx context.Context, c string) iter.Seq2[backup.Record, error] {
					return func(yield func(backup.Record, error) bool) {
						_ = s.MapStore.View(ctx, func(r backup.Reader) error {
							for rec, err := range r.Records(ctx, c) {
								if !yield(rec, err) {
									break
								}
							}
							return nil
						})
					}
				}))
			}
		})},
		"a View that stops the host": {"a View shows all collections at one point in time while the host goes on writing", spoil(func(s *spoilt) {
			lock := make(chan struct{}, 1)
			s.view = func(ctx context.Context, read func(backup.Reader) error) error {
				lock <- struct{}{}
				defer func() { <-lock }()
				return s.MapStore.View(ctx, read)
			}
			s.update = func(ctx context.Context, write func(backup.Writer) error) error {
				lock <- struct{}{}
				defer func() { <-lock }()
				return s.MapStore.Update(ctx, write)
			}
		})},
		"no transaction": {"nobody outside a transaction sees its changes before the commit", spoil(func(s *spoilt) { s.writer = s.direct })},
		"never commits": {"Update commits the changes if write returns nil", spoil(func(s *spoilt) {
			s.update = func(ctx context.Context, write func(backup.Writer) error) error {
				_ = s.MapStore.Update(ctx, func(w backup.Writer) error { _ = write(w); return io.EOF })
				return nil
			}
		})},
		"commits in spite of an error": {"if write returns an error, Update rolls back and returns that error", spoil(func(s *spoilt) {
			s.update = func(ctx context.Context, write func(backup.Writer) error) error {
				var got error
				return errors.Join(s.MapStore.Update(ctx, func(w backup.Writer) error { got = write(w); return nil }), got)
			}
		})},
		"another error": {"if write returns an error, Update rolls back and returns that error", spoil(func(s *spoilt) {
			s.update = func(ctx context.Context, write func(backup.Writer) error) error {
				if err := s.MapStore.Update(ctx, write); err != nil {
					return fmt.Errorf("update: %v", err)
				}
				return nil
			}
		})},
		"commits a panic": {"if write panics, Update rolls back, and the store still works afterwards", spoil(func(s *spoilt) {
			s.update = func(ctx context.Context, write func(backup.Writer) error) error {
				var p any
				err := s.MapStore.Update(ctx, func(w backup.Writer) error {
					defer func() { p = recover() }()
					return write(w)
				})
				if p != nil {
					panic(p)
				}
				return err
			}
		})},
		"swallows a panic": {"if write panics, Update rolls back, and the store still works afterwards", spoil(func(s *spoilt) {
			s.update = func(ctx context.Context, write func(backup.Writer) error) error {
				defer func() { _ = recover() }()
				return s.MapStore.Update(ctx, write)
			}
		})},
		"commits though cancelled": {"if the context is done before the commit, Update rolls back and returns an error", spoil(func(s *spoilt) {
			s.update = func(_ context.Context, write func(backup.Writer) error) error { return s.MapStore.Update(ctx, write) }
		})},
		"write is called again on what it has left": {"write gets a fresh transaction each time it is called, and no Update is lost", spoil(func(s *spoilt) {
			s.update = func(ctx context.Context, write func(backup.Writer) error) error {
				return s.MapStore.Update(ctx, func(w backup.Writer) error { return errors.Join(write(w), write(w)) })
			}
		})},
		"an update is lost": {"write gets a fresh transaction each time it is called, and no Update is lost", spoil(func(s *spoilt) {
			calls := 0
			lock := make(chan struct{}, 1)
			s.update = func(ctx context.Context, write func(backup.Writer) error) error {
				lock <- struct{}{}
				defer func() { <-lock }()
				if calls++; calls == 2 {
					_ = s.MapStore.Update(ctx, func(w backup.Writer) error { _ = write(w); return io.EOF })
					return nil
				}
				return s.MapStore.Update(ctx, write)
			}
		})},
		"does not see its own changes": {"a transaction sees its own changes", spoilWriter(func(w writer) writer {
			changed := map[string]bool{}
			w.put = func(ctx context.Context, c string, records []backup.Record) error {
				for _, r := range records {
					changed[r.Key] = true
				}
				return w.Writer.Put(ctx, c, records)
			}
			w.lookup = func(ctx context.Context, c string, keys []string) ([]backup.Record, error) {
				rs, err := w.Writer.Lookup(ctx, c, keys)
				return slices.DeleteFunc(rs, func(r backup.Record) bool { return changed[r.Key] }), err
			}
			return w
		})},
		"a key twice": {"Keys yields every key exactly once", spoilWriter(func(w writer) writer {
			w.keys = func(ctx context.Context, c string) iter.Seq2[string, error] {
				return func(yield func(string, error) bool) {
					for key, err := range w.Writer.Keys(ctx, c) {
						for range 2 {
							if !yield(key, err) {
								return
							}
						}
					}
				}
			}
			return w
		})},
		"Lookup without keys": {"Lookup returns the records that exist, each with its Key, and leaves out keys without a record", spoilWriter(func(w writer) writer {
			w.lookup = func(ctx context.Context, c string, keys []string) ([]backup.Record, error) {
				rs, err := w.Writer.Lookup(ctx, c, keys)
				for i := range rs {
					rs[i].Key = ""
				}
				return rs, err
			}
			return w
		})},
		"Lookup of absent keys": {"Lookup returns the records that exist, each with its Key, and leaves out keys without a record", spoilWriter(func(w writer) writer {
			w.lookup = func(ctx context.Context, c string, keys []string) ([]backup.Record, error) {
				rs, err := w.Writer.Lookup(ctx, c, keys)
				if err == nil && len(rs) < len(keys) {
					err = io.EOF
				}
				return rs, err
			}
			return w
		})},
		"Put keeps members": {"Put replaces the whole record that has the same key", spoilWriter(func(w writer) writer {
			w.put = func(ctx context.Context, c string, records []backup.Record) error {
				for _, r := range records {
					old, err := w.Writer.Lookup(ctx, c, []string{r.Key})
					if err != nil {
						return err
					}
					value := map[string]json.RawMessage{}
					for _, o := range old {
						_ = json.Unmarshal(o.Value, &value)
					}
					_ = json.Unmarshal(r.Value, &value)
					r.Value, _ = json.Marshal(value)
					if err := w.Writer.Put(ctx, c, []backup.Record{r}); err != nil {
						return err
					}
				}
				return nil
			}
			return w
		})},
		"Put keeps memory": {"Put does not use the memory of its records after it has returned", spoilWriter(func(w writer) writer {
			type put struct {
				c string
				r []backup.Record
			}
			var late []put
			w.put = func(ctx context.Context, c string, records []backup.Record) error {
				late = append(late, put{c, records})
				return nil
			}
			w.lookup = func(ctx context.Context, c string, keys []string) ([]backup.Record, error) {
				for _, p := range late {
					if err := w.Writer.Put(ctx, p.c, p.r); err != nil {
						return nil, err
					}
				}
				late = nil
				return w.Writer.Lookup(ctx, c, keys)
			}
			return w
		})},
		"Delete of absent keys fails": {"Delete removes exactly the records under its keys, and ignores keys without a record", spoilWriter(func(w writer) writer {
			w.delete = func(ctx context.Context, c string, keys []string) error {
				rs, err := w.Writer.Lookup(ctx, c, keys)
				if err == nil && len(rs) < len(keys) {
					err = io.EOF
				}
				return errors.Join(err, w.Writer.Delete(ctx, c, keys))
			}
			return w
		})},
		"Delete leaves one": {"Delete removes exactly the records under its keys, and ignores keys without a record", spoilWriter(func(w writer) writer {
			w.delete = func(ctx context.Context, c string, keys []string) error {
				return w.Writer.Delete(ctx, c, keys[:max(len(keys)-1, 0)])
			}
			return w
		})},
		"too many variables": {"Put, Lookup and Delete accept batches of any size, and empty batches", spoilWriter(func(w writer) writer {
			w.lookup = func(ctx context.Context, c string, keys []string) ([]backup.Record, error) {
				if len(keys) > 400 {
					return nil, errors.New("too many variables")
				}
				return w.Writer.Lookup(ctx, c, keys)
			}
			return w
		})},
		"IN ()": {"Put, Lookup and Delete accept batches of any size, and empty batches", spoilWriter(func(w writer) writer {
			w.delete = func(ctx context.Context, c string, keys []string) error {
				if len(keys) == 0 {
					return errors.New("syntax error")
				}
				return w.Writer.Delete(ctx, c, keys)
			}
			return w
		})},
		"letters without case": {"any text may be a key, and two different texts are two different keys", spoilWriter(func(w writer) writer {
			w.put = func(ctx context.Context, c string, records []backup.Record) error {
				rs := slices.Clone(records)
				for i := range rs {
					if rs[i].Key == "A" {
						rs[i].Key = "a"
					}
				}
				return w.Writer.Put(ctx, c, rs)
			}
			return w
		})},
		"parts joined without quotes": {"two keys of several parts are different if they differ in one part", spoilWriter(func(w writer) writer {
			join := func(key string) string {
				var parts []string
				if json.Unmarshal([]byte(key), &parts) != nil {
					return key
				}
				return codec.JoinKey([]string{strings.Join(parts, ",")})
			}
			w.put = func(ctx context.Context, c string, records []backup.Record) error {
				rs := slices.Clone(records)
				for i := range rs {
					rs[i].Key = join(rs[i].Key)
				}
				return w.Writer.Put(ctx, c, rs)
			}
			w.lookup = func(ctx context.Context, c string, keys []string) ([]backup.Record, error) {
				original, joined := map[string]string{}, []string(nil)
				for _, key := range keys {
					if original[join(key)] == "" {
						joined = append(joined, join(key))
					}
					original[join(key)] = key
				}
				rs, err := w.Writer.Lookup(ctx, c, joined)
				for i := range rs {
					rs[i].Key = original[rs[i].Key]
				}
				return rs, err
			}
			return w
		})},
		"Delete of all that have the first part": {"two keys of several parts are different if they differ in one part", spoilWriter(func(w writer) writer {
			w.delete = func(ctx context.Context, c string, keys []string) error {
				for key, err := range w.Writer.Keys(ctx, c) {
					if err != nil {
						return err
					}
					if part, _, ok := strings.Cut(key, ","); ok && strings.HasPrefix(keys[0], part+",") && !slices.Contains(keys, key) {
						keys = append(keys, key)
					}
				}
				return w.Writer.Delete(ctx, c, keys)
			}
			return w
		})},
		"secrets read as they are stored": {whole, spoilReader(func(r backup.Reader) reader {
			return func(ctx context.Context, c string) iter.Seq2[backup.Record, error] {
				return yieldAll(exchange(gather(r.Records(ctx, c)), `"sealed with the key of this store"`))
			}
		})},
		"secrets in a second place": {whole, spoilReader(func(r backup.Reader) reader {
			return func(ctx context.Context, c string) iter.Seq2[backup.Record, error] {
				return yieldAll(exchange(gather(r.Records(ctx, c)), `$0,"copy":$0`))
			}
		})},
		"secrets are lost in the second store": {whole, func() func() Store {
			stores := 0
			return func() Store {
				stores++
				second := stores%2 == 0
				return spoilWriter(func(w writer) writer {
					w.put = func(ctx context.Context, c string, records []backup.Record) error {
						if second {
							records = exchange(records, "null")
						}
						return w.Writer.Put(ctx, c, records)
					}
					return w
				})()
			}
		}()},
		"Lookup masks secrets": {whole, spoilWriter(func(w writer) writer {
			w.lookup = func(ctx context.Context, c string, keys []string) ([]backup.Record, error) {
				rs, err := w.Writer.Lookup(ctx, c, keys)
				return exchange(rs, `"********"`), err
			}
			return w
		})},
	}
	found := map[string]bool{}
	maps.Copy(cases, brokenRules())
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			// Only this rule is checked, because the store may break other rules too.
			i := slices.IndexFunc(storeRules, func(r rule[*harness]) bool { return r.name == c.rule })
			require.GreaterOrEqual(t, i, 0, "no such rule: %s", c.rule)
			err := storeRules[i].run(func(ctx context.Context) *harness { return newHarness(ctx, ruledFixture(), c.new) })
			var broken *RuleError
			require.ErrorAs(t, err, &broken)
			require.Equal(t, c.rule, broken.Rule)
			require.ErrorContains(t, err, "rule broken: "+c.rule+": ")
			t.Log(err)
			found[c.rule] = true
		})
	}
	for _, r := range storeRules {
		require.True(t, found[r.name], "no store is broken in this way: %s", r.name)
	}
}

func TestCheckStoreReturnsEveryBrokenRule(t *testing.T) {
	require.NoError(t, CheckStore(func() Store { return emptyStore() }, fixture()))

	err := CheckStore(func() Store {
		return &spoilt{MapStore: emptyStore(), writer: func(w backup.Writer) backup.Writer {
			return writer{Writer: w, delete: func(context.Context, string, []string) error { return errors.ErrUnsupported }}
		}}
	}, fixture())
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, "rule broken: Delete removes exactly the records under its keys, and ignores keys without a record: ")
	require.ErrorContains(t, err, "rule broken: Update commits the changes if write returns nil: ")
}

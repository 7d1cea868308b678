package kvstore_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/kvstore"
)

// A mean database is as unkind as the rules of Tx and WriteTx allow: what it has
// lent it overwrites as soon as it may, and what was put it keeps and reads only
// at the commit. It refuses nil. Each of its methods can be made to fail.
type mean struct {
	*memory
	fail map[string]error // by method
	runs int              // how often Update calls its function, if more than once
}

func (m *mean) View(ctx context.Context, read func(kvstore.Tx) error) error {
	return m.memory.View(ctx, func(tx kvstore.Tx) error {
		t := &meanTx{mean: m, data: tx.(transaction)}
		defer t.takeBack()
		return read(t)
	})
}

var errAgain = errors.New("the transaction has to be repeated")

func (m *mean) Update(ctx context.Context, write func(kvstore.WriteTx) error) error {
	for run := 1; ; run++ {
		err := m.memory.Update(ctx, func(tx kvstore.WriteTx) error {
			t := &meanTx{mean: m, data: tx.(transaction), puts: map[[2]string][]byte{}}
			defer t.takeBack()
			if err := write(t); err != nil {
				return err
			}
			if run < m.runs {
				return errAgain
			}
			for at, value := range t.puts {
				if err := t.data.Put(at[0], []byte(at[1]), value); err != nil {
					return err
				}
			}
			return m.fail["commit"]
		})
		if err != errAgain {
			return err
		}
	}
}

type meanTx struct {
	*mean
	data     transaction
	puts     map[[2]string][]byte // bucket and key
	lent     [][]byte
	scanning bool
}

func (t *meanTx) takeBack() {
	for _, b := range t.lent {
		for i := range b {
			b[i] = '#'
		}
	}
	t.lent = nil
}

func (t *meanTx) begin(method string, texts ...[]byte) error {
	if t.scanning {
		return errors.New("called while a Scan is under way")
	}
	for _, text := range texts {
		if text == nil {
			return errors.New("called with nil")
		}
	}
	t.takeBack()
	return t.fail[method]
}

func (t *meanTx) lend(s string) []byte {
	b := []byte(s)
	t.lent = append(t.lent, b)
	return b
}

func (t *meanTx) Get(bucket string, key []byte) ([]byte, bool, error) {
	if err := t.begin("Get", key); err != nil {
		return nil, false, err
	}
	if value, ok := t.puts[[2]string{bucket, string(key)}]; ok {
		return t.lend(string(value)), true, nil
	}
	value, ok := t.data[bucket][string(key)]
	return t.lend(value), ok, nil
}

func (t *meanTx) Scan(bucket string, each func(key, value []byte) error) error {
	if err := t.begin("Scan"); err != nil {
		return err
	}
	t.scanning = true
	defer func() { t.scanning = false }()
	all := maps.Clone(t.data[bucket])
	if all == nil {
		all = map[string]string{}
	}
	for at, value := range t.puts {
		if at[0] == bucket {
			all[at[1]] = string(value)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		err := each(t.lend(key), t.lend(all[key]))
		t.takeBack()
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *meanTx) Put(bucket string, key, value []byte) error {
	if err := t.begin("Put", key, value); err != nil {
		return err
	}
	t.puts[[2]string{bucket, string(key)}] = value
	return nil
}

func (t *meanTx) Delete(bucket string, key []byte) error {
	if err := t.begin("Delete", key); err != nil {
		return err
	}
	delete(t.puts, [2]string{bucket, string(key)})
	return t.data.Delete(bucket, key)
}

// numbers are stored as 8 bytes.
var numbers = kvstore.Codec{
	Encode: func(text []byte) ([]byte, error) {
		n, err := strconv.ParseUint(string(text), 10, 64)
		if err != nil {
			return nil, errors.New("not a number")
		}
		return binary.BigEndian.AppendUint64(nil, n), nil
	},
	Decode: func(stored []byte) ([]byte, error) {
		if len(stored) != 8 {
			return nil, fmt.Errorf("a key of %d bytes", len(stored))
		}
		return strconv.AppendUint(nil, binary.BigEndian.Uint64(stored), 10), nil
	},
}

// scrambled stands for any form that is not JSON.
var scrambled = kvstore.Codec{
	Encode: func(plain []byte) ([]byte, error) { return []byte(base64.StdEncoding.EncodeToString(plain)), nil },
	Decode: func(stored []byte) ([]byte, error) { return base64.StdEncoding.DecodeString(string(stored)) },
}

var app = &backup.App{
	Name: "conformance", Version: "1.0.0", SchemaVersion: 1,
	Collections: []backup.Collection{
		{Name: "servers", Key: "/id", Secrets: []string{"/password"}},
		{Name: "settings", Shape: backup.Map, Secrets: []string{"/*/token"}},
		{Name: "notes", Key: "/id"},
		{Name: "members", Key: "/user,/group"},
	},
}

func newStore(fail map[string]error) (kvstore.Store, *mean) {
	db := &mean{memory: &memory{}, fail: fail}
	return kvstore.Store{DB: db, Buckets: []kvstore.Bucket{
		{Collection: "servers"},
		{Collection: "settings", Name: "config", Value: scrambled},
		{Collection: "notes", Key: numbers},
		{Collection: "members"},
	}}, db
}

func sample(collection string, number, revision int) backup.Record {
	more := ""
	if revision == 0 {
		more = `,"more":[1.50,9007199254740993,null]`
	}
	switch collection {
	case "members":
		return member(strconv.Itoa(number/10), strconv.Itoa(number%10), more)
	case "servers":
		return record(fmt.Sprint("srv-", number), fmt.Sprintf(`{"id":"srv-%d","password":"made-up-%d"%s}`, number, number, more))
	case "settings":
		return record(fmt.Sprint("s", number), fmt.Sprintf(`{"n":%d,"token":"made-up-%d"%s}`, number, number, more))
	default:
		return record(fmt.Sprint(number), fmt.Sprintf(`{"id":%d%s}`, number, more))
	}
}

func member(user, group, more string) backup.Record {
	return record(codec.JoinKey([]string{user, group}), fmt.Sprintf(`{"user":%s,"group":%s%s}`, codec.Quote(user), codec.Quote(group), more))
}

func record(key, value string) backup.Record {
	return backup.Record{Key: key, Value: json.RawMessage(value)}
}

func TestAStoreKeepsTheRules(t *testing.T) {
	for _, runs := range []int{1, 2} {
		t.Run(fmt.Sprint("Update calls its function ", runs), func(t *testing.T) {
			backuptest.TestStore(t, func(*testing.T) backuptest.Store {
				s, db := newStore(nil)
				db.runs = runs
				return s
			}, backuptest.Fixture{
				Collections: []string{"servers", "settings", "notes", "members"},
				App:         app,
				Record:      sample,
				WithKey: func(collection, key string) backup.Record {
					quoted, err := json.Marshal(key)
					require.NoError(t, err)
					switch collection {
					case "servers":
						return record(key, fmt.Sprintf(`{"id":%s}`, quoted))
					case "settings":
						return record(key, string(quoted))
					}
					return backup.Record{}
				},
				WithParts: func(collection, first, second string) backup.Record {
					if collection != "members" {
						return backup.Record{}
					}
					return member(first, second, "")
				},
			})
		})
	}
}

func put(s kvstore.Store, collection string, records ...backup.Record) error {
	ctx := context.Background()
	return s.Update(ctx, func(w backup.Writer) error { return w.Put(ctx, collection, records) })
}

func read(s kvstore.Store, collection string) (text string, key string, err error) {
	ctx := context.Background()
	var b strings.Builder
	err = s.View(ctx, func(r backup.Reader) error {
		for r, err := range r.Records(ctx, collection) {
			if err != nil {
				key = r.Key
				return err
			}
			fmt.Fprintf(&b, "%s=%s ", r.Key, r.Value)
		}
		return nil
	})
	return b.String(), key, err
}

func TestRecordsComeInTheOrderOfStoredKeys(t *testing.T) {
	s, _ := newStore(nil)
	require.NoError(t, put(s, "notes", record("10", `{"id":10}`), record("9", `{"id":9}`), record("256", `{"id":256}`)))
	require.NoError(t, put(s, "servers", record("10", `{}`), record("9", `{}`)))
	text, _, err := read(s, "notes")
	require.NoError(t, err)
	require.Equal(t, `9={"id":9} 10={"id":10} 256={"id":256} `, text)
	text, _, err = read(s, "servers")
	require.NoError(t, err)
	require.Equal(t, `10={} 9={} `, text)
}

func TestAKeyThatCannotBeStoredIsNoRecord(t *testing.T) {
	ctx := t.Context()
	s, db := newStore(nil)
	require.NoError(t, put(s, "notes", record("1", `{"id":1}`)))
	for _, key := range []string{"01", "-1", "a", "18446744073709551616"} {
		require.NoError(t, s.Update(ctx, func(w backup.Writer) error {
			found, err := w.Lookup(ctx, "notes", []string{key})
			require.NoError(t, err)
			require.Empty(t, found)
			return w.Delete(ctx, "notes", []string{key})
		}))
		err := put(s, "notes", record("2", `{"id":2}`), record(key, `{}`))
		about, ok := errors.AsType[*backup.RecordError](err)
		require.True(t, ok, err)
		require.Equal(t, key, about.Key)
		require.ErrorContains(t, err, "its key cannot be stored")
	}
	require.Len(t, db.data["notes"], 1)
}

func TestWhatACodecChangesIsRefusedAndNothingIsChanged(t *testing.T) {
	const secret = "made-up-password"
	tests := map[string]struct {
		codec kvstore.Codec
		want  string
	}{
		"cannot encode": {kvstore.Codec{Encode: func([]byte) ([]byte, error) { return nil, errors.New("no") }, Decode: bytesOf}, "no"},
		"cannot decode": {kvstore.Codec{Encode: bytesOf, Decode: func([]byte) ([]byte, error) { return nil, errors.New("no") }}, "decode what was encoded: no"},
		"makes no JSON": {kvstore.Codec{Encode: bytesOf, Decode: func(b []byte) ([]byte, error) { return b[1:], nil }}, "decode what was encoded"},
		"rounds numbers": {kvstore.Codec{Encode: bytesOf, Decode: func(b []byte) ([]byte, error) {
			var v any
			if err := json.Unmarshal(b, &v); err != nil {
				return nil, err
			}
			return json.Marshal(v)
		}}, "makes another value of it"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			db := &memory{}
			s := kvstore.Store{DB: db, Buckets: []kvstore.Bucket{{Collection: "settings", Value: test.codec}}}
			err := put(s, "settings", record("a", `{"n":9007199254740993,"password":"`+secret+`"}`))
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, err.Error(), secret)
			about, ok := errors.AsType[*backup.RecordError](err)
			require.True(t, ok)
			require.Equal(t, "a", about.Key)
			require.Empty(t, db.data)
		})
	}
	db := &memory{}
	s := kvstore.Store{DB: db, Buckets: []kvstore.Bucket{{Collection: "settings", Value: kvstore.Codec{
		Encode: bytesOf,
		Decode: func(b []byte) ([]byte, error) { return bytes.ReplaceAll(b, []byte("1.50"), []byte(" 1.5 ")), nil },
	}}}}
	require.NoError(t, put(s, "settings", record("a", `[1.50]`)), "another form of the same")
}

func bytesOf(b []byte) ([]byte, error) { return b, nil }

// A Codec may return nil for what is empty. To some stores nil is no entry.
func TestAnEmptyStoredFormIsAnEntry(t *testing.T) {
	ctx := t.Context()
	empty := func(text string) kvstore.Codec {
		return kvstore.Codec{
			Encode: func(plain []byte) ([]byte, error) {
				if string(plain) == text {
					return nil, nil
				}
				return plain, nil
			},
			Decode: func(stored []byte) ([]byte, error) {
				if len(stored) == 0 {
					return []byte(text), nil
				}
				return stored, nil
			},
		}
	}
	s := kvstore.Store{DB: &mean{memory: &memory{}}, Buckets: []kvstore.Bucket{{Collection: "settings", Key: empty("zero"), Value: empty("null")}}}
	require.NoError(t, s.Update(ctx, func(w backup.Writer) error {
		records := []backup.Record{record("zero", "1"), record("a", "null")}
		require.NoError(t, w.Put(ctx, "settings", records))
		found, err := w.Lookup(ctx, "settings", []string{"zero", "a"})
		require.NoError(t, err)
		require.Equal(t, records, found)
		return w.Delete(ctx, "settings", []string{"b"})
	}))
	text, _, err := read(s, "settings")
	require.NoError(t, err)
	require.Equal(t, "zero=1 a=null ", text)
	require.NoError(t, s.Update(ctx, func(w backup.Writer) error { return w.Delete(ctx, "settings", []string{"zero"}) }))
	text, _, err = read(s, "settings")
	require.NoError(t, err)
	require.Equal(t, "a=null ", text)
}

func TestWhatDoesNotFitInOneTransactionSaysHowMuchDid(t *testing.T) {
	s, db := newStore(nil)
	require.NoError(t, put(s, "servers", record("a", `{}`)))
	tooBig := errors.New("the transaction is too big; raise the limit")
	err := s.Update(t.Context(), func(w backup.Writer) error {
		require.NoError(t, w.Delete(t.Context(), "servers", []string{"a"}))
		require.NoError(t, w.Put(t.Context(), "servers", []backup.Record{record("b", `{}`)}))
		db.fail = map[string]error{"Put": tooBig}
		return w.Put(t.Context(), "servers", []backup.Record{record("c", `{}`)})
	})
	require.ErrorIs(t, err, tooBig)
	require.EqualError(t, err, `servers "c": the transaction is too big; raise the limit (after 2 changes with 4 bytes of keys and values in one transaction)`)
}

func TestWhatCannotBeReadIsAnErrorThatNamesIt(t *testing.T) {
	s, db := newStore(nil)
	db.data = map[string]map[string]string{
		"servers": {"a": `{}`, "b\xff": `{}`},
		"config":  {"a": "IiI=", "b": "?"},
		"notes":   {"\x00": `{}`},
	}
	text, key, err := read(s, "servers")
	require.ErrorContains(t, err, `the key with the bytes 62ff: it is not UTF-8; give the Bucket a Codec`)
	require.Equal(t, `a={} `, text)
	require.Empty(t, key)
	_, key, err = read(s, "settings")
	require.ErrorContains(t, err, `settings "b": decode the stored value`)
	require.Equal(t, "b", key)
	_, _, err = read(s, "notes")
	require.ErrorContains(t, err, "a key of 1 bytes")

	ctx := t.Context()
	err = s.Update(ctx, func(w backup.Writer) error {
		_, err := w.Lookup(ctx, "settings", []string{"b"})
		return err
	})
	require.ErrorContains(t, err, `settings "b": decode the stored value`)
}

func TestWhatTheDatabaseFailsAtIsReturnedAndNothingIsCommitted(t *testing.T) {
	ctx := t.Context()
	broken := errors.New("broken")
	for _, method := range []string{"Get", "Scan", "Put", "Delete", "commit"} {
		t.Run(method, func(t *testing.T) {
			fail := map[string]error{}
			s, db := newStore(fail)
			require.NoError(t, put(s, "servers", record("a", `{"id":"a"}`)))
			before := fmt.Sprint(db.data)
			fail[method] = broken
			err := s.Update(ctx, func(w backup.Writer) error {
				var errs []error
				for _, err := range w.Keys(ctx, "servers") {
					errs = append(errs, err)
				}
				_, err := w.Lookup(ctx, "servers", []string{"a"})
				errs = append(errs, err,
					w.Put(ctx, "servers", []backup.Record{record("b", `{"id":"b"}`)}),
					w.Delete(ctx, "servers", []string{"a"}))
				if method != "commit" {
					require.ErrorIs(t, errors.Join(errs...), broken)
				}
				return nil // whoever does not look at errors
			})
			require.ErrorIs(t, err, broken)
			require.Equal(t, before, fmt.Sprint(db.data))
		})
	}
}

func TestATransactionIsOverWhenItsFunctionHasReturned(t *testing.T) {
	ctx := t.Context()
	s, _ := newStore(nil)
	var r backup.Reader
	var w backup.Writer
	require.NoError(t, s.View(ctx, func(in backup.Reader) error { r = in; return nil }))
	require.NoError(t, s.Update(ctx, func(in backup.Writer) error { w = in; return nil }))
	for _, err := range r.Records(ctx, "servers") {
		require.ErrorContains(t, err, "used after its function returned")
	}
	require.ErrorContains(t, w.Put(ctx, "servers", []backup.Record{record("a", `{}`)}), "used after its function returned")
}

func TestAWrongDeclarationIsAnErrorBeforeAnythingIsRead(t *testing.T) {
	for want, s := range map[string]kvstore.Store{
		"needs a DB":                        {},
		"without Collection":                {DB: &memory{}, Buckets: []kvstore.Bucket{{Name: "a"}}},
		`two buckets of the collection "a"`: {DB: &memory{}, Buckets: []kvstore.Bucket{{Collection: "a"}, {Collection: "a", Name: "b"}}},
		"both Encode and Decode":            {DB: &memory{}, Buckets: []kvstore.Bucket{{Collection: "a", Key: kvstore.Codec{Encode: bytesOf}}}},
	} {
		require.ErrorContains(t, s.View(t.Context(), func(backup.Reader) error { panic("called") }), want)
		require.ErrorContains(t, s.Update(t.Context(), func(backup.Writer) error { panic("called") }), want)
	}
}

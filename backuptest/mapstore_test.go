package backuptest

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

func TestAMapStoreIsComparedAsALiteral(t *testing.T) {
	store := MapStore{"servers": {"a1": `{"id":"a1"}`}, "users": {}}
	inner := store["servers"]
	err := store.Update(t.Context(), func(w backup.Writer) error {
		return errors.Join(
			w.Put(t.Context(), "users", []backup.Record{{Key: "u", Value: []byte(`{"id":"u"}`)}}),
			w.Delete(t.Context(), "servers", []string{"a1"}))
	})
	require.NoError(t, err)
	require.Equal(t, MapStore{"servers": {}, "users": {"u": `{"id":"u"}`}}, store)
	require.Equal(t, map[string]string{"a1": `{"id":"a1"}`}, inner, "what was taken out stays")
}

func TestAMapStoreRefusesACallerThatBreaksTheRules(t *testing.T) {
	ctx := t.Context()
	one := backup.Record{Key: "a", Value: []byte(`{}`)}
	for name, break_ := range map[string]func(w backup.Writer) error{
		"a record without a key": func(w backup.Writer) error {
			return w.Put(ctx, "servers", []backup.Record{{Value: []byte(`{}`)}})
		},
		"a key twice in Put":    func(w backup.Writer) error { return w.Put(ctx, "servers", []backup.Record{one, one}) },
		"a key twice in Lookup": func(w backup.Writer) error { _, err := w.Lookup(ctx, "servers", []string{"a", "a"}); return err },
		"a value that is not JSON": func(w backup.Writer) error {
			return w.Put(ctx, "servers", []backup.Record{{Key: "a", Value: []byte(`{`)}})
		},
		"a call during Keys": func(w backup.Writer) error {
			for range w.Keys(ctx, "servers") {
				return w.Delete(ctx, "servers", []string{"a1"})
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := MapStore{"servers": {"a1": `{"id":"a1"}`}}
			require.Error(t, store.Update(ctx, break_))
			require.Equal(t, MapStore{"servers": {"a1": `{"id":"a1"}`}}, store)
		})
	}

	store := MapStore{"servers": {"a1": `{"id":"a1"}`}}
	var kept backup.Writer
	var lent []backup.Record
	require.NoError(t, store.Update(ctx, func(w backup.Writer) (err error) {
		kept = w
		lent, err = w.Lookup(ctx, "servers", []string{"a1"})
		return err
	}))
	require.ErrorIs(t, kept.Put(ctx, "servers", nil), errOver)
	require.NotContains(t, string(lent[0].Value), "a1", "memory that was lent is taken back")
}

func TestAFaultyStoreFailsAtTheCallThatWasNamed(t *testing.T) {
	use := func(f *Faulty) error {
		ctx := context.Background()
		err := f.View(ctx, func(r backup.Reader) error {
			for _, err := range r.Records(ctx, "servers") {
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		return f.Update(ctx, func(w backup.Writer) error {
			for _, err := range w.Keys(ctx, "servers") {
				if err != nil {
					return err
				}
			}
			_, err := w.Lookup(ctx, "servers", []string{"a"})
			if err == nil {
				err = w.Put(ctx, "servers", []backup.Record{{Key: "c", Value: []byte(`{}`)}})
			}
			if err == nil {
				err = w.Delete(ctx, "servers", []string{"a"})
			}
			return err
		})
	}
	for _, call := range Calls {
		t.Run(string(call), func(t *testing.T) {
			failures := 0
			for nth := 1; ; nth++ {
				store := MapStore{"servers": {"a": `{}`, "b": `{}`}}
				f := &Faulty{Source: store, Sink: store, On: call, Nth: nth, Err: io.ErrUnexpectedEOF}
				err := use(f)
				if !f.Reached() {
					require.NoError(t, err)
					require.Equal(t, MapStore{"servers": {"b": `{}`, "c": `{}`}}, store)
					break
				}
				failures++
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
				require.Equal(t, MapStore{"servers": {"a": `{}`, "b": `{}`}}, store)
			}
			want := 1
			if call == CallRecords || call == CallKeys {
				want = 3 // two records and the end
			}
			require.Equal(t, want, failures)
		})
	}
	done := false
	store := MapStore{"servers": {}}
	require.NoError(t, use(&Faulty{Source: store, Sink: store, On: CallPut, Nth: 1, Do: func() { done = true }}))
	require.True(t, done)
}

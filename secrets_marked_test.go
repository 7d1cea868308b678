package backup

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/onepass"
	"github.com/tomo-project/backup/internal/seal"
)

func TestSecretsAtGivenPlacesAreBoundToTheSamePointers(t *testing.T) {
	box, err := seal.NewBox(seal.NewKey(), seal.NewID())
	require.NoError(t, err)
	for _, test := range []struct {
		secrets, record string
		given           bool // the places are used as they are given
	}{
		{"/password", `{"id":"a","name":"n","password":"one"}`, true},
		{"/password /key /phrase", `{"phrase":null,"id":"a","password":"one","key":{"x":[1]}}`, true},
		{"/password", `{"id":"a"}`, true},
		{"/env/*", `{"id":"a","env":{"A":"1","b c":"\"","":2,"é/~":[3]},"x":"y"}`, true},
		{"/env/*", `{"id":"a","env":{"a\"b":"1"}}`, false},
		{"/env/*", `{"id":"a","env":{"B":"0","\"":"1","\\":"2","C":"3"}}`, false},
		{"/env/*", `{"id":"a","env":{"a\u0062\",\"c":"1"}}`, false},
		{"/env/*", `{"id":"a","env":["a\":","{\"b\":",3]}`, false},
		{"/env/*/value", `{"id":"a","env":[{"value":1},{"value":2}]}`, false},
		{"/a~1b~0/0", `{"a/b~":["one","two"]}`, true},
		{"/*", `{"a":"one","b":"two"}`, true},
	} {
		t.Run(test.secrets+" "+test.record, func(t *testing.T) {
			col := &collection{Collection: Collection{Name: "c", Secrets: strings.Fields(test.secrets)}}
			for _, s := range col.Secrets {
				p, err := codec.ParsePointer(s)
				require.NoError(t, err)
				col.secrets = append(col.secrets, p)
			}
			marks := []onepass.Mark{}
			var pointers []string
			codec.Find([]byte(test.record), col.secrets, func(pointer string, start, end int) error {
				p, err := codec.ParsePointer(pointer)
				require.NoError(t, err)
				place := slices.IndexFunc(col.secrets, p.Overlaps)
				marks = append(marks, onepass.Mark{Place: place, Start: start, End: end})
				pointers = append(pointers, pointer)
				return nil
			})
			given := true
			for i, m := range marks {
				pointer, ok := col.secretAt([]byte(test.record), m)
				given = given && ok
				require.True(t, !ok || pointer == pointers[i], pointer)
			}
			require.Equal(t, test.given, given)
			for _, marks := range [][]onepass.Mark{marks, nil} {
				sealed := col.sealMarked([]byte("before "), box, "a", []byte(test.record), marks)
				sealed, ok := bytes.CutPrefix(sealed, []byte("before "))
				require.True(t, ok)
				opened, err := codec.Rewrite(sealed, col.secrets, func(pointer string, value []byte) ([]byte, error) {
					text, ok := codec.OnlyMember(value, sealedMember)
					if !ok {
						return nil, fmt.Errorf("%s is not sealed", pointer)
					}
					return box.Open(nil, text, "c", "a", pointer)
				})
				require.NoError(t, err)
				require.Equal(t, test.record, string(opened))
			}
		})
	}
}

func BenchmarkSealRecord(b *testing.B) {
	box, err := seal.NewBox(seal.NewKey(), seal.NewID())
	require.NoError(b, err)
	record := []byte(`{"id":"server-0000001","name":"node 1","host":"10.0.0.1","port":22,"user":"root","auth_method":"password","password":"made-up-0000001","private_key":"` + strings.Repeat("k", 400) + `","passphrase":"another","host_key":null,"created_at":"2024-01-15T10:30:00Z"}`)
	col := &collection{Collection: Collection{Name: "servers", Secrets: []string{"/password", "/private_key", "/passphrase"}}}
	for _, s := range col.Secrets {
		p, _ := codec.ParsePointer(s)
		col.secrets = append(col.secrets, p)
	}
	var marks []onepass.Mark
	codec.Find(record, col.secrets, func(pointer string, start, end int) error {
		marks = append(marks, onepass.Mark{Place: slices.Index(col.Secrets, pointer), Start: start, End: end})
		return nil
	})
	for name, marks := range map[string][]onepass.Mark{"marked": marks, "found": nil} {
		b.Run(name, func(b *testing.B) {
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				dst = col.sealMarked(dst[:0], box, "server-0000001", record, marks)
			}
		})
	}
}

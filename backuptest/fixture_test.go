package backuptest

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

func TestAFixtureThatCannotTestAnythingIsRefused(t *testing.T) {
	f := fixture()
	require.Error(t, CheckStore(func() Store { return emptyStore() }, Fixture{}))

	f.Record = func(string, int, int) backup.Record { return backup.Record{Key: "a", Value: []byte(`{}`)} }
	require.ErrorContains(t, CheckStore(func() Store { return emptyStore() }, f), "share a key")

	f.Record = func(_ string, number, _ int) backup.Record {
		return backup.Record{Key: fmt.Sprint(number), Value: []byte(`{}`)}
	}
	require.ErrorContains(t, CheckStore(func() Store { return emptyStore() }, f), "different values")

	f = fixture()
	f.App.Collections[0].Secrets = []string{"/none"}
	require.ErrorContains(t, CheckStore(func() Store { return emptyStore() }, f), "servers: none of the first 50 records has a secret text")
	f.App.Collections = f.App.Collections[1:]
	require.ErrorContains(t, CheckStore(func() Store { return emptyStore() }, f), "not declared")
	f.App.Collections = f.App.Collections[1:]
	require.ErrorContains(t, CheckStore(func() Store { return emptyStore() }, f), "does not declare the collection servers")

	f = fixture()
	f.WithParts = func(_, first, second string) backup.Record {
		key, err := json.Marshal([]string{first, second}) // escapes more than the format does
		require.NoError(t, err)
		return backup.Record{Key: string(key), Value: []byte(`{}`)}
	}
	require.ErrorContains(t, CheckStore(func() Store { return emptyStore() }, f), "servers: the key is")

	f = ruledFixture()
	f.WithUnique = func(_ string, number, value int) backup.Record { return rec("a", fmt.Sprintf(`{"n":%d}`, value)) }
	require.ErrorContains(t, CheckStore(func() Store { return emptyStore() }, f), "servers: record 0 must have the key of Fixture.Record")
	f.WithUnique = func(collection string, number, _ int) backup.Record { return f.Record(collection, number, 0) }
	require.ErrorContains(t, CheckStore(func() Store { return emptyStore() }, f), "servers: the record is the same with two unique values")

	f = ruledFixture()
	f.Dangling = func(collection string) backup.Record { return f.Record(collection, 7, 0) }
	require.ErrorContains(t, CheckStore(func() Store { return emptyStore() }, f), `the key "servers-7" is that of record 7`)
}

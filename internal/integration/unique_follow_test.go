//go:build !race

package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// TestUniqueCodesAreExchangedAndWhatFollowsThemStays: the child is in the end state as it is.
func TestUniqueCodesAreExchangedAndWhatFollowsThemStays(t *testing.T) {
	for _, action := range []string{"CASCADE", "SET NULL"} {
		t.Run(action, func(t *testing.T) {
			db, _ := newPostgres(t, `CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE); CREATE TABLE c (id int PRIMARY KEY, p text REFERENCES p (code) ON UPDATE `+action+`);
				INSERT INTO p VALUES (1, 'x'), (2, 'y'); INSERT INTO c VALUES (1, 'x'), (2, 'y')`)
			s := pg(db, sqlstore.Table{Collection: "p"}, sqlstore.Table{Collection: "c"})
			err := put(s, "p", backup.Record{Key: "1", Value: []byte(`{"id":1,"code":"y"}`)}, backup.Record{Key: "2", Value: []byte(`{"id":2,"code":"x"}`)})
			if err != nil {
				require.ErrorIs(t, err, backup.ErrClash)
				t.Log(err)
				require.Equal(t, []string{"x", "y"}, column(t, db, "SELECT p FROM c ORDER BY id"))
				return
			}
			require.Equal(t, []string{"y", "x"}, column(t, db, "SELECT code FROM p ORDER BY id"))
			require.Equal(t, []string{"x", "y"}, column(t, db, "SELECT p FROM c ORDER BY id"))
		})
	}
}

//go:build !race

package integration

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"
)

// exec changes the database of Tomo behind its back.
func (h *home) exec(statements ...string) {
	h.t.Helper()
	db, err := sql.Open("sqlite", h.path(".tomo", "tomo.db")+"?_pragma=busy_timeout(10000)")
	require.NoError(h.t, err)
	defer db.Close()
	for _, s := range statements {
		_, err := db.Exec(s)
		require.NoError(h.t, err, s)
	}
}

func TestBrowserLeavesOutWhatClashesAndTellsWhatATriggerMakes(t *testing.T) {
	t.Parallel()
	h := newHome(t, 0)
	h.tomo("user", "password", "bob")
	h.exec("UPDATE users SET email = 'bob@example.org' WHERE username = 'bob'")
	h.serve()
	b := h.ada()
	name := h.creates(b)
	// Another user has the address, which only the database calls unique.
	h.exec("DELETE FROM users WHERE username = 'bob'")
	h.tomo("user", "password", "robert")
	h.exec("UPDATE users SET email = 'bob@example.org' WHERE username = 'robert'", "CREATE UNIQUE INDEX addresses ON users (email)")
	h.exec("CREATE TRIGGER shouts AFTER UPDATE ON servers BEGIN UPDATE servers SET name = upper(name) WHERE id = new.id; END",
		"UPDATE servers SET name = 'x' WHERE name = 'nas'")

	b.overview()
	b.follows("Restore " + name)
	b.ticks("Selective Restore")
	b.ticks("Servers")
	b.ticks("Users")
	b.ticks("Merge")
	b.follows("Show what it would do")
	b.sees("1 record of the backup would clash over a unique value, so nothing was changed: see below")
	b.sees("Records that clash")
	b.sees("unique index addresses (email)")
	b.looks("restore-clashes")
	b.follows("Leave them out, and show what it would do")
	b.on("What the restore will do")
	b.sees("The restore was tried, and rolled back: nothing has changed yet.")
	b.sees("1 record would not be as in the backup.")
	b.sees("Left out Users")
	b.sees("clashes with")
	b.looks("plan-clashes")
	b.follows("Restore Selected")
	b.on("Restore done, but 1 record is not as in the backup")
	b.sees("Servers: 1 record that the application does not leave as the restore writes them")
	b.sees("shouts")
	b.looks("report-altered")
}

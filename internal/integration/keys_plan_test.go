//go:build !race

package integration

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

// line for each table.
func (d database) plan(t *testing.T, db *sql.DB, s statement) (plan []string) {
	explain := map[string]string{"SQLite": "EXPLAIN QUERY PLAN ", "PostgreSQL": "EXPLAIN ", "MariaDB": "EXPLAIN "}[d.name]
	rows, err := db.Query(explain+s.query, s.args...)
	require.NoError(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	require.NoError(t, err)
	for rows.Next() {
		cells, dest := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range cells {
			dest[i] = &cells[i]
		}
		require.NoError(t, rows.Scan(dest...))
		line := ""
		for _, cell := range cells {
			line += strings.TrimSpace(cell.String) + " "
		}
		plan = append(plan, line)
	}
	require.NoError(t, rows.Err())
	return plan
}

func TestKeysOfSeveralColumnsAreLookedUpInTheIndex(t *testing.T) {
	const numbers = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999) "
	inEach(t, func(t *testing.T, d database) {
		s := d.new(t, "CREATE TABLE m (tenant INT NOT NULL, name TEXT NOT NULL, n INT NOT NULL, v INT, PRIMARY KEY (tenant, name, n))", sqlstore.Table{Collection: "m"})
		insert := numbers + "INSERT INTO m SELECT 1, 'name-' || (i / 2), i % 2, i FROM n"
		if d.name == "MariaDB" {
			insert = "INSERT INTO m SELECT 1, concat('name-', seq DIV 2), seq % 2, seq FROM seq_0_to_99999"
		}
		exec(t, s.DB, insert)
		// The first part is the same in all rows, which the database may know or not.
		for _, known := range []bool{false, true} {
			if known {
				exec(t, s.DB, map[string]string{"SQLite": "ANALYZE", "PostgreSQL": "ANALYZE m", "MariaDB": "ANALYZE TABLE m PERSISTENT FOR ALL"}[d.name])
			}
			w := &witnessed{db: s.DB}
			db := sql.OpenDB(w)
			defer db.Close()
			for _, n := range []int{1, 2, 100, 1000} {
				var keys []string
				for i := range n {
					keys = append(keys, joined("1", fmt.Sprint("name-", i*(40000/n)), "1"))
				}
				require.NoError(t, sqlstore.Store{DB: db, Dialect: d.dialect, Tables: s.Tables}.Update(t.Context(), func(w backup.Writer) error {
					found, err := w.Lookup(t.Context(), "m", keys)
					require.NoError(t, err)
					require.Len(t, found, n)
					return w.Delete(t.Context(), "m", keys[1:])
				}))
				var back []backup.Record
				for i, key := range keys {
					back = append(back, record(key, fmt.Sprintf(`{"tenant":1,"name":"name-%d","n":1,"v":0}`, i*(40000/n))))
				}
				require.NoError(t, put(s, "m", back...))
			}
			seen := map[string]bool{}
			for _, statement := range w.statements {
				if seen[statement.query] || !strings.Contains(statement.query, "tenant") {
					continue
				}
				seen[statement.query] = true
				plan := d.plan(t, s.DB, statement)
				about := fmt.Sprint(statement.query[:min(150, len(statement.query))], " with ", len(statement.args), " arguments, known ", known, "\n", strings.Join(plan[:min(10, len(plan))], "\n"))
				var whole func(line string) bool
				switch d.name {
				case "SQLite":
					require.NotContains(t, strings.Join(plan, "\n"), "SCAN m", about)
					whole = func(line string) bool { return strings.Contains(line, "(tenant=? AND name=? AND n=?)") }
				case "PostgreSQL":
					require.NotContains(t, strings.Join(plan, "\n"), "Seq Scan", about)
					whole = func(line string) bool {
						return strings.HasPrefix(line, "Index Cond: ((tenant = ") && strings.Contains(line, "AND (name = ") && strings.Contains(line, "AND (n = ")
					}
				case "MariaDB":
					// 4 + 202 + 4 bytes of the key are used.
					require.Len(t, plan, 1, about)
					whole = func(line string) bool {
						return strings.Contains(line, " PRIMARY 210 ") && (strings.Contains(line, " m range ") || strings.Contains(line, " m const "))
					}
				}
				require.True(t, slices.ContainsFunc(plan, whole), about)
			}
			require.GreaterOrEqual(t, len(seen), 5, "of one key, of some, and of as many as a statement takes")
		}
	})
}

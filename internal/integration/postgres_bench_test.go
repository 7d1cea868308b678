//go:build !race

package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/sqlstore"
)

const millionRows = 1_000_000

func BenchmarkPostgresMillion(b *testing.B) {
	records := benchRecords(millionRows)
	db, _ := newPostgres(b, benchSchemaPostgres)
	s := pg(db, sqlstore.Table{Collection: "servers"})
	b.Run("put", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			exec(b, db, "TRUNCATE servers")
			b.StartTimer()
			require.NoError(b, putAll(b.Context(), s, records))
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*millionRows), "ns/record")
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			n := 0
			require.NoError(b, s.View(b.Context(), func(r backup.Reader) error {
				for _, err := range r.Records(b.Context(), "servers") {
					if err != nil {
						return err
					}
					n++
				}
				return nil
			}))
			require.Equal(b, millionRows, n)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*millionRows), "ns/record")
	})
}

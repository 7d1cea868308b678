package sqlstore

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSQLiteDecidesAboutARowWithOtherLengthsThanItsTypesHave(t *testing.T) {
	row := &sqliteRow{t: &table{columns: []*column{sqliteColumnOf("TEXT")}}, fields: []sqliteField{{}}, cells: make([]sqliteCell, 1)}
	payload := []byte{2, 13 + 2*3, 'o', 'n', 'e'}
	require.True(t, row.take(1, payload))
	require.Equal(t, "one", string(row.cells[0].bytes))
	require.False(t, row.take(1, payload[:4]), "too short")
	require.False(t, row.take(1, append(payload, '!')), "too long")
}

func TestSQLiteDecidesAboutARowThatIsTooLarge(t *testing.T) {
	tree := &sqliteTree{usable: 4096, pages: 1 << 30}
	cell := []byte{0x87, 0xb9, 0xd6, 0xa8, 0x00} // 2,000,000,000
	_, _, err := tree.cell(t.Context(), append(cell, make([]byte, 4096)...))
	require.ErrorIs(t, err, errUnexpected)
}

package sqlstore

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKeysAscendByTheBytesOfTheirTexts(t *testing.T) {
	text, number := &column{}, &column{}
	text.my = mariadbColumn{mariadbType: mariadbType{family: texts}, collation: "utf8mb4_general_ci"}
	number.my = mariadbColumn{mariadbType: mariadbType{family: integers}}
	for _, c := range []struct {
		a, b [2]string
		want bool
	}{
		{[2]string{"a", "1"}, [2]string{"b", "1"}, true},
		{[2]string{"a", "1"}, [2]string{"B", "1"}, false},
		{[2]string{"A", "1"}, [2]string{"a", "2"}, true},
		{[2]string{"a", "1"}, [2]string{"A", "2"}, false},
		{[2]string{"a", "9"}, [2]string{"a", "10"}, true}, // the server compares numbers
		{[2]string{"a", "1"}, [2]string{"a ", "1"}, true},
		{[2]string{"é", "1"}, [2]string{"f", "1"}, false},
	} {
		a := [][]byte{[]byte(c.a[0]), []byte(c.a[1])}
		b := []sql.RawBytes{sql.RawBytes(c.b[0]), sql.RawBytes(c.b[1])}
		require.Equal(t, c.want, ascends([]*column{text, number}, a, b), "%q %q", c.a, c.b)
	}
}

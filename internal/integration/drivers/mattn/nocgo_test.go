//go:build !cgo

package mattn

import "testing"

func TestTheDriverKeepsTheRulesOfAStore(t *testing.T) {
	t.Skip("github.com/mattn/go-sqlite3 needs cgo: run the tests with CGO_ENABLED=1 and a C compiler")
}

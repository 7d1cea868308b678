package main

import (
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestQuickstartRestoresWhatWasLost(t *testing.T) {
	require.Equal(t, `backed up: map[notes:2 settings:1]
damaged:   {"id":2,"text":"call nobody"}
restored:  notes: 1 added, 1 updated, 0 unchanged
restored:  settings: 0 added, 0 updated, 1 unchanged
notes:     {"id":1,"text":"buy milk"} {"id":2,"text":"call Ada"}
`, output(t, main))
}

// output returns what f prints.
func output(t *testing.T, f func()) string {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	stdout := os.Stdout
	os.Stdout = w
	defer func() { os.Stdout = stdout }()
	printed := make(chan []byte)
	go func() {
		text, _ := io.ReadAll(r)
		printed <- text
	}()
	f()
	require.NoError(t, w.Close())
	return string(<-printed)
}

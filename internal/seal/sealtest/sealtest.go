// Package sealtest makes the keys of passphrases cheap in a test binary. A test
// file imports it for that effect:
//
//	import _ "github.com/tomo-project/backup/internal/seal/sealtest"
//
// A key of a snapshot then takes 8 MiB and one pass, which every reader accepts
// (FORMAT.md, "Sealing"), where a program takes 64 MiB and three; that of a whole
// file takes less than a millisecond and not a second. Reading stays as it is.
package sealtest

import (
	"testing"

	"github.com/tomo-project/backup/internal/seal"
)

func init() {
	if !testing.Testing() {
		panic("internal/seal/sealtest: imported by a program: only a test may make cheap keys")
	}
	seal.Cheap()
}

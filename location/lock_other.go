//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd)

package location

import "errors"

const openNonblock = 0

var errHeld = errors.New("held")

func lockFile(folderFile) error { return errors.ErrUnsupported }

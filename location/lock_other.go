//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd)

package location

import (
	"errors"
	"io/fs"
)

const openNonblock = 0

var errHeld = errors.New("held")

func lockFile(folderFile) error { return errors.ErrUnsupported }

func sameDevice(fs.FileInfo, fs.FileInfo) (bool, error) { return false, errors.ErrUnsupported }

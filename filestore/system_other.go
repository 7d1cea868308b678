//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package filestore

import (
	"errors"
	"io/fs"
	"os"
)

const openNonblock = 0

func flock(*os.File) (bool, error) { return false, errors.ErrUnsupported }
func funlock(*os.File) error       { return nil }

func adopt(*os.Root, string, fs.FileInfo) error { return nil }
func sameDevice(a, b fs.FileInfo) bool          { return true }

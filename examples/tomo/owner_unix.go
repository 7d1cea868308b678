//go:build unix

package main

import (
	"os"
	"path/filepath"
	"syscall"
)

// giveToOwner gives a file that root has made to the owner of its folder, as
// location.Dir does. Otherwise one command that runs as root would keep Tomo
// from its own files. Where that fails, the file stays as it was made.
func giveToOwner(made *os.File) {
	info, err := os.Stat(filepath.Dir(made.Name()))
	if err != nil || os.Geteuid() != 0 {
		return
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 {
		_ = made.Chown(int(owner.Uid), int(owner.Gid))
	}
}

//go:build unix

package location

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// giveToOwner gives what root has made in a folder to the owner of the folder. Otherwise
// a service that runs as that user could no longer take the lock or delete a backup. Where
// that fails, as on some network file systems, the file stays as it was made.
func giveToOwner(made *os.File, folder fs.FileInfo) {
	owner, ok := folder.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 || owner.Uid == 0 {
		return
	}
	_ = made.Chown(int(owner.Uid), int(owner.Gid))
}

// whose says of a file that this process may not use that it belongs to another user. It
// returns an empty text if the file belongs to this user.
func whose(info fs.FileInfo) string {
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Geteuid() {
		return ""
	}
	return fmt.Sprintf("; the file belongs to the user with the number %d, and this process runs as %d: a command may have run as another user, so give its files to the owner of the folder (chown)", owner.Uid, os.Geteuid())
}

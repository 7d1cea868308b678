// Package servers starts the databases that tests and benchmarks need.
package servers

import (
	"errors"
	"os"
	"os/user"
	"strconv"
)

// inDir calls start with a new folder in the first of parents where that is
// possible, or else in the folder of temporary files. The servers refuse to run
// as root: then the folder belongs to account. start returns what stops the
// server; the stop of inDir also removes the folder.
func inDir(parents []string, prefix, account string, start func(dir string) (stop func(), err error)) (stop func(), err error) {
	var dir string
	for _, parent := range append(parents, "") {
		if dir, err = os.MkdirTemp(parent, prefix); err == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	if os.Getuid() == 0 {
		account, err := user.Lookup(account)
		if err != nil {
			return nil, err
		}
		uid, uidErr := strconv.Atoi(account.Uid)
		gid, gidErr := strconv.Atoi(account.Gid)
		if err := errors.Join(uidErr, gidErr, os.Chown(dir, uid, gid)); err != nil {
			return nil, err
		}
	}
	end, err := start(dir)
	if err != nil {
		return nil, err
	}
	return func() {
		end()
		_ = os.RemoveAll(dir)
	}, nil
}

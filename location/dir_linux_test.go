package location_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/testtime"
	"github.com/tomo-project/backup/location"
)

// memoryDir returns a new folder in memory, where syncing is fast, if there is
// such a place.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "backup-dir-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// Package backuptest does the same on a usual one.
func TestADirKeepsEveryRuleOnPoorFileSystems(t *testing.T) {
	testtime.NotForRace(t)
	for name, new := range map[string]func(dir string) location.Location{
		"without links": func(dir string) location.Location { return location.DirWithout(dir, syscall.EPERM, "Link") },
		"without links and locks": func(dir string) location.Location {
			return location.DirWithout(dir, errors.ErrUnsupported, "Link", "SyscallConn")
		},
	} {
		t.Run(name, func(t *testing.T) {
			backuptest.TestLocation(t, func(t *testing.T) location.Location { return new(memoryDir(t)) })
		})
	}
}

// namesIn returns what is in a folder, hidden or not.
func namesIn(t *testing.T, dir string) []string {
	found, err := os.ReadDir(dir)
	require.NoError(t, err)
	names := []string{}
	for _, e := range found {
		names = append(names, e.Name())
	}
	return names
}

// childVariable tells the test that it is the child of itself, and which.
const childVariable = "BACKUP_TEST_DIR_CHILD"

// childProcess returns this test in another process, where childArguments has the arguments.
func childProcess(t *testing.T, args ...string) *exec.Cmd {
	program, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(program, "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), childVariable+"="+strings.Join(args, "\x1f"), "GORACE=atexit_sleep_ms=0")
	return cmd
}

func childArguments() (args []string, yes bool) {
	value, yes := os.LookupEnv(childVariable)
	return strings.Split(value, "\x1f"), yes
}

func TestFilesAreForTheirOwnerOnlyWhateverTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o777} {
		base := t.TempDir()
		old := syscall.Umask(umask)
		d := location.Dir(filepath.Join(base, "backups"))
		if umask == 0o777 {
			d = location.Dir(base) // a folder made with this umask lets nobody in
		}
		made := d.Make()
		put := d.Put(t.Context(), "a", strings.NewReader("content"))
		unlock, locked := d.Lock(t.Context(), "a", "holder")
		syscall.Umask(old)
		require.NoError(t, errors.Join(made, put, locked))
		defer unlock()

		info, err := os.Stat(filepath.Join(d.String(), "a"))
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
		if umask != 0o777 {
			info, err = os.Stat(filepath.Join(d.String(), ".a.lock"))
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
			info, err = os.Stat(d.String())
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
		}
	}
}

func TestPutRemovesWhatDeadWritersHaveLeftAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{".backup-.0.tmp", ".backup-.7.tmp", ".backup-.2.tmp", ".other.tmp", ".backup-x", "backup-y.tmp"} {
		require.NoError(t, os.WriteFile(file(name), []byte("half"), 0o600))
	}
	require.NoError(t, os.Symlink("backup-y.tmp", file(".backup-.3.tmp")))
	require.NoError(t, os.Mkdir(file(".backup-.4.tmp"), 0o700))
	require.NoError(t, syscall.Mkfifo(file(".backup-.1.tmp"), 0o600))
	live, err := os.Open(file(".backup-.2.tmp"))
	require.NoError(t, err)
	require.NoError(t, syscall.Flock(int(live.Fd()), syscall.LOCK_EX))

	require.NoError(t, location.Dir(dir).Put(t.Context(), "a.json", strings.NewReader("content")))
	stay := []string{".backup-.1.tmp", ".backup-.2.tmp", ".backup-.3.tmp", ".backup-.4.tmp", ".backup-x", ".other.tmp", "a.json", "backup-y.tmp"}
	require.Equal(t, stay, namesIn(t, dir))

	require.NoError(t, live.Close())
	require.ErrorIs(t, location.Dir(dir).Put(t.Context(), "a.json", strings.NewReader("")), fs.ErrExist)
	require.Equal(t, stay, namesIn(t, dir), "a Put that has nothing to do touches nothing")
	require.NoError(t, location.Dir(dir).Put(t.Context(), "b.json", strings.NewReader("")))
	require.NotContains(t, namesIn(t, dir), ".backup-.2.tmp")
}

func TestAPutHasANameForItsTemporaryFileWhereAllCommonNamesAreTaken(t *testing.T) {
	dir := t.TempDir()
	for i := range 8 {
		held, err := os.Create(filepath.Join(dir, fmt.Sprintf(".backup-.%d.tmp", i)))
		require.NoError(t, err)
		defer held.Close()
		require.NoError(t, syscall.Flock(int(held.Fd()), syscall.LOCK_EX))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".backup-dead.tmp"), []byte("half"), 0o600))
	require.NoError(t, location.Dir(dir).Put(t.Context(), "a", strings.NewReader("content")))
	names := namesIn(t, dir)
	require.Len(t, names, 9, "what another such Put has left is removed: %v", names)
	require.Contains(t, names, "a")
}

func TestAPutThatIsUnderWayIsNotTakenForALeftover(t *testing.T) {
	d := location.Dir(memoryDir(t))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				if err := d.Put(t.Context(), fmt.Sprintf("%d-%d", i, j), strings.NewReader("content")); err != nil {
					t.Errorf("%d-%d: %v", i, j, err)
				}
			}
		})
	}
	slow := &waitingReader{wait: make(chan struct{}), r: strings.NewReader("content")}
	done := make(chan error)
	go func() { done <- d.Put(t.Context(), "slow", slow) }()
	wg.Wait()
	close(slow.wait)
	require.NoError(t, <-done)
	require.Len(t, namesIn(t, d.String()), 8*50+1)
}

type waitingReader struct {
	wait chan struct{}
	r    io.Reader
}

func (s *waitingReader) Read(p []byte) (int, error) {
	<-s.wait
	return s.r.Read(p)
}

func TestNothingLeadsOutOfTheFolder(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(outside, []byte("precious"), 0o600))
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(file("real"), []byte("content"), 0o600))
	for name, target := range map[string]string{
		"absolute": outside, "relative": "../../" + filepath.Base(filepath.Dir(filepath.Dir(outside))) + "/001/secret",
		"inside": "real", "dangling": filepath.Join(filepath.Dir(outside), "new"), "loop": "loop", ".a.lock": outside,
		".b.lock": filepath.Join(filepath.Dir(outside), "new"), ".c.lock": "real",
	} {
		require.NoError(t, os.Symlink(target, file(name)))
	}
	require.NoError(t, syscall.Mkfifo(file("fifo"), 0o600))
	require.NoError(t, syscall.Mkfifo(file(".d.lock"), 0o600))
	before := namesIn(t, dir)

	d := location.Dir(dir)
	files, err := d.List(t.Context())
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Equal(t, "real", files[0].Name)
	for _, name := range []string{"absolute", "relative", "inside", "dangling", "loop", "fifo"} {
		_, err := d.Open(t.Context(), name)
		require.ErrorIs(t, err, fs.ErrNotExist, name)
		require.ErrorContains(t, err, "not a regular file", name)
		require.ErrorIs(t, d.Delete(t.Context(), name), fs.ErrNotExist, name)
		require.ErrorIs(t, d.Put(t.Context(), name, strings.NewReader("x")), fs.ErrExist, name)
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		_, err := d.Lock(t.Context(), name, "holder")
		require.ErrorContains(t, err, file("."+name+".lock")+": not a regular file")
	}
	require.Equal(t, before, namesIn(t, dir))
	require.Equal(t, []string{"secret"}, namesIn(t, filepath.Dir(outside)))
	for path, want := range map[string]string{outside: "precious", file("real"): "content"} {
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
}

func TestAFIFODoesNotHang(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	_, err := location.Dir(path).List(t.Context())
	require.ErrorIs(t, err, syscall.ENOTDIR)

	dir := t.TempDir()
	file := filepath.Join(dir, "a")
	require.NoError(t, os.WriteFile(file, []byte("content"), 0o600))
	_, err = location.DirWithHook(dir, func(op string) {
		if op == "OpenFile" { // after it was found to be a file
			require.NoError(t, os.Remove(file))
			require.NoError(t, syscall.Mkfifo(file, 0o600))
		}
	}).Open(t.Context(), "a")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestTheFolderMayBeReachedThroughALink(t *testing.T) {
	base := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(base, "real"), 0o700))
	link := filepath.Join(base, "link")
	require.NoError(t, os.Symlink("real", link))
	require.NoError(t, location.Dir(link).Make())
	require.NoError(t, location.Dir(link).Put(t.Context(), "a", strings.NewReader("content")))
	require.Equal(t, []string{"a"}, namesIn(t, filepath.Join(base, "real")))
}

// As root, whom permissions do not bind, this runs as another user.
func TestAFolderThatCannotBeWrittenOrReadIsNamed(t *testing.T) {
	if args, yes := childArguments(); yes {
		if os.Getuid() == 0 {
			const nobody = 65534
			require.NoError(t, errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)))
		}
		closedFolders(t, args[0])
		return
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	for name, mode := range map[string]fs.FileMode{"no writing": 0o555, "no reading": 0o333, "nothing": 0} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.Mkdir(path, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(path, "a"), []byte("content"), 0))
		require.NoError(t, os.Chmod(path, mode))
		defer os.Chmod(path, 0o700)
	}
	if os.Getuid() != 0 {
		closedFolders(t, dir)
		return
	}
	out, err := childProcess(t, dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "PASS")
}

// A command that an administrator runs must not lock out the service.
func TestWhatRootMakesBelongsToTheOwnerOfTheFolder(t *testing.T) {
	const service = 65534
	if args, yes := childArguments(); yes {
		require.NoError(t, errors.Join(syscall.Setgroups(nil), syscall.Setgid(service), syscall.Setuid(service)))
		_, err := location.Dir(args[0]).Lock(t.Context(), "theirs", "the service")
		require.ErrorIs(t, err, fs.ErrPermission)
		require.ErrorContains(t, err, "the file belongs to the user with the number 0, and this process runs as 65534")
		unlock, err := location.Dir(args[0]).Lock(t.Context(), "tomo", "the service")
		require.NoError(t, err)
		require.NoError(t, unlock())
		require.NoError(t, location.Dir(args[0]).Put(t.Context(), "b", strings.NewReader("content")))
		return
	}
	if os.Getuid() != 0 {
		t.Skip("only root can make what belongs to others")
	}
	home := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(home), 0o755))
	require.NoError(t, os.Chown(home, service, service))
	d := location.Dir(filepath.Join(home, "data", "backups"))
	require.NoError(t, d.Make())
	require.NoError(t, d.Put(t.Context(), "a", strings.NewReader("content")))
	unlock, err := d.Lock(t.Context(), "tomo", "root")
	require.NoError(t, err)
	require.NoError(t, unlock())
	require.NoError(t, filepath.WalkDir(home, func(path string, _ fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := os.Lstat(path)
		require.NoError(t, err)
		require.Equal(t, uint32(service), info.Sys().(*syscall.Stat_t).Uid, path)
		require.Equal(t, uint32(service), info.Sys().(*syscall.Stat_t).Gid, path)
		return nil
	}))
	require.NoError(t, os.WriteFile(filepath.Join(d.String(), ".theirs.lock"), nil, 0o600))
	out, err := childProcess(t, d.String()).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "PASS")
}

func closedFolders(t *testing.T, dir string) {
	for _, name := range []string{"no writing", "no reading", "nothing"} {
		d := location.Dir(filepath.Join(dir, name))
		denied := func(err error, says string) {
			t.Helper()
			require.ErrorIs(t, err, fs.ErrPermission, name)
			require.ErrorContains(t, err, d.String(), name)
			require.ErrorContains(t, err, says, name)
		}
		denied(d.Put(t.Context(), "b", strings.NewReader("x")), "check write permissions")
		denied(d.Delete(t.Context(), "a"), "check write permissions")
		_, err := d.Lock(t.Context(), "b", "holder")
		denied(err, "check write permissions")
		if name != "no writing" {
			_, err = d.List(t.Context())
			denied(err, "check read permissions")
		}
		_, err = d.Open(t.Context(), "a")
		denied(err, "check read permissions")
	}
	closed := location.Dir(filepath.Join(dir, "no writing", "new")).Make()
	require.ErrorIs(t, closed, fs.ErrPermission)
	require.ErrorContains(t, closed, "check write permissions")
}

// A small file system is mounted for a child of its own, as root or as a user
// who may play root. Where neither is permitted, the size of files is limited.
func TestAFullDiskIsNamedAndLeavesNothing(t *testing.T) {
	if args, yes := childArguments(); yes {
		inSmallPlace(t, args[0], args[1])
		return
	}
	dir := t.TempDir()
	user := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	for _, how := range []struct {
		name string
		attr *syscall.SysProcAttr
	}{
		{"mount", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}}, {"mount", user}, {"limit", nil},
	} {
		cmd := childProcess(t, how.name, dir)
		cmd.SysProcAttr = how.attr
		out, err := cmd.CombinedOutput()
		if how.attr != nil && (errors.Is(err, fs.ErrPermission) || strings.Contains(string(out), notPermitted)) {
			continue
		}
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "PASS")
		t.Log(how.name)
		return
	}
}

const notPermitted = "mounting is not permitted"

func inSmallPlace(t *testing.T, how, dir string) {
	if how == "limit" {
		limit := syscall.Rlimit{Cur: 50_000, Max: 50_000}
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
		err := location.Dir(dir).Put(t.Context(), "a", bytes.NewReader(make([]byte, 100_000)))
		require.ErrorIs(t, err, syscall.EFBIG)
		require.ErrorContains(t, err, "check disk space")
		require.Empty(t, namesIn(t, dir))
		return
	}
	// Nothing is to be seen of it outside.
	err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	if err == nil {
		err = syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,nr_inodes=20")
	}
	if err != nil {
		t.Fatal(notPermitted, err)
	}
	d := location.Dir(dir)
	full := func(d location.Location, free string) bool {
		t.Helper()
		before := namesIn(t, dir)
		content := bytes.Repeat([]byte("content "), 12_000)
		err := d.Put(t.Context(), "a", bytes.NewReader(content))
		if err == nil {
			got, err := os.ReadFile(filepath.Join(dir, "a"))
			require.NoError(t, err)
			require.True(t, bytes.Equal(content, got), free)
			require.NoError(t, d.Delete(t.Context(), "a"))
		} else {
			require.ErrorIs(t, err, syscall.ENOSPC, free)
			require.ErrorContains(t, err, filepath.Join(dir, "a"), free)
			require.ErrorContains(t, err, "check disk space", free)
		}
		require.Equal(t, before, namesIn(t, dir), free)
		return err != nil
	}
	fill := filepath.Join(dir, "fill")
	for _, d := range []location.Location{d, location.DirWithout(dir, syscall.EPERM, "Link")} {
		failed := 0
		for pages := range 40 {
			require.NoError(t, os.WriteFile(fill, make([]byte, 256<<10-pages*4096), 0o600))
			if full(d, fmt.Sprintf("%d pages", pages)) {
				failed++
			}
		}
		require.Greater(t, failed, 20)
		require.Less(t, failed, 40)
		require.NoError(t, os.Remove(fill))

		failed = 0
		for inodes := 5; inodes >= 0; inodes-- {
			for i := 0; i < 19-inodes; i++ { // the folder is one
				require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprint("fill", i)), nil, 0o600))
			}
			if full(d, fmt.Sprintf("%d inodes", inodes)) {
				failed++
			}
		}
		require.NotZero(t, failed)
		require.Less(t, failed, 6)
		for _, name := range namesIn(t, dir) {
			require.NoError(t, os.Remove(filepath.Join(dir, name)))
		}
	}

	require.NoError(t, d.Put(t.Context(), "a", strings.NewReader("content")))
	require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	for _, err := range []error{
		d.Put(t.Context(), "b", strings.NewReader("x")), d.Delete(t.Context(), "a"),
		func() error { _, err := d.Lock(t.Context(), "b", "holder"); return err }(),
	} {
		require.ErrorIs(t, err, syscall.EROFS)
		require.ErrorContains(t, err, "check write permissions")
	}
	files, err := d.List(t.Context())
	require.NoError(t, err)
	require.Len(t, files, 1)
}

func TestALockIsFreeAtOnceWhenItsHolderIsKilled(t *testing.T) {
	if args, yes := childArguments(); yes {
		_, err := location.Dir(args[0]).Lock(t.Context(), "tomo", "tomo on nas,\n process 7\x1b[31m")
		fmt.Println("locked:", err)
		select {} // until it is killed
	}
	d := location.Dir(t.TempDir())
	for range 3 {
		cmd := childProcess(t, d.String())
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		line, err := bufio.NewReader(out).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "locked: <nil>\n", line)

		_, err = d.Lock(t.Context(), "tomo", "me")
		require.ErrorIs(t, err, location.ErrBusy)
		require.EqualError(t, err, "busy: "+d.String()+" is held by tomo on nas,  process 7 [31m")
		unlock, err := d.Lock(t.Context(), "another", "me")
		require.NoError(t, err)
		require.NoError(t, unlock())

		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())
		unlock, err = d.Lock(t.Context(), "tomo", "me")
		require.NoError(t, err)
		_, err = d.Lock(t.Context(), "tomo", "another")
		require.EqualError(t, err, "busy: "+d.String()+" is held by me", "not by who was killed")
		require.NoError(t, unlock())
		text, err := os.ReadFile(filepath.Join(d.String(), ".tomo.lock"))
		require.NoError(t, err)
		require.Empty(t, text)
	}
}

// A child that is started has a copy of every open file for a moment.
func TestALockIsFreeAtOnceWhileProcessesAreStarted(t *testing.T) {
	d := location.Dir(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				_ = exec.Command("true").Run()
			}
		})
	}
	for range 300 {
		unlock, err := d.Lock(t.Context(), "a", "holder")
		if err == nil {
			err = unlock()
		}
		if err != nil {
			t.Error(err)
			break
		}
	}
	cancel()
	wg.Wait()
}

// killedContent is what is Put by a process that is killed.
var killedContent = bytes.Repeat([]byte("not half but whole\n"), 20_000)

func TestAPutThatIsKilledLeavesNothingHalf(t *testing.T) {
	testtime.NotForRace(t)
	kinds := []string{"with links", "without links"}
	of := func(path, kind string) location.Location {
		if kind == kinds[0] {
			return location.Dir(path)
		}
		return location.DirWithout(path, syscall.EPERM, "Link")
	}
	if args, yes := childArguments(); yes {
		d := of(args[0], args[1])
		fmt.Println("begins")
		for i := 0; ; i++ {
			if err := d.Put(t.Context(), fmt.Sprintf("%s-%d", args[2], i), bytes.NewReader(killedContent)); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
	}
	d := location.Dir(memoryDir(t))
	inTheMiddle, whole := 0, 0
	for round := range 50 {
		kind := kinds[round%2]
		cmd := childProcess(t, d.String(), kind, fmt.Sprint("round-", round))
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		line, err := bufio.NewReader(out).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "begins\n", line)
		time.Sleep(rand.N(4 * time.Millisecond))
		require.NoError(t, cmd.Process.Kill())
		require.EqualError(t, cmd.Wait(), "signal: killed")

		for _, name := range namesIn(t, d.String()) {
			if name[0] == '.' {
				inTheMiddle++
			}
		}
		files, err := d.List(t.Context())
		require.NoError(t, err)
		for _, f := range files {
			got, err := os.ReadFile(filepath.Join(d.String(), f.Name))
			require.NoError(t, err)
			require.True(t, bytes.Equal(killedContent, got), f.Name)
			require.NoError(t, d.Delete(t.Context(), f.Name))
			whole++
		}
		require.NoError(t, of(d.String(), kind).Put(t.Context(), "after", strings.NewReader("")))
		require.Equal(t, []string{"after"}, namesIn(t, d.String()))
		require.NoError(t, d.Delete(t.Context(), "after"))
	}
	require.NotZero(t, inTheMiddle, "no Put was caught in the middle")
	require.NotZero(t, whole, "no Put was done")
	t.Logf("%d in the middle, %d whole", inTheMiddle, whole)
}

func TestADirKeepsNoFileOpen(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []location.SeamDir{
		location.DirWithout(dir, nil), location.DirWithout(dir, syscall.EPERM, "Link"), location.DirWithout(dir, syscall.EIO, "Rename", "Link"),
		location.DirWithout(dir, syscall.EIO, "Sync"), location.DirWithout(dir, syscall.EIO, "Lstat"), location.DirWithout(dir, syscall.EIO, "Stat"),
		location.DirWithout(dir, syscall.EIO, "SyscallConn"), location.DirWithout(dir, syscall.EIO, "OpenFile"),
	} {
		_ = d.Put(t.Context(), "a", strings.NewReader("content"))
		_ = d.Put(t.Context(), "a", strings.NewReader("content"))
		if f, err := d.Open(t.Context(), "a"); err == nil {
			require.NoError(t, f.Close())
		}
		_, _ = d.List(t.Context())
		if unlock, err := d.Lock(t.Context(), "a", "holder"); err == nil {
			_, err := d.Lock(t.Context(), "a", "another")
			require.Error(t, err)
			_ = unlock()
		}
		_ = d.Delete(t.Context(), "a")
		_ = d.Delete(t.Context(), "a")
		require.Empty(t, openFiles(t, dir))
	}
}

// openFiles returns the permissions of the files of this process that were made
// in dir, with a name or without.
func openFiles(t *testing.T, dir string) []os.FileMode {
	fds, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	var modes []os.FileMode
	for _, fd := range fds {
		if name, err := os.Readlink(fd); err == nil && strings.HasPrefix(name, dir) {
			info, err := os.Stat(fd)
			require.NoError(t, err)
			modes = append(modes, info.Mode().Perm())
		}
	}
	return modes
}

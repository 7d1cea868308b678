// Package readme_test holds the Go code in README.md and docs against files that
// are compiled and run, so that neither can drift from the other.
package readme_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../../"

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

// goBlocks returns the Go code in a document.
func goBlocks(text string) []string {
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// unindented returns code without the tabs at the beginning of its lines.
func unindented(code string) string {
	return regexp.MustCompile(`(?m)^\t+`).ReplaceAllString(code, "")
}

func TestTheProgramsInTheReadmeAreTheFiles(t *testing.T) {
	require.Equal(t, []string{
		read(t, "onefile/main.go"),
		read(t, "server/main.go"),
	}, goBlocks(read(t, root+"README.md")))
}

func TestGoInTheDocumentsIsCodeThatRuns(t *testing.T) {
	code := unindented(read(t, "example_test.go"))
	documents, err := filepath.Glob(root + "docs/*.md")
	require.NoError(t, err)
	found := 0
	for _, document := range documents {
		for _, block := range goBlocks(read(t, document)) {
			found++
			require.Contains(t, "\n"+code, "\n"+unindented(block), "%s: not in example_test.go", document)
		}
	}
	require.NotZero(t, found)
}

// build returns the path of a program of this folder.
func build(t *testing.T, name string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name+".exe")
	out, err := exec.Command("go", "build", "-o", program, "./"+name).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

// command runs a program in an empty folder.
func command(t *testing.T, program string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "NOTES_PASSPHRASE=correct horse")
	return cmd
}

func TestTheFirstProgramRestoresWhatItLost(t *testing.T) {
	cmd := command(t, build(t, "onefile"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "would add notes n1\n", string(out))

	backups, err := filepath.Glob(filepath.Join(cmd.Dir, "notes-backup-*.json"))
	require.NoError(t, err)
	require.Len(t, backups, 1)
	require.NotContains(t, read(t, backups[0]), "hunter2", "it is a secret")
}

func TestTheFirstProgramLeavesNoFileThatIsNoBackup(t *testing.T) {
	cmd := command(t, build(t, "onefile"))
	cmd.Env = append(cmd.Env, "NOTES_PASSPHRASE=")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "passphrase")
	require.NotContains(t, string(out), "goroutine")
	backups, err := filepath.Glob(filepath.Join(cmd.Dir, "notes-backup-*"))
	require.NoError(t, err)
	require.Empty(t, backups)
}

func TestTheSecondProgramMakesBackupsUntilItIsStopped(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("package filestore needs flock")
	}
	if _, err := os.Stat("/mnt/usb/notes"); err == nil {
		t.Skip("/mnt/usb/notes is there: the program would store backups in it")
	}
	cmd := command(t, build(t, "server"))
	var log strings.Builder
	cmd.Stderr = &log
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer cmd.Process.Kill()

	printed := make([]byte, 1<<10)
	n, err := stdout.Read(printed)
	require.NoError(t, err, "%s", &log)
	require.Regexp(t, `^notes-backup-.*\.json <nil>\n$`, string(printed[:n]))
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Skip("no program can be interrupted here: ", err)
	}
	n, _ = stdout.Read(printed)
	require.Equal(t, "stopped: context canceled\n", string(printed[:n]))
	require.NoError(t, cmd.Wait())
	require.Contains(t, log.String(), "/mnt/usb/notes: the folder is missing", "a drive that is missing is told")

	// A folder that vanishes is told too, and no empty one takes its place.
	require.NoError(t, os.RemoveAll(filepath.Join(cmd.Dir, "backups")))
	again := exec.Command(cmd.Path)
	again.Dir, again.Env = cmd.Dir, cmd.Env
	stdout, err = again.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, again.Start())
	defer again.Process.Kill()
	n, err = stdout.Read(printed)
	require.NoError(t, err)
	require.Contains(t, string(printed[:n]), "backups: the folder is missing")
	require.NoError(t, again.Process.Signal(os.Interrupt))
	again.Wait()
	require.NoDirExists(t, filepath.Join(cmd.Dir, "backups"))
}

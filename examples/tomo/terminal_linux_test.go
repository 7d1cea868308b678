//go:build !race

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// terminal is a command that runs in a terminal, and a person in front of it.
type terminal struct {
	t      *testing.T
	screen *os.File
	mu     sync.Mutex
	text   strings.Builder
	done   chan error
	proc   *os.Process
}

func (m *machine) terminal(args ...string) *terminal {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		m.t.Skip("no pseudo terminals:", err)
	}
	var number, unlock uint32
	ioctl := func(request uintptr, argument *uint32) {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(unsafe.Pointer(argument)))
		require.Zero(m.t, errno)
	}
	ioctl(syscall.TIOCGPTN, &number)
	ioctl(syscall.TIOCSPTLCK, &unlock)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(m.t, err)
	defer slave.Close()

	cmd := m.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(m.t, cmd.Start())
	term := &terminal{t: m.t, screen: master, done: make(chan error, 1), proc: cmd.Process}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			term.mu.Lock()
			term.text.Write(buf[:n])
			term.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	go func() {
		err := cmd.Wait()
		<-ended // all that was printed has been read
		term.done <- err
	}()
	m.t.Cleanup(func() { master.Close() })
	return term
}

func (term *terminal) shown() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.text.String()
}

// answer waits for a question and types a line.
func (term *terminal) answer(question, line string) {
	term.t.Helper()
	require.Eventually(term.t, func() bool { return strings.Contains(term.shown(), question) }, 20*time.Second, 5*time.Millisecond, "%s", question)
	time.Sleep(50 * time.Millisecond) // until the echo is off
	_, err := io.WriteString(term.screen, line)
	require.NoError(term.t, err)
}

func (term *terminal) wait(status int) {
	term.t.Helper()
	select {
	case err := <-term.done:
		if status == statusDone {
			require.NoError(term.t, err, term.shown())
		} else {
			require.EqualError(term.t, err, fmt.Sprintf("exit status %d", status), term.shown())
		}
	case <-time.After(20 * time.Second):
		term.proc.Kill()
		require.FailNow(term.t, "it does not end", term.shown())
	}
}

func TestAPersonIsAskedForThePassphraseAndDoesNotSeeIt(t *testing.T) {
	m := newMachine(t, 2).without(passphraseVariable)
	file := m.path("b.json")

	term := m.terminal("backup", "create", "--output", file)
	term.answer("Passphrase of the backup: ", "typed in\n")
	term.answer("once more: ", "typed on\n")
	term.wait(statusFailed)
	require.Contains(t, term.shown(), "differ")
	require.NoFileExists(t, file)

	term = m.terminal("backup", "create", "--output", file)
	term.answer("Passphrase of the backup: ", "typed in\n")
	term.answer("once more: ", "typed in\n")
	term.wait(statusDone)
	require.NotContains(t, term.shown(), "typed")

	term = m.terminal("backup", "verify", file)
	term.answer("Passphrase of the backup: ", "typed in\n")
	term.wait(statusDone)
}

func TestAFullRestoreAsksAndOnlyYesAgrees(t *testing.T) {
	m := newMachine(t, 2)
	file := m.path("b.json")
	m.ok("backup", "create", "--output", file)
	before := m.dump()
	m.sql("DELETE FROM applications", "INSERT INTO repositories (id, name, url) VALUES ('extra', 'Extra', 'https://extra.example.org/')")
	damaged := m.dump()

	for _, no := range []string{"\n", "y\n", "no\n"} {
		term := m.terminal("backup", "restore", "--input", file, "--full")
		term.answer("Type yes to go on: ", no)
		term.wait(statusFailed)
		require.Contains(t, term.shown(), "replaces ALL current data")
		require.Contains(t, term.shown(), "2 records added, 0 changed, 1 deleted")
		require.Contains(t, term.shown(), "nothing was changed")
		require.Equal(t, damaged, m.dump())
	}

	term := m.terminal("backup", "restore", "--input", file, "--full")
	term.answer("Type yes to go on: ", "yes\n")
	term.wait(statusDone)
	require.Equal(t, before, m.dump())
}

func TestUndoSaysWhatItWillDoAndOnlyYesAgrees(t *testing.T) {
	m := newMachine(t, 2)
	file := m.path("b.json")
	m.ok("backup", "create", "--output", file)
	m.sql("DELETE FROM applications", "INSERT INTO repositories (id, name, url) VALUES ('extra', 'Extra', 'https://extra.example.org/')")
	damaged := m.dump()
	m.ok("backup", "restore", "--input", file, "--full", "--yes")
	restored := m.dump()

	for _, no := range []string{"\n", "y\n"} {
		term := m.terminal("backup", "undo")
		term.answer("Type yes to go on: ", no)
		term.wait(statusFailed)
		require.Contains(t, term.shown(), "replaces what the last restore changed")
		require.Contains(t, term.shown(), "1 record added, 0 changed, 2 deleted")
		require.Contains(t, term.shown(), "nothing was changed")
		require.Equal(t, restored, m.dump())
	}
	term := m.terminal("backup", "undo")
	term.answer("Type yes to go on: ", "yes\n")
	term.wait(statusDone)
	require.Equal(t, damaged, m.dump())
}

func TestConsentIsToWhatWasShown(t *testing.T) {
	m := newMachine(t, 2)
	file := m.path("b.json")
	m.ok("backup", "create", "--output", file)
	term := m.terminal("backup", "restore", "--input", file, "--full")
	require.Eventually(t, func() bool { return strings.Contains(term.shown(), "Type yes") }, 20*time.Second, 5*time.Millisecond)
	m.sql("INSERT INTO repositories (id, name, url) VALUES ('new', 'New', 'https://new.example.org/')")
	changed := m.dump()
	term.answer("Type yes to go on: ", "yes\n")
	term.wait(statusFailed)
	require.Contains(t, term.shown(), "changed since")
	require.Equal(t, changed, m.dump())
}

func TestInterruptingAQuestionChangesNothing(t *testing.T) {
	m := newMachine(t, 2).without(passphraseVariable)
	file := m.path("b.json")
	term := m.terminal("backup", "create", "--output", file)
	term.answer("Passphrase of the backup: ", "\x03")
	term.wait(statusFailed)
	require.Contains(t, term.shown(), "interrupted")
	require.NoFileExists(t, file)
}

func TestLongWorkShowsABarOnATerminalAndNoneElsewhere(t *testing.T) {
	m := newMachine(t, 30_000)
	term := m.terminal("backup", "create", "--output", m.path("b.json"))
	term.wait(statusDone)
	require.Regexp(t, `\r\x1b\[Kbackup +[0-9,]+ records`, term.shown())
	require.LessOrEqual(t, strings.Count(term.shown(), wipe), 100)
	require.Regexp(t, `secrets sealed\r\n$`, term.shown())

	term = m.terminal("backup", "restore", "--input", m.path("b.json"), "--dry-run")
	term.wait(statusDone)
	require.Regexp(t, `\[#+-+\] +[0-9]+ %`, term.shown())

	o := m.ok("backup", "create", "--output", m.path("c.json"))
	require.Empty(t, o.stderr)
	require.NotContains(t, o.stdout, "\x1b")
}

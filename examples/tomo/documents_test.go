package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// notRun are the commands of the documents that no test runs, and why.
var notRun = map[string]string{
	"go get github.com/tomo-project/backup": "it needs the network",
	"go build -o tomo ./examples/tomo":      "this test binary is the command",
	"go test work":                          "it is what runs this test",

	"NOTES_PASSPHRASE='correct horse' go run ./examples/readme/onefile": "the tests of examples/readme run it",
	"NOTES_PASSPHRASE='correct horse' go run ./examples/readme/server":  "the tests of examples/readme run it",
}

// untilStopped begins the commands that run until they are stopped. Only their flags
// are looked at here; other tests run them.
var untilStopped = regexp.MustCompile(`^tomo (serve|backup run)\b`)

// commands returns the shell commands of a document, without their comments, which
// stand behind two spaces.
func commands(text string) []string {
	var lines []string
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(block[1]) {
			line, _, _ = strings.Cut(line, "  #")
			if line = strings.TrimSpace(line); line != "" {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

func TestTheCommandsInTheDocumentsWork(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no sh")
	}
	documents, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	documents = append(documents, "../../README.md")
	notSeen := make(map[string]bool)
	for command := range notRun {
		notSeen[command] = true
	}
	for _, document := range documents {
		t.Run(filepath.Base(document), func(t *testing.T) {
			var script []string
			for _, command := range commands(read(t, document)) {
				if notRun[command] != "" {
					delete(notSeen, command)
					continue
				}
				command = strings.Replace(command, "go run ./examples/tomo ", "tomo ", 1)
				if untilStopped.MatchString(command) {
					command += " --help"
				}
				script = append(script, command)
			}
			// One shell and one home for a document, where there is nothing at first.
			m := newMachine(t, -1).without(passphraseVariable)
			cmd := exec.CommandContext(t.Context(), shell, "-eux", "-c", strings.Join(script, "\n"))
			cmd.Env, cmd.Dir = m.env, m.home
			o := finish(t, cmd)
			require.Zero(t, o.status, "%s\n%s", o.stdout, o.stderr)
		})
	}
	require.Empty(t, notSeen, "no document has these commands")
	require.GreaterOrEqual(t, len(documents), 7)
}

func TestEveryCommandIsInTheDocuments(t *testing.T) {
	page := read(t, "../../docs/command.md")
	c := &cli{}
	for _, group := range c.rootCommand().Commands() {
		if len(group.Commands()) == 0 && !group.Hidden {
			require.Contains(t, page, "| `"+group.CommandPath())
		}
		for _, command := range group.Commands() {
			require.Contains(t, page, "| `"+command.CommandPath())
		}
	}
}

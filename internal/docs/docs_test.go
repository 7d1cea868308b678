// Package docs_test holds the documents of the repository against its files: what a
// document or a comment names must be there.
package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var repository = os.DirFS("../..")

// files returns the paths of all files whose name ends so.
func files(t *testing.T, suffix string) []string {
	t.Helper()
	var found []string
	require.NoError(t, fs.WalkDir(repository, ".", func(name string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && name != "." && (d.Name() == ".git" || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		if err == nil && !d.IsDir() && strings.HasSuffix(name, suffix) {
			found = append(found, name)
		}
		return err
	}))
	require.NotEmpty(t, found, suffix)
	return found
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := fs.ReadFile(repository, name)
	require.NoError(t, err)
	return string(text)
}

func exists(name string) bool {
	_, err := fs.Stat(repository, name)
	return err == nil
}

var (
	fence      = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	inlineCode = regexp.MustCompile("`[^`\n]*`")
	heading    = regexp.MustCompile(`(?m)^#+ +(.+?)$`)
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"`)
	notInSlug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	linkText   = regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`)
)

// headings returns the headings of a document.
func headings(text string) []string {
	var found []string
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		found = append(found, linkText.ReplaceAllString(m[1], "$1"))
	}
	return found
}

// anchors returns what a link to a heading can name, as GitHub makes it.
func anchors(text string) []string {
	var found []string
	for _, h := range headings(text) {
		slug := notInSlug.ReplaceAllString(strings.ToLower(h), "")
		found = append(found, strings.ReplaceAll(slug, " ", "-"))
	}
	return found
}

func TestEveryLinkInADocumentLeadsSomewhere(t *testing.T) {
	links := 0
	for _, document := range files(t, ".md") {
		text := read(t, document)
		for _, m := range link.FindAllStringSubmatch(inlineCode.ReplaceAllString(fence.ReplaceAllString(text, ""), "code"), -1) {
			target := m[1] + m[2]
			if strings.Contains(target, "://") {
				continue
			}
			links++
			name, anchor, hasAnchor := strings.Cut(target, "#")
			at := document
			if name != "" {
				at = path.Join(path.Dir(document), name)
			}
			if !exists(at) {
				t.Errorf("%s: no file for the link %s", document, target)
				continue
			}
			if hasAnchor {
				require.Contains(t, anchors(read(t, at)), anchor, "%s: no heading for the link %s", document, target)
			}
		}
	}
	require.Greater(t, links, 50)
}

// comments calls f with each comment of the Go code, in one line.
func comments(t *testing.T, f func(file, text string)) {
	t.Helper()
	for _, name := range files(t, ".go") {
		parsed, err := parser.ParseFile(token.NewFileSet(), name, read(t, name), parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, group := range parsed.Comments {
			f(name, strings.Join(strings.Fields(lines(group)), " "))
		}
	}
}

func lines(group *ast.CommentGroup) string {
	var b strings.Builder
	for _, c := range group.List {
		b.WriteString(strings.TrimLeft(c.Text, "/*") + "\n")
	}
	return b.String()
}

func TestEverySectionThatACommentNamesIsThere(t *testing.T) {
	sections := map[string][]string{
		"FORMAT.md":       headings(read(t, "schema/FORMAT.md")),
		"CONTRIBUTING.md": headings(read(t, "CONTRIBUTING.md")),
	}
	named := regexp.MustCompile(`(FORMAT\.md|CONTRIBUTING\.md), ((?:"[^"]+"(?:,? and )?)+)`)
	quoted := regexp.MustCompile(`"([^"]+)"`)
	found := 0
	comments(t, func(file, text string) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			for _, q := range quoted.FindAllStringSubmatch(m[2], -1) {
				found++
				require.Contains(t, sections[m[1]], q[1], "%s names a section of %s", file, m[1])
			}
		}
	})
	require.Greater(t, found, 10)
}

func TestEveryFileThatACommentNamesIsThere(t *testing.T) {
	named := regexp.MustCompile(`(?:^|[\s("])((?:[a-z0-9_]+/)*[A-Za-z0-9_]+\.(?:go|md|py|sql))\b`)
	found := 0
	comments(t, func(file, text string) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			found++
			if exists(path.Join(path.Dir(file), m[1])) || exists(m[1]) || exists(path.Join("schema", m[1])) {
				continue
			}
			t.Errorf("%s: a comment names the file %s", file, m[1])
		}
	})
	require.Greater(t, found, 20)
}

func TestContributorsAndCommandsKnowEveryModule(t *testing.T) {
	for _, name := range files(t, "go.mod") {
		module := path.Dir(name)
		for file, entry := range map[string]string{
			"CONTRIBUTING.md": "(?m)^\\| `" + regexp.QuoteMeta(module) + "` \\|",
			"Makefile":        `(?m)^\s*for \w+ in(?: [^;]*)? ` + regexp.QuoteMeta(module) + `[ ;].*go mod tidy`,
			".ci/run":         `(?m)^for module in(?: [^;]*)? ` + regexp.QuoteMeta(module) + `[ ;]`,
		} {
			if !regexp.MustCompile(entry).MatchString(read(t, file)) {
				t.Errorf("%s does not name the module in %s", file, name)
			}
		}
	}
}

func TestTheReadmeIsReadInFiveMinutes(t *testing.T) {
	require.Less(t, len(read(t, "README.md")), 9000, "move what not everybody needs to docs")
}

func TestEveryPageSaysWhatItIsForAndIsLinkedFromTheReadme(t *testing.T) {
	readme := read(t, "README.md")
	pages := 0
	for _, name := range files(t, ".md") {
		if path.Dir(name) != "docs" {
			continue
		}
		pages++
		require.Regexp(t, `^# [^\n]+\n\nThis page [^\n]+\.`, read(t, name), name)
		require.Contains(t, readme, "("+name+")")
	}
	require.NotZero(t, pages)
}

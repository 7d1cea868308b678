package backup_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/tomo-project/backup"

// dependencies returns all packages that a package of this module needs, with the
// names of our own without the module's.
func dependencies(t *testing.T, name string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "./"+name).Output()
	require.NoError(t, err)
	deps := strings.Fields(string(out))
	for i, dep := range deps {
		if ours, ok := strings.CutPrefix(dep, module+"/"); ok {
			deps[i] = "./" + ours
		}
	}
	return deps
}

// Imports point down only (CONTRIBUTING.md, "Where things are").
func TestImportsPointDown(t *testing.T) {
	upper := []string{"./manager", "./location", "./schedule", "net/http"}
	for name, never := range map[string][]string{
		".":          upper,
		"agekey":     upper,
		"filestore":  upper,
		"joined":     upper,
		"kvstore":    upper,
		"sqlstore":   upper,
		"tomo":       upper,
		"backuptest": {"./manager", "./schedule", "net/http"},
		"manager":    {"./backuphttp", "./sqlstore", "./kvstore", "./filestore", "./tomo", "net/http"},
	} {
		for _, dep := range dependencies(t, name) {
			require.NotContains(t, never, dep, name)
		}
	}
	for name, only := range map[string][]string{
		"schedule": {"./schedule"},
		"location": {"./location", "./internal/fault"},
	} {
		for _, dep := range dependencies(t, name) {
			if strings.HasPrefix(dep, "./") || dep == module {
				require.Contains(t, only, dep, name)
			}
		}
	}
}

// A source is a file of production code.
type source struct {
	path string
	*ast.File
}

// sources parses the production code of all modules.
func sources(t *testing.T) (*token.FileSet, []source) {
	fset := token.NewFileSet()
	var files []source
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || name != "." && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		files = append(files, source{filepath.ToSlash(name), f})
		return err
	})
	require.NoError(t, err)
	require.Greater(t, len(files), 100)
	return fset, files
}

func TestWhatIsGivenIsUsedInOnePlace(t *testing.T) {
	_, files := sources(t)
	for _, f := range files {
		for _, i := range f.Imports {
			imported := strings.Trim(i.Path.Value, `"`)
			var only []string
			switch {
			case strings.HasPrefix(imported, "github.com/santhosh-tekuri/jsonschema"):
				only = []string{"internal/validate"}
			case strings.HasPrefix(imported, "github.com/go-json-experiment/json"):
				only = []string{"internal/codec", "internal/onepass/passtest", "internal/seal", "internal/sqljson", "internal/validate", "agekey"}
			case strings.HasPrefix(imported, "golang.org/x/crypto"):
				only = []string{"internal/seal", "agekey", "examples/tomo", "examples/tomo/web"}
			case strings.HasPrefix(imported, "golang.org/x/text"):
				only = []string{"internal/passphrase"}
			case strings.HasPrefix(imported, "github.com/jackc/pgx"):
				only = []string{"pgxwire", "internal/integration/bench"}
			case imported == "log/slog" && path.Dir(f.path) == ".":
				require.Equal(t, "keys.go", f.path, "the root logs nothing: a key only says how it is logged")
				continue
			default:
				continue
			}
			require.Contains(t, only, path.Dir(f.path), "%s imports %s", f.path, imported)
		}
	}
}

// What does not fit on a few screens is more than one concern.
func TestFilesAndFunctionsAreShort(t *testing.T) {
	fset, files := sources(t)
	lines := func(n ast.Node) int { return fset.Position(n.End()).Line - fset.Position(n.Pos()).Line + 1 }
	for _, f := range files {
		require.LessOrEqual(t, fset.File(f.FileStart).LineCount(), 500, f.path)
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				require.LessOrEqual(t, lines(fn), 80, "%s in %s", fn.Name.Name, f.path)
			}
		}
	}
}

func TestTheRootIsSmall(t *testing.T) {
	_, files := sources(t)
	var types []string
	for _, f := range files {
		if path.Dir(f.path) != "." {
			continue
		}
		for _, d := range f.Decls {
			general, ok := d.(*ast.GenDecl)
			if !ok || general.Tok != token.TYPE {
				continue
			}
			for _, s := range general.Specs {
				if name := s.(*ast.TypeSpec).Name; name.IsExported() {
					types = append(types, name.Name)
				}
			}
		}
	}
	slices.Sort(types)
	require.LessOrEqual(t, len(types), 40, fmt.Sprint(types))
}

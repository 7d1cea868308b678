package sealtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/internal/seal"
)

func TestKeysAreCheapInATestAndOpen(t *testing.T) {
	key := seal.NewKey()
	wrapped, err := seal.WrapPassphrase([]byte("hunter2"), key)
	require.NoError(t, err)
	require.Contains(t, string(wrapped), `"time":1,"memory":8192,"threads":1`)
	require.Less(t, seal.ScryptWork(), 10)
	got, err := seal.UnwrapPassphrase([]byte("hunter2"), wrapped)
	require.NoError(t, err)
	require.Equal(t, key, got)
}

// It reads all modules of the repository.
func TestNoProgramMakesCheapKeys(t *testing.T) {
	const root = "../../.."
	const path = "github.com/tomo-project/backup/internal/seal"
	callers := 0
	require.NoError(t, filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		seals := file.Name.Name == "seal"
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			require.NotEqual(t, path+"/sealtest", imported, "only a test may import it: %s", name)
			seals = seals || imported == path
		}
		if !seals {
			return nil
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl: // the function itself has no other place
				return n.Name.Name != "Cheap"
			case *ast.Ident:
				if n.Name == "Cheap" {
					require.Equal(t, filepath.Join(root, "internal/seal/sealtest/sealtest.go"), name, "only sealtest may call it")
					callers++
				}
			}
			return true
		})
		return nil
	}))
	require.Equal(t, 1, callers, "what this test looks for is there")
}

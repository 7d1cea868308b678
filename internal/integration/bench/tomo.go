package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// tomoTables are the tables of the example, and so the collections of its backup.
var tomoTables = []string{"servers", "repositories", "applications", "settings", "users", "preferences", "logs"}

func tomoRows(int) []row {
	return []row{{
		name:   "Tomo's sample, sealed, by the command line",
		target: target{wall: 3, memory: 110},
		tomo:   []string{"--db", "tomo.db", "backup", "create", "--include", "logs", "--output", "ours.json", "--force"},
		peer:   script("exec sqlite3 -json tomo.db < tables.sql > peer.json"),
	}}
}

// prepareTomo builds the example program, and makes its database. All records together
// are as many as in the other rows. There are few settings.
func prepareTomo(in round) error {
	build := exec.Command("go", "build", "-o", in.tomo, "github.com/tomo-project/backup/examples/tomo")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build the example: %w; start bench in the folder of the repository", err)
	}
	var queries strings.Builder
	for _, t := range tomoTables {
		fmt.Fprintf(&queries, "select * from %s order by 1;\n", t)
	}
	if err := os.WriteFile(filepath.Join(in.dir, "tables.sql"), []byte(queries.String()), 0o600); err != nil {
		return err
	}
	if err := runQuietly(in.dir, tomoCommand(in.tomo, fill(in)...)); err != nil || in.old == "" {
		return err
	}
	return runQuietly(in.oldDir, tomoCommand(filepath.Join(in.old, "tomo"), fill(in)...))
}

func fill(in round) []string {
	return []string{"--db", "tomo.db", "init", "--sample", strconv.Itoa(in.records / (len(tomoTables) - 1))}
}

func tomoCommand(tomo string, args ...string) *exec.Cmd {
	cmd := exec.Command(tomo, args...)
	cmd.Env = append(os.Environ(), "TOMO_BACKUP_PASSPHRASE=made-up passphrase")
	return cmd
}

package filestore

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/testtime"
)

// childVariable makes this binary a process that updates the folder that it holds
// until it is killed; gapVariable, one without an exchange; stepVariable, one that
// kills itself at a step.
const (
	childVariable = "FILESTORE_TEST_CHILD"
	gapVariable   = "FILESTORE_TEST_GAP"
	stepVariable  = "FILESTORE_TEST_STEP"
	seedVariable  = "FILESTORE_TEST_SEED"
)

func TestMain(m *testing.M) {
	if dir, ok := os.LookupEnv(childVariable); ok {
		s := killed(dir, os.Getenv(gapVariable) != "")
		if fatal := os.Getenv(stepVariable); fatal != "" {
			step := s.step
			s.step = func(name string) error {
				if name == fatal {
					self, err := os.FindProcess(os.Getpid())
					if err == nil {
						err = self.Kill()
					}
					fmt.Println("failed", err)
					select {}
				}
				if step != nil {
					return step(name)
				}
				return nil
			}
		}
		fmt.Println("failed", updateForever(s))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func killed(dir string, gap bool) Store {
	s := Store{Path: dir, Collections: collections}
	if gap {
		s.AllowGap, s.step = true, noExchange
	}
	return s
}

const serversKilled = 20

// updateForever brings a folder from each state to the next.
func updateForever(s Store) error {
	n, err := stateOf(s.Path)
	if err != nil {
		return err
	}
	fmt.Println("at", n)
	for {
		n++
		if err := s.Update(context.Background(), func(w backup.Writer) error { return bring(w, n) }); err != nil {
			return err
		}
		fmt.Println("at", n)
	}
}

// bring makes the state n: all records have the number, and one record is there
// only in odd states.
func bring(w backup.Writer, n int) error {
	ctx := context.Background()
	var servers []backup.Record
	for i := range serversKilled {
		servers = append(servers, record(fmt.Sprint("s", i), fmt.Sprintf(`{"id":"s%d","n":%d}`, i, n)))
	}
	if err := w.Put(ctx, "servers", servers); err != nil {
		return err
	}
	odd := []backup.Record{record("odd", fmt.Sprintf(`{"id":"odd","n":%d}`, n))}
	if n%2 == 1 {
		if err := w.Put(ctx, "servers", odd); err != nil {
			return err
		}
	} else if err := w.Delete(ctx, "servers", []string{"odd"}); err != nil {
		return err
	}
	return w.Put(ctx, "settings", []backup.Record{record("n", fmt.Sprint(n))})
}

// stateOf tells which state a folder is in, as its host sees it. It is an error if
// that is none.
func stateOf(dir string) (int, error) {
	content, err := os.ReadFile(filepath.Join(dir, "settings.json"))
	if err != nil {
		return 0, err
	}
	var settings struct{ N int }
	if err := json.Unmarshal(content, &settings); err != nil {
		return 0, err
	}
	files, err := os.ReadDir(filepath.Join(dir, "servers"))
	if err != nil {
		return 0, err
	}
	if want := serversKilled + settings.N%2; len(files) != want {
		return 0, fmt.Errorf("state %d has %d servers, want %d", settings.N, len(files), want)
	}
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(dir, "servers", file.Name()))
		if err != nil {
			return 0, err
		}
		var server struct {
			ID string
			N  int
		}
		if err := json.Unmarshal(content, &server); err != nil {
			return 0, err
		}
		if server.N != settings.N || server.ID+".json" != file.Name() {
			return 0, fmt.Errorf("state %d has the server %s of state %d", settings.N, file.Name(), server.N)
		}
	}
	content, err = os.ReadFile(filepath.Join(dir, "uploads", "picture.png"))
	if err == nil && string(content) != "left alone" {
		err = fmt.Errorf("a file of the host is %q", content)
	}
	return settings.N, err
}

func TestWhoeverIsKilledWhenTheFolderIsTheOldOrTheNewOne(t *testing.T) {
	testtime.NotForRace(t)
	for _, gap := range []bool{false, true} {
		t.Run(map[bool]string{false: "exchange", true: "gap"}[gap], func(t *testing.T) {
			t.Parallel()
			killUpdates(t, gap)
		})
	}
}

func killUpdates(t *testing.T, gap bool) {
	seed := rand.Uint64()
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("%s=%d", seedVariable, seed)
	random := rand.New(rand.NewPCG(seed, 0))

	dir := filepath.Join(t.TempDir(), "data") // on a disk
	require.NoError(t, os.Mkdir(dir, 0o700))
	s := killed(dir, gap)
	lay(t, s, map[string]string{"uploads/picture.png": "left alone"})
	require.NoError(t, s.Update(t.Context(), func(w backup.Writer) error { return bring(w, 0) }))

	took := 50 * time.Millisecond // by an update; measured below
	middle, gaps, updates, kills := 0, 0, 0, 0
	kill := func(step string) {
		kills++
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+dir, stepVariable+"="+step)
		if gap {
			cmd.Env = append(cmd.Env, gapVariable+"=1")
		}
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		lines := bufio.NewScanner(out)
		at := -1
		next := func() bool {
			if !lines.Scan() {
				return false
			}
			number, ok := strings.CutPrefix(lines.Text(), "at ")
			require.True(t, ok, lines.Text())
			at, err = strconv.Atoi(number)
			require.NoError(t, err)
			return true
		}
		require.True(t, next())
		if step == "" {
			if kills%4 == 0 { // one is left to its end, to know how long it takes
				start := time.Now()
				require.True(t, next())
				took = time.Since(start)
			}
			time.Sleep(time.Duration(random.Float64() * 1.1 * float64(took)))
			require.NoError(t, cmd.Process.Kill())
		}
		for next() {
		}
		require.Error(t, cmd.Wait())

		if left := beside(t, s); len(left) > 0 {
			middle++
		}
		_, err = os.Lstat(dir)
		if step == "gap" {
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
		if gap && err != nil {
			gaps++
			unlock, err := s.Lock(t.Context()) // as such a host has to
			require.NoError(t, err)
			require.NoError(t, unlock())
		}
		// Without a gap nothing has to be put right before the host may read.
		n, err := stateOf(dir)
		require.NoError(t, err)
		want, ok := map[string][]int{"": {at, at + 1}, "exchanged": {at + 1}, "no more gap": {at + 1}}[step]
		if !ok {
			want = []int{at}
		}
		require.Contains(t, want, n)
		updates = n
		text, _, err := read(s, "settings")
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("n=%d ", n), text)
		require.Empty(t, beside(t, s), "the next takes away what is left")
		require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				info, e := d.Info()
				require.NoError(t, e)
				require.EqualValues(t, 0o600, info.Mode())
			}
			return err
		}))
	}
	steps := []string{"link", "sync", "exchange", "exchanged"}
	if gap {
		steps = append(steps, "gap", "no more gap")
	}
	for _, step := range steps {
		for range 3 {
			kill(step)
		}
	}
	require.Equal(t, len(steps)*3, middle)
	rounds := testtime.Pick(t, 16, 100)
	for range rounds {
		kill("")
	}
	middle -= len(steps) * 3
	t.Logf("%d kills in %d updates of about %v: %d in the middle, %d without a folder", rounds, updates, took.Round(time.Millisecond), middle, gaps)
	require.GreaterOrEqual(t, middle, rounds/4, "too few kills hit in the middle")
}

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/location"
)

// advice says what to do about err, if the guide has an answer that the error
// does not contain. Otherwise it is empty.
func advice(err error) string {
	code := sqliteCode(err)
	is := func(numbers ...syscall.Errno) bool {
		for _, n := range numbers {
			if errors.Is(err, n) {
				return true
			}
		}
		return false
	}
	switch {
	case is(syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG), code == sqlite3.SQLITE_FULL:
		return "The disk is full or over its quota: check disk space, then run the command again."
	case is(syscall.EROFS), code == sqlite3.SQLITE_READONLY:
		return "It cannot be written to: check write permissions, and that the file system is not read-only."
	case errors.Is(err, fs.ErrPermission), code == sqlite3.SQLITE_PERM, code == sqlite3.SQLITE_CANTOPEN:
		return "Access was denied: check your read and write permissions for the file and its folder, and as which user you run the command."
	case code == sqlite3.SQLITE_BUSY, code == sqlite3.SQLITE_LOCKED:
		return "Another program is using the database: stop Tomo or wait, then run the command again."
	case code == sqlite3.SQLITE_CORRUPT, code == sqlite3.SQLITE_NOTADB:
		return "The file is damaged or is no database: make a new database (tomo init), and restore a backup into it."
	case errors.Is(err, backup.ErrStale):
		return "Run the command again to see what it would do now."
	case errors.Is(err, location.ErrBusy):
		return "Wait until that has ended, then run the command again."
	case errors.Is(err, backup.ErrClash):
		return "Change one of the two records, or leave out those of the backup with --skip-clashes."
	case errors.Is(err, backup.ErrSalvaged):
		return "Add what is missing with --strategy merge, or insist with --allow-salvaged."
	case errors.Is(err, backup.ErrUnauthentic):
		return "Do not restore it. Compare with another copy or an older backup (tomo backup list), and find out who can write to its folder."
	case errors.Is(err, backup.ErrWrongKey):
		return "Give the private key with --identity FILE, or the passphrase in " + passphraseVariable + " or with --passphrase-file FILE: those of the time when the backup was made."
	case errors.Is(err, backup.ErrNoKey):
		return "Give the private key with --identity FILE, or the passphrase in " + passphraseVariable + " or with --passphrase-file FILE."
	case errors.Is(err, backup.ErrDamaged) && !errors.Is(err, errSalvage):
		return "tomo backup list shows other copies and older backups. tomo backup salvage saves what is intact in a damaged backup."
	}
	return ""
}

// sqliteCode returns the primary result code of SQLite in err, or 0.
func sqliteCode(err error) int {
	var database *sqlite.Error
	if !errors.As(err, &database) {
		return 0
	}
	return database.Code() & 0xff
}

// printJSON prints the document of --json.
func (c *cli) printJSON(v any) error {
	enc := json.NewEncoder(c.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// An output is where a command that only looks prints, line by line. Its err is the first
// that failed: what was found and not told must not pass for done.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.err = cmp.Or(o.err, err)
	return n, err
}

// done prints what has come of a change. That it cannot be printed is no failure: the
// change took place.
func (c *cli) done(what string, print func() error) {
	if err := print(); err != nil {
		fmt.Fprintf(c.stderr, "tomo: warning: %s, but that cannot be printed: %s\n", what, printable(err.Error()))
	}
}

// printable escapes characters that must not reach a terminal. Names and values
// may come from a hostile file, and control characters can rewrite the screen.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

// printableLines is printable, but keeps line breaks.
func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = printable(line)
	}
	return strings.Join(lines, "\n")
}

// shortened cuts s to about max characters.
func shortened(s string, max int) string {
	runes := []rune(s)
	if len(runes) <= max {
		return s
	}
	return string(runes[:max-1]) + "…"
}

func size(bytes int64) string {
	switch {
	case bytes < 1000:
		return fmt.Sprintf("%d B", bytes)
	case bytes < 1000_000:
		return fmt.Sprintf("%.1f kB", float64(bytes)/1e3)
	case bytes < 1000_000_000:
		return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(bytes)/1e9)
}

// count writes 1234567 as 1,234,567.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// sum returns the number of records of all collections.
func sum(records map[string]int64) int64 {
	var n int64
	for _, r := range records {
		n += r
	}
	return n
}

const (
	barDelay    = 300 * time.Millisecond // short work shows no progress bar
	barInterval = 100 * time.Millisecond
	barWidth    = 24
	wipe        = "\r\x1b[K" // clears the line of a terminal
)

// progress returns a callback that draws a progress bar on a terminal, and a
// function that removes the bar. Without a terminal the callback is nil.
// Several goroutines may call both.
func (c *cli) progress() (show func(backup.Progress), done func()) {
	if !isTerminal(c.stderr) {
		return nil, func() {}
	}
	started, drawn := time.Now(), time.Time{}
	var mu sync.Mutex
	show = func(p backup.Progress) {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		if now.Sub(started) < barDelay || now.Sub(drawn) < barInterval {
			return
		}
		drawn = now
		drawBar(c.stderr, p)
	}
	return show, func() {
		mu.Lock()
		defer mu.Unlock()
		if !drawn.IsZero() {
			fmt.Fprint(c.stderr, wipe)
			drawn = time.Time{}
		}
	}
}

func drawBar(w *os.File, p backup.Progress) {
	bar := ""
	if p.Total > 0 {
		part := min(float64(p.Bytes)/float64(p.Total), 1)
		full := int(part * barWidth)
		bar = fmt.Sprintf("[%s%s] %3.0f %%  ", strings.Repeat("#", full), strings.Repeat("-", barWidth-full), part*100)
	}
	if p.Phase == "key" { // its bytes are those of memory
		fmt.Fprintf(w, wipe+"%-8s %strying a passphrase", p.Phase, bar)
		return
	}
	fmt.Fprintf(w, wipe+"%-8s %s%s records  %s  %s", p.Phase, bar, count(p.Records), size(p.Bytes), printable(p.Collection))
}

// hint returns a command to run next, with the same database and folders.
func (c *cli) hint(args ...string) string {
	words := []string{"tomo"}
	if c.databasePath != "" {
		words = append(words, "--db", quoted(c.databasePath))
	}
	words = append(words, "backup")
	for _, arg := range args {
		words = append(words, quoted(arg))
	}
	if c.dir != "" {
		words = append(words, "--dir", quoted(string(c.dir)))
	}
	for _, f := range c.further {
		words = append(words, "--location", quoted(string(f)))
	}
	return strings.Join(words, " ")
}

// quoted returns an argument in the form that a shell takes, safe for a
// terminal.
func quoted(arg string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_./+:,=@", r)
	}
	if strings.ContainsFunc(arg, func(r rune) bool { return !plain(r) }) {
		arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	return printable(arg)
}

// span writes a duration for a person.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return plural(int64(d/time.Minute), "minute", "minutes")
	case d < 48*time.Hour:
		return plural(int64(d/time.Hour), "hour", "hours")
	}
	return plural(int64(d/(24*time.Hour)), "day", "days")
}

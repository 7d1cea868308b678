package backuptest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/tomo-project/backup/location"
)

func (p *place) refusesNames() error {
	if err := p.put("a", []byte("a")); err != nil {
		return err
	}
	for _, name := range []string{
		"", ".", "..", "../a", "/a", "a/", "a/b", "/", "./a", `a\b`, `..\a`, ".a", ".a.lock", "C:", "a:b", "a\x00", "a\n",
		"a\x7f", "a\u0085", "a\xff", strings.Repeat("a", 201), strings.Repeat("é", 101),
	} {
		in := &countingReader{r: strings.NewReader("x")}
		calls := map[Call]error{CallPut: p.Put(p.ctx, name, in), CallDelete: p.Delete(p.ctx, name)}
		f, err := p.Open(p.ctx, name)
		if err == nil {
			f.Close()
		}
		calls[CallOpen] = err
		if l, ok := p.Location.(location.Locker); ok {
			unlock, err := l.Lock(p.ctx, name, "holder")
			if err == nil {
				return errors.Join(fmt.Errorf("Lock of %q returned nil", name), unlock())
			}
		}
		for call, err := range calls {
			switch {
			case err == nil:
				return fmt.Errorf("%s of %q returned nil", call, name)
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrExist):
				return fmt.Errorf("%s of %q looked for the file instead of refusing its name: %w", call, name, err)
			}
		}
		if in.n > 0 {
			return fmt.Errorf("Put of %q read from its reader", name)
		}
	}
	if err := p.listed("a"); err != nil {
		return err
	}
	return p.holds("a", []byte("a"))
}

// A countingReader counts the calls of Read.
type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	c.n++
	return c.r.Read(p)
}

func (p *place) acceptsNames() error {
	names := []string{
		"-rf", "0", "A B", "a", "a..b", "a.json", "a.json.tmp", "a.lock", "a%2e%2e%2fb", "a+b", "b&c=d", "~", "é", "日本語", "🚀",
		strings.Repeat("c", 200), strings.Repeat("é", 100),
	}
	slices.Sort(names)
	for _, name := range names {
		if err := p.put(name, []byte(name)); err != nil {
			return err
		}
	}
	if err := p.listed(names...); err != nil {
		return err
	}
	for _, name := range names {
		if err := p.holds(name, []byte(name)); err != nil {
			return err
		}
		if err := p.Delete(p.ctx, name); err != nil {
			return fmt.Errorf("Delete of %q: %w", name, err)
		}
	}
	return p.listed()
}

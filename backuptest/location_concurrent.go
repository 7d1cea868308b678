package backuptest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
)

func (p *place) onePutWins() error {
	for round := range 4 {
		const racers = 16
		name := fmt.Sprint("race-", round)
		contents := make([][]byte, racers)
		for i := range racers {
			contents[i] = noise(byte(i), 10_000*i)
		}
		errs := race(racers, func(i int) error { return p.Put(p.ctx, name, bytes.NewReader(contents[i])) })
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				return errors.New("two of the Puts succeeded")
			case err == nil:
				winner = i
			case !errors.Is(err, fs.ErrExist):
				return fmt.Errorf("a Put that lost must return fs.ErrExist, but returned %w", err)
			}
		}
		if winner < 0 {
			return fmt.Errorf("none of the Puts succeeded: %w", errs[0])
		}
		if err := p.holds(name, contents[winner]); err != nil {
			return err
		}
	}
	return nil
}

func (p *place) concurrent() error {
	if err := p.put("m", []byte("stays")); err != nil {
		return err
	}
	err := each(100, func(i int) error {
		name, content := fmt.Sprint("f", i), noise(byte(i), 1000)
		if err := p.put(name, content); err != nil {
			return err
		}
		if err := p.holds(name, content); err != nil {
			return err
		}
		if err := p.snapshot(); err != nil {
			return err
		}
		if err := p.Delete(p.ctx, name); err != nil {
			return fmt.Errorf("Delete: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return p.listed("m")
}

// snapshot checks List while other goroutines put and delete files.
func (p *place) snapshot() error {
	files, err := p.List(p.ctx)
	if err != nil {
		return fmt.Errorf("List, while files come and go: %w", err)
	}
	stays := false
	for i, f := range files {
		if i > 0 && files[i-1].Name >= f.Name {
			return fmt.Errorf("List, while files come and go: %q comes before %q", files[i-1].Name, f.Name)
		}
		if f.Name[0] == 'f' && f.Bytes != 1000 {
			return fmt.Errorf("List, while files come and go: %q has %d bytes instead of 1000", f.Name, f.Bytes)
		}
		stays = stays || f.Name == "m"
	}
	if !stays {
		return errors.New("List, while files come and go: a file that nobody deletes is missing")
	}
	return nil
}

package backuptest

import (
	"errors"
	"fmt"
	"io/fs"
)

func (p *place) deleteMissing() error {
	if err := p.put("a", nil); err != nil {
		return err
	}
	for range 2 {
		for _, name := range []string{"b", "aa", "a.json", "A a"} {
			if err := p.Delete(p.ctx, name); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("Delete of %q returned %v", name, err)
			}
		}
	}
	return p.listed("a")
}

func (p *place) nameIsFreeAgain() error {
	for i := range 3 {
		content := noise(byte(i), 3000>>i)
		if err := p.put("a", content); err != nil {
			return err
		}
		if err := p.holds("a", content); err != nil {
			return err
		}
		if err := p.Delete(p.ctx, "a"); err != nil {
			return fmt.Errorf("Delete: %w", err)
		}
		if err := p.lacks("a"); err != nil {
			return fmt.Errorf("after Delete: %w", err)
		}
		if err := p.Delete(p.ctx, "a"); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("a second Delete returned %v", err)
		}
	}
	return p.listed()
}

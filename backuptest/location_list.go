package backuptest

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

func (p *place) lists() error {
	if err := p.listed(); err != nil {
		return fmt.Errorf("new must return an empty location: %w", err)
	}
	const files = 1200 // more than the page size of services
	var names []string
	for i := range files {
		names = append(names, fmt.Sprintf("app-%d.json", i))
	}
	shuffled := slices.Clone(names)
	rand.Shuffle(files, func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	slices.Sort(names)
	err := each(files, func(i int) error { return p.put(shuffled[i], []byte(shuffled[i])) })
	if err != nil {
		return err
	}
	if err := p.listed(names...); err != nil {
		return err
	}
	first, err := p.List(p.ctx)
	if err != nil {
		return err
	}
	again, err := p.List(p.ctx)
	if err != nil {
		return err
	}
	for i, f := range first {
		if f.Bytes != int64(len(f.Name)) {
			return fmt.Errorf("%q has %d bytes, but List says %d", f.Name, len(f.Name), f.Bytes)
		}
		if !again[i].ModTime.Equal(f.ModTime) {
			return fmt.Errorf("the content of %q stayed the same, but its ModTime was first %v, then %v", f.Name, f.ModTime, again[i].ModTime)
		}
	}
	err = each(files/2, func(i int) error { return p.Delete(p.ctx, names[i]) })
	if err != nil {
		return fmt.Errorf("Delete: %w", err)
	}
	return p.listed(names[files/2:]...)
}

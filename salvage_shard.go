package backup

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/keyset"
)

// A shard is what is left of a collection.
type shard struct {
	name     string
	isMap    bool
	col      *collection // nil: not declared, or of another schema version
	order    int         // of writing, -1 if not declared
	opened   bool        // the line that begins it is in the file
	empty    bool        // and the one that ends it follows
	key      codec.Key
	sealed   []codec.Pointer          // where secrets are sealed
	open     func(item) (item, error) // opens them; nil without a key
	strip    bool                     // nothing opens them any more: they are taken off
	keys     *keyset.Set
	pages    [][]spot
	n        int64 // records
	gone     int64 // lines lost
	stripped int64 // records that lost secrets
	guessed  bool  // a record of it may be one of another
}

// A spot tells where in the file a record stands, and what stood there.
type spot struct {
	offset int64
	length uint32
	sum    uint32
}

func (sh *shard) add(at spot) {
	if last := len(sh.pages) - 1; last >= 0 && len(sh.pages[last]) < pageSpots {
		sh.pages[last] = append(sh.pages[last], at)
	} else {
		sh.pages = append(sh.pages, []spot{at})
	}
	sh.n++
}

// A candidate is a record in a collection that it may be of.
type candidate struct {
	shard    *shard
	key      string // empty if it is not known
	stripped bool   // secrets were taken off it
}

// fits tells whether a record can be one of a collection.
func (sh *shard) fits(r item, isMap bool) (c candidate, err error) {
	c.shard = sh
	switch {
	case sh.isMap != isMap:
		return c, fmt.Errorf("not of the shape of %s", sh.name)
	case isMap && r.key == "":
		return c, errors.New("the key is empty")
	}
	locked := false
	switch {
	case sh.strip:
		if r, c.stripped, err = sh.bare(r); err != nil {
			return c, err
		}
	case sh.open != nil:
		opened, err := sh.open(r)
		if err != nil {
			if record, ok := errors.AsType[*RecordError](err); ok {
				err = record.Err
			}
			return c, err
		}
		r = opened
	case len(sh.sealed) > 0:
		if err := sh.checkSealed(r); err != nil {
			return c, err
		}
		locked = true
	}
	switch {
	case sh.col != nil:
		if err := sh.examine(&r, locked); err != nil {
			if c.stripped {
				err = fmt.Errorf("without its secrets, which nothing opens any more: %w", err)
			}
			return c, err
		}
		c.key = r.key
	case sh.isMap:
		c.key = r.key
	case len(sh.key) > 0:
		c.key, _ = sh.key.Of(r.value)
	}
	if sh.keys.Has(c.key) {
		return c, errors.New("a record before it has the same key")
	}
	return c, nil
}

// examine holds a record against the declaration and sets its key. The schema is
// not held against secrets that stay sealed.
func (sh *shard) examine(r *item, locked bool) error {
	tried := *r
	var sealedAt []string
	if locked {
		view := sh.col.view(r.key, r.value, nil)
		view, _ = codec.Rewrite(view, slices.Concat(sh.sealed, sh.col.secrets), func(pointer string, value []byte) ([]byte, error) {
			if isSealed(value) {
				sealedAt = append(sealedAt, sh.col.inside(r.key, pointer))
				value = []byte(`"0123456789abcdef"`)
			}
			return value, nil
		})
		tried.value = sh.col.unview(r.key, view)
	}
	for _, problem := range sh.col.examine(&tried) {
		inside := func(at string) bool {
			return problem.Pointer == at || strings.HasPrefix(problem.Pointer, at+"/")
		}
		switch {
		case slices.ContainsFunc(sealedAt, inside):
		case problem.Pointer != "":
			return fmt.Errorf("%s: %w", fault.Shorten(problem.Pointer), problem.Err)
		default:
			return problem.Err
		}
	}
	r.key = tried.key
	return nil
}

// checkSealed tells whether all secrets of a record can be sealed values.
func (sh *shard) checkSealed(r item) error {
	view := r.value
	if sh.isMap {
		view = viewMember(r.key, r.value, nil)
	}
	return codec.Find(view, sh.sealed, func(_ string, start, end int) error {
		if !looksSealed(view[start:end]) {
			return errors.New("a secret is not sealed, or not any more")
		}
		return nil
	})
}

func isSealed(value []byte) bool {
	_, ok := codec.OnlyMember(value, sealedMember)
	return ok
}

func looksSealed(value []byte) bool {
	text, ok := codec.OnlyMember(value, sealedMember)
	if !ok {
		return false
	}
	raw, err := codec.DecodeBase64(nil, text)
	return err == nil && len(raw) >= minSealed
}

// bare returns a record without the secrets that nothing opens any more. Where it
// is not known which they are, it is what looks like one.
func (sh *shard) bare(r item) (_ item, changed bool, err error) {
	if !bytes.Contains(r.value, []byte(sealedMember)) {
		return r, false, nil
	}
	view, places, drop := r.value, sh.sealed, isSealed
	if sh.isMap {
		view = viewMember(r.key, r.value, nil)
	}
	if sh.col == nil {
		places, drop = codec.Everywhere, looksSealed
	}
	rest := codec.Prune(view, places, drop)
	if len(rest) == len(view) {
		return r, false, nil
	}
	if sh.isMap {
		if string(rest) == "{}" {
			return r, true, errors.New("a sealed secret, and what says how to open it is lost")
		}
		rest = unviewMember(r.key, rest)
	}
	r.value = rest
	return r, true, nil
}

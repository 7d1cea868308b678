package backup

import (
	"bytes"
	"errors"
	"fmt"
	"math"
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
	order    int         // place in the order of writing, -1 if not declared
	opened   bool        // its opening line is in the file
	empty    bool        // its closing line follows that at once
	key      codec.Key
	sealed   []codec.Pointer          // where secrets are sealed
	open     func(item) (item, error) // opens the secrets; nil without a key
	strip    bool                     // nothing opens the secrets any more: they are removed
	keys     *keyset.Set
	pages    [][]spot
	n        int64 // records placed
	gone     int64 // lines lost
	stripped int64 // records that lost secrets
	guessed  bool  // a record of it may belong to another collection
}

// A spot is the place of a record in the file, with a sum of its bytes.
type spot struct {
	offset int64
	length uint32
	sum    uint32
}

// pageSpots is how many spots a page has. Pages are given up one by one while the
// snapshot is written.
const pageSpots = 4096

// add adds the place of a record.
func (sh *shard) add(at spot) {
	if last := len(sh.pages) - 1; last >= 0 && len(sh.pages[last]) < pageSpots {
		sh.pages[last] = append(sh.pages[last], at)
	} else {
		sh.pages = append(sh.pages, []spot{at})
	}
	sh.n++
}

// A candidate is a record with a collection that it may be of.
type candidate struct {
	shard    *shard
	key      string // empty if it is not known
	stripped bool   // secrets were removed from it
	proven   bool   // a secret of it opened, which it does in its own collection only
}

// fits tells whether a record can be of the collection.
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
		if r, c.stripped, err = sh.withoutSecrets(r); err != nil {
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
		c.proven = !bytes.Equal(opened.value, r.value)
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
				err = fmt.Errorf("without its secrets, which nothing can open any more: %w", err)
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

// examine checks a record against the declaration and sets its key. If its secrets
// are locked, the schema is tried with a string in the place of each.
func (sh *shard) examine(r *item, locked bool) error {
	tried := *r
	var sealedAt []string
	if locked {
		view := sh.col.view(r.key, r.value)
		view, _ = codec.Rewrite(view, slices.Concat(sh.sealed, sh.col.secrets), func(pointer string, value []byte) ([]byte, error) {
			if isSealed(value) {
				sealedAt = append(sealedAt, sh.col.inside(r.key, pointer))
				value = []byte(`"0123456789abcdef"`)
			}
			return value, nil
		})
		tried.value = sh.col.unview(r.key, view)
	}
	most := 1
	if locked { // problems inside of a sealed value do not count
		most = math.MaxInt
	}
	for _, problem := range sh.col.examine(&tried, most).list {
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

// checkSealed refuses a record with a secret that cannot be a sealed value.
func (sh *shard) checkSealed(r item) error {
	view := r.value
	if sh.isMap {
		view = viewMember(r.key, r.value)
	}
	return codec.Find(view, sh.sealed, func(_ string, start, end int) error {
		if !looksSealed(view[start:end]) {
			return errors.New("a secret is not sealed, or not any more")
		}
		return nil
	})
}

// isSealed tells whether a value has the form of a sealed one.
func isSealed(value []byte) bool {
	_, ok := codec.OnlyMember(value, sealedMember)
	return ok
}

// looksSealed tells whether a value also has the content that a sealed one can have.
func looksSealed(value []byte) bool {
	text, ok := codec.OnlyMember(value, sealedMember)
	if !ok {
		return false
	}
	raw, err := codec.DecodeBase64(nil, text)
	return err == nil && len(raw) >= minSealed
}

// withoutSecrets returns a record without the secrets that nothing opens any more. If
// it is not known where these are, it removes all values that look sealed.
func (sh *shard) withoutSecrets(r item) (_ item, changed bool, err error) {
	if !bytes.Contains(r.value, []byte(sealedMember)) {
		return r, false, nil
	}
	view, places, drop := r.value, sh.sealed, isSealed
	if sh.isMap {
		view = viewMember(r.key, r.value)
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
			return r, true, errors.New(`a sealed secret, and the member "encryption" that opens it is lost`)
		}
		rest = unviewMember(r.key, rest)
	}
	r.value = rest
	return r, true, nil
}

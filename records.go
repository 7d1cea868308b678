package backup

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
)

// Restores of some records: RestoreOptions.Records.

// A picking says to which records a restore is restricted.
type picking struct {
	named   map[string]map[string]bool // collection → keys that the caller names: whether the snapshot has them
	reach   map[string]bool            // the collections that may take part
	follows *following                 // what else is restored because these refer to it; nil: nothing
	gone    map[string][]string        // collection → keys that the snapshot lacks: with AsItWas, records that were not there
	keys    map[string][]string        // collection → keys of all records that are restored; nil: they are many
	bytes   int                        // of keys
}

// mostPickedBytes is how long the keys may be, taken together, that a restore names to Before.
const mostPickedBytes = 64 << 10

// checkPicks refuses Records that make no sense.
func (in *incoming) checkPicks() error {
	records := in.opts.Records
	switch {
	case records == nil && in.opts.WithReferences:
		return fmt.Errorf("%w: WithReferences goes with Records only: a restore without Records takes all records", ErrInvalid)
	case records == nil:
		return nil
	case len(records) == 0:
		return fmt.Errorf("%w: Records is empty: name records, or leave it nil for all of them", ErrInvalid)
	case in.opts.Only != nil:
		return fmt.Errorf("%w: Records and Only exclude each other: Records names the collections too", ErrInvalid)
	}
	for _, name := range slices.Sorted(maps.Keys(records)) {
		if in.byName[name] == nil {
			return fmt.Errorf("%w: records of %q: %s has only %s", ErrInvalid, name, in.Name, in.names())
		}
		if len(records[name]) == 0 {
			return fmt.Errorf("%w: Records has an empty list for %s: name records, or leave the collection out", ErrInvalid, name)
		}
	}
	return nil
}

// pick restricts the restore to the records that the options name.
func (in *incoming) pick() {
	if in.opts.Records == nil {
		return
	}
	p := &picking{
		named: make(map[string]map[string]bool),
		reach: make(map[string]bool),
		gone:  make(map[string][]string),
		keys:  make(map[string][]string),
	}
	var reach func(col *collection)
	reach = func(col *collection) {
		if p.reach[col.Name] {
			return
		}
		p.reach[col.Name] = true
		if in.opts.WithReferences {
			for _, r := range col.refs {
				reach(in.byName[r.Collection])
			}
		}
	}
	for name, keys := range in.opts.Records {
		p.named[name] = make(map[string]bool)
		for _, key := range keys {
			p.named[name][key] = false
		}
		reach(in.byName[name])
	}
	in.picks = p
}

// names tells whether the caller names a record. p may be nil.
func (p *picking) names(collection, key string) bool {
	if p == nil {
		return false
	}
	_, named := p.named[collection][key]
	return named
}

// takes tells whether the i-th record of a batch is restored. If the caller names the
// record, it is remembered that the snapshot has it.
func (p *picking) takes(b *batch, i int) bool {
	key, ok := b.keyOf(i)
	if !ok {
		return false
	}
	name := b.col.Name
	_, named := p.named[name][key]
	if named {
		p.named[name][key] = true
	} else if p.follows == nil || !p.follows.reaches(name, key) {
		return false
	}
	return true
}

// note remembers the key of a record that is restored, or would be deleted, unless there
// are many.
func (p *picking) note(collection, key string) {
	if p.bytes += len(key); p.bytes > mostPickedBytes || p.keys == nil {
		p.keys = nil
		return
	}
	p.keys[collection] = append(p.keys[collection], key)
}

// found returns an error if the snapshot lacks records that the caller names. With AsItWas
// they are records that were not there.
func (p *picking) found(asItWas bool) error {
	var missing []string
	total := 0
	for _, name := range slices.Sorted(maps.Keys(p.named)) {
		for _, key := range slices.Sorted(maps.Keys(p.named[name])) {
			switch {
			case p.named[name][key]:
			case asItWas:
				p.gone[name] = append(p.gone[name], key)
				p.note(name, key)
			default:
				if total++; total <= mostNamed {
					missing = append(missing, fmt.Sprintf("%s of %s", codec.Quote(fault.Shorten(key)), name))
				}
			}
		}
	}
	if total == 0 {
		return nil
	}
	if total > len(missing) {
		missing = append(missing, fmt.Sprintf("and %d more", total-len(missing)))
	}
	return fmt.Errorf("%w: the snapshot does not have these records: %s; nothing was changed: name records by the keys that they have in it, as they are today, or try another backup",
		ErrInvalid, strings.Join(missing, ", "))
}

// concerns tells whether a collection of the snapshot has records that are restored.
func (in *incoming) concerns(name string) bool {
	return in.picks == nil || in.seen.keys[name].Len() > 0 || len(in.picks.gone[name]) > 0
}

// sweeps tells whether the restore deletes all records of a collection that the snapshot
// does not have.
func (in *incoming) sweeps(col *collection) bool {
	return in.strategy(col) == Replace && in.picks == nil
}

// findGone finds the records that the caller names, that the snapshot lacks, and that the
// host has.
func (c *comparison) findGone(col *collection) error {
	if c.picks == nil || c.strategy(col) != Replace {
		return nil
	}
	for keys := range slices.Chunk(c.picks.gone[col.Name], batchSize) {
		found, err := c.lookup(col, keys)
		if err != nil {
			return err
		}
		for key, value := range found {
			if value != nil && !c.spares(col.Name, key) {
				c.surplus(col, key)
			}
		}
	}
	return nil
}

// surplus has a record of the host deleted.
func (c *comparison) surplus(col *collection, key string) {
	if c.deleted[col.Name] == nil {
		c.deleted[col.Name] = make(map[string]bool)
	}
	c.deleted[col.Name][key] = true
}

// heldRecords is what Before sees if the restore is restricted to some records.
type heldRecords struct {
	heldSource
	keys map[string][]string
}

// Restores returns the keys that the records to which the restore is restricted have in
// the host, by collection, or nil if they are many.
func (h heldRecords) Restores() map[string][]string { return h.keys }

// held returns what the host has, for Before.
func (c *comparison) held() DataSource {
	held := heldSource{c.host}
	if c.picks == nil {
		return held
	}
	var keys map[string][]string
	for name, picked := range c.picks.keys {
		if keys == nil {
			keys = make(map[string][]string)
		}
		for _, key := range picked {
			if key = c.arrival(name, key); key != nowhere {
				keys[name] = append(keys[name], key)
			}
		}
	}
	return heldRecords{held, keys}
}

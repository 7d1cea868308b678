package backup

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/tomo-project/backup/internal/codec"
)

// Records that say how the installation works: RestoreOptions.Own.

// nameOwn has the host's own records stay, unless they are restored.
func (in *incoming) nameOwn() {
	in.own = make(map[string]map[string][]byte)
	for name, keys := range in.opts.Own {
		if !in.wants(name) {
			continue
		}
		in.own[name] = make(map[string][]byte)
		for _, key := range keys {
			in.own[name][key] = nil
			if !in.takesOwn(name, key) {
				in.spare(name, key)
			}
		}
	}
}

// takesOwn tells whether one of the host's own records is restored. Whoever names the record
// wants it.
func (in *incoming) takesOwn(collection, key string) bool {
	return in.opts.TakeOwn || in.picks.names(collection, key)
}

// keepsOwn tells whether a record is left out, because the host's own stays. It remembers
// the value of each of these records.
func (r *reading) keepsOwn(collection string, ordinal int64, rec *item) bool {
	if _, own := r.own[collection][rec.key]; !own {
		return false
	}
	r.own[collection][rec.key] = bytes.Clone(rec.value)
	if r.takesOwn(collection, rec.key) {
		return false
	}
	r.leaveOut(collection, ordinal, rec.key)
	return true
}

// tellOwn warns of the host's own records that are not as in the snapshot, before anything
// changes. The values are not told: they may be secret.
func (c *comparison) tellOwn() error {
	for _, col := range c.cols {
		own := c.own[col.Name]
		keys := slices.Sorted(maps.Keys(own))
		found, err := c.lookup(col, keys)
		if err != nil {
			return err
		}
		for _, key := range keys {
			here, there := found[key], own[key]
			if c.picks != nil && there == nil && !c.picks.names(col.Name, key) {
				continue // it has no part in the restore
			}
			if text := c.ownText(col, c.takesOwn(col.Name, key), here, there); text != "" {
				c.report.Warnings = append(c.report.Warnings, fmt.Sprintf("%s %s %s", col.Name, codec.Quote(key), text))
			}
		}
	}
	return nil
}

// ownText says what becomes of one of the host's own records. It returns "" if nothing does,
// and nothing differs.
func (c *comparison) ownText(col *collection, take bool, here, there []byte) string {
	merges := c.strategy(col) != SkipDuplicates
	switch {
	case here == nil && there == nil || here != nil && there != nil && codec.Equal(here, there):
		return ""
	case take && there == nil && c.strategy(col) == Replace:
		return "is set here, and not in the backup: the restore removes it"
	case take && here == nil:
		return "is not set here: the restore takes it from the backup"
	case take && there != nil && merges:
		return "is another one in the backup: the restore takes that of the backup"
	case there == nil:
		return "stays as it is here; the backup does not set it"
	case here == nil:
		return "stays unset here; the backup sets it"
	}
	return "stays as it is here; in the backup it is another one"
}

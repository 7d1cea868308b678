package backup

import (
	"maps"
	"slices"

	"github.com/tomo-project/backup/internal/keyset"
)

// Records of the host that Replace lets stay, because the snapshot could not have them.

// spareInvalid keeps the host's invalid records from deletion, also those that share a unique
// value with a record that stays. They may have been there when the snapshot was made,
// which left them out.
func (c *comparison) spareInvalid(col *collection) error {
	c.stays[col.Name] = make(map[string]bool)
	taken, err := c.takenValues(col)
	if err != nil {
		return err
	}
	shares := func(value []byte) bool {
		return slices.ContainsFunc(col.uniques, func(u unique) bool {
			h := u.hash(col.seed, value)
			return h != 0 && taken[u.declared].HasHash(h)
		})
	}
	for keys := range slices.Chunk(slices.Sorted(maps.Keys(c.deleted[col.Name])), batchSize) {
		found, err := c.lookup(col, keys)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if value := found[key]; value != nil && (shares(value) || col.examine(&item{key: key, value: value, offset: -1}, 0).total > 0) {
				delete(c.deleted[col.Name], key)
				c.stays[col.Name][key] = true
			}
		}
	}
	return nil
}

// takenValues returns the hashes of the unique values of the host's records that stay, by
// the pointers of each Unique.
func (c *comparison) takenValues(col *collection) (map[string]*keyset.Set, error) {
	taken := make(map[string]*keyset.Set)
	for _, u := range col.uniques {
		taken[u.declared] = keyset.New()
	}
	if len(taken) == 0 || len(c.deleted[col.Name]) == 0 {
		return taken, nil
	}
	err := c.eachRecord(col, func(r item) {
		if c.deleted[col.Name][r.key] {
			return
		}
		for _, u := range col.uniques {
			if h := u.hash(col.seed, r.value); h != 0 {
				taken[u.declared].AddHash(h)
			}
		}
	})
	return taken, err
}

package validate

import "sync"

// A cache keeps compiled schemas by their names and texts. It is safe for concurrent use.
type cache struct {
	mu    sync.Mutex
	kept  map[cacheKey]*Schema
	bytes int // of the texts
}

type cacheKey struct{ name, text string }

// What a cache keeps at most. If it is full it forgets all, which costs a program with
// more schemas no more time than no cache.
const (
	maxKept      = 256
	maxKeptBytes = 4 << 20
)

var compiled cache

// get returns a compiled schema.
func (c *cache) get(name string, schema []byte) (*Schema, error) {
	c.mu.Lock()
	s := c.kept[cacheKey{name, string(schema)}]
	c.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := compile(name, schema)
	if err == nil {
		c.put(cacheKey{name, string(schema)}, s)
	}
	return s, err
}

func (c *cache) put(key cacheKey, s *Schema) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept[key] != nil || len(key.text) > maxKeptBytes {
		return
	}
	if c.bytes += len(key.text); c.kept == nil || len(c.kept) == maxKept || c.bytes > maxKeptBytes {
		c.kept, c.bytes = make(map[cacheKey]*Schema), len(key.text)
	}
	c.kept[key] = s
}

package backuphttp

import (
	"crypto/sha256"
	"net"
	"net/http"
	"sync"
	"time"
)

// How many of what takes long may run at a time, and how slow it may be.

const (
	mostUploads     = 4 // half of mostRestores: people can still look into stored backups
	mostDownloads   = 16
	mostStreams     = 64
	streamsOfClient = 4 // a browser opens six connections to a server: two are left for pages
)

// A room limits how many there are of something at a time.
type room struct {
	most int // in all
	each int // of one client

	mu  sync.Mutex
	all int
	of  map[client]int
}

func newRoom(most, each int) *room { return &room{most: most, each: each, of: make(map[client]int)} }

// enter takes a place for a client until leave is called, or returns false if there is
// none.
func (r *room) enter(c client) (leave func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all >= r.most || r.of[c] >= r.each {
		return nil, false
	}
	r.all++
	r.of[c]++
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all--
		if r.of[c]--; r.of[c] == 0 {
			delete(r.of, c)
		}
	}), true
}

// A client is a digest of what tells the sender of a request from others.
type client [sha256.Size]byte

// clientOf tells clients apart by what Options.Client says. Where it says nothing, the
// address has to do: a client chooses all its headers itself.
func (h *Handler) clientOf(r *http.Request) client {
	if h.opts.Client != nil {
		if name := h.opts.Client(asSent(r)); name != "" {
			return sha256.Sum256([]byte("name\x00" + name))
		}
	}
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	return sha256.Sum256([]byte("address\x00" + address))
}

// tooMany refuses what there is no place for.
func tooMany(text string, again time.Duration) error {
	return &refusal{status: http.StatusTooManyRequests, code: "too_many", text: text, again: int(again / time.Second)}
}

// A pace tells when a file comes or goes too slowly. A client that sends or reads a
// little now and then would otherwise keep its place for years.
type pace struct {
	began time.Time
	bytes int64
}

const (
	paceFrom  = time.Hour
	pacePerS  = 32 << 10 // bytes in a second after paceFrom, on average
	tooSlowly = "after an hour, the server wants 32 kB a second on average"
)

// slow counts bytes, and tells whether they were too few for the time.
func (p *pace) slow(bytes int) bool {
	p.bytes += int64(bytes)
	return time.Since(p.began)-paceFrom > time.Duration(p.bytes/pacePerS)*time.Second
}

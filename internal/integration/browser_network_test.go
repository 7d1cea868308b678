//go:build unix && !race

package integration

import (
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A cable is between the browser and the server, and can be pulled.
type cable struct {
	listener net.Listener
	to       string

	mu     sync.Mutex
	pulled bool
	conns  map[net.Conn]bool
	tried  chan struct{} // somebody connects
}

func newCable(t *testing.T, to string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cable{listener: l, to: to, conns: make(map[net.Conn]bool), tried: make(chan struct{}, 1)}
	t.Cleanup(func() { l.Close(); c.pull(true) })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go c.connect(from)
		}
	}()
	return c
}

func (c *cable) connect(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer to.Close()
	c.mu.Lock()
	if c.pulled {
		c.mu.Unlock()
		return
	}
	c.conns[from], c.conns[to] = true, true
	c.mu.Unlock()
	select {
	case c.tried <- struct{}{}:
	default:
	}
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			pair[0].Close()
			pair[1].Close()
		})
	}
	both.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, from)
	delete(c.conns, to)
}

// pull cuts all connections and lets no other through, or plugs it in again.
func (c *cable) pull(out bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled = out
	if !out {
		return
	}
	for conn := range c.conns {
		conn.Close()
	}
	select {
	case <-c.tried:
	default:
	}
}

// slowly lets the server work for a small part of the time, so that what it does can
// be watched, on a fast machine too. The server stands still when stop has returned.
func (h *home) slowly() (stop func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			_ = h.server.Process.Signal(syscall.SIGSTOP)
			select {
			case <-over:
				return
			case <-time.After(50 * time.Millisecond):
			}
			_ = h.server.Process.Signal(syscall.SIGCONT)
			time.Sleep(10 * time.Millisecond)
		}
	}()
	return sync.OnceFunc(func() { close(over); <-ended })
}

func TestBrowserShowsProgressAlsoAfterTheNetworkWasCut(t *testing.T) {
	t.Parallel()
	h := newHome(t, 40_000)
	h.serve()
	wire := newCable(t, h.host())
	b := newTab(t, "http://"+wire.listener.Addr().String())
	b.goes("/settings/backup/") // the list of the servers is long
	h.logsIn(b, "Backup & Restore")
	stop := h.slowly()
	t.Cleanup(stop)
	b.follows("Create Backup")
	b.on("Creating a backup")
	b.waits("progress", `/^Writing [A-Z][a-z]+: [\d,]+ records/.test(document.querySelector("[data-live=text]").innerText)`)
	stop()
	before := must[string](b, `document.querySelector("[data-live=text]").innerText`)

	b.mayBeOffline(true)
	wire.pull(true)
	b.sees("The connection is lost. What was started goes on without it; trying to connect again…")
	b.sees(before)
	b.looks("progress-offline")
	wire.pull(false)
	<-wire.tried // the server will find it when it can work again
	stop = h.slowly()
	t.Cleanup(stop)
	b.waits("progress again", `document.querySelector("h1").innerText === "Backup created" ||
		document.querySelector("[data-live=connection]").hidden && document.querySelector("[data-live=text]").innerText !== `+inScript(before))
	stop()
	require.NoError(t, h.server.Process.Signal(syscall.SIGCONT))
	b.on("Backup created")
	b.mayBeOffline(false)
	b.seesNot("The connection is lost")
	b.sees("Servers: 40,000")
	require.Len(t, h.names(), 1)
}

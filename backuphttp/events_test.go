package backuphttp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup/manager"
)

// listen opens a stream of events for a session.
func listen(h *host, session string) (*http.Response, reply) {
	h.Helper()
	r := h.request("GET", "events", nil)
	r.Header.Set("Cookie", session)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(h, err)
	h.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode == 200 {
		_, err = resp.Body.Read(make([]byte, 1))
		require.NoError(h, err)
		return resp, reply{}
	}
	text, err := io.ReadAll(resp.Body)
	require.NoError(h, err)
	described(h, r, resp, text)
	return resp, reply{resp, string(text)}
}

func TestStreamsOfEventsAreFew(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) {
		o.Client = func(r *http.Request) string {
			c, err := r.Cookie("session")
			require.NoError(t, err)
			return c.Value
		}
	})
	var first *http.Response
	for session := range mostStreams / streamsOfClient {
		for range streamsOfClient {
			resp, _ := listen(h, fmt.Sprint("session=", session))
			require.Equal(t, 200, resp.StatusCode)
			if first == nil {
				first = resp
			}
		}
		if session == 0 {
			_, got := listen(h, "session=0; more=1")
			require.Equal(t, "too_many", got.code(t))
			require.Equal(t, "10", got.Header.Get("Retry-After"))
		}
	}
	resp, got := listen(h, "session=another")
	require.Equal(t, 429, resp.StatusCode)
	require.Equal(t, "too_many", got.code(t))
	require.Equal(t, 200, h.send(h.request("HEAD", "events", nil)).StatusCode)
	require.Empty(t, h.began("backups", obj{}).Error, "everything else works")

	require.NoError(t, first.Body.Close())
	for resp.StatusCode != 200 { // until the server has noticed that the client is gone
		time.Sleep(time.Millisecond)
		resp, _ = listen(h, "session=another")
	}
}

// Without a name the address counts, and no header that the sender chooses.
func TestClientsAreToldApart(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) {
		o.Client = func(r *http.Request) string { return r.Header.Get("X-Forwarded-User") } // set by a proxy
	})
	of := func(address, user, cookie string) client {
		r := h.request("GET", "events", nil)
		r.RemoteAddr = address
		r.Header.Set("X-Forwarded-User", user)
		r.Header.Set("Cookie", cookie)
		return h.clientOf(r)
	}
	ada := of("192.0.2.1:1", "ada", "a=1")
	require.Equal(t, ada, of("192.0.2.2:1", "ada", "a=2"))
	require.NotEqual(t, ada, of("192.0.2.1:1", "bob", "a=1"))
	nobody := of("192.0.2.1:1", "", "a=1")
	require.Equal(t, nobody, of("192.0.2.1:2", "", "a=2"))
	require.NotEqual(t, nobody, of("192.0.2.2:1", "", "a=1"))
	require.NotEqual(t, nobody, of("192.0.2.1:1", "192.0.2.1", "a=1"))
	h.opts.Client = nil
	require.Equal(t, nobody, of("192.0.2.1:1", "ada", ""))
	require.NotEqual(t, of("@", "", ""), of("/run/a.sock", "", ""), "an address without a port")
}

func TestWhoMayNoLongerSeeGetsNoMoreEvents(t *testing.T) {
	h := newHost(t, nil)
	h.beat, h.trust = time.Hour, 0
	resp, _ := listen(h, "")
	h.forbid(View, errors.New("no"))
	_, err := h.create(t.Context(), nil)
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err, "it ends")
	require.NotContains(t, string(text), "data:")
}

func TestAStreamOfEventsEndsAfterAWhile(t *testing.T) {
	inBubble(t, nil, func(h *host, connect func() net.Conn) {
		c := connect()
		began := time.Now()
		fmt.Fprint(c, "GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(h, err)
		ended := make(chan error)
		go func() {
			_, err := io.Copy(io.Discard, resp.Body)
			ended <- err
		}()
		select {
		case err := <-ended:
			require.NoError(h, err)
		case <-time.After(24 * time.Hour):
			require.Fail(h, "it goes on")
		}
		require.Equal(h, h.life, time.Since(began))
		c.Close()
	})
}

// A client that does not read holds up neither the work nor the other clients.
func TestWhoReadsNoEventsHoldsNobodyUp(t *testing.T) {
	inBubble(t, nil, func(h *host, connect func() net.Conn) {
		var deaf []net.Conn
		for range streamsOfClient - 1 {
			c := connect()
			fmt.Fprint(c, "GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n")
			deaf = append(deaf, c)
		}
		c := connect()
		fmt.Fprint(c, "GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n")
		in := bufio.NewReader(c)
		resp, err := http.ReadResponse(in, nil)
		require.NoError(h, err)
		began := time.Now()
		go h.create(h.Context(), nil)
		for lines := bufio.NewScanner(resp.Body); lines.Scan() && !strings.Contains(lines.Text(), `"ended"`); {
		}
		require.Less(h, time.Since(began), time.Second)
		h.Handler.mu.Lock()
		require.Len(h, h.watchers, streamsOfClient)
		h.Handler.mu.Unlock()
		c.Close()
		time.Sleep(2 * h.patience)
		h.Handler.mu.Lock()
		require.Empty(h, h.watchers, "those who read nothing are cut off")
		h.Handler.mu.Unlock()
		for _, c := range deaf {
			c.Close()
		}
	})
}

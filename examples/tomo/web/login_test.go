package web

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAttemptsAreLimitedForAnAccountAndForAnAddress(t *testing.T) {
	var a attempts
	now := time.Now()
	for range perAccount {
		require.Zero(t, a.take(now, "here", "here ada"))
	}
	require.Equal(t, accountPace, a.take(now, "here", "here ada").Round(time.Second))
	require.Zero(t, a.take(now, "there", "there ada"), "nobody is kept out by what others try")
	require.Zero(t, a.take(now, "here", "here bob"))
	require.Zero(t, a.take(now.Add(accountPace), "here", "here ada"))
	require.Positive(t, a.take(now.Add(accountPace), "here", "here ada"))
	a.forget("here ada")
	require.Zero(t, a.take(now.Add(accountPace), "here", "here ada"), "who has logged in starts again")

	taken := 0
	for i := range 2 * perAddress {
		if a.take(now, "far", fmt.Sprint("far ", i)) == 0 {
			taken++
		}
	}
	require.Equal(t, perAddress, taken)
}

func TestAttemptsFromEverywhereTakeABoundedMemory(t *testing.T) {
	var a attempts
	now := time.Now()
	for i := range maxAttempts {
		a.take(now, fmt.Sprint(i), fmt.Sprint(i, " ada"))
	}
	require.LessOrEqual(t, len(a.seen), maxAttempts+1)
	require.Equal(t, accountPace, a.take(now, "new", "new ada"))
	require.Zero(t, a.take(now.Add(accountPace), "new", "new ada"), "and not for long")
	require.Len(t, a.seen, 2)
}

func TestALoginLeadsNowhereElse(t *testing.T) {
	for address, want := range map[string]string{
		"/":                       "/",
		"/servers/a%20b?done=x#y": "/servers/a%20b?done=x#y",
		"//evil.example":          "",
		"///evil.example":         "",
		"https://evil.example/":   "",
		`/\evil.example`:          "",
		`\\evil.example`:          "",
		"/\t/evil.example":        "",
		"evil":                    "",
		"javascript:alert(1)":     "",
		"":                        "",
	} {
		require.Equal(t, want, local(address), address)
	}
}

func TestTheMachinesOfANetworkOfIPv6AreOne(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.1:1234":          "192.0.2.1",
		"[2001:db8:1:2::3]:1234":  "2001:db8:1:2::/64",
		"[2001:db8:1:2:ff::]:80":  "2001:db8:1:2::/64",
		"[fe80::1%eth0]:80":       "fe80::/64",
		"[::ffff:192.0.2.1]:1234": "192.0.2.1",
		"@":                       "@",
	} {
		require.Equal(t, want, origin(&http.Request{RemoteAddr: from}, false), from)
	}
}

func TestAProxyIsBelievedOnlyIfThereIsOne(t *testing.T) {
	for hops, want := range map[string]string{
		"":                              "127.0.0.1",
		"192.0.2.1":                     "192.0.2.1",
		"198.51.100.7, 192.0.2.1":       "192.0.2.1", // the first can be made up
		"192.0.2.1:4711":                "192.0.2.1",
		"2001:db8:1:2::3":               "2001:db8:1:2::/64",
		"[2001:db8:1:2::3]:4711":        "2001:db8:1:2::/64",
		"192.0.2.1, unknown":            "127.0.0.1",
		"192.0.2.1, <script>, ,\t, x y": "127.0.0.1",
	} {
		r := &http.Request{RemoteAddr: "127.0.0.1:1234", Header: http.Header{}}
		if hops != "" {
			r.Header.Set("X-Forwarded-For", hops)
		}
		r.Header.Set("X-Forwarded-Proto", "https")
		require.Equal(t, want, origin(r, true), hops)
		require.Equal(t, "127.0.0.1", origin(r, false), hops)
		require.True(t, secure(r, true))
		require.False(t, secure(r, false))
		r.Header.Add("X-Forwarded-For", "203.0.113.9")
		r.Header.Add("X-Forwarded-Proto", "http")
		require.Equal(t, "203.0.113.9", origin(r, true), "another line")
		require.False(t, secure(r, true))
	}
}

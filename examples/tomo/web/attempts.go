package web

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// attempts limits how often somebody may try to log in: from one address to one
// account, and from one address to any account. Attempts from elsewhere keep
// nobody out of an account.
type attempts struct {
	mu    sync.Mutex
	seen  map[string]*rate.Limiter
	swept time.Time
}

const (
	perAccount  = 5 // at once; then one attempt in accountPace
	perAddress  = 30
	accountPace = time.Minute
	addressPace = 5 * time.Second

	maxAttempts = 10_000 // attempts that are remembered, in about a megabyte
)

// take counts an attempt, or returns how long to wait for the next.
func (a *attempts) take(now time.Time, address, account string) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.seen) >= maxAttempts && now.Sub(a.swept) >= addressPace {
		a.swept = now
		for key, l := range a.seen {
			if l.TokensAt(now) >= float64(l.Burst()) {
				delete(a.seen, key)
			}
		}
	}
	if len(a.seen) >= maxAttempts {
		return accountPace
	}
	for _, l := range []*rate.Limiter{a.limiter(address, addressPace, perAddress), a.limiter(account, accountPace, perAccount)} {
		if !l.AllowN(now, 1) {
			r := l.ReserveN(now, 1)
			defer r.CancelAt(now)
			return r.DelayFrom(now)
		}
	}
	return 0
}

func (a *attempts) limiter(key string, pace time.Duration, burst int) *rate.Limiter {
	l, ok := a.seen[key]
	if !ok {
		if a.seen == nil {
			a.seen = map[string]*rate.Limiter{}
		}
		l = rate.NewLimiter(rate.Every(pace), burst)
		a.seen[key] = l
	}
	return l
}

// forget drops the attempts for an account after a login.
func (a *attempts) forget(account string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.seen, account)
}

// origin returns where a request comes from. For IPv6 it is the network, in
// which each machine can have as many addresses as it likes. Behind a proxy it
// is the last address of the header, which the proxy has set. Anybody can make
// up the addresses before it.
func origin(r *http.Request, proxy bool) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	ip, _ := netip.ParseAddr(host)
	if proxy {
		hop := lastOf(r, "X-Forwarded-For")
		if other, err := netip.ParseAddr(strings.Trim(hop, "[]")); err == nil {
			ip = other
		} else if other, err := netip.ParseAddrPort(hop); err == nil {
			ip = other.Addr()
		}
	}
	if !ip.IsValid() {
		return host
	}
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip.String()
	}
	return netip.PrefixFrom(ip, 64).Masked().String()
}

// secure tells whether the browser sent a request by TLS.
func secure(r *http.Request, proxy bool) bool {
	return r.TLS != nil || proxy && strings.EqualFold(lastOf(r, "X-Forwarded-Proto"), "https")
}

// lastOf returns the last value of a header, which may occur several times and
// contain several values.
func lastOf(r *http.Request, header string) string {
	all := strings.Join(r.Header.Values(header), ",")
	return strings.TrimSpace(all[strings.LastIndex(all, ",")+1:])
}

// A tooOftenError says how long to wait for the next attempt.
type tooOftenError struct{ wait time.Duration }

func (e *tooOftenError) Error() string {
	return fmt.Sprintf("too many attempts: wait %d seconds", e.seconds())
}

func (e *tooOftenError) seconds() int { return int(e.wait.Seconds()) + 1 }

package backuphttp

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/agekey"
)

// The keys that people type in.

// identities is the default of Options.Identities.
func identities(text []byte) ([]backup.Identity, error) {
	if bytes.Contains(text, []byte("AGE-SECRET-KEY-")) || bytes.Contains(text, []byte("-----BEGIN")) {
		id, err := agekey.ParseIdentities(text, nil)
		if err != nil {
			return nil, err
		}
		return []backup.Identity{id}, nil
	}
	text = bytes.TrimRight(text, "\r\n")
	_, ofFile, err := agekey.Passphrase(text)
	if err != nil {
		return nil, err
	}
	return []backup.Identity{backup.Passphrase(text), ofFile}, nil
}

// tries limit how often keys can be tried, by all people together: triesAtOnce at
// once, and then one every triesPause. Only wrong keys count.
type tries struct {
	mu   sync.Mutex
	used float64 // at the time at
	at   time.Time
}

const (
	triesAtOnce = 5
	triesPause  = 10 * time.Second
)

// one does one try. A try counts from its beginning, or many could begin at once. It
// no longer counts when the key turns out not to be wrong.
func (t *tries) one(try func() error) error {
	if wait := t.use(time.Now()); wait > 0 {
		seconds := int(math.Ceil(wait.Seconds()))
		return &refusal{http.StatusTooManyRequests, "too_many_keys", fmt.Sprintf("too many wrong keys were tried; try again in %d seconds", seconds), seconds}
	}
	err := try()
	if !errors.Is(err, backup.ErrWrongKey) {
		t.mu.Lock()
		t.used--
		t.mu.Unlock()
	}
	return err
}

// use counts one try, or returns how long to wait for it.
func (t *tries) use(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.used = max(0, t.used-float64(now.Sub(t.at))/float64(triesPause))
	t.at = now
	if over := t.used + 1 - triesAtOnce; over > 0 {
		return time.Duration(over * float64(triesPause))
	}
	t.used++
	return 0
}

package manager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/filename"
	"github.com/tomo-project/backup/internal/seal"
)

// A KeyCheck is what [Manager.CheckKeys] has found. Its String says it to a person.
type KeyCheck struct {
	// Backup is the newest backup of this Installation that takes a key, and Keys are the
	// names of the keys that open it. Empty: there is no such backup, and any key is new.
	Backup string   `json:"backup,omitempty"`
	Keys   []string `json:"keys,omitempty"`

	// Opens is set if one of the Identities opens Backup.
	Opens bool `json:"opens"`

	// Other is set if none of the Identities opens Backup, unless one of the Keys is a public
	// key of the Recipients or of Encrypt. Without Identities it is set if
	// none of the Recipients has the name of one of the Keys. If neither Opens nor Other is
	// set, nothing tells.
	Other bool `json:"other"`

	// Gone are the Keys that none of the Recipients has: new backups do not open with them.
	Gone []string `json:"gone,omitempty"`

	// Need are the names of the kept backups that need the old key, or may need it: those
	// that a try did not open, and older ones that were not tried. It is empty unless Other
	// is set or there are keys in Gone.
	Need []string `json:"need,omitempty"`

	// Until is when Retention will have deleted all of Need, if backups are made by the
	// Schedule from now on. Zero: nobody knows, or some of them are kept until a person
	// deletes them.
	Until time.Time `json:"until,omitzero"`

	untried bool // some of Need were not tried
}

// String says in a few sentences what a person should know about a key that has changed.
// It is empty if the keys are those of the newest backup, as far as is known.
func (k KeyCheck) String() string {
	var said string
	switch {
	case k.Other:
		said = fmt.Sprintf("%s is sealed with another key: it takes %s, and the keys that are in use now do not open it. "+
			"If the passphrase or the key is mistyped, give the one that was in use when that backup was made. If it has changed on purpose, keep the old one: ",
			k.Backup, seal.NameKeys(k.Keys))
	case len(k.Gone) > 0:
		said = fmt.Sprintf("New backups do not open with %s, as %s does. Keep that key: ", seal.NameKeys(k.Gone), k.Backup)
	default:
		return ""
	}
	return said + k.needs("it") + ". Rewrap gives a backup the new key."
}

// Kept says how many kept backups need the old key, and until when. It is empty if none
// does.
func (k KeyCheck) Kept() string {
	if len(k.Need) == 0 {
		return ""
	}
	return k.needs("the old key")
}

func (k KeyCheck) needs(key string) string {
	said := "1 kept backup needs " + key
	if len(k.Need) != 1 {
		said = fmt.Sprintf("%d kept backups need %s", len(k.Need), key)
	}
	if k.untried {
		said += " or may need it"
	}
	if k.Until.IsZero() {
		return said + " as long as they are kept"
	}
	return said + ", until about " + k.Until.Format(time.DateOnly) + " by the retention policy"
}

// askKeys asks once whether the newest backup is sealed with another key, and tells the
// host if it is. The key may be mistyped: then new backups would push out those that
// somebody can open.
func (m *Manager) askKeys(ctx context.Context) {
	if m.isRekeying() {
		return
	}
	k, _ := m.CheckKeys(ctx) // a Location that cannot be asked is told by the backup that follows
	said := k.String()
	if k.Other {
		said += " Backups go on with the keys that are in use now, and no backup is deleted until somebody accepts the first of them, or opens it in a rehearsal."
	}
	if said != "" {
		m.emit(ctx, Event{Kind: EventOtherKey, Operation: "run", Backup: k.Backup, Text: said})
	}
}

// isRekeying tells whether the newest backup was found sealed with another key, and none
// was made since.
func (m *Manager) isRekeying() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rekeys
}

func (m *Manager) setRekeying(yes bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rekeys = yes
}

// askKeysAgain asks before a backup is marked as Rekeyed: somebody may have deleted what was
// sealed with another key. A location that is down may have the newest backup.
func (o *operation) askKeysAgain(ctx context.Context) {
	if !o.isRekeying() || len(o.down) > 0 {
		return
	}
	if k, err := o.checkKeys(ctx); err == nil && o.asked != nil && len(o.asked.errs) == 0 {
		o.setRekeying(k.Other)
	}
}

// markRekeyed remembers of a new backup that it is the first that is sealed with another
// key. The mark holds Prune up after a restart too.
func (o *operation) markRekeyed(ctx context.Context, b *Backup) {
	if !o.isRekeying() || !takesKey(*b) {
		return
	}
	if err := o.mark(ctx, *b, markRekeyed); err != nil {
		o.emit(ctx, Event{Kind: EventFailed, Backup: b.Name, Err: fmt.Errorf("note that it is sealed with another key: %w", err)})
		return
	}
	b.Rekeyed = true
	o.setRekeying(false)
}

// acceptKeys deletes the marks of those of the backups that hold Prune up for their keys.
func (o *operation) acceptKeys(ctx context.Context, backups []Backup) error {
	var errs []error
	for _, b := range backups {
		if !b.Rekeyed {
			continue
		}
		for _, s := range o.sites {
			if err := s.remove(ctx, b.Name+string(markRekeyed)); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// passOnRekeyed lets the next backup with a key hold Prune up, before the backup that does
// is deleted. Else the backups after it would push out those before it.
func (o *operation) passOnRekeyed(ctx context.Context, c *catalog, b Backup) error {
	if !b.Rekeyed {
		return nil
	}
	i := slices.IndexFunc(c.backups, func(other Backup) bool { return other.Name == b.Name })
	for _, next := range slices.Backward(c.backups[:i]) {
		if !next.Foreign && takesKey(next) {
			return o.mark(ctx, next, markRekeyed)
		}
	}
	return nil
}

// OldKeys tells after a change of keys, or after Rewrap, which kept backups the keys of this
// Manager do not open: Need and Until of the result are set. A backup for one of the public
// keys among the Recipients counts as opened. The backups in except are left out. OldKeys
// tries the Identities on ten backups at most, the newest first.
func (m *Manager) OldKeys(ctx context.Context, except ...string) (k KeyCheck, err error) {
	const most = 10
	o, err := m.begin(ctx, "old keys")
	if err != nil {
		return k, err
	}
	c, err := o.list(ctx)
	if c == nil {
		return k, fmt.Errorf("old keys: %w", err)
	}
	tried := 0
	for _, b := range own(c.backups) {
		if !takesKey(b) || slices.Contains(except, b.Name) {
			continue
		}
		of := KeyCheck{Gone: o.gone(b)}
		if b.Manifest != nil {
			of.Keys = b.Manifest.Keys
		}
		switch {
		case of.shared():
			continue
		case len(of.Keys) > 0 && len(of.Gone) == len(of.Keys): // none of the new keys is of its kind
		case len(o.Identities) == 0 || tried == most:
			k.untried = true
		default:
			tried++
			failed := o.tryKeys(ctx, b)
			if ctx.Err() != nil {
				return k, ctx.Err()
			}
			if failed == nil {
				continue
			}
			k.untried = k.untried || !errors.Is(failed, backup.ErrWrongKey)
		}
		k.Need = append(k.Need, b.Name)
	}
	if len(k.Need) > 0 {
		k.Until = o.gives(own(c.backups), k.Need)
	}
	return k, err
}

// triedKeys is how many backups CheckKeys tries at most. Each may take a second or more.
const triedKeys = 3

// CheckKeys tells whether the keys of the Manager open the newest backup of this
// Installation. Ask before the first backup is made with keys that somebody has typed: a
// typo would seal all new backups. It reads the beginning of one file, or of three if the
// first does not open, and no data.
//
// The error wraps [backup.ErrWrongKey] and says what KeyCheck.String says, if the newest
// backup is sealed with another key. Other errors say that the Locations cannot be asked,
// or that a backup cannot be read. A key that has changed without locking anybody out is
// no error, and KeyCheck.Gone and Need say so. Run asks by itself. The next backup that
// Create or Run makes after such an error is Backup.Rekeyed, unless the keys open the newest
// backup by then.
func (m *Manager) CheckKeys(ctx context.Context) (KeyCheck, error) {
	o, err := m.begin(ctx, "check keys")
	if err != nil {
		return KeyCheck{}, err
	}
	k, err := o.checkKeys(ctx)
	if err == nil {
		m.setRekeying(k.Other)
	}
	if err == nil && k.Other {
		err = fmt.Errorf("%w: %s", backup.ErrWrongKey, k)
	}
	if err != nil {
		return k, fmt.Errorf("check keys: %w", err)
	}
	return k, nil
}

func (o *operation) checkKeys(ctx context.Context) (k KeyCheck, err error) {
	c, unasked := o.list(ctx)
	if c == nil {
		return k, unasked
	}
	locked := slices.DeleteFunc(own(c.backups), func(b Backup) bool { return !takesKey(b) })
	if len(locked) == 0 {
		return k, unasked
	}
	newest := locked[0]
	if k.Backup = newest.Name; newest.Manifest != nil {
		k.Keys = slices.Clone(newest.Manifest.Keys)
	}
	k.Gone = o.gone(newest)
	need, failed, opened := locked, 0, false
	if len(o.Identities) == 0 {
		k.Other = len(k.Keys) > 0 && len(k.Gone) == len(k.Keys)
	} else {
		for i, b := range locked[:min(triedKeys, len(locked))] {
			err := o.tryKeys(ctx, b)
			switch {
			case err == nil && i == 0:
				k.Opens = true
			case err == nil:
				need, opened = locked[:i], true
			case !errors.Is(err, backup.ErrWrongKey) && !errors.Is(err, backup.ErrNoKey):
				return k, fmt.Errorf("%s: %w", b.Name, err)
			case i == 0 && k.shared():
			default:
				k.Other = true
				failed++
				continue
			}
			break
		}
	}
	if k.Other || len(k.Gone) > 0 {
		for _, b := range need {
			k.Need = append(k.Need, b.Name)
		}
		k.untried = !opened && len(need) > max(1, failed)
		k.Until = o.gives(own(c.backups), k.Need)
	}
	return k, nil
}

// shared tells whether one of the Keys is a public key that new backups have too. Then it
// is no new key that keeps the Identities from opening Backup. A short name, such as
// that of a passphrase, says nothing.
func (k KeyCheck) shared() bool {
	return slices.ContainsFunc(k.Keys, func(id string) bool { return len(id) >= 32 && !slices.Contains(k.Gone, id) })
}

// takesKey tells whether a backup takes a key to open.
func takesKey(b Backup) bool {
	return !b.Damaged && !b.Database && b.KeyState() != KeyNotNeeded
}

// tryKeys unwraps the key of a backup with the Identities.
func (o *operation) tryKeys(ctx context.Context, b Backup) error {
	var errs []error
	for _, s := range o.sites {
		if !b.goodAt(s) {
			continue
		}
		err := o.tryKeysAt(ctx, s, b.named)
		o.learnKey(s, b.Name, err)
		if err == nil || errors.Is(err, backup.ErrWrongKey) || errors.Is(err, backup.ErrNoKey) {
			return err
		}
		errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
	}
	return errors.Join(errs...)
}

func (o *operation) tryKeysAt(ctx context.Context, s *site, name filename.Name) error {
	_, err := within(ctx, func(ctx context.Context, alive func()) (*backup.Manifest, error) {
		r, err := s.Open(ctx, name.String())
		if err != nil {
			return nil, err
		}
		r = lively(r, alive)
		defer r.Close()
		return backup.Peek(ctx, r, backup.OpenOptions{Identities: patient(o.Identities, alive), Limits: o.Limits, TempDir: o.TempDir})
	}, nil)
	return err
}

// gone returns the names of the keys of a backup that new backups will not have.
func (m *Manager) gone(b Backup) []string {
	if b.Manifest == nil {
		return nil
	}
	var given []any
	if b.Manifest.Encrypted && m.Encrypt != nil {
		given = []any{m.Encrypt}
	} else {
		for _, r := range m.Recipients {
			given = append(given, r)
		}
	}
	if len(given) == 0 { // nothing new is sealed here
		return nil
	}
	var has []string
	for _, r := range given {
		if named, ok := r.(interface{ KeyIDs() []string }); ok {
			has = append(has, named.KeyIDs()...)
		} else {
			has = append(has, seal.PassphraseID)
		}
	}
	var gone []string
	for _, id := range b.Manifest.Keys {
		if !slices.Contains(has, id) {
			gone = append(gone, id)
		}
	}
	return gone
}

// learnKey remembers whether the Identities open a copy. Any error but ErrWrongKey says
// nothing about that.
func (m *Manager) learnKey(s *site, name string, err error) {
	if err != nil && !errors.Is(err, backup.ErrWrongKey) {
		return
	}
	m.amend(s, name, func(found *finding) {
		if found.key = KeyOpens; err != nil {
			found.key = KeyWrong
		}
	})
}

// knownKey returns what is known of whether the Identities open a backup.
func (m *Manager) knownKey(b Backup) KeyState {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range b.Copies {
		if seen := m.seen[c.Location][b.Name]; seen != nil && seen.key != "" {
			return seen.key
		}
	}
	return KeyUnchecked
}

// gives returns when retention will have given up all of some backups, or zero. It asks
// the policy as if all backups of the Schedule were made from now on.
func (o *operation) gives(backups []Backup, names []string) time.Time {
	const days = 20 * 366
	if o.Schedule == nil || o.Retention.KeepsAll() {
		return time.Time{}
	}
	var kept []backup.Dated
	for _, b := range backups {
		if class := o.class(b, PruneOptions{}); class == TriggerScheduled {
			kept = append(kept, b.Dated())
		} else if slices.Contains(names, b.Name) { // no rule deletes it by its age
			return time.Time{}
		}
	}
	last := o.start
	var coming []backup.Dated
	upTo := func(t time.Time) []backup.Dated {
		for len(coming) < 50_000 {
			next := after(o.Schedule, last)
			if next.IsZero() || next.After(t) {
				break
			}
			coming, last = append(coming, backup.Dated{Name: next.Format(time.RFC3339Nano), CreatedAt: next}), next
		}
		i, _ := slices.BinarySearchFunc(coming, t, func(d backup.Dated, t time.Time) int { return d.CreatedAt.Compare(t) })
		return coming[:i]
	}
	needed := func(day int) bool {
		at := o.start.AddDate(0, 0, day)
		for _, d := range o.Retention.Decide(slices.Concat(kept, upTo(at)), at) {
			if d.Keep && slices.Contains(names, d.Name) {
				return true
			}
		}
		return false
	}
	day := 1
	for ; needed(day); day *= 2 {
		if day > days {
			return time.Time{}
		}
	}
	for from := day / 2; from+1 < day; { // it is needed on the day from, and not on the day day
		if mid := (from + day) / 2; needed(mid) {
			from = mid
		} else {
			day = mid
		}
	}
	return o.start.AddDate(0, 0, day)
}

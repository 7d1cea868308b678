package manager

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tomo-project/backup/location"
)

// A Verdict says in a word how well the data is protected.
type Verdict string

const (
	Protected   Verdict = "protected"
	AtRisk      Verdict = "at risk"
	Unprotected Verdict = "unprotected"
)

// A KeyState says whether the keys of a Manager open a backup, such as its newest good full one.
type KeyState string

const (
	KeyOpens     KeyState = "opens"
	KeyWrong     KeyState = "wrong"
	KeyUnchecked KeyState = "unchecked"
	KeyNotNeeded KeyState = "not needed" // the backup is neither sealed nor encrypted
)

// A Status says how well the data is protected, as far as that was checked. Its Verdict is
// the first of these that holds:
//
//	verdict      code           holds if
//	unprotected  none           no Location has a good full backup of this installation
//	             out of reach   the same, and a Location could not be asked
//	at risk      overdue        a full backup was due more than an hour ago; or without a
//	                            Schedule, the newest is older than 35 days
//	             down           a Location could not be asked
//	             one copy       only one Location has the newest good full backup whole
//	             same disk      all its copies are on the disk of the data (DataPath)
//	             wrong key      the keys of the Manager do not open it
//	             key unchecked  it needs a key, and nobody has tried a key on it
//	             shrunk         a backup has lost most of a collection, so Prune deletes nothing
//	             rekeyed        a backup takes another key than those before, so Prune deletes nothing
//	             unproven       for 35 days, no full backup was verified, drilled or rehearsed
//	             drill          a drill is due
//	             rehearsal      a rehearsal is due
//	protected                   none of these
//
// A good full backup is one that is [Backup.Good], and that says of itself what its name
// says. Whether the keys open it is a reason of its own. The marks beside the backups tell what was verified, drilled and rehearsed, so a
// restart forgets nothing. Whoever can write to a Location can write marks, too.
type Status struct {
	Verdict Verdict   `json:"verdict"`
	Reasons []Reason  `json:"reasons"` // why it is not Protected, the worst first
	At      time.Time `json:"at"`

	// Unchecked says what nobody can tell, in a sentence each. It is no reason for a worse
	// Verdict.
	Unchecked []string `json:"unchecked,omitempty"`

	Backup    string        `json:"backup,omitempty"`     // the newest good full backup
	CreatedAt *time.Time    `json:"created_at,omitempty"` // its time
	Age       time.Duration `json:"age_ns,omitempty"`     // what would be lost if the data were lost now
	Places    []Place       `json:"locations"`            // in the order of the Locations
	Key       KeyState      `json:"key,omitempty"`        // empty without a Backup

	// The last times, each nil if there was none.
	Verified  *Marked `json:"verified,omitempty"`
	Drilled   *Marked `json:"drilled,omitempty"`
	Rehearsed *Marked `json:"rehearsed,omitempty"`
	Scheduled *Marked `json:"scheduled,omitempty"` // the newest scheduled backup that is not damaged

	Next    *time.Time `json:"next,omitempty"` // when Run makes the next backup; nil: never
	Overdue bool       `json:"overdue,omitempty"`
	HeldUp  string     `json:"held_up,omitempty"` // the backup that keeps Prune from deleting
}

// A Reason says why data is not protected.
type Reason struct {
	Code string `json:"code"` // see Status
	Text string `json:"text"` // for a person
}

// A Place says what a Location has of the newest good full backup.
type Place struct {
	Location string `json:"location"`
	Whole    bool   `json:"whole"`           // nothing is known to be wrong with its copy
	Error    string `json:"error,omitempty"` // why the Location could not be asked, or what is wrong with its copy

	// SameDisk tells whether the Location is on the disk of the data. Nil: nobody can tell.
	SameDisk *bool `json:"same_disk,omitempty"`
}

// Marked says when something was done with a backup.
type Marked struct {
	Backup string    `json:"backup"`
	At     time.Time `json:"at"`
}

const (
	// provenFor is how long a proof that backups restore counts: a monthly drill that is
	// some days late.
	provenFor = 35 * 24 * time.Hour

	// overdueAfter is how late a scheduled backup may be, beside Jitter. A large backup
	// takes its time.
	overdueAfter = time.Hour
)

// Status says how well the data is protected, and why. It asks the Locations as List does.
// The first time it also tries the Identities on the newest good backup, of which it reads
// the beginning: with a passphrase that may take a second. The error says why nobody can tell: that ctx is done, or that the
// Manager cannot work. A Location that is down is no error, but a Reason.
func (m *Manager) Status(ctx context.Context) (Status, error) {
	o, err := m.begin(ctx, "status")
	if err != nil {
		return Status{}, err
	}
	c, err := o.list(ctx)
	if c == nil {
		return Status{}, fmt.Errorf("status: %w", err)
	}
	s := Status{At: o.start, Reasons: []Reason{}}
	var good *Backup
	if i := slices.IndexFunc(c.backups, o.protects); i >= 0 {
		good = &c.backups[i]
		s.Backup, s.CreatedAt, s.Age = good.Name, &good.CreatedAt, max(0, o.start.Sub(good.CreatedAt))
	}
	s.place(ctx, o, c, good)
	s.past(o, c)
	s.judge(ctx, o, c, good)
	if err := ctx.Err(); err != nil {
		return Status{}, fmt.Errorf("status: %w", err)
	}
	return s, nil
}

// protects tells whether all of the data can be restored from a backup.
func (o *operation) protects(b Backup) bool {
	b.OtherKey = false // a reason of its own says so
	return b.Good(o.start) && o.genuine(b)
}

// place finds out where the copies of the newest good full backup are.
func (s *Status) place(ctx context.Context, o *operation, c *catalog, good *Backup) {
	unknown := false
	for _, site := range o.sites {
		p := Place{Location: site.name, Error: errorText(c.errs[site.name])}
		if good != nil {
			if copied := good.at(site); copied != nil && p.Error == "" {
				p.Whole, p.Error = copied.Err == nil, errorText(copied.Err)
			}
		}
		if disk, ok := site.Location.(location.OnDisk); ok && o.DataPath != "" {
			same, err := within(ctx, func(ctx context.Context, _ func()) (bool, error) { return disk.SameDisk(ctx, o.DataPath) }, nil)
			if err == nil {
				p.SameDisk = &same
			}
		}
		unknown = unknown || p.Whole && p.SameDisk == nil
		s.Places = append(s.Places, p)
	}
	if unknown {
		s.Unchecked = append(s.Unchecked, "Nobody can tell of each copy whether it is on the disk of the data.")
	}
}

// past finds out what was done with the backups.
func (s *Status) past(o *operation, c *catalog) {
	s.Verified, s.Drilled, s.Rehearsed = o.lastMark(c, markVerified), o.lastMark(c, markDrilled), o.lastMark(c, markRehearsed)
	for _, b := range c.backups {
		if s.Scheduled == nil && b.Trigger == TriggerScheduled && !b.Database && !b.Damaged && !b.Foreign && o.genuine(b) && !b.CreatedAt.After(o.start) {
			s.Scheduled = &Marked{b.Name, b.CreatedAt}
		}
		if s.HeldUp == "" && (len(b.Shrunk) > 0 || b.Rekeyed) {
			s.HeldUp = b.Name
		}
	}
	if o.Schedule == nil {
		return
	}
	if next := o.due(c.backups, o.start).at; !next.IsZero() {
		s.Next = &next
	}
}

// lastMark returns which full backup was marked last. The backup may be gone.
func (o *operation) lastMark(c *catalog, kind mark) *Marked {
	var last *Marked
	for name, named := range c.marked[kind] {
		if b := c.find(name); b == nil && !c.mine(name) || b != nil && !o.protects(*b) {
			continue
		}
		if at := c.markedWhen(named, kind, o.start); at != nil && (last == nil || at.After(last.At)) {
			last = &Marked{name, *at}
		}
	}
	return last
}

// keyState tells whether a key opens a backup.
func (o *operation) keyState(ctx context.Context, c *catalog, good *Backup) KeyState {
	if !good.Manifest.Sealed && !good.Manifest.Encrypted {
		return KeyNotNeeded
	}
	state := o.knownKey(*good)
	if state == KeyUnchecked && len(o.Identities) > 0 {
		o.tryKeys(ctx, *good) // remembers what it finds
		state = o.knownKey(*good)
	}
	if state != KeyUnchecked {
		return state
	}
	for _, kind := range []mark{markVerified, markDrilled, markRehearsed} {
		if c.has(kind, good.Name) {
			return KeyOpens
		}
		if last := o.lastMark(c, kind); last != nil && sameKeys(find(c.backups, last.Backup), good) {
			return KeyOpens
		}
	}
	return KeyUnchecked
}

// sameKeys tells whether what opens one backup certainly opens another: they are for the
// same public keys. A passphrase, or a key that does not tell its name, has the name of its
// kind, which is short and says nothing.
func sameKeys(a, b *Backup) bool {
	return a != nil && a.Manifest != nil && len(a.Manifest.Keys) > 0 && slices.Equal(a.Manifest.Keys, b.Manifest.Keys) &&
		!slices.ContainsFunc(a.Manifest.Keys, func(id string) bool { return len(id) < 32 })
}

// judge finds the reasons and the verdict.
func (s *Status) judge(ctx context.Context, o *operation, c *catalog, good *Backup) {
	var down []string
	for _, site := range o.sites {
		if err := c.errs[site.name]; err != nil {
			down = append(down, fmt.Sprintf("%s: %v", site.name, err))
		}
	}
	switch {
	case good != nil:
		s.Verdict = AtRisk
	case len(down) > 0:
		s.Verdict = Unprotected
		s.because("out of reach", "No good full backup can be reached.")
	default:
		s.Verdict = Unprotected
		s.because("none", "There is no good full backup. Make one.")
	}
	if good != nil {
		s.judgeAge(o, c, good)
	}
	for _, text := range down {
		s.because("down", "A location cannot be asked: %s", text)
	}
	if good != nil {
		s.judgeCopies()
		s.Key = o.keyState(ctx, c, good)
		s.judgeProof(o, c)
	}
	s.judgeHold(c)
	if len(s.Reasons) == 0 {
		s.Verdict = Protected
	}
}

// judgeHold says of which backups a person has to decide before Prune goes on.
func (s *Status) judgeHold(c *catalog) {
	if i := slices.IndexFunc(c.backups, func(b Backup) bool { return len(b.Shrunk) > 0 }); i >= 0 {
		b := c.backups[i]
		s.because("shrunk", "%s has lost data (%s), so no old backup is deleted. Restore what is missing, or accept the loss.", b.Name, shrinks(b.Shrunk))
	}
	if i := slices.IndexFunc(c.backups, func(b Backup) bool { return b.Rekeyed }); i >= 0 {
		s.because("rekeyed", "%s takes another key than the backups before it, so no old backup is deleted. If the key is right, accept the backup.", c.backups[i].Name)
	}
}

func (s *Status) because(code, format string, args ...any) {
	s.Reasons = append(s.Reasons, Reason{code, fmt.Sprintf(format, args...)})
}

func (s *Status) judgeAge(o *operation, c *catalog, good *Backup) {
	if o.Schedule == nil {
		if s.Overdue = s.Age > provenFor; s.Overdue {
			s.because("overdue", "No backups are scheduled, and the newest good full backup is %s old. Make one.", inWords(s.Age))
		}
		return
	}
	made := slices.IndexFunc(c.backups, func(b Backup) bool {
		b.Shrunk = nil // it was made, and a reason of its own says so
		return o.protects(b)
	})
	next := nextSlot(o.zoned(o.Schedule), c.backups[made])
	if late := o.start.Sub(next); !next.IsZero() && late > o.Jitter+overdueAfter {
		s.Overdue = true
		s.because("overdue", "A full backup has been due for %s. The log says why none was made.", inWords(late))
	}
}

func (s *Status) judgeCopies() {
	whole, apart := 0, 0
	for _, p := range s.Places {
		if p.Whole {
			whole++
			if p.SameDisk == nil || !*p.SameDisk {
				apart++
			}
		}
	}
	if whole < 2 {
		s.because("one copy", "Only one location has the newest good full backup. Keep a copy at another one.")
	}
	if apart == 0 {
		s.because("same disk", "All copies are on the disk of the data, and would be lost with it. Keep a copy elsewhere.")
	}
}

func (s *Status) judgeProof(o *operation, c *catalog) {
	switch s.Key {
	case KeyWrong:
		s.because("wrong key", "The keys that are set do not open %s: it is sealed with another key. Find that key, and try it in a rehearsal.", s.Backup)
	case KeyUnchecked:
		s.because("key unchecked", "Nobody has tried whether a key opens %s. Verify it with the key, or make a drill or a rehearsal.", s.Backup)
	}
	var proven time.Time
	for _, m := range []*Marked{s.Verified, s.Drilled, s.Rehearsed} {
		if m != nil && m.At.After(proven) {
			proven = m.At
		}
	}
	switch {
	case proven.IsZero():
		s.because("unproven", "No full backup was verified yet. Verify it, or make a drill.")
	case o.start.Sub(proven) > provenFor:
		s.because("unproven", "No full backup was verified for %s. Verify it, or make a drill.", inWords(o.start.Sub(proven)))
	}
	if comes(o.zoned(o.Drills.Schedule), c.latest(markDrilled, o.start, c.mine), o.start) {
		s.because("drill", "A drill is due: it proves that a backup restores.")
	}
	if comes(o.zoned(o.Rehearsals), c.latest(markRehearsed, o.start, c.mine), o.start) {
		s.because("rehearsal", "A rehearsal is due: a person should prove that their key opens the backups.")
	}
}

// String says the verdict in a line for a person. Reasons has the rest.
func (s Status) String() string {
	if s.Verdict == "" {
		return "Nobody has looked"
	}
	verdict := strings.ToUpper(string(s.Verdict[:1])) + string(s.Verdict[1:])
	if s.Backup == "" {
		return verdict + ": no good full backup can be found"
	}
	whole, apart := 0, 0
	for _, p := range s.Places {
		if p.Whole {
			whole++
			if p.SameDisk != nil && !*p.SameDisk {
				apart++
			}
		}
	}
	text := fmt.Sprintf("%s: the newest good full backup is %s old, with %s", verdict, inWords(s.Age), many(whole, "copy", "copies"))
	if apart > 0 {
		text += fmt.Sprintf(", %d of them on another file system than the data", apart)
	}
	return text
}

// inWords writes a time span for a person, rounded down.
func inWords(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < 2*time.Hour:
		return many(int(d/time.Minute), "minute", "minutes")
	case d < 48*time.Hour:
		return many(int(d/time.Hour), "hour", "hours")
	}
	return many(int(d/(24*time.Hour)), "day", "days")
}

func many(n int, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, several)
}

package manager

import (
	"context"
	"slices"
	"time"

	"github.com/tomo-project/backup/location"
)

// A memo is what a Create needs to know of the backups that the Create before it has left,
// so that it need not look at thousands of files. It counts only while every Location is a
// [location.Watcher] and says that nobody has changed a file since. A memo is made only
// where Create had nothing else to do than to store its backup: nothing was missing at any
// Location, unreadable, unfinished or doubtful. Nothing is deleted by a memo.
type memo struct {
	catalog *catalog  // with the stems, the READMEs and the most records, and without the backups
	newest  time.Time // the CreatedAt of the newest backup, or of one that a person has accepted
	lessons int       // those of the Manager when the backups were listed
}

// goByMemo lets the operation go by the memo of the last Create, if that counts for a backup
// made at a time. Otherwise it sets o.watched if a new memo can be made of the list to come.
func (o *operation) goByMemo(ctx context.Context, at time.Time) {
	o.mu.Lock()
	last := o.memo
	o.memo, o.learned = nil, o.lessons
	o.mu.Unlock()
	if o.asked != nil { // changes since then may go unnoticed
		return
	}
	unchanged, watched := o.watch(ctx)
	o.watched = watched
	if unchanged && last != nil && last.lessons == o.learned && at.After(last.newest) && !o.isRekeying() {
		o.asked, o.newest = last.catalog, last.newest
	}
}

// watch asks all Locations what has changed since it was last called. It tells whether that
// is nothing but the files with these names, and whether all Locations will tell the next
// time.
func (o *operation) watch(ctx context.Context, own ...string) (unchanged, watched bool) {
	if len(o.sites) < len(o.Locations) {
		return false, false
	}
	watchers := make([]location.Watcher, len(o.Locations))
	for i, l := range o.Locations {
		w, ok := l.(location.Watcher)
		if !ok {
			return false, false
		}
		watchers[i] = w
	}
	if o.changed == nil {
		o.changed = make([]func(context.Context) ([]string, error), len(watchers))
	}
	unchanged, watched = true, true
	for i, w := range watchers {
		if changed := o.changed[i]; changed != nil {
			names, err := within(ctx, func(ctx context.Context, _ func()) ([]string, error) { return changed(ctx) }, nil)
			if err == nil {
				unchanged = unchanged && !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(own, name) })
				continue
			}
		}
		unchanged = false
		var err error
		o.changed[i], err = within(ctx, func(ctx context.Context, _ func()) (func(context.Context) ([]string, error), error) {
			return w.Watch(ctx)
		}, nil)
		watched = watched && err == nil
	}
	return unchanged, watched
}

// memorize makes the memo of a Create that has gone by a catalog and made a backup. What
// somebody else does meanwhile to the files of this backup, or to the README, escapes it.
func (o *operation) memorize(ctx context.Context, c *catalog, b Backup) {
	if !o.watched {
		return
	}
	unchanged, _ := o.watch(ctx, b.Name, b.Name+noteEnding, b.Name+writingEnding, readmeName(o.App.Name))
	if !unchanged || c.unsure || b.good() < len(o.Locations) || b.Rekeyed {
		return
	}
	newest := o.newest
	for _, accepted := range c.marked[markAccepted] {
		if accepted.At.After(o.start) { // it may count later
			return
		}
		if accepted.At.After(newest) { // a backup before it is not compared
			newest = accepted.At
		}
	}
	for _, old := range slices.Concat(c.backups, []Backup{b}) {
		if old.CreatedAt.After(newest) {
			newest = old.CreatedAt
		}
	}
	// What the next backup may have lost, it has lost since what counts now.
	c.stems[b.named.Stem] = true
	c.losses(&b, func(string) bool { return true })
	o.mu.Lock()
	defer o.mu.Unlock()
	o.memo = &memo{&catalog{brief: true, stems: c.stems, readmes: c.readmes, most: c.most}, newest, o.learned}
}

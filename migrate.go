package backup

import (
	"context"
	"errors"
	"fmt"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
)

// A Migrator is one step of the migration of older data: it takes a record of schema
// version From to version From+1. The host keeps its migrators for ever, so that
// every backup that was ever made can be restored (guide, "Migrating Between
// Versions"). [Migration] makes one of a function.
//
// A Migrator must give the same result for the same record, and remember nothing: a
// plan migrates each record more than once, and the collections in any order.
type Migrator interface {
	// From is the schema version that this step migrates from, 1 or more.
	From() int

	// Migrate is called for every record of every collection. It calls emit for the
	// records that take the place of r: once to keep, change or rename r, not at all
	// to drop it, and several times to split it, also into other collections. Each
	// emitted record then goes through the next step.
	//
	// The secrets of r are open. In a List collection r.Key is what the App's current
	// Key finds in r, if anything, and the library derives the key again after the
	// last step. In a Map collection the Key of an emitted record is the name of its
	// member.
	//
	// Migrate must return when emit returns an error. emit does so when ctx is done,
	// and with ErrLimit when this step has emitted more records or bytes than the
	// [Limits] allow a snapshot, or a record that is too large.
	//
	// The library prints the text of an error of Migrate, shortened, with the record
	// that it is about. It puts "(secret)" in the place of the texts of that record's
	// secrets. It cannot know them in another form, so let an error quote no values.
	Migrate(ctx context.Context, collection string, r Record, emit func(collection string, r Record) error) error
}

// Migration returns a Migrator that migrates from schema version from with a
// function, as described at [Migrator].
func Migration(from int, migrate func(ctx context.Context, collection string, r Record, emit func(collection string, r Record) error) error) Migrator {
	return migration{from, migrate}
}

type migration struct {
	from int
	f    func(ctx context.Context, collection string, r Record, emit func(collection string, r Record) error) error
}

func (m migration) From() int { return m.from }

func (m migration) Migrate(ctx context.Context, collection string, r Record, emit func(collection string, r Record) error) error {
	return m.f(ctx, collection, r, emit)
}

// orderMigrators puts the migrators in order and refuses gaps.
func (c *compiled) orderMigrators() error {
	if c.SchemaVersion < 1 {
		return nil
	}
	c.steps = make([]Migrator, c.SchemaVersion-1)
	for _, m := range c.Migrators {
		if f, ok := m.(migration); fault.IsNil(m) || ok && f.f == nil {
			return fmt.Errorf("%w: a migrator is nil", ErrInvalid)
		}
		from := m.From()
		if from < 1 || from >= c.SchemaVersion {
			return fmt.Errorf("migrator from schema version %d: want 1 to %d, one less than SchemaVersion", from, c.SchemaVersion-1)
		}
		if c.steps[from-1] != nil {
			return fmt.Errorf("two migrators from schema version %d", from)
		}
		c.steps[from-1] = m
	}
	for i, m := range c.steps {
		if m == nil {
			return fmt.Errorf("no migrator from schema version %d to %d: backups of version %[1]d and older could not be restored", i+1, i+2)
		}
	}
	return nil
}

// A migrating takes the records of a snapshot through the steps, in one pass through
// the snapshot.
type migrating struct {
	*compiled
	ctx    context.Context
	limits codec.Limits
	made   []made // by the step from the schema version that is the index

	// Of the record that the snapshot has.
	offset  int64
	secrets func() secretTexts
}

// made is how much a step has emitted in a pass.
type made struct{ records, bytes int64 }

func (c *compiled) newMigrating(ctx context.Context, l codec.Limits) *migrating {
	return &migrating{compiled: c, ctx: ctx, limits: l, made: make([]made, c.SchemaVersion)}
}

// migrate takes a record of schema version from through all later steps. It returns
// an error of emit as it is. To an error of a migrator it adds the record and the
// step, and takes the secrets out of its text.
func (m *migrating) migrate(from int, name string, r Record, emit func(collection string, r Record) error) error {
	if from == m.SchemaVersion {
		return emit(name, r)
	}
	var later error // of emit, which counts even if the migrator ignores it
	err := m.steps[from-1].Migrate(m.ctx, name, r, func(to string, out Record) error {
		if later == nil {
			later = m.count(from, out)
			if errors.Is(later, ErrLimit) {
				later = m.failed(from, name, r, later)
			}
		}
		if later == nil {
			later = m.migrate(from+1, to, out, emit)
		}
		return later
	})
	if later != nil || err == nil {
		return later
	}
	texts := m.secrets()
	if col := m.byName[name]; col != nil { // an earlier step may have made secrets
		texts.add(col.view(r.Key, r.Value), col.secrets)
	}
	return m.failed(from, name, r, texts.hide(err))
}

// count counts a record that a step has emitted. A step that emits without end is
// refused, whatever the next step makes of that.
func (m *migrating) count(from int, out Record) error {
	made := &m.made[from]
	made.records++
	made.bytes += int64(len(out.Key) + len(out.Value))
	switch l := m.limits; {
	case len(out.Value) > l.RecordBytes:
		return fmt.Errorf("%w: it makes a record of %d bytes, the limit is %d (Limits.RecordBytes)", ErrLimit, len(out.Value), l.RecordBytes)
	case made.records > l.Records:
		return fmt.Errorf("%w: it makes more than %d records of all together (Limits.Records)", ErrLimit, l.Records)
	case made.bytes > l.TotalBytes:
		return fmt.Errorf("%w: it makes more than %d bytes of all records together (Limits.TotalBytes)", ErrLimit, l.TotalBytes)
	}
	return m.ctx.Err()
}

// failed adds the record and the step to an error.
func (m *migrating) failed(from int, name string, r Record, err error) error {
	return &RecordError{Collection: name, Key: r.Key, Offset: m.offset, Err: fmt.Errorf("migrate from schema version %d to %d: %w", from, from+1, err)}
}

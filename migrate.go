package backup

import (
	"context"
	"fmt"

	"github.com/tomo-project/backup/internal/fault"
)

// A Migrator is one step of the migration of older data: it takes a record of schema
// version From to version From+1. The host keeps its migrators for ever, so that
// every backup that was ever made can be restored (guide, "Migrating Between
// Versions"). [Migration] makes one of a function.
//
// A Migrator must give the same result for the same record, and remember nothing: a
// restore migrates each record more than once, and the collections in any order.
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

// migrate takes a record of schema version from through all later steps. It returns
// an error of emit as it is. To an error of a migrator it adds the record and the
// step, and takes the secrets out of its text.
func (c *compiled) migrate(ctx context.Context, from int, name string, r Record, offset int64, secrets func() secretTexts, emit func(collection string, r Record) error) error {
	if from == c.SchemaVersion {
		return emit(name, r)
	}
	var later error // of emit, which counts even if the migrator ignores it
	err := c.steps[from-1].Migrate(ctx, name, r, func(name string, r Record) error {
		if later == nil {
			later = c.migrate(ctx, from+1, name, r, offset, secrets, emit)
		}
		return later
	})
	if later != nil || err == nil {
		return later
	}
	texts := secrets()
	if col := c.byName[name]; col != nil { // an earlier step may have made secrets
		texts.add(col.view(r.Key, r.Value), col.secrets)
	}
	err = texts.hide(err)
	return &RecordError{Collection: name, Key: r.Key, Offset: offset, Err: fmt.Errorf("migrate from schema version %d to %d: %w", from, from+1, err)}
}

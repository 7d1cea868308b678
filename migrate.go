package backup

import (
	"context"
	"errors"
	"fmt"
)

// A Migrator is one step of the migration of older data: it takes a record of
// schema version From to From+1. The host keeps its migrators for ever, so that
// every backup that was ever made can be restored (guide, "Migrating Between
// Versions").
//
// Migrate is called for every record of every collection and passes on what
// becomes of it: emit is called once to keep or change or rename the record, not
// at all to drop it, more often to split it, also into other collections. Each
// record that is emitted then goes through the next step. Secrets are open. In
// a List collection the Key of r is what the App's current Key finds in it, if
// anything; the library derives the key again when all steps are done. In a Map
// collection the Key that is emitted is the name of the member.
//
// A Migrator must be deterministic and without memory: a restore runs it more
// than once on the same record, and in any order of collections.
type Migrator interface {
	From() int
	Migrate(ctx context.Context, collection string, r Record, emit func(collection string, r Record) error) error
}

// Migration returns a Migrator from a function.
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

// chain puts the migrators in order and refuses gaps.
func (c *compiled) chain() error {
	if c.SchemaVersion < 1 {
		return nil
	}
	c.steps = make([]Migrator, c.SchemaVersion-1)
	for _, m := range c.Migrators {
		if m == nil {
			return errors.New("a migrator is nil")
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

// migrate takes a record of schema version from through all later steps. Its
// errors are those of emit as they are, and those of a migrator with the record
// and the step at which it failed.
func (c *compiled) migrate(ctx context.Context, from int, name string, r Record, offset int64, emit func(collection string, r Record) error) error {
	if from == c.SchemaVersion {
		return emit(name, r)
	}
	var later error // it stays, also when the migrator goes on
	err := c.steps[from-1].Migrate(ctx, name, r, func(name string, r Record) error {
		if later == nil {
			later = c.migrate(ctx, from+1, name, r, offset, emit)
		}
		return later
	})
	if later != nil || err == nil {
		return later
	}
	return &RecordError{Collection: name, Key: r.Key, Offset: offset, Err: fmt.Errorf("migrate from schema version %d to %d: %w", from, from+1, err)}
}

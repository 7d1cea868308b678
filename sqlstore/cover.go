package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// covered fails if the database has tables that are neither declared nor excluded.
func (s Store) covered(ctx context.Context, tx transaction, tables []*table) error {
	others, err := tx.others(ctx, tables, s.Exclude)
	if err != nil {
		return fmt.Errorf("sqlstore: look for tables: %w", explain(s.Dialect, contextError(ctx, err)))
	}
	if len(others) == 0 {
		return nil
	}
	var named, virtual []string
	for _, name := range others {
		if _, err := tx.find(ctx, name); errors.Is(err, errVirtual) {
			virtual = append(virtual, strconv.Quote(name))
		} else {
			named = append(named, strconv.Quote(name))
		}
	}
	var errs []error
	if len(named) > 0 {
		errs = append(errs, fmt.Errorf("sqlstore: tables that the backup would miss: %s: declare each in Store.Tables with a collection of the App, or name it in Store.Exclude", strings.Join(named, ", ")))
	}
	if len(virtual) > 0 {
		errs = append(errs, fmt.Errorf("sqlstore: tables %s: %w", strings.Join(virtual, ", "), errVirtual))
	}
	return errors.Join(errs...)
}

// errVirtual is the error of find for a virtual table.
var errVirtual = errors.New("virtual tables have no rows of their own: leave them out with Store.Exclude, and build them anew after a restore")

// A found is a table that was found in the database.
type found struct {
	schema, name string
	near         bool // its name alone names it, without the schema
}

// notExcluded returns the names of the tables that exclude does not name, sorted, in the
// form of Table.Name. same tells whether two names are names of one table.
func notExcluded(all []found, exclude []string, same func(a, b string) bool) (names []string) {
	if slices.Contains(exclude, "*") {
		return nil
	}
	for _, f := range all {
		qualified := f.schema + "." + f.name
		if slices.ContainsFunc(exclude, func(e string) bool { return f.near && same(e, f.name) || same(e, qualified) }) {
			continue
		}
		if f.near {
			names = append(names, f.name)
		} else {
			names = append(names, qualified)
		}
	}
	slices.Sort(names)
	return names
}

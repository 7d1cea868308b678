package backup

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
)

// Resolve finds the records that people name: "servers/web-1" is a record of servers, with the
// key web-1 or else with that [Collection].Label. The result has the keys by collection,
// as [RestoreOptions].Records takes them. In a [Snapshot] they are the keys after migration.
//
// A name that is a key means that key, whatever the labels are. The error wraps fs.ErrNotExist
// if there is no such record, and ErrInvalid if several have the label: it lists their keys.
func (a *App) Resolve(ctx context.Context, src DataSource, names []string) (map[string][]string, error) {
	keys, err := a.resolve(ctx, src, names)
	if err != nil {
		return nil, fmt.Errorf("find a record: %w", err)
	}
	return keys, nil
}

func (a *App) resolve(ctx context.Context, src DataSource, names []string) (map[string][]string, error) {
	if err := fault.Missing("the DataSource", src); err != nil {
		return nil, err
	}
	c, err := a.compile()
	if err != nil {
		return nil, err
	}
	r := &resolver{compiled: c, named: make(map[string]map[string]*named)}
	for _, name := range names {
		if err := r.ask(name); err != nil {
			return nil, err
		}
	}
	if len(r.order) == 0 {
		return nil, nil
	}
	if s, ok := src.(*Snapshot); ok {
		err = r.readSnapshot(ctx, s)
	} else {
		err = r.readSource(ctx, src)
	}
	if err != nil {
		return nil, err
	}
	keys, listed := make(map[string][]string), make(map[[2]string]bool)
	for _, n := range r.order {
		key, err := n.key()
		if err != nil {
			return nil, err
		}
		if record := [2]string{n.col.Name, key}; !listed[record] { // its key and its label may both be named
			listed[record] = true
			keys[n.col.Name] = append(keys[n.col.Name], key)
		}
	}
	return keys, nil
}

// A resolver looks for named records.
type resolver struct {
	*compiled
	named map[string]map[string]*named // collection → the name of a record there
	order []*named
}

// named is a record that somebody names.
type named struct {
	col    *collection
	name   string   // a key or a label
	isKey  bool     // a record has it as its key
	keys   []string // of the records with this label: the first
	labels int      // how many records have it
}

// mostNamed is how many records an error lists.
const mostNamed = 20

// ask has the resolver look for a record.
func (r *resolver) ask(text string) error {
	collection, name, _ := strings.Cut(text, "/")
	col := r.byName[collection]
	switch {
	case name == "":
		return fmt.Errorf("%w: %s names no record: want COLLECTION/KEY, such as servers/web-1", ErrInvalid, codec.Quote(fault.Shorten(text)))
	case col == nil:
		return fmt.Errorf("%w: %s: %s has no collection %s, only %s", ErrInvalid, codec.Quote(fault.Shorten(text)), r.Name, codec.Quote(fault.Shorten(collection)), r.names())
	}
	if r.named[collection] == nil {
		r.named[collection] = make(map[string]*named)
	}
	n := r.named[collection][name]
	if n == nil {
		n = &named{col: col, name: name}
		r.named[collection][name] = n
	}
	r.order = append(r.order, n)
	return nil
}

// readSnapshot looks through a snapshot, as far as it can have the records.
func (r *resolver) readSnapshot(ctx context.Context, s *Snapshot) error {
	in, err := r.newIncoming(s, RestoreOptions{AllowNewerApp: true, AllowUnknown: true})
	if err == nil {
		err = in.checkOrigin()
	}
	if err != nil {
		return err
	}
	for name := range r.named {
		in.opts.Only = append(in.opts.Only, name)
	}
	reading := reading{incoming: in, batches: make(map[string]*batch)}
	return reading.readAll(ctx, func(b *batch) error {
		for i := range b.items {
			if key, ok := b.keyOf(i); ok {
				r.look(b.col, key, b.items[i].value)
			}
		}
		return nil
	})
}

// readSource looks through the records of a host.
func (r *resolver) readSource(ctx context.Context, src DataSource) error {
	return src.View(ctx, func(reader Reader) error {
		if err := fault.Missing("the Reader", reader); err != nil {
			return err
		}
		for _, col := range r.collections {
			if r.named[col.Name] == nil {
				continue
			}
			for rec, err := range reader.Records(ctx, col.Name) {
				held := item{key: rec.Key, offset: -1}
				if err == nil {
					held.value, err = codec.Compact(nil, rec.Value, hostLimits)
				}
				if err != nil {
					return fmt.Errorf("read %s: %w", col.Name, err)
				}
				if key, err := col.identity(&held); err == nil { // an invalid record has no name
					r.look(col, key, held.value)
				}
			}
		}
		return ctx.Err()
	})
}

// look looks at a record.
func (r *resolver) look(col *collection, key string, value []byte) {
	names := r.named[col.Name]
	if n := names[key]; n != nil {
		n.isKey = true
	}
	if n := names[col.called(key, value)]; n != nil {
		if n.labels++; len(n.keys) < mostNamed {
			n.keys = append(n.keys, key)
		}
	}
}

// key returns the key of the one record that has the name.
func (n *named) key() (string, error) {
	name := n.col.Name
	switch {
	case n.isKey:
		return n.name, nil
	case n.labels == 1:
		return n.keys[0], nil
	case n.labels == 0 && n.col.Label == "":
		return "", unnamed(fs.ErrNotExist, "%s has no record with the key %s", name, codec.Quote(fault.Shorten(n.name)))
	case n.labels == 0:
		return "", unnamed(fs.ErrNotExist, "%s has no record with the key or the %s %s", name, n.col.Label, codec.Quote(fault.Shorten(n.name)))
	}
	var list []string
	for _, key := range n.keys {
		list = append(list, fmt.Sprintf("%s/%s", name, fault.Shorten(key)))
	}
	if n.labels > len(n.keys) {
		list = append(list, fmt.Sprintf("and %d more", n.labels-len(n.keys)))
	}
	return "", unnamed(ErrInvalid, "%d records of %s have the %s %s; name the one that you mean by its key: %s",
		n.labels, name, n.col.Label, codec.Quote(fault.Shorten(n.name)), strings.Join(list, ", "))
}

// An unnamedError is about a name that is not that of one record. No file is missing, and no
// data is invalid, so its text does not say what its kind does.
type unnamedError struct {
	text string
	kind error
}

func unnamed(kind error, format string, args ...any) error {
	return &unnamedError{fmt.Sprintf(format, args...), kind}
}

func (e *unnamedError) Error() string { return e.text }

func (e *unnamedError) Unwrap() error { return e.kind }

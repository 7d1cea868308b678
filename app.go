package backup

import (
	"errors"
	"fmt"
	"hash/maphash"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
	"github.com/tomo-project/backup/internal/onepass"
	"github.com/tomo-project/backup/internal/validate"
)

// An App declares a host application to the library: what it is, which
// collections it has, and how older data becomes data of today. It is a plain
// value without state, safe for concurrent use as long as it is not changed. The
// zero value is not valid: see [App.Validate].
type App struct {
	// Name identifies the application in snapshots, and the names of its backups
	// begin with it: "tomo". It has at most 64 lower-case letters, digits and
	// dashes, and does not begin with a dash. A snapshot of another application is
	// refused.
	Name string

	// Version is the semantic version of this build, "2.1.0". A snapshot of a
	// newer version is refused, unless [RestoreOptions].AllowNewerApp is set.
	Version string

	// SchemaVersion is the version of the shape of the data, from 1. It goes up
	// by one whenever stored data must be migrated to be read. A snapshot with a
	// higher one is refused.
	SchemaVersion int

	// Collections are backed up and restored in this order, except that a
	// collection comes after those that it refers to.
	Collections []Collection

	// Migrators holds one step for each schema version before SchemaVersion, in
	// any order.
	Migrators []Migrator
}

// A Collection is one category of the host's data.
//
// In a [Map] collection, Schema, Refs and Secrets see each record as an object
// with one member, {Key: Value}. So the schema of settings lists the settings
// under "properties", and the secret "/smtp_password" is the value of that
// setting.
type Collection struct {
	// Name is the member of "data" in a snapshot that holds the collection. It has
	// at most 64 lower-case letters, digits and underscores, and begins with a
	// letter.
	Name string

	// Shape is the JSON shape of the collection in a snapshot. The zero value is
	// List.
	Shape Shape

	// Key is the JSON Pointer of the identity in a record of a List collection,
	// "/id" (FORMAT.md, "Keys of records"). The identity is a non-empty string or
	// an integer. It may have several parts, as in the rows of a table that joins
	// two others: then Key has commas between the pointers, "/user_id,/group_id",
	// and the identity is the JSON array of the parts as strings, ["7","admins"].
	// Key is empty for a Map collection.
	Key string

	// Schema is the JSON Schema (draft 2020-12) of one record at the current
	// schema version. A $schema that names another draft is refused, as are
	// references to other documents. Formats are asserted. Empty means that any object
	// is allowed in a List, and any JSON value in a Map.
	Schema []byte

	// Refs are the references to records of other collections, or of this one.
	Refs []Ref

	// Unique are the fields that no two records share, by which the host knows a record
	// beside its Key: JSON Pointers, with commas between those that are unique together,
	// "/username", "/owner_id,/name". With "fold:" before it, "fold:/email", the letters a to
	// z count as A to Z. A record in which a part is absent or null, or all parts are empty
	// texts, shares with none. The order counts: see [App.Restore]. Only a List has Unique, and
	// no pointer has "*".
	Unique []string

	// Secrets are the JSON Pointers of the fields that are sealed in a snapshot.
	// The token "*" stands for any element or member: "/env/*". A Secret must not
	// contain the Key, a Ref or another Secret.
	Secrets []string

	// Label is the JSON Pointer of what people call a record, "/name", or empty. Its value
	// is shown to people, so that it must not contain a secret.
	Label string

	// Optional leaves the collection out of a backup, unless BackupOptions name
	// it.
	Optional bool

	// Merge says what the Merge strategy makes of a record that exists on both
	// sides and differs. Nil means that objects are merged member by member, and
	// that elsewhere the snapshot wins. Merge must be a pure function, keep the
	// key, and return a record that satisfies Schema. The library prints the text of
	// its error as it prints that of a [Migrator]: let it quote no values.
	Merge func(existing, incoming Record) (Record, error)
}

// Shape is the JSON shape of a collection. The zero value is List.
type Shape string

const (
	List Shape = "list" // an array of objects
	Map  Shape = "map"  // an object, with one record a member
)

// A Ref says that a field of a collection holds the key of a record in another.
type Ref struct {
	// Pointer is the JSON Pointer of the field, "/server_id". The token "*" stands
	// for any element or member. A field that is absent or null refers to nothing,
	// which is allowed. Where the Key of the other collection has several pointers,
	// Pointer has as many, in the same order, with commas between them and without
	// "*".
	Pointer string

	// Collection is the name of the collection referred to.
	Collection string
}

// Validate reports everything that is wrong with the declaration: names, schemas
// that do not compile, pointers, references to collections that are not declared,
// secrets that contain a key, and gaps in the chain of migrators. Call it in a
// test of the host, so that the test finds a mistake and not the day of the
// restore. The methods of App that make or read a snapshot check the same first.
func (a *App) Validate() error {
	_, err := a.compile()
	return err
}

// A compiled is an App whose schemas and pointers are ready for use.
type compiled struct {
	*App
	collections []*collection // in the order of declaration
	byName      map[string]*collection
	order       []*collection // a collection comes after those that it refers to
	steps       []Migrator    // steps[i] migrates from schema version i+1
}

type collection struct {
	Collection
	// These point into the view of a record: see view.
	key     codec.Key
	refs    []ref
	secrets []codec.Pointer
	label   codec.Pointer
	uniques []unique
	seed    maphash.Seed // of the hashes of their values

	keyPlaces []codec.Pointer // of the key of a record, and of those of others in refs
	shares    bool            // two of these keys have a place in common

	schema *validate.Schema // nil: any value is allowed
	pass   *onepass.Pass    // nil: no pass tells that a record is valid
	places []place          // what the pointers of pass are for
}

type ref struct {
	Ref
	key   codec.Key
	place int // the index of the first of its pointers among the places of the collection
}

var (
	validAppName        = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
	validCollectionName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
)

func (a *App) compile() (*compiled, error) {
	if err := fault.Missing("the App", a); err != nil {
		return nil, err
	}
	c := &compiled{App: a, byName: make(map[string]*collection)}
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if !validAppName.MatchString(a.Name) {
		fail("Name %q: want lower-case letters, digits and dashes", a.Name)
	}
	if !semver.IsValid("v" + a.Version) {
		fail("Version %q: want a semantic version such as 2.1.0", a.Version)
	}
	if a.SchemaVersion < 1 {
		fail("SchemaVersion %d: want 1 or more", a.SchemaVersion)
	}
	if len(a.Collections) > codec.MaxCollections {
		fail("%d collections: the most is %d", len(a.Collections), codec.MaxCollections)
	}
	for _, declared := range a.Collections {
		col, err := declared.compile()
		if err != nil {
			fail("collection %q: %w", declared.Name, err)
		}
		if c.byName[col.Name] != nil {
			fail("collection %q is declared twice", col.Name)
		}
		c.collections = append(c.collections, col)
		c.byName[col.Name] = col
	}
	for _, col := range c.collections {
		for _, r := range col.Refs {
			switch target := c.byName[r.Collection]; {
			case target == nil:
				fail("collection %q: Ref %s to %q, which is not declared", col.Name, r.Pointer, r.Collection)
			case strings.Count(r.Pointer, ",") != strings.Count(target.Key, ","):
				fail("collection %q: Ref %s to %q: want as many pointers as its Key %s has", col.Name, r.Pointer, r.Collection, target.Key)
			}
		}
	}
	if err := c.orderMigrators(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("app %q: %w", a.Name, errors.Join(errs...))
	}
	c.orderCollections()
	return c, nil
}

func (d Collection) compile() (*collection, error) {
	col := &collection{Collection: d, seed: maphash.MakeSeed()}
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	pointer := func(field, s string) codec.Pointer {
		p, err := codec.ParsePointer(s)
		if err != nil {
			fail("%s: %w", field, err)
		} else if len(p) == 0 {
			fail("%s is empty: want a JSON Pointer such as /id", field)
		}
		return p
	}
	key := func(field, s string) codec.Key {
		k, err := codec.ParseKey(s)
		if err != nil {
			fail("%s: %w", field, err)
		} else if len(k) == 0 {
			fail("%s is empty: want a JSON Pointer such as /id", field)
		}
		return k
	}

	if !validCollectionName.MatchString(d.Name) {
		fail("want a name of lower-case letters, digits and underscores")
	}
	switch d.Shape {
	case List, "":
		col.key = key("Key", d.Key)
		if col.keyPlaces = slices.Clone(col.key); col.key.HasAny() {
			fail("Key %s has a wildcard", d.Key)
		}
	case Map:
		if d.Key != "" {
			fail("Key %s: a record of a Map is identified by its member name", d.Key)
		}
	default:
		fail("Shape %q is neither List nor Map", d.Shape)
	}
	for _, r := range d.Refs {
		k := key("Ref", r.Pointer)
		if len(k) > 1 && k.HasAny() {
			fail("Ref %s has a wildcard and more than one pointer: use one or the other", r.Pointer)
		}
		col.shares = col.shares || slices.ContainsFunc(k, func(p codec.Pointer) bool { return slices.ContainsFunc(col.keyPlaces, p.Overlaps) })
		col.refs = append(col.refs, ref{Ref: r, key: k})
		col.keyPlaces = append(col.keyPlaces, k...)
	}
	if n := len(d.Secrets) + max(0, len(col.key)-1); n > maxPointers {
		fail("%d pointers for its key and Secrets, the most is %d", n, maxPointers)
		return col, errors.Join(errs...)
	}
	for _, s := range d.Secrets {
		secret := pointer("Secret", s)
		if d.Shape != Map && col.key.Overlaps(secret) {
			fail("Secret %s contains the Key %s", s, d.Key)
		}
		for i, r := range col.refs {
			if r.key.Overlaps(secret) {
				fail("Secret %s contains the Ref %s", s, d.Refs[i].Pointer)
			}
		}
		for i, other := range col.secrets {
			if secret.Overlaps(other) {
				fail("Secrets %s and %s overlap", d.Secrets[i], s)
			}
		}
		col.secrets = append(col.secrets, secret)
	}
	col.compileUniques(fail)
	col.compileLabel(fail)
	if len(d.Schema) > 0 {
		var err error
		if col.schema, err = validate.Compile(d.Name, d.Schema); err != nil {
			errs = append(errs, err)
		}
	}
	col.setPass()
	return col, errors.Join(errs...)
}

// orderCollections derives the order of backup and restore from the references.
// Where these form a circle, the order of declaration decides.
func (c *compiled) orderCollections() {
	done := make(map[string]bool)
	var visit func(col *collection)
	visit = func(col *collection) {
		if done[col.Name] {
			return
		}
		done[col.Name] = true
		for _, r := range col.refs {
			visit(c.byName[r.Collection])
		}
		c.order = append(c.order, col)
	}
	for _, col := range c.collections {
		visit(col)
	}
}

// names returns the names of the collections for an error.
func (c *compiled) names() string {
	var names []string
	for _, col := range c.collections {
		names = append(names, col.Name)
	}
	return strings.Join(names, ", ")
}

// view returns what Schema, Refs and Secrets see of a record: in a Map, an object
// with one member.
func (col *collection) view(key string, value []byte) []byte {
	if col.Shape != Map {
		return value
	}
	return viewMember(key, value)
}

func viewMember(key string, value []byte) []byte { return appendMember(nil, key, value) }

// appendMember appends an object with one member.
func appendMember(dst []byte, key string, value []byte) []byte {
	dst = codec.AppendQuote(append(dst, '{'), key)
	dst = append(append(dst, ':'), value...)
	return append(dst, '}')
}

// unview is the inverse of view: it returns the value of the record.
func (col *collection) unview(key string, view []byte) []byte {
	if col.Shape != Map {
		return view
	}
	return unviewMember(key, view)
}

func unviewMember(key string, view []byte) []byte {
	return view[len(codec.Quote(key))+2 : len(view)-1]
}

// inside turns a pointer into the view of a record into one into its value.
func (col *collection) inside(key, pointer string) string {
	if col.Shape != Map {
		return pointer
	}
	return insideMember(key, pointer)
}

func insideMember(key, pointer string) string {
	return strings.TrimPrefix(pointer, "/"+codec.Escape(key))
}

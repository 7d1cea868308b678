package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
)

// Describe reads the tables of a database and returns a declaration of them: the
// store, and the collections for a [backup.App]. The host then reviews and changes it:
//
//	store, collections, err := sqlstore.Store{
//		DB:      db,
//		Dialect: sqlstore.SQLite,
//		Exclude: []string{"sessions"},
//	}.Describe(ctx)
//	app := &backup.App{Name: "notes", Version: "1.0.0", SchemaVersion: 1, Collections: collections}
//
// It describes all tables of the database except those in Exclude, and sets CoverAll in
// the store that it returns. The documentation of CoverAll says which tables these are.
// Exclude what must not go back in time, such as sessions. Tables come first and keep
// their declarations. To describe no others, exclude "*".
//
// Describe leaves out the tables in which known migration tools note the version of the
// schema: goose_db_version, schema_migrations and others. A restore would take the
// version back, and not the schema. Describe adds those that it finds to Exclude of the
// store that it returns. To back up such a table, name it in Tables.
//
// The name of a collection is the name of its table in lower-case letters, digits and
// underscores. Two tables that get the same name are an error. A collection has
//
//   - the Key: the Key of the Table, or the primary key. A table without either gets
//     columns that are UNIQUE and NOT NULL, which the returned Table then names.
//   - Refs: the foreign keys to the key of a table that is described too. A reference
//     that is equal to the key only by a collation ("A" to "a") dangles in a backup. In
//     PostgreSQL, keys that are NOT VALID, NOT ENFORCED or of periods are no Refs.
//   - Secrets: columns with the name of a secret (password, api_key, webhook_url…). In a
//     Map, whose names are data, they are all values. This is a guess: take out what is not
//     secret, and add secrets that are in JSON or have another name. A key with the name of
//     a secret, such as the text that identifies a session, is an error, since keys are in
//     clear.
//   - Unique: unique constraints and indexes beside the key, also of several columns. Where
//     letters of either case are the same, it begins with "fold:". Columns of text come
//     first, then one column before several, then the order of the table. Secrets come last.
//     Constraints of which it is not certain that no two rows share the values are left
//     out: partial indexes, for example, unless they say no more than IS NOT NULL. So are
//     numbers that the database gives, and those that put rows in an order (position,
//     rank…). A restore takes records that share a Unique for the same thing: take out what
//     does not say that.
//   - a Label: the column name, title, label, username or email, if it is text and no secret.
//     This is a guess.
//   - a Schema. It allows what the database can hold and the store can read, and no
//     member without a column. Add what the application knows: patterns, ranges, and
//     what is in JSON. In SQLite, the Schema says little about tables that are not
//     STRICT, since their columns hold values of any type.
//
// A host may keep the declaration in its code. After a column is added, its backups then
// fail until the Schema has the column too. A host that calls Describe at each start
// does not have that. Both must raise SchemaVersion if older backups need a migration.
//
// Tables and columns that a store cannot back up, such as tables without a key, are an
// error that names them all. In SQLite, where declared types do not bind, Describe looks at
// the types of all values for that. In PostgreSQL, it looks for numbers that are infinite or
// not a number. Kinds and Schemas depend on no row. In MariaDB, it takes VARBINARY and BLOB
// for [Text], since applications keep text in them.
func (s Store) Describe(ctx context.Context) (Store, []backup.Collection, error) {
	s.CoverAll = true
	d := description{Store: s}
	// Without tables, run only begins the transaction.
	err := Store{DB: s.DB, Dialect: s.Dialect}.run(ctx, false, func(v *view) error { return d.read(ctx, v.tx) })
	if err != nil {
		return Store{}, nil, err
	}
	d.Store.Tables = d.declared
	return d.Store, d.collections, nil
}

// A description is what is known about a database so far.
type description struct {
	Store
	declared    []Table
	tables      []*table
	collections []backup.Collection
	errs        []error
}

// read looks up all tables and makes collections of them.
func (d *description) read(ctx context.Context, tx transaction) error {
	exclude := slices.Clone(d.Exclude)
	for _, t := range d.Tables {
		if t.Collection == "" {
			t.Collection = collectionName(t.Name)
		}
		if err := d.add(ctx, tx, t); err != nil {
			d.errs = append(d.errs, err)
			exclude = append(exclude, tableName(t))
		}
	}
	others, err := tx.others(ctx, d.tables, exclude)
	if err != nil {
		d.errs = append(d.errs, fmt.Errorf("sqlstore: look for tables: %w", explain(d.Dialect, contextError(ctx, err))))
	}
	d.Exclude = slices.Clone(d.Exclude)
	for _, name := range others {
		if isOfMigrations(name) {
			d.Exclude = append(d.Exclude, name)
			continue
		}
		t := Table{Collection: collectionName(name), Name: name}
		if t.Collection == name {
			t.Name = ""
		}
		if err := d.add(ctx, tx, t); err != nil {
			if !errors.Is(err, errVirtual) && !errors.Is(err, errNoKey) {
				err = fmt.Errorf("%w; say more about it in Store.Tables, or leave it out with Store.Exclude", err)
			}
			d.errs = append(d.errs, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(d.errs) > 0 {
		return errors.Join(d.errs...)
	}
	return d.compose(ctx, tx)
}

// add looks up a table and adds it to the description.
func (d *description) add(ctx context.Context, tx transaction, declared Table) error {
	if i := slices.IndexFunc(d.declared, func(t Table) bool { return t.Collection == declared.Collection }); i >= 0 {
		return fmt.Errorf("sqlstore: tables %q and %q would both be the collection %q: name one of them otherwise in Table.Collection",
			tableName(d.declared[i]), tableName(declared), declared.Collection)
	}
	t, err := d.Store.describe(ctx, tx, declared)
	if errors.Is(err, errNoPrimary) {
		t, declared, err = d.keyed(ctx, tx, declared)
	}
	if err != nil {
		return err
	}
	if err := look(ctx, tx, t); err != nil {
		d.errs = append(d.errs, explain(d.Dialect, contextError(ctx, err)))
	}
	declared.Columns = t.found(declared.Columns)
	for _, c := range t.keyColumns() {
		if t.value < 0 && !c.isPointer() {
			return fmt.Errorf("sqlstore: collection %q in table %q: no Key can name the column %q: give it another Field in Table.Columns", t.collection, t.plain, c.Name)
		}
	}
	d.declared = append(d.declared, declared)
	d.tables = append(d.tables, t)
	return nil
}

// collectionName makes the name of a collection from the name of a table.
func collectionName(table string) string {
	name := strings.TrimLeft(strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, table), "_")
	switch {
	case name == "":
		name = "table"
	case name[0] <= '9':
		name = "table_" + name
	}
	return name[:min(len(name), 64)]
}

// compose makes the collections of the tables.
func (d *description) compose(ctx context.Context, tx transaction) error {
	all, err := tx.references(ctx, d.tables)
	if err != nil {
		return fmt.Errorf("sqlstore: look for foreign keys: %w", explain(d.Dialect, contextError(ctx, err)))
	}
	d.referToBytes(all)
	for _, t := range d.tables {
		c := backup.Collection{Name: t.collection, Schema: t.schema(d.Dialect)}
		if t.value < 0 {
			c.Key = t.pointer(t.keyColumns()...)
		} else {
			c.Shape = backup.Map
		}
		if err := t.keyIsSecret(t.keyColumns()); err != nil && !d.keyGiven(t) {
			d.errs = append(d.errs, err)
		}
		var refer []*column
		c.Refs, refer = t.refs(all)
		c.Secrets = t.secrets(slices.Concat(refer, t.keyColumns()))
		if c.Unique, err = t.uniques(ctx, tx, c.Secrets); err != nil {
			return fmt.Errorf("sqlstore: look for the unique indexes of table %q: %w", t.plain, explain(d.Dialect, contextError(ctx, err)))
		}
		c.Label = t.label(c.Secrets, refer)
		d.collections = append(d.collections, c)
	}
	return errors.Join(d.errs...)
}

// pointer returns the JSON Pointers of columns, separated by commas.
func (t *table) pointer(columns ...*column) string {
	if t.value >= 0 {
		return "/*" // the value of a Map, whatever its key is
	}
	var pointers []string
	for _, c := range columns {
		pointers = append(pointers, c.pointer())
	}
	return strings.Join(pointers, ",")
}

// isPointer tells whether a Key or a Ref can name the member of a column. In them, a
// comma ends a pointer, and a star stands for any member.
func (c *column) isPointer() bool { return c.Field != "*" && !strings.Contains(c.Field, ",") }

// refs returns the references of a table in the order of its columns, and the columns
// that hold them.
func (t *table) refs(all []*reference) (refs []backup.Ref, in []*column) {
	at := map[backup.Ref]int{}
	for _, foreign := range all {
		if foreign.table != t || foreign.parent == nil || foreign.inexact {
			continue
		}
		columns := foreign.toKey()
		if columns == nil {
			continue
		}
		r := backup.Ref{Pointer: t.pointer(columns...), Collection: foreign.parent.collection}
		if _, twice := at[r]; !twice {
			at[r] = slices.Index(t.columns, columns[0])
			refs, in = append(refs, r), append(in, columns...)
		}
	}
	slices.SortStableFunc(refs, func(a, b backup.Ref) int { return at[a] - at[b] })
	return refs, in
}

// toKey returns the columns that hold the key of a record of the parent, in the order
// of that key. It returns nil if the reference is to other columns than the key.
func (r *reference) toKey() (columns []*column) {
	key := r.parent.keyColumns()
	if len(key) != len(r.columns) || len(key) > 1 && r.parent.value >= 0 {
		return nil
	}
	for _, k := range key {
		i := slices.IndexFunc(r.parentColumns, func(name string) bool { return strings.EqualFold(name, k.Name) })
		if i < 0 {
			return nil
		}
		at := findColumn(r.table.columns, r.columns[i])
		if at < 0 || r.table.value >= 0 && at != r.table.value {
			return nil
		}
		// A key is text or an integer. A number with a point, a boolean and base64 are
		// not keys.
		c := r.table.columns[at]
		if c.Kind != Auto && c.Kind != Text && c.Kind != Integer && c.Kind != Hex || (c.Kind == Hex) != (k.Kind == Hex) || c.textBytes || !c.key && c.lite.held.blob && c.Kind != Hex || r.table.value < 0 && !c.isPointer() {
			return nil
		}
		columns = append(columns, c)
	}
	return columns
}

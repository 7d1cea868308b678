package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func (postgres) setAside(t *table, c *column, value string) string {
	return "UPDATE " + t.name + " SET " + c.quoted + " = " + value
}

// randomLetters may be what a CHECK expects of a name.
const randomLetters = "translate(md5(random()::text), '0123456789', 'ghijklmnop')"

// checkValues finds texts and integers in a CHECK constraint.
var checkValues = regexp.MustCompile(`'((?:[^']|'')*)'|\b[0-9]+\b`)

// standIns ends with the values that CHECK constraints name: they may allow no others. A
// reference that can be NULL must not lead to a row that waits to be deleted.
func (postgres) standIns(t *table, c *column) (values []string) {
	as := func(expressions ...string) {
		for _, e := range expressions {
			values = append(values, "("+e+")::"+c.declared)
		}
	}
	if c.nullable && !c.pg.followed {
		values = []string{"NULL"}
	}
	pg := &c.pg
	switch {
	case slices.Contains(t.loose, c):
		return values
	case pg.base == "bool":
		as("false", "true")
	case pg.family == integers, pg.family == decimals, pg.family == floats:
		as("(random() * 2000000000)::int8", "(random() * -2000000000)::int8", "(random() * 30000)::int8",
			"SELECT max("+c.quoted+") + 1 FROM "+t.name, "SELECT min("+c.quoted+") - 1 FROM "+t.name, "0", "1")
	case len(pg.labels) > 0:
		for _, label := range pg.labels {
			as(literal(label))
		}
	case pg.base == "bytea":
		as("decode(md5(random()::text), 'hex')")
	case pg.family == texts:
		as(randomLetters, randomLetters+" || "+c.quoted)
	case pg.family == moments, pg.base == "date":
		as("timestamp '2000-01-01' + random() * interval '5000 years'")
	default:
		// An empty range overlaps no other. What the type does not take is refused.
		as(randomLetters, "md5(random()::text)", "'empty'", "to_jsonb(random()::text)", "random() * interval '5000 years'",
			"inet '10.0.0.0' + (random() * 3000000000)::int8", "'{' || (random() * 2000000000)::int8 || '}'")
	}
	as(checkValues.FindAllString(pg.checks, 32)...)
	return values
}

// uniqueColumns leaves out a column that the foreign key of another table follows, if that
// would lose its reference. It looks for exclusion constraints too, and for the indexes of
// partitions.
func (tx *postgresTx) uniqueColumns(ctx context.Context, t *table) (columns []*column, err error) {
	err = tx.each(ctx, `WITH indexes AS (SELECT indexrelid, indkey FROM pg_index WHERE indrelid = $1::text::oid AND (indisunique OR indisexclusion)),
			direct AS (SELECT unnest(indkey::int2[]) AS attnum FROM indexes
				UNION SELECT refobjsubid FROM pg_depend, indexes WHERE classid = 'pg_class'::regclass AND objid = indexrelid AND refclassid = 'pg_class'::regclass AND refobjid = $1::text::oid AND refobjsubid > 0),
			partial AS (SELECT a.attnum FROM pg_partition_tree($1::text::oid::regclass) JOIN pg_index ON indrelid = relid AND (indisunique OR indisexclusion)
				JOIN pg_attribute p ON p.attrelid = relid AND p.attnum = ANY (indkey::int2[]) JOIN pg_attribute a ON a.attrelid = $1::text::oid AND a.attname = p.attname),
			found AS (SELECT attnum FROM direct UNION SELECT attnum FROM partial
				UNION SELECT d.refobjsubid FROM direct JOIN pg_attribute a ON a.attrelid = $1::text::oid AND a.attnum = direct.attnum AND a.attgenerated <> ''
					LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
					JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid > 0
						AND (d.classid = 'pg_class'::regclass AND d.objid = a.attrelid AND d.objsubid = a.attnum OR d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid))
		SELECT attnum::int8, (SELECT max(confupdtype::text) FROM pg_constraint JOIN pg_attribute a ON a.attrelid = confrelid AND a.attnum = ANY (confkey)
				WHERE contype = 'f' AND (confrelid = $1::text::oid OR pg_partition_root(confrelid) = $1::text::oid) AND confupdtype IN ('c', 'n', 'd')
					AND a.attname = (SELECT attname FROM pg_attribute WHERE attrelid = $1::text::oid AND attnum = found.attnum)),
			coalesce((SELECT string_agg(pg_get_constraintdef(c.oid), ' ') FROM pg_constraint c, pg_attribute a WHERE a.attrelid = $1::text::oid AND a.attnum = found.attnum
				AND c.contype = 'c' AND (c.conrelid = a.attrelid AND a.attnum = ANY (c.conkey) OR c.contypid = a.atttypid)), '')
		FROM found ORDER BY attnum`,
		[]any{t.pg.oidText()}, func(rows *sql.Rows) error {
			var number int
			var action sql.NullString
			var checks string
			if err := rows.Scan(&number, &action, &checks); err != nil {
				return err
			}
			i := slices.IndexFunc(t.columns, func(c *column) bool { return c.pg.attnum == number && !c.key })
			if i >= 0 && (!action.Valid || action.String == "c") {
				t.columns[i].pg.followed, t.columns[i].pg.checks = action.Valid, checks
				columns = append(columns, t.columns[i])
			}
			return nil
		})
	return columns, err
}

func (tx *postgresTx) checks(context.Context, *table, bool) error { return nil }

// replaceable: a foreign key whose action is NO ACTION is checked at the end of a statement
// or, if it is deferred, of the transaction.
func (tx *postgresTx) replaceable(ctx context.Context, t *table) (way replacement, err error) {
	var ok, deferred bool
	err = tx.conn.QueryRowContext(ctx, `WITH parts AS (SELECT $1::text::oid AS oid UNION SELECT relid FROM pg_partition_tree($1::text::oid::regclass))
		SELECT NOT EXISTS (SELECT FROM pg_trigger JOIN parts ON tgrelid = parts.oid WHERE NOT tgisinternal AND tgtype & 12 <> 0)
				AND NOT EXISTS (SELECT FROM pg_rewrite WHERE ev_class = $1::text::oid AND ev_type IN ('3', '4'))
				AND NOT EXISTS (SELECT FROM pg_constraint JOIN parts ON confrelid = parts.oid WHERE contype = 'f' AND confdeltype <> 'a'),
			NOT EXISTS (SELECT FROM pg_constraint JOIN parts ON confrelid = parts.oid WHERE contype = 'f' AND NOT condeferrable)`, t.pg.oidText()).Scan(&ok, &deferred)
	switch {
	case !ok:
		return notReplaceable, err
	case !deferred:
		return atOnce, err
	}
	return inTwoSteps, err
}

// replace deletes rows and inserts them in one statement. The INSERT reads what the DELETE
// returns, so it comes after it.
func (d postgres) replace(t *table, set []*column, rows int) string {
	var same, written []string
	for _, c := range t.keyColumns() {
		same = append(same, t.name+"."+c.quoted+" = "+c.pg.write)
	}
	for _, c := range set {
		written = append(written, c.pg.write)
	}
	return "WITH given AS (SELECT * FROM " + d.values(t, set, rows) + "), gone AS (DELETE FROM " + t.name + " USING given AS v WHERE " + strings.Join(same, " AND ") + " RETURNING 1)" +
		" INSERT INTO " + t.name + " (" + quotedNames(set) + ") OVERRIDING SYSTEM VALUE SELECT " + strings.Join(written, ",") + " FROM given AS v WHERE (SELECT count(*) FROM gone) >= 0"
}

// A postgresUnique is a unique index or an exclusion constraint.
type postgresUnique struct {
	name      string
	exclusion bool
	where     string
	nullIsOne bool // two NULL are the same
	parts     []struct {
		Expression, Operator, Name, Collation string
	}
}

func (tx *postgresTx) uniques(ctx context.Context, t *table, deferrable bool) (uniques []*postgresUnique, err error) {
	// An exclusion constraint names its operators, and the class of a unique index has its.
	err = tx.each(ctx, `SELECT c.relname::text, i.indisexclusion, coalesce(pg_get_expr(i.indpred, i.indrelid), ''), coalesce((to_jsonb(i)->>'indnullsnotdistinct')::bool, false),
			(SELECT json_agg(json_build_object('expression', pg_get_indexdef(i.indexrelid, n, true), 'operator', 'OPERATOR('||quote_ident(os.nspname)||'.'||o.oprname||')', 'name', o.oprname,
					'collation', coalesce(' COLLATE '||quote_ident(ls.nspname)||'.'||quote_ident(l.collname), '')) ORDER BY n)
				FROM generate_series(1, i.indnkeyatts::int) n JOIN pg_opclass oc ON oc.oid = i.indclass[n - 1]
				JOIN pg_operator o ON o.oid = coalesce(x.conexclop[n], (SELECT amopopr FROM pg_amop WHERE amopfamily = oc.opcfamily AND amoplefttype = oc.opcintype AND amoprighttype = oc.opcintype AND amopstrategy = 3))
				JOIN pg_namespace os ON os.oid = o.oprnamespace LEFT JOIN pg_collation l ON l.oid = i.indcollation[n - 1] LEFT JOIN pg_namespace ls ON ls.oid = l.collnamespace)::text
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid LEFT JOIN pg_constraint x ON x.conindid = i.indexrelid AND x.conrelid = i.indrelid AND x.contype IN ('p', 'u', 'x')
		WHERE i.indrelid = $1::text::oid AND (i.indisunique OR i.indisexclusion) AND NOT (i.indimmediate AND $2) ORDER BY c.relname`, []any{t.pg.oidText(), deferrable}, func(rows *sql.Rows) error {
		u := &postgresUnique{}
		var parts []byte
		if err := rows.Scan(&u.name, &u.exclusion, &u.where, &u.nullIsOne, &parts); err != nil {
			return err
		}
		uniques = append(uniques, u)
		return json.Unmarshal(parts, &u.parts)
	})
	return uniques, err
}

// words names the index or constraint.
func (u *postgresUnique) words() string {
	var parts []string
	for _, part := range u.parts {
		if u.exclusion {
			part.Expression += " WITH " + part.Name
		}
		parts = append(parts, part.Expression)
	}
	if u.exclusion {
		return fmt.Sprintf("exclusion constraint %s (%s)", u.name, strings.Join(parts, ", "))
	}
	return uniqueWords(u.name, strings.Join(parts, ", "))
}

// side returns a FROM item with the values that must be unique, and more columns.
func (u *postgresUnique) side(name, from, more string) string {
	var list []string
	for i, part := range u.parts {
		list = append(list, part.Expression+" AS x"+strconv.Itoa(i))
	}
	item := "(SELECT " + strings.Join(list, ", ") + more + " FROM " + from
	if u.where != "" {
		item += " WHERE " + u.where
	}
	return item + ") AS " + name
}

// clash returns the condition that a and b cannot be beside each other.
func (u *postgresUnique) clash() string {
	var all []string
	for i, part := range u.parts {
		a, b := "a.x"+strconv.Itoa(i), "b.x"+strconv.Itoa(i)
		same := a + part.Collation + " " + part.Operator + " " + b
		if u.nullIsOne {
			same = "(" + same + " OR " + a + " IS NULL AND " + b + " IS NULL)"
		}
		all = append(all, same)
	}
	return strings.Join(all, " AND ")
}

// clash compares what would be written with the rows that are there.
func (tx *postgresTx) clash(ctx context.Context, c *clash) error {
	_, err := tx.attempt(ctx, func() error {
		uniques, err := tx.uniques(ctx, c.t, false)
		if err != nil {
			return err
		}
		written, err := tx.written(ctx, c)
		if err != nil {
			return err
		}
		for _, u := range uniques {
			query := "SELECT " + keyOf("a", c.t) + " FROM " + u.side("a", c.t.name, keyAliases(c.t)) + " JOIN " + u.side("b", written, "") + " ON " + u.clash() + " LIMIT 2"
			err := tx.each(ctx, query, c.args, func(rows *sql.Rows) error {
				row := newKey(c.t)
				if err := rows.Scan(row.dest...); err != nil {
					return err
				}
				key, err := row.key(PostgreSQL)
				if err == nil && key != c.key && c.with == "" {
					c.with, c.constraint = key, u.words()
				}
				return err
			})
			if err != nil || c.with != "" {
				return err
			}
		}
		return nil
	})
	return err
}

// keyAliases returns the columns of the key as k0, k1…, and keyOf names these.
func keyAliases(t *table) (list string) {
	for part, c := range t.keyColumns() {
		list += ", " + c.read + " AS k" + strconv.Itoa(part)
	}
	return list
}

func keyOf(item string, t *table) string {
	var names []string
	for part := range t.keys {
		names = append(names, item+".k"+strconv.Itoa(part))
	}
	return strings.Join(names, ", ")
}

// written returns a FROM item with all columns of the row that would be written.
func (tx *postgresTx) written(ctx context.Context, c *clash) (string, error) {
	var is, list, generated []string
	for _, key := range c.t.keyColumns() {
		is = append(is, "o."+key.quoted+" = "+key.pg.write)
	}
	err := tx.each(ctx, `SELECT a.attnum::int8, quote_ident(a.attname), CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) ELSE '' END
		FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE a.attrelid = $1::text::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`, []any{c.t.pg.oidText()}, func(rows *sql.Rows) error {
		var number int
		var name, expression string
		if err := rows.Scan(&number, &name, &expression); err != nil {
			return err
		}
		i := slices.IndexFunc(c.t.columns, func(c *column) bool { return c.pg.attnum == number })
		switch {
		case expression != "":
			generated = append(generated, ", "+expression+" AS "+name)
		case i < 0:
			list = append(list, "(SELECT o."+name+" FROM "+c.t.name+" AS o WHERE "+strings.Join(is, " AND ")+") AS "+name)
		case slices.Contains(c.set, c.t.columns[i]):
			list = append(list, c.t.columns[i].pg.write+" AS "+name)
		default:
			list = append(list, "(SELECT ("+initialValue(c.t.columns[i])+")::"+c.t.columns[i].declared+") AS "+name)
		}
		return nil
	})
	row := "(SELECT " + strings.Join(list, ", ") + " FROM " + postgres{}.values(c.t, c.set, 1) + ") AS r"
	return "(SELECT r.*" + strings.Join(generated, "") + " FROM " + row + ") AS w", err
}

// initialValue returns the expression of the default of a column.
func initialValue(c *column) string {
	if c.def == "" || c.def == defaultWord(c) {
		return "NULL"
	}
	return c.def
}

// clashing returns the errors for the rows that deferred constraints refuse with err.
func (tx *postgresTx) clashing(ctx context.Context, err error) error {
	var errs []error
	for _, t := range tx.tables {
		if !t.written {
			continue
		}
		uniques, e := tx.uniques(ctx, t, true)
		if e != nil {
			return err
		}
		for _, u := range uniques {
			found, e := tx.deferredClashes(ctx, t, u)
			if e != nil {
				return err
			}
			errs = append(errs, found...)
		}
	}
	if len(errs) == 0 {
		return err
	}
	if len(errs) > mostRefused {
		errs = append(errs[:mostRefused], errors.New("and more records"))
	}
	return errors.Join(errs...)
}

// deferredClashes finds pairs of rows in a table. The record that is refused is one that
// this transaction has written.
func (tx *postgresTx) deferredClashes(ctx context.Context, t *table, u *postgresUnique) (errs []error, err error) {
	// The rows of this transaction are as young as it is, since others cannot write.
	const ours = "age(xmin) <= age((txid_current() % 4294967296)::text::xid)"
	more := keyAliases(t) + ", " + ours + " AS ours"
	query := "SELECT " + keyOf("a", t) + ", " + keyOf("b", t) + ", a.ours FROM " + u.side("a", t.name, more) + " JOIN " + u.side("b", t.name, more) +
		" ON " + u.clash() + " AND (" + keyOf("a", t) + ") > (" + keyOf("b", t) + ") AND (a.ours OR b.ours) ORDER BY 1 LIMIT " + strconv.Itoa(mostRefused+1)
	err = tx.each(ctx, query, nil, func(rows *sql.Rows) error {
		a, b := newKey(t), newKey(t)
		var first bool
		if err := rows.Scan(slices.Concat(a.dest, b.dest, []any{&first})...); err != nil {
			return err
		}
		if !first {
			a, b = b, a
		}
		key, errA := a.key(PostgreSQL)
		with, errB := b.key(PostgreSQL)
		c := &clash{t: t, key: key, with: with, constraint: u.words()}
		errs = append(errs, c.error(false, nil))
		return errors.Join(errA, errB)
	})
	return errs, err
}

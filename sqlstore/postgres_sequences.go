package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"math/big"
	"regexp"
)

// finish sets sequences.
func (tx *postgresTx) finish(ctx context.Context) error {
	for _, t := range tx.tables {
		if t.written {
			if err := tx.sequences(ctx, t); err != nil {
				return fmt.Errorf("table %q: set a sequence: %w", t.plain, err)
			}
		}
	}
	return nil
}

// A postgresSequence gives numbers to a column.
type postgresSequence struct {
	name           string // quoted, with its schema
	attnum         int
	down           bool // it counts down
	min, max, step string
}

// sequences sets the sequences of the columns of a table to continue after the values in
// it. A rollback does not undo that, so it only ever sets them forward.
func (tx *postgresTx) sequences(ctx context.Context, t *table) error {
	found, err := tx.findSequences(ctx, t)
	if err != nil {
		return err
	}
	for _, s := range found {
		for _, c := range t.columns {
			if number := c.sequenceNumber(s.down); c.pg.attnum == s.attnum && number != "" {
				if err := tx.exec(ctx, s.set(t.name, number)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// findSequences returns the sequences that belong to a column, that its default or the
// default of its domain uses, or that are named after it. An application that calls a
// sequence itself mostly gives it such a name, but a guess needs no privilege.
func (tx *postgresTx) findSequences(ctx context.Context, t *table) (found []postgresSequence, err error) {
	err = tx.each(ctx, `WITH feeds(sequence, attnum) AS (
			SELECT objid, refobjsubid::int2 FROM pg_depend WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND refobjid = $1::text::oid AND deptype IN ('a', 'i')
			UNION SELECT d.refobjid, f.adnum FROM pg_attrdef f JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
				WHERE f.adrelid = $1::text::oid
			UNION SELECT d.refobjid, a.attnum FROM pg_attribute a JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = a.atttypid AND d.refclassid = 'pg_class'::regclass
				WHERE a.attrelid = $1::text::oid
			UNION SELECT s.oid, a.attnum FROM pg_class t JOIN pg_attribute a ON a.attrelid = t.oid JOIN pg_class s ON s.relkind = 'S' AND s.relnamespace = t.relnamespace
				WHERE t.oid = $1::text::oid AND a.attnum > 0 AND (s.relname = t.relname||'_'||a.attname||'_seq'
						OR s.relname = t.relname||'_seq' AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indisprimary AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum))
					AND CASE WHEN s.relkind = 'S' THEN has_sequence_privilege(s.oid, 'SELECT') AND has_sequence_privilege(s.oid, 'UPDATE') END
					AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype IN ('a', 'i')
						OR d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = s.oid))
		SELECT DISTINCT quote_ident(n.nspname)||'.'||quote_ident(s.relname), f.attnum::int8, q.seqincrement < 0, q.seqmin::text, q.seqmax::text, q.seqincrement::text
		FROM feeds f JOIN pg_class s ON s.oid = f.sequence AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace JOIN pg_sequence q ON q.seqrelid = s.oid ORDER BY 1`,
		[]any{t.pg.oidText()}, func(rows *sql.Rows) error {
			var s postgresSequence
			err := rows.Scan(&s.name, &s.attnum, &s.down, &s.min, &s.max, &s.step)
			found = append(found, s)
			return err
		})
	return found, err
}

// sequenceNumber returns the expression of the number that a sequence may have given to
// the column. In text that is all of it, or the end of it if there is no digit before. It
// returns nothing if the column holds no numbers of sequences.
func (c *column) sequenceNumber(down bool) string {
	switch c.pg.family {
	case integers, decimals:
		return c.quoted
	case texts:
		sign := ""
		if down {
			sign = "-?"
		}
		return "substring(" + c.quoted + "::text FROM '^[^0-9]*?(" + sign + "[0-9]{1,18})$')::int8"
	}
	return ""
}

// set returns the statement that sets a sequence to continue after the last of the numbers
// in a table that it can give. nextval makes sure that no other session gets the same
// number. It would fail at the end of the sequence.
func (s postgresSequence) set(table, number string) string {
	most, further, is := "max", "greatest", ">"
	if s.down {
		most, further, is = "min", "least", "<"
	}
	name := literal(s.name) + "::regclass"
	atEnd := "(s.last_value::numeric + " + s.step + ") NOT BETWEEN " + s.min + " AND " + s.max + " AND s.is_called"
	return "SELECT setval(" + name + ", CASE WHEN " + atEnd + " THEN m ELSE " + further + "(m, nextval(" + name + ")) END) FROM (SELECT " + most + "(" + number + ")::int8 AS m FROM " + table +
		" WHERE " + number + " BETWEEN " + s.min + " AND " + s.max + ") AS t, " + s.name + " AS s WHERE m " + is + " s.last_value OR m = s.last_value AND NOT s.is_called"
}

// onlyNextval is a default that is the number of a sequence, and not made of it.
var onlyNextval = regexp.MustCompile(`^nextval\('(?:[^']|'')+'::regclass\)(?:::[a-z ]+)?$`)

// postgresIntegerBits are the sizes of the types of integers.
var postgresIntegerBits = map[string]uint{"int2": 16, "int4": 32, "int8": 64}

// numbers takes a sequence for that of the key as sequences does.
func (tx *postgresTx) numbers(ctx context.Context, t *table) (n *numbering, err error) {
	id := t.keyColumns()[0]
	if postgresIntegerBits[id.pg.base] == 0 || id.def != "" && id.pg.generated == "" && !onlyNextval.MatchString(id.def) {
		return nil, nil
	}
	found, err := tx.findSequences(ctx, t)
	for _, s := range found {
		if s.attnum != id.pg.attnum || err != nil {
			continue
		}
		last, far := s.max, "max"
		if s.down {
			last, far = s.min, "min"
		}
		var next string
		var called bool
		var row sql.NullString
		if err = tx.conn.QueryRowContext(ctx, "SELECT last_value::text, is_called, (SELECT "+far+"("+id.quoted+")::text FROM "+t.name+" WHERE "+id.quoted+" BETWEEN "+s.min+" AND "+s.max+") FROM "+s.name).
			Scan(&next, &called, &row); err != nil {
			break
		}
		var of *numbering
		if of, err = newNumbering(next, s.step, last); err != nil {
			break
		}
		if called {
			of.pass(next)
		}
		of.pass(row.String)
		if n == nil {
			of.shorten(integersOf(postgresIntegerBits[id.pg.base], false))
			n = of
		} else { // rare: no number of either
			n.pass(new(big.Int).Sub(of.next, of.step).String())
		}
	}
	return n, err
}

//go:build !race

package integration

import (
	"fmt"
	"slices"
	"strings"
)

// A randomState is the rows of all tables, by the number of the table.
type randomState [][]randomRow

// A randomRow has a string, an int or nil for each column.
type randomRow []any

func (s randomState) clone() randomState {
	c := make(randomState, len(s))
	for i, rows := range s {
		for _, row := range rows {
			c[i] = append(c[i], slices.Clone(row))
		}
	}
	return c
}

func (row randomRow) pick(columns []int) (values []any) {
	for _, c := range columns {
		values = append(values, row[c])
	}
	return values
}

func (row randomRow) keyOf(t *randomTable) string { return fmt.Sprintf("%#v", row.pick(t.key)) }

// wrong says how a state breaks the rules of the schema, or returns an empty text.
func (s *randomSchema) wrong(state randomState) string {
	for i := range s.tables {
		t := &s.tables[i]
		for _, u := range t.allUniques() {
			if n := t.twice(u, state[i]); n >= 0 {
				return fmt.Sprint(u.name, " has a value twice, in ", state[i][n])
			}
		}
		for _, row := range state[i] {
			for c, column := range t.columns {
				if row[c] == nil && !column.null {
					return fmt.Sprint(t.name, ".", column.name, " is NULL")
				}
			}
		}
		for _, f := range t.references {
			there := f.targets(state)
			if slices.ContainsFunc(state[i], func(row randomRow) bool { return !f.holds(row, there) }) {
				return fmt.Sprint(f.name, " dangles")
			}
		}
	}
	return ""
}

// twice returns the first row that has the values of another before it, or -1.
func (t *randomTable) twice(u randomUnique, rows []randomRow) int {
	seen := map[string]bool{}
	for n, row := range rows {
		if u.where >= 0 && row[u.where] != 1 {
			continue
		}
		values := row.pick(u.columns)
		if slices.Contains(values, nil) && !u.nullsSame {
			continue
		}
		for i, c := range u.columns {
			if text, ok := values[i].(string); ok && (t.columns[c].fold || u.lower && i == 0) {
				values[i] = strings.ToLower(text)
			}
		}
		text := fmt.Sprintf("%#v", values)
		if seen[text] {
			return n
		}
		seen[text] = true
	}
	return -1
}

// allUniques are the unique constraints of a table, with that of its key.
func (t *randomTable) allUniques() []randomUnique {
	return append([]randomUnique{{name: "the key of " + t.name, columns: t.key, where: -1}}, t.uniques...)
}

// thin deletes rows until a state is valid.
func (s *randomSchema) thin(state randomState) {
	for s.wrong(state) != "" {
		for i := range s.tables {
			t := &s.tables[i]
			for _, u := range t.allUniques() {
				for n := t.twice(u, state[i]); n >= 0; n = t.twice(u, state[i]) {
					state[i] = slices.Delete(state[i], n, n+1)
				}
			}
		}
		s.mend(state)
	}
}

// targets returns what the reference can point to, for holds.
func (f randomReference) targets(state randomState) map[string]bool {
	there := map[string]bool{}
	for _, p := range state[f.parent] {
		there[fmt.Sprintf("%#v", p.pick(f.to))] = true
	}
	return there
}

// holds tells whether a reference of a row points to a row, or to nothing.
func (f randomReference) holds(row randomRow, there map[string]bool) bool {
	values := row.pick(f.columns)
	return slices.Contains(values, nil) || there[fmt.Sprintf("%#v", values)]
}

// state makes a valid state.
func (r dice) state(s *randomSchema) randomState {
	state := make(randomState, len(s.tables))
	for i := range s.tables {
		if s.many {
			for range r.IntN(400) {
				state[i] = append(state[i], r.row(s, state, i))
			}
			s.thin(state)
			continue
		}
		for range r.IntN(7) {
			r.add(s, state, i)
		}
	}
	// References to later tables can only be set now.
	for i := range s.tables {
		for _, f := range s.tables[i].references {
			for n := range state[i] {
				if f.next && r.in(1, 2) {
					r.try(s, state, func(state randomState) { r.refer(s, state, i, state[i][n], f) })
				}
			}
		}
	}
	return state
}

// try makes a change that must leave the state valid, or does nothing.
func (r dice) try(s *randomSchema, state randomState, change func(randomState)) bool {
	after := state.clone()
	change(after)
	if s.wrong(after) != "" {
		return false
	}
	copy(state, after)
	return true
}

// add adds a row to table i if it finds a valid one.
func (r dice) add(s *randomSchema, state randomState, i int) {
	for range 8 {
		if r.try(s, state, func(state randomState) { state[i] = append(state[i], r.row(s, state, i)) }) {
			return
		}
	}
}

func (r dice) row(s *randomSchema, state randomState, i int) randomRow {
	t := &s.tables[i]
	row := make(randomRow, len(t.columns))
	for c := range t.columns {
		row[c] = r.value(t, c)
	}
	for _, f := range t.references {
		r.refer(s, state, i, row, f)
	}
	return row
}

func (r dice) value(t *randomTable, column int) any {
	if t.columns[column].null && r.in(1, 4) {
		return nil
	}
	return oneOf(r, t.columns[column].choices...)
}

// refer lets a row of table i refer to a random parent, or to none. The row itself is a
// candidate too.
func (r dice) refer(s *randomSchema, state randomState, i int, row randomRow, f randomReference) {
	t := &s.tables[i]
	null := t.columns[f.columns[len(f.columns)-1]].null
	parents := state[f.parent]
	if f.parent == i {
		parents = append(slices.Clone(parents), row)
	}
	var candidates []randomRow
	for _, p := range parents {
		values := p.pick(f.to)
		if !slices.Contains(values, nil) && (!f.shared || values[0] == row[f.columns[0]]) {
			candidates = append(candidates, p)
		}
	}
	if len(candidates) == 0 || null && r.in(1, 4) {
		for _, c := range f.columns {
			if t.columns[c].null {
				row[c] = nil
			}
		}
		return
	}
	for n, value := range oneOf(r, candidates...).pick(f.to) {
		row[f.columns[n]] = value
	}
}

// mend makes dangling references NULL, or deletes their rows.
func (s *randomSchema) mend(state randomState) {
	for again := true; again; {
		again = false
		for i := range s.tables {
			t := &s.tables[i]
			for _, f := range t.references {
				there, last := f.targets(state), f.columns[len(f.columns)-1]
				state[i] = slices.DeleteFunc(state[i], func(row randomRow) bool {
					if f.holds(row, there) {
						return false
					}
					again = true
					if t.columns[last].null {
						row[last] = nil
						return false
					}
					return true
				})
			}
		}
	}
}

// damage makes another valid state of a valid one, as a host comes to it by use or by
// accident.
func (r dice) damage(s *randomSchema, state randomState) randomState {
	switch r.IntN(12) {
	case 0:
		return r.state(s)
	case 1:
		return make(randomState, len(s.tables))
	}
	state = state.clone()
	for range 1 + r.IntN(8) {
		i := r.IntN(len(s.tables))
		do := oneOf(r, r.delete, r.exchange, r.exchange, r.rotate, r.shift, r.rename, r.rename, r.addOne, r.alter, r.alter, r.moveFlag)
		for range 4 {
			if r.try(s, state, func(state randomState) { do(s, state, i); s.mend(state) }) {
				break
			}
		}
	}
	return state
}

func (r dice) delete(_ *randomSchema, state randomState, i int) {
	if n := len(state[i]); n > 0 {
		at := r.IntN(n)
		state[i] = slices.Delete(state[i], at, at+1)
	}
}

func (r dice) addOne(s *randomSchema, state randomState, i int) { r.add(s, state, i) }

// columnsToChange are one column, or those of a reference, which are not in the key.
func (r dice) columnsToChange(t *randomTable) []int {
	if len(t.references) > 0 && r.in(1, 3) {
		if f := oneOf(r, t.references...); !f.shared {
			return f.columns
		}
	}
	for range 10 {
		if c := r.IntN(len(t.columns)); !t.isKey(c) {
			return []int{c}
		}
	}
	return nil
}

// exchange exchanges values of two rows.
func (r dice) exchange(s *randomSchema, state randomState, i int) {
	if len(state[i]) < 2 {
		return
	}
	a, b := oneOf(r, state[i]...), oneOf(r, state[i]...)
	for _, c := range r.columnsToChange(&s.tables[i]) {
		a[c], b[c] = b[c], a[c]
	}
}

// rotate gives each row the value of the next one.
func (r dice) rotate(s *randomSchema, state randomState, i int) {
	rows := state[i]
	for _, c := range r.columnsToChange(&s.tables[i]) {
		for n := 1; n < len(rows); n++ {
			rows[n-1][c], rows[n][c] = rows[n][c], rows[n-1][c]
		}
	}
}

// shift deletes a row, or not, and moves those behind it by one.
func (r dice) shift(s *randomSchema, state randomState, i int) {
	pos := s.tables[i].column("pos")
	if pos < 0 || len(state[i]) == 0 {
		return
	}
	by := oneOf(r, -1, 1)
	if at := r.IntN(len(state[i])); by < 0 {
		state[i] = slices.Delete(state[i], at, at+1)
	}
	for _, row := range state[i] {
		if v, ok := row[pos].(int); ok {
			row[pos] = v + by
		}
	}
}

// rename gives a row another key, with or without the rows that refer to it.
func (r dice) rename(s *randomSchema, state randomState, i int) {
	if len(state[i]) == 0 {
		return
	}
	t := &s.tables[i]
	row := oneOf(r, state[i]...)
	before := slices.Clone(row)
	for _, c := range t.key {
		row[c] = r.value(t, c)
	}
	if r.in(1, 2) {
		return
	}
	for child := range s.tables {
		for _, f := range s.tables[child].references {
			for _, other := range state[child] {
				if f.parent == i && f.toKey && slices.Equal(other.pick(f.columns), before.pick(f.to)) {
					for n, c := range f.columns {
						other[c] = row[f.to[n]]
					}
				}
			}
		}
	}
}

// alter changes a value of a row.
func (r dice) alter(s *randomSchema, state randomState, i int) {
	if len(state[i]) == 0 {
		return
	}
	t := &s.tables[i]
	row := oneOf(r, state[i]...)
	if len(t.references) > 0 && r.in(1, 3) {
		r.refer(s, state, i, row, oneOf(r, t.references...))
		return
	}
	if columns := r.columnsToChange(t); len(columns) == 1 {
		row[columns[0]] = r.value(t, columns[0])
	}
}

// moveFlag takes the flag from all rows and gives it to one.
func (r dice) moveFlag(s *randomSchema, state randomState, i int) {
	flag := s.tables[i].column("flag")
	if flag < 0 || len(state[i]) == 0 {
		return
	}
	for _, row := range state[i] {
		row[flag] = 0
	}
	oneOf(r, state[i]...)[flag] = 1
}

//go:build !race

package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
)

// A twinRecord is a record as its declaration sees it: in a Map, an object with one
// member. A twinState has records by collection and key.
type (
	twinRecord map[string]any
	twinState  map[string]map[string]twinRecord
)

// twinValue returns a value as a decoder of JSON would, which keeps numbers as they are.
func twinValue(v any) any {
	if n, ok := v.(int); ok {
		return json.Number(fmt.Sprint(n))
	}
	return v
}

func (r twinRecord) text() string {
	text, err := json.Marshal(map[string]any(r))
	if err != nil {
		panic(err)
	}
	return string(text)
}

func parseTwin(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	return v, d.Decode(&v)
}

func (r twinRecord) clone() twinRecord { return copied(map[string]any(r)).(map[string]any) }

// copied returns a value that shares nothing with another.
func copied(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for name, member := range v {
			m[name] = copied(member)
		}
		return m
	case []any:
		a := make([]any, len(v))
		for i, element := range v {
			a[i] = copied(element)
		}
		return a
	}
	return v
}

func (s twinState) clone() twinState {
	all := make(twinState, len(s))
	for name, records := range s {
		all[name] = make(map[string]twinRecord, len(records))
		for key, r := range records {
			all[name][key] = r.clone()
		}
	}
	return all
}

// values returns the values of members, or false if one is absent or null.
func (r twinRecord) values(names []string) (values []any, ok bool) {
	for _, name := range names {
		if r[name] == nil {
			return nil, false
		}
		values = append(values, r[name])
	}
	return values, true
}

func keyOfTwin(values []any) string {
	var texts []string
	for _, v := range values {
		texts = append(texts, fmt.Sprint(v))
	}
	if len(texts) == 1 {
		return texts[0]
	}
	return backup.JoinKey(texts...)
}

// keyOf returns the key of a record, which in a Map is its only member.
func (t *twinTable) keyOf(r twinRecord) string {
	if t.Shape == backup.Map {
		return slices.Collect(maps.Keys(r))[0]
	}
	values, _ := r.values(t.keyFields())
	return keyOfTwin(values)
}

// unique returns what a record has of something unique, or false if it has nothing.
func (t *twinTable) unique(r twinRecord, unique string) (string, bool) {
	values, ok := r.values(fieldsOf(unique))
	if !ok {
		return "", false
	}
	text := fmt.Sprintf("%T %q", values[0], values)
	if strings.HasPrefix(unique, "fold:") {
		text = strings.ToLower(text) // the pools have no letters but those of ASCII
	}
	return text, true
}

// refersTo yields the keys that a record refers to by a Ref. set changes the reference.
func refersTo(r twinRecord, f backup.Ref, yield func(key string, set func(key string))) {
	as := func(old any, text string) any {
		if _, ok := old.(json.Number); ok {
			return json.Number(text)
		}
		return text
	}
	if member, ok := strings.CutSuffix(f.Pointer, "/*"); ok {
		elements, _ := r[memberOf(member)].([]any)
		for i, v := range elements {
			yield(fmt.Sprint(v), func(key string) { elements[i] = as(v, key) })
		}
		return
	}
	names := fieldsOf(f.Pointer)
	values, ok := r.values(names)
	if !ok {
		return
	}
	yield(keyOfTwin(values), func(key string) {
		parts := []string{key}
		if len(names) > 1 {
			parts, _ = backup.SplitKey(key, len(names))
		}
		for i, part := range parts {
			r[names[i]] = as(values[i], part)
		}
	})
}

// wrong tells what keeps a state from being valid: for the references and for what is
// unique.
func (s *twinSchema) wrong(state twinState) string {
	for _, t := range s.collections {
		for key, r := range state[t.Name] {
			if t.keyOf(r) != key {
				return fmt.Sprintf("%s %s has the key %s", t.Name, key, t.keyOf(r))
			}
			for _, f := range t.Refs {
				dangles := ""
				refersTo(r, f, func(to string, _ func(string)) {
					if state[f.Collection][to] == nil {
						dangles = to
					}
				})
				if dangles != "" {
					return fmt.Sprintf("%s %s refers to %s %s, which is not there", t.Name, key, f.Collection, dangles)
				}
			}
		}
		for _, u := range t.Unique {
			have := map[string]string{}
			for _, key := range slices.Sorted(maps.Keys(state[t.Name])) {
				value, ok := t.unique(state[t.Name][key], u)
				if other := have[value]; ok && other != "" {
					return fmt.Sprintf("%s %s and %s have the same %s", t.Name, other, key, u)
				}
				if ok {
					have[value] = key
				}
			}
		}
	}
	return ""
}

// twinState makes a random state.
func (r dice) twinState(s *twinSchema) twinState {
	state := twinState{}
	for _, t := range s.collections {
		state[t.Name] = map[string]twinRecord{}
	}
	for _, t := range s.collections {
		for range oneOf(r, 0, 2, 3, 4, 5, 6) {
			r.addTwin(s, state, t)
		}
	}
	return state
}

// addTwin adds a record if it finds a valid one.
func (r dice) addTwin(s *twinSchema, state twinState, t *twinTable) {
	for range 6 {
		record := r.twin(s, state, t)
		if record == nil {
			continue
		}
		key := t.keyOf(record)
		if state[t.Name][key] != nil {
			continue
		}
		state[t.Name][key] = record
		if s.wrong(state) == "" {
			return
		}
		delete(state[t.Name], key)
	}
}

// twin makes a record, or nil if it must refer to something and there is nothing.
func (r dice) twin(s *twinSchema, state twinState, t *twinTable) twinRecord {
	if t.Shape == backup.Map {
		if parents := slices.Sorted(maps.Keys(state[t.Refs[0].Collection])); r.in(1, 2) && len(parents) > 0 {
			parent := s.table(t.Refs[0].Collection)
			return twinRecord{twinHome: state[parent.Name][oneOf(r, parents...)][parent.keyFields()[0]]}
		}
		return twinRecord{oneOf(r, "theme", "size"): oneOf[any](r, "dark", "light", nil)}
	}
	record := twinRecord{}
	for i := range t.fields {
		r.setTwin(s, record, &t.fields[i])
	}
	for _, f := range t.Refs {
		if !r.referTwin(s, state, t, record, f) {
			return nil
		}
	}
	return record
}

// setTwin gives a field that is no reference a random value.
func (r dice) setTwin(s *twinSchema, record twinRecord, f *twinField) {
	delete(record, f.name)
	switch {
	case f.kind == "json":
		more := map[string]any{}
		for _, name := range []string{"x", "y", "z"} {
			if r.in(1, 2) {
				more[name] = oneOf(r, "1", "2")
			}
		}
		record[f.name] = more
	case f.null && r.in(1, 4):
		if s.name != "map" || r.in(1, 2) {
			record[f.name] = nil
		}
	case len(f.pool) > 0:
		record[f.name] = oneOf(r, f.pool...)
	}
}

// referTwin has a record refer to a random one, or to none.
func (r dice) referTwin(s *twinSchema, state twinState, t *twinTable, record twinRecord, f backup.Ref) bool {
	parent := s.table(f.Collection)
	keys := slices.Sorted(maps.Keys(state[parent.Name]))
	if member, ok := strings.CutSuffix(f.Pointer, "/*"); ok {
		members := []any{}
		for _, key := range keys {
			if r.in(1, 3) {
				members = append(members, state[parent.Name][key][parent.keyFields()[0]])
			}
		}
		record[memberOf(member)] = members
		return true
	}
	names := fieldsOf(f.Pointer)
	if null := t.field(names[0]).null; null && r.in(1, 4) || len(keys) == 0 {
		for _, name := range names {
			record[name] = nil
		}
		return null
	}
	values, _ := state[parent.Name][oneOf(r, keys...)].values(parent.keyFields())
	for i, name := range names {
		record[name] = values[i]
	}
	return true
}

// mend makes dangling references null, or removes the records that have them.
func (s *twinSchema) mend(state twinState) {
	for again := true; again; {
		again = false
		for _, t := range s.collections {
			for key, r := range state[t.Name] {
				for _, f := range t.Refs {
					if s.mendTwin(state, t, r, f) {
						continue
					}
					delete(state[t.Name], key)
					again = true
					break
				}
			}
		}
	}
}

// mendTwin returns false if a record must go.
func (s *twinSchema) mendTwin(state twinState, t *twinTable, r twinRecord, f backup.Ref) bool {
	there := func(key string) bool { return state[f.Collection][key] != nil }
	if member, ok := strings.CutSuffix(f.Pointer, "/*"); ok {
		elements, _ := r[memberOf(member)].([]any)
		r[memberOf(member)] = slices.DeleteFunc(elements, func(v any) bool { return !there(fmt.Sprint(v)) })
		return true
	}
	values, ok := r.values(fieldsOf(f.Pointer))
	if !ok || there(keyOfTwin(values)) {
		return true
	}
	for _, name := range fieldsOf(f.Pointer) {
		if t.Shape == backup.Map || !t.field(name).null {
			return false
		}
		r[name] = nil
	}
	return true
}

// diverge makes what an installation becomes of a state: by use, and under other keys if
// it was set up anew.
func (r dice) diverge(s *twinSchema, state twinState, anew bool) twinState {
	state = state.clone()
	if anew {
		if now := r.rekey(s, state); s.wrong(now) == "" {
			state = now
		}
	}
	for range r.IntN(7) {
		t := oneOf(r, s.collections...)
		keys := slices.Sorted(maps.Keys(state[t.Name]))
		after := state.clone()
		switch r.IntN(6) {
		case 0:
			if len(keys) > 0 {
				delete(after[t.Name], oneOf(r, keys...))
			}
		case 1, 2:
			r.addTwin(s, after, t)
		default:
			if len(keys) > 0 {
				r.alterTwin(s, after, t, after[t.Name][oneOf(r, keys...)])
			}
		}
		if s.mend(after); s.wrong(after) == "" {
			state = after
		}
	}
	return state
}

// alterTwin changes a field that is not of the key, and seldom one that is unique.
func (r dice) alterTwin(s *twinSchema, state twinState, t *twinTable, record twinRecord) {
	if t.Shape == backup.Map {
		return
	}
	f := &t.fields[r.IntN(len(t.fields))]
	unique := slices.ContainsFunc(t.Unique, func(u string) bool { return slices.Contains(fieldsOf(u), f.name) })
	if slices.Contains(t.keyFields(), f.name) || unique && r.in(2, 3) {
		return
	}
	for _, ref := range t.Refs {
		if slices.Contains(fieldsOf(ref.Pointer), f.name) {
			r.referTwin(s, state, t, record, ref)
			return
		}
	}
	r.setTwin(s, record, f)
}

// rekey gives records other keys, with all that refers to them.
func (r dice) rekey(s *twinSchema, state twinState) twinState {
	moves := twinMoves{}
	for _, t := range s.collections {
		moves[t.Name] = map[string]string{}
		if !t.ownKey || t.Shape == backup.Map {
			continue
		}
		var all []string
		r.eachKey(t, nil, func(key string) { all = append(all, key) })
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		if r.in(1, 4) {
			continue // the same keys
		}
		for i, key := range slices.Sorted(maps.Keys(state[t.Name])) {
			moves[t.Name][key] = all[i]
		}
	}
	return s.moved(state, moves)
}

// eachKey yields all keys that the pools of a table make.
func (r dice) eachKey(t *twinTable, values []any, yield func(key string)) {
	names := t.keyFields()
	if len(values) == len(names) {
		yield(keyOfTwin(values))
		return
	}
	for _, v := range t.field(names[len(values)]).pool {
		r.eachKey(t, append(slices.Clone(values), v), yield)
	}
}

// twinMoves are the new keys of records, by collection and old key.
type twinMoves map[string]map[string]string

func (m twinMoves) of(collection, key string) string {
	if to, ok := m[collection][key]; ok {
		return to
	}
	return key
}

// rewritten returns a record that refers to the new keys.
func (m twinMoves) rewritten(t *twinTable, r twinRecord) twinRecord {
	r = r.clone()
	for _, f := range t.Refs {
		refersTo(r, f, func(to string, set func(string)) {
			if now := m.of(f.Collection, to); now != to {
				set(now)
			}
		})
	}
	return r
}

// under returns a record with another key of its own.
func (t *twinTable) under(r twinRecord, key string) twinRecord {
	if t.Shape == backup.Map || t.keyOf(r) == key {
		return r
	}
	r = r.clone()
	refersTo(r, backup.Ref{Pointer: t.Key}, func(_ string, set func(string)) { set(key) })
	return r
}

// moved returns a state under other keys. It adds to moves the keys that hold references.
func (s *twinSchema) moved(state twinState, moves twinMoves) twinState {
	after := twinState{}
	for _, t := range s.collections { // a key refers only to what is before it
		for key, r := range state[t.Name] {
			if now := t.keyOf(moves.rewritten(t, r)); now != key && !t.ownKey {
				moves[t.Name][key] = now
			}
		}
	}
	for _, t := range s.collections {
		after[t.Name] = map[string]twinRecord{}
		for key, r := range state[t.Name] {
			now := moves.of(t.Name, key)
			after[t.Name][now] = t.under(moves.rewritten(t, r), now)
		}
	}
	return after
}

// store returns a state as a store in memory.
func (s *twinSchema) store(state twinState) backuptest.MapStore {
	store := backuptest.MapStore{}
	for _, t := range s.collections {
		store[t.Name] = map[string]string{}
		for key, r := range state[t.Name] {
			store[t.Name][key] = t.valueText(key, r)
		}
	}
	return store
}

// valueText returns the value of a record.
func (t *twinTable) valueText(key string, r twinRecord) string {
	if t.Shape != backup.Map {
		return r.text()
	}
	text, err := json.Marshal(r[key])
	if err != nil {
		panic(err)
	}
	return string(text)
}

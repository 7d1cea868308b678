package backup

import (
	"slices"

	"github.com/tomo-project/backup/internal/codec"
	"github.com/tomo-project/backup/internal/fault"
)

// What people call a record: the value at Collection.Label.

// compileLabel checks the Label of a collection.
func (col *collection) compileLabel(fail func(format string, args ...any)) {
	if col.Label == "" {
		return
	}
	var err error
	if col.label, err = codec.ParsePointer(col.Label); err != nil {
		fail("Label: %w", err)
	}
	if slices.Contains(col.label, codec.Any) {
		fail("Label %s has a wildcard", col.Label)
	}
	for i, secret := range col.secrets {
		if col.label.Overlaps(secret) {
			fail("Label %s contains the Secret %s, or is a part of it", col.Label, col.Secrets[i])
		}
	}
}

// called returns what people call a record, or "".
func (col *collection) called(key string, value []byte) string {
	if len(col.label) == 0 || value == nil {
		return ""
	}
	return labelOf(col.view(key, value), col.label)
}

// labelOf returns the label of a record: a text, or a number as it is written.
func labelOf(view []byte, pointer codec.Pointer) string {
	value := codec.Get(view, pointer)
	if len(value) == 0 {
		return ""
	}
	switch value[0] {
	case '"':
		label, _ := codec.Decode(value).(string)
		return label
	case '{', '[', 't', 'f', 'n':
		return ""
	}
	return string(value)
}

// LabelOf returns what people call a record: the text or the number at [Collection].Label.
// It is empty if the collection declares no Label, or the record has none. It is for people:
// a text of more than 500 bytes is cut.
func (a *App) LabelOf(collection string, r Record) string {
	if a == nil {
		return ""
	}
	i := slices.IndexFunc(a.Collections, func(c Collection) bool { return c.Name == collection })
	if i < 0 || a.Collections[i].Label == "" {
		return ""
	}
	pointer, err := codec.ParsePointer(a.Collections[i].Label)
	if err != nil {
		return ""
	}
	value, err := codec.Compact(nil, r.Value, hostLimits)
	if err != nil {
		return ""
	}
	if a.Collections[i].Shape == Map {
		value = viewMember(r.Key, value)
	}
	return fault.Shorten(labelOf(value, pointer))
}

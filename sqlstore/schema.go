package sqlstore

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tomo-project/backup/internal/sqljson"
)

// schema returns the JSON Schema of a record.
func (t *table) schema(d Dialect) []byte {
	lines := []string{`"$schema": "https://json-schema.org/draft/2020-12/schema"`, `"title": ` + jsonText(t.collection), `"type": "object"`}
	var properties, required []string
	for i, c := range t.columns {
		j := d.jsonType(c)
		if c.nullable && !c.key && !c.OmitNull {
			j = j.orNull()
		}
		if i == t.value {
			lines = append(lines, `"additionalProperties": `+j.String())
		}
		if c.key || !c.nullable && (c.def == "" || c.OmitNull) {
			required = append(required, c.name)
		}
		properties = append(properties, "\n    "+c.name+": "+j.String())
	}
	if t.value < 0 {
		lines = append(lines, `"required": [`+strings.Join(required, ", ")+"]", `"additionalProperties": false`,
			`"properties": {`+strings.Join(properties, ",")+"\n  }")
	}
	return []byte("{\n  " + strings.Join(lines, ",\n  ") + "\n}\n")
}

// A jsonType is the JSON Schema of a value. The zero value allows any value.
type jsonType struct {
	types     []string
	enum      []string
	format    string
	maxLength int64 // of characters, 0 for any
	base64    bool
	items     []string // types of the elements
}

func typed(types ...string) jsonType { return jsonType{types: types} }

// orNull returns the schema that allows null too.
func (j jsonType) orNull() jsonType {
	if len(j.types) > 0 {
		j.types = append(slices.Clone(j.types), "null")
	}
	return j
}

// String returns the text of the schema.
func (j jsonType) String() string {
	var members []string
	add := func(name, value string) { members = append(members, `"`+name+`": `+value) }
	if len(j.types) > 0 {
		add("type", typeList(j.types))
	}
	if len(j.enum) > 0 {
		var values []string
		for _, label := range j.enum {
			values = append(values, jsonText(label))
		}
		if slices.Contains(j.types, "null") {
			values = append(values, "null")
		}
		add("enum", "["+strings.Join(values, ", ")+"]")
	}
	if j.format != "" {
		add("format", jsonText(j.format))
	}
	if j.maxLength > 0 {
		add("maxLength", strconv.FormatInt(j.maxLength, 10))
	}
	if j.base64 {
		add("contentEncoding", `"base64"`)
	}
	if len(j.items) > 0 {
		add("items", `{"type": `+typeList(j.items)+"}")
	}
	return "{" + strings.Join(members, ", ") + "}"
}

func typeList(types []string) string {
	var list []string
	for _, t := range types {
		list = append(list, jsonText(t))
	}
	if len(list) == 1 {
		return list[0]
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// jsonText returns a JSON string. Names and labels are UTF-8, since the connection is.
func jsonText(s string) string {
	b, _ := sqljson.AppendString(nil, strings.ToValidUTF8(s, "\uFFFD"))
	return string(b)
}

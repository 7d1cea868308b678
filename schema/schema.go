// Package schema contains the published description of the snapshot format, for
// programs that validate snapshots or pass the description on.
package schema

import _ "embed"

//go:embed snapshot.schema.json
var snapshot string

//go:embed FORMAT.md
var format string

// ID is the "$id" of the JSON Schema that Snapshot returns.
const ID = "https://github.com/tomo-project/backup/schema/snapshot.schema.json"

// Snapshot returns the JSON Schema (draft 2020-12) of a snapshot. The
// description in it names the rules that a schema cannot express.
func Snapshot() string { return snapshot }

// Format returns FORMAT.md, the normative text of the format, as Markdown.
func Format() string { return format }

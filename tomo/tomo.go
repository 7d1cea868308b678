// Package tomo declares Tomo, a homelab server manager, to the library: its
// collections with their schemas, keys, references and secret fields, and how
// data of older versions becomes data of today. The Tomo server and tools
// around it import it; it is also the worked example of a declaration.
//
// Three habits of the schemas are worth copying:
//
//   - Every field that is not required may also be null, because a column of a
//     database table can be NULL but not absent.
//   - No secret field has the keyword "format", nor "enum" or "minimum": an
//     error that quotes what it refuses must have nothing to quote.
//   - A field that is not declared is refused. That is how a plain "password"
//     of a user, or a field that a migration forgot, is caught.
package tomo

import (
	"bytes"
	_ "embed"

	"github.com/tomo-project/backup"
)

// SchemaVersion is the version of the shape of Tomo's data. What each version
// changed is told in migrate.go.
const SchemaVersion = 3

var (
	//go:embed schema/servers.schema.json
	serversSchema []byte
	//go:embed schema/applications.schema.json
	applicationsSchema []byte
	//go:embed schema/settings.schema.json
	settingsSchema []byte
	//go:embed schema/users.schema.json
	usersSchema []byte
	//go:embed schema/preferences.schema.json
	preferencesSchema []byte
	//go:embed schema/repositories.schema.json
	repositoriesSchema []byte
	//go:embed schema/logs.schema.json
	logsSchema []byte
)

// App returns the declaration of Tomo as of its build version, a semantic
// version such as "2.1.0". Its collections are the six of the user's guide
// ("Full Backup Contents") and the optional logs. Each call returns a new App,
// which the caller may change.
func App(version string) *backup.App {
	return &backup.App{
		Name:          "tomo",
		Version:       version,
		SchemaVersion: SchemaVersion,
		Collections: []backup.Collection{
			{
				Name:    "servers",
				Key:     "/id",
				Schema:  bytes.Clone(serversSchema),
				Refs:    []backup.Ref{{Pointer: "/jump_server_id", Collection: "servers"}},
				Secrets: []string{"/password", "/private_key", "/passphrase"},
			},
			{
				// The compose text is secret too: nothing keeps people from
				// writing passwords in it.
				Name:   "applications",
				Key:    "/id",
				Schema: bytes.Clone(applicationsSchema),
				Refs: []backup.Ref{
					{Pointer: "/server_id", Collection: "servers"},
					{Pointer: "/repository_id", Collection: "repositories"},
				},
				Secrets: []string{"/compose", "/env/*"},
			},
			{
				Name:    "settings",
				Shape:   backup.Map,
				Schema:  bytes.Clone(settingsSchema),
				Secrets: []string{"/smtp_password", "/webhook_url"},
			},
			{
				// A password hash is secret too: whoever has it can guess the
				// password without limits.
				Name:    "users",
				Key:     "/id",
				Schema:  bytes.Clone(usersSchema),
				Secrets: []string{"/password_hash", "/totp_secret"},
			},
			{
				Name:   "preferences",
				Key:    "/user_id",
				Schema: bytes.Clone(preferencesSchema),
				Refs:   []backup.Ref{{Pointer: "/user_id", Collection: "users"}},
			},
			{
				Name:    "repositories",
				Key:     "/id",
				Schema:  bytes.Clone(repositoriesSchema),
				Secrets: []string{"/token"},
			},
			{
				// No Refs: a log tells what was, and outlives the server that it
				// names. Most backups are without logs, and must be restored
				// whatever the logs of the host refer to.
				Name:     "logs",
				Key:      "/id",
				Schema:   bytes.Clone(logsSchema),
				Optional: true,
			},
		},
		Migrators: []backup.Migrator{
			backup.Migration(1, from1),
			backup.Migration(2, from2),
		},
	}
}

// Package tomo declares Tomo, a homelab server manager: its collections with
// their schemas, keys, references and secret fields, and the migration of data
// from older versions. The Tomo server and tools around it import this package.
// It is also the worked example of a declaration.
//
// Three habits of the schemas are worth copying:
//
//   - Every field that is not required may also be null, because a column of a
//     database table can be NULL but not absent.
//   - A secret field never has the keyword "format", "enum" or "minimum". An
//     error of such a keyword could quote the value.
//   - A field that is not declared is refused. This catches a plain "password"
//     of a user, or a field that a migration forgot.
package tomo

import (
	"bytes"
	_ "embed"

	"github.com/tomo-project/backup"
)

// SchemaVersion is the version of the shape of Tomo's data. The file migrate.go
// says what each version changed.
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

// BackupSettings returns the records that say where and when a Tomo makes backups, and
// which it keeps, in the form of the field Own of a manager.Manager. A restore leaves
// them as they are on this machine. Each call returns a new map.
func BackupSettings() map[string][]string {
	return map[string][]string{"settings": {
		"backup_dir", "backup_enabled", "backup_include_logs", "backup_keep_days", "backup_keep_last",
		"backup_locations", "backup_schedule", "backup_time", "backup_weekday",
	}}
}

// App returns the declaration of Tomo. version is the semantic version of the
// build, such as "2.1.0". The collections are the six of the user's guide
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
				Label:   "/name",
			},
			{
				// The compose text is secret too: people may write passwords
				// into it.
				Name:   "applications",
				Key:    "/id",
				Schema: bytes.Clone(applicationsSchema),
				Refs: []backup.Ref{
					{Pointer: "/server_id", Collection: "servers"},
					{Pointer: "/repository_id", Collection: "repositories"},
				},
				Secrets: []string{"/compose", "/env/*"},
				Label:   "/name",
			},
			{
				Name:    "settings",
				Shape:   backup.Map,
				Schema:  bytes.Clone(settingsSchema),
				Secrets: []string{"/smtp_password", "/webhook_url"},
			},
			{
				// A password hash is secret too: whoever has it can guess
				// passwords without any limit. People log in by their name, so
				// that no two users share one. Nothing else of Tomo is unique:
				// two servers may have one name, and two users one address.
				Name:    "users",
				Key:     "/id",
				Schema:  bytes.Clone(usersSchema),
				Unique:  []string{"/username"},
				Secrets: []string{"/password_hash", "/totp_secret"},
				Label:   "/username",
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
				Label:   "/name",
			},
			{
				// No Refs: a log outlives the server that it names. Most
				// backups have no logs, and must be restored whatever the logs
				// of the host refer to.
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

package pocketbase

import (
	"encoding/json"
	"maps"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/filestore"
	"github.com/tomo-project/backup/joined"
	"github.com/tomo-project/backup/sqlstore"
)

// declare returns what an embedding program needs: the tables of the database, and the
// files beside it. A backup does not have
//
//   - _mfas and _otps, which are logins that go on for minutes,
//   - _migrations, which Describe leaves out: the new installation has made its own tables,
//   - auxiliary.db, the log, which should not go back in time, and what users do not see:
//     the folder backups.
func (h *host) declare() (*backup.App, backup.Store) {
	tables, collections, err := sqlstore.Store{
		DB: h.database(), Dialect: sqlstore.SQLite,
		Exclude: []string{"_mfas", "_otps"},
	}.Describe(h.t.Context())
	require.NoError(h.t, err)
	require.Contains(h.t, tables.Exclude, "_migrations")
	app := &backup.App{Name: "pocketbase", Version: "1.0.0", SchemaVersion: 1, Collections: collections}
	var names []string
	for i, c := range collections {
		names = append(names, c.Name)
		switch c.Name {
		case "collections": // secrets of tokens, and of OAuth2
			collections[i].Secrets = []string{"/options"}
		case "params": // passwords of mail and buckets
			collections[i].Secrets = []string{"/value"}
		case "notes":
			collections[i].Refs = []backup.Ref{{Pointer: "/author", Collection: "users"}, {Pointer: "/readers/*", Collection: "users"}}
		case "superusers", "users":
			// The index lets several have no address. All of them have one here.
			collections[i].Unique = []string{"/email"}
		}
	}
	app.Collections = append(app.Collections, backup.Collection{Name: "storage", Shape: backup.Map})
	return app, &joined.Store{Parts: []joined.Part{
		{Store: tables, Collections: names},
		{Store: filestore.Store{
			Path: h.storage(), AllowGap: true,
			Collections: []filestore.Collection{{Name: "storage", Layout: filestore.Tree, Path: "."}},
		}, Collections: []string{"storage"}},
	}}
}

// shape makes the tables of the collections that a snapshot has. In PocketBase, the shape
// of the data is data: it is in the table _collections.
func (h *host) shape(s *backup.Snapshot) {
	var all []map[string]any
	require.NoError(h.t, s.View(h.t.Context(), func(r backup.Reader) error {
		for r, err := range r.Records(h.t.Context(), "collections") {
			if err != nil {
				return err
			}
			var c map[string]any
			if err := json.Unmarshal(r.Value, &c); err != nil {
				return err
			}
			options, _ := c["options"].(map[string]any)
			delete(c, "options")
			maps.Copy(c, options)
			all = append(all, c)
		}
		return nil
	}))
	require.NoError(h.t, h.app.ImportCollections(all, true))
}

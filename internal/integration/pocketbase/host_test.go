package pocketbase

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"
	_ "github.com/pocketbase/pocketbase/migrations" // the tables of a new installation
	"github.com/stretchr/testify/require"
)

// A host is a PocketBase that runs, in a folder of its own.
type host struct {
	t      *testing.T
	dir    string
	app    *core.BaseApp
	server *httptest.Server
}

// start starts PocketBase as its command does. An empty folder gets a new installation.
func start(t *testing.T, dir string) *host {
	h := &host{t: t, dir: dir, app: core.NewBaseApp(core.BaseAppConfig{DataDir: dir})}
	require.NoError(t, h.app.Bootstrap())
	t.Cleanup(h.stop)
	require.NoError(t, h.app.RunAllMigrations())
	router, err := apis.NewRouter(h.app)
	require.NoError(t, err)
	require.NoError(t, h.app.OnServe().Trigger(&core.ServeEvent{App: h.app, Router: router}, func(e *core.ServeEvent) error {
		mux, err := e.Router.BuildMux()
		if err == nil {
			h.server = httptest.NewServer(mux)
		}
		return err
	}))
	return h
}

func (h *host) stop() {
	if h.server == nil {
		return
	}
	h.server.Close()
	h.server = nil
	require.NoError(h.t, h.app.OnTerminate().Trigger(&core.TerminateEvent{App: h.app}, func(e *core.TerminateEvent) error {
		return e.App.ResetBootstrapState()
	}))
}

func (h *host) database() *sql.DB { return h.app.ConcurrentDB().(*dbx.DB).DB() }

// storage is the folder of what users upload. PocketBase makes it with the first file.
func (h *host) storage() string {
	dir := filepath.Join(h.dir, core.LocalStorageDirName)
	require.NoError(h.t, os.MkdirAll(dir, 0o700))
	return dir
}

// superuser makes the first superuser, as the command "superuser create" does.
func (h *host) superuser(email, password string) {
	superusers, err := h.app.FindCollectionByNameOrId(core.CollectionNameSuperusers)
	require.NoError(h.t, err)
	r := core.NewRecord(superusers)
	r.SetEmail(email)
	r.SetPassword(password)
	require.NoError(h.t, h.app.Save(r))
}

type object = map[string]any

// A client calls the API. Its token is empty before it has logged in.
type client struct {
	*host
	token string
}

func (c client) send(method, path, kind string, body io.Reader) (status int, answer []byte) {
	r, err := http.NewRequest(method, c.server.URL+path, body)
	require.NoError(c.t, err)
	r.Header.Set("Content-Type", kind)
	if c.token != "" {
		r.Header.Set("Authorization", c.token)
	}
	got, err := http.DefaultClient.Do(r)
	require.NoError(c.t, err)
	defer got.Body.Close()
	answer, err = io.ReadAll(got.Body)
	require.NoError(c.t, err)
	return got.StatusCode, answer
}

// call sends JSON, and returns the JSON of the answer.
func (c client) call(method, path string, body any) object {
	c.t.Helper()
	text, err := json.Marshal(body)
	require.NoError(c.t, err)
	return c.object(c.send(method, path, "application/json", bytes.NewReader(text)))
}

// upload sends the fields of a record, and files by the name of their field.
func (c client) upload(path string, fields map[string]string, files map[string]map[string][]byte) object {
	c.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for name, value := range fields {
		require.NoError(c.t, form.WriteField(name, value))
	}
	for field, named := range files {
		for name, content := range named {
			part, err := form.CreateFormFile(field, name)
			require.NoError(c.t, err)
			_, err = part.Write(content)
			require.NoError(c.t, err)
		}
	}
	require.NoError(c.t, form.Close())
	return c.object(c.send(http.MethodPost, path, form.FormDataContentType(), &body))
}

func (c client) object(status int, answer []byte) object {
	c.t.Helper()
	require.Less(c.t, status, 300, "%s", answer)
	var o object
	if len(answer) > 0 {
		require.NoError(c.t, json.Unmarshal(answer, &o))
	}
	return o
}

// login returns a client with the token of a person, and whether PocketBase gave one.
func (h *host) login(collection, email, password string) (client, bool) {
	text, err := json.Marshal(object{"identity": email, "password": password})
	require.NoError(h.t, err)
	status, answer := client{host: h}.send(http.MethodPost, "/api/collections/"+collection+"/auth-with-password", "application/json", bytes.NewReader(text))
	if status != http.StatusOK {
		return client{}, false
	}
	return client{h, client{host: h}.object(status, answer)["token"].(string)}, true
}

// items returns all records of a collection that the client can see.
func (c client) items(collection string) []any {
	c.t.Helper()
	return c.call(http.MethodGet, "/api/collections/"+collection+"/records?perPage=500&sort=id", nil)["items"].([]any)
}

package backuphttp_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuphttp"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/location"
	"github.com/tomo-project/backup/manager"
	"github.com/tomo-project/backup/schedule"
)

// A host mounts the page in its web interface, says who may use it, and calls Run.
func Example() {
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	store := backuptest.MapStore{"notes": {"1": `{"id":"1","text":"hello"}`}}
	manager := &manager.Manager{
		App: &backup.App{
			Name: "notes", Version: "1.0.0", SchemaVersion: 1,
			Collections: []backup.Collection{{Name: "notes", Key: "/id"}},
		},
		Source: store, Sink: store,
		Locations: []location.Location{location.Dir(folder)},
		Schedule:  schedule.Daily{},
		Retention: backup.Retention{Last: 7},
	}

	page, err := backuphttp.New(backuphttp.Options{
		Manager: manager,
		Login:   "/login",
		Home:    "/settings",
		Authorize: func(r *http.Request, a backuphttp.Action) error {
			// A real host looks at the session. a says what the request wants to do.
			switch r.Header.Get("Authorization") {
			case "":
				return backuphttp.ErrLogin
			case "Bearer admin":
				return nil
			}
			return fmt.Errorf("only administrators may %s backups", a)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/settings/backup/", page)

	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- page.Run(ctx) }()

	// A host has an http.Server, with a ReadHeaderTimeout.
	server := httptest.NewServer(mux)
	defer server.Close()
	for _, token := range []string{"", "Bearer guest", "Bearer admin"} {
		r, err := http.NewRequest("GET", server.URL+"/settings/backup/api/overview", nil)
		if err != nil {
			log.Fatal(err)
		}
		r.Header.Set("Authorization", token)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(resp.StatusCode)
	}

	stop() // stops what is running and leaves nothing half done
	fmt.Println(<-ended)
	// Output:
	// 401
	// 403
	// 200
	// context canceled
}

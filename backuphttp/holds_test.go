package backuphttp

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
)

func TestThePageRecommendsOnlyAFullBackupWithoutAKnownProblem(t *testing.T) {
	h := newHost(t, nil)
	ago := 9 * time.Hour
	made := func(only ...string) string {
		ago -= time.Hour
		b, err := h.manager.Create(t.Context(), backup.BackupOptions{CreatedAt: time.Now().Add(-ago), Only: only})
		require.NoError(t, err)
		return b.Name
	}
	part := made("servers")
	require.Empty(t, h.seen().Good, "a partial backup is not the one to recover from")
	full := made()
	made("settings")
	require.Equal(t, full, h.seen().Good)
	require.Equal(t, "confirm", h.do(422, "DELETE", "backups/"+full, nil).code(t), "partial backups are not enough")
	h.do(204, "DELETE", "backups/"+part, nil)

	text := h.get("overview").text
	require.Contains(t, text, `"holds":"Settings only","partial":true`)
	require.Contains(t, text, `"holds":"Full"`)

	h.store["servers"], h.store["stack_services"] = map[string]string{}, map[string]string{}
	shrunk := made()
	o := h.seen()
	require.True(t, o.Shrunk)
	require.Equal(t, full, o.Good, "the page warns of the newest")
	h.do(204, "POST", "backups/"+shrunk+"/accept", nil)
	require.Equal(t, shrunk, h.seen().Good)
}

func TestAPartialBackupIsPartialWhereItIsVerifiedAndLookedInto(t *testing.T) {
	h := newHost(t, nil)
	b, err := h.manager.Create(t.Context(), backup.BackupOptions{Only: []string{"servers"}})
	require.NoError(t, err)
	const verdict = `"verdict":"is whole and can be restored; it is partial: servers only"`
	text := h.do(201, "POST", "restores", obj{"backup": b.Name}).text
	require.Contains(t, text, verdict)
	require.Contains(t, text, `"holds":"Servers only"`)
	j := h.began("backups/"+b.Name+"/verify", nil)
	require.Contains(t, h.get("jobs/"+j.ID).text, verdict)
}

func TestThePageSaysWhatABackupHolds(t *testing.T) {
	f := newFake("")
	f.o.Backups[1].Holds, f.o.Backups[1].Partial = "Servers only", true
	mark := *f.o.Backups[3].Manifest
	mark.Salvaged = &backup.Salvaged{LostBytes: 215, LostCollections: []string{"users"}, Digest: "lost", Counts: "lost"}
	f.o.Backups[3].Manifest = &mark
	saved := f.restores["salvaged"]
	saved.Verdict = "can be restored, but was salvaged: lost are all of users"
	f.restores["salvaged"] = saved
	verified := f.jobs["verify"]
	verified.Verified[0].Verdict, verified.Verified[0].Partial = "is whole and can be restored; it is partial: servers only", true
	f.jobs["salvage"].Salvage.Manifest.Salvaged = mark.Salvaged
	h := f.handler()
	page := func(path string, says ...string) string {
		text := get(h, path).Body.String()
		for _, said := range says {
			require.Contains(t, text, said, path)
		}
		return text
	}
	page("", "<small>Servers only</small>", ">Partial</span>", "Lost are all of users, 215 bytes of the damaged file. The counts")
	page("restore", "by hand, Servers only", ", lost data")
	text := page("restore/salvaged", "It can be restored, but was salvaged: lost are all of users.")
	require.NotContains(t, text, ">Whole</span>")
	require.NotContains(t, text, "It was read to its end, and can be restored.")
	text = page("jobs/verify", ">Partial</span>", "It is whole and can be restored; it is partial: servers only.")
	require.NotContains(t, text, ">Whole</span>")
	page("jobs/salvage", "Lost are all of users, 215 bytes")
}

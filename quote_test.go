package backup_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/backuptest"
	"github.com/tomo-project/backup/internal/seal"
)

// notJSON are texts that strict JSON refuses. Each holds a secret.
var notJSON = map[string]string{
	"half of a surrogate pair":   `"\ud800hunter2-the-secret"`,
	"half of a pair, and others": `"\ud800\ud8hunter2"`,
	"an escape of no digits":     `"\uhunter2"`,
	"an unknown escape":          `"\hunter2"`,
	"a literal":                  `hunter2`,
	"a number":                   `7h2unter2`,
	"a string without an end":    `"hunter2`,
	"invalid UTF-8":              "\"hunter2\xff\"",
	"a control character":        "\"hunter2\x01\"",
	"a name twice":               `{"hunter2":1,"hunter2":2}`,
	"a name twice, in an array":  `[{"hunter2":{"hunter2":1,"hunter\u0032":2}}]`,
	"a name without a colon":     `{"hunter2" "hunter2"}`,
	"a comma too few":            `["hunter2" "hunter2"]`,
}

// quotesNothing checks that an error has no part of the texts above.
func quotesNothing(t *testing.T, err error) {
	t.Helper()
	for _, format := range []string{"%v", "%+v", "%#v"} {
		text := fmt.Sprintf(format, err)
		for _, part := range []string{"hunt", "ud800", `ud8`, "7h", "'h'"} {
			require.NotContains(t, text, part)
		}
	}
}

func TestNoErrorQuotesTextThatIsNotJSON(t *testing.T) {
	app := secretApp()
	ctx := t.Context()
	for name, text := range notJSON {
		t.Run(name, func(t *testing.T) {
			record := `{"id":"a1","password":` + text + `}`

			_, err := app.Backup(ctx, io.Discard, backuptest.MapStore{"servers": {"a1": record}}, backup.BackupOptions{Recipients: sealed})
			require.ErrorIs(t, err, backup.ErrInvalid)
			require.ErrorContains(t, err, `servers "a1"`)
			quotesNothing(t, err)

			const before = "{\"version\":\"1.0\",\n\"created_at\":\"2024-01-15T10:30:00Z\",\n\"application\":\"demo\",\n\"application_version\":\"1.0.0\",\n\"data\":{\n\"servers\":[\n"
			document := before + record + ",\n{\"id\":\"a2\"}\n]\n}\n}\n"
			_, err = backup.OpenSnapshot(ctx, strings.NewReader(document), backup.OpenOptions{})
			require.ErrorIs(t, err, backup.ErrDamaged)
			require.ErrorContains(t, err, "servers")
			quotesNothing(t, err)

			report, err := app.Salvage(ctx, io.Discard, strings.NewReader(document), backup.SalvageOptions{})
			require.NoError(t, err)
			require.Len(t, report.Lost, 1)
			told, err := json.Marshal(report)
			require.NoError(t, err)
			quotesNothing(t, fmt.Errorf("%s", told))

			quotesNothing(t, restoreSealed(t, app, text))
			quotesNothing(t, restoreMigrated(t, record))
		})
	}
}

// restoreSealed restores a snapshot in which text is sealed as a secret.
func restoreSealed(t *testing.T, app *backup.App, text string) error {
	var file bytes.Buffer
	keep := &keptKey{Recipient: testKey("k")}
	store := backuptest.MapStore{"servers": {"a1": `{"id":"a1","password":"p"}`}}
	_, err := app.Backup(t.Context(), &file, store, backup.BackupOptions{Recipients: []backup.Recipient{keep}})
	require.NoError(t, err)
	id := regexp.MustCompile(`"id":"([^"]*==)"`).FindStringSubmatch(file.String())[1]
	box, err := seal.NewBox(keep.key, id)
	require.NoError(t, err)
	other := `"$sealed":"` + string(box.Seal(nil, []byte(text), "servers", "a1", "/password")) + `"`
	altered := regexp.MustCompile(`"\$sealed":"[^"]*"`).ReplaceAllLiteralString(file.String(), other)
	_, err = app.Restore(t.Context(), opened(t, redigested(altered)), backuptest.MapStore{"servers": {}}, backup.RestoreOptions{})
	require.ErrorIs(t, err, backup.ErrDamaged)
	require.ErrorContains(t, err, `servers "a1" /password`)
	return err
}

// A keptKey is a Recipient that keeps the data key.
type keptKey struct {
	backup.Recipient
	key []byte
}

func (k *keptKey) Wrap(key []byte) (json.RawMessage, error) {
	k.key = bytes.Clone(key)
	return k.Recipient.Wrap(key)
}

// restoreMigrated restores a snapshot of which a migrator makes the record.
func restoreMigrated(t *testing.T, record string) error {
	app := secretApp()
	s := backedUp(t, app, backuptest.MapStore{"servers": {"a1": `{"id":"a1"}`}}, backup.BackupOptions{})
	app.SchemaVersion = 2
	app.Migrators = []backup.Migrator{backup.Migration(1, func(_ context.Context, collection string, _ backup.Record, emit func(string, backup.Record) error) error {
		return emit(collection, backup.Record{Value: []byte(record)})
	})}
	_, err := app.Restore(t.Context(), s, backuptest.MapStore{"servers": {}}, backup.RestoreOptions{})
	require.ErrorIs(t, err, backup.ErrInvalid)
	return err
}

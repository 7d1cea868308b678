package backuphttp

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"unicode"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/stream"
)

// upload receives a backup and looks into it.
func (h *Handler) upload(ctx context.Context, name string, from io.Reader) (restoreInfo, error) {
	r := &restore{info: restoreInfo{Name: fileName(name), Uploaded: true}}
	return h.begin(ctx, r, func(ctx context.Context) (restoreInfo, error) {
		file, err := h.newSpool()
		if err != nil {
			return restoreInfo{}, err
		}
		r.file = file
		most := h.mostUpload()
		n, err := io.Copy(file, io.LimitReader(stream.WithContext(ctx, from), most+1))
		switch {
		case h.ending():
			err = errStopped
		case err == nil && n > most:
			err = &http.MaxBytesError{Limit: most}
		case err == nil && n == 0:
			err = fmt.Errorf("%w: the file is empty: choose another one", backup.ErrInvalid)
		}
		if err != nil {
			return restoreInfo{}, fmt.Errorf("upload: %w", err)
		}
		return h.examine(ctx, r)
	})
}

// fileName cleans the name that a browser gives a file, for people and for downloads.
func fileName(name string) string {
	name = path.Base(strings.ReplaceAll(strings.ToValidUTF8(name, ""), `\`, "/"))
	name = strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || strings.ContainsRune(`"<>|:*?;`, r) {
			return -1
		}
		return r
	}, name))
	for len(name) > 200 {
		name = strings.ToValidUTF8(name[:200], "")
	}
	if strings.Trim(name, "./") == "" {
		return "backup.json"
	}
	return name
}

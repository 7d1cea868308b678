package backuphttp

import (
	"io"
	"mime"
	"net/http"
	"strconv"
)

// A download is a file for a person to save.
type download struct {
	io.ReadCloser
	name  string
	bytes int64 // 0: not known
}

// send answers with a file to save, or returns err if it is not nil.
func send(w http.ResponseWriter, r *http.Request, file download, err error) error {
	if err != nil {
		return err
	}
	defer file.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": file.name}))
	if file.bytes > 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(file.bytes, 10))
	}
	if r.Method == http.MethodHead {
		return nil
	}
	if n, err := io.Copy(w, file); err != nil || file.bytes > 0 && n != file.bytes {
		panic(http.ErrAbortHandler) // the client must see that the file is not complete
	}
	return nil
}

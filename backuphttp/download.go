package backuphttp

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"
)

// A download is a file for a person to save.
type download struct {
	io.ReadCloser
	name  string
	bytes int64 // 0: not known
}

// download opens a file to download, and takes a place until it is closed.
func (h *Handler) download(open func() (download, error)) (download, error) {
	leave, ok := h.downloads.enter(client{})
	if !ok {
		return download{}, tooMany(fmt.Sprintf("%d downloads are under way, and more are not possible at a time; try again when one of them has ended", mostDownloads), time.Minute)
	}
	file, err := open()
	if err != nil {
		leave()
		return download{}, err
	}
	file.ReadCloser = &placed{file.ReadCloser, leave}
	return file, nil
}

// A placed file gives its place back when it is closed.
type placed struct {
	io.ReadCloser
	leave func()
}

func (p *placed) Close() error {
	defer p.leave()
	return p.ReadCloser.Close()
}

// A paced reader gives up on a client that reads too slowly for too long.
type paced struct {
	io.Reader
	pace pace
}

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if err == nil && p.pace.slow(n) {
		err = errors.New("the client reads too slowly: " + tooSlowly)
	}
	return n, err
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
	if n, err := io.Copy(w, &paced{file, pace{began: time.Now()}}); err != nil || file.bytes > 0 && n != file.bytes {
		panic(http.ErrAbortHandler) // the client must see that the file is not complete
	}
	return nil
}

package backuphttp

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tomo-project/backup"
	"github.com/tomo-project/backup/internal/envelope"
	"github.com/tomo-project/backup/manager"
)

// announce sends the head of a request with a large body and none of the body. It reads
// the response and the end of the connection.
func announce(h *host, method, path, head string) reply {
	h.Helper()
	address, at, _ := strings.Cut(strings.TrimPrefix(h.url, "http://"), "/")
	c, err := net.Dial("tcp", address)
	require.NoError(h, err)
	defer c.Close()
	fmt.Fprintf(c, "%s /%s%s HTTP/1.1\r\nHost: x\r\n%s\r\n", method, at, path, head)
	r, err := http.NewRequest(method, h.url+path, nil)
	require.NoError(h, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), r)
	require.NoError(h, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(h, err)
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(h, err, io.EOF, "the connection ends")
	described(h, r, resp, text)
	return reply{resp, string(text)}
}

func TestABodyThatIsAnnouncedToBeTooLargeIsRefusedBeforeItComes(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) {
		o.MaxUpload = 1000
		o.TempDir += "/gone" // a temporary file cannot be made
	})
	h.patience = time.Hour // the answer waits for no byte
	name := h.made()
	for _, e := range h.endpoints() {
		if e.method == "GET" {
			continue
		}
		for _, kind := range []string{"application/json", "application/octet-stream", "multipart/form-data; boundary=x"} {
			got := announce(h, e.method, "api/"+real(e.path, name), "Content-Type: "+kind+"\r\nContent-Length: 1099511627776\r\n")
			require.Equal(t, 413, got.StatusCode, e.path)
			require.Equal(t, "too_large", got.code(t))
		}
	}
	got := announce(h, "POST", "api/uploads", "Content-Type: application/octet-stream\r\nContent-Length: 300000\r\n")
	require.Equal(t, 413, got.StatusCode)
	require.Contains(t, got.text, "larger than 1.0 kB, which is the limit here: if it is a backup, put it at one of the locations")
	got = announce(h, "POST", "upload", "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9000000\r\n")
	require.Equal(t, 413, got.StatusCode)
	require.Contains(t, got.text, "larger than 1.0 kB")
	require.Empty(t, h.restores)
}

func TestTheFormOfAFileMayBeLargerThanTheFile(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) { o.MaxUpload = 1000 })
	for size, want := range map[int]int{1000: 201, 1001: 413} {
		var form bytes.Buffer
		w := multipart.NewWriter(&form)
		require.NoError(t, w.WriteField("note", strings.Repeat("x", 5000)))
		part, err := w.CreateFormFile("file", "b.json")
		require.NoError(t, err)
		_, err = io.WriteString(part, strings.Repeat(" ", size))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		r := h.request("POST", "uploads", &form)
		r.Header.Set("Content-Type", w.FormDataContentType())
		require.Equal(t, want, h.send(r).StatusCode, size)
	}
}

func TestAFormIsNotSearchedForAFileForEver(t *testing.T) {
	h := newHost(t, nil)
	for parts, want := range map[int]int{mostParts - 1: 201, mostParts: 400} {
		form := strings.Repeat("--x\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\n\r\n", parts) +
			"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"b.json\"\r\n\r\n{}\r\n--x--\r\n"
		r := h.request("POST", "uploads", strings.NewReader(form))
		r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		got := h.send(r)
		require.Equal(t, want, got.StatusCode)
		if want == 400 {
			require.Equal(t, "no_file", got.code(t))
		}
		resp, err := http.Post(h.url+"upload", "multipart/form-data; boundary=x", strings.NewReader(form))
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, map[int]int{201: 200, 400: 422}[want], resp.StatusCode)
	}
}

func TestWhoGoesOnSendingAfterTheRefusalIsCutOff(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) { o.MaxUpload = 1000 })
	h.patience = time.Hour
	for _, length := range []string{"Content-Length: 1099511627776", "Transfer-Encoding: chunked"} {
		address, at, _ := strings.Cut(strings.TrimPrefix(h.url, "http://"), "/")
		c, err := net.Dial("tcp", address)
		require.NoError(t, err)
		fmt.Fprintf(c, "POST /%sapi/uploads HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n%s\r\n\r\n", at, length)
		over := make(chan struct{})
		go func() {
			defer close(over)
			for err := error(nil); err == nil; {
				_, err = io.WriteString(c, "7d0\r\n"+strings.Repeat("x", 2000)+"\r\n")
			}
		}()
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil { // a slow client may miss it
			require.Equal(t, 413, resp.StatusCode)
		}
		<-over
		c.Close()
	}
}

// A file without a Content-Length is cut off at the limit, and takes no memory.
func TestAFileOfUnknownSizeIsCutOffAtTheLimit(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) { o.MaxUpload = 1 << 20 })
	r := h.request("POST", "uploads", &countingReader{})
	r.Header.Set("Content-Type", "application/octet-stream")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := h.send(r)
	runtime.ReadMemStats(&after)
	require.Equal(t, 413, got.StatusCode)
	require.Contains(t, got.text, "larger than 1.0 MB")
	t.Logf("%d bytes were allocated", after.TotalAlloc-before.TotalAlloc)
	h.Handler.mu.Lock()
	defer h.Handler.mu.Unlock()
	require.Zero(t, h.spooled)
}

func TestAFileThatTheManagerCouldNotOpenIsNotTaken(t *testing.T) {
	h := newHost(t, func(h *host, m *manager.Manager, o *Options) { m.Limits = backup.Limits{TotalBytes: 1000} })
	most := envelope.MostStored(1000)
	require.Equal(t, most, h.mostUpload())
	got := announce(h, "POST", "api/uploads", fmt.Sprintf("Content-Type: application/octet-stream\r\nContent-Length: %d\r\n", most+1))
	require.Equal(t, 413, got.StatusCode)
	require.Contains(t, got.text, "2.1 MB")
}

func TestAFullDiskIsTold(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("this system has no /dev/full")
	}
	h := newHost(t, nil)
	s := &spool{h: h.Handler, f: full, used: 1}
	_, err = s.Write([]byte("x"))
	status, code := classify(err)
	require.Equal(t, 507, status)
	require.Equal(t, "no_space", code)
	require.ErrorContains(t, err, "free some disk space")
	require.NoError(t, s.Close())
	require.Zero(t, h.spooled)
}

func TestFewUploadsAreTakenAtATime(t *testing.T) {
	h := newHost(t, nil)
	var others []*io.PipeWriter
	ended := make(chan error, mostUploads)
	for range mostUploads {
		from, to := io.Pipe()
		others = append(others, to)
		r := h.request("POST", "uploads", from)
		r.Header.Set("Content-Type", "application/octet-stream")
		go func() {
			resp, err := http.DefaultClient.Do(r)
			if err == nil {
				resp.Body.Close()
			}
			ended <- err
		}()
		_, err := io.WriteString(to, "{")
		require.NoError(t, err)
	}
	taken := func() int {
		h.uploads.mu.Lock()
		defer h.uploads.mu.Unlock()
		return h.uploads.all
	}
	for taken() < mostUploads {
		time.Sleep(time.Millisecond)
	}
	got := h.sent(429, "b.json", "{}")
	require.Equal(t, "too_many", got.code(t))
	require.Equal(t, "60", got.Header.Get("Retry-After"))
	require.Contains(t, announce(h, "POST", "upload", "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 9000000\r\n").text, "4 uploads are under way")
	h.do(201, "POST", "restores", obj{"backup": h.made()}) // stored backups are not concerned
	for _, to := range others {
		require.NoError(t, to.Close())
		require.NoError(t, <-ended)
	}
	for taken() > 0 {
		time.Sleep(time.Millisecond)
	}
	h.sent(201, "b.json", "{}")
}

func TestAnUploadThatTricklesIsCutOff(t *testing.T) {
	inBubble(t, nil, func(h *host, connect func() net.Conn) {
		c := connect()
		began := time.Now()
		fmt.Fprint(c, "POST /api/uploads HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: 4000000000\r\n\r\n{")
		over := make(chan struct{})
		go func() {
			defer close(over)
			for time.Since(began) < 24*time.Hour {
				time.Sleep(20 * time.Second)
				if _, err := io.WriteString(c, strings.Repeat(" ", 5000)); err != nil {
					return
				}
			}
			c.Close()
		}()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(h, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(h, err)
		require.Equal(h, 400, resp.StatusCode)
		require.Contains(h, string(text), "the upload is too slow")
		require.InDelta(h, paceFrom.Seconds(), time.Since(began).Seconds(), 600)
		c.Close()
		<-over
	})
}

func TestADownloadThatTricklesIsCutOff(t *testing.T) {
	inBubble(t, nil, func(h *host, connect func() net.Conn) {
		info, err := h.upload(h.Context(), "b.json", strings.NewReader(strings.Repeat(" ", 100<<20)))
		require.NoError(h, err)
		c := connect()
		began := time.Now()
		fmt.Fprintf(c, "GET /api/restores/%s/file HTTP/1.1\r\nHost: x\r\n\r\n", info.ID)
		for err == nil && time.Since(began) < 24*time.Hour {
			time.Sleep(10 * time.Second)
			_, err = io.ReadFull(c, make([]byte, 32<<10))
		}
		require.Error(h, err)
		require.InDelta(h, paceFrom.Seconds(), time.Since(began).Seconds(), 600)
		c.Close()
		synctest.Wait()
		require.Zero(h, h.downloads.all)
	})
}

func TestFewDownloadsAreSentAtATime(t *testing.T) {
	h := newHost(t, nil)
	name := h.made()
	id := h.sent(201, "b.json", "{}").restored(t).ID
	var leave []func()
	for range mostDownloads {
		free, ok := h.downloads.enter(client{})
		require.True(t, ok)
		leave = append(leave, free)
	}
	for _, path := range []string{"backups/" + name + "/file", "restores/" + id + "/file"} {
		got := h.do(429, "GET", path, nil)
		require.Equal(t, "too_many", got.code(t))
		require.Equal(t, "60", got.Header.Get("Retry-After"))
	}
	leave[0]()
	for range 3 { // the place is given back
		h.get("backups/" + name + "/file")
		h.do(404, "GET", "restores/none/file", nil)
	}
}

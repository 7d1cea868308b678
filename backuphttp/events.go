package backuphttp

import (
	"encoding/json"
	"io"
	"net/http"
	"time"
)

// getEvents sends the job that runs, or else the last job, and then each job that
// changes. It ends when the client goes, when the client may no longer View, when Run
// ends, and after a while in any case: the client then asks again, as a new request that
// the host checks as any other.
func (h *Handler) getEvents(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "text/event-stream")
		return nil
	}
	leave, ok := h.streams.enter(h.clientOf(r))
	if !ok {
		return tooMany("too many streams of events are open: close another tab of this page, or ask for the job now and then", 10*time.Second)
	}
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	changed, stop := h.watch()
	defer stop()
	s := &eventStream{h: h, w: w, r: r, asked: time.Now()}
	s.send(changed)
	return nil
}

// An eventStream is an open stream of events. It queues nothing: a client that reads
// slowly gets the last state of each job, and misses those between.
type eventStream struct {
	h       *Handler
	w       http.ResponseWriter
	r       *http.Request
	version int64     // Handler.version of what was sent
	asked   time.Time // when Authorize allowed View last
}

func (s *eventStream) send(changed <-chan struct{}) {
	beat := time.NewTicker(s.h.beat)
	defer beat.Stop()
	life := time.NewTimer(s.h.life)
	defer life.Stop()
	for text := "retry: 3000\n\n"; s.write(text); {
		pause := time.NewTimer(s.h.pause)
		select {
		case <-pause.C:
		case <-s.r.Context().Done():
		}
		pause.Stop()
		select {
		case <-s.r.Context().Done():
			return
		case <-life.C:
			return
		case <-changed:
			text = ""
		case <-beat.C:
			text = ":\n\n" // shows whether the client is still there
		}
		if !s.allowed() {
			return
		}
	}
}

// allowed tells whether the client may still View. It trusts an answer for a moment.
func (s *eventStream) allowed() bool {
	if time.Since(s.asked) < s.h.trust {
		return true
	}
	s.asked = time.Now()
	return s.h.opts.Authorize(s.r, View) == nil
}

// write sends a text and the jobs that have changed. It returns false at the end of the
// stream: Run has ended, or the client is gone or reads nothing.
func (s *eventStream) write(text string) bool {
	over := !s.h.runs()
	var jobs []job
	jobs, s.version = s.h.changed(s.version)
	for _, j := range jobs {
		data, err := json.Marshal(j)
		if err != nil {
			s.h.log("send an event", err)
			return false
		}
		text += "event: job\ndata: " + string(data) + "\n\n"
	}
	if _, err := io.WriteString(s.w, text); err != nil {
		return false
	}
	return http.NewResponseController(s.w).Flush() == nil && !over
}

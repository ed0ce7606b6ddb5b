package server

import (
	"encoding/json"
	"errors"
	"net/http"

	"lighter/api"
)

// The media types of streams.
const (
	rawStream   = "application/vnd.docker.raw-stream"
	muxedStream = "application/vnd.docker.multiplexed-stream"
)

// streamType is the media type of a container's output for this client.
func (r *request) streamType(terminal bool) string {
	if terminal || r.older("1.42") {
		return rawStream
	}
	return muxedStream
}

// writeJSON answers with v as JSON: nothing escaped for HTML, a newline at the end.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return ignoreGone(enc.Encode(v))
}

// ok answers 200 with v as JSON.
func ok(w http.ResponseWriter, v any, err error) error {
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, v)
}

// noContent answers 204 unless there is an error.
func noContent(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// ignoreGone drops what Encode says when the client has left or the status has
// no body: the answer has begun, so there is nobody left to tell.
func ignoreGone(err error) error {
	var bad *json.UnsupportedValueError
	if errors.As(err, &bad) {
		return err
	}
	return nil
}

// writeError answers with an error, in the shape that the client's version knows.
func writeError(w http.ResponseWriter, version string, err error) {
	status := api.KindOf(err).Status()
	if version != "" && api.VersionLess(version, api.MinVersion) {
		// Such old clients print the body as it is.
		http.Error(w, err.Error(), status)
		return
	}
	_ = writeJSON(w, status, api.ErrorBody{Message: err.Error()})
}

// stream sends what is written at once, after headers that went out first.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// startStream sends the headers of a 200 answer.
func startStream(w http.ResponseWriter, contentType string) *stream {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
	s := &stream{w: w, rc: http.NewResponseController(w)}
	_ = s.rc.Flush() // a client that is gone shows at the next write
	return s
}

func (s *stream) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err != nil {
		return n, err
	}
	return n, s.rc.Flush()
}

// progress is the answer of a long job: JSON objects separated by \r\n, each
// sent at once. Its 200 goes out with the first object, so that an error before
// it is an answer like any other.
type progress struct {
	w   http.ResponseWriter
	enc *json.Encoder
	rc  *http.ResponseController
}

// newProgress starts a progress stream; nothing is sent yet.
func newProgress(w http.ResponseWriter) *progress { return &progress{w: w} }

// begin sends the headers, unless they are gone already. The request's body may still be
// read afterwards.
func (p *progress) begin() {
	if p.enc != nil {
		return
	}
	// A connection that knows no other way (httptest's recorder) stays as it is.
	_ = http.NewResponseController(p.w).EnableFullDuplex()
	s := startStream(p.w, "application/json")
	p.rc = s.rc
	p.enc = json.NewEncoder(crlf{p.w}) // which escapes for HTML: so do Docker's streams
}

// send writes one object.
func (p *progress) send(v any) error {
	p.begin()
	if err := p.enc.Encode(v); err != nil {
		return err
	}
	return p.rc.Flush()
}

// end ends the stream: an error goes in band when the answer has begun, and is
// handed back to be answered when it has not.
func (p *progress) end(err error) error {
	if err == nil || p.enc == nil {
		return err
	}
	msg := err.Error()
	_ = p.send(api.Progress{ErrorDetail: &api.ErrorDetail{Message: msg}, Error: msg})
	return nil
}

// crlf writes the newline at the end of an object as \r\n.
type crlf struct{ w http.ResponseWriter }

func (c crlf) Write(p []byte) (int, error) {
	n := len(p)
	if n > 0 && p[n-1] == '\n' {
		p = append(p[:n-1:n-1], '\r', '\n')
	}
	if _, err := c.w.Write(p); err != nil {
		return 0, err
	}
	return n, nil
}

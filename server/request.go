package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"lighter/api"
	"lighter/policy"
)

// Bounds of a request that is no upload.
const (
	maxJSON  = 4 << 20          // bytes of a JSON body
	jsonTime = 30 * time.Second // in which a JSON body must have come
)

// request is a request that has found its route.
type request struct {
	*http.Request
	name    string // what {name} in the route's path stands for; may hold slashes
	version string // of the API that the client speaks: "1.51"
	query   url.Values

	who   policy.Who // who asks, where somebody wants to know
	grant *grant     // nil: there is no policy
	entry *entry     // nil: there is no audit log, or it is no request for it
}

// older reports whether the client speaks an API older than v.
func (r *request) older(v string) bool { return api.VersionLess(r.version, v) }

// ours reports whether the client is our own, under its own name: it hears more than Docker tells.
func (r *request) ours() bool { return strings.Contains(r.UserAgent(), " lighter/") }

// merges reports whether what others need two requests for may be one: for our own client, and
// unless each request is judged or noted for itself.
func (s *Server) merges(r *request) bool { return s.watch == nil && r.ours() }

// flag reads a boolean parameter in Docker's generous way: everything is true
// but the empty string, 0, no, false and none.
func (r *request) flag(key string) bool {
	switch strings.ToLower(strings.TrimSpace(r.query.Get(key))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// flagOr is flag for a parameter whose absence means def.
func (r *request) flagOr(key string, def bool) bool {
	if !r.query.Has(key) {
		return def
	}
	return r.flag(key)
}

// integer reads an optional whole number; absent gives nil.
func (r *request) integer(key string) (*int, error) {
	v := r.query.Get(key)
	if v == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return nil, api.Errorf(api.Invalid, "%w", err)
	}
	return &n, nil
}

// size reads the height and width of a terminal.
func (r *request) size() (rows, cols uint32, err error) {
	read := func(key, what string) uint32 {
		n, e := strconv.ParseUint(r.query.Get(key), 10, 32)
		if e != nil {
			e = errors.Unwrap(e) // "invalid syntax" or "value out of range"
			if neg, ok := strings.CutPrefix(r.query.Get(key), "-"); ok {
				if _, bad := strconv.ParseUint(neg, 10, 32); bad == nil {
					e = strconv.ErrRange
				}
			}
			err = errors.Join(err, fmt.Errorf("invalid resize %s %q: %w", what, r.query.Get(key), e))
		}
		return uint32(n)
	}
	rows = read("h", "height")
	if err == nil {
		cols = read("w", "width")
	}
	if err != nil {
		return 0, 0, api.Errorf(api.Invalid, "%w", err)
	}
	return rows, cols, nil
}

// filters reads the filters parameter.
func (r *request) filters() (api.Filters, error) {
	return api.ParseFilters(r.query.Get("filters"))
}

// ownFilters are filters that let pass the client's things alone.
func (r *request) ownFilters() (api.Filters, error) {
	f, err := r.filters()
	if err != nil {
		return nil, err
	}
	return r.grant.own(f), nil
}

// sent reports whether the request has a body, or may have one.
func (r *request) sent() bool { return r.Body != nil && r.ContentLength != 0 }

// json decodes the body into v, which stays as it is when there is no body.
func (r *request) json(w http.ResponseWriter, v any) error {
	if err := r.isJSON(); err != nil {
		return err
	}
	if !r.sent() {
		return nil
	}
	return r.decode(w, v)
}

// mustJSON is json for a body that must be there.
func (r *request) mustJSON(w http.ResponseWriter, v any) error {
	if err := r.isJSON(); err != nil {
		return err
	}
	if !r.sent() {
		return api.Errorf(api.Invalid, "invalid JSON: got EOF while reading request body")
	}
	return r.decode(w, v)
}

func (r *request) isJSON() error {
	ct := r.Header.Get("Content-Type")
	if ct == "" && !r.sent() {
		return nil
	}
	got, _, err := mime.ParseMediaType(ct)
	if err != nil {
		return api.Errorf(api.Invalid, "malformed Content-Type header (%s): %w", ct, err)
	}
	if got != "application/json" {
		return api.Errorf(api.Invalid, "unsupported Content-Type header (%s): must be 'application/json'", ct)
	}
	return nil
}

// decode reads one JSON value and no more, within bounds of size and time.
func (r *request) decode(w http.ResponseWriter, v any) error {
	rc := http.NewResponseController(w)
	// A connection without deadlines (httptest's recorder) is read without.
	_ = rc.SetReadDeadline(time.Now().Add(jsonTime))
	defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJSON))
	err := dec.Decode(v)
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &big):
		return tooLarge()
	case errors.Is(err, io.EOF):
		return api.Errorf(api.Invalid, "invalid JSON: got EOF while reading request body")
	case err != nil:
		return api.Errorf(api.Invalid, "invalid JSON: %w", err)
	}
	if dec.More() {
		return api.Errorf(api.Invalid, "unexpected content after JSON")
	}
	// White space may follow; it is bounded, too.
	if _, err := io.Copy(io.Discard, dec.Buffered()); errors.As(err, &big) {
		return tooLarge()
	}
	return nil
}

// readAhead reads a body that must be JSON, within the bounds that decode has, for decode to find it.
func (r *request) readAhead(w http.ResponseWriter) error {
	if !r.sent() {
		return nil
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(jsonTime))
	defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxJSON))
	if errors.As(err, new(*http.MaxBytesError)) {
		return tooLarge()
	}
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), &broken{err}))
	return nil
}

// broken is a body from where it could not be read on.
type broken struct{ err error }

func (b *broken) Read([]byte) (int, error) { return 0, cmp.Or(b.err, io.EOF) }

func tooLarge() error {
	return api.Errorf(api.Invalid, "invalid JSON: the request body is larger than %d MB", maxJSON>>20)
}

func parseQuery(raw string) (url.Values, error) {
	if raw == "" {
		return nil, nil
	}
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, api.Errorf(api.Invalid, "%w", err)
	}
	return q, nil
}

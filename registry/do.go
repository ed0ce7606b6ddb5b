package registry

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"lighter/oci"
)

// call is one request to a repository.
type call struct {
	method string
	path   string   // below the repository; or an absolute path that the registry gave
	to     *url.URL // in place of path: where an upload goes on
	header http.Header
	body   func() (io.ReadCloser, error) // opens the body, for every attempt anew; nil for none
	size   int64                         // of the body; -1 when nobody knows
	push   bool
	mount  string // another repository that a blob may come from
	once   bool   // an attempt that failed half-way is not repeated here
	long   bool   // the answer's body may take its time: the caller looks after it
}

// do makes a request until it is answered with success. The answer's body is the
// caller's to close; ctx covers it, too.
func (r *Repository) do(ctx context.Context, c call) (*http.Response, error) {
	r.mu.Lock()
	used := r.used
	r.mu.Unlock()
	if used != nil && !(c.push && used.mirror) {
		return r.at(ctx, used, c)
	}
	h, err := r.c.host(r.domain)
	if err != nil {
		return nil, err
	}
	var first error
	for _, e := range h.endpoints {
		if e.mirror && (c.push || c.to != nil) {
			continue
		}
		resp, err := r.at(ctx, e, c)
		if err == nil {
			r.mu.Lock()
			r.used = e
			r.mu.Unlock()
			return resp, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		if !e.mirror && !unreached(err) && !noHTTP(err) {
			return nil, err // it is there, and this is what it says
		}
		if first == nil || !e.mirror {
			first = better(first, err)
		}
	}
	return nil, first
}

// unreached reports whether an address has nobody who speaks as we do, so that another
// may be tried.
func unreached(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	var record tls.RecordHeaderError
	var cert *tls.CertificateVerificationError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &dns) || errors.As(err, &record) || errors.As(err, &cert) ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// noHTTP reports whether an answer is what a server says that is spoken to without TLS and
// wants it.
func noHTTP(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusBadRequest && e.Code == ""
}

// better chooses the error that tells more: the last one, as Docker does, unless an
// earlier one is about a certificate.
func better(first, later error) error {
	var cert *tls.CertificateVerificationError
	if errors.As(first, &cert) {
		return first
	}
	return later
}

// at makes a request at one endpoint: with a token when there is one, again when the
// registry wants another, and after a while when it is busy.
func (r *Repository) at(ctx context.Context, e *endpoint, c call) (*http.Response, error) {
	scopes := scopesOf(r.path, c)
	challenged := false
	for try := 1; ; try++ {
		resp, err := r.send(ctx, e, c, scopes)
		wait := r.c.backoff(try)
		switch {
		case err != nil:
			if ctx.Err() != nil || c.once || try >= r.c.cfg.Attempts || !repeatable(err) {
				return nil, err
			}
		case resp.StatusCode < 300:
			return resp, nil
		case resp.StatusCode == http.StatusUnauthorized && !challenged && sameHost(resp, e):
			challenged = true
			challenges := parseChallenges(resp.Header)
			discard(resp)
			if err := e.tokens.answer(ctx, e, challenges, scopes, r.creds, r.c.cfg.UserAgent); err != nil {
				method := c.method[:1] + strings.ToLower(c.method[1:])
				return nil, fmt.Errorf("%s %q: %w", method, redact(resp.Request.URL.String()), err)
			}
			try--
			continue
		default:
			err = failure(resp)
			var f *Error
			if errors.As(err, &f) && !f.Temporary() || c.once || try >= r.c.cfg.Attempts {
				return nil, err
			}
			if f.RetryAfter > 0 {
				wait = f.RetryAfter
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (while waiting to ask %s again: %w)", ctx.Err(), e.base.Host, err)
		}
	}
}

// backoff is how long to wait after so many attempts: twice the pause, doubled, and a bit.
func (c *Client) backoff(try int) time.Duration {
	d := c.pause << min(try, 7)
	return d + rand.N(d/2)
}

func (r *Repository) send(ctx context.Context, e *endpoint, c call, scopes []string) (*http.Response, error) {
	u := e.base
	switch {
	case c.to != nil:
		u = *c.to
	case strings.HasPrefix(c.path, "/"):
		path, query, _ := strings.Cut(c.path, "?")
		u.Path, u.RawQuery = path, query
	default:
		path, query, _ := strings.Cut(c.path, "?")
		u.Path, u.RawQuery = u.Path+"/v2/"+r.path+"/"+path, query
	}
	req, err := http.NewRequestWithContext(ctx, c.method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if c.body != nil {
		if req.Body, err = c.body(); err != nil {
			return nil, err
		}
		req.ContentLength = c.size
		req.GetBody = c.body
	}
	limit := r.c.cfg.Patience
	if c.long {
		limit = 0
	}
	for k, v := range c.header {
		req.Header[k] = v
	}
	if r.c.cfg.UserAgent != "" {
		req.Header.Set("User-Agent", r.c.cfg.UserAgent)
	}
	if u.Host == e.base.Host && u.Scheme == e.base.Scheme {
		if auth := e.tokens.header(scopes, r.creds); auth != "" {
			req.Header.Set("Authorization", auth)
		}
	}
	resp, err := hurried(e.http, req, r.c.cfg.Patience, limit)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			u.URL = redact(u.URL)
			if unreached(err) { // Docker asks `GET /v2/` before all else, and says so
				u.Op, u.URL = "Get", e.base.JoinPath("v2/").String()
			}
		}
		return nil, err
	}
	return resp, nil
}

// redact takes what only its receiver should know, such as a signature, from a URL.
func redact(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return s
	}
	u.RawQuery, u.User = "", nil
	return u.String()
}

func sameHost(resp *http.Response, e *endpoint) bool {
	u := resp.Request.URL
	return u.Host == e.base.Host && u.Scheme == e.base.Scheme
}

// repeatable reports whether a request may do better another time.
func repeatable(err error) bool {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return dns.IsTemporary || dns.IsTimeout
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, errSlow):
		return true
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op != "dial" || op.Timeout()
	}
	return strings.Contains(err.Error(), "server closed idle connection") || strings.Contains(err.Error(), "http2: ")
}

// Error is a registry's refusal.
type Error struct {
	Status     int    // of HTTP
	Code       string // of the specification: MANIFEST_UNKNOWN; empty when the registry gave none
	Message    string
	RetryAfter time.Duration
}

// Error says it as Docker does: `manifest unknown: manifest unknown`.
func (e *Error) Error() string {
	if e.Code == "" {
		return e.Message
	}
	return strings.ToLower(strings.ReplaceAll(e.Code, "_", " ")) + ": " + e.Message
}

// Temporary reports whether asking again may help.
func (e *Error) Temporary() bool {
	return e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout || e.Status >= 500 && e.Status != http.StatusNotImplemented
}

// NotFound reports whether a registry said that a thing is not there.
func NotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// Denied reports whether a registry wants somebody else to ask.
func Denied(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden)
}

// longestWait bounds what a registry may ask us to wait.
const longestWait = time.Minute

// failure reads a refusal.
func failure(resp *http.Response) error {
	defer discard(resp)
	e := &Error{Status: resp.StatusCode}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = min(time.Duration(s)*time.Second, longestWait)
	} else if t, err := http.ParseTime(resp.Header.Get("Retry-After")); err == nil {
		e.RetryAfter = min(max(time.Until(t), 0), longestWait)
	}
	var body struct {
		Errors []struct {
			Code    string
			Message string
		}
		Details string // what some give beside the specification
	}
	raw, err := readAll(resp.Body, maxAnswer)
	if err == nil && json.Unmarshal(raw, &body) == nil && len(body.Errors) > 0 {
		e.Code, e.Message = printable(body.Errors[0].Code), printable(body.Errors[0].Message)
		if e.Message == "" {
			e.Message = strings.ToLower(http.StatusText(e.Status))
		}
		return e
	}
	e.Message = fmt.Sprintf("received unexpected HTTP status: %d %s from %s", e.Status, http.StatusText(e.Status), resp.Request.URL.Host)
	if e.Status == http.StatusUnauthorized {
		e.Code, e.Message = "UNAUTHORIZED", "authentication required"
	}
	return e
}

// printable makes a stranger's words safe for a terminal and for a log: one line.
func printable(s string) string {
	s = strings.Map(func(c rune) rune {
		if c == '\n' || c == '\r' || c == '\t' {
			return ' '
		}
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 {
			return -1
		}
		return c
	}, s)
	if len(s) > 1000 {
		s = strings.ToValidUTF8(s[:1000], "") + "…"
	}
	return s
}

// decode reads an answer in JSON.
func decode(resp *http.Response, v any) error {
	defer resp.Body.Close()
	raw, err := readAll(resp.Body, maxAnswer)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s answered what is not JSON: %w", resp.Request.URL.Host, err)
	}
	return nil
}

// discard reads the rest of an answer, if it is short, so that its connection can be used again.
func discard(resp *http.Response) {
	io.CopyN(io.Discard, resp.Body, 64<<10)
	resp.Body.Close()
}

// located gives where an answer leads: a Location header, absolute or not.
func located(resp *http.Response) (*url.URL, error) {
	u, err := resp.Location()
	if err != nil {
		return nil, fmt.Errorf("%s did not say where to go on: %w", resp.Request.URL.Host, err)
	}
	if resp.Request.URL.Scheme == "https" && u.Scheme != "https" {
		return nil, fmt.Errorf("%s wants to go on without TLS at %s", resp.Request.URL.Host, u.Host)
	}
	return u, nil
}

// checkDigest refuses a digest that cannot be computed here.
func checkDigest(d oci.Digest) error {
	if !d.Valid() {
		return fmt.Errorf("digest %q: not valid", d)
	}
	if d.Algorithm() != "sha256" {
		return fmt.Errorf("digest %s: only sha256 is known here", d)
	}
	return nil
}

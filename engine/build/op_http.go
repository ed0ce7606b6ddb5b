package build

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"lighter/api"
	"lighter/store"
	"lighter/store/tree"
)

// httpSource is a file that a web server has: ADD https://…, and a build's context at a URL.
type httpSource struct {
	url      string
	checksum digest.Digest
	name     string // of the file; "" for what the server or the URL says
	mode     uint32
	uid, gid uint32
	auth     string // the secret with the header "Authorization"
	headers  [][2]string
}

// Bounds on what a server may do.
const (
	maxBody  = 64 << 30        // bytes of a file
	bodyIdle = 5 * time.Minute // between two pieces of a file
)

func newHTTPSource(_ *pb.Op, source *pb.SourceOp) (op, error) {
	s := &httpSource{url: source.Identifier, mode: 0o600}
	number := func(text string, to *uint32) error {
		n, err := strconv.ParseInt(text, 0, 32)
		if n != 0 && err == nil {
			*to = uint32(n)
		}
		return err
	}
	for attr, value := range source.Attrs {
		var err error
		switch attr {
		case pb.AttrHTTPChecksum:
			s.checksum, err = digest.Parse(value)
		case pb.AttrHTTPFilename:
			s.name = safeName(value)
		case pb.AttrHTTPPerm:
			err = number(value, &s.mode)
		case pb.AttrHTTPUID:
			err = number(value, &s.uid)
		case pb.AttrHTTPGID:
			err = number(value, &s.gid)
		case pb.AttrHTTPAuthHeaderSecret:
			s.auth = value
		case pb.AttrHTTPSignatureVerify, pb.AttrHTTPSignatureVerifyPubKey:
			err = errors.New("signatures of downloads are not verified here; give a checksum")
		default:
			switch name := strings.ToLower(strings.TrimPrefix(attr, pb.AttrHTTPHeaderPrefix)); {
			case name == attr:
			case name == "accept" || name == "user-agent":
				s.headers = append(s.headers, [2]string{name, value})
			}
		}
		if err != nil {
			return nil, api.Errorf(api.Invalid, "%s: %s: %w", redacted(s.url), attr, err)
		}
	}
	if s.checksum != "" && s.checksum.Algorithm() != digest.SHA256 {
		return nil, api.Errorf(api.NotImplemented, "%s: checksums are by sha256, not %s", redacted(s.url), s.checksum.Algorithm())
	}
	slices.SortFunc(s.headers, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return s, nil
}

// redacted is a URL without its password.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "the URL"
	}
	return u.Redacted()
}

// safeName makes one name in a folder of what a URL, a server or a Dockerfile says.
func safeName(s string) string {
	name := path.Base(strings.TrimSpace(s))
	if name == "." || name == ".." || name == "/" || len(name) > 255 || strings.ContainsFunc(name, unicode.IsControl) {
		return "download"
	}
	return name
}

// download is what a server has at a URL.
type download struct {
	Digest   string    `json:"digest"` // sha256:…
	Name     string    `json:"name"`
	ETag     string    `json:"etag,omitempty"`
	Modified string    `json:"modified,omitempty"` // as the server said it
	Fetched  time.Time `json:"fetched"`

	file *os.File // its content, if it was brought
}

// key asks the server, unless the Dockerfile says what the file is.
func (s *httpSource) key(ctx context.Context, j *job, _ []outcome) (*key, error) {
	k := &key{}
	k.addf("permissions", "%o %d:%d", s.mode, s.uid, s.gid)
	if s.checksum != "" {
		k.add("name", s.fileName(nil))
		k.add("content", s.checksum.String())
		return k, nil
	}
	d, err := s.look(ctx, j)
	if err != nil {
		return nil, err
	}
	k.add("name", d.Name)
	k.add("content", d.Digest)
	k.add("modified", d.Modified)
	return k, nil
}

// look finds out what is at the URL, once in a job.
func (s *httpSource) look(ctx context.Context, j *job) (*download, error) {
	if d, ok := j.downloads.Load(s); ok {
		return d.(*download), nil
	}
	file := j.b.Root.Path("build", "http", s.record())
	var known *download
	if d := (&download{}); store.ReadRecord(file, d) == nil {
		known = d
	}
	d, err := s.get(ctx, j, known)
	if err != nil {
		return nil, err
	}
	j.downloads.Store(s, d)
	if d.ETag == "" && d.Modified == "" {
		return d, nil
	}
	if err := os.MkdirAll(j.b.Root.Path("build", "http"), 0o700); err != nil {
		return nil, err
	}
	return d, store.WriteRecord(file, d, false)
}

// record names what is kept about the URL: nothing of it can be read off that.
func (s *httpSource) record() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", s.url, s.name, s.auth, s.headers))
	return hex.EncodeToString(sum[:]) + ".json"
}

// run makes a layer of the file.
func (s *httpSource) run(ctx context.Context, j *job, _ *vertex, _ []outcome) (_ []outcome, err error) {
	var d *download
	if s.checksum == "" {
		if d, err = s.look(ctx, j); err != nil {
			return nil, err
		}
	}
	want := s.checksum.String()
	if d != nil {
		want = d.Digest
	}
	if d == nil || d.file == nil {
		if d, err = s.get(ctx, j, nil); err != nil {
			return nil, err
		}
	}
	if d.Digest != want {
		return nil, api.Errorf(api.Invalid, "digest mismatch for %s: %s (expected: %s)", redacted(s.url), d.Digest, want)
	}
	at := time.Unix(0, 0)
	if t, err := http.ParseTime(d.Modified); err == nil {
		at = t
	}
	until, err := (dater{j}).until(nil, at)
	if err != nil {
		return nil, err
	}
	desk, err := newDesk(j, "", until)
	if err != nil {
		return nil, err
	}
	made := tree.Made{Mode: s.mode, Owner: &tree.Owner{UID: s.uid, GID: s.gid}, Time: &at}
	if err := desk.target.Place(d.file, cmp.Or(s.name, d.Name), made); err != nil {
		return nil, errors.Join(err, desk.drop())
	}
	top, err := desk.commit(ctx, j)
	return []outcome{{top: top}}, err
}

// get asks the server. Where what it has is known already, only that is told.
func (s *httpSource) get(ctx context.Context, j *job, known *download) (*download, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if known != nil && known.ETag != "" {
		// Some servers answer a conditional GET with all of it; so they are asked for its tag first.
		if resp, err := s.ask(ctx, j, http.MethodHead, nil); err == nil {
			resp.Body.Close()
			if tag := etag(resp); resp.StatusCode == http.StatusOK && tag == known.ETag {
				return known, nil
			}
		}
	}
	resp, err := s.ask(ctx, j, http.MethodGet, known)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && known != nil:
		return known, nil
	case resp.StatusCode < 200 || resp.StatusCode >= 300:
		return nil, api.Errorf(api.Invalid, "invalid response status %d", resp.StatusCode)
	case resp.ContentLength > maxBody:
		return nil, api.Errorf(api.Invalid, "%s has %d bytes, at most %d are taken", redacted(s.url), resp.ContentLength, int64(maxBody))
	}
	d := &download{Name: s.fileName(resp), ETag: etag(resp), Modified: resp.Header.Get("Last-Modified"), Fetched: j.b.now()}
	if d.file, err = j.b.Root.TempFile("download"); err != nil {
		return nil, err
	}
	j.later(func() { d.file.Close(); os.Remove(d.file.Name()) })
	idle := time.AfterFunc(bodyIdle, func() { cancel(fmt.Errorf("%s: nothing came for %v", redacted(s.url), bodyIdle)) })
	defer idle.Stop()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(d.file, h), io.LimitReader(waking{resp.Body, idle}, maxBody+1))
	switch {
	case err != nil && context.Cause(ctx) != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, fmt.Errorf("download %s: %w", redacted(s.url), err)
	case n > maxBody:
		return nil, api.Errorf(api.Invalid, "%s has no end: at most %d bytes are taken", redacted(s.url), int64(maxBody))
	}
	d.Digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	return d, nil
}

// waking is a reader that puts off an alarm whenever something comes.
type waking struct {
	io.Reader
	alarm *time.Timer
}

func (w waking) Read(b []byte) (int, error) {
	n, err := w.Reader.Read(b)
	if n > 0 {
		w.alarm.Reset(bodyIdle)
	}
	return n, err
}

// etag gives the tag of an answer; one by which only alike things are the same is none, as two of them
// may differ in their bytes.
func etag(resp *http.Response) string {
	tag := resp.Header.Get("ETag")
	if strings.HasPrefix(tag, "W/") {
		return ""
	}
	return tag
}

// modifiedFor is for how long something has not changed whose time of change says what it is, as
// servers tell it in whole seconds.
const modifiedFor = time.Minute

// ask sends a request. The answer's body is the caller's.
func (s *httpSource) ask(ctx context.Context, j *job, method string, known *download) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url, nil)
	if err != nil {
		return nil, api.Errorf(api.Invalid, "%w", err)
	}
	req.Header.Set("User-Agent", "lighter")
	for _, h := range s.headers {
		req.Header.Set(h[0], h[1])
	}
	// As it is: an answer that is packed on the way would be another file.
	req.Header.Set("Accept-Encoding", "identity")
	if known != nil {
		at, err := http.ParseTime(known.Modified)
		switch {
		case known.ETag != "":
			req.Header.Set("If-None-Match", known.ETag)
		case err == nil && known.Fetched.Sub(at) > modifiedFor:
			req.Header.Set("If-Modified-Since", known.Modified)
		}
	}
	if err := s.authorise(ctx, j, req); err != nil {
		return nil, err
	}
	resp, err := httpClient.Do(req)
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	return resp, err
}

// authorise adds the secret that the client has for the server. It goes nowhere else: the client of
// package http takes it off when it is sent on to another host.
func (s *httpSource) authorise(ctx context.Context, j *job, req *http.Request) error {
	names := [][2]string{{"HTTP_AUTH_HEADER_" + req.URL.Hostname(), ""}, {"HTTP_AUTH_TOKEN_" + req.URL.Hostname(), "Bearer "}}
	if s.auth != "" {
		names = [][2]string{{s.auth, ""}}
	}
	for _, name := range names {
		value, err := j.client.Secret(ctx, name[0])
		switch {
		case err == nil:
			req.Header.Set("Authorization", name[1]+string(value))
			return nil
		case !errors.Is(err, os.ErrNotExist):
			return fmt.Errorf("secret %s: %w", name[0], err)
		case s.auth != "":
			return api.Errorf(api.Invalid, "failed to retrieve HTTP auth secret %s: %w", s.auth, err)
		}
	}
	return nil
}

// httpClient waits for an answer no longer than anybody would.
var httpClient = &http.Client{Transport: func() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = 2 * time.Minute
	t.DisableCompression = true
	return t
}()}

// fileName is what the file is called.
func (s *httpSource) fileName(resp *http.Response) string {
	if s.name != "" {
		return s.name
	}
	if resp != nil {
		if _, params, err := mime.ParseMediaType(resp.Header.Get("Content-Disposition")); err == nil {
			if name := params["filename"]; name != "" && !strings.HasSuffix(name, "/") {
				return safeName(name)
			}
		}
	}
	u, err := url.Parse(s.url)
	if err != nil {
		return "download"
	}
	return safeName(u.Path)
}

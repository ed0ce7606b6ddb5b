package registry

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"lighter/oci"
)

// fake is a registry that does what it should, and whatever a test has it do instead.
type fake struct {
	*httptest.Server
	t *testing.T

	mu        sync.Mutex
	blobs     map[oci.Digest][]byte // of all repositories
	manifests map[string][]byte     // by repository/tag
	uploads   map[string][]byte
	asked     []string                                          // METHOD path
	token     string                                            // what requests must bear; empty for none
	given     int                                               // tokens
	meddle    func(w http.ResponseWriter, r *http.Request) bool // true: answered
}

func newFake(t *testing.T) *fake {
	f := &fake{t: t, blobs: map[oci.Digest][]byte{}, manifests: map[string][]byte{}, uploads: map[string][]byte{}}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) host() string { return strings.TrimPrefix(f.URL, "http://") }

func (f *fake) repo(c *Client, path string, creds Credentials) *Repository {
	return c.Repository(oci.Reference{Domain: f.host(), Path: path}, creds)
}

func (f *fake) put(b []byte) oci.Descriptor {
	d := oci.FromBytes(b)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blobs[d] = b
	return oci.Descriptor{MediaType: oci.MediaLayer, Digest: d, Size: int64(len(b))}
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, r.Method+" "+r.URL.String())
	meddle, want := f.meddle, f.token
	f.mu.Unlock()
	if meddle != nil && meddle(w, r) {
		return
	}
	if r.URL.Path == "/token" {
		f.serveToken(w, r)
		return
	}
	if want != "" && r.Header.Get("Authorization") != "Bearer "+want {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="fake, of course",scope="ignored"`, f.URL))
		refuse(w, 401, "UNAUTHORIZED", "authentication required")
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	switch repo, rest, ok := strings.Cut(path, "/blobs/uploads/"); {
	case path == "":
	case ok:
		f.serveUpload(w, r, repo, rest)
	case strings.Contains(path, "/manifests/"):
		f.serveManifest(w, r, strings.Replace(path, "/manifests/", ":", 1))
	case strings.Contains(path, "/blobs/"):
		f.mu.Lock()
		b, ok := f.blobs[oci.Digest(path[strings.Index(path, "/blobs/")+7:])]
		f.mu.Unlock()
		if !ok {
			refuse(w, 404, "BLOB_UNKNOWN", "blob unknown to registry")
			return
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(b)))
	default:
		refuse(w, 404, "NAME_UNKNOWN", "repository name not known to registry")
	}
}

func (f *fake) serveToken(w http.ResponseWriter, r *http.Request) {
	user, pass, _ := r.BasicAuth()
	r.ParseForm()
	if !(user == "ann" && pass == "pw") && r.PostForm.Get("refresh_token") != "refresh" {
		refuse(w, 401, "UNAUTHORIZED", "wrong")
		return
	}
	f.mu.Lock()
	f.given++
	f.token = fmt.Sprintf("t%d", f.given)
	answer := map[string]any{"token": f.token, "expires_in": 300}
	f.mu.Unlock()
	if r.Form.Get("offline_token") == "true" {
		answer["refresh_token"] = "refresh"
	}
	json.NewEncoder(w).Encode(answer)
}

func (f *fake) serveManifest(w http.ResponseWriter, r *http.Request, key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method == http.MethodPut {
		b, _ := io.ReadAll(r.Body)
		f.manifests[key] = b
		repo, _, _ := strings.Cut(key, ":")
		f.manifests[repo+":"+string(oci.FromBytes(b))] = b
		w.WriteHeader(201)
		return
	}
	b, ok := f.manifests[key]
	if !ok {
		refuse(w, 404, "MANIFEST_UNKNOWN", "manifest unknown")
		return
	}
	w.Header().Set("Content-Type", oci.MediaManifest)
	w.Header().Set("Docker-Content-Digest", string(oci.FromBytes(b)))
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	if r.Method != http.MethodHead {
		w.Write(b)
	}
}

func (f *fake) serveUpload(w http.ResponseWriter, r *http.Request, repo, id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	switch r.Method {
	case http.MethodPost:
		if d := oci.Digest(r.URL.Query().Get("mount")); d != "" && f.blobs[d] != nil {
			w.WriteHeader(201)
			return
		}
		id = fmt.Sprintf("u%d", len(f.uploads))
		f.uploads[id] = nil
		w.Header().Set("Location", "/v2/"+repo+"/blobs/uploads/"+id+"?state=x%2Fy")
		w.WriteHeader(202)
	case http.MethodPatch:
		f.uploads[id] = append(f.uploads[id], body...)
		w.Header().Set("Location", "/v2/"+repo+"/blobs/uploads/"+id+"?state=z")
		w.WriteHeader(202)
	case http.MethodPut:
		all := append(f.uploads[id], body...)
		d := oci.FromBytes(all)
		if string(d) != r.URL.Query().Get("digest") || r.URL.Query().Get("state") == "" {
			refuse(w, 400, "DIGEST_INVALID", "provided digest did not match uploaded content")
			return
		}
		f.blobs[d] = all
		w.WriteHeader(201)
	}
}

func refuse(w http.ResponseWriter, status int, code, msg string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, msg)
}

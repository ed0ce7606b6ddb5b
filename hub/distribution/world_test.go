package distribution

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"lighter/hub/account"
	"lighter/hub/blob"
	"lighter/hub/hubtest"
	"lighter/hub/meta"
	"lighter/oci"
)

// allow lets everybody do everything but see what is below secret/.
type allow struct{}

func (allow) Check(_ *http.Request, repo string, _ ...string) (account.Identity, error) {
	if strings.HasPrefix(repo, "secret/") {
		return account.Identity{}, &meta.Refusal{Status: 404, Code: "NAME_UNKNOWN", Message: "no such repository"}
	}
	return account.Identity{User: "somebody"}, nil
}

// world is a registry with a client.
type world struct {
	*testing.T
	g     *Registry
	local *blob.Local
	url   string
	mu    sync.Mutex
	pulls map[string]int
}

func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	dir := t.TempDir()
	db, err := meta.Open(t.Context(), hubtest.Database(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	local, err := blob.OpenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, local: local, pulls: map[string]int{}}
	cfg := Config{DB: db, Blobs: local, Access: allow{}, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Visible: func(account.Identity) (string, []any) { return `r.owner <> ?`, []any{"secret"} },
		Pulled: func(repo string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.pulls[repo]++
		}}
	if change != nil {
		change(&cfg)
	}
	w.g = New(cfg)
	s := httptest.NewServer(w.g)
	w.url = s.URL
	t.Cleanup(func() {
		s.Close()
		if err := local.Close(); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// answer is what came back.
type answer struct {
	status int
	http.Header
	body string
}

func (a answer) code() string {
	var e struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal([]byte(a.body), &e) != nil || len(e.Errors) != 1 || e.Errors[0].Message == "" {
		return "not an error: " + a.body
	}
	return e.Errors[0].Code
}

// do makes a request; headers are "Name: value".
func (w *world) do(method, path, body string, headers ...string) answer {
	w.Helper()
	r, err := http.NewRequestWithContext(w.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(r) // a redirect is an answer
	if err != nil {
		w.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	resp.Body.Close()
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// want makes a request that is answered with a status.
func (w *world) want(status int, method, path, body string, headers ...string) answer {
	w.Helper()
	a := w.do(method, path, body, headers...)
	if a.status != status {
		w.Fatalf("%s %s: %d, not %d: %s", method, path, a.status, status, a.body)
	}
	return a
}

// push brings a blob in, and gives its descriptor.
func (w *world) push(repo, text string) oci.Descriptor {
	w.Helper()
	d := oci.FromBytes([]byte(text))
	w.want(201, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+string(d), text)
	return oci.Descriptor{MediaType: oci.MediaLayer, Digest: d, Size: int64(len(text))}
}

// image pushes an image of layers, and gives its descriptor.
func (w *world) image(repo, tag string, layers ...string) oci.Descriptor {
	w.Helper()
	m := oci.Manifest{SchemaVersion: 2, MediaType: oci.MediaManifest, Config: w.push(repo, fmt.Sprintf(`{"of":%q}`, layers))}
	m.Config.MediaType = oci.MediaConfig
	for _, l := range layers {
		m.Layers = append(m.Layers, w.push(repo, l))
	}
	return w.manifest(repo, tag, m.MediaType, m)
}

func (w *world) manifest(repo, ref, media string, v any) oci.Descriptor {
	w.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		w.Fatal(err)
	}
	d := oci.FromBytes(raw)
	if ref == "" {
		ref = string(d)
	}
	a := w.want(201, "PUT", "/v2/"+repo+"/manifests/"+ref, string(raw), "Content-Type: "+media)
	if a.Get("Docker-Content-Digest") != string(d) || a.Get("Location") != "/v2/"+repo+"/manifests/"+string(d) {
		w.Errorf("headers %v", a.Header)
	}
	return oci.Descriptor{MediaType: media, Digest: d, Size: int64(len(raw))}
}

func (w *world) count(query string, args ...any) (n int) {
	w.Helper()
	if err := w.g.cfg.DB.QueryRow(w.Context(), query, args...).Scan(&n); err != nil {
		w.Fatal(err)
	}
	return n
}

func (w *world) files(sub string) (n int) {
	w.Helper()
	list, err := filepath.Glob(filepath.Join(w.local.Dir(), sub, "*"))
	if err != nil {
		w.Fatal(err)
	}
	return len(list)
}

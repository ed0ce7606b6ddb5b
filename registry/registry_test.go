package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lighter/oci"
)

var ann = Credentials{Username: "ann", Password: "pw"}

func client(t *testing.T, cfg Config) *Client {
	if cfg.Patience == 0 {
		cfg.Patience = 5 * time.Second
	}
	c := New(cfg)
	c.pause = time.Millisecond
	t.Cleanup(c.Close)
	return c
}

// A whole image goes up and comes down again, with tokens, and what is there is not sent twice.
func TestPushAndPull(t *testing.T) {
	f := newFake(t)
	f.token = "nobody has this one"
	c := client(t, Config{})
	ctx := t.Context()
	r := f.repo(c, "team/app", ann)
	blob := bytes.Repeat([]byte("layer"), 100_000)
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(blob)), nil }
	known := oci.Descriptor{MediaType: oci.MediaLayer, Digest: oci.FromBytes(blob), Size: int64(len(blob))}
	if has, err := r.Has(ctx, known.Digest); has || err != nil {
		t.Fatal(has, err)
	}
	d, mounted, err := r.Push(ctx, Upload{Open: open, Want: known})
	if err != nil || mounted || d.Digest != known.Digest {
		t.Fatal(d, mounted, err)
	}
	// One whose digest only its bytes tell.
	other := []byte("packed on the way")
	d, _, err = r.Push(ctx, Upload{Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(other)), nil }, Want: oci.Descriptor{Size: -1}})
	if err != nil || d.Digest != oci.FromBytes(other) || d.Size != int64(len(other)) {
		t.Fatal(d, err)
	}
	if _, mounted, err = f.repo(c, "team/second", ann).Push(ctx, Upload{From: "team/app", Open: open, Want: known}); err != nil || !mounted {
		t.Fatal(mounted, err)
	}
	manifest := []byte(`{"schemaVersion":2}`)
	if digest, err := r.PutManifest(ctx, "v1", oci.MediaManifest, manifest); err != nil || digest != oci.FromBytes(manifest) {
		t.Fatal(digest, err)
	}
	for _, tag := range []string{"v1", string(oci.FromBytes(manifest))} {
		md, raw, err := r.Manifest(ctx, tag)
		if err != nil || !bytes.Equal(raw, manifest) || md.Digest != oci.FromBytes(manifest) || md.MediaType != oci.MediaManifest {
			t.Fatal(md, err)
		}
		if sd, err := r.Stat(ctx, tag); err != nil || sd.Digest != md.Digest || sd.Size != md.Size {
			t.Fatal(sd, err)
		}
	}
	in, err := r.Blob(ctx, known, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(in)
	if err != nil || !bytes.Equal(got, blob) {
		t.Fatal(len(got), err)
	}
	if _, _, err := r.Manifest(ctx, "none"); !NotFound(err) || err.Error() != "manifest unknown: manifest unknown" {
		t.Fatal(err)
	}
	// The token goes stale in the middle: another is asked for.
	f.mu.Lock()
	f.token = "changed"
	f.mu.Unlock()
	if _, _, err := r.Manifest(ctx, "v1"); err != nil {
		t.Fatal(err)
	}
}

func TestCredentials(t *testing.T) {
	f := newFake(t)
	f.token = "x"
	f.manifests["a:v1"] = []byte(`{}`)
	c := client(t, Config{})
	ctx := t.Context()
	if _, _, err := f.repo(c, "a", Credentials{}).Manifest(ctx, "v1"); !Denied(err) {
		t.Fatal(err)
	}
	if _, _, err := f.repo(c, "a", Credentials{Username: "ann", Password: "wrong"}).Manifest(ctx, "v1"); !Denied(err) {
		t.Fatal(err)
	}
	identity, err := c.Login(ctx, f.host(), ann)
	if err != nil || identity != "refresh" {
		t.Fatal(identity, err)
	}
	if _, _, err := f.repo(c, "a", Credentials{Username: "<token>", IdentityToken: identity}).Manifest(ctx, "v1"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Login(ctx, f.host(), Credentials{Username: "ann", Password: "wrong"}); !Denied(err) {
		t.Fatal(err)
	}
	// One that takes the password itself.
	f.token = ""
	f.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		if user, pass, _ := r.BasicAuth(); user == "ann" && pass == "pw" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
		w.WriteHeader(401)
		return true
	}
	if _, _, err := f.repo(c, "a", ann).Manifest(ctx, "v1"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Login(ctx, f.host(), ann); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.repo(c, "a", Credentials{}).Manifest(ctx, "v1"); err == nil || !strings.HasSuffix(err.Error(), `/v2/a/manifests/v1": no basic auth credentials`) {
		t.Fatal(err)
	}
}

// breaking serves a blob in pieces: each connection breaks after some bytes.
func breaking(b []byte, piece int, ranges bool, broke *atomic.Int32) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		from := 0
		if ranges && r.Header.Get("Range") != "" {
			fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(b)-1, len(b)))
			w.Header().Set("Content-Length", fmt.Sprint(len(b)-from))
			w.WriteHeader(206)
		} else {
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		}
		end := len(b)
		if n := int(broke.Add(1)) * piece; n < end {
			end = n
		}
		w.Write(b[from:max(from, end)])
		if end < len(b) {
			panic(http.ErrAbortHandler)
		}
		return true
	}
}

// A connection that breaks is taken up where it broke, with ranges and without.
func TestResume(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		f := newFake(t)
		b := bytes.Repeat([]byte("0123456789"), 50_000)
		d := f.put(b)
		var broke atomic.Int32
		f.meddle = breaking(b, 150_000, ranges, &broke)
		in, err := f.repo(client(t, Config{}), "a", Credentials{}).Blob(t.Context(), d, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(in)
		if err != nil || !bytes.Equal(got, b) || broke.Load() != 4 {
			t.Errorf("ranges %v: %d bytes, %v, %d connections", ranges, len(got), err, broke.Load())
		}
	}
}

// Each lie is refused with a sentence that says what was wrong, and none costs more
// memory or time than is bounded.
func TestLies(t *testing.T) {
	b := bytes.Repeat([]byte("truth"), 1000)
	html := func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<h1>It works!</h1>")
		return true
	}
	status := func(code int, header ...string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
			return true
		}
	}
	for _, c := range []struct {
		name   string
		meddle func(http.ResponseWriter, *http.Request) bool
		want   string
	}{
		{"other bytes", func(w http.ResponseWriter, r *http.Request) bool {
			w.Write(bytes.Repeat([]byte("false"), 1000))
			return true
		}, "not what was promised"},
		{"too long, said", func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Length", "6000")
			w.Write(append(b, b[:1000]...))
			return true
		}, "not what was promised"},
		{"endless", func(w http.ResponseWriter, r *http.Request) bool {
			for {
				if _, err := w.Write(b); err != nil {
					return true
				}
			}
		}, "longer than 5000 bytes"},
		{"too short", func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Length", "10")
			w.Write(b[:10])
			return true
		}, "not what was promised"},
		{"another range", func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Range", "bytes 7-9/10")
			w.WriteHeader(206)
			return true
		}, "not what was promised"},
		{"html", html, "not what was promised"},
		{"silence", func(w http.ResponseWriter, r *http.Request) bool {
			w.Write(b[:10])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		}, "the connection broke"},
		{"redirect loop", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
			return true
		}, "10 redirects"},
		{"forbidden", status(403), "403"},
		{"gone", status(410), "410 Gone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			d := f.put(b)
			f.meddle = c.meddle
			patience := time.Duration(0)
			if c.name == "silence" {
				patience = 200 * time.Millisecond
			}
			in, err := f.repo(client(t, Config{Patience: patience}), "a", Credentials{}).Blob(t.Context(), d, 0, nil)
			if err == nil {
				_, err = io.Copy(io.Discard, in)
				in.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	for _, c := range []struct {
		name   string
		meddle func(http.ResponseWriter, *http.Request) bool
		want   string
	}{
		{"another manifest", func(w http.ResponseWriter, r *http.Request) bool { io.WriteString(w, "{}"); return true }, "manifest verification failed"},
		{"endless manifest", func(w http.ResponseWriter, r *http.Request) bool {
			for {
				if _, err := w.Write(b); err != nil {
					return true
				}
			}
		}, "longer than"},
		{"schema 1", func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "v1") {
				w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
			}
			return true
		}, "schema 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			f.meddle = c.meddle
			tag := string(oci.FromBytes(b))
			if c.name == "schema 1" {
				tag = "v1"
			}
			_, _, err := f.repo(client(t, Config{}), "a", Credentials{}).Manifest(t.Context(), tag)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// A busy registry is asked again when it says, and a broken one a few times.
func TestBusy(t *testing.T) {
	f := newFake(t)
	f.manifests["a:v1"] = []byte("{}")
	var n atomic.Int32
	f.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		switch n.Add(1) {
		case 1:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(429)
		case 2:
			w.WriteHeader(503)
		case 3:
			panic(http.ErrAbortHandler)
		default:
			return false
		}
		return true
	}
	c := client(t, Config{})
	began := time.Now()
	if _, _, err := f.repo(c, "a", Credentials{}).Manifest(t.Context(), "v1"); err != nil {
		t.Fatal(err)
	}
	if time.Since(began) < time.Second {
		t.Error("it did not wait as it was asked to")
	}
	f.meddle = func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(500); return true }
	if _, _, err := f.repo(c, "a", Credentials{}).Manifest(t.Context(), "v1"); err == nil || !strings.Contains(err.Error(), "500") {
		t.Fatal(err)
	}
	// A caller who gives up is not kept.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := f.repo(c, "a", Credentials{}).Manifest(ctx, "v1"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// Neither a redirect nor a challenge gets our credentials to another host.
func TestCredentialsStayHome(t *testing.T) {
	var leaked atomic.Value
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := r.Header.Get("Authorization"); a != "" {
			leaked.Store(a)
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+"http://"+r.Host+`/token"`)
		w.WriteHeader(401)
	}))
	defer away.Close()
	f := newFake(t)
	f.token = "secret"
	d := f.put([]byte("x"))
	f.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") && r.Header.Get("Authorization") != "" {
			http.Redirect(w, r, away.URL+"/elsewhere", http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
	_, err := f.repo(client(t, Config{}), "a", ann).Blob(t.Context(), d, 0, nil)
	if err == nil || leaked.Load() != nil {
		t.Fatalf("%v; leaked %v", err, leaked.Load())
	}
}

func TestTLS(t *testing.T) {
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/a/manifests/down" {
			http.Redirect(w, r, "http://"+r.Host+"/", http.StatusFound)
			return
		}
		io.WriteString(w, "{}")
	}))
	defer secure.Close()
	host := strings.TrimPrefix(secure.URL, "https://")
	ref := oci.Reference{Domain: host, Path: "a"}
	if _, _, err := client(t, Config{}).Repository(ref, Credentials{}).Manifest(t.Context(), "v1"); err != nil {
		t.Fatal("loopback needs no certificate:", err)
	}
	if _, _, err := client(t, Config{}).Repository(ref, Credentials{}).Manifest(t.Context(), "down"); err == nil || !strings.Contains(err.Error(), "leave TLS") {
		t.Fatal(err)
	}
	certs := t.TempDir()
	if err := os.Mkdir(filepath.Join(certs, host), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(certs, host, "ca.crt"), []byte("no certificate"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := client(t, Config{CertsDir: certs}).Repository(ref, Credentials{}).Manifest(t.Context(), "v1"); err == nil || !strings.Contains(err.Error(), "holds none") {
		t.Fatal(err)
	}
	// A name of another machine, in plain HTTP, only when the operator says so.
	for _, insecure := range [][]string{nil, {"192.0.2.0/24"}} {
		c := client(t, Config{Insecure: insecure})
		h, err := c.host("192.0.2.1:5000")
		if err != nil || len(h.endpoints) != 1+len(insecure) || h.endpoints[0].insecure != (insecure != nil) {
			t.Fatal(h, err)
		}
	}
}

// Docker Hub's images come from a mirror while it has them.
func TestMirror(t *testing.T) {
	f := newFake(t)
	f.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		r.URL.Path = strings.TrimPrefix(r.URL.Path, "/hub")
		return false
	}
	f.manifests["library/debian:12"] = []byte("{}")
	c := client(t, Config{Mirrors: []string{f.URL + "/hub"}})
	ref, _ := oci.ParseReference("debian:12")
	if _, _, err := c.Repository(ref, Credentials{}).Manifest(t.Context(), "12"); err != nil {
		t.Fatal(err)
	}
	// One that is away, one that is ill, one that has it not, and then one that has it.
	ill, not := newFake(t), newFake(t)
	ill.meddle = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true }
	c = client(t, Config{Mirrors: []string{"http://127.0.0.1:1", ill.URL, not.URL, f.URL + "/hub"}, Attempts: 1})
	if _, _, err := c.Repository(ref, Credentials{}).Manifest(t.Context(), "12"); err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, Config{Mirrors: []string{"::"}}).host("docker.io"); err == nil {
		t.Fatal("a mirror that is no URL was taken")
	}
}

// Where another registry stands for Docker Hub, pulls, logins and searches of names without
// a host go there, and nowhere else.
func TestDefaultRegistry(t *testing.T) {
	f := newFake(t)
	f.manifests["team/app:1"], f.manifests["library/app:1"] = []byte("{}"), []byte("{}")
	f.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v1/search" {
			io.WriteString(w, `{"results":[{"name":"team/app"}]}`)
		}
		return r.URL.Path == "/v1/search"
	}
	c := client(t, Config{Default: f.host(), Mirrors: []string{"http://mirror.invalid"}})
	for _, name := range []string{"app:1", "team/app:1", "docker.io/team/app:1"} {
		ref, _ := oci.ParseReference(name)
		if _, _, err := c.Repository(ref, Credentials{}).Manifest(t.Context(), "1"); err != nil {
			t.Fatal(name, err)
		}
	}
	for _, server := range []string{"", "index.docker.io"} {
		if _, err := c.Login(t.Context(), server, Credentials{Username: "ann", Password: "pw"}); err != nil {
			t.Fatal(err)
		}
		if found, err := c.Search(t.Context(), server, "app", 5, Credentials{}); err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
	}
}

// Which hosts may do without verified TLS.
func TestInsecure(t *testing.T) {
	c := client(t, Config{Insecure: []string{"plain.example:5000", "bare.example", "10.1.0.0/16", "fd00::/8"}})
	for name, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1:80": true, "127.8.8.8": true, "[::1]:5000": true, "[::1]": true,
		"plain.example:5000": true, "plain.example": false, "plain.example:5001": false,
		"bare.example": true, "bare.example:443": true, "sub.bare.example": false,
		"10.1.2.3:5000": true, "10.2.0.1": false, "[fd00::1]:5000": true, "[fe80::1]": false,
		"localhost.example": false, "docker.io": false, "127.0.0.1.example": false,
	} {
		if got := c.insecure(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Registries are reached through the proxy that the operator names.
func TestProxy(t *testing.T) {
	f := newFake(t)
	f.manifests["a:v1"] = []byte("{}")
	through := ""
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		through = r.URL.Host
		f.serve(w, r)
	}))
	defer proxy.Close()
	to, _ := url.Parse(proxy.URL)
	c := client(t, Config{Insecure: []string{"far.example"}, Proxy: func(r *http.Request) (*url.URL, error) {
		if r.URL.Scheme == "https" {
			return nil, &net.OpError{Op: "dial", Err: errors.New("nobody there")}
		}
		return to, nil
	}})
	ref, _ := oci.ParseReference("far.example/a:v1")
	if _, _, err := c.Repository(ref, Credentials{}).Manifest(t.Context(), "v1"); err != nil || through != "far.example" {
		t.Fatal(through, err)
	}
}

func TestChallenges(t *testing.T) {
	h := http.Header{"Www-Authenticate": {`Bearer realm="https://a/b?c=d,e",service="x\"y", scope=z`, `Basic realm=here`, `Negotiate`}}
	got := parseChallenges(h)
	if len(got) != 3 || got[0].params["realm"] != "https://a/b?c=d,e" || got[0].params["service"] != `x"y` || got[0].params["scope"] != "z" || got[1].scheme != "basic" {
		t.Fatalf("%+v", got)
	}
}

func TestSearch(t *testing.T) {
	f := newFake(t)
	f.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v1/search" || r.URL.Query().Get("q") != "web" || r.URL.Query().Get("n") != "2" {
			return false
		}
		io.WriteString(w, `{"results":[{"name":"library/nginx","description":"a\u001b[31mred\r\non two lines","star_count":3,"is_official":true},{"name":"../x"},{"name":"b"},{"name":"c"}]}`)
		return true
	}
	got, err := client(t, Config{}).Search(t.Context(), f.host(), "web", 2, Credentials{})
	if err != nil || len(got) != 2 || got[0].Name != "nginx" || got[0].Description != "a[31mred  on two lines" || !got[0].Official || got[1].Name != "b" {
		t.Fatalf("%+v, %v", got, err)
	}
	f.meddle = func(w http.ResponseWriter, r *http.Request) bool { io.WriteString(w, "<html>"); return true }
	if _, err := client(t, Config{}).Search(t.Context(), f.host(), "web", 2, Credentials{}); err == nil || !strings.Contains(err.Error(), "not JSON") {
		t.Fatal(err)
	}
}

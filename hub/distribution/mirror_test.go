package distribution

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lighter/hub/meta"
	"lighter/oci"
)

// mirrorWorld is a registry that mirrors another one, below far/.
type mirrorWorld struct {
	*world
	up    *world
	asked atomic.Int32                                                  // requests for manifests and blobs, not for leave to ask
	bend  atomic.Pointer[func(http.ResponseWriter, *http.Request) bool] // answers in the other one's place
}

func newMirrorWorld(t *testing.T, change func(*Config)) *mirrorWorld {
	t.Helper()
	w := &mirrorWorld{up: newWorld(t, nil)}
	to, err := url.Parse(w.up.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.asked.Add(1)
		if bend := w.bend.Load(); bend != nil && (*bend)(rw, r) {
			return
		}
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(front.Close)
	remote, err := NewRemote(front.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	w.world = newWorld(t, func(c *Config) {
		c.Mirrors = &Mirrors{Remotes: map[string]*Remote{"far": remote}, Fresh: time.Hour, Keep: time.Hour,
			Of: func(_ context.Context, repo string) (string, bool, error) {
				return "far", strings.HasPrefix(repo, "far/"), nil
			},
			Add: func(ctx context.Context, repo string, now int64) error {
				_, err := c.DB.Exec(ctx, `INSERT INTO repositories (id, name, owner, public, created, updated) VALUES (?, ?, 'far', 1, ?, ?) ON CONFLICT (name) DO NOTHING`, meta.NewID(), repo, now, now)
				return err
			}}
		if change != nil {
			change(c)
		}
	})
	t.Cleanup(w.g.Close)
	return w
}

func (w *mirrorWorld) bendTo(f func(http.ResponseWriter, *http.Request) bool) { w.bend.Store(&f) }

// down has the other registry break off every connection.
func (w *mirrorWorld) down() {
	w.bendTo(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) })
}

func (w *mirrorWorld) refs(repo string) int {
	w.Helper()
	return w.count(`SELECT count(*) FROM mirrored m JOIN repositories r ON r.id = m.repo WHERE r.name = ?`, repo)
}

// An image is fetched once; then it is here, also while the other registry is away.
func TestMirror(t *testing.T) {
	w := newMirrorWorld(t, nil)
	layer := strings.Repeat("0123456789abcdef", 1<<16)
	d := w.up.image("team/app", "v1", layer, "second")
	blob := "/v2/far/team/app/blobs/" + string(oci.FromBytes([]byte(layer)))
	w.want(404, "GET", blob, "") // no manifest here names it
	a := w.want(200, "GET", "/v2/far/team/app/manifests/v1", "")
	if oci.FromBytes([]byte(a.body)) != d.Digest || a.Get("Docker-Content-Digest") != string(d.Digest) || a.Get("Content-Type") != oci.MediaManifest {
		t.Error(a)
	}
	if a := w.want(200, "HEAD", blob, ""); a.Get("Content-Length") != fmt.Sprint(len(layer)) {
		t.Error(a.Header)
	}
	if a := w.want(200, "GET", blob, ""); a.body != layer {
		t.Error("the blob came otherwise")
	}
	w.down()
	before := w.asked.Load()
	for _, path := range []string{"/v2/far/team/app/manifests/v1", "/v2/far/team/app/manifests/" + string(d.Digest), blob} {
		if a := w.want(200, "GET", path, ""); a.Get("Warning") != "" {
			t.Error(a.Header)
		}
	}
	if a := w.want(206, "GET", blob, "", "Range: bytes=16-19"); a.body != "0123" {
		t.Error(a.body)
	}
	if n := w.asked.Load() - before; n != 0 {
		t.Errorf("the other registry was asked %d times for what is here", n)
	}
	if a := w.want(503, "GET", "/v2/far/team/app/manifests/other", ""); a.code() != "UNAVAILABLE" || a.Get("Retry-After") == "" {
		t.Error(a)
	}
	if a := w.want(503, "GET", "/v2/far/team/app/blobs/"+string(oci.FromBytes([]byte("second"))), ""); a.code() != "UNAVAILABLE" {
		t.Error(a)
	}
	if a := w.want(200, "GET", "/v2/far/team/app/tags/list", ""); !strings.Contains(a.body, `"tags":["v1"]`) {
		t.Error(a.body)
	}
	w.want(404, "GET", "/v2/near/app/manifests/v1", "") // ours: nobody else is asked
	if n := w.asked.Load() - before; n == 0 {
		t.Error("nobody asked the other registry for what is not here")
	}
	if n := w.count(`SELECT count(*) FROM uploads`) + w.files("uploads"); n != 0 {
		t.Error(n, "uploads are left")
	}
}

// What a tag names is asked again once it is no longer fresh.
func TestMirrorTags(t *testing.T) {
	w := newMirrorWorld(t, func(c *Config) { c.Mirrors.Fresh = 0 })
	for _, text := range []string{"one", "two", "two", "one"} { // back again, too
		d := w.up.image("app", "v", text)
		if a := w.want(200, "GET", "/v2/far/app/manifests/v", ""); a.Get("Docker-Content-Digest") != string(d.Digest) || a.Get("Warning") != "" {
			t.Error(text, a.Header)
		}
		w.want(200, "HEAD", "/v2/far/app/manifests/v", "")
	}
	w.up.image("app", "z", "one")
	if a := w.want(200, "GET", "/v2/far/app/tags/list?n=1", ""); !strings.Contains(a.body, `["v"]`) || a.Get("Link") == "" {
		t.Error(a)
	}
	if a := w.want(200, "GET", "/v2/far/app/tags/list?last=v", ""); !strings.Contains(a.body, `["z"]`) || a.Get("Link") != "" {
		t.Error(a)
	}
	w.down()
	if a := w.want(200, "GET", "/v2/far/app/manifests/v", ""); a.Get("Warning") == "" {
		t.Error("nobody says that the tag may have changed:", a.Header)
	}
	before := w.asked.Load()
	w.want(200, "GET", "/v2/far/app/manifests/v", "")
	if w.asked.Load() != before {
		t.Error("a registry that is away is asked again at once")
	}
	w.bendTo(func(rw http.ResponseWriter, _ *http.Request) bool { rw.WriteHeader(403); return true })
	w.g.cfg.Mirrors.away.Clear()
	w.want(404, "GET", "/v2/far/app/manifests/v", "") // it shows us nothing any more, until it does again
	w.bend.Store(nil)
	w.want(200, "GET", "/v2/far/app/manifests/v", "")
	w.up.want(202, "DELETE", "/v2/app/manifests/v", "")
	if a := w.want(404, "GET", "/v2/far/app/manifests/v", ""); a.code() != "MANIFEST_UNKNOWN" {
		t.Error(a)
	}
	w.want(404, "GET", "/v2/far/nosuch/tags/list", "")
	w.want(404, "GET", "/v2/far/nosuch/manifests/v", "")
	if n := w.count(`SELECT count(*) FROM repositories WHERE name = 'far/nosuch'`); n != 0 {
		t.Error("a repository that is nowhere got a row")
	}
}

// Many who ask at once are one who asks the other registry, and read along.
func TestMirrorTogether(t *testing.T) {
	w := newMirrorWorld(t, nil)
	text := strings.Repeat("x", 3<<20)
	d := oci.FromBytes([]byte(text))
	w.up.image("app", "v", text)
	release := make(chan struct{})
	var blobs, manifests atomic.Int32
	half := make(chan struct{}, 10)
	w.bendTo(func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/manifests/") && r.Method == "GET" {
			manifests.Add(1)
		}
		if !strings.HasSuffix(r.URL.Path, string(d)) {
			return false
		}
		blobs.Add(1)
		rw.Header().Set("Content-Length", fmt.Sprint(len(text)))
		io.WriteString(rw, text[:1<<20])
		rw.(http.Flusher).Flush()
		<-release
		io.WriteString(rw, text[1<<20:])
		return true
	})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if a := w.do("GET", "/v2/far/app/manifests/v", ""); a.status != 200 {
				t.Error(a)
			}
			resp, err := http.Get(w.url + "/v2/far/app/blobs/" + string(d))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			first := make([]byte, 1000)
			if _, err := io.ReadFull(resp.Body, first); err != nil { // before the rest is anywhere
				t.Error(err)
			}
			half <- struct{}{}
			rest, err := io.ReadAll(resp.Body)
			if err != nil || string(first)+string(rest) != text {
				t.Error(len(rest), err)
			}
		})
	}
	for range 8 {
		<-half
	}
	close(release)
	all.Wait()
	if blobs.Load() != 1 || manifests.Load() != 1 {
		t.Errorf("%d blobs and %d manifests were fetched", blobs.Load(), manifests.Load())
	}
	w.down()
	w.want(200, "GET", "/v2/far/app/blobs/"+string(d), "")
}

// A registry that lies fills nothing here, and whoever reads along notices.
func TestMirrorLies(t *testing.T) {
	w := newMirrorWorld(t, nil)
	text := strings.Repeat("y", 100_000)
	d := oci.FromBytes([]byte(text))
	img := w.up.image("app", "v", text)
	w.want(200, "GET", "/v2/far/app/manifests/v", "")
	for name, body := range map[string]string{"other bytes": strings.Repeat("z", len(text)), "too few": text[:5000], "too many": text + "!", "nothing": ""} {
		w.bendTo(func(rw http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/blobs/") {
				io.WriteString(rw, body)
				return true
			}
			return false
		})
		resp, err := http.Get(w.url + "/v2/far/app/blobs/" + string(d))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil && resp.StatusCode == 200 {
			t.Errorf("%s: %d bytes came as if they were right", name, len(got))
		}
	}
	w.g.mirror.fetches.all.Wait()
	if n := w.count(`SELECT count(*) FROM uploads`) + w.files("uploads"); n != 0 {
		t.Error(n, "uploads are left")
	}
	if n := w.count(`SELECT count(*) FROM repo_blobs WHERE digest = ?`, string(d)); n != 0 {
		t.Error("wrong bytes were kept")
	}
	for name, answer := range map[string]string{"html": "<html>", "another manifest": `{"schemaVersion":2,"manifests":[]}`, "endless": strings.Repeat(" ", 5<<20), "schema 1": `{"schemaVersion":1,"fsLayers":[]}`} {
		w.bendTo(func(rw http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				rw.Header().Set("Docker-Content-Digest", string(oci.FromBytes([]byte("something else"))))
				rw.Header().Set("Content-Type", oci.MediaIndex)
				io.WriteString(rw, answer)
				return true
			}
			return false
		})
		w.g.cfg.Mirrors.away.Clear()
		for _, ref := range []string{"w", string(oci.FromBytes([]byte(name)))} {
			if a := w.do("GET", "/v2/far/app/manifests/"+ref, ""); a.status < 400 {
				t.Errorf("%s: %d %.100s", name, a.status, a.body)
			}
		}
	}
	if n := w.count(`SELECT count(*) FROM manifests`); n != 1 {
		t.Errorf("%d manifests are kept", n)
	}
	w.want(200, "GET", "/v2/far/app/manifests/"+string(img.Digest), "")
}

// What nobody asks for any more goes; the rest stays.
func TestMirrorForgets(t *testing.T) {
	w := newMirrorWorld(t, nil)
	for _, tag := range []string{"old", "new"} {
		w.up.image("app", tag, "shared", tag)
		w.want(200, "GET", "/v2/far/app/manifests/"+tag, "")
		for _, text := range []string{"shared", tag} {
			w.want(200, "GET", "/v2/far/app/blobs/"+string(oci.FromBytes([]byte(text))), "")
		}
	}
	w.image("own/app", "v", "own")
	w.g.mirror.fetches.all.Wait()
	ago := meta.Micros(time.Now().Add(-2 * time.Hour))
	if _, err := w.g.cfg.DB.Exec(t.Context(), `UPDATE mirrored SET used = ?`, ago); err != nil {
		t.Fatal(err)
	}
	w.want(200, "GET", "/v2/far/app/manifests/new", "")
	c, err := w.g.Collect(t.Context(), Grace{Blobs: -time.Hour, Uploads: time.Hour})
	if err != nil || c.Mirrored != 2 {
		t.Error(c, err)
	}
	w.down()
	w.want(200, "GET", "/v2/far/app/manifests/new", "")
	w.want(200, "GET", "/v2/far/app/blobs/"+string(oci.FromBytes([]byte("shared"))), "")
	w.want(404, "GET", "/v2/far/app/blobs/"+string(oci.FromBytes([]byte("old"))), "")
	w.want(503, "GET", "/v2/far/app/manifests/old", "")
	w.want(200, "GET", "/v2/own/app/manifests/v", "")
	if n := w.refs("far/app"); n != 2 {
		t.Error(n, "references are kept")
	}
}

// Referrers are asked of the other registry.
func TestMirrorReferrers(t *testing.T) {
	w := newMirrorWorld(t, nil)
	d := w.up.image("app", "v", "x")
	m := oci.Manifest{SchemaVersion: 2, MediaType: oci.MediaManifest, ArtifactType: "application/x.sig", Config: w.up.push("app", "{}"), Subject: &d}
	m.Config.MediaType = "application/vnd.oci.empty.v1+json"
	sig := w.up.manifest("app", "", m.MediaType, m)
	if a := w.want(200, "GET", "/v2/far/app/referrers/"+string(d.Digest), ""); !strings.Contains(a.body, string(sig.Digest)) {
		t.Error(a.body)
	}
	w.bendTo(func(rw http.ResponseWriter, _ *http.Request) bool { http.NotFound(rw, nil); return true })
	w.want(404, "GET", "/v2/far/app/referrers/"+string(d.Digest), "")
}

func TestRemoteAddress(t *testing.T) {
	for address, want := range map[string]string{
		"https://docker.io": "docker.io", "https://registry-1.docker.io/": "docker.io", "http://10.0.0.1:5000": "10.0.0.1:5000", "https://ghcr.io/team": "ghcr.io",
		"docker.io": "", "ftp://x": "", "https://": "", "https://a:b@x": "", "https://x?y": "", "https://x/../y": "",
	} {
		r, err := NewRemote(address, "")
		if (want == "") != (err != nil) || err == nil && r.domain != want {
			t.Errorf("%s: %v, %v", address, r, err)
		}
	}
}

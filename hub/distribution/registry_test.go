package distribution

import (
	"context"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"lighter/hub/blob"
	"lighter/oci"
)

// An image comes back as it went, by tag and by digest.
func TestPushPull(t *testing.T) {
	w := newWorld(t, nil)
	d := w.image("team/app", "v1", "layer one", "layer two")
	for _, ref := range []string{"v1", string(d.Digest)} {
		a := w.want(200, "GET", "/v2/team/app/manifests/"+ref, "")
		if oci.FromBytes([]byte(a.body)) != d.Digest || a.Get("Content-Type") != oci.MediaManifest || a.Get("Docker-Content-Digest") != string(d.Digest) {
			t.Errorf("%s: %v", ref, a)
		}
		h := w.want(200, "HEAD", "/v2/team/app/manifests/"+ref, "")
		if h.Get("Content-Length") != fmt.Sprint(d.Size) || h.body != "" {
			t.Errorf("HEAD %s: %v", ref, h)
		}
		w.want(304, "GET", "/v2/team/app/manifests/"+ref, "", `If-None-Match: "`+string(d.Digest)+`"`)
	}
	if w.pulls["team/app"] != 2 {
		t.Error("pulls", w.pulls)
	}
	layer := "/v2/team/app/blobs/" + string(oci.FromBytes([]byte("layer one")))
	if a := w.want(200, "GET", layer, ""); a.body != "layer one" || a.Get("Accept-Ranges") != "bytes" || a.Get("Content-Length") != "9" {
		t.Error(a)
	}
	if a := w.want(206, "GET", layer, "", "Range: bytes=6-"); a.body != "one" || a.Get("Content-Range") != "bytes 6-8/9" {
		t.Error(a)
	}
	w.want(416, "GET", layer, "", "Range: bytes=9-")
	if a := w.want(200, "HEAD", layer, ""); a.Get("Content-Length") != "9" || a.body != "" {
		t.Error(a)
	}
	if n := w.files("uploads"); n != 0 {
		t.Error(n, "uploads are left")
	}
}

// every route answers what is wrong in the specification's words.
func TestRefusals(t *testing.T) {
	w := newWorld(t, nil)
	img := w.image("team/app", "v1", "layer")
	up := w.want(202, "POST", "/v2/team/app/blobs/uploads/", "").Get("Location")
	w.want(202, "PATCH", up, "0123456789")
	none := "sha256:" + strings.Repeat("0", 64)
	ok := `{"schemaVersion":2,"mediaType":"` + oci.MediaIndex + `","manifests":[]}`
	long := strings.Repeat("a", 256)
	for _, c := range []struct {
		method, path, body string
		status             int
		code               string
		headers            []string
	}{
		{"GET", "/v2/team/app/blobs/" + none, "", 404, "BLOB_UNKNOWN", nil},
		{"GET", "/v2/team/app/blobs/sha256:xyz", "", 400, "DIGEST_INVALID", nil},
		{"GET", "/v2/team/app/blobs/md5:" + strings.Repeat("0", 32), "", 400, "DIGEST_INVALID", nil},
		{"GET", "/v2/team/other/blobs/" + string(oci.FromBytes([]byte("layer"))), "", 404, "BLOB_UNKNOWN", nil},
		{"DELETE", "/v2/team/app/blobs/" + none, "", 404, "BLOB_UNKNOWN", nil},
		{"PUT", "/v2/team/app/blobs/" + none, "", 405, "UNSUPPORTED", nil},
		{"GET", "/v2/secret/app/blobs/" + none, "", 404, "NAME_UNKNOWN", nil},
		{"POST", "/v2/secret/app/blobs/uploads/", "", 404, "NAME_UNKNOWN", nil},
		{"POST", "/v2/Team/app/blobs/uploads/", "", 400, "NAME_INVALID", nil},
		{"POST", "/v2/team/../../etc/blobs/uploads/", "", 400, "NAME_INVALID", nil},
		{"POST", "/v2/team/%2e%2e/%2e%2e/etc/blobs/uploads/", "", 400, "NAME_INVALID", nil},
		{"POST", "/v2/team//app/blobs/uploads/", "", 400, "NAME_INVALID", nil},
		{"POST", "/v2/team%00/blobs/uploads/", "", 400, "NAME_INVALID", nil},
		{"POST", "/v2/team'--/blobs/uploads/", "", 400, "NAME_INVALID", nil},
		{"POST", "/v2/<b>x/blobs/uploads/", "", 400, "NAME_INVALID", nil},
		{"POST", "/v2/" + long + "/blobs/uploads/", "", 400, "NAME_INVALID", nil},
		{"POST", "/v2//blobs/uploads/", "", 400, "NAME_INVALID", nil},
		{"POST", "/v2/team/app/blobs/uploads/?digest=sha256:1", "x", 400, "DIGEST_INVALID", nil},
		{"POST", "/v2/team/app/blobs/uploads/?digest=" + none, "x", 400, "DIGEST_INVALID", nil},
		{"POST", "/v2/team/app/blobs/uploads/?mount=foo", "", 400, "DIGEST_INVALID", nil},
		{"POST", "/v2/team/app/blobs/uploads/?digest-algorithm=md5", "", 400, "DIGEST_INVALID", nil},
		{"GET", "/v2/team/app/blobs/uploads/", "", 405, "UNSUPPORTED", nil},
		{"GET", "/v2/team/app/blobs/uploads/nope", "", 404, "BLOB_UPLOAD_UNKNOWN", nil},
		{"GET", "/v2/team/app/blobs/uploads/..%2f..%2fhub.db", "", 404, "", nil},
		{"PATCH", "/v2/team/app/blobs/uploads/nope", "x", 404, "BLOB_UPLOAD_UNKNOWN", nil},
		{"PUT", "/v2/team/app/blobs/uploads/nope?digest=" + none, "x", 404, "BLOB_UPLOAD_UNKNOWN", nil},
		{"DELETE", "/v2/team/app/blobs/uploads/nope", "", 404, "BLOB_UPLOAD_UNKNOWN", nil},
		{"PATCH", strings.Replace(up, "team/app", "team/other", 1), "x", 404, "BLOB_UPLOAD_UNKNOWN", nil},
		{"PATCH", up, "x", 416, "RANGE_INVALID", []string{"Content-Range: 0-0"}},
		{"PATCH", up, "x", 416, "RANGE_INVALID", []string{"Content-Range: 11-11"}},
		{"PATCH", up, "x", 400, "SIZE_INVALID", []string{"Content-Range: 10-11"}},
		{"PATCH", up, "x", 400, "BLOB_UPLOAD_INVALID", []string{"Content-Range: ten-eleven"}},
		{"PUT", up, "", 400, "DIGEST_INVALID", nil},
		{"PUT", up + "?digest=foo", "", 400, "DIGEST_INVALID", nil},
		{"GET", "/v2/team/app/manifests/nope", "", 404, "MANIFEST_UNKNOWN", nil},
		{"GET", "/v2/team/app/manifests/" + none, "", 404, "MANIFEST_UNKNOWN", nil},
		{"GET", "/v2/team/app/manifests/sha256:1", "", 400, "DIGEST_INVALID", nil},
		{"GET", "/v2/team/app/manifests/.hidden", "", 400, "TAG_INVALID", nil},
		{"GET", "/v2/nobody/app/manifests/v1", "", 404, "MANIFEST_UNKNOWN", nil},
		{"DELETE", "/v2/team/app/manifests/nope", "", 404, "MANIFEST_UNKNOWN", nil},
		{"POST", "/v2/team/app/manifests/v1", "", 405, "UNSUPPORTED", nil},
		{"PUT", "/v2/team/app/manifests/bad%20tag", ok, 400, "TAG_INVALID", nil},
		{"PUT", "/v2/team/app/manifests/" + strings.Repeat("t", 129), ok, 400, "TAG_INVALID", nil},
		{"PUT", "/v2/team/app/manifests/" + none, ok, 400, "DIGEST_INVALID", nil},
		{"PUT", "/v2/team/app/manifests/" + none + "?tag=bad/tag", ok, 400, "TAG_INVALID", nil},
		{"PUT", "/v2/team/app/manifests/v2", "not json", 400, "MANIFEST_INVALID", nil},
		{"PUT", "/v2/team/app/manifests/v2", "{\"schemaVersion\":2,\"manifests\":[],\"x\":\"\xff\"}", 400, "MANIFEST_INVALID", nil},
		{"PUT", "/v2/team/app/manifests/v2", `{"schemaVersion":1,"fsLayers":[]}`, 400, "MANIFEST_INVALID", nil},
		{"PUT", "/v2/team/app/manifests/v2", ok, 400, "MANIFEST_INVALID", []string{"Content-Type: " + oci.MediaManifest}},
		{"PUT", "/v2/team/app/manifests/v2", `{"schemaVersion":2,"manifests":[]}`, 400, "MANIFEST_INVALID", []string{"Content-Type: text/html"}},
		{"PUT", "/v2/team/app/manifests/v2", strings.Repeat(" ", MaxManifest+1), 413, "MANIFEST_INVALID", nil},
		{"PUT", "/v2/team/app/manifests/v2", `{"schemaVersion":2,"mediaType":"` + oci.MediaIndex + `","manifests":[{"digest":"` + none + `","size":1}]}`, 404, "MANIFEST_BLOB_UNKNOWN", nil},
		{"PUT", "/v2/team/app/manifests/v2", `{"schemaVersion":2,"mediaType":"` + oci.MediaIndex + `","manifests":[{"digest":"` + string(img.Digest) + `","size":1}]}`, 400, "MANIFEST_INVALID", nil},
		{"PUT", "/v2/team/app/manifests/v2", `{"schemaVersion":2,"mediaType":"` + oci.MediaManifest + `","config":{"digest":"` + none + `","size":1},"layers":[]}`, 404, "MANIFEST_BLOB_UNKNOWN", nil},
		{"GET", "/v2/team/app/tags/list?n=x", "", 400, "PAGINATION_NUMBER_INVALID", nil},
		{"GET", "/v2/team/app/tags/list?n=-1", "", 400, "PAGINATION_NUMBER_INVALID", nil},
		{"GET", "/v2/nobody/app/tags/list", "", 404, "NAME_UNKNOWN", nil},
		{"GET", "/v2/team/app/tags", "", 404, "NAME_UNKNOWN", nil},
		{"GET", "/v2/_catalog?n=x", "", 400, "PAGINATION_NUMBER_INVALID", nil},
		{"DELETE", "/v2/_catalog", "", 405, "UNSUPPORTED", nil},
		{"GET", "/v2/team/app/referrers/foo", "", 400, "DIGEST_INVALID", nil},
		{"GET", "/v2/nothing", "", 404, "NAME_UNKNOWN", nil},
	} {
		a := w.do(c.method, c.path, c.body, c.headers...)
		if a.status != c.status || c.code != "" && a.code() != c.code || a.Get("Content-Type") != "application/json" {
			t.Errorf("%s %.100s: %d %v, not %d %s", c.method, c.path, a.status, a.code(), c.status, c.code)
		}
	}
	// None of that did harm: the upload goes on, and no other is left.
	if a := w.want(204, "GET", up, ""); a.Get("Range") != "0-9" || a.Get("Location") != up {
		t.Error(a)
	}
	w.want(201, "PUT", up+"?digest="+string(oci.FromBytes([]byte("0123456789"))), "")
	if n := w.count(`SELECT count(*) FROM uploads`) + w.files("uploads"); n != 0 {
		t.Error(n, "uploads are left")
	}
	if n := w.count(`SELECT count(*) FROM repositories WHERE name NOT LIKE 'team/%'`); n != 0 {
		t.Error(n, "repositories that nobody may have")
	}
}

// Chunks, the last one with the PUT; an end in an algorithm that nobody announced.
func TestChunks(t *testing.T) {
	w := newWorld(t, nil)
	text := strings.Repeat("0123456789", 100)
	sum := sha512.Sum512([]byte(text))
	for _, d := range []string{string(oci.FromBytes([]byte(text))), fmt.Sprintf("sha512:%x", sum)} {
		at := w.want(202, "POST", "/v2/a/b/blobs/uploads/", "").Get("Location")
		at = w.want(202, "PATCH", at, text[:300], "Content-Range: 0-299").Get("Location")
		if a := w.want(202, "PATCH", at, text[300:700]); a.Get("Range") != "0-699" {
			t.Error(a.Header)
		}
		a := w.want(201, "PUT", at+"?digest="+url.QueryEscape(d), text[700:], "Content-Range: 700-999")
		if a.Get("Docker-Content-Digest") != d {
			t.Error(a.Header)
		}
		if got := w.want(200, "GET", a.Get("Location"), ""); got.body != text {
			t.Error("the blob came back otherwise")
		}
		w.want(404, "GET", at, "")
	}
	at := w.want(202, "POST", "/v2/a/b/blobs/uploads/", "").Get("Location")
	w.want(202, "PATCH", at, "abc")
	if a := w.want(400, "PUT", at+"?digest="+string(oci.FromBytes([]byte("abd"))), ""); a.code() != "DIGEST_INVALID" {
		t.Error(a)
	}
	w.want(404, "PUT", at+"?digest="+string(oci.FromBytes([]byte("abc"))), "") // gone with its wrong digest
	at = w.want(202, "POST", "/v2/a/b/blobs/uploads/", "").Get("Location")
	w.want(204, "DELETE", at, "")
	w.want(404, "PATCH", at, "abc")
	empty := w.push("a/b", "")
	if a := w.want(200, "GET", "/v2/a/b/blobs/"+string(empty.Digest), ""); a.body != "" {
		t.Error(a)
	}
}

// A connection that breaks loses nothing that came before.
func TestBrokenChunk(t *testing.T) {
	w := newWorld(t, nil)
	at := w.want(202, "POST", "/v2/a/b/blobs/uploads/", "").Get("Location")
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "PATCH %s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234", at)
	c.(*net.TCPConn).CloseWrite()
	if _, err := io.Copy(io.Discard, c); err != nil { // until the hub gave up, too
		t.Log(err)
	}
	c.Close()
	if a := w.want(204, "GET", at, ""); a.Get("Range") != "0-4" {
		t.Error(a.Header)
	}
	w.want(201, "PUT", at+"?digest="+string(oci.FromBytes([]byte("0123456789"))), "56789", "Content-Range: 5-9")
}

func TestMount(t *testing.T) {
	w := newWorld(t, nil)
	d := w.push("a/b", "shared")
	w.want(201, "POST", "/v2/c/d/blobs/uploads/?mount="+string(d.Digest)+"&from=a/b", "")
	w.want(201, "POST", "/v2/e/f/blobs/uploads/?mount="+string(d.Digest), "")
	w.want(202, "POST", "/v2/c/d/blobs/uploads/?mount="+string(d.Digest)+"&from=nobody/there", "")
	w.want(202, "POST", "/v2/c/d/blobs/uploads/?mount="+string(d.Digest)+"&from=../x", "")
	if a := w.want(200, "GET", "/v2/e/f/blobs/"+string(d.Digest), ""); a.body != "shared" {
		t.Error(a)
	}
	// Nobody mounts what they may not pull, though they know its digest.
	if _, err := w.g.cfg.DB.Exec(t.Context(), `UPDATE repositories SET name = 'secret/b', owner = 'secret' WHERE name = 'a/b'`); err != nil {
		t.Fatal(err)
	}
	w.want(202, "DELETE", "/v2/c/d/blobs/"+string(d.Digest), "")
	w.want(202, "DELETE", "/v2/e/f/blobs/"+string(d.Digest), "")
	for _, from := range []string{"", "&from=secret/b"} {
		w.want(202, "POST", "/v2/c/d/blobs/uploads/?mount="+string(d.Digest)+from, "")
	}
}

func TestLists(t *testing.T) {
	w := newWorld(t, nil)
	for _, tag := range []string{"b", "B", "a", "_", "1.0", "10", "1-0"} {
		w.image("team/app", tag, "x")
	}
	list := func(path, field string) (all []string, pages int) {
		for path != "" {
			a := w.want(200, "GET", path, "")
			var v map[string]any
			if err := json.Unmarshal([]byte(a.body), &v); err != nil {
				t.Fatal(err)
			}
			for _, x := range v[field].([]any) {
				all = append(all, x.(string))
			}
			pages++
			path, _, _ = strings.Cut(strings.TrimPrefix(a.Get("Link"), "<"), ">")
		}
		return all, pages
	}
	for n, pages := range map[string]int{"": 1, "?n=3": 3, "?n=7": 1, "?n=1": 7, "?n=100000": 1} {
		got, p := list("/v2/team/app/tags/list"+n, "tags")
		if fmt.Sprint(got) != "[1-0 1.0 10 B _ a b]" || p != pages {
			t.Error(n, got, p)
		}
	}
	if a := w.want(200, "GET", "/v2/team/app/tags/list?n=0", ""); a.Get("Link") != "" || !strings.Contains(a.body, `"tags":[]`) {
		t.Error(a)
	}
	w.push("a/one", "x")
	w.push("z/last", "x")
	if _, err := w.g.cfg.DB.Exec(t.Context(), `INSERT INTO repositories (id, name, owner, created, updated) VALUES (1, 'secret/x', 'secret', 1, 1)`); err != nil {
		t.Fatal(err)
	}
	if got, p := list("/v2/_catalog?n=2", "repositories"); fmt.Sprint(got) != "[a/one team/app z/last]" || p != 2 {
		t.Error(got, p)
	}
}

func TestReferrers(t *testing.T) {
	w := newWorld(t, nil)
	img := w.image("a/b", "v1", "x")
	empty := w.push("a/b", "{}")
	empty.MediaType = "application/vnd.oci.empty.v1+json"
	put := func(kind, note string) oci.Descriptor {
		m := oci.Manifest{SchemaVersion: 2, MediaType: oci.MediaManifest, ArtifactType: kind, Config: empty, Layers: []oci.Descriptor{empty},
			Subject: &img, Annotations: map[string]string{"note": note}}
		if kind == "" {
			m.Config.MediaType = "application/x-by-config"
		}
		return w.manifest("a/b", "", oci.MediaManifest, m)
	}
	sbom, _ := put("application/x-sbom", "<b>"), put("", "sig")
	get := func(path string) (idx oci.Index, a answer) {
		a = w.want(200, "GET", path, "")
		if err := json.Unmarshal([]byte(a.body), &idx); err != nil {
			t.Fatal(err)
		}
		return idx, a
	}
	path := "/v2/a/b/referrers/" + string(img.Digest)
	idx, a := get(path)
	if len(idx.Manifests) != 2 || a.Get("Content-Type") != oci.MediaIndex || idx.MediaType != oci.MediaIndex {
		t.Error(a)
	}
	idx, a = get(path + "?artifactType=application/x-sbom")
	if len(idx.Manifests) != 1 || a.Get("OCI-Filters-Applied") != "artifactType" {
		t.Fatal(a)
	}
	if m := idx.Manifests[0]; m.Digest != sbom.Digest || m.Size != sbom.Size || m.ArtifactType != "application/x-sbom" || m.Annotations["note"] != "<b>" {
		t.Error(m)
	}
	if idx, _ = get(path + "?artifactType=application/x-by-config"); len(idx.Manifests) != 1 {
		t.Error(idx)
	}
	if idx, _ = get("/v2/not/yet/referrers/" + string(empty.Digest)); len(idx.Manifests) != 0 || idx.Manifests == nil {
		t.Error(idx)
	}
	if idx, _ = get("/v2/a/b/referrers/" + string(empty.Digest)); len(idx.Manifests) != 0 || idx.Manifests == nil {
		t.Error(idx)
	}
	w.want(202, "DELETE", "/v2/a/b/manifests/"+string(sbom.Digest), "")
	if idx, _ = get(path); len(idx.Manifests) != 1 {
		t.Error(idx)
	}
}

func TestDelete(t *testing.T) {
	w := newWorld(t, nil)
	d := w.image("a/b", "v1", "x")
	w.image("a/b", "v2", "x")
	w.want(202, "DELETE", "/v2/a/b/manifests/v1", "")
	w.want(404, "GET", "/v2/a/b/manifests/v1", "")
	w.want(200, "GET", "/v2/a/b/manifests/v2", "")
	w.want(200, "GET", "/v2/a/b/manifests/"+string(d.Digest), "")
	w.want(202, "DELETE", "/v2/a/b/manifests/"+string(d.Digest), "")
	w.want(404, "GET", "/v2/a/b/manifests/v2", "")
	w.want(404, "HEAD", "/v2/a/b/manifests/"+string(d.Digest), "") // though it is in the cache
	w.want(202, "DELETE", "/v2/a/b/blobs/"+string(oci.FromBytes([]byte("x"))), "")
	w.want(404, "GET", "/v2/a/b/blobs/"+string(oci.FromBytes([]byte("x"))), "")
}

func TestQuota(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Quota = 100 })
	at := w.want(202, "POST", "/v2/a/b/blobs/uploads/", "").Get("Location")
	if a := w.want(403, "PATCH", at, strings.Repeat("x", 101)); a.code() != "DENIED" {
		t.Error(a)
	}
	r, err := http.NewRequestWithContext(t.Context(), "PATCH", w.url+at, io.MultiReader(strings.NewReader(strings.Repeat("x", 101)))) // in a stream
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Error(resp.Status)
	}
	w.want(404, "PATCH", at, "x") // given up: what was too much is not kept
	at = w.want(202, "POST", "/v2/a/b/blobs/uploads/", "").Get("Location")
	w.want(202, "PATCH", at, strings.Repeat("x", 100))
	if a := w.want(403, "PATCH", at, "x"); a.code() != "DENIED" {
		t.Error(a)
	}
	w.push("c/d", strings.Repeat("y", 90)) // another owner
	w.want(204, "DELETE", at, "")
	w.push("a/c", strings.Repeat("z", 60))
	if a := w.want(403, "POST", "/v2/a/d/blobs/uploads/?digest="+string(oci.FromBytes(nil)), strings.Repeat("x", 50)); a.code() != "DENIED" {
		t.Error(a)
	}
}

// Garbage goes, and what a manifest names stays; uploads that nobody ends go, too.
func TestCollect(t *testing.T) {
	w := newWorld(t, nil)
	w.image("a/b", "v1", "kept")
	w.push("a/b", "unnamed")
	w.push("a/b", "mounted away")
	w.want(201, "POST", "/v2/c/d/blobs/uploads/?from=a/b&mount="+string(oci.FromBytes([]byte("mounted away"))), "")
	w.want(202, "PATCH", w.want(202, "POST", "/v2/a/b/blobs/uploads/", "").Get("Location"), "open")
	c, err := w.g.Collect(t.Context(), DefaultCollect)
	if err != nil || c != (Collected{}) {
		t.Error("young things went:", c, err)
	}
	c, err = w.g.Collect(t.Context(), Grace{Blobs: -time.Hour, Uploads: -time.Hour})
	if err != nil || c.Blobs != 2 || c.Links != 3 || c.Uploads != 1 || c.Bytes != 19 {
		t.Error(c, err)
	}
	w.want(404, "GET", "/v2/a/b/blobs/"+string(oci.FromBytes([]byte("unnamed"))), "")
	w.want(200, "GET", "/v2/a/b/blobs/"+string(oci.FromBytes([]byte("kept"))), "")
	if n := w.files("uploads"); n != 0 {
		t.Error(n, "uploads are left")
	}
	if n := w.files("blobs/sha256"); n != 3 { // the layer, the config, the manifest
		t.Error(n, "blobs")
	}
	w.want(202, "DELETE", "/v2/a/b/manifests/"+string(oci.FromBytes([]byte(w.want(200, "GET", "/v2/a/b/manifests/v1", "").body))), "")
	if c, err = w.g.Collect(t.Context(), Grace{Blobs: -time.Hour}); err != nil || c.Blobs != 3 {
		t.Error(c, err)
	}
	if n := w.files("blobs/sha256"); n != 0 {
		t.Error(n, "blobs")
	}
}

// A collector that runs all the time, with no mercy for what is not named, against
// pushes of blobs that they share: a push is refused or whole.
func TestCollectWhilePushing(t *testing.T) {
	w := newWorld(t, nil)
	ctx, stop := context.WithCancel(t.Context())
	var collector, pushers sync.WaitGroup
	collector.Go(func() {
		for ctx.Err() == nil {
			if _, err := w.g.Collect(ctx, Grace{Blobs: 100 * time.Millisecond, Uploads: time.Hour}); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	for p := range 4 {
		pushers.Go(func() {
			for i := range 15 {
				w.pushWhole(fmt.Sprintf("team/app%d", p), fmt.Sprint("shared", i%3), fmt.Sprint("own", p, i))
			}
		})
	}
	pushers.Wait()
	stop()
	collector.Wait()
}

// committing is a storage that does something after each Commit.
type committing struct {
	blob.Store
	then func()
}

func (c committing) Commit(ctx context.Context, id string, d oci.Digest, size int64) error {
	defer c.then()
	return c.Store.Commit(ctx, id, d, size)
}

// What a collector takes before it is linked is not said to be there.
func TestCollectBeforeLink(t *testing.T) {
	var w *world
	slow := true
	w = newWorld(t, func(c *Config) {
		c.Blobs = committing{c.Blobs, func() {
			if !slow {
				return
			}
			if n, err := w.g.Collect(t.Context(), Grace{Blobs: -time.Hour, Uploads: time.Hour}); n.Blobs != 1 || err != nil {
				t.Error(n, err)
			}
		}}
	})
	push := "/v2/team/app/blobs/uploads/?digest=" + string(oci.FromBytes([]byte("text")))
	if a := w.do("POST", push, "text"); a.status != 503 || a.code() != "UNAVAILABLE" {
		t.Error(a)
	}
	if n := w.files("uploads"); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
	slow = false
	if a := w.do("POST", push, "text"); a.status != 201 {
		t.Error(a)
	}
}

// pushWhole pushes an image of two blobs until it is taken, fetches them, and deletes it.
func (w *world) pushWhole(repo string, texts ...string) {
	m := oci.Manifest{SchemaVersion: 2, MediaType: oci.MediaManifest}
	for _, text := range texts {
		m.Layers = append(m.Layers, oci.Descriptor{MediaType: oci.MediaLayer, Digest: oci.FromBytes([]byte(text)), Size: int64(len(text))})
	}
	m.Config = m.Layers[0]
	raw, err := json.Marshal(m)
	if err != nil {
		w.Error(err)
	}
	for taken := false; !taken; {
		for i, text := range texts {
			if a := w.do("POST", "/v2/"+repo+"/blobs/uploads/?digest="+string(m.Layers[i].Digest), text); a.status != 201 && a.code() != "UNAVAILABLE" {
				w.Error(a)
			}
		}
		a := w.do("PUT", "/v2/"+repo+"/manifests/v", string(raw))
		if taken = a.status == 201; !taken && a.code() != "MANIFEST_BLOB_UNKNOWN" {
			w.Error(a)
			return
		}
	}
	for i, text := range texts {
		if a := w.do("GET", "/v2/"+repo+"/blobs/"+string(m.Layers[i].Digest), ""); a.status != 200 || a.body != text {
			w.Errorf("%s: %d %s", text, a.status, a.body)
		}
	}
	if a := w.do("DELETE", "/v2/"+repo+"/manifests/"+string(oci.FromBytes(raw)), ""); a.status != 202 {
		w.Error(a)
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "a/b": true, "a.b": true, "a_b": true, "a__b": true, "a---b": true, "0/1/2": true, "a-b.c_d": true, "library/x1": true,
		"": false, "/": false, "a/": false, "/a": false, "a//b": false, "A": false, "a..b": false, "a___b": false, "a._b": false, "-a": false,
		"a-": false, ".": false, "..": false, "a/../b": false, "a b": false, "a:b": false, "ä": false, "a\x00": false, "a-_b": false,
		strings.Repeat("a", 255): true, strings.Repeat("a", 256): false,
	} {
		if validName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

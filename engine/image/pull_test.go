package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lighter/api"
	"lighter/oci"
)

// shelf is a registry that keeps what it is given, in memory.
type shelf struct {
	*httptest.Server
	mu     sync.Mutex
	things map[string][]byte // blobs by digest, manifests by repository:tag
	kinds  map[string]string
	asked  []string
	before func(w http.ResponseWriter, r *http.Request) bool // true: answered
}

func newShelf(t *testing.T) *shelf {
	s := &shelf{things: map[string][]byte{}, kinds: map[string]string{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *shelf) name(repo string) string { return strings.TrimPrefix(s.URL, "http://") + "/" + repo }

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	before := s.before
	s.asked = append(s.asked, r.Method+" "+r.URL.Path)
	s.mu.Unlock()
	if before != nil && before(w, r) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	repo, rest, _ := strings.Cut(path, "/blobs/")
	key := rest
	if rest == "" {
		repo, rest, _ = strings.Cut(path, "/manifests/")
		key = repo + ":" + rest
	}
	switch {
	case strings.HasSuffix(path, "/tags/list"):
		json.NewEncoder(w).Encode(map[string]any{"tags": []string{"v1", "v2"}})
	case strings.HasPrefix(rest, "uploads/"):
		w.Header().Set("Location", "/v2/"+repo+"/blobs/uploads/x")
		if r.Method == "POST" {
			w.WriteHeader(202)
			return
		}
		b, _ := io.ReadAll(r.Body)
		s.things[r.URL.Query().Get("digest")] = b
		w.WriteHeader(201)
	case r.Method == "PUT":
		b, _ := io.ReadAll(r.Body)
		for _, k := range []string{key, repo + ":" + string(oci.FromBytes(b))} {
			s.things[k], s.kinds[k] = b, r.Header.Get("Content-Type")
		}
		w.WriteHeader(201)
	case s.things[key] == nil:
		w.WriteHeader(404)
		io.WriteString(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`)
	default:
		w.Header().Set("Content-Type", s.kinds[key])
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.things[key]))
	}
}

func (s *shelf) count(method, part string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.asked {
		if strings.HasPrefix(a, method) && strings.Contains(a, part) {
			n++
		}
	}
	return n
}

func (r *rig) push(name string) string {
	r.t.Helper()
	ref, _ := oci.ParseReference(name)
	var told strings.Builder
	err := Exchange{r.Images}.Push(r.t.Context(), ref, PushOptions{}, func(p api.Progress) { fmt.Fprintf(&told, "%s|%s\n", p.ID, p.Status) })
	if err != nil {
		r.t.Fatal(err)
	}
	return told.String()
}

func (r *rig) pull(name string) (string, error) {
	ref, _ := oci.ParseReference(name)
	var told strings.Builder
	err := Exchange{r.Images}.Pull(r.t.Context(), ref, PullOptions{}, func(p api.Progress) {
		if p.ProgressDetail == nil || *p.ProgressDetail == (api.ProgressDetail{}) {
			fmt.Fprintf(&told, "%s|%s\n", p.ID, p.Status)
		}
	})
	return told.String(), err
}

// An image made here goes up, comes down to another engine, and goes up from there: the
// registry's digests are the same, and what it has is not sent again.
func TestPushPullPush(t *testing.T) {
	s := newShelf(t)
	one := newRig(t)
	img := one.imported("content", s.name("team/app:v1"))
	told := one.push(s.name("team/app:v1"))
	if !strings.Contains(told, "|Pushed\n") || !strings.Contains(told, "v1: digest: sha256:") {
		t.Fatal(told)
	}
	first := s.things["team/app:v1"]
	if told = one.push(s.name("team/app:v1")); !strings.Contains(told, "Layer already exists") || !bytes.Equal(first, s.things["team/app:v1"]) {
		t.Fatal(told)
	}
	two := newRig(t)
	told, err := two.pull(s.name("team/app:v1"))
	if err != nil || !strings.HasPrefix(told, "v1|Pulling from team/app\n") || !strings.Contains(told, "Pull complete") || !strings.HasSuffix(told, "Status: Downloaded newer image for "+s.name("team/app:v1")+"\n") {
		t.Fatal(told, err)
	}
	if two.byID(img.ID) == nil || len(two.references(img.ID)) != 2 {
		t.Fatal(two.references(img.ID))
	}
	if told, err = two.pull(s.name("team/app:v1")); err != nil || !strings.Contains(told, "Image is up to date") || s.count("GET", "/blobs/") != 3 {
		t.Fatal(told, err, s.asked)
	}
	if err := two.Tag(s.name("team/app:v1"), s.name("team/copy"), "v1"); err != nil {
		t.Fatal(err)
	}
	two.push(s.name("team/copy:v1"))
	if !bytes.Equal(first, s.things["team/copy:v1"]) {
		t.Fatalf("another manifest:\n%s\n%s", first, s.things["team/copy:v1"])
	}
	// With its last name the image goes, and its blobs, too; after a restart as before.
	two = two.reopen()
	for _, ref := range two.references(img.ID) {
		two.remove(ref.String(), RemoveOptions{})
	}
	left := 0
	two.Blobs.Walk(func(oci.Digest, int64, time.Time) error { left++; return nil })
	if two.byID(img.ID) != nil || left != 0 {
		t.Fatal(two.references(img.ID), left)
	}
}

// Two pulls of one image at once fetch each layer once.
func TestPullTogether(t *testing.T) {
	s := newShelf(t)
	r := newRig(t)
	img := r.imported(strings.Repeat("layer", 1000), s.name("a:v1"))
	r.push(s.name("a:v1"))
	layer := string(r.byID(img.ID).sources[0].Layers[0])
	other := newRig(t)
	both := make(chan struct{})
	var waiting atomic.Int32
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, layer) {
			<-both
		}
		return false
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			ref, _ := oci.ParseReference(s.name("a:v1"))
			err := Exchange{other.Images}.Pull(t.Context(), ref, PullOptions{}, func(p api.Progress) {
				if p.Status == "Pulling fs layer" && waiting.Add(1) == 2 {
					close(both)
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := s.count("GET", layer); n != 1 {
		t.Fatalf("the layer was fetched %d times", n)
	}
}

// A pull that is called off leaves what came, and the next one goes on there.
func TestPullCalledOff(t *testing.T) {
	s := newShelf(t)
	r := newRig(t)
	random := make([]byte, 1<<20)
	for i := range random {
		random[i] = byte(i * i >> 3 * 7)
	}
	img := r.imported(string(random), s.name("a:v1"))
	r.push(s.name("a:v1"))
	blob := r.byID(img.ID).sources[0].Layers[0]
	size := len(s.things[string(blob)])
	other := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, string(blob)) {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(size))
		w.Write(s.things[string(blob)][:size/2])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	}
	ref, _ := oci.ParseReference(s.name("a:v1"))
	err := Exchange{other.Images}.Pull(ctx, ref, PullOptions{}, func(p api.Progress) {
		if p.ProgressDetail != nil && p.ProgressDetail.Current > 0 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || other.Count() != 0 {
		t.Fatal(err, other.Count())
	}
	var ranged string
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, string(blob)) {
			ranged = r.Header.Get("Range")
		}
		return false
	}
	if told, err := other.pull(s.name("a:v1")); err != nil || !strings.HasPrefix(ranged, "bytes=") {
		t.Fatal(told, err, ranged)
	}
}

func TestPullRefused(t *testing.T) {
	s := newShelf(t)
	r := newRig(t)
	if _, err := r.pull(s.name("none:v1")); !api.Is(err, api.NotFound) || err.Error() != "manifest for "+s.name("none:v1")+" not found: manifest unknown: manifest unknown" {
		t.Fatal(err)
	}
	if _, err := r.pull("scratch"); !api.Is(err, api.Invalid) {
		t.Fatal(err)
	}
	put := func(tag string, v any) {
		b, _ := json.Marshal(v)
		s.things[tag], s.kinds[tag] = b, oci.MediaManifest
	}
	digest := oci.FromBytes(nil)
	put("a:artifact", oci.Manifest{SchemaVersion: 2, MediaType: oci.MediaManifest, Config: oci.Descriptor{MediaType: "application/x", Digest: digest}, Layers: []oci.Descriptor{}})
	if _, err := r.pull(s.name("a:artifact")); err == nil || !strings.Contains(err.Error(), "is not an image") {
		t.Fatal(err)
	}
	put("a:other", oci.Index{SchemaVersion: 2, MediaType: oci.MediaIndex, Manifests: []oci.Descriptor{{Digest: digest, Platform: &oci.Platform{OS: "plan9", Architecture: "mips"}}}})
	if _, err := r.pull(s.name("a:other")); err == nil || !strings.Contains(err.Error(), "no matching manifest for linux/") {
		t.Fatal(err)
	}
	if err := (Exchange{r.Images}).Push(t.Context(), oci.Reference{Domain: "x.example", Path: "y", Tag: "z"}, PushOptions{}, nil); err == nil || !strings.Contains(err.Error(), "does not exist locally") {
		t.Fatal(err)
	}
	s.Close()
	_, err := r.pull(s.name("gone"))
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Fatal(err)
	}
}

func TestPullReference(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for _, c := range [][3]string{
		{"app", "1", "docker.io/library/app:1"},
		{"app:2", "", "docker.io/library/app:2"},
		{"hub.example/app", digest, "hub.example/app@" + digest},
	} {
		if ref, err := PullReference(c[0], c[1]); err != nil || ref.String() != c[2] {
			t.Errorf("%s, %s: %s, %v; want %s", c[0], c[1], ref, err, c[2])
		}
	}
	if _, err := PullReference("Bad", ""); !api.Is(err, api.Invalid) {
		t.Errorf("a bad name: %v", err)
	}
}

package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lighter/api"
	"lighter/oci"
)

// What a registry may do to a pull: the pull ends with an error that says why, or with the
// image; nothing that was not promised is kept, and the next pull succeeds.
func TestPullFromLiars(t *testing.T) {
	html := func(w http.ResponseWriter) { io.WriteString(w, "<html><body>Welcome to the hotel's wifi") }
	for _, c := range []struct {
		name string
		at   string // what it lies about: blobs (the layer's alone), manifests, config
		lie  func(s *shelf, w http.ResponseWriter, r *http.Request, n int32) bool
		want string // in the error; empty for none
	}{
		{"another layer", "layer", func(_ *shelf, w http.ResponseWriter, _ *http.Request, _ int32) bool {
			io.WriteString(w, strings.Repeat("x", 400))
			return true
		}, "not what was promised"},
		{"html for a layer", "layer", func(_ *shelf, w http.ResponseWriter, _ *http.Request, _ int32) bool { html(w); return true }, "not what was promised"},
		{"html for a manifest", "manifests", func(_ *shelf, w http.ResponseWriter, _ *http.Request, _ int32) bool { html(w); return true }, "manifest"},
		{"html for the config", "config", func(_ *shelf, w http.ResponseWriter, _ *http.Request, _ int32) bool { html(w); return true }, "not what was promised"},
		{"endless layer", "layer", func(_ *shelf, w http.ResponseWriter, r *http.Request, _ int32) bool {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					break
				}
			}
			return true
		}, "not what was promised"},
		{"endless manifest", "manifests", func(_ *shelf, w http.ResponseWriter, r *http.Request, _ int32) bool {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					break
				}
			}
			return true
		}, "longer than"},
		{"broken twice", "layer", func(s *shelf, w http.ResponseWriter, r *http.Request, n int32) bool {
			if n > 2 {
				return false
			}
			panic(http.ErrAbortHandler)
		}, ""},
		{"always broken", "layer", func(s *shelf, w http.ResponseWriter, r *http.Request, _ int32) bool { panic(http.ErrAbortHandler) }, "EOF"},
		{"busy once", "", func(_ *shelf, w http.ResponseWriter, _ *http.Request, n int32) bool {
			if n == 1 {
				w.WriteHeader(503)
			}
			return n == 1
		}, ""},
		{"too many once", "layer", func(_ *shelf, w http.ResponseWriter, _ *http.Request, n int32) bool {
			if n == 1 {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(429)
			}
			return n == 1
		}, ""},
		{"always ill", "layer", func(_ *shelf, w http.ResponseWriter, _ *http.Request, _ int32) bool { w.WriteHeader(500); return true }, "500"},
		{"unauthorized in the middle", "layer", func(_ *shelf, w http.ResponseWriter, _ *http.Request, _ int32) bool {
			w.WriteHeader(401)
			return true
		}, "authentication required"},
		{"redirect loop", "layer", func(_ *shelf, w http.ResponseWriter, r *http.Request, _ int32) bool {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
			return true
		}, "10 redirects"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newShelf(t)
			maker := newRig(t)
			img := maker.imported(strings.Repeat("layer", 100), s.name("a:v1"))
			maker.push(s.name("a:v1"))
			layer := string(maker.byID(img.ID).sources[0].Layers[0])
			about := map[string]string{"layer": layer, "config": string(img.ID), "manifests": "/manifests/", "": "/"}[c.at]
			var times atomic.Int32
			s.mu.Lock()
			s.before = func(w http.ResponseWriter, r *http.Request) bool {
				return strings.Contains(r.URL.Path, about) && c.lie(s, w, r, times.Add(1))
			}
			s.mu.Unlock()
			r := newRig(t)
			_, err := r.pull(s.name("a:v1"))
			switch {
			case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Fatalf("%v; want %q", err, c.want)
			case c.want == "":
				return
			}
			if r.Count() != 0 || len(r.Layers.List()) != 0 {
				t.Fatalf("%d images, %d layers are kept", r.Count(), len(r.Layers.List()))
			}
			r.Blobs.Walk(func(d oci.Digest, _ int64, _ time.Time) error {
				t.Errorf("blob %s is kept", d)
				return nil
			})
			s.mu.Lock()
			s.before = nil
			s.mu.Unlock()
			if told, err := r.pull(s.name("a:v1")); err != nil {
				t.Fatalf("an honest one: %v\n%s", err, told)
			}
		})
	}
}

// A layer that is here already, of another image, is not fetched; the manifest by which the
// registry knows the image goes up again to the byte all the same.
func TestPushOfWhatWasNotFetched(t *testing.T) {
	s := newShelf(t)
	one := newRig(t)
	img := one.imported("content", s.name("team/app:v1"))
	one.push(s.name("team/app:v1"))
	manifest := s.things["team/app:v1"]
	two := newRig(t)
	two.imported("content", "own:1")
	told, err := two.pull(s.name("team/app:v1"))
	if err != nil || !strings.Contains(told, "Already exists") {
		t.Fatal(told, err)
	}
	layer := string(one.byID(img.ID).sources[0].Layers[0])
	if n := s.count("GET", layer); n != 0 {
		t.Fatalf("the layer was fetched %d times", n)
	}
	if err := two.Tag(s.name("team/app:v1"), s.name("team/copy"), "v1"); err != nil {
		t.Fatal(err)
	}
	told = two.push(s.name("team/copy:v1"))
	if got := s.things["team/copy:v1"]; string(got) != string(manifest) {
		t.Fatalf("another manifest: %s\n%s", got, told)
	}
	// Where no registry has it any more it is packed, and the image is as it was.
	delete(s.things, layer)
	if err := two.Tag(s.name("team/app:v1"), s.name("team/again"), "v1"); err != nil {
		t.Fatal(err)
	}
	if told = two.push(s.name("team/again:v1")); s.things["team/again:v1"] == nil {
		t.Fatal(told)
	}
}

// A client that does not read holds up nobody: another pull of the same image ends, and
// what the first is told in the end is whole.
func TestPullOfStoppedClient(t *testing.T) {
	s := newShelf(t)
	maker := newRig(t)
	maker.imported(strings.Repeat("layer", 100), s.name("a:v1"))
	maker.push(s.name("a:v1"))
	r := newRig(t)
	ref, _ := oci.ParseReference(s.name("a:v1"))
	stopped, goOn := make(chan struct{}), make(chan struct{})
	var told []string
	first := make(chan error, 1)
	go func() {
		var once sync.Once
		first <- Exchange{r.Images}.Pull(t.Context(), ref, PullOptions{}, func(p api.Progress) {
			once.Do(func() { close(stopped); <-goOn })
			told = append(told, p.Status)
		})
	}()
	<-stopped
	if told, err := r.pull(s.name("a:v1")); err != nil {
		t.Fatal(told, err)
	}
	close(goOn)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if told[0] != "Pulling from a" || !strings.HasPrefix(told[len(told)-1], "Status: ") {
		t.Fatalf("%q", told)
	}
}

// A start sweeps what no image needs: blobs of a pull that was killed.
func TestSweepBlobs(t *testing.T) {
	s := newShelf(t)
	r := newRig(t)
	img := r.imported("content", s.name("a:v1"))
	r.push(s.name("a:v1"))
	stray, err := r.Blobs.Put(t.Context(), []byte("stray"))
	if err != nil {
		t.Fatal(err)
	}
	r = r.reopen()
	r.Sweep(t.Context())
	if _, err := r.Blobs.Stat(stray); err == nil {
		t.Fatal("a blob that nothing needs is kept")
	}
	for _, d := range r.byID(img.ID).blobs() {
		if _, err := r.Blobs.Stat(d); err != nil {
			t.Fatal(fmt.Errorf("a blob that an image needs is gone: %w", err))
		}
	}
}

// Of two pulls of an image the one that brings the layers is called off: the other takes
// over.
func TestPullTakesOver(t *testing.T) {
	s := newShelf(t)
	maker := newRig(t)
	img := maker.imported(strings.Repeat("layer", 100), s.name("a:v1"))
	maker.push(s.name("a:v1"))
	layer := string(maker.byID(img.ID).sources[0].Layers[0])
	asked, waits := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, layer) {
			held := false
			once.Do(func() { held = true })
			if held {
				close(asked)
				<-r.Context().Done()
				return true
			}
		}
		return false
	}
	r := newRig(t)
	ref, _ := oci.ParseReference(s.name("a:v1"))
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- Exchange{r.Images}.Pull(ctx, ref, PullOptions{}, nil) }()
	<-asked
	go func() {
		var seen sync.Once
		second <- Exchange{r.Images}.Pull(t.Context(), ref, PullOptions{}, func(p api.Progress) {
			if p.Status == "Pulling fs layer" {
				seen.Do(func() { close(waits) })
			}
		})
	}()
	<-waits
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := <-second; err != nil || r.byID(img.ID) == nil {
		t.Fatal(err)
	}
	r.remove(s.name("a:v1"), RemoveOptions{})
	if r.Count() != 0 || len(r.Layers.List()) != 0 {
		t.Fatal("what was removed is kept")
	}
}

package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"lighter/api"
	"lighter/oci"
)

// image puts an image onto the shelf whose layers hold a file each, by their contents. It gives the
// layers' digests.
func (s *shelf) image(name string, p oci.Platform, contents ...string) (blobs []oci.Digest, manifest oci.Descriptor) {
	var diffs []oci.Digest
	m := oci.Manifest{SchemaVersion: 2, MediaType: oci.MediaManifest}
	keep := func(kind string, b []byte) oci.Descriptor {
		d := oci.FromBytes(b)
		s.things[string(d)] = b
		return oci.Descriptor{MediaType: kind, Digest: d, Size: int64(len(b))}
	}
	for _, content := range contents {
		var plain, packed bytes.Buffer
		tw := tar.NewWriter(&plain)
		tw.WriteHeader(&tar.Header{Name: content[:1], Mode: 0o644, Size: int64(len(content))})
		tw.Write([]byte(content))
		tw.Close()
		zw := gzip.NewWriter(&packed)
		zw.Write(plain.Bytes())
		zw.Close()
		diffs = append(diffs, oci.FromBytes(plain.Bytes()))
		m.Layers = append(m.Layers, keep(oci.MediaLayerGzip, packed.Bytes()))
		blobs = append(blobs, m.Layers[len(m.Layers)-1].Digest)
	}
	doc, _ := json.Marshal(map[string]any{"os": p.OS, "architecture": p.Architecture, "variant": p.Variant, "rootfs": map[string]any{"type": "layers", "diff_ids": diffs}})
	m.Config = keep(oci.MediaConfig, doc)
	raw, _ := json.Marshal(m)
	d := oci.FromBytes(raw)
	repo, _, _ := strings.Cut(name, ":")
	for _, key := range []string{name, repo + ":" + string(d)} {
		s.things[key], s.kinds[key] = raw, oci.MediaManifest
	}
	return blobs, oci.Descriptor{MediaType: oci.MediaManifest, Digest: d, Size: int64(len(raw)), Platform: &p}
}

// Several images that come at once share what they have in common: a stack of layers, and a
// layer that each has on another one.
func TestPullsShare(t *testing.T) {
	s := newShelf(t)
	host := oci.Host()
	common := strings.Repeat("common", 100)
	first, _ := s.image("a:v1", host, "base", common)
	s.image("b:v1", host, "base", common, "more")
	s.image("c:v1", host, common)
	s.image("d:v1", host, "else", common, common)
	r := newRig(t)
	var ready sync.WaitGroup // all four have asked before the first byte goes out
	ready.Add(4)
	var asked sync.Map
	s.before = func(_ http.ResponseWriter, q *http.Request) bool {
		if strings.HasSuffix(q.URL.Path, "/manifests/v1") {
			if _, twice := asked.LoadOrStore(q.URL.Path, true); !twice {
				ready.Done()
			}
		}
		if strings.Contains(q.URL.Path, "/blobs/") {
			ready.Wait()
		}
		return false
	}
	var pulls sync.WaitGroup
	for _, repo := range []string{"a", "b", "c", "d"} {
		pulls.Go(func() {
			if told, err := r.pull(s.name(repo + ":v1")); err != nil {
				t.Errorf("%s: %v\n%s", repo, err, told)
			}
		})
	}
	pulls.Wait()
	for _, d := range first {
		if n := s.count("GET", string(d)); n != 1 {
			t.Errorf("blob %s was fetched %d times", d, n)
		}
	}
	if r.Count() != 4 {
		t.Errorf("%d images", r.Count())
	}
}

// A pull that is called off leaves nothing but what another one goes on with.
func TestPullCalledOffLeavesPartials(t *testing.T) {
	s := newShelf(t)
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(i * i >> 3 * 7)
	}
	blobs, _ := s.image("a:v1", oci.Host(), "one", string(noise), "two")
	slow := string(blobs[1])
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, slow) {
			return false
		}
		b := s.things[slow]
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		w.Write(b[:len(b)/2])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	}
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ref, _ := oci.ParseReference(s.name("a:v1"))
	if err := (Exchange{r.Images}).Pull(ctx, ref, PullOptions{}, func(p api.Progress) {
		if p.ID == oci.Digest(slow).Short() && p.ProgressDetail != nil && p.ProgressDetail.Current > 0 {
			cancel()
		}
	}); err == nil {
		t.Fatal("it was not called off")
	}
	list := func(dir ...string) (names []string) {
		entries, _ := os.ReadDir(r.root.Path(dir...))
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	if tmp := list("tmp"); len(tmp)+r.layerCount()+r.Count() != 0 {
		t.Errorf("left: %q in tmp, %d layers, %d images", tmp, r.layerCount(), r.Count())
	}
	for _, name := range append(list("blobs", "partial"), list("blobs", "sha256")...) {
		if d := oci.Digest("sha256:" + name); d != blobs[0] && d != blobs[1] && d != blobs[2] {
			t.Errorf("%s is left", name)
		}
	}
	if part := list("blobs", "partial"); len(part) == 0 {
		t.Error("what came is lost")
	}
	s.before = nil
	if _, err := r.pull(s.name("a:v1")); err != nil {
		t.Fatal(err)
	}
	if part := list("blobs", "partial"); len(part) != 0 {
		t.Errorf("%q is kept", part)
	}
}

// Layers come as gzip, zstd, or as they are, and go up again to the byte, to another registry, too.
func TestCompressions(t *testing.T) {
	from, to := newShelf(t), newShelf(t)
	_, d := from.image("a:v1", oci.Host(), "gzip "+strings.Repeat("g", 1000), "plain "+strings.Repeat("p", 1000), "zstd "+strings.Repeat("z", 1000))
	var m oci.Manifest
	if err := json.Unmarshal(from.things["a:"+string(d.Digest)], &m); err != nil {
		t.Fatal(err)
	}
	for n, kind := range []string{oci.MediaLayerGzip, oci.MediaLayer, oci.MediaLayerZstd} {
		zr, err := gzip.NewReader(bytes.NewReader(from.things[string(m.Layers[n].Digest)]))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(zr)
		if err != nil {
			t.Fatal(err)
		}
		switch kind {
		case oci.MediaLayerGzip:
			continue
		case oci.MediaLayerZstd:
			zw, err := zstd.NewWriter(nil)
			if err != nil {
				t.Fatal(err)
			}
			b = zw.EncodeAll(b, nil)
		}
		m.Layers[n] = oci.Descriptor{MediaType: kind, Digest: oci.FromBytes(b), Size: int64(len(b))}
		from.things[string(m.Layers[n].Digest)] = b
	}
	raw, _ := json.Marshal(m)
	from.things["a:v1"] = raw
	r := newRig(t)
	if told, err := r.pull(from.name("a:v1")); err != nil {
		t.Fatal(err, told)
	}
	if err := r.Tag(from.name("a:v1"), to.name("b"), "v1"); err != nil {
		t.Fatal(err)
	}
	r.push(to.name("b:v1"))
	if !bytes.Equal(to.things["b:v1"], raw) {
		t.Errorf("another manifest: %s", to.things["b:v1"])
	}
	for _, l := range m.Layers {
		if !bytes.Equal(to.things[string(l.Digest)], from.things[string(l.Digest)]) {
			t.Errorf("%s: %d bytes, not %d", l.MediaType, len(to.things[string(l.Digest)]), l.Size)
		}
	}
}

// Of an index the image for the platform is taken: its own variant first, then older ones; what
// is said about images is none.
func TestPullPlatforms(t *testing.T) {
	s := newShelf(t)
	index := oci.Index{SchemaVersion: 2, MediaType: oci.MediaIndex}
	var names []string
	for _, p := range []string{"unknown/unknown", "linux/arm/v5", "linux/arm/v7", "linux/arm64", "linux/amd64", "linux/386", "windows/amd64", "linux/s390x"} {
		platform, err := oci.ParsePlatform(p)
		if err != nil {
			t.Fatal(err)
		}
		_, d := s.image("multi:"+strings.ReplaceAll(p, "/", "-"), platform, p)
		if names = append(names, p); p == "unknown/unknown" {
			d.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
		}
		index.Manifests = append(index.Manifests, d)
	}
	raw, _ := json.Marshal(index)
	s.things["multi:v1"], s.kinds["multi:v1"] = raw, oci.MediaIndex
	for _, c := range [][2]string{
		{"linux/arm/v7", "linux/arm/v7"}, {"linux/arm/v6", "linux/arm/v5"}, {"linux/arm", "linux/arm/v7"}, {"linux/arm64/v8", "linux/arm64"},
		{"linux/amd64/v3", "linux/amd64"}, {"linux/amd64", "linux/amd64"}, {"linux/386", "linux/386"},
		{"windows/amd64", "operating system \"windows\" cannot be used"}, {"linux/riscv64", "no matching manifest for linux/riscv64 in the manifest list entries"},
	} {
		r := newRig(t)
		want, err := oci.ParsePlatform(c[0])
		if err != nil {
			t.Fatal(err)
		}
		ref, _ := oci.ParseReference(s.name("multi:v1"))
		err = Exchange{r.Images}.Pull(t.Context(), ref, PullOptions{Platform: &want}, nil)
		got := fmt.Sprint(err)
		if err == nil {
			got = r.named(ref).Doc.Platform().String()
			got = strings.TrimSuffix(got, "/v8")
		}
		if !strings.Contains(got, c[1]) {
			t.Errorf("%s of %q: %s; want %s", c[0], names, got, c[1])
		}
	}
}

package build

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lighter/api"
	"lighter/oci"
)

// fromCache tells which steps the last build took from a cache.
func (b *bench) fromCache() []string {
	var names []string
	for _, m := range b.told {
		if m.Progress == nil {
			continue
		}
		for _, v := range m.Progress.Vertexes {
			if v.Cached {
				names = append(names, bare(v.Name))
			}
		}
	}
	return names
}

func TestCacheInFolder(t *testing.T) {
	const dockerfile = "FROM scratch AS one\nCOPY a /a\nFROM scratch\nCOPY --from=one /a /b\nCOPY c /c\n"
	dir := filepath.Join(t.TempDir(), "cache")
	first := newFileBench(t)
	for _, b := range []*bench{first, newFileBench(t)} {
		b.write(t, "Dockerfile", dockerfile)
		b.write(t, "a", "A")
		b.write(t, "c", "C")
		at := filepath.Join(b.dir, "a")
		for _, name := range []string{at, filepath.Join(b.dir, "c")} {
			if err := os.Chtimes(name, time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
				t.Fatal(err)
			}
		}
		r := api.BuildRequest{To: []api.BuildCacheOption{{Type: "local", Attrs: map[string]string{"dest": dir, "mode": "max"}}}}
		if b != first {
			r = api.BuildRequest{From: []api.BuildCacheOption{{Type: "local", Attrs: map[string]string{"src": dir}}}}
		}
		if _, fail := b.build(t, r); fail != nil {
			t.Fatal(fail.Message)
		}
		want := []string(nil)
		if b != first {
			want = []string{"COPY --from=one /a /b", "COPY a /a", "COPY c /c"}
		}
		got := b.fromCache()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("cached: %v, want %v", got, want)
		}
	}
	// What is not as its manifest says is not taken, and the build goes on without it.
	blobs, err := filepath.Glob(filepath.Join(dir, oci.BlobsDir, "sha256", "*"))
	if err != nil || len(blobs) < 5 {
		t.Fatal(blobs, err)
	}
	for _, name := range blobs {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, append(raw[:len(raw)/2], bytes.Repeat([]byte{1}, len(raw)-len(raw)/2)...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	third := newFileBench(t)
	third.write(t, "Dockerfile", dockerfile)
	third.write(t, "a", "A")
	third.write(t, "c", "C")
	if _, fail := third.build(t, api.BuildRequest{From: []api.BuildCacheOption{{Type: "local", Attrs: map[string]string{"src": dir}}}}); fail != nil || third.fromCache() != nil {
		t.Errorf("%+v, cached %v", fail, third.fromCache())
	}
}

func TestInlineCache(t *testing.T) {
	b := newFileBench(t)
	b.write(t, "Dockerfile", "FROM scratch\nCOPY a /a\nCOPY a /b\n")
	b.write(t, "a", "A")
	if _, fail := b.build(t, api.BuildRequest{Names: []string{"it"}, To: []api.BuildCacheOption{{Type: "inline"}}}); fail != nil {
		t.Fatal(fail.Message)
	}
	if _, err := b.Prune(t.Context(), api.BuildPrune{All: true}); err != nil {
		t.Fatal(err)
	}
	if _, fail := b.build(t, api.BuildRequest{From: []api.BuildCacheOption{{Type: "registry", Attrs: map[string]string{"ref": "it"}}}}); fail != nil || len(b.fromCache()) != 2 {
		t.Errorf("%+v, cached %v", fail, b.fromCache())
	}
}

func TestSquashAndVerify(t *testing.T) {
	b := newFileBench(t)
	b.write(t, "a", "A")
	b.write(t, "d/x", "X")
	if _, fail := b.image(t, "FROM scratch\nCOPY a /a\nCOPY d /d\n"); fail != nil {
		t.Fatal(fail.Message)
	}
	b.write(t, "Dockerfile", "FROM x\nCOPY a /d/x\nCOPY d /e\nCOPY d/x /a\n")
	plain, fail := b.build(t, api.BuildRequest{Verify: true})
	if fail != nil || plain.Differ != "" {
		t.Fatal(fail, plain)
	}
	out, fail := b.build(t, api.BuildRequest{Squash: true})
	if fail != nil {
		t.Fatal(fail.Message)
	}
	img, err := b.Images.Resolve(out.ID)
	if err != nil || len(img.Chains) != 3 {
		t.Fatal(img, err)
	}
	whole, err := b.Images.Resolve(plain.ID)
	if err != nil {
		t.Fatal(err)
	}
	var one, two bytes.Buffer
	if err := b.Layers.Export(t.Context(), string(img.TopLayer()), &one); err != nil {
		t.Fatal(err)
	}
	if err := b.Layers.Export(t.Context(), string(whole.TopLayer()), &two); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Errorf("%q\nis not\n%q", one.String(), two.String())
	}
	if h := img.Doc.History; !strings.HasPrefix(h[len(h)-1].Comment, "merge "+plain.ID+" to sha256:") {
		t.Errorf("%+v", h[len(h)-1])
	}
}

func TestPrune(t *testing.T) {
	b := newFileBench(t)
	b.write(t, "a", "12345")
	if _, fail := b.image(t, "FROM scratch\nCOPY a /a\n"); fail != nil {
		t.Fatal(fail.Message)
	}
	b.write(t, "Dockerfile", "FROM scratch\nCOPY a /b\nCOPY a /c\n")
	if _, fail := b.build(t, api.BuildRequest{Outputs: []api.BuildOutput{{Type: "cacheonly"}}}); fail != nil {
		t.Fatal(fail.Message)
	}
	list, err := b.Usage(t.Context(), nil)
	if err != nil || len(list) != 3 {
		t.Fatal(list, err)
	}
	if out, err := b.Prune(t.Context(), api.BuildPrune{Keep: 1 << 30}); err != nil || len(out.CachesDeleted) != 0 {
		t.Error(out, err)
	}
	out, err := b.Prune(t.Context(), api.BuildPrune{})
	if err != nil || len(out.CachesDeleted) != 2 || out.SpaceReclaimed != 10 {
		t.Error("an image stands on the first: ", out, err)
	}
	if out, err := b.Prune(t.Context(), api.BuildPrune{All: true, Filters: api.Filters{"until": {"1h"}}}); err != nil || len(out.CachesDeleted) != 0 {
		t.Error(out, err)
	}
	if out, err := b.Prune(t.Context(), api.BuildPrune{All: true}); err != nil || len(out.CachesDeleted) != 1 || out.SpaceReclaimed != 0 {
		t.Error(out, err)
	}
	steps := func() int { left, _ := os.ReadDir(b.Root.Path("build", "steps")); return len(left) }
	if steps() != 1 {
		t.Error("the steps of an image are not kept: ", steps())
	}
	if _, err := b.Images.Prune(t.Context(), api.Filters{"dangling": {"false"}}); err != nil {
		t.Error(err)
	}
	if _, err := b.Prune(t.Context(), api.BuildPrune{All: true}); err != nil || steps() != 0 {
		t.Error("steps of images that are gone: ", steps(), err)
	}
	if _, err := b.Prune(t.Context(), api.BuildPrune{Filters: api.Filters{"until": {"soon"}}}); !api.Is(err, api.Invalid) {
		t.Error(err)
	}
}

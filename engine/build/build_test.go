package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lighter/api"
	"lighter/engine/image"
	"lighter/engine/image/imagetest"
	"lighter/oci"
	"lighter/store"
	"lighter/store/archive"
	"lighter/store/layer"
)

// noLayers is a layer store without any, for what needs none.
type noLayers struct{ settled int }

func (*noLayers) Get(id string) (layer.Layer, error) {
	return layer.Layer{}, fmt.Errorf("%w: %s", layer.ErrNotFound, id)
}
func (*noLayers) Alone(string, func(*archive.Entry) error) (*os.File, error) {
	return nil, errors.ErrUnsupported
}
func (*noLayers) View(string, bool) (*os.File, error)                   { return nil, errors.ErrUnsupported }
func (*noLayers) Work(string) (*layer.Work, error)                      { return nil, errors.ErrUnsupported }
func (l *noLayers) Settle(context.Context, ...string) error             { l.settled++; return nil }
func (*noLayers) Pack(context.Context, string, io.Writer) error         { return errors.ErrUnsupported }
func (*noLayers) Export(context.Context, string, io.Writer) error       { return errors.ErrUnsupported }
func (*noLayers) Newest(string) (time.Time, error)                      { return time.Time{}, nil }
func (*noLayers) Paths(string, func(string)) error                      { return nil }
func (*noLayers) Differ(a, b string) (int, string, string, bool, error) { return 0, "", "", false, nil }
func (*noLayers) List() []layer.Layer                                   { return nil }
func (*noLayers) Remove(string) error                                   { return nil }
func (*noLayers) Data(string) map[string]string                         { return nil }
func (*noLayers) Rebase(context.Context, string, string) (layer.Layer, error) {
	return layer.Layer{}, errors.ErrUnsupported
}
func (*noLayers) Stage(context.Context, io.Reader) (*layer.Staged, error) {
	return nil, errors.ErrUnsupported
}
func (*noLayers) CommitChain(context.Context, []*layer.Staged, string) ([]layer.Layer, error) {
	return nil, errors.ErrUnsupported
}

// bench is a builder, and what it told.
type bench struct {
	*Builder
	mu   sync.Mutex
	told []api.BuildMessage
	dir  string // the context
}

func newBench(t testing.TB) *bench {
	return newBenchOn(t, func(*store.Root) builderLayers { return &noLayers{} })
}

// builderLayers is what builds and images need of the layer store.
type builderLayers interface {
	Layers
	image.Layers
}

func newBenchOn(t testing.TB, open func(*store.Root) builderLayers) *bench {
	t.Helper()
	deps := imagetest.Deps(t)
	layers := open(deps.Root)
	deps.Layers = layers
	images, err := image.Open(deps)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(t.Context(), Deps{
		Log: deps.Log, Root: deps.Root, Layers: layers, Images: images, Blobs: deps.Blobs,
		Platforms: func() []api.Platform { return []api.Platform{{OS: "linux", Architecture: "amd64"}} },
		Clock:     clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return &bench{Builder: b, dir: t.TempDir()}
}

// write makes a file of the context.
func (b *bench) write(t testing.TB, name, text string) {
	t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// build builds the context, and gives the result.
func (b *bench) build(t *testing.T, r api.BuildRequest) (*api.BuildResult, *api.BuildError) {
	t.Helper()
	where := api.BuildContext{Path: b.dir}
	r.Contexts = map[string]api.BuildContext{"context": where, "dockerfile": where}
	b.told = nil
	err := b.Build(t.Context(), &r, func(m api.BuildMessage) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.told = append(b.told, m)
	})
	last := b.told[len(b.told)-1]
	if (err != nil) != (last.Error != nil) || (err == nil) != (last.Result != nil) {
		t.Fatalf("%v, and it ends with %+v", err, last)
	}
	return last.Result, last.Error
}

func TestMetadataAlone(t *testing.T) {
	b := newBench(t)
	b.write(t, "Dockerfile", "# syntax=docker/dockerfile:1\nFROM scratch\nENV A=b\nLABEL x=y\nUSER 7\nEXPOSE 80\nCMD [\"/a\"]\n")
	out, fail := b.build(t, api.BuildRequest{Names: []string{"one", "two:t"}})
	if fail != nil {
		t.Fatal(fail.Message)
	}
	img, err := b.Images.Resolve("one")
	if err != nil || string(img.ID) != out.ID {
		t.Fatal(img, err)
	}
	if img2, err := b.Images.Resolve("two:t"); err != nil || img2 != img {
		t.Fatal(img2, err)
	}
	var config api.ContainerConfig
	if err := json.Unmarshal(img.Doc.Config, &config); err != nil {
		t.Fatal(err)
	}
	if config.User != "7" || config.Labels["x"] != "y" || config.Env[1] != "A=b" || len(img.Doc.History) != 5 {
		t.Errorf("%s", img.Doc.Raw)
	}
	for _, h := range img.Doc.History {
		if !h.EmptyLayer || h.Comment != "buildkit.dockerfile.v0" || h.Created == nil {
			t.Errorf("%+v", h)
		}
	}
	again, _ := b.build(t, api.BuildRequest{Names: []string{"one"}})
	if again.ID != out.ID {
		t.Errorf("%s, then %s", out.ID, again.ID)
	}
	if !strings.HasPrefix(out.Names[0], oci.DefaultDomain+"/library/one") {
		t.Error(out.Names)
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	for _, c := range []struct {
		text, message string
		line          int
	}{
		{"FROM scratch\nNOSUCH x\n", "unknown instruction: NOSUCH", 2},
		{"FROM scratch AS a\nCOPY --from=b x y\nFROM scratch AS b\nCOPY --from=a x y\n", "circular dependency", 2},
		{"# syntax=example.com/my/front:1\nFROM scratch\n", "only docker/dockerfile is understood", 1},
	} {
		b := newBench(t)
		b.write(t, "Dockerfile", c.text)
		_, fail := b.build(t, api.BuildRequest{})
		if fail == nil || !strings.Contains(fail.Message, c.message) {
			t.Errorf("%+v", fail)
			continue
		}
		if fail.Source == nil || len(fail.Source.Ranges) == 0 || fail.Source.Ranges[0].Start != c.line {
			t.Errorf("%s: %+v", c.message, fail.Source)
		}
	}
}

// clock is what builds take for the time.
var clock = func() time.Time { return time.Unix(2_000_000_000, 0) }

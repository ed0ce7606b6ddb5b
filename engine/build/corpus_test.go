package build

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"

	"lighter/api"
)

// anyImage has every image, each of them empty.
type anyImage struct{ client.Client }

// ResolveImageConfig tells of an image without asking for it.
func (anyImage) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return ref, "", []byte(`{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}`), nil
}

// plan makes a Dockerfile into graphs that are read, and runs nothing of them.
func (b *bench) plan(t testing.TB, dockerfile string) *api.BuildError {
	t.Helper()
	b.write(t, "Dockerfile", dockerfile)
	where := api.BuildContext{Path: b.dir}
	r := &api.BuildRequest{Contexts: map[string]api.BuildContext{"context": where, "dockerfile": where}, Outputs: []api.BuildOutput{{Type: "cacheonly"}}}
	r.Options = map[string]string{"cmdline": "built-in"} // the line "# syntax" would begin anew, without us
	var failed *api.BuildError
	err := b.Run(t.Context(), Ask{Request: r, Front: func(ctx context.Context, c client.Client) (*client.Result, error) {
		_, err := builder.Build(ctx, anyImage{c})
		return client.NewResult(), err
	}}, func(m api.BuildMessage) {
		if m.Error != nil {
			failed = m.Error
		}
	})
	if (err == nil) != (failed == nil) {
		t.Fatalf("%v, but told was %+v", err, failed)
	}
	return failed
}

// corpus gives the Dockerfiles of a folder of BuildKit's own tests, by name.
func corpus(t testing.TB, folder string) map[string]string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/moby/buildkit/frontend/dockerfile/parser").Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("go is not installed, which finds BuildKit's sources")
	}
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), folder, "*", "Dockerfile"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no Dockerfile in %s: %v", folder, err)
	}
	all := map[string]string{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(filepath.Dir(name))] = string(text)
	}
	return all
}

// BuildKit's own corpus is taken or refused as there. Its parser takes all of the first folder, and its front end refuses some for what
// they ask for.
func TestCorpus(t *testing.T) {
	b := newBench(t)
	refused := map[string]string{
		"health": "HEALTHCHECK requires at least one argument", "flags": "unknown flag: --user",
		"escapes": "looking for matching double-quote", "env": "looking for matching single-quote",
	}
	for _, name := range []string{"single-quotes", "json-inside-string", "json-inside-string-double", "unterminated-bracket", "unterminated-string"} {
		refused["jeztah-invalid-json-"+name] = "no build stage in current context"
	}
	refused["json"] = "no build stage in current context"
	for name, text := range corpus(t, "testfiles") {
		failed := b.plan(t, text)
		switch want, ok := refused[name]; {
		case !ok && failed != nil:
			t.Errorf("%s: %s", name, failed.Message)
		case ok && (failed == nil || !strings.Contains(failed.Message, want)):
			t.Errorf("%s: %+v, want %s", name, failed, want)
		}
	}
	for name, text := range corpus(t, "testfiles-negative") {
		if failed := b.plan(t, text); failed == nil || failed.Kind != "Invalid" {
			t.Errorf("%s: %+v", name, failed)
		}
	}
}

// FuzzDockerfile makes graphs of Dockerfiles: each is taken, or refused as what it is, and a graph of the front end's own is always read.
func FuzzDockerfile(f *testing.F) {
	for _, folder := range []string{"testfiles", "testfiles-negative"} {
		for _, text := range corpus(f, folder) {
			f.Add(text)
		}
	}
	f.Add("# syntax=docker/dockerfile:1\nARG A=1\nFROM --platform=$BUILDPLATFORM a:$A AS b\nRUN --mount=type=cache,target=/c --network=none <<eof\nx\neof\nFROM scratch\nCOPY --link --chmod=u+x --parents --from=b /x* ./\nADD --checksum=sha256:0 https://h/x /\n")
	b := newBench(f)
	f.Fuzz(func(t *testing.T, text string) {
		failed := b.plan(t, text)
		if failed == nil {
			return
		}
		for _, wrong := range []string{"invalid exec op", "file op", "in its definition", "that is not known", "merge op", "diff op"} {
			if strings.Contains(failed.Message, wrong) {
				t.Errorf("a graph of the front end's own is refused: %s", failed.Message)
			}
		}
	})
}

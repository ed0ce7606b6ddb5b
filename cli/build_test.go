package cli

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lighter/api"
	"lighter/client/secure"
)

// told gives what an engine tells of a small build that fails.
func told() []*api.BuildStatus {
	t := func(ms int) *time.Time { v := time.Unix(100, int64(ms)*1e6); return &v }
	log := func(ms int, text string) *api.VertexLog {
		return &api.VertexLog{Vertex: "b", Stream: 1, Data: []byte(text), Timestamp: *t(ms)}
	}
	a, b, c := "[1/3] FROM base", "[2/3] RUN one\tand "+strings.Repeat("long ", 60), "[3/3] RUN two"
	return []*api.BuildStatus{
		{Vertexes: []*api.BuildVertex{{Digest: "a", Name: a}, {Digest: "b", Name: b}, {Digest: "c", Name: c}}},
		{Vertexes: []*api.BuildVertex{{Digest: "a", Name: a, Started: t(0)}}},
		{Statuses: []*api.VertexStatus{{ID: "transferring context:", Vertex: "a", Current: 1234567, Started: t(0), Timestamp: *t(5)}}},
		{Statuses: []*api.VertexStatus{{ID: "transferring context:", Vertex: "a", Current: 2234567, Started: t(0), Completed: t(500), Timestamp: *t(500)}}},
		{Warnings: []*api.BuildWarning{{Vertex: "a", Short: []byte("OldStyle: not so (line 1)")}}},
		{Vertexes: []*api.BuildVertex{{Digest: "a", Name: a, Started: t(0), Completed: t(500)}, {Digest: "b", Name: b, Started: t(500)}}},
		{Logs: []*api.VertexLog{log(628, "hi\nha"), log(1728, "lf\n\x1b[31mred\x1b[0m 1%\r50%\r99%\n"), log(13500, strings.Repeat("x", 300)+"\nlast")}},
		{Vertexes: []*api.BuildVertex{{Digest: "b", Name: b, Started: t(500), Completed: t(14000)}, {Digest: "c", Name: c, Started: t(14000)}}},
		{Vertexes: []*api.BuildVertex{{Digest: "c", Name: c, Started: t(14000), Completed: t(14100), Error: "exit code: 3"}}},
	}
}

func TestPlainBuild(t *testing.T) {
	var out bytes.Buffer
	p := &plainBuild{out: &out}
	for _, s := range told() {
		if err := errors.Join(p.update(s), p.tick()); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.end(); err != nil {
		t.Fatal(err)
	}
	want := "#1 [1/3] FROM base\n#1 transferring context: 1.23MB"
	for _, part := range []string{
		want, "#1 transferring context: 2.23MB 0.5s done\n#1 WARN: OldStyle: not so (line 1)\n#1 DONE 0.5s\n\n#2 [2/3] RUN one",
		"#2 0.128 hi\n#2 1.228 half\n#2 1.228 \x1b[31mred\x1b[0m 1%\r50%\r99%\n#2 13.00 xxx", "#2 DONE 13.5s\n\n#3 [3/3] RUN two\n#3 ERROR: exit code: 3\n",
		"------\n > [3/3] RUN two:\n------\n",
	} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("no %q in\n%s", part, &out)
		}
	}
}

func TestTTYBuild(t *testing.T) {
	for _, columns := range []int{30, 80, 200} {
		s := &screen{t: t, columns: columns}
		b := &ttyBuild{block: block{out: s, size: func() (int, int) { return s.columns, 24 }}, label: "lighter", plain: true}
		for n, st := range told() {
			if b.trace.update(st); n == 0 {
				continue
			}
			writes := s.writes
			if err := b.tick(); err != nil {
				t.Fatal(err)
			}
			if s.writes-writes != 1 {
				t.Errorf("%d columns: a frame of %d writes", columns, s.writes-writes)
			}
			for _, row := range s.rows {
				if len([]rune(row)) >= columns {
					t.Fatalf("%d columns: %q", columns, row)
				}
			}
			if screenText := strings.Join(s.rows, "\n"); n == 6 && columns == 80 {
				for _, part := range []string{"[+] Building ", " => [2/3] RUN one   and long", " => => # xxxxx", " => => # last", "lighter"} {
					if !strings.Contains(screenText, part) {
						t.Errorf("no %q in\n%s", part, screenText)
					}
				}
			}
		}
		if err := b.end(); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(s.rows, "\n")
		if columns == 80 && (!strings.Contains(text, "(3/3) FINISHED") || !strings.Contains(text, " => ERROR [3/3] RUN two") || strings.Contains(text, "=> => # ")) {
			t.Errorf("the end:\n%s", text)
		}
	}
}

func TestTTYBuildFitsTheTerminal(t *testing.T) {
	s := &screen{t: t, columns: 80}
	b := &ttyBuild{block: block{out: s, size: func() (int, int) { return 80, 10 }}}
	now := time.Now()
	for n := range 50 {
		v := &api.BuildVertex{Digest: fmt.Sprint(n), Name: fmt.Sprintf("step %d", n), Started: &now}
		if n != 3 {
			v.Completed = &now
		}
		b.trace.update(&api.BuildStatus{Vertexes: []*api.BuildVertex{v}})
	}
	lines := b.frame(80, 9, false)
	if text := fmt.Sprint(lines); len(lines) > 9 || !strings.Contains(text, "step 3 ") || !strings.Contains(text, "step 49 ") {
		t.Errorf("%d lines: %v", len(lines), lines)
	}
	if len(b.frame(80, 9, true)) != 51 {
		t.Error("not all at the end")
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "a\tb": "a       b", "\x1b[31;1mred\x1b[0m": "red", "\x1b]0;title\atext": "text", "1%\r2%\r3%": "3%", "x\r": "x",
		"\x1b[2Jgone": "gone", "a\x07b\x9bc": "abc", "tail\x1b": "tail", "\x1b[": "",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestExcerpt(t *testing.T) {
	var b bytes.Buffer
	excerpt(&b, &api.BuildSource{Filename: "Bad", Data: []byte("FROM x\nRUN a\nRUN b\nRUN c\nRUN d\n"), Ranges: []api.BuildLines{{Start: 2, End: 3}}})
	want := "Bad:2\n--------------------\n   1 |     FROM x\n   2 | >>> RUN a\n   3 | >>> RUN b\n   4 |     RUN c\n--------------------\n"
	if b.String() != want {
		t.Errorf("%s", &b)
	}
	b.Reset()
	excerpt(&b, &api.BuildSource{Data: []byte("x"), Ranges: []api.BuildLines{{Start: 9, End: 9}}})
	if b.Len() > 0 {
		t.Errorf("%s", &b)
	}
}

func TestBuildSecrets(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(dir+"/s", []byte("file"), 0o600)
	os.WriteFile(dir+"/big", make([]byte, maxSecret+1), 0o600)
	t.Setenv("B4_ENV", "env")
	got, err := readSecrets([]string{"id=a,src=" + dir + "/s", "id=b,env=B4_ENV", "id=B4_ENV", "type=env,id=c,src=B4_ENV"})
	want := map[string][]byte{"a": []byte("file"), "b": []byte("env"), "B4_ENV": []byte("env"), "c": []byte("env")}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q %v", got, err)
	}
	for spec, text := range map[string]string{
		"src=x": "no id", "id=a,env=B4_NONE": "no variable B4_NONE", "id=a,src=" + dir + "/big": "larger than 500 kB", "id=a,nosuch=b": "unexpected key 'nosuch'",
		"id=a,src=/nosuch": "no such file", "id": "key=value", "id=a,type=x": "unsupported secret type",
	} {
		if _, err := readSecrets([]string{spec}); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", spec, err)
		}
	}
}

func TestBuildOutputs(t *testing.T) {
	for spec, want := range map[string]string{
		"out": "local out dir", "-": "tar - file", "type=tar": "tar - file", "type=tar,dest=x": "tar x file", "type=oci,dest=d,tar=false": "oci d dir",
		"type=docker": "image  file", "type=docker,dest=x": "docker x file", `type=image,"name=a,b",push=true`: "image  file",
	} {
		out, to, err := readOutput(spec)
		if got := out.Type + " " + to.path + map[bool]string{true: " dir", false: " file"}[to.dir]; err != nil || got != want {
			t.Errorf("%s: %s %v", spec, got, err)
		}
	}
	for spec, text := range map[string]string{
		"type=local": "dest is required", "type=nosuch,dest=x": "unsupported output type", "dest=x": "type is required", "type=image,dest=x": "has no dest",
	} {
		if _, _, err := readOutput(spec); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", spec, err)
		}
	}
}

func TestBuildContextIsPacked(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"Dockerfile", ".dockerignore", "a", "skip.log", "deep/x", "deep/y.log", "deep/keep.log", "none/z"} {
		os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o755)
		os.WriteFile(filepath.Join(dir, f), []byte("*.log\n**/*.log\n!deep/keep.log\nnone\nDockerfile\n"), 0o644)
	}
	names := func(f buildFolder) (list []string) {
		p, err := f.packer("")
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := p.run(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(&b); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				return list
			}
			if err != nil || h.Uid != 0 {
				t.Fatal(h, err)
			}
			if !strings.HasSuffix(h.Name, "/") {
				list = append(list, strings.TrimPrefix(h.Name, "./"))
			}
		}
	}
	if got := names(buildFolder{path: dir, ignored: dir + "/.dockerignore"}); !slices.Equal(got, []string{".dockerignore", "Dockerfile", "a", "deep/keep.log", "deep/x"}) {
		t.Errorf("%q", got)
	}
	if got := names(buildFolder{path: dir, only: []string{"Dockerfile", "Dockerfile.dockerignore"}}); !slices.Equal(got, []string{"Dockerfile"}) {
		t.Errorf("%q", got)
	}
}

func TestBuildFlagsAreRefused(t *testing.T) {
	for text, o := range map[string]buildFlags{
		"attestations are not made":      {attest: []string{"type=sbom"}, distrust: true, call: "build"},
		"provenance is not attested":     {provenance: "mode=max", distrust: true, call: "build"},
		"no builder \"x\"":               {builder: "x", distrust: true, call: "build"},
		"invalid progress mode x":        {progress: "x", distrust: true, call: "build"},
		"can't use stdin for both":       {source: "-", file: "-", distrust: true, call: "build"},
		"invalid call":                   {call: "x", distrust: true},
		"invalid --on-fail":              {onFail: "x", distrust: true, call: "build"},
		"security options are asked for": {securityOpts: []string{"x"}, distrust: true, call: "build"},
	} {
		if err := o.validate(); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
	ok := buildFlags{provenance: "false", sbom: "0", distrust: true, call: "build"}
	if err := ok.validate(); err != nil {
		t.Error(err)
	}
}

func TestBuildOptions(t *testing.T) {
	t.Setenv("FROM_ENV", "v")
	a := &App{conf: &configFile{Proxies: map[string]proxies{"default": {HTTP: "p"}}}}
	o := buildFlags{
		args: []string{"A=1", "FROM_ENV", "NOT_SET"}, labels: []string{"l=v"}, hosts: []string{"h:1.2.3.4"}, noCacheFilter: []string{"x", "y"},
		platforms: []string{"linux/amd64,linux/arm64"}, network: "host", pull: true, target: "t", call: "check", cpuShares: 5,
		ulimits: ulimitFlag{"nofile": {Name: "nofile", Soft: 1, Hard: 2}},
	}
	got, err := o.options(a)
	want := map[string]string{
		"build-arg:A": "1", "build-arg:FROM_ENV": "v", "build-arg:HTTP_PROXY": "p", "build-arg:http_proxy": "p", "label:l": "v", "add-hosts": "h=1.2.3.4",
		"no-cache": "x,y", "platform": "linux/amd64,linux/arm64", "force-network-mode": "host", "image-resolve-mode": "pull", "target": "t",
		"requestid": "frontend.lint", "cpushares": "5", "ulimit": "nofile=1:2",
	}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v %v", got, err)
	}
}

// A Dockerfile at a URL is sent, with the folder as the context; an answer that is none ends the build.
func TestDockerfileAtURL(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/Dockerfile" {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, "FROM scratch\n")
	}))
	defer web.Close()
	o := &buildFlags{source: t.TempDir(), file: web.URL + "/Dockerfile"}
	r := &api.BuildRequest{Options: map[string]string{}}
	c, err := o.readContexts(t.Context(), &App{Config: Config{Fetch: secure.Fetch}}, r)
	if err != nil {
		t.Fatal(err)
	}
	in := tar.NewReader(c.streams["dockerfile"])
	h, err := in.Next()
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(in); err != nil || h.Name != "Dockerfile" || string(text) != "FROM scratch\n" {
		t.Errorf("%s: %q, %v", h.Name, text, err)
	}
	if c.folders["context"].path != o.source || r.Options["filename"] != "Dockerfile" {
		t.Errorf("%+v, %v", c.folders, r.Options)
	}
	o.file = web.URL + "/nosuch"
	if _, err := o.readContexts(t.Context(), &App{Config: Config{Fetch: secure.Fetch}}, r); err == nil || !strings.Contains(err.Error(), "invalid response status 404") {
		t.Errorf("a Dockerfile that is not there: %v", err)
	}
}

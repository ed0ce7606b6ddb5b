package server

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"lighter/api"
)

// playedBuilder plays messages, and keeps what it was asked for.
type playedBuilder struct {
	play    []api.BuildMessage
	err     error
	asked   *api.BuildRequest
	sent    []byte
	pruned  api.BuildPrune
	waiting chan struct{} // closed when a build waits to be cancelled; nil to play
}

func (b *playedBuilder) Build(ctx context.Context, r *api.BuildRequest, tell func(api.BuildMessage)) error {
	b.asked = r
	if b.waiting != nil {
		tell(api.BuildMessage{ID: "b1"})
		close(b.waiting)
		<-ctx.Done()
		return ctx.Err()
	}
	for _, m := range b.play {
		tell(m)
	}
	return b.err
}

func (b *playedBuilder) Upload(_ context.Context, r io.Reader) (_ string, err error) {
	b.sent, err = io.ReadAll(r)
	return "u1", err
}

func (b *playedBuilder) Output(_ context.Context, id string, n int, w io.Writer) error {
	if id != "b1" || n != 2 {
		return api.Errorf(api.NotFound, "no output %d of build %s", n, id)
	}
	t := tar.NewWriter(w)
	return errors.Join(t.WriteHeader(&tar.Header{Name: "x"}), t.Close())
}

func (b *playedBuilder) Prune(_ context.Context, o api.BuildPrune) (api.BuildPruned, error) {
	b.pruned = o
	return api.BuildPruned{CachesDeleted: []string{"a"}, SpaceReclaimed: 7}, nil
}

func (b *playedBuilder) Usage(context.Context) ([]api.BuildCache, error) {
	return []api.BuildCache{{ID: "c1", Type: "regular", Size: 3}}, nil
}

func (b *playedBuilder) Step(_ context.Context, image, step string) (string, error) {
	return image + "@" + step, nil
}

func newBuildServer(t *testing.T, b *playedBuilder) *Server {
	s := newServer(t)
	s.config.Builds = b
	return s
}

const twoStages = "FROM base AS one\nENV A=1\nRUN echo hi\nFROM base\nCOPY --from=one /x /y\nCMD [\"/y\"]\n"

// vertices gives a message about vertices at lines.
func vertices(list ...*api.BuildVertex) api.BuildMessage {
	return api.BuildMessage{Progress: &api.BuildStatus{Vertexes: list}}
}

func at(digest, name string, line int, o api.BuildVertex) *api.BuildVertex {
	o.Digest, o.Name, o.Lines = digest, name, []api.BuildLines{{Start: line, End: line}}
	return &o
}

func played() []api.BuildMessage {
	now := time.Unix(1, 0)
	done := api.BuildVertex{Started: &now, Completed: &now}
	return []api.BuildMessage{
		{ID: "b1", Source: &api.BuildSource{Filename: "Dockerfile", Data: []byte(twoStages)}},
		vertices(at("sha256:f1", "[one 1/2] FROM base", 1, api.BuildVertex{}), at("sha256:r1", "[one 2/2] RUN echo hi", 3, api.BuildVertex{}),
			at("sha256:f1", "FROM base", 4, api.BuildVertex{}), at("sha256:c1", "[stage-1 2/2] COPY --from=one /x /y", 5, api.BuildVertex{})),
		vertices(at("sha256:f1", "[one 1/2] FROM base", 1, api.BuildVertex{Started: &now, Completed: &now, Cached: true})),
		vertices(at("sha256:r1", "", 3, api.BuildVertex{Started: &now})),
		{Progress: &api.BuildStatus{Logs: []*api.VertexLog{{Vertex: "sha256:r1", Stream: 1, Data: []byte("hi\n")}, {Vertex: "sha256:r1", Stream: 2, Data: []byte("bad\n")}}}},
		vertices(at("sha256:r1", "", 3, done)),
		vertices(at("sha256:c1", "", 5, api.BuildVertex{Started: &now, Completed: &now, Cached: true})),
		{Result: &api.BuildResult{ID: "sha256:0123456789abcdef"}},
	}
}

func TestClassicBuildTellsStepsInOrder(t *testing.T) {
	b := &playedBuilder{play: played()}
	w := newBuildServer(t, b).do(t, "POST", `/v1.51/build?t=app&t=app:2&dockerfile=D&nocache=1&pull=1&target=&buildargs={"A":"1","B":null}&labels={"l":"v"}&memory=1048576&extrahosts=h:1.2.3.4&networkmode=host&ulimits=[{"Name":"nofile","Soft":1,"Hard":2}]&cachefrom=["x"]`, strings.NewReader("tar"))
	if w.Code != 200 || string(b.sent) != "tar" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	want := map[string]string{
		"filename": "D", "no-cache": "", "image-resolve-mode": "pull", "build-arg:A": "1", "label:l": "v", "memory": "1048576",
		"add-hosts": "h=1.2.3.4", "force-network-mode": "host", "ulimit": "nofile=1:2",
	}
	if !reflect.DeepEqual(b.asked.Options, want) {
		t.Errorf("options %v", b.asked.Options)
	}
	if !reflect.DeepEqual(b.asked.Names, []string{"docker.io/library/app:latest", "docker.io/library/app:2"}) || b.asked.Contexts["context"].Upload != "u1" {
		t.Errorf("asked %+v", b.asked)
	}
	text, aux := classicText(t, w.Body)
	for _, line := range []string{
		"Step 1/7 : FROM base AS one\n ---> \nStep 2/7 : ENV A=1\n ---> Running in ",
		"Step 3/7 : RUN echo hi\n ---> Running in ", "hi\n\x1b[91mbad\n\x1b[0m ---> Removed intermediate container ", " ---> r1\nStep 4/7 : FROM base\n",
		"Step 5/7 : COPY --from=one /x /y\n ---> Using cache\n ---> c1\nStep 6/7 : CMD [\"/y\"]\n ---> Running in ",
		"Step 7/7 : LABEL l=v\n", " ---> 0123456789ab\n[Warning] One or more build-args [A] were not consumed\n",
		"Successfully built 0123456789ab\nSuccessfully tagged app:latest\nSuccessfully tagged app:2\n",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	if aux != "sha256:0123456789abcdef" {
		t.Errorf("aux %q", aux)
	}
}

// classicText joins what a build's stream tells.
func classicText(t *testing.T, r io.Reader) (text, aux string) {
	t.Helper()
	for dec := json.NewDecoder(r); ; {
		var p struct {
			Stream, Error string
			Aux           struct{ ID string }
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return text, aux
		} else if err != nil {
			t.Fatal(err)
		}
		text += p.Stream
		if p.Error != "" {
			text += "ERROR " + p.Error
		}
		if p.Aux.ID != "" {
			aux = p.Aux.ID
		}
	}
}

func TestClassicBuildQuiet(t *testing.T) {
	w := newBuildServer(t, &playedBuilder{play: played()}).do(t, "POST", "/v1.51/build?q=1", strings.NewReader("tar"))
	if text, _ := classicText(t, w.Body); text != "sha256:0123456789abcdef\n" {
		t.Errorf("%q", text)
	}
}

func TestClassicBuildErrors(t *testing.T) {
	now := time.Unix(1, 0)
	head := played()[:4]
	wrong := vertices(at("sha256:r1", "", 3, api.BuildVertex{Started: &now, Completed: &now, Error: "no"}))
	for _, c := range []struct {
		name   string
		play   []api.BuildMessage
		err    error
		status int
		want   string
	}{
		{"a command", append(head[:4:4], wrong, api.BuildMessage{Error: &api.BuildError{Message: "process", Code: 9, Shell: []string{"/bin/sh", "-c", "exit 9"}}}), errors.New("process"), 200,
			"Step 3/6 : RUN echo hi\n ---> Running in "},
		{"a command's code", append(head[:4:4], wrong, api.BuildMessage{Error: &api.BuildError{Message: "process", Code: 9, Shell: []string{"/bin/sh", "-c", "exit 9"}}}), nil, 200,
			"ERROR The command '/bin/sh -c exit 9' returned a non-zero code: 9"},
		{"the language", nil, errors.New("dockerfile parse error on line 2: unknown instruction: NOSUCH"), 400, "dockerfile parse error on line 2: unknown instruction: NOSUCH"},
		{"a target", head[:1], errors.New(`target stage "nope" could not be found (did you mean one?)`), 400, `target stage \"nope\" could not be found"`},
		{"no Dockerfile", nil, errors.New("failed to read dockerfile: open Nope: no such file or directory"), 500, "Cannot locate specified Dockerfile: Nope"},
	} {
		w := newBuildServer(t, &playedBuilder{play: c.play, err: c.err}).do(t, "POST", "/v1.51/build", strings.NewReader("tar"))
		text := w.Body.String()
		if w.Code == 200 {
			text, _ = classicText(t, w.Body)
		}
		if w.Code != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s: %d %s", c.name, w.Code, text)
		}
	}
}

func TestClassicBuildRefuses(t *testing.T) {
	for query, want := range map[string]string{
		"t=BAD": "repository name", "version=3": "invalid version", "securityopt=x": "security options", "networkmode=container:x": "not in that of a container",
		"buildargs=x": "error reading build args", "remote=client-session": "POST /grpc",
	} {
		w := newBuildServer(t, &playedBuilder{}).do(t, "POST", "/v1.51/build?"+query, strings.NewReader("tar"))
		if w.Code < 400 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}

func TestClassicBuildIsCancelled(t *testing.T) {
	b := &playedBuilder{waiting: make(chan struct{})}
	s := newBuildServer(t, b)
	ended := make(chan string, 1)
	go func() { ended <- s.do(t, "POST", "/v1.51/build?buildid=me", strings.NewReader("tar")).Body.String() }()
	<-b.waiting
	if w := s.do(t, "POST", "/v1.51/build/cancel?id=me", nil); w.Code != 200 {
		t.Error(w.Code)
	}
	if text := <-ended; !strings.Contains(text, "context canceled") {
		t.Error(text)
	}
}

func TestBuildStreams(t *testing.T) {
	b := &playedBuilder{play: played()}
	s := newBuildServer(t, b)
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	dir := t.TempDir()
	st, _ := os.Stat(dir)
	v := reflect.Indirect(reflect.ValueOf(st.Sys()))
	ask := func(c api.BuildContext) (int, string) {
		body, _ := json.Marshal(api.BuildRequest{Machine: strings.TrimSpace(string(boot)), Contexts: map[string]api.BuildContext{"context": c}})
		r := httptest.NewRequest("POST", "/v1.51/builds", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	code, text := ask(api.BuildContext{Path: dir, Device: number(v, "Dev"), Inode: number(v, "Ino")})
	if code != 200 || strings.Count(text, "\n") != len(b.play) || !strings.Contains(text, `{"Result":{"ID":"sha256:0123456789abcdef"}}`) {
		t.Errorf("%d %s", code, text)
	}
	if code, text = ask(api.BuildContext{Path: dir, Device: 1, Inode: 1}); code != 409 {
		t.Errorf("%d %s", code, text)
	}
	b.play, b.err = b.play[:1], errors.New("it broke")
	if code, text = ask(api.BuildContext{Upload: "u1"}); code != 200 || !strings.Contains(text, `{"Error":{"Message":"it broke"}}`) {
		t.Errorf("%d %s", code, text)
	}
	b.play = nil
	if code, text = ask(api.BuildContext{Upload: "u1"}); code != 500 || !strings.Contains(text, "it broke") {
		t.Errorf("%d %s", code, text)
	}
}

func TestBuildRooms(t *testing.T) {
	b := &playedBuilder{}
	s := newBuildServer(t, b)
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/v1.51/builds/contexts", "tar", 200, `{"ID":"u1"}`},
		{"POST", "/v1.51/builds/contexts", "", 400, "sent as a tar"},
		{"GET", "/v1.51/builds/b1/output/2", "", 200, "x\x00"},
		{"GET", "/v1.51/builds/b1/output/3", "", 404, "no output 3"},
		{"GET", "/v1.51/builds/b1", "", 404, "page not found"},
		{"GET", "/v1.51/builds/step?image=i&step=a:2", "", 200, `{"ID":"i@a:2"}`},
		{"POST", "/v1.51/build/prune?all=1&keep-storage=5&max-used-space=6&filters={\"until\":[\"1h\"]}", "", 200, `"SpaceReclaimed":7`},
		{"POST", "/v1.51/build/prune?keep-storage=x", "", 400, "keep-storage is in bytes and expects an integer, got x"},
		{"GET", "/v1.51/system/df?type=build-cache", "", 200, `"ID":"c1"`},
	} {
		w := s.do(t, c.method, c.path, strings.NewReader(c.body))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
		}
	}
	if !b.pruned.All || b.pruned.Keep != 5 || b.pruned.MaxUsed != 6 || len(b.pruned.Filters["until"]) != 1 {
		t.Errorf("%+v", b.pruned)
	}
}

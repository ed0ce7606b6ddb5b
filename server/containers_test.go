package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
	"lighter/engine/container"
	"lighter/task"
)

// world stands in for the kernel: layers that are folders, a keeper whose processes
// run until they get a signal, and say a line to each client.
type world struct {
	mu      sync.Mutex
	clients map[task.Name][]task.Client
	exited  func(context.Context, task.Exit)
}

func (w *world) Launch(_ context.Context, l task.Launch) (task.Started, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.Spec.Process.Args[0] == "nosuchcmd" {
		return task.Started{}, task.StartErrorf(127, `exec: "nosuchcmd": executable file not found in $PATH`)
	}
	for _, c := range l.Clients {
		w.take(l.Name, c)
	}
	return task.Started{Pid: os.Getpid(), At: time.Now()}, nil
}

// take keeps a copy of a client's connection, as the keeper's process would have one,
// and says hello.
func (w *world) take(name task.Name, c task.Client) {
	conn, err := net.FileConn(c.Conn)
	if err != nil {
		return
	}
	f, _ := conn.(*net.UnixConn).File()
	conn.Close()
	c.Conn = f
	w.clients[name] = append(w.clients[name], c)
	msg := "hello " + string(c.Received) + "\n"
	if c.Framed {
		msg = string(frame(nil, stdout, len(msg))) + msg
	}
	io.WriteString(f, msg)
}

func (w *world) Exec(_ context.Context, x task.Exec) (task.Started, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x.Process.Args[0] == "nosuchcmd" {
		return task.Started{}, task.StartErrorf(127, `exec: "nosuchcmd": executable file not found in $PATH`)
	}
	for _, c := range x.Clients {
		w.take(x.Name, c)
	}
	return task.Started{Pid: 2, At: time.Now()}, nil
}

func (w *world) Attach(_ context.Context, name task.Name, c task.Client) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.take(name, c)
	return nil
}

func (w *world) Signal(ctx context.Context, name task.Name, sig int) error {
	go func() {
		w.exited(context.WithoutCancel(ctx), task.Exit{Name: name, Code: 128 + sig, Signal: sig, At: time.Now()})
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, c := range w.clients[name] {
			c.Conn.Close()
		}
	}()
	return nil
}

func (w *world) Resize(context.Context, task.Name, uint16, uint16) error { return nil }
func (w *world) Running() []task.Running                                 { return nil }
func (w *world) Freeze(context.Context, string, bool) error              { return nil }
func (w *world) Destroy(context.Context, string) error                   { return nil }

// folders are layers and what is in them.
type folders struct{ dir string }

func (f folders) Create(id, _ string, _ bool) error {
	return os.MkdirAll(filepath.Join(f.dir, id, "fs"), 0o755)
}
func (f folders) MountBriefly(id string) (*os.File, error) { return f.Mount(id, false) }
func (f folders) Mount(id string, _ bool) (*os.File, error) {
	return os.Open(filepath.Join(f.dir, id, "fs"))
}
func (f folders) View(string, bool) (*os.File, error) { return os.Open(f.dir) }
func (f folders) Remove(id string) error              { return nil }
func (f folders) Adopt(string, string, bool)          {}
func (f folders) Forget(string)                       {}
func (f folders) Usage(string) (int64, int64, error)  { return 1, 2, nil }
func (f folders) Data(string) api.DriverData          { return api.DriverData{Name: "overlay2"} }

func (folders) ReadFile(*os.File, string, int64) ([]byte, error) { return nil, os.ErrNotExist }
func (folders) MkdirAll(*os.File, string) error                  { return nil }
func (folders) Running(int) (*os.File, error)                    { return os.Open("/") }
func (folders) Devices(string) ([]specs.LinuxDevice, error)      { return nil, nil }
func (folders) Processes(string, int) ([]int, error)             { return []int{os.Getpid()}, nil }

type oneImage struct{}

func (oneImage) Hold(string) func() { return func() {} }
func (oneImage) Release(string)     {}

func (oneImage) Resolve(ref string, _ *api.Platform) (container.Image, error) {
	if ref != "img" {
		return container.Image{}, api.Errorf(api.NotFound, "No such image: %s:latest", ref)
	}
	return container.Image{ID: "sha256:" + strings.Repeat("a", 64), Config: &api.ContainerConfig{Cmd: []string{"sh"}}}, nil
}

// noShm is the shared memory of containers that share none.
type noShm struct{}

func (noShm) Make(string, int64, int, int) (string, error) { return "", os.ErrInvalid }
func (noShm) Path(string) string                           { return "" }
func (noShm) Remove(string) error                          { return nil }
func (noShm) Known() []string                              { return nil }

// newEngine serves containers whose kernel is made of folders.
func newEngine(t *testing.T) (sock string) { return engineServer(t).listen(t) }

func engineServer(t testing.TB) *Server {
	s := newServer(t)
	dir := t.TempDir()
	w := &world{clients: map[task.Name][]task.Client{}}
	cs, err := container.New(t.Context(), container.Deps{
		Volumes: s.config.Volumes,
		Dir:     dir, Trash: os.RemoveAll, Layers: folders{dir}, Images: oneImage{}, Events: s.config.Events,
		Networks: s.config.Networks, Keeper: w, Shm: noShm{}, Rootfs: folders{}, Host: container.Host{Name: "h", CPUs: 1, Architecture: "amd64"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cs.Close)
	w.exited = func(ctx context.Context, e task.Exit) {
		if note := cs.Exited(ctx, e); note != nil {
			note()
		}
	}
	s.config.Containers = cs
	return s
}

// call sends one request and gives the answer's status and body.
func call(t *testing.T, sock, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://d"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", sock)
	}}}
	res, err := web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// TestLifecycle walks a container's life and the answers that Docker gives on the way.
func TestLifecycle(t *testing.T) {
	sock := newEngine(t)
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/containers/create?name=aa", `{"Image":"nosuch"}`, 404, `{"message":"No such image: nosuch:latest"}`},
		{"POST", "/containers/create", `{}`, 400, `{"message":"config cannot be empty in order to create a container"}`},
		{"POST", "/containers/create", ``, 400, `{"message":"invalid JSON: got EOF while reading request body"}`},
		{"POST", "/containers/create?platform=x%2Fy%2Fz%2Fw%2Fv", `{"Image":"img"}`, 400, "invalid"},
		{"POST", "/containers/create?name=aa", `{"Image":"img"}`, 201, `"Warnings":[]}`},
		{"POST", "/containers/create?name=aa", `{"Image":"img"}`, 409, `Conflict. The container name \"/aa\" is already in use`},
		{"GET", "/containers/json", "", 200, "[]\n"},
		{"GET", "/v1.40/containers/json?all=1", "", 200, `"State":"created"`},
		{"GET", "/containers/json?limit=x", "", 400, `strconv.Atoi: parsing`},
		{"GET", "/containers/json?all=1&filters=%7B%22x%22%3A%7B%22y%22%3Atrue%7D%7D", "", 400, `invalid filter 'x'`},
		{"POST", "/containers/aa/start", "0123456789", 400, "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"},
		{"POST", "/containers/aa/start?checkpoint=c", "", 501, "is not built in"},
		{"POST", "/containers/aa/kill", "", 409, `cannot kill container: aa: container `},
		{"POST", "/containers/aa/start", "", 204, ""},
		{"POST", "/containers/aa/start", "", 304, ""},
		{"GET", "/containers/aa/json", "", 200, `"Status":"running"`},
		{"POST", "/containers/aa/resize?h=1", "", 400, `invalid resize width \"\": invalid syntax`},
		{"POST", "/containers/aa/resize?h=10&w=10", "", 200, ""},
		{"POST", "/containers/aa/rename?name=bb", "", 204, ""},
		{"GET", "/containers/aa/json", "", 404, `{"message":"No such container: aa"}`},
		{"POST", "/containers/bb/exec", `{"Cmd":[]}`, 400, "No exec command specified"},
		{"POST", "/containers/bb/stop?t=x", "", 400, "strconv.Atoi"},
		{"POST", "/containers/bb/wait?condition=foo", "", 400, `invalid condition: \"foo\"`},
		{"GET", "/containers/bb/logs", "", 400, "Bad parameters: you must choose at least one stream"},
		{"GET", "/containers/x/logs?stdout=1", "", 404, "No such container: x"},
		{"DELETE", "/containers/bb", "", 409, "cannot remove container"},
		{"POST", "/containers/bb/stop?t=1", "", 204, ""},
		{"POST", "/containers/bb/stop", "", 304, ""},
		{"POST", "/containers/bb/wait", "", 200, `{"StatusCode":143}`},
		{"DELETE", "/containers/bb?v=1", "", 204, ""},
		{"DELETE", "/containers/bb", "", 404, "No such container: bb"},
		{"POST", "/containers/prune", "", 200, `{"ContainersDeleted":null,"SpaceReclaimed":0}`},
		{"POST", "/containers/create?name=cc", `{"Image":"img","Cmd":["nosuchcmd"]}`, 201, ""},
		{"POST", "/containers/cc/start", "", 400, `executable file not found in $PATH`},
		{"GET", "/containers/cc/json", "", 200, `"ExitCode":127`},
	} {
		status, body := call(t, sock, c.method, c.path, c.body)
		if status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, status, body, c.status, c.want)
		}
	}
}

// TestWaitHeaders sees the headers of a wait before the container has ended.
func TestWaitHeaders(t *testing.T) {
	sock := newEngine(t)
	call(t, sock, "POST", "/containers/create?name=aa", `{"Image":"img"}`)
	conn, err := net.Dial("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /containers/aa/wait?condition=next-exit HTTP/1.1\r\nHost: d\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" {
		t.Fatal(res, err)
	}
	call(t, sock, "POST", "/containers/aa/start", "")
	call(t, sock, "POST", "/containers/aa/kill", "")
	var w api.Waited
	if err := json.NewDecoder(res.Body).Decode(&w); err != nil || w.StatusCode != 137 {
		t.Error(w, err)
	}
}

// upgrade sends a request that takes the connection over, and gives what comes back.
func upgrade(t *testing.T, sock, path, body string, fields ...string) *bufio.Reader {
	t.Helper()
	conn, err := net.Dial("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s",
		path, len(body), strings.Join(fields, ""), body)
	return bufio.NewReader(conn)
}

func head(t *testing.T, br *bufio.Reader) string {
	t.Helper()
	all := ""
	for !strings.HasSuffix(all, "\r\n\r\n") {
		line, err := br.ReadString('\n')
		if err != nil {
			t.Fatal(err, all)
		}
		all += line
	}
	return all
}

// TestAttach attaches before the start and reads to the end.
func TestAttach(t *testing.T) {
	sock := newEngine(t)
	call(t, sock, "POST", "/containers/create?name=aa", `{"Image":"img"}`)
	call(t, sock, "POST", "/containers/create?name=tty", `{"Image":"img","Tty":true}`)
	for _, c := range []struct{ path, name, mediaType, out string }{
		{"/containers/aa/attach?stream=1&stdout=1", "aa", muxedStream, "\x01\x00\x00\x00\x00\x00\x00\x07hello \n"},
		{"/v1.41/containers/aa/attach?stream=1&stdout=1", "aa", rawStream, "\x01\x00\x00\x00\x00\x00\x00\x07hello \n"},
		{"/containers/tty/attach?stream=1&stdout=1", "tty", rawStream, "hello \n"},
	} {
		br := upgrade(t, sock, c.path, "")
		if got, want := head(t, br), "HTTP/1.1 101 UPGRADED\r\nContent-Type: "+c.mediaType+"\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"; got != want {
			t.Errorf("%s: %q", c.path, got)
		}
		call(t, sock, "POST", "/containers/"+c.name+"/start", "")
		call(t, sock, "POST", "/containers/"+c.name+"/kill", "")
		if out, err := io.ReadAll(br); string(out) != c.out || err != nil {
			t.Errorf("%s: %q, %v", c.path, out, err)
		}
	}
	out, _ := io.ReadAll(upgrade(t, sock, "/containers/nosuch/attach?stream=1", ""))
	if want := "HTTP/1.1 404 Not Found\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\nNo such container: nosuch\r\n"; string(out) != want {
		t.Errorf("%q", out)
	}
}

// TestOneRequest: our own client is tied to what it makes, and hears of the end of what it starts,
// by one request; from others the same parameters are ignored, as Docker does.
func TestOneRequest(t *testing.T) {
	const ours = "User-Agent: Docker-Client/1 lighter/1\r\n"
	sock := newEngine(t)
	made := func(got string) string {
		_, rest, _ := strings.Cut(got, "\r\n"+api.CreatedHeader+": ")
		id, _, _ := strings.Cut(rest, "\r\n")
		return id
	}
	out := upgrade(t, sock, "/containers/create?name=aa&attach=1&stream=1&stdout=1", `{"Image":"img"}`, ours)
	got := head(t, out)
	var v api.Created
	if err := json.Unmarshal([]byte(made(got)), &v); err != nil || !strings.HasPrefix(got, "HTTP/1.1 101 ") || len(v.ID) != 64 {
		t.Fatalf("%v, %q", err, got)
	}
	end := upgrade(t, sock, "/containers/aa/start?wait=next-exit", "", ours)
	if got := head(t, end); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Fatalf("%q", got)
	}
	run := upgrade(t, sock, "/containers/aa/exec?start=1", `{"Cmd":["nosuchcmd"],"AttachStdout":true}`, ours)
	if got := head(t, run); !strings.HasPrefix(got, "HTTP/1.1 101 ") || len(made(got)) != 64 {
		t.Errorf("%q", got)
	}
	if text, _ := io.ReadAll(run); !strings.Contains(string(text), "executable file not found in $PATH") {
		t.Errorf("%q", text)
	}
	call(t, sock, "POST", "/containers/aa/kill", "")
	if line, err := end.ReadString('\n'); err != nil || strings.TrimSpace(line) == "" {
		t.Errorf("size of the answer: %q, %v", line, err)
	}
	if line, err := end.ReadString('\n'); err != nil || !strings.Contains(line, `"StatusCode":137`) {
		t.Errorf("the end: %q, %v", line, err)
	}
	if _, err := io.ReadAll(out); err != nil {
		t.Error(err)
	}
	if got := head(t, upgrade(t, sock, "/containers/nosuch/start?wait=next-exit", "", ours)); !strings.HasPrefix(got, "HTTP/1.1 404 ") {
		t.Errorf("%q", got)
	}
	for _, c := range []struct {
		path, body string
		want       int
	}{
		{"/containers/create?name=bb&attach=1&stream=1", `{"Image":"img"}`, 201},
		{"/containers/bb/start?wait=removed", "", 204},
		{"/containers/bb/exec?start=1", `{"Cmd":["true"]}`, 201},
	} {
		if status, body := call(t, sock, "POST", c.path, c.body); status != c.want {
			t.Errorf("%s: %d %s", c.path, status, body)
		}
	}
}

func TestExec(t *testing.T) {
	sock := newEngine(t)
	call(t, sock, "POST", "/containers/create?name=aa", `{"Image":"img"}`)
	call(t, sock, "POST", "/containers/aa/start", "")
	exec := func(cmd string) string {
		status, body := call(t, sock, "POST", "/containers/aa/exec", fmt.Sprintf(`{"Cmd":[%q],"AttachStdout":true}`, cmd))
		var id api.ID
		if err := json.Unmarshal([]byte(body), &id); status != 201 || err != nil {
			t.Fatal(status, body)
		}
		return id.ID
	}
	br := upgrade(t, sock, "/exec/"+exec("nosuchcmd")+"/start", "{}")
	if got := head(t, br); !strings.HasPrefix(got, "HTTP/1.1 101 UPGRADED\r\nContent-Type: "+muxedStream+"\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nApi-Version: 1.51\r\n") {
		t.Errorf("%q", got)
	}
	out, _ := io.ReadAll(br)
	if !bytes.HasPrefix(out, []byte{1, 0, 0, 0}) || !strings.Contains(string(out), "executable file not found in $PATH") {
		t.Errorf("%q", out)
	}
	id := exec("true")
	if status, body := call(t, sock, "POST", "/exec/"+id+"/start", `{"Detach":true}`); status != 200 || body != "" {
		t.Error(status, body)
	}
	if status, body := call(t, sock, "POST", "/exec/"+id+"/start", `{"Detach":true}`); status != 409 {
		t.Error(status, body)
	}
	if status, body := call(t, sock, "GET", "/exec/"+id+"/json", ""); status != 200 || !strings.Contains(body, `"Running":true,"ExitCode":null`) {
		t.Error(status, body)
	}
	if status, body := call(t, sock, "GET", "/exec/nosuch/json", ""); status != 404 || body != "{\"message\":\"No such exec instance: nosuch\"}\n" {
		t.Error(status, body)
	}
}

// TestModernise tries what clients of older versions send.
func TestModernise(t *testing.T) {
	for _, c := range []struct{ version, body, want string }{
		{"1.51", `{"Image":"i","HostConfig":{"PidsLimit":-1}}`, "PidsLimit:<nil>"},
		{"1.39", `{"Image":"i"}`, "IpcMode:shareable"},
		{"1.24", `{"Image":"i","HostConfig":{"AutoRemove":true}}`, "AutoRemove:false"},
		{"1.51", `{"Image":"i","HostConfig":{"Mounts":[{"Type":"bind","VolumeOptions":{}}]}}`, `VolumeOptions must not be specified on mount type "bind"`},
		{"1.41", `{"Image":"i","HostConfig":{"Mounts":[{"Type":"bind","VolumeOptions":{}}]}}`, "AutoRemove:false"},
		{"1.44", `{"Image":"i","HostConfig":{"Mounts":[{"Type":"volume","VolumeOptions":{"Subpath":"x"}}]}}`, "VolumeOptions.Subpath needs API v1.45 or newer"},
		{"1.47", `{"Image":"i","HostConfig":{"Mounts":[{"Type":"image"}]}}`, `Mount type "Image" needs API v1.48 or newer`},
		{"1.43", `{"Image":"i","NetworkingConfig":{"EndpointsConfig":{"b":null,"a":{}}}}`, "Container cannot be created with multiple network endpoints: a, b"},
		{"1.51", `{"Image":"i","MacAddress":"x"}`, "The container-wide MacAddress field is now deprecated"},
		{"1.51", `{"Image":"i","MacAddress":"x","NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"y"}}}}`, "must match the endpoint-specific MAC address"},
	} {
		r := &request{Request: httptest.NewRequest("POST", "/", nil), version: c.version}
		var body api.CreateContainer
		if err := json.Unmarshal([]byte(c.body), &body); err != nil {
			t.Fatal(err)
		}
		warnings, err := r.modernise(&body)
		if got := fmt.Sprintf("%+v %v %v", body.HostConfig, warnings, err); !strings.Contains(got, c.want) {
			t.Errorf("%s %s: %s", c.version, c.body, got)
		}
	}
}

func TestLogStream(t *testing.T) {
	w := httptest.NewRecorder()
	l := &logStream{out: startStream(w, rawStream)}
	l.line(2, true, []byte("p "), []byte("x\n"))
	l.line(1, false, nil, []byte("y\n"))
	if w.Body.Len() != 0 {
		t.Error("sent too early")
	}
	l.end()
	if got := w.Body.String(); got != "\x02\x00\x00\x00\x00\x00\x00\x04p x\ny\n" {
		t.Errorf("%q", got)
	}
	if got := string(appendAttrs(nil, map[string]string{"b": "x y", "a": "1"})); got != "a=1,b=x+y" {
		t.Error(got)
	}
}

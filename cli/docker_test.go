package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain makes this test binary the program itself when it is called so.
func TestMain(m *testing.M) {
	if os.Getenv("LIGHTER_CLI_MAIN") != "" {
		os.Exit(Main(context.Background(), Config{
			Args: append([]string{os.Getenv("LIGHTER_CLI_MAIN")}, os.Args[1:]...),
			In:   os.Stdin, Out: os.Stdout, Err: os.Stderr,
		}))
	}
	os.Exit(m.Run())
}

// realDocker gives Docker's own command line, or skips.
func realDocker(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("short: runs another program 700 times")
	}
	for _, path := range []string{"/usr/local/bin/docker", "/usr/bin/docker"} {
		out, err := exec.Command(path, "--version").Output()
		if err == nil && strings.HasPrefix(string(out), "Docker version 28.") {
			return path
		}
	}
	t.Skip("needs the command line of Docker 28 to compare with")
	return ""
}

// call is a request as a fake engine saw it.
type call struct {
	Method, Path, Query string
	Body                any
}

// fakeEngine answers canned texts on a unix socket and keeps what it was asked.
type fakeEngine struct {
	host    string
	answers map[string]answer // by "METHOD /path", without version
	mu      sync.Mutex
	calls   []call
}

type answer struct {
	status int
	body   string
	header map[string]string
	hijack func(net.Conn, io.Reader)
}

var versioned = regexp.MustCompile(`^/v1\.\d+`)

func newFakeEngine(t *testing.T, answers map[string]answer) *fakeEngine {
	t.Helper()
	e := &fakeEngine{answers: answers}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	e.host = "unix://" + path
	server := &http.Server{Handler: e}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return e
}

func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", "1.50")
	w.Header().Set("Ostype", "linux")
	w.Header().Set("Server", "Docker/28.2.2 (linux)")
	if r.URL.Path == "/_ping" {
		return
	}
	raw, _ := io.ReadAll(r.Body)
	c := call{Method: r.Method, Path: versioned.ReplaceAllString(r.URL.Path, ""), Query: r.URL.Query().Encode()}
	if len(bytes.TrimSpace(raw)) > 0 {
		if json.Unmarshal(raw, &c.Body) != nil {
			c.Body = string(raw)
		}
	}
	e.mu.Lock()
	e.calls = append(e.calls, c)
	e.mu.Unlock()
	a, ok := e.answers[c.Method+" "+c.Path]
	if !ok {
		a = answer{status: 404, body: fmt.Sprintf(`{"message":"no such thing: %s"}`, c.Path)}
	}
	if a.hijack != nil {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nApi-Version: 1.50\r\n\r\n")
		a.hijack(conn, rw)
		conn.Close()
		return
	}
	w.Header().Set("Content-Type", "application/json")
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	if a.status == 0 {
		a.status = 200
	}
	w.WriteHeader(a.status)
	io.WriteString(w, a.body)
}

// take gives the calls since the last take.
func (e *fakeEngine) take() []call {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.calls
	e.calls = nil
	return c
}

// result is what a command line came to.
type result struct {
	out, err string
	code     int
	calls    []call
}

// runCLI runs a command line against a fake engine.
func (e *fakeEngine) run(t *testing.T, program, dir string, env []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "DOCKER_HOST=" + e.host, "DOCKER_CONFIG=" + filepath.Join(dir, ".docker"),
		"LIGHTER_CLI_MAIN=docker", "TZ=UTC", "FROM_ENV=from env", "DOCKER_CLI_HINTS=false",
	}, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	r := result{}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	case err != nil:
		t.Fatalf("%s %q: %v", program, args, err)
	}
	r.out, r.err, r.calls = out.String(), errs.String(), e.take()
	return r
}

// both runs a command line through Docker's program and through ours, at once.
func both(t *testing.T, docker string, answers map[string]answer, dir string, env []string, args ...string) (theirs, ours result) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a, b := newFakeEngine(t, answers), newFakeEngine(t, answers)
	var wg sync.WaitGroup
	wg.Go(func() { theirs = a.run(t, docker, dir, env, args...) })
	wg.Go(func() { ours = b.run(t, self, dir, env, args...) })
	wg.Wait()
	for _, r := range []*result{&theirs, &ours} {
		r.err = strings.NewReplacer(a.host, "HOST", b.host, "HOST").Replace(r.err)
	}
	return theirs, ours
}

// words cuts a command line as a shell does: at spaces that are outside of quotes.
func words(line string) []string {
	var list []string
	var word strings.Builder
	quote, open := rune(0), false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, open = r, true
		case r == ' ':
			if open || word.Len() > 0 {
				list = append(list, word.String())
				word.Reset()
				open = false
			}
		default:
			word.WriteRune(r)
		}
	}
	if open || word.Len() > 0 {
		list = append(list, word.String())
	}
	return list
}

// readLines gives the lines of a file in testdata, without comments and empty ones.
func readLines(t *testing.T, name string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestRequestsAsDocker runs every line of testdata/requests.txt through Docker's own
// program and through ours: the same requests must come out, the same words, the same
// exit code.
func TestRequestsAsDocker(t *testing.T) {
	docker := realDocker(t)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"env": "# c\n\nA=1\n B=2 3\nFROM_ENV\nNOT_THERE\n", "env2": "\uFEFFA=9\n", "badenv": "A B=1\n", "noname": "=1\n", "labels": "x=1\ny\n",
		"seccomp.json": "{ \"defaultAction\" : \"SCMP_ACT_ALLOW\" }\n", "bad.json": "{", "cid": "x",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const id = "4c4011d1adb4f21e4be410cc4c4011d1adb4f21e4be410cc4c4011d1adb4f21e"
	answers := map[string]answer{
		"POST /containers/create":            {status: 201, body: `{"Id":"` + id + `","Warnings":[]}`},
		"POST /containers/" + id + "/start":  {status: 204},
		"POST /containers/" + id + "/wait":   {body: `{"StatusCode":0}`},
		"POST /containers/" + id + "/attach": {hijack: func(net.Conn, io.Reader) {}},
		"POST /containers/c/attach":          {hijack: func(net.Conn, io.Reader) {}},
		"GET /containers/c/json":             {body: `{"Id":"` + id + `","State":{"Running":true},"Config":{},"HostConfig":{},"NetworkSettings":{"Ports":{}}}`},
		"POST /containers/c/exec":            {status: 201, body: `{"Id":"e"}`},
		"POST /exec/e/start":                 {hijack: func(net.Conn, io.Reader) {}},
		"GET /exec/e/json":                   {body: `{"ID":"e","ExitCode":3}`},
		"GET /containers/c/logs":             {header: map[string]string{"Content-Type": "application/vnd.docker.multiplexed-stream"}},
		"GET /containers/" + id + "/logs":    {header: map[string]string{"Content-Type": "application/vnd.docker.multiplexed-stream"}},
		"GET /containers/json":               {body: `[]`},
		"GET /events":                        {},
		"GET /containers/c/top":              {body: `{"Titles":["PID","CMD"],"Processes":[["1","sh"]]}`},
		"POST /containers/prune":             {body: `{"ContainersDeleted":["` + id + `"],"SpaceReclaimed":12345}`},
		"POST /networks/create":              {status: 201, body: `{"Id":"` + id + `","Warning":""}`},
		"POST /networks/prune":               {body: `{"NetworksDeleted":["n","m"]}`},
		"GET /networks":                      {body: `[]`},
		"POST /containers/c/update":          {body: `{"Warnings":["a warning"]}`},
		"GET /containers/c/stats":            {body: `{"name":"/n","id":"` + id + `","pids_stats":{"current":3},"memory_stats":{"usage":3000000,"limit":64000000,"stats":{"total_inactive_file":5}},"cpu_stats":{"cpu_usage":{"total_usage":300},"system_cpu_usage":1000,"online_cpus":2},"precpu_stats":{"cpu_usage":{"total_usage":200},"system_cpu_usage":500},"networks":{"eth0":{"rx_bytes":1234,"tx_bytes":5678901}},"blkio_stats":{"io_service_bytes_recursive":[{"op":"Read","value":4096},{"op":"write","value":1}]}}`},
		"GET /networks/n":                    {body: `{"Name":"n","Id":"` + id + `"}`},
		"POST /networks/n/connect":           {},
		"POST /networks/n/disconnect":        {},
		"DELETE /networks/n":                 {status: 204},
		"DELETE /networks/m":                 {status: 403, body: `{"message":"no"}`},
	}
	for _, verb := range []string{"start", "stop", "kill", "restart", "pause", "unpause", "rename", "resize"} {
		answers["POST /containers/c/"+verb] = answer{status: 204}
		answers["POST /containers/d/"+verb] = answer{status: 204}
	}
	for _, name := range []string{"c", "d"} {
		answers["DELETE /containers/"+name] = answer{status: 204}
		answers["POST /containers/"+name+"/wait"] = answer{body: `{"StatusCode":7}`}
	}
	for _, line := range readLines(t, "requests.txt") {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			theirs, ours := both(t, docker, answers, dir, nil, words(line)...)
			compare(t, theirs, ours)
			want, got := essential(theirs.calls), essential(ours.calls)
			if !reflect.DeepEqual(want, got) {
				t.Errorf("requests differ:\n%s", difference(show(want), show(got)))
			}
		})
	}
}

// compare compares what people and scripts see.
func compare(t *testing.T, theirs, ours result) {
	t.Helper()
	if theirs.code != ours.code {
		t.Errorf("exit code: docker %d, lighter %d", theirs.code, ours.code)
	}
	if theirs.out != ours.out {
		t.Errorf("stdout:\ndocker:  %q\nlighter: %q", theirs.out, ours.out)
	}
	if theirs.err != ours.err {
		t.Errorf("stderr:\ndocker:  %q\nlighter: %q", theirs.err, ours.err)
	}
}

// essential leaves out the calls that only look (which we save ourselves where we can)
// and the wait of a container that is left in the background.
func essential(calls []call) []call {
	var list []call
	attached := false
	for _, c := range calls {
		attached = attached || strings.HasSuffix(c.Path, "/attach")
	}
	for _, c := range calls {
		look := c.Method == "GET" && (strings.HasPrefix(c.Path, "/containers/c/json") || c.Path == "/info")
		wait := strings.HasSuffix(c.Path, "/wait") && c.Query != "" && !attached
		if !look && !wait {
			tidy(c.Body)
			if query, err := url.ParseQuery(c.Query); err == nil {
				query.Del("brief") // asks an engine of ours, and no other, for less
				c.Query = query.Encode()
			}
			c.Path = strings.Replace(c.Path, "/4c4011d1adb4f21e4be410cc4c4011d1adb4f21e4be410cc4c4011d1adb4f21e/logs", "/c/logs", 1)
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(a, b call) int { return strings.Compare(a.Method+a.Path, b.Method+b.Path) })
	return list
}

// tidy takes out of a body what differs from run to run of Docker's own program, and
// a field that no engine reads.
func tidy(body any) {
	m, ok := body.(map[string]any)
	if !ok {
		return
	}
	if env, ok := m["Env"].([]any); ok {
		slices.SortFunc(env, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	}
	if ipam, ok := m["IPAM"].(map[string]any); ok { // docker goes through a map of subnets
		list, _ := ipam["Config"].([]any)
		slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	if h, ok := m["HostConfig"].(map[string]any); ok {
		if binds, ok := h["Binds"].([]any); ok {
			slices.SortFunc(binds, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		}
	} else if _, ok := m["Cmd"]; ok {
		delete(m, "Detach") // of an exec: its start tells
	}
}

// difference gives the lines that only one of two texts has.
func difference(a, b string) string {
	var out strings.Builder
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for _, line := range x {
		if !slices.Contains(y, line) {
			out.WriteString("docker:  " + line + "\n")
		}
	}
	for _, line := range y {
		if !slices.Contains(x, line) {
			out.WriteString("lighter: " + line + "\n")
		}
	}
	return out.String()
}

func show(calls []call) string {
	b, _ := json.MarshalIndent(calls, "", " ")
	return string(b)
}

// frame makes a frame of output.
func frame(stream byte, text string) string {
	return string([]byte{stream, 0, 0, 0, 0, 0, byte(len(text) >> 8), byte(len(text))}) + text
}

// TestOutputsAsDocker runs every line of testdata/outputs.txt through both programs,
// with an engine behind each that tells the same: the same must be printed.
func TestOutputsAsDocker(t *testing.T) {
	docker := realDocker(t)
	file := func(name string) answer {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return answer{body: string(b)}
	}
	const id = "4c4011d1adb4f21e4be410cc4c4011d1adb4f21e4be410cc4c4011d1adb4f21e"
	framed := map[string]string{"Content-Type": "application/vnd.docker.multiplexed-stream"}
	raw := map[string]string{"Content-Type": "application/vnd.docker.raw-stream"}
	out := frame(1, "one\ntwo\n") + frame(2, "bad\n") + frame(1, "") + frame(1, "three") + frame(2, strings.Repeat("x", 5000))
	prints := func(c net.Conn, _ io.Reader) { io.WriteString(c, out) }
	echoes := func(c net.Conn, in io.Reader) {
		b, _ := io.ReadAll(in)
		io.WriteString(c, frame(1, fmt.Sprintf("%d bytes\n", len(b))))
	}
	simple := func(id, tty string) answer {
		return answer{body: `{"Id":"` + id + `","State":{"Running":true},"Config":{"Tty":` + tty + `},"HostConfig":{},"NetworkSettings":{"Ports":{
			"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::","HostPort":"8080"}],"53/udp":[{"HostIp":"127.0.0.1","HostPort":"53"},{"HostIp":"127.0.0.1","HostPort":"5"}],"81/tcp":null,"9/tcp":[{"HostIp":"","HostPort":"10"}]}}}`}
	}
	answers := map[string]answer{
		"GET /containers/json":               file("containers.json"),
		"GET /containers/c/json":             file("container.json"),
		"GET /containers/c1/json":            simple(id, "false"),
		"GET /containers/e/json":             simple(id, "false"),
		"GET /containers/p/json":             simple(id, "false"),
		"GET /containers/l/json":             simple("l", "false"),
		"GET /containers/tty/json":           simple("tty", "true"),
		"GET /containers/l/logs":             {header: framed, body: out},
		"GET /containers/tty/logs":           {header: raw, body: "raw\r\ntext"},
		"GET /images/i/json":                 file("image.json"),
		"GET /networks/n":                    file("network.json"),
		"GET /networks":                      file("networks.json"),
		"POST /networks/create":              {status: 201, body: `{"Id":"` + id + `","Warning":"careful"}`},
		"POST /networks/prune":               {body: `{"NetworksDeleted":["n","m"]}`},
		"DELETE /networks/n":                 {status: 204},
		"GET /version":                       file("version.json"),
		"GET /info":                          file("info.json"),
		"GET /events":                        file("events.json"),
		"GET /containers/c/top":              {body: `{"Titles":["UID","PID","CMD"],"Processes":[["root","1","sh -c 'a long command line'"],["日本語","22","x"]]}`},
		"POST /containers/c/wait":            {body: `{"StatusCode":143}`},
		"POST /containers/create":            {status: 201, body: `{"Id":"` + id + `","Warnings":["one","two"]}`},
		"POST /containers/" + id + "/start":  {status: 204},
		"POST /containers/" + id + "/wait":   {body: `{"StatusCode":5}`},
		"POST /containers/" + id + "/attach": {hijack: prints},
		"POST /containers/c/exec":            {status: 201, body: `{"Id":"e"}`},
		"POST /containers/e/exec":            {status: 201, body: `{"Id":"i"}`},
		"POST /exec/e/start":                 {hijack: prints},
		"POST /exec/i/start":                 {hijack: echoes},
		"GET /exec/e/json":                   {body: `{"ID":"e","ExitCode":9}`},
		"GET /exec/i/json":                   {body: `{"ID":"i","ExitCode":0}`},
		"POST /containers/prune":             {body: `{"ContainersDeleted":["` + id + `","x"],"SpaceReclaimed":1234567}`},
	}
	for _, line := range readLines(t, "outputs.txt") {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			theirs, ours := both(t, docker, answers, t.TempDir(), nil, words(line)...)
			compare(t, theirs, ours)
		})
	}
}

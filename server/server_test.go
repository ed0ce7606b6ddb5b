package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lighter/api"
	"lighter/engine/event"
	"lighter/engine/network"
	"lighter/engine/volume"
	"lighter/linux/proc"
	"lighter/netspec"
)

var update = flag.Bool("update", false, "write the golden files")

func newServer(t testing.TB) *Server {
	t.Helper()
	events, err := event.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { events.Close() })
	dir := t.TempDir()
	networks, err := network.New(t.Context(), network.Deps{
		Dir: dir + "/networks", Notes: dir + "/notes", Claims: dir + "/claims", Events: events, Kernel: noKernel{},
		Config: network.Config{Bridge: "none"},
	})
	if err != nil {
		t.Fatal(err)
	}
	vs, err := volume.Open(volume.Deps{
		Dir: t.TempDir(), Events: events, Machine: noKernel{}, Trash: os.RemoveAll, Temp: func(string) (string, error) { return os.MkdirTemp(dir, "") },
	})
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{
		Log:      slog.New(slog.DiscardHandler),
		Events:   events,
		Pair:     proc.Pair,
		Networks: networks,
		Volumes:  vs,
		Info: func(context.Context) (api.Info, error) {
			return api.Info{ID: "x", SecurityOptions: []string{"name=seccomp,profile=builtin"},
				Runtimes: map[string]api.Runtime{"runc": {Status: map[string]string{"a": "b"}}}, RuncCommit: api.ProgramCommit{ID: "c"}}, nil
		},
		Version: api.ServerVersion{Version: api.DockerVersion, APIVersion: api.Version},
	})
}

// noKernel is a machine on which nobody does anything.
type noKernel struct {
	network.Kernel
	volume.Machine
}

func (noKernel) Prefixes() ([]netip.Prefix, error)        { return nil, nil }
func (noKernel) Look(netspec.Link) (*netspec.Link, error) { return nil, nil }
func (noKernel) Drop(netspec.Link) error                  { return nil }
func (noKernel) Mounted(string) (bool, error)             { return false, nil }
func (noKernel) Unmount(string) error                     { return nil }
func (noKernel) Quota(string) bool                        { return false }
func (noKernel) Apply(netspec.Firewall) error             { return nil }

// listen serves on a unix socket and gives its path.
func (s *Server) listen(t testing.TB) string {
	t.Helper()
	sock := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return sock
}

// raw sends bytes as they are and gives all that comes back.
func raw(t *testing.T, sock, request string) string {
	t.Helper()
	conn, err := net.Dial("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// TestGolden compares whole answers, headers and all, with what Docker 28 gives for
// the same requests (testdata/*.golden; dates folded).
func TestGolden(t *testing.T) {
	sock := newServer(t).listen(t)
	for name, req := range map[string]string{
		"ping":              "GET /_ping",
		"ping-head":         "HEAD /_ping",
		"too-old":           "GET /v1.23/_ping",
		"too-new":           "GET /v1.99/info",
		"no-route":          "GET /v1.41/nosuch",
		"no-method":         "PATCH /v1.41/info",
		"root":              "GET /",
		"version-alone":     "GET /v1.41",
		"double-slash":      "GET /v1.41//info",
		"slash-after":       "GET /v1.41/info/",
		"dots":              "GET /v1.41/containers/../../../etc/passwd",
		"options":           "OPTIONS /v1.41/any/thing",
		"swarm":             "GET /swarm",
		"plugins":           "GET /plugins",
		"no-plugin":         "GET /plugins/a/b/json",
		"volumes":           "GET /volumes",
		"no-volume":         "GET /volumes/x",
		"no-network":        "GET /networks/x",
		"remove-none":       "DELETE /networks/none",
		"bad-query":         "GET /volumes?a=%zz",
		"bad-filter":        `GET /networks?filters={"x":{"y":true}}`,
		"bad-filter-json":   "GET /networks?filters=x",
		"events-since":      "GET /events?since=5&until=4",
		"events-past":       "GET /events?until=4",
		"events-bad":        "GET /events?since=x",
		"no-builder":        "POST /session",
		"encoded-traversal": "GET /volumes/%2e%2e%2f%2e%2e%2fetc",
	} {
		t.Run(name, func(t *testing.T) {
			got := raw(t, sock, req+" HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
			golden(t, name, got)
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	var out strings.Builder
	for line := range strings.SplitAfterSeq(got, "\r\n") {
		switch {
		case strings.HasPrefix(line, "Date: "):
			line = "Date: …\r\n"
		case strings.HasPrefix(line, "Content-Length: ") && strings.Contains(got, api.Release):
			continue
		}
		out.WriteString(strings.NewReplacer("\r", "", api.Release, "VERSION").Replace(line))
	}
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}

func TestJSONRules(t *testing.T) {
	var body struct{ A int }
	for _, c := range []struct{ ct, body, want string }{
		{"application/json", `{"A":1}`, ""},
		{"application/json; charset=utf-8", "\n {\"A\":1} \n\n", ""},
		{"", "", ""},
		{"text/plain", "x", "unsupported Content-Type header (text/plain): must be 'application/json'"},
		{"", `{"A":1}`, "malformed Content-Type header (): mime: no media type"},
		{"foo;;;bar", "x", "malformed Content-Type header (foo;;;bar): mime: invalid media parameter"},
		{"application/json", `{"A":1}x`, "unexpected content after JSON"},
		{"application/json", `{"A":1} {}`, "unexpected content after JSON"},
		{"application/json", `{a`, "invalid JSON: invalid character 'a' looking for beginning of object key string"},
		{"application/json", ` `, "invalid JSON: got EOF while reading request body"},
		{"application/json", `{"A":`, "invalid JSON: unexpected EOF"},
		{"application/json", `{"A":"x"}`, "invalid JSON: json: cannot unmarshal string into Go struct field .A of type int"},
		{"application/json", `{"A":` + strings.Repeat(" ", maxJSON) + `1}`, "invalid JSON: the request body is larger than 4 MB"},
		{"application/json", strings.Repeat("[", 20000), "invalid JSON: invalid character '[' exceeded max depth"},
	} {
		hr := httptest.NewRequest("POST", "/x", strings.NewReader(c.body))
		hr.Header.Set("Content-Type", c.ct)
		r := &request{Request: hr}
		err := r.json(httptest.NewRecorder(), &body)
		if got := fmt.Sprint(err); err != nil && got != c.want || err == nil && c.want != "" {
			t.Errorf("%s %.40q: %q, want %q", c.ct, c.body, got, c.want)
		}
		if err != nil && !api.Is(err, api.Invalid) {
			t.Errorf("%.40q: kind %d", c.body, api.KindOf(err))
		}
	}
	r := &request{Request: httptest.NewRequest("POST", "/x", nil)}
	if err := r.mustJSON(httptest.NewRecorder(), &body); fmt.Sprint(err) != "invalid JSON: got EOF while reading request body" {
		t.Error(err)
	}
}

func TestQuery(t *testing.T) {
	q, err := parseQuery("a=1&b=0&c=no&d=FALSE&e=none&f=&g=yes&h= 0 &n=7&m=x")
	if err != nil {
		t.Fatal(err)
	}
	r := &request{query: q}
	for key, want := range map[string]bool{"a": true, "b": false, "c": false, "d": false, "e": false, "f": false, "g": true, "h": false, "z": false} {
		if r.flag(key) != want {
			t.Errorf("flag %s is %v", key, !want)
		}
	}
	if !r.flagOr("z", true) || r.flagOr("f", true) {
		t.Error("flagOr")
	}
	if n, err := r.integer("n"); err != nil || *n != 7 {
		t.Error(n, err)
	}
	if n, err := r.integer("z"); err != nil || n != nil {
		t.Error(n, err)
	}
	if _, err := r.integer("m"); !api.Is(err, api.Invalid) {
		t.Error(err)
	}
	for query, want := range map[string]string{
		"h=24&w=80":         "",
		"w=80":              `invalid resize height "": invalid syntax`,
		"h=x&w=80":          `invalid resize height "x": invalid syntax`,
		"h=1&w=-1":          `invalid resize width "-1": value out of range`,
		"h=4294967296&w=80": `invalid resize height "4294967296": value out of range`,
	} {
		q, _ := parseQuery(query)
		_, _, err := (&request{query: q}).size()
		if err == nil && want != "" || err != nil && err.Error() != want {
			t.Errorf("%s: %v, want %s", query, err, want)
		}
	}
}

// TestRoutes checks the table itself: no row hides behind an earlier one.
func TestRoutes(t *testing.T) {
	s := newServer(t)
	n := 0
	for _, r := range s.routes() {
		n++
		path := strings.NewReplacer("{name}", "some/name:1", "{id}", "some").Replace(r.path)
		got, _, ok := s.find(r.method, path)
		if !ok || got.path != r.path {
			t.Errorf("%s %s leads to %s", r.method, path, got.path)
		}
	}
	if n < 100 {
		t.Errorf("%d routes", n)
	}
	for path, want := range map[string]string{
		"/images/localhost:5000/a/b@sha256:00/json": "localhost:5000/a/b@sha256:00",
		"/images/json/json":                         "json",
		"/containers/json/json":                     "json",
		"/networks/":                                "",
	} {
		if _, name, ok := s.find("GET", path); !ok || name != want {
			t.Errorf("%s: %q, %v", path, name, ok)
		}
	}
}

func TestProgress(t *testing.T) {
	w := httptest.NewRecorder()
	p := newProgress(w)
	if err := errors.New("early"); p.end(err) != err {
		t.Error("an error before the first object is not handed back")
	}
	for range 2 {
		if err := p.send(api.Progress{Status: "<a>"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.end(errors.New("late")); err != nil {
		t.Error(err)
	}
	want := "{\"status\":\"\\u003ca\\u003e\"}\r\n{\"status\":\"\\u003ca\\u003e\"}\r\n{\"errorDetail\":{\"message\":\"late\"},\"error\":\"late\"}\r\n"
	if w.Body.String() != want || !w.Flushed || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%q %v", w.Body, w.Header())
	}
}

func TestInfoShapes(t *testing.T) {
	s := newServer(t)
	get := func(version string) map[string]any {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "/v"+version+"/info", nil))
		m := map[string]any{}
		if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
			t.Fatal(err, w.Body)
		}
		return m
	}
	if m := get("1.51"); m["BridgeNfIptables"] != nil || fmt.Sprint(m["RuncCommit"]) != "map[ID:c]" {
		t.Error(m)
	}
	if m := get("1.24"); m["BridgeNfIptables"] != false || fmt.Sprint(m["SecurityOptions"]) != "[seccomp]" ||
		fmt.Sprint(m["RuncCommit"]) != "map[Expected:c ID:c]" || fmt.Sprint(m["Runtimes"]) != "map[runc:map[]]" {
		t.Error(m)
	}
}

// TestEventsStream reads events as they are published, and sees the stream end with the server.
func TestEventsStream(t *testing.T) {
	s := newServer(t)
	sock := s.listen(t)
	conn, err := net.Dial("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /v1.45/events HTTP/1.1\r\nHost: d\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	s.config.Events.Publish("image", "create", "old clients do not know this one", nil)
	s.config.Events.Publish("container", "start", "c1", map[string]string{"name": "a&b"})
	line, err := bufio.NewReader(res.Body).ReadString('\n')
	if err != nil || !strings.Contains(line, `"Action":"start"`) || !strings.Contains(line, "a&b") {
		t.Error(line, err)
	}
}

// TestIdleConnections keeps a hundred clients that say nothing, or stop in the middle
// of a header or a body, and serves the next.
func TestIdleConnections(t *testing.T) {
	s := newServer(t)
	sock := s.listen(t)
	for i := range 300 {
		conn, err := net.Dial("unix", sock)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, []string{"", "GET /_pi", "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"}[i%3])
	}
	if got := raw(t, sock, "GET /_ping HTTP/1.0\r\n\r\n"); !strings.HasSuffix(got, "\r\n\r\nOK") {
		t.Error(got)
	}
}

// TestHijack takes connections over a unix socket, TCP, and a pipe that cannot be
// handed over, and speaks through what the keeper would get.
func TestHijack(t *testing.T) {
	s := newServer(t)
	s.config.Pair = proc.Pair
	echo := func(w http.ResponseWriter, hr *http.Request) {
		r := &request{Request: hr, version: "1.51"}
		h, err := s.hijack(w)
		if err != nil {
			t.Error(err)
			return
		}
		if err := h.accept(r, muxedStream, http.Header{"X-A": {"b"}}); err != nil {
			t.Error(err)
		}
		c := h.client()
		keeper, err := net.FileConn(c.Conn) // a descriptor of its own, as the keeper's
		c.Conn.Close()                      // the engine's, who has passed it on
		if err != nil {
			t.Error(err)
		}
		go func() {
			defer keeper.Close()
			in, _ := io.ReadAll(keeper)
			fmt.Fprintf(keeper, "got %s%s", c.Received, in)
		}()
		h.handOver(s, r)
	}
	for _, network := range []string{"unix", "tcp", "tls"} {
		t.Run(network, func(t *testing.T) {
			web := httptest.NewUnstartedServer(http.HandlerFunc(echo))
			defer web.Close()
			var conn net.Conn
			var err error
			switch network {
			case "unix":
				if web.Listener, err = net.Listen("unix", filepath.Join(t.TempDir(), "s")); err != nil {
					t.Fatal(err)
				}
				fallthrough
			case "tcp":
				web.Start()
				conn, err = net.Dial(network, web.Listener.Addr().String())
			case "tls":
				web.StartTLS()
				conf := web.Client().Transport.(*http.Transport).TLSClientConfig
				conf.NextProtos = nil
				conn, err = tls.Dial("tcp", web.Listener.Addr().String(), conf)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "POST /x HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\nearly ")
			br := bufio.NewReader(conn)
			head := ""
			for !strings.HasSuffix(head, "\r\n\r\n") {
				line, err := br.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				head += line
			}
			want := "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nX-A: b\r\n\r\n"
			if head != want {
				t.Errorf("%q", head)
			}
			io.WriteString(conn, "late")
			conn.(interface{ CloseWrite() error }).CloseWrite()
			out, err := io.ReadAll(br)
			if string(out) != "got early late" {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
	s.pumps.Wait()
}

func TestEventTime(t *testing.T) {
	for in, want := range map[string]int64{"": 0, "5": 5e9, "5.5": 5_500_000_000, "1.000000001": 1_000_000_001, "1.1234567899": 1_123_456_789} {
		got, err := eventTime(in)
		if err != nil || in != "" && got.UnixNano() != want {
			t.Error(in, got, err)
		}
	}
	var buf bytes.Buffer
	if _, err := (crlf{httptest.NewRecorder()}).Write(buf.Bytes()); err != nil {
		t.Error(err)
	}
}

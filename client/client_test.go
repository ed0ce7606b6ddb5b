package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"lighter/api"
)

// serve runs a handler on a unix socket and gives a client of it.
func serve(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	c, err := New(Config{Host: "unix://" + path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func fail(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(api.ErrorBody{Message: text})
}

// An engine of our version costs no round trip to find out; an older one is asked again.
func TestNegotiation(t *testing.T) {
	for _, newest := range []string{"1.24", "1.30", "1.41", "1.51", "1.60"} {
		var paths []string
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			paths = append(paths, r.Method+" "+r.URL.Path)
			w.Header().Set("Api-Version", newest)
			version, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v"), "/")
			if api.VersionLess(newest, version) {
				fail(w, 400, "client version "+version+" is too new. Maximum supported API version is "+newest)
				return
			}
			fmt.Fprint(w, "[]")
		})
		for range 2 {
			if _, err := c.Containers().List(t.Context(), ListOptions{}); err != nil {
				t.Fatalf("%s: %v", newest, err)
			}
		}
		want, calls := newest, 3
		if !api.VersionLess(newest, api.Version) {
			want, calls = api.Version, 2
		}
		if c.Version() != want || len(paths) != calls {
			t.Errorf("%s: in use %s, after %v", newest, c.Version(), paths)
		}
	}
}

// What an old engine would pass over in silence is refused.
func TestCreateForOldEngine(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.39")
		if !strings.HasPrefix(r.URL.Path, "/v1.39/") {
			fail(w, 400, "client version 1.51 is too new")
			return
		}
		var req api.CreateContainer
		json.NewDecoder(r.Body).Decode(&req)
		if req.MacAddress != "02:42:ac:11:00:02" {
			fail(w, 400, "no MAC address")
			return
		}
		w.WriteHeader(201)
		fmt.Fprint(w, `{"Id":"x"}`)
	})
	req := api.CreateContainer{
		ContainerConfig:  &api.ContainerConfig{MacAddress: "02:42:ac:11:00:02"},
		HostConfig:       &api.HostConfig{},
		NetworkingConfig: &api.NetworkingConfig{},
	}
	if v, _, err := c.Containers().Create(t.Context(), "", "", req, nil); err != nil || v.ID != "x" {
		t.Errorf("got %v, %v", v, err)
	}
	_, _, err := c.Containers().Create(t.Context(), "", "linux/arm64", req, nil)
	if err == nil || err.Error() != `"--platform" requires API version 1.41, but the Docker daemon API version is 1.39` {
		t.Errorf("got %v", err)
	}
}

func TestErrors(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "json-error"):
			fail(w, 404, " No such container: x\n")
		case strings.Contains(r.URL.Path, "plain"):
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(409)
			fmt.Fprint(w, "busy\n")
		case strings.Contains(r.URL.Path, "nothing"):
			w.WriteHeader(500)
		case strings.Contains(r.URL.Path, "silent"):
			fail(w, 503, "")
		}
	})
	for name, want := range map[string]struct {
		kind api.Kind
		text string
	}{
		"json-error": {api.NotFound, "Error response from daemon: No such container: x"},
		"plain":      {api.Conflict, "Error response from daemon: busy"},
		"nothing":    {api.Internal, "request returned 500 Internal Server Error"},
		"silent":     {api.Unavailable, "Error response from daemon: API returned a 503 (Service Unavailable) but provided no error-message"},
		"":           {api.Invalid, "invalid container name or ID: value is empty"},
	} {
		_, _, err := c.Containers().Inspect(t.Context(), name, false)
		if !api.Is(err, want.kind) || !strings.HasPrefix(err.Error(), want.text) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

// A body is read over any number of chunks, and the connection kept.
func TestChunks(t *testing.T) {
	text := strings.Repeat("0123456789", 20_000)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(text); i += 777 {
			io.WriteString(w, text[i:min(i+777, len(text))])
			w.(http.Flusher).Flush()
		}
	})
	for range 3 {
		got, err := c.System().Raw(t.Context(), nil, "x")
		if err != nil || string(got) != text {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
}

// What is here is given, without waiting for what follows: each chunk is sent when
// the one before it has been read.
func TestChunksAsTheyCome(t *testing.T) {
	read := make(chan struct{})
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for range 5 {
			io.WriteString(w, "line\n")
			w.(http.Flusher).Flush()
			select {
			case <-read:
			case <-r.Context().Done():
			}
		}
	})
	logs, err := c.Containers().Logs(t.Context(), "x", LogsOptions{Stdout: true, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	for range 5 {
		b := make([]byte, 100)
		if n, err := logs.Read(b); err != nil || string(b[:n]) != "line\n" {
			t.Fatalf("%q, %v", b[:n], err)
		}
		read <- struct{}{}
	}
}

func TestHostileAnswers(t *testing.T) {
	for _, answer := range []string{
		"", "HTTP/1.1", "HTTP/1.1 abc\r\n\r\n", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 20_000) + "\r\n",
		"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 40_000) + "\r\n\r\n",
	} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				conn.Read(make([]byte, 4096))
				io.WriteString(conn, answer)
				conn.Close()
			}
		}()
		c, _ := New(Config{Host: "unix://" + path})
		if raw, err := c.System().Raw(t.Context(), nil, "x"); err == nil {
			t.Errorf("%.60q: got %q, want an error", answer, raw)
		}
		l.Close()
	}
}

func TestCancel(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	if _, err := c.System().Raw(ctx, nil, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	asked := 0
	c, _ := New(Config{Host: "unix:///nonexistent/s", Unreachable: func(_ context.Context, e *ConnectError) error {
		asked++
		return e
	}})
	_, err := c.System().Raw(t.Context(), nil, "x")
	if !errors.As(err, new(*ConnectError)) || asked != 1 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

func TestDemux(t *testing.T) {
	frame := func(stream byte, s string) string {
		return string([]byte{stream, 0, 0, 0, 0, byte(len(s) >> 16), byte(len(s) >> 8), byte(len(s))}) + s
	}
	big := strings.Repeat("x", 700_000)
	in := frame(1, "a") + frame(2, "b") + frame(1, "") + frame(1, big) + frame(0, "c")
	var out, errs bytes.Buffer
	if err := Demux(&out, &errs, strings.NewReader(in)); err != nil || out.String() != "a"+big+"c" || errs.String() != "b" {
		t.Errorf("%d bytes, %q, %v", out.Len(), errs.String(), err)
	}
	if err := Demux(io.Discard, io.Discard, strings.NewReader(frame(3, "broken"))); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("got %v", err)
	}
	if err := Demux(io.Discard, io.Discard, strings.NewReader(frame(9, "x"))); err == nil {
		t.Error("stream 9 passed")
	}
}

// A name may come with the slash that inspect shows before it.
func TestRoute(t *testing.T) {
	for _, name := range []string{"web", "/web", "web/", "//web"} {
		if got := route("containers", name, "json"); got != "/containers/web/json" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := route("images", "a/b:c d", "json"); got != "/images/a/b:c%20d/json" {
		t.Error(got)
	}
}

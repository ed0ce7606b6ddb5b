package hub_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lighter/hub"
	"lighter/hub/hubtest"
	"lighter/oci"
)

// timed is a ResponseWriter that remembers its deadlines.
type timed struct {
	*httptest.ResponseRecorder
	read, write time.Time
	set         int
}

func (d *timed) SetReadDeadline(t time.Time) error  { d.read, d.set = t, d.set+1; return nil }
func (d *timed) SetWriteDeadline(t time.Time) error { d.write, d.set = t, d.set+1; return nil }

// Who sends or takes a page byte by byte is not waited for; who moves gigabytes is.
func TestDeadlines(t *testing.T) {
	h, err := hub.Open(t.Context(), hub.Config{Data: t.TempDir()})
	must(t, err)
	defer h.Close()
	for _, c := range []struct {
		method, path string
		bounded      bool
	}{
		{"GET", "/", true}, {"POST", "/login", true}, {"GET", "/token", true}, {"POST", "/token", true}, {"GET", "/v2/", true}, {"GET", "/v2/a/b/manifests/x", true},
		{"GET", "/v1/search?q=x", true}, {"POST", "/v1/tokens", true}, {"GET", "/metrics", true}, {"GET", "/nosuch", true}, {"BREW", "/", true},
		{"PATCH", "/v2/a/b/blobs/uploads/x", false}, {"PUT", "/v2/a/b/blobs/uploads/x", false}, {"PUT", "/v2/a/b/manifests/x", false},
	} {
		w := &timed{ResponseRecorder: httptest.NewRecorder()}
		body := ""
		if c.method != "GET" {
			body = "x"
		}
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(body)))
		if w.set == 0 || body != "" && w.read.IsZero() == c.bounded || body == "" && !w.read.IsZero() || w.write.IsZero() == c.bounded || c.bounded && time.Until(w.write) > 3*time.Minute {
			t.Errorf("%s %s: read by %v, written by %v", c.method, c.path, w.read, w.write)
		}
	}
}

// A hub that is told to end lets an upload finish, takes nobody else on, and then ends.
func TestGracefulEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("short: builds lighterhub and runs it")
	}
	p := start(t, filepath.Join(t.TempDir(), "hub"))
	user(t, filepath.Join(p.data, "hub.db"), "anna", word)
	addr := strings.TrimPrefix(p.url, "http://")
	c := client{t, "anna", word}
	h, _ := c.do(202, "POST", p.url+"/v2/anna/app/blobs/uploads/", "")
	http.DefaultClient.CloseIdleConnections()
	conn, err := net.Dial("tcp", addr)
	must(t, err)
	defer conn.Close()
	text := "0123456789"
	fmt.Fprintf(conn, "PUT %s?digest=%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic %s\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n",
		h.Get("Location"), oci.FromBytes([]byte(text)), addr, base64.StdEncoding.EncodeToString([]byte("anna:"+word)))
	answer := bufio.NewReader(conn)
	if line, err := answer.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" { // it reads the body now
		t.Fatal(line, err)
	}
	_, err = answer.ReadString('\n')
	must(t, err)
	must(t, p.cmd.Process.Signal(os.Interrupt))
	for begun := time.Now(); ; { // until it listens no more
		again, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		again.Close()
		if time.Since(begun) > hubtest.Patience {
			t.Fatal("it takes others on")
		}
	}
	_, err = io.WriteString(conn, text)
	must(t, err)
	resp, err := http.ReadResponse(answer, nil)
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != 201 {
		t.Error(resp.Status)
	}
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
	p.ended = nil
	if _, err := os.Stat(filepath.Join(p.data, oci.BlobPath(oci.FromBytes([]byte(text))))); err != nil {
		t.Error(err)
	}
}

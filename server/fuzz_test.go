package server

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// FuzzRequest sends any request with any query and body: each gets an answer, and no
// handler fails in a way that nobody thought of (that is told in the log as a panic).
func FuzzRequest(f *testing.F) {
	for _, s := range []struct{ method, path, query, body string }{
		{"GET", "/v1.51/networks", `filters={"name":{"x":true}}`, ""},
		{"POST", "/v1.51/networks/create", "", `{"Name":"x","Driver":"bridge","IPAM":{"Config":[{"Subnet":"10.0.0.0/8","IPRange":"::/0","Gateway":"x","AuxiliaryAddresses":{"a":"b"}}]},"Options":{"com.docker.network.driver.mtu":"-1"}}`},
		{"POST", "/v1.51/volumes/create", "", `{"Name":"x","DriverOpts":{"type":"nfs","o":"addr=,x","device":":/"}}`},
		{"GET", "/v1.51/events", "since=x&until=1.9&filters=%7B", ""},
		{"GET", "/v1.24/volumes", "filters=[]", ""},
		{"DELETE", "/v1.51/networks/x", "", ""},
		{"POST", "/v1.51/networks/x/connect", "", `{"Container":"x","EndpointConfig":{"IPAMConfig":{"IPv4Address":"1"}}}`},
		{"POST", "/v1.51/volumes/prune", `filters={"label!":["x"]}`, ""},
		{"GET", "/v9999999999999999999.1/info", "", ""},
	} {
		f.Add(s.method, s.path, s.query, []byte(s.body))
	}
	sock := newServer(f).listen(f)
	f.Fuzz(func(t *testing.T, method, path, query string, body []byte) {
		for _, built := range []string{"containers", "images", "exec", "build", "commit", "session", "grpc", "auth", "info", "system", "distribution", "events", "connect"} {
			if strings.Contains(path, built) {
				return // they need what this server has not, or wait
			}
		}
		conn, err := net.Dial("unix", sock)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		r := &http.Request{Method: method, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Host: "d", Header: http.Header{"Content-Type": {"application/json"}}}
		if r.URL, err = r.URL.Parse("http://d/"); err != nil {
			t.Fatal(err)
		}
		r.URL.Path, r.URL.RawQuery = path, query
		if r.Write(conn) != nil {
			return
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), r)
		if err != nil {
			t.Fatalf("%s %s?%s %q: no answer: %v", method, path, query, body, err)
		}
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		if res.StatusCode == 500 && bytes.Contains(text, []byte("runtime error")) {
			t.Fatalf("%s %s?%s %q: %s", method, path, query, body, text)
		}
	})
}

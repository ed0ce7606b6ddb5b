package server

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// TestRequestsInDoubt sends requests whose length can be read in two ways: what decides on a
// request and what does it must not read it differently (CVE-2024-41110, CVE-2026-34040).
// One parser reads for all; chunks win over a length, as RFC 9112 has it, and what
// follows them is another request, which is answered as such.
func TestRequestsInDoubt(t *testing.T) {
	sock := newServer(t).listen(t)
	const create = "POST /v1.51/containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
	for name, row := range map[string]struct{ request, statuses string }{
		"chunks and a length":  {create + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /_ping HTTP/1.1\r\nHost: d\r\n\r\n", "400 200"},
		"two lengths":          {create + "Content-Length: 2\r\nContent-Length: 50\r\n\r\n{}", "400"},
		"a length below zero":  {create + "Content-Length: -2\r\n\r\n{}", "400"},
		"a length with a sign": {create + "Content-Length: +2\r\n\r\n{}", "400"},
		"two encodings":        {create + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", "501"},
		"an encoding, folded":  {create + "Transfer-Encoding:\r\n chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "400"},
		"no length":            {create + "Content-Length: 0\r\n\r\n", "400"},
		"a chunk too long":     {create + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff0\r\n{}", "400"},
		"two hosts":            {"GET /_ping HTTP/1.1\r\nHost: d\r\nHost: e\r\n\r\n", "400"},
		"no host":              {"GET /_ping HTTP/1.1\r\n\r\n", "400"},
		"a name with a blank":  {"GET /_ping HTTP/1.1\r\nHost: d\r\nContent-Length : 2\r\n\r\n{}", "400"},
		"too much":             {create + fmt.Sprintf("Content-Length: %d\r\n\r\n", 20<<20) + strings.Repeat(" ", 20<<20), "400"},
	} {
		conn, err := net.Dial("unix", sock)
		if err != nil {
			t.Fatal(err)
		}
		go func() { // who answers before it has read all closes
			io.WriteString(conn, row.request)
			conn.(*net.UnixConn).CloseWrite()
		}()
		answer, _ := io.ReadAll(conn)
		conn.Close()
		var got []string
		for line := range strings.Lines(string(answer)) {
			if strings.HasPrefix(line, "HTTP/1.") {
				got = append(got, strings.Fields(line)[1])
			}
		}
		if strings.Join(got, " ") != row.statuses {
			t.Errorf("%s: %v, want %s", name, got, row.statuses)
		}
	}
}

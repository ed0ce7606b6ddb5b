package stories

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	stdnet "net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// slowClients are those who begin to ask for something and go no further: what each sends, what
// must come before it is as slow as it can be ("" for those whom nobody answers yet), and what it
// sends then. BUSY is a container that runs and has printed more than a socket takes, ENDED one that has ended.
var slowClients = []struct{ name, send, until, then string }{
	{"drips its headers", "GET /v1.51/info HTTP/1.1\r\nHost: d\r\nX-A", "", ""},
	{"says nothing", "", "", ""},
	{"sends half a container", "POST /v1.51/containers/create?name=half HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"Image\":", "", ""},
	{"sends half a volume", "POST /v1.51/volumes/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"Name\":", "", ""},
	{"sends half a network", "POST /v1.51/networks/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"Name\":", "", ""},
	{"sends half of what nobody reads", "POST /v1.51/containers/BUSY/resize?h=20&w=20 HTTP/1.1\r\nHost: d\r\nContent-Length: 1000\r\n\r\nxx", "", ""},
	{"sends half a file", "PUT /v1.51/containers/BUSY/archive?path=/tmp HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n200\r\nHALF", "", ""},
	{"sends half a file to one that has ended", "PUT /v1.51/containers/ENDED/archive?path=/tmp HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n200\r\nHALF", "", ""},
	{"sends half an image", "POST /v1.51/images/load HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n200\r\nHALF", "", ""},
	{"sends half an import", "POST /v1.51/images/create?fromSrc=- HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n200\r\nHALF", "", ""},
	{"sends half a context", "POST /v1.51/build?version=1 HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n200\r\nHALF", "", ""},
	{"sends half a context ahead", "POST /v1.51/builds/contexts HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n200\r\nHALF", "", ""},
	{"lends no file", "POST /v1.51/containers/BUSY/archive?path=/tmp&head=512&size=10 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", "101", ""},
	{"reads no log", "GET /v1.51/containers/BUSY/logs?stdout=1&follow=1 HTTP/1.1\r\nHost: d\r\n\r\n", "200", ""},
	{"reads no events", "GET /v1.51/events?since=1 HTTP/1.1\r\nHost: d\r\n\r\n", "200", ""},
	{"reads no figures", "GET /v1.51/containers/BUSY/stats HTTP/1.1\r\nHost: d\r\n\r\n", "200", ""},
	{"reads no export", "GET /v1.51/containers/BUSY/export HTTP/1.1\r\nHost: d\r\n\r\n", "200", ""},
	{"reads no export of one that has ended", "GET /v1.51/containers/ENDED/export HTTP/1.1\r\nHost: d\r\n\r\n", "200", ""},
	{"reads no files", "GET /v1.51/containers/BUSY/archive?path=/bin HTTP/1.1\r\nHost: d\r\n\r\n", "200", ""},
	{"reads no image", "GET /v1.51/images/spare/get HTTP/1.1\r\nHost: d\r\n\r\n", "200", ""},
	{"waits", "POST /v1.51/containers/BUSY/wait HTTP/1.1\r\nHost: d\r\n\r\n", "200", ""},
	{"reads nothing attached", "POST /v1.51/containers/BUSY/attach?logs=1&stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", "101", ""},
	{"floods one that does not read", "POST /v1.51/containers/BUSY/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", "101", "FLOOD"},
	{"half closes", "POST /v1.51/containers/BUSY/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", "101", "CLOSE"},
	{"begins a web socket", "GET /v1.51/containers/BUSY/attach/ws?stream=1&stdin=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", "101", "\x82\xfe"},
	{"begins a session", "POST /session HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nX-Docker-Expose-Session-Uuid: slowN\r\n\r\n", "101", ""},
	{"speaks half of BuildKit's protocol", "POST /grpc HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "101", "PRI * HTTP/2.0\r\n"},
}

// TestSlowClients has a hundred clients that are slow, stuck or broken, and one who is served
// nonetheless: no verb of its waits for the hundred. Then the engine stops, and does not wait
// for them either.
func TestSlowClients(t *testing.T) {
	if testing.Short() || os.Getuid() != 0 {
		t.Skip("it starts containers: as root, without -short")
	}
	for _, kind := range []string{"plain", "policy"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			c := campaignOf(t)
			if kind == "policy" { // which has requests wait for each other
				path := filepath.Join(c.dir, "policy")
				if err := os.WriteFile(path, []byte("client root\n\tuid 0\n\tallow everything\n\twith everything\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				c.e.flags = append(c.e.flags, "--policy", path, "--audit", filepath.Join(c.dir, "audit"))
			}
			slowCampaign(c)
		})
	}
}

func slowCampaign(c *campaign) {
	t := c.t
	if err := c.e.start(); err != nil {
		t.Fatal(err)
	}
	c.need("import", busyboxTar, "busybox")
	c.need("import", "-m", "more", busyboxTar, "spare")
	c.need("run", "-di", "--name", "busy", "busybox", "sh", "-c", "seq 1 200000; echo done >/done; exec sleep 100000")
	c.need("exec", "busy", "sh", "-c", "until [ -e /done ]; do sleep 0.01; done")
	c.need("run", "--name", "ended", "busybox", "sh", "-c", "head -c 2000000 /dev/urandom >/big")
	before := hold(c.e.cmd.Process.Pid).files
	var all []*stdnet.UnixConn
	for i := range 100 {
		all = append(all, c.slow(i))
	}
	served := c.served()
	for _, conn := range all {
		conn.Close()
	}
	if !served {
		return
	}
	if err := await(func() bool { return hold(c.e.cmd.Process.Pid).files <= before+8 }, "the engine to let go of clients that went"); err != nil {
		t.Errorf("%v: %d files are open, %d before", err, hold(c.e.cmd.Process.Pid).files, before)
	}
	c.need("run", "-di", "--name", "busy", "busybox", "sh", "-c", "seq 1 200000; echo done >/done; exec sleep 100000")
	c.need("exec", "busy", "sh", "-c", "until [ -e /done ]; do sleep 0.01; done")
	c.need("run", "--name", "ended", "busybox", "sh", "-c", "head -c 2000000 /dev/urandom >/big")
	c.need("import", busyboxTar, "spare")
	for i := range slowClients {
		defer c.slow(i).Close()
	}
	if err := c.e.signal(os.Interrupt); err != nil {
		t.Error(err)
	}
}

// slow is a client that goes no further.
func (c *campaign) slow(i int) *stdnet.UnixConn {
	kind := slowClients[i%len(slowClients)]
	fill := strings.NewReplacer("BUSY", "busy", "ENDED", "ended", "HALF", halfTar(), "slowN", fmt.Sprint("slow", i))
	dial, err := stdnet.Dial("unix", strings.TrimPrefix(c.e.host, "unix://"))
	if err != nil {
		c.t.Fatal(err)
	}
	conn := dial.(*stdnet.UnixConn)
	if _, err := io.WriteString(conn, fill.Replace(kind.send)); err != nil {
		c.t.Fatalf("who %s: %v", kind.name, err)
	}
	if kind.until != "" {
		conn.SetReadDeadline(time.Now().Add(patience))
		answer, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil)
		if err != nil || fmt.Sprint(answer.StatusCode) != kind.until {
			c.t.Fatalf("who %s is answered %v: %v", kind.name, answer, err)
		}
	}
	switch kind.then {
	case "FLOOD":
		conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // when no more is taken
		io.Copy(conn, endless{})
	case "CLOSE":
		conn.CloseWrite()
	default:
		io.WriteString(conn, kind.then)
	}
	return conn
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// halfTar is the first block of a tar of one larger file.
func halfTar() string {
	var b bytes.Buffer
	tar.NewWriter(&b).WriteHeader(&tar.Header{Name: "half", Mode: 0o644, Size: 1 << 20})
	return b.String()
}

// served has the 101st do everything.
func (c *campaign) served() bool {
	folder := filepath.Join(c.dir, "context")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "Dockerfile"), []byte("FROM busybox\nCOPY . /\nRUN echo built\n"), 0o644); err != nil {
		c.t.Fatal(err)
	}
	saved := filepath.Join(c.dir, "saved")
	for _, line := range []string{
		"info", "ps", "images", "system df", "events --since 1 --until 2", "stats --no-stream busy", "logs --tail 3 busy", "top busy",
		"run --rm busybox true", "run --rm --network none -v vol:/v busybox true", "exec busy true", "cp busy:/etc/passwd " + saved + ".passwd", "cp " + saved + ".passwd busy:/new",
		"volume create other", "volume rm other", "network create other", "network rm other", "volume prune -a -f",
		"commit busy made", "save -o " + saved + " spare", "load -i " + saved, "build -t built " + folder, "rmi built", "rmi spare", "rmi made", "image prune -f",
		"pause busy", "unpause busy", "update --pids-limit 100 busy", "restart -t 0 busy", "kill busy", "wait busy", "start busy", "rename busy busier", "rm -f busier",
		"cp ended:/etc/passwd " + saved + ".passwd", "start ended", "rm -f ended", "container prune -f", "network prune -f",
	} {
		ctx, cancel := context.WithTimeout(c.t.Context(), patience)
		cmd := exec.CommandContext(ctx, filepath.Join(bin, "lighter"), strings.Fields(line)...)
		cmd.Env = c.command().Env
		begin := time.Now()
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			c.t.Errorf("beside 100 slow clients, lighter %s, in %v: %v: %s", line, time.Since(begin).Round(time.Millisecond), err, out)
		}
	}
	return !c.t.Failed()
}

package logship

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lighter/store/logfile"

	"github.com/tinylib/msgp/msgp"
)

const testID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// patience bounds every wait for a thing that must come.
const patience = 20 * time.Second

// world is a container's log and the ships.
type world struct {
	*testing.T
	ships *Ships
	log   *logfile.Writer
	last  int64
	job   Job
}

func newWorld(t *testing.T, driver string, config map[string]string) *world {
	dir := t.TempDir()
	w := &world{T: t, ships: New(t.Context()), last: time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC).UnixNano()}
	t.Cleanup(w.ships.Close)
	w.job = Job{
		Info: Info{
			Driver: driver, Config: config, ContainerID: testID, ContainerName: "/web", ContainerEntrypoint: "sh",
			ContainerArgs: []string{"-c", "x"}, ContainerImageID: "sha256:abcdef", ContainerImageName: "busybox",
			ContainerEnv: []string{"E=1", "OS=linux"}, ContainerLabels: map[string]string{"l": "v"},
		},
		Cache: filepath.Join(dir, "cache"), Mark: filepath.Join(dir, "mark"),
	}
	var err error
	if w.log, err = logfile.Open(logfile.Options{Path: w.job.Cache, MaxSize: 4096, MaxFiles: 3, Compress: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.log.Close() })
	return w
}

// print writes lines into the log, as the keeper does.
func (w *world) print(stream, text string, end bool) {
	w.Helper()
	f, err := logfile.NewFormat(nil)
	if err != nil {
		w.Fatal(err)
	}
	for len(text) > 0 {
		out, used, n := f.Append(nil, []byte(text), stream, w.last+1, end, 1)
		if used == 0 {
			w.Fatalf("%q is no record", text)
		}
		w.last += int64(n)
		text = text[used:]
		if err := w.log.Write(out); err != nil {
			w.Fatal(err)
		}
		if w.log.Room() == 0 {
			if err := w.log.Rotate(); err != nil {
				w.Fatal(err)
			}
		}
	}
}

func (w *world) start() {
	w.Helper()
	if err := w.ships.Start(w.Context(), w.job); err != nil {
		w.Fatal(err)
	}
}

// arrive ends the container and waits until all is sent.
func (w *world) arrive() {
	w.Helper()
	sh := w.ships.find(testID)
	if sh == nil {
		return
	}
	w.ships.Ended(testID)
	select {
	case <-sh.arrived:
	case <-time.After(patience):
		w.Fatal("the log is not sent")
	}
}

// take gives what comes next.
func take[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// datagrams listens and gives each datagram.
func datagrams(t *testing.T, network, address string) (string, <-chan []byte) {
	c, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	got := make(chan []byte, 1000)
	go func() {
		b := make([]byte, 1<<17)
		for {
			n, _, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			got <- bytes.Clone(b[:n])
		}
	}()
	return c.LocalAddr().String(), got
}

// lines accepts connections and gives what comes, cut at delim.
func lines(t *testing.T, l net.Listener, delim byte) <-chan []byte {
	t.Cleanup(func() { l.Close() })
	got := make(chan []byte, 1000)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					b, err := r.ReadBytes(delim)
					if err != nil {
						return
					}
					got <- b[:len(b)-1]
				}
			}()
		}
	}()
	return got
}

func listen(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestSyslog(t *testing.T) {
	host, _ := os.Hostname()
	pid := os.Getpid()
	at := time.Date(2026, 1, 2, 3, 4, 5, 601, time.UTC).Local()
	for _, row := range []struct{ format, want string }{
		{"", fmt.Sprintf("<30>%s web/0123456789ab[%d]: hello\n", at.Format(time.Stamp), pid)},
		{"rfc3164", fmt.Sprintf("<30>%s %s web/0123456789ab[%d]: hello\n", at.Format(time.Stamp), host, pid)},
		{"rfc5424", fmt.Sprintf("<30>1 %s %s web/0123456789ab %d web/0123456789ab - hello\n", at.Format(time.RFC3339), host, pid)},
		{"rfc5424micro", fmt.Sprintf("<30>1 %s %s web/0123456789ab %d web/0123456789ab - hello\n", at.Format("2006-01-02T15:04:05.000000Z07:00"), host, pid)},
	} {
		addr, got := datagrams(t, "udp", "127.0.0.1:0")
		w := newWorld(t, "syslog", map[string]string{"syslog-address": "udp://" + addr, "syslog-format": row.format, "tag": "{{.Name}}/{{.ID}}"})
		w.start()
		w.print("stdout", "hello\n\n", false) // an empty line is not sent
		w.print("stderr", "oops\n", false)
		if b := string(take(t, got)); b != row.want {
			t.Errorf("%s: %q, not %q", row.format, b, row.want)
		}
		if b := string(take(t, got)); !strings.HasPrefix(b, "<27>") || !strings.HasSuffix(b, "oops\n") {
			t.Errorf("%s: stderr is %q", row.format, b)
		}
		w.arrive()
	}
	for _, network := range []string{"unix", "unixgram"} {
		path := filepath.Join(t.TempDir(), "log")
		var got <-chan []byte
		if network == "unix" {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			got = lines(t, l, '\n')
		} else {
			_, got = datagrams(t, network, path)
		}
		w := newWorld(t, "syslog", map[string]string{"syslog-address": network + "://" + path, "syslog-facility": "local3"})
		w.start()
		w.print("stdout", "hello\n", false)
		if b := string(take(t, got)); !strings.HasPrefix(b, "<158>") || !strings.Contains(b, "hello") {
			t.Errorf("%s: %q", network, b)
		}
		w.arrive()
	}
}

// TestResume: whatever stops the ships, the server gets each line once, in order.
func TestResume(t *testing.T) {
	l := listen(t)
	got := lines(t, l, '\n')
	w := newWorld(t, "syslog", map[string]string{"syslog-address": "tcp://" + l.Addr().String(), "syslog-format": "rfc3164"})
	w.start()
	const count = 400
	next := 0
	see := func(upTo int) {
		t.Helper()
		for ; next < upTo; next++ {
			if b := string(take(t, got)); !strings.HasSuffix(b, fmt.Sprintf(": line %d", next)) {
				t.Fatalf("line %d is %q", next, b)
			}
		}
	}
	for i := range count {
		w.print("stdout", fmt.Sprintf("line %d\n", i), false)
		if i%10 == 9 {
			see(i - 3)
		}
		if i%100 == 50 { // the engine goes, and another one comes
			w.ships.Close()
			w.ships = New(t.Context())
			t.Cleanup(w.ships.Close)
			w.ships.Resume(w.job)
		}
	}
	w.arrive()
	see(count)
	if _, err := os.Stat(w.job.Mark); err != nil {
		t.Error(err)
	}
	// A container that has ended, of which nothing is left: its ship goes at once.
	w.job.Ended = true
	w.ships.Resume(w.job)
	w.arrive()
	select {
	case b := <-got:
		t.Errorf("%q came twice", b)
	default:
	}
}

// TestAway: a server that is away fails a start, and is waited for later.
func TestAway(t *testing.T) {
	l := listen(t)
	addr := l.Addr().String()
	w := newWorld(t, "syslog", map[string]string{"syslog-address": "tcp://" + addr})
	got := lines(t, l, '\n')
	w.start()
	w.print("stdout", "one\n", false)
	take(t, got)
	sh := w.ships.find(testID)
	l.Close()
	// The connection that stands is kept, so it is the next engine that finds nobody.
	w.ships.halt(testID)
	if err := w.ships.Start(t.Context(), w.job); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Fatalf("a start without a server: %v", err)
	}
	w.ships.Resume(w.job)
	w.print("stdout", "two\n", false)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	got = lines(t, l, '\n')
	if b := string(take(t, got)); !strings.HasSuffix(b, ": two") {
		t.Errorf("%q", b)
	}
	if w.ships.find(testID) == sh {
		t.Error("the old ship still sails")
	}
	w.arrive()
}

// TestServerRestarts: a line that is printed while the server restarts gets through.
func TestServerRestarts(t *testing.T) {
	l := listen(t)
	conns := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns <- c
		}
	}()
	t.Cleanup(func() { l.Close() })
	w := newWorld(t, "gelf", map[string]string{"gelf-address": "tcp://" + l.Addr().String()})
	w.start()
	w.print("stdout", "one\n", false)
	c := take(t, conns)
	if b, err := bufio.NewReader(c).ReadString(0); err != nil || !strings.Contains(b, `"short_message":"one"`) {
		t.Fatal(b, err)
	}
	sh := w.ships.find(testID)
	gone := sh.sender.(*gelf).stream.gone
	c.Close()
	take(t, gone) // closed
	w.print("stdout", "two\n", false)
	if b, err := bufio.NewReader(take(t, conns)).ReadString(0); err != nil || !strings.Contains(b, `"short_message":"two"`) {
		t.Fatal(b, err)
	}
	w.arrive()
}

func TestGelf(t *testing.T) {
	unpack := map[string]func(io.Reader) (io.ReadCloser, error){
		"gzip": func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) },
		"zlib": func(r io.Reader) (io.ReadCloser, error) { return zlib.NewReader(r) },
		"none": func(r io.Reader) (io.ReadCloser, error) { return io.NopCloser(r), nil },
	}
	for name, open := range unpack {
		addr, got := datagrams(t, "udp", "127.0.0.1:0")
		w := newWorld(t, "gelf", map[string]string{"gelf-address": "udp://" + addr, "gelf-compression-type": name, "labels": "l", "env-regex": "^O"})
		w.start()
		w.print("stderr", "hello\n", false)
		z, err := open(bytes.NewReader(take(t, got)))
		if err != nil {
			t.Fatal(name, err)
		}
		var m map[string]any
		if err := json.NewDecoder(z).Decode(&m); err != nil {
			t.Fatal(name, err)
		}
		for k, want := range map[string]any{
			"version": "1.1", "short_message": "hello", "level": 3.0, "_container_id": testID, "_container_name": "web",
			"_command": "sh -c x", "_tag": "0123456789ab", "_l": "v", "_OS": "linux", "_image_name": "busybox",
		} {
			if m[k] != want {
				t.Errorf("%s: %s is %v, not %v", name, k, m[k], want)
			}
		}
		if name == "none" { // a long one comes in chunks
			w.print("stdout", strings.Repeat("é", 4000)+"\n", false)
			var whole []byte
			for n := 1; len(whole) == 0 || n > 0; n-- {
				b := take(t, got)
				if b[0] != 0x1e || b[1] != 0x0f {
					t.Fatalf("not a chunk: %q", b[:20])
				}
				if len(whole) == 0 {
					n = int(b[11])
				}
				whole = append(whole, b[12:]...)
			}
			if err := json.Unmarshal(whole, &m); err != nil || m["short_message"] != strings.Repeat("é", 4000) {
				t.Error(err, len(whole))
			}
		}
		w.arrive()
	}
}

// forwarded is one message of fluentd's forward protocol.
type forwarded struct {
	tag    string
	record map[string]any
}

// fluentServer speaks the forward protocol, and acknowledges where it is asked to.
func fluentServer(t *testing.T, l net.Listener) <-chan forwarded {
	t.Cleanup(func() { l.Close() })
	got := make(chan forwarded, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for r := msgp.NewReader(c); ; {
					v, err := r.ReadIntf()
					if err != nil {
						return
					}
					parts := v.([]any)
					got <- forwarded{parts[0].(string), parts[2].(map[string]any)}
					option, _ := parts[3].(map[string]any)
					if chunk, ok := option["chunk"]; ok {
						b, _ := msgp.AppendIntf(nil, map[string]any{"ack": chunk})
						c.Write(b)
					}
				}
			}()
		}
	}()
	return got
}

func TestFluentd(t *testing.T) {
	l := listen(t)
	got := fluentServer(t, l)
	w := newWorld(t, "fluentd", map[string]string{
		"fluentd-address": l.Addr().String(), "fluentd-request-ack": "true", "fluentd-sub-second-precision": "true",
		"tag": "app.{{.Name}}", "env": "E",
	})
	w.start()
	w.print("stdout", "hello\n", false)
	m := take(t, got)
	for k, want := range map[string]any{"container_id": testID, "container_name": "/web", "source": "stdout", "log": "hello", "E": "1"} {
		if m.record[k] != want {
			t.Errorf("%s is %v", k, m.record[k])
		}
	}
	if m.tag != "app.web" || m.record["partial_message"] != nil {
		t.Error(m)
	}
	long := strings.Repeat("x", 2*logfile.MaxLine)
	w.print("stdout", long+"end\n", false)
	for i := range 3 {
		m := take(t, got).record
		if m["partial_message"] != "true" || m["partial_ordinal"] != fmt.Sprint(i+1) || m["partial_last"] != fmt.Sprint(i == 2) {
			t.Errorf("part %d: %v", i, m["partial_last"])
		}
	}
	w.arrive()

	// One that does not answer fails the start, unless it is asynchronous.
	l.Close()
	if err := w.ships.Start(t.Context(), w.job); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
	w.job.Info.Config["fluentd-async"] = "true"
	w.start()
	w.print("stderr", "later\n", false)
	l, err := net.Listen("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if m := take(t, fluentServer(t, l)); m.record["log"] != "later" || m.record["source"] != "stderr" {
		t.Error(m)
	}
	w.arrive()
}

func TestJournald(t *testing.T) {
	old := journalSocket
	t.Cleanup(func() { journalSocket = old })
	journalSocket = filepath.Join(t.TempDir(), "socket")
	w := newWorld(t, "journald", map[string]string{"labels": "l", "tag": "a\nb"})
	if err := w.ships.Start(t.Context(), w.job); err == nil || err.Error() != "journald is not enabled on this host" {
		t.Fatal(err)
	}
	_, got := datagrams(t, "unixgram", journalSocket)
	w.start()
	w.print("stderr", "hello\n", false)
	b := string(take(t, got))
	for _, want := range []string{
		"CONTAINER_ID=0123456789ab\n", "CONTAINER_ID_FULL=" + testID + "\n", "CONTAINER_NAME=web\n", "L=v\n", "PRIORITY=3\n",
		"MESSAGE=hello\n", "CONTAINER_TAG\n\x03\x00\x00\x00\x00\x00\x00\x00a\nb\n", "SYSLOG_TIMESTAMP=2026-01-02T03:04:05.000000601Z\n",
	} {
		if !strings.Contains(b, want) {
			t.Errorf("%q has no %q", b, want)
		}
	}
	w.arrive()
	for in, want := range map[string]string{"a.b-c1": "A_B_C1", "__x": "X", "9é": "9_"} {
		if got := journalKey(in); got != want {
			t.Errorf("journalKey(%q) is %q", in, got)
		}
	}
}

// TestSkip: with max-buffer-size what waits longer than that is left out, oldest first.
func TestSkip(t *testing.T) {
	l := listen(t)
	addr := l.Addr().String()
	l.Close()
	w := newWorld(t, "fluentd", map[string]string{"fluentd-address": addr, "fluentd-async": "true", "mode": "non-blocking", "max-buffer-size": "1k"})
	for i := range 100 {
		w.print("stdout", fmt.Sprintf("line %d\n", i), false)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	got := fluentServer(t, l)
	w.start()
	w.arrive()
	if m := take(t, got).record["log"]; m == "line 0" {
		take(t, got)
	}
	n, last := 1, ""
	for len(got) > 0 {
		last = take(t, got).record["log"].(string)
		n++
	}
	if last != "line 99" || n > 20 {
		t.Errorf("%d lines came, the last %q", n, last)
	}
}

func TestDrop(t *testing.T) {
	l := listen(t)
	addr := l.Addr().String()
	l.Close()
	w := newWorld(t, "fluentd", map[string]string{"fluentd-address": addr, "fluentd-async": "true"})
	w.start()
	w.print("stdout", "lost\n", false)
	sh := w.ships.find(testID)
	for end := time.Now().Add(patience); !sh.waiting.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody tells that the server is away")
		}
	}
	began := time.Now()
	w.ships.Drop(t.Context(), testID, false)
	if time.Since(began) > linger/2 {
		t.Error("a removal waits for a server that is away")
	}
	if w.ships.find(testID) != nil {
		t.Error("a ship sails for a container that is gone")
	}
}

func TestValidate(t *testing.T) {
	for _, row := range []struct {
		driver, key, value, want string
	}{
		{"syslog", "x", "", "unknown log opt 'x' for syslog log driver"},
		{"syslog", "syslog-address", "http://h", "unsupported scheme: 'http'"},
		{"syslog", "syslog-address", "unix:///no/such/socket", "stat /no/such/socket: no such file or directory"},
		{"syslog", "syslog-facility", "24", "invalid syslog facility"},
		{"syslog", "syslog-facility", "23", ""},
		{"syslog", "syslog-format", "x", "Invalid syslog format"},
		{"syslog", "cache-disabled", "true", ""},
		{"journald", "max-size", "1", "unknown log opt 'max-size' for journald log driver"},
		{"gelf", "tag", "x", "gelf-address is a required parameter"},
		{"gelf", "gelf-address", "udp://h", "gelf: please provide gelf-address as proto://host:port"},
		{"gelf", "gelf-address", "http://h:1", "gelf: endpoint needs to be TCP or UDP"},
		{"fluentd", "fluentd-address", "x://h", "invalid fluentd-address (x://h): unsupported scheme: 'x'"},
		{"fluentd", "fluentd-address", "tcp://h/p", "invalid fluentd-address (tcp://h/p): should not contain a path element"},
		{"fluentd", "fluentd-address", "unix:///", "invalid fluentd-address (unix:///): path is empty"},
		{"fluentd", "fluentd-async-reconnect-interval", "1ms", `invalid value for fluentd-async-reconnect-interval: value ("1ms") must be between 100ms and 10s`},
		{"fluentd", "fluentd-max-retries", "4294967295", "invalid fluentd-max-retries: value out of range"},
		{"fluentd", "fluentd-write-timeout", "-1s", "invalid value for fluentd-write-timeout: value must be a duration that is non-negative"},
		{"fluentd", "y", "", "unknown log opt 'y' for fluentd log driver"},
	} {
		err := Validate(row.driver, map[string]string{row.key: row.value})
		if fmt.Sprint(err) != row.want && (err != nil || row.want != "") {
			t.Errorf("%s %s=%s: %v", row.driver, row.key, row.value, err)
		}
	}
	for key, want := range map[string]string{
		"x": `unknown log opt "x" for gelf log driver`, "gelf-tcp-max-reconnect": `"gelf-tcp-max-reconnect" is only valid for TCP`,
		"gelf-compression-type": `unknown value "" for log opt "gelf-compression-type" for gelf log driver`,
	} {
		if err := Validate("gelf", map[string]string{"gelf-address": "udp://h:1", key: ""}); fmt.Sprint(err) != want {
			t.Errorf("gelf %s: %v", key, err)
		}
	}
}

package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// passedVar has the test's program be a service that systemd started.
const passedVar = "LIGHTERD_TEST_PASSED"

// TestPassed is started by systemd, as far as it can tell, and answers on the socket that
// it was given; nothing of that is left for what it would start.
func TestPassed(t *testing.T) {
	if os.Getenv(passedVar) != "" {
		service(t)
		return
	}
	dir := t.TempDir()
	path, notify := filepath.Join(dir, "s"), filepath.Join(dir, "notify")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	heard, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify})
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	var out bytes.Buffer
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", os.Args[0], "-test.run", "^TestPassed$")
	cmd.Env = append(os.Environ(), passedVar+"="+path, listenFDs+"=1", notifyVar+"="+notify)
	cmd.ExtraFiles, cmd.Stdout, cmd.Stderr = []*os.File{f}, &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := heard.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, err := heard.Read(buf)
	if err != nil || string(buf[:n]) != "READY=1" {
		t.Errorf("systemd heard %q, %v", buf[:n], err)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		n, err = conn.Read(buf)
		conn.Close()
	}
	if err != nil || string(buf[:n]) != "here" {
		t.Errorf("on the socket: %q, %v", buf[:n], err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err, out.String())
	}
}

// service is the other side of TestPassed.
func service(t *testing.T) {
	systemd, err := takeNotifier()
	if err != nil {
		t.Fatal(err)
	}
	c := &config{Hosts: []string{"unix://" + os.Getenv(passedVar)}}
	if c.passed, err = passed(); err != nil {
		t.Fatal(err)
	}
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "LISTEN_") || strings.HasPrefix(v, notifyVar) {
			t.Errorf("left in the environment: %s", v)
		}
	}
	ls, err := c.listen()
	if err != nil || len(ls) != 1 {
		t.Fatal(ls, err)
	}
	systemd.say("READY=1")
	conn, err := ls[0].Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("here")); err != nil {
		t.Error(err)
	}
	conn.Close()
}

// TestPassedToAnother: a socket that was passed to another process is left alone.
func TestPassedToAnother(t *testing.T) {
	t.Setenv(listenPID, "1")
	t.Setenv(listenFDs, "1")
	if sockets, err := passed(); err != nil || len(sockets) != 0 {
		t.Error(sockets, err)
	}
}

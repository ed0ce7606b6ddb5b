package main

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestSocket makes the socket under hostile umasks and reads its mode.
func TestSocket(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o077, 0o777} {
		// The path is as long as a client can still connect to.
		dir := t.TempDir()
		path := filepath.Join(dir, strings.Repeat("s", maxSocketPath-len(dir)-1))
		c := &config{Hosts: []string{"unix://" + path}}
		if os.Geteuid() != 0 {
			c.Group = strconv.Itoa(os.Getegid())
		}
		old := syscall.Umask(mask)
		ls, err := c.listen()
		syscall.Umask(old)
		if err != nil {
			t.Fatal(mask, err)
		}
		st, err := os.Lstat(path)
		if err != nil || st.Mode() != os.ModeSocket|0o660 {
			t.Errorf("umask %o: %v, %v", mask, st.Mode(), err)
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Error(err)
		} else {
			conn.Close()
		}
		if _, err := c.listen(); err == nil || !strings.Contains(err.Error(), "already listens") {
			t.Errorf("a second listener: %v", err)
		}
		if err := ls[0].Close(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestSocketInTheWay(t *testing.T) {
	dir := t.TempDir()
	c := &config{Group: strconv.Itoa(os.Getegid())}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.listenUnix(file); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Error(err)
	}
	// A socket that a dead engine left is replaced; ours is not taken away with it.
	stale := filepath.Join(dir, "stale")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := c.listenUnix(stale)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c.Group = "no-such-group"
	if _, err := c.listenUnix(filepath.Join(dir, "other")); err == nil || !strings.Contains(err.Error(), "group no-such-group") {
		t.Error(err)
	}
}

func TestPidfile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "lighterd.pid")
	remove, err := writePidfile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != strconv.Itoa(os.Getpid()) {
		t.Errorf("%q", b)
	}
	// Another program has the pid of an engine that died: no engine.
	os.WriteFile(path, []byte("1"), 0o644)
	again, err := writePidfile(path)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(path, []byte("not ours"), 0o644)
	remove()
	again()
	if _, err := os.Stat(path); err != nil {
		t.Error("somebody else's pid file was taken away")
	}
}

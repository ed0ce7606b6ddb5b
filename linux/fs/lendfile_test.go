package fs

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// wire is two ends of a unix socket.
func wire(t *testing.T) (near, far *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err = net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err == nil {
		far, err = l.AcceptUnix()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func TestLendFile(t *testing.T) {
	near, far := wire(t)
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := bytes.Repeat([]byte("head"), 20_000) // more than one message
	sent := make(chan error, 1)
	go func() { sent <- LendFile(near, head, f) }()
	got := make([]byte, len(head))
	lent, err := BorrowFile(far, got)
	if err = errors.Join(err, <-sent); err != nil || !bytes.Equal(got, head) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	defer lent.Close()
	if text, err := io.ReadAll(lent); err != nil || string(text) != "content" {
		t.Errorf("lent %q, %v", text, err)
	}
	if _, err := lent.Write([]byte("x")); err == nil {
		t.Error("what was opened for reading can be written to")
	}
	if fd, err := unix.FcntlInt(lent.Fd(), unix.F_GETFD, 0); err != nil || fd&unix.FD_CLOEXEC == 0 {
		t.Errorf("programs that we start would have it: %d, %v", fd, err)
	}
}

// TestBorrowNothing has other things sent than one file. No descriptor stays.
func TestBorrowNothing(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for name, rights := range map[string][]byte{
		"nothing": nil, "a folder": unix.UnixRights(int(dir.Fd())), "a pipe": unix.UnixRights(int(r.Fd())),
		"many": unix.UnixRights(int(dir.Fd()), int(r.Fd()), int(w.Fd())),
	} {
		near, far := wire(t)
		if _, _, err := near.WriteMsgUnix([]byte("head"), rights, nil); err != nil {
			t.Fatal(err)
		}
		before := descriptors(t)
		if f, err := BorrowFile(far, make([]byte, 4)); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v, %v", name, f, err)
		}
		if after := descriptors(t); after != before {
			t.Errorf("%s: %d descriptors, %d before", name, after, before)
		}
	}
	near, far := wire(t)
	near.Close()
	if _, err := BorrowFile(far, make([]byte, 4)); err == nil || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a client that went: %v", err)
	}
}

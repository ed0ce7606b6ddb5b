package fs

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// A file goes to a socket whole, in pieces, from where it stands; one that ends early says so.
func TestSendFile(t *testing.T) {
	dir := t.TempDir()
	content := bytes.Repeat([]byte("0123456789abcdef"), 100_000) // more than a socket holds
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(in)
		in.Close()
		got <- b
	}()
	const first = 700_001
	if n, err := SendFile(out, f, first); n != first || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := SendFile(out, f, int64(len(content))); n != int64(len(content)-first) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that ended early: %d, %v", n, err)
	}
	if n, err := SendFile(struct{ net.Conn }{out}, f, 1); n != 0 || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("no socket: %d, %v", n, err)
	}
	out.Close()
	if !bytes.Equal(<-got, content) {
		t.Error("not what the file holds")
	}
	if n, err := SendFile(out, f, 1); n != 0 || err == nil {
		t.Errorf("to a closed socket: %d, %v", n, err)
	}
}

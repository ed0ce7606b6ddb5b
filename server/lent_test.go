package server

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lighter/api"
	"lighter/linux/fs"
	"lighter/linux/proc"
)

// lend has a server take what a client does on its end of a connection, and gives the tar that came of it.
func lend(t *testing.T, size int64, client func(c net.Conn), use func(ctx context.Context, tar io.Reader) error) (string, error) {
	t.Helper()
	theirs, ours, err := proc.Pair()
	if err != nil {
		t.Fatal(err)
	}
	near, err := net.FileConn(theirs)
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	defer ours.Close()
	client(near)
	s := newServer(t)
	s.config.Borrow = fs.BorrowFile
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var tar []byte
	err = (&archives{s}).takeLent(ctx, cancel, &hijacked{conn: ours}, make([]byte, 4), size, func(r io.Reader) (err error) {
		if use != nil {
			return use(ctx, r)
		}
		tar, err = io.ReadAll(r)
		return err
	})
	return string(tar), err
}

func TestLent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sends := func(c net.Conn) {
		if err := fs.LendFile(c, []byte("head"), f); err != nil {
			t.Fatal(err)
		}
	}
	got, err := lend(t, 7, sends, nil)
	if want := "headcontent" + strings.Repeat("\x00", 505+1024); err != nil || got != want {
		t.Errorf("the tar is %q, %v", got, err)
	}
	if got, err := lend(t, 3, sends, nil); err != nil || !strings.HasPrefix(got, "headcon\x00") || len(got) != 4+512+1024 {
		t.Errorf("a file that grew: %q, %v", got, err)
	}
	if _, err := lend(t, 8, sends, nil); !api.Is(err, api.Invalid) || !strings.Contains(err.Error(), "became shorter") {
		t.Errorf("a file that shrank: %v", err)
	}
	if _, err := lend(t, 7, func(c net.Conn) { io.WriteString(c, "head") }, nil); !api.Is(err, api.NotImplemented) {
		t.Errorf("no file: %v", err)
	}
	if _, err := lend(t, 7, func(c net.Conn) { c.Close() }, nil); err == nil || api.Is(err, api.NotImplemented) {
		t.Errorf("a client that went before: %v", err)
	}
	// One that goes meanwhile calls it off.
	_, err = lend(t, 7, func(c net.Conn) { sends(c); c.Close() }, func(ctx context.Context, _ io.Reader) error {
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a client that went: %v", err)
	}
}

// TestLentRefused looks at the parameters before the connection is taken.
func TestLentRefused(t *testing.T) {
	sock := newServer(t).listen(t)
	for _, query := range []string{"", "path=/", "path=/&head=0&size=1", "path=/&head=65537&size=1", "path=/&head=1&size=-1", "path=/&head=x&size=1"} {
		if got := raw(t, sock, "POST /containers/x/archive?"+query+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("%q: %.60q", query, got)
		}
	}
}

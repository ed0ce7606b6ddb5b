package client

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http/httputil"
	"os"
	"path/filepath"
	"testing"
)

// TestUploadFile: pieces of files are chunks like any other, however they are sent; a file
// that ends early breaks the body off.
func TestUploadFile(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, send := range map[string]func(net.Conn, *os.File, int64) (int64, error){
		"none":        nil,
		"unsupported": func(net.Conn, *os.File, int64) (int64, error) { return 0, errors.ErrUnsupported },
		"sent": func(to net.Conn, from *os.File, n int64) (int64, error) {
			sent, err := io.CopyN(struct{ io.Writer }{to}, from, n)
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return sent, err
		},
	} {
		for _, size := range []int64{100_000, int64(len(content)), int64(len(content)) + 1} {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			ours, theirs := net.Pipe()
			got := make(chan []byte)
			go func() {
				b, _ := io.ReadAll(httputil.NewChunkedReader(theirs))
				got <- b
			}()
			c := &Client{config: Config{SendFile: send}}
			err = c.upload(ours, Writer(func(w io.Writer) error {
				if _, err := w.Write([]byte("head")); err != nil {
					return err
				}
				if _, err := io.CopyN(w, f, size); err != nil {
					return err
				}
				_, err := w.Write([]byte("tail"))
				return err
			}), 0)
			ours.Close()
			body := <-got
			f.Close()
			if whole := size <= int64(len(content)); whole != (err == nil) {
				t.Errorf("%s: %d bytes: %v", name, size, err)
			} else if want := "head" + string(content[:min(size, int64(len(content)))]) + "tail"; whole && string(body) != want {
				t.Errorf("%s: %d bytes: %d arrived, not %d", name, size, len(body), len(want))
			} else if broken := (*bodyError)(nil); !whole && !errors.As(err, &broken) {
				t.Errorf("%s: %d bytes: %v is not the body's fault", name, size, err)
			}
		}
	}
}

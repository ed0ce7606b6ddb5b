package blob

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lighter/oci"
)

// s3Server starts a small S3 server of the Go module proxy, and gives the address of a
// bucket in it.
func s3Server(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs a program")
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "gofakes3")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "github.com/johannesboyne/gofakes3/cmd/gofakes3")
	build.Dir, build.Env = "../testdata/s3", append(os.Environ(), "GOFLAGS=-mod=mod", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("the S3 server cannot be fetched: %s", out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := free.Addr().String()
	free.Close()
	ctx, stop := context.WithCancel(t.Context())
	server := exec.CommandContext(ctx, bin, "-host", host, "-backend", "memory", "-initialbucket", "hub", "-quiet")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = server.Wait() // killed
	})
	for begun := time.Now(); ; {
		if resp, err := http.Get("http://" + host); err == nil {
			resp.Body.Close()
			break
		} else if time.Since(begun) > 10*time.Second {
			t.Fatal(err)
		}
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	return "s3://hub/below/here?insecure=1&region=us-east-1&endpoint=" + host
}

func TestS3(t *testing.T) {
	address := s3Server(t)
	spool := t.TempDir()
	s, err := OpenS3(t.Context(), address, spool)
	if err != nil {
		t.Fatal(err)
	}
	exercise(t, s)
	if left, err := os.ReadDir(spool); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
	// Whoever has the address may read it.
	id, d := NewUpload(), oci.FromBytes([]byte("signed"))
	if _, err := s.Append(t.Context(), id, 0, strings.NewReader("signed")); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), id, d, 6); err != nil {
		t.Fatal(err)
	}
	u, err := s.URL(t.Context(), d, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(u)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); string(b) != "signed" || err != nil || !strings.Contains(u, "X-Amz-Signature=") {
		t.Errorf("%s: %q, %v", u, b, err)
	}
}

func TestS3Address(t *testing.T) {
	for _, address := range []string{"s3://", "http://x/y", "s3://b?nosuch=1", "s3://%zz"} {
		if _, err := OpenS3(t.Context(), address, t.TempDir()); err == nil {
			t.Errorf("%s is taken", address)
		}
	}
}

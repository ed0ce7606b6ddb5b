package blob

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"lighter/hub/hubtest"
	"lighter/oci"
)

func TestS3(t *testing.T) {
	address := hubtest.S3(t, "../hubtest")
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

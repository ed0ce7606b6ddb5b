package archive

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"
)

func TestDebian(t *testing.T) {
	path := os.Getenv("LIGHTER_TAR")
	if path == "" {
		t.Skip("LIGHTER_TAR names no tar")
	}
	tar, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		dir, err := os.MkdirTemp("/var/tmp", "lighter-archive")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		totals, err := Unpack(context.Background(), bytes.NewReader(tar), dir)
		if err != nil {
			t.Fatal(err)
		}
		unpacked := time.Now()
		var out bytes.Buffer
		out.Grow(len(tar))
		if err := Pack(context.Background(), dir, &out); err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v: unpack %v pack %v", totals, unpacked.Sub(start), time.Since(unpacked))
		if !bytes.Equal(out.Bytes(), tar) {
			t.Error("packed to other bytes")
		}
		os.RemoveAll(dir)
	}
}

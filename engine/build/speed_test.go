package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"lighter/api"
)

// TestSpeed tells how long copies take: LIGHTER_SPEED=files go test -run Speed -v.
func TestSpeed(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("LIGHTER_SPEED"))
	if err != nil {
		t.Skip("LIGHTER_SPEED is no number of files")
	}
	clock = time.Now
	b := newFileBench(t)
	data := make([]byte, 1000)
	for i := range n {
		copy(data, fmt.Sprint(i))
		dir := filepath.Join(b.dir, "src", fmt.Sprint(i/100))
		if i%100 == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b.write(t, "Dockerfile", "FROM scratch\nCOPY src /src\n")
	time.Sleep(2 * tickForSpeed)
	run := func(what string) {
		t.Helper()
		begun := time.Now()
		_, fail := b.build(t, api.BuildRequest{Names: []string{"x"}})
		if fail != nil {
			t.Fatal(fail.Message)
		}
		t.Logf("%-20s %v", what, time.Since(begun))
		for _, m := range b.told {
			if m.Progress == nil {
				continue
			}
			for _, v := range m.Progress.Vertexes {
				if v.Completed != nil && v.Started != nil && !v.Cached && v.Completed.Sub(*v.Started) > time.Millisecond {
					t.Logf("    %-40s %v (from %v)", v.Name, v.Completed.Sub(*v.Started).Round(time.Millisecond), v.Started.Sub(begun).Round(time.Millisecond))
				}
			}
		}
	}
	run("first")
	run("cached")
	run("cached")
	b.write(t, "src/0/0", "changed")
	run("one changed")
	b.write(t, "src/0/0", "changed again")
	run("one changed")
}

const tickForSpeed = 60 * time.Millisecond

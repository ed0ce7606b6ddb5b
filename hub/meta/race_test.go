package meta

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Several programs open a new database at one moment, as `serve` and `user add` in a script do.
func TestOpenTogether(t *testing.T) {
	if path := os.Getenv("META_OPEN"); path != "" {
		d, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Exec(t.Context(), `INSERT INTO blobs (digest, size, created, touched) VALUES (?, 1, 1, 1)`, NewID()); err != nil {
			t.Error(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		return
	}
	for range 3 {
		path := filepath.Join(t.TempDir(), "hub.db")
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				c := exec.Command(os.Args[0], "-test.run", "^TestOpenTogether$")
				c.Env = append(os.Environ(), "META_OPEN="+path)
				if out, err := c.CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
		wg.Wait()
	}
}

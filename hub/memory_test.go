package hub_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Uploads go through the hub's memory in pieces: 200 at once, of which each has begun before any goes
// on, take no more than a bound, whatever their length. `make bench` has the figure for 100 MB each.
func TestUploadsTakeNoMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("short: builds lighterhub and runs it")
	}
	const uploads, size, bound = 200, 2 << 20, 128 << 10 // bytes, kB
	p := start(t, filepath.Join(t.TempDir(), "hub"))
	user(t, filepath.Join(p.data, "hub.db"), "team", "correct horse battery")
	c := client{t, "team", "correct horse battery"}
	var at [uploads]string
	for i := range at {
		h, _ := c.do(202, "POST", p.url+"/v2/team/app/blobs/uploads/", "")
		at[i] = p.url + h.Get("Location")
	}
	// The most from now on: a password's hash took 64 MB before.
	must(t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0))
	rest := p.memory(t, "VmRSS:")
	var all, begun sync.WaitGroup
	begun.Add(uploads)
	for _, to := range at {
		all.Go(func() {
			pipe, body := io.Pipe()
			go func() {
				_, err := io.CopyN(body, zeros{}, size/2)
				begun.Done()
				begun.Wait()
				if err == nil {
					_, err = io.CopyN(body, zeros{}, size/2)
				}
				_ = body.CloseWithError(err)
			}()
			r, err := http.NewRequestWithContext(t.Context(), "PATCH", to, pipe)
			if err != nil {
				t.Error(err)
				return
			}
			r.ContentLength = size
			r.SetBasicAuth(c.name, c.word)
			resp, err := http.DefaultClient.Do(r)
			if err == nil {
				err = resp.Body.Close()
			}
			_ = pipe.Close() // so that a writer whose upload was refused ends
			if err != nil || resp.StatusCode != 202 {
				t.Error(resp, err)
			}
		})
	}
	all.Wait()
	if peak := p.memory(t, "VmHWM:"); peak-rest > bound {
		t.Errorf("%d uploads of %d bytes took %d kB more than the %d kB before", uploads, size, peak-rest, rest)
	} else {
		t.Logf("%d kB more than the %d kB before", peak-rest, rest)
	}
}

// memory gives a value of /proc/PID/status, in kB.
func (p *process) memory(t *testing.T, what string) (kB int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	must(t, err)
	_, after, ok := strings.Cut(string(text), what)
	if _, err := fmt.Sscan(after, &kB); !ok || err != nil {
		t.Fatal(what, err)
	}
	return kB
}

package distribution

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"lighter/oci"
)

// Many at once do not get more than one after the other would.
func TestQuotaTogether(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Quota = 1000 })
	var all sync.WaitGroup
	var half, taken, full = make(chan struct{}), make(chan bool, 10), 0
	var ready sync.WaitGroup
	ready.Add(10)
	go func() { ready.Wait(); close(half) }()
	for i := range 10 {
		text := strings.Repeat(string(rune('a'+i)), 300)
		all.Go(func() {
			in, out := io.Pipe()
			go func() {
				io.WriteString(out, text[:100])
				ready.Done()
				<-half // all are under way
				io.WriteString(out, text[100:])
				out.Close()
			}()
			r, err := http.NewRequestWithContext(t.Context(), "POST", w.url+"/v2/a/b/blobs/uploads/?digest="+string(oci.FromBytes([]byte(text))), in)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != 201 && resp.StatusCode != 403 {
				t.Error(resp.Status)
			}
			taken <- resp.StatusCode == 201
		})
	}
	all.Wait()
	close(taken)
	for ok := range taken {
		if !ok {
			full++
		}
	}
	if n := w.count(`SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM blobs`); n > 1000 || full < 7 {
		t.Errorf("%d bytes are kept, %d were refused", n, full)
	}
	if n := w.count(`SELECT count(*) FROM uploads`) + w.files("uploads"); n != 0 {
		t.Error(n, "uploads are left")
	}
}

// Manifests count, too.
func TestQuotaOfManifests(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Quota = 1000 })
	index := `{"schemaVersion":2,"mediaType":"` + oci.MediaIndex + `","manifests":[],"annotations":{"x":"` + strings.Repeat("y", 600) + `"}}`
	w.want(201, "PUT", "/v2/a/b/manifests/one", index)
	if a := w.want(403, "PUT", "/v2/a/b/manifests/two", strings.Replace(index, "yy", "zz", 1)); a.code() != "DENIED" {
		t.Error(a)
	}
	if n := w.count(`SELECT count(*) FROM uploads`) + w.files("uploads"); n != 0 {
		t.Error(n, "uploads are left")
	}
}

// Nobody opens uploads without end.
func TestOpenUploads(t *testing.T) {
	w := newWorld(t, nil)
	var first string
	for range maxOpen {
		first = w.want(202, "POST", "/v2/a/b/blobs/uploads/", "").Get("Location")
	}
	if a := w.want(429, "POST", "/v2/a/b/blobs/uploads/", ""); a.code() != "TOOMANYREQUESTS" || a.Get("Retry-After") == "" {
		t.Error(a)
	}
	w.want(202, "POST", "/v2/a/c/blobs/uploads/", "")
	w.want(204, "DELETE", first, "")
	w.want(202, "POST", "/v2/a/b/blobs/uploads/", "")
	c, err := w.g.Collect(t.Context(), Grace{Uploads: -1, Blobs: 1 << 40})
	if err != nil || c.Uploads != maxOpen+1 {
		t.Error(c, err)
	}
}

package hub_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"lighter/hub/hubtest"
	"lighter/oci"
)

// postgres starts a cluster of the test's own, of Debian's package, and gives its address.
func postgres(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("short: starts a PostgreSQL")
	}
	bins, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(bins) == 0 {
		t.Skip("needs PostgreSQL: apt-get install postgresql")
	}
	if os.Getuid() != 0 {
		t.Skip("PostgreSQL wants a user of its own, which only root can become")
	}
	dir, err := os.MkdirTemp("/tmp", "hubpg") // its socket's path has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	as := func(args ...string) *exec.Cmd {
		return exec.Command("runuser", append([]string{"-u", "postgres", "--"}, args...)...)
	}
	if out, err := exec.Command("chown", "postgres", dir).CombinedOutput(); err != nil {
		t.Skipf("there is no user postgres: %s", out)
	}
	bin, data := bins[len(bins)-1], filepath.Join(dir, "data")
	if out, err := as(bin+"/initdb", "-D", data, "-A", "trust", "-U", "hub", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ctl := func(verb string) {
		// On a socket only: no port to quarrel about.
		cmd := as(bin+"/pg_ctl", "-D", data, "-w", "-m", "immediate", "-l", dir+"/log", "-o", "-k "+dir+" -h '' -F", verb)
		if err := cmd.Run(); err != nil { // whose output the server keeps: not to be waited for
			log, _ := os.ReadFile(dir + "/log")
			t.Fatalf("%s: %v: %s", verb, err, log)
		}
	}
	ctl("start")
	t.Cleanup(func() { ctl("stop") })
	return "postgres://hub@/postgres?host=" + dir
}

// client speaks to hubs as one user, by basic credentials.
type client struct {
	t          *testing.T
	name, word string
}

// do makes a request that is answered with the status.
func (c client) do(status int, method, url, body string) (http.Header, string) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.SetBasicAuth(c.name, c.word)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != status {
		c.t.Errorf("%s %s: %d, not %d: %s", method, url, resp.StatusCode, status, b)
	}
	return resp.Header, string(b)
}

// sentTo gives where an address sends the client instead of answering; empty for one that answers.
func (c client) sentTo(url string) string {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), "GET", url, nil)
	must(c.t, err)
	r.SetBasicAuth(c.name, c.word)
	resp, err := http.DefaultTransport.RoundTrip(r) // which follows nothing
	must(c.t, err)
	must(c.t, resp.Body.Close())
	return resp.Header.Get("Location")
}

// Two hubs on one PostgreSQL and one S3 store, as behind a balancer that never sends two
// requests to the same one.
func TestTwoHubs(t *testing.T) {
	database, storage := postgres(t), hubtest.S3(t, "hubtest")
	dir := t.TempDir()
	var hubs [2]*process
	var both sync.WaitGroup
	for i := range hubs { // at once: both want to make the tables
		both.Go(func() {
			hubs[i] = start(t, filepath.Join(dir, fmt.Sprint(i)), "--db", database, "--storage", storage, "--redirect", "1m")
		})
	}
	both.Wait()
	if t.Failed() {
		t.FailNow()
	}
	a, b := hubs[0].url, hubs[1].url
	user(t, database, "team", "correct horse battery")
	c := client{t, "team", "correct horse battery"}
	text := strings.Repeat("0123456789abcdef", 4096)
	layer := oci.Descriptor{MediaType: oci.MediaLayer, Digest: oci.FromBytes([]byte(text)), Size: int64(len(text))}
	// An upload goes on at the other hub with each chunk, with its hash.
	h, _ := c.do(202, "POST", a+"/v2/team/app/blobs/uploads/", "")
	h, _ = c.do(202, "PATCH", b+h.Get("Location"), text[:20000])
	h, _ = c.do(202, "PATCH", a+h.Get("Location"), text[20000:50000])
	c.do(201, "PUT", b+h.Get("Location")+"?digest="+string(layer.Digest), text[50000:])
	at := "/v2/team/app/blobs/" + string(layer.Digest)
	if _, got := c.do(200, "GET", a+at, ""); got != text {
		t.Error("the blob came back otherwise")
	}
	// It came from the store itself, by an address that anybody may ask for a minute, without our password.
	if to := c.sentTo(b + at); strings.HasPrefix(to, b) || !strings.Contains(to, "X-Amz-Expires=60&") || !strings.Contains(to, "X-Amz-Signature=") {
		t.Errorf("sent to %q", to)
	} else if status, got := get(t, to); status != 200 || got != text {
		t.Errorf("%s: %d, %d bytes", to, status, len(got))
	}
	var last [2]string
	for i, to := range []string{a, b} { // a tag that is pushed anew at the other hub
		m := oci.Manifest{SchemaVersion: 2, MediaType: oci.MediaManifest, Config: layer, Layers: []oci.Descriptor{layer}, Annotations: map[string]string{"n": fmt.Sprint(i)}}
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		c.do(201, "PUT", to+"/v2/team/app/manifests/v1", string(raw))
		for j, from := range []string{b, a} {
			if _, last[j] = c.do(200, "GET", from+"/v2/team/app/manifests/v1", ""); last[j] != string(raw) {
				t.Errorf("push %d, hub %d: %s", i, j, last[j])
			}
		}
	}
	d := string(oci.FromBytes([]byte(last[0])))
	c.do(202, "DELETE", a+"/v2/team/app/manifests/"+d, "")
	c.do(404, "GET", b+"/v2/team/app/manifests/"+d, "") // though it has it in memory
	if _, tags := c.do(200, "GET", b+"/v2/team/app/tags/list", ""); !strings.Contains(tags, `"tags":[]`) {
		t.Error(tags)
	}
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	out, err := tool(t.Context(), dir, nil, bin, "gc", "--data", filepath.Join(dir, "0"), "--db", database, "--storage", storage, "--blobs-after", "0s")
	if err != nil || !strings.Contains(out, "Removed 1 blobs") { // the deleted manifest, and none of what the other one needs
		t.Error(out, err)
	}
}

// The conformance tests against PostgreSQL and S3.
func TestConformanceShared(t *testing.T) {
	database, storage := postgres(t), hubtest.S3(t, "hubtest")
	conformance(t, start(t, filepath.Join(t.TempDir(), "hub"), "--db", database, "--storage", storage), database)
}

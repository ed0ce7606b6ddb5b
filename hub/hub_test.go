package hub_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"lighter/hub/account"
	"lighter/hub/meta"
)

// program builds lighterhub once for all tests.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "lighterhub")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "lighterhub")
	out, err := exec.Command("go", "build", "-o", bin, "lighter/cmd/lighterhub").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if bin, err := program(); err == nil {
		_ = os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

// process is a lighterhub that serves.
type process struct {
	url, data string
	cmd       *exec.Cmd
	ended     chan error
}

// start runs `lighterhub serve` on a port that is free, until the test ends.
func start(t *testing.T, data string, args ...string) *process {
	t.Helper()
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{data: data, ended: make(chan error, 1)}
	p.cmd = exec.Command(bin, append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0"}, args...)...)
	log, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	up := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(log)
		for lines.Scan() {
			if _, after, ok := strings.Cut(lines.Text(), "lighterhub is up\" address="); ok {
				address, _, _ := strings.Cut(after, " ")
				up <- address
			}
			fmt.Fprintln(t.Output(), lines.Text())
		}
		close(up)
		p.ended <- p.cmd.Wait()
	}()
	address, ok := <-up
	if !ok {
		t.Fatalf("lighterhub did not come up: %v", <-p.ended)
	}
	p.url = "http://" + address
	t.Cleanup(func() { p.stop(t) })
	return p
}

// stop ends the hub as systemd does.
func (p *process) stop(t *testing.T) {
	if p.ended == nil {
		return
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if err := <-p.ended; err != nil {
		t.Error("lighterhub ended:", err)
	}
	p.ended = nil
}

// user makes an account, while the hub serves.
func user(t *testing.T, database, name, password string) {
	t.Helper()
	db, err := meta.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	accounts, err := account.New(t.Context(), db, account.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := accounts.Users.Add(t.Context(), account.Shell(), name, password); err != nil {
		t.Fatal(err)
	}
}

// get asks an address, and gives the answer's status and body.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// tool runs a program to its end.
func tool(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.String(), err
}

// The OCI's conformance tests, whole: nothing of them is turned off, and what is off by
// default because registries need not do it is turned on as far as this one does it.
func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("short: builds two programs and runs them")
	}
	p := start(t, filepath.Join(t.TempDir(), "hub"))
	conformance(t, p, filepath.Join(p.data, "hub.db"))
}

func conformance(t *testing.T, p *process, database string) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "conformance")
	out, err := tool(t.Context(), "testdata/conformance", []string{"GOFLAGS=-mod=mod", "CGO_ENABLED=0"}, "go", "build", "-o", bin, "github.com/opencontainers/distribution-spec/conformance")
	if err != nil {
		t.Skip("the conformance tests cannot be fetched: ", out)
	}
	user(t, database, "conformance", "correct horse battery")
	results := filepath.Join(dir, "results")
	out, err = tool(t.Context(), dir, []string{
		"OCI_REGISTRY=" + strings.TrimPrefix(p.url, "http://"), "OCI_TLS=disabled", "OCI_RESULTS_DIR=" + results, "OCI_VERSION=1.1",
		"OCI_REPO1=conformance/repo1", "OCI_REPO2=conformance/repo2", "OCI_USERNAME=conformance", "OCI_PASSWORD=correct horse battery",
		"OCI_API_BLOBS_DIGEST_HEADER=true", "OCI_API_BLOBS_UPLOAD_CANCEL=true", "OCI_API_MANIFESTS_DIGEST_HEADER=true", "OCI_API_MANIFESTS_TAG_PARAM=true",
	}, bin)
	if err != nil {
		t.Fatal(out, err)
	}
	report, err := os.ReadFile(filepath.Join(results, "junit.xml"))
	if err != nil {
		t.Fatal(err)
	}
	tests, failed := bytes.Count(report, []byte("<testcase")), bytes.Count(report, []byte("<failure"))+bytes.Count(report, []byte("<error"))
	if tests < 500 || failed > 0 {
		t.Errorf("%d tests, %d failed:\n%s", tests, failed, out)
	}
	if strings.Contains(out, ":       Skip") {
		t.Errorf("the hub does not do what it could:\n%s", out)
	}
	t.Logf("%d tests, %d failed", tests, failed)
}

func TestOperations(t *testing.T) {
	if testing.Short() {
		t.Skip("short: builds lighterhub and runs it")
	}
	p := start(t, filepath.Join(t.TempDir(), "hub"), "--log-level", "debug")
	if status, body := get(t, p.url+"/healthz"); status != 200 || body != "ok\n" {
		t.Error(status, body)
	}
	if status, body := get(t, p.url+"/v2/"); status != 401 || !strings.Contains(body, "UNAUTHORIZED") {
		t.Error(status, body)
	}
	if status, body := get(t, p.url+"/v2/../healthz/../x/manifests/y"); status < 400 {
		t.Error(status, body)
	}
	if status, body := get(t, p.url+"/v1/search?q=x"); status != 200 || !strings.Contains(body, `"results"`) {
		t.Error(status, body)
	}
	status, body := get(t, p.url+"/metrics")
	for _, line := range []string{`lighterhub_http_requests_total{kind="base",method="GET",status="401"} 1`, "lighterhub_blob_bytes 0", "go_goroutines ", "process_open_fds "} {
		if status != 200 || !strings.Contains(body, "\n"+line) {
			t.Errorf("%d, without %q:\n%s", status, line, body)
		}
	}
}

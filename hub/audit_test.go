package hub_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lighter/hub"
	"lighter/hub/distribution"
	"lighter/hub/meta"
	"lighter/oci"
	"lighter/registry"
)

// Who pushed, deleted, logged in and made tokens is written down, with where from.
func TestAudit(t *testing.T) {
	if testing.Short() {
		t.Skip("short: builds lighterhub and runs it")
	}
	bin, err := program()
	must(t, err)
	p := start(t, filepath.Join(t.TempDir(), "hub"))
	run := func(args ...string) string {
		t.Helper()
		out, err := tool(t.Context(), p.data, nil, bin, append(args, "--data", p.data)...)
		if err != nil {
			t.Fatal(args, out, err)
		}
		return out
	}
	user(t, filepath.Join(p.data, "hub.db"), "anna", "correct horse battery")
	secret := strings.TrimSpace(run("token", "add", "anna", "ci", "--scope", "delete:anna/*"))
	addr := strings.TrimPrefix(p.url, "http://")
	repo := registry.New(registry.Config{}).Repository(oci.Reference{Domain: addr, Path: "anna/app"}, registry.Credentials{Username: "anna", Password: secret})
	raw := pushImage(t, repo, "v1", "a layer")
	c := client{t, "anna", "correct horse battery"}
	c.do(202, "DELETE", p.url+"/v2/anna/app/blobs/"+string(oci.FromBytes([]byte("a layer"))), "")
	c.do(202, "DELETE", p.url+"/v2/anna/app/manifests/v1", "")
	c.do(202, "DELETE", p.url+"/v2/anna/app/manifests/"+string(oci.FromBytes(raw)), "")
	client{t, "anna", "wrong"}.do(401, "GET", p.url+"/v2/", "")
	log := run("audit", "anna")
	lines := strings.Split(strings.TrimSpace(log), "\n")
	for i, want := range []string{"user.login.failed", "image.delete", "image.delete", "blob.delete", "user.login", "image.push", "user.login", "token.add", "user.add"} {
		if i+1 >= len(lines) || !strings.Contains(lines[i+1]+" ", " "+want+" ") {
			t.Fatalf("line %d is not of %s:\n%s", i+1, want, log)
		}
	}
	for _, want := range []string{"anna/app v1 " + string(oci.FromBytes(raw)), "127.0.0.1", "(shell)", "anna (token "} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in:\n%s", want, log)
		}
	}
	if strings.Contains(log, secret) || strings.Contains(log, "correct horse") {
		t.Error("the log holds a secret")
	}
}

// What was known about layers goes with them.
func TestCollectForgetsLayers(t *testing.T) {
	dir := t.TempDir()
	h, err := hub.Open(t.Context(), hub.Config{Data: dir})
	must(t, err)
	defer h.Close()
	db, err := meta.Open(t.Context(), filepath.Join(dir, "hub.db"))
	must(t, err)
	defer db.Close()
	_, err = db.Exec(t.Context(), `INSERT INTO layer_files (digest, files) VALUES ('sha256:gone', '')`)
	must(t, err)
	_, err = h.Collect(t.Context(), distribution.Grace{Blobs: time.Hour, Uploads: time.Hour})
	must(t, err)
	var n int
	must(t, db.QueryRow(t.Context(), `SELECT count(*) FROM layer_files`).Scan(&n))
	if n != 0 {
		t.Errorf("%d layers that are gone are known", n)
	}
}

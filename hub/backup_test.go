package hub_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lighter/hub"
	"lighter/oci"
)

// A backup of a hub that serves becomes another hub, with the same accounts and images.
func TestBackup(t *testing.T) {
	if testing.Short() {
		t.Skip("short: builds lighterhub and runs it")
	}
	dir := t.TempDir()
	p := start(t, filepath.Join(dir, "first"))
	user(t, filepath.Join(p.data, "hub.db"), "team", "correct horse battery")
	c := client{t, "team", "correct horse battery"}
	text := "a layer"
	layer := oci.Descriptor{MediaType: oci.MediaLayer, Digest: oci.FromBytes([]byte(text)), Size: int64(len(text))}
	c.do(201, "POST", p.url+"/v2/team/app/blobs/uploads/?digest="+string(layer.Digest), text)
	raw, err := json.Marshal(oci.Manifest{SchemaVersion: 2, MediaType: oci.MediaManifest, Config: layer, Layers: []oci.Descriptor{layer}})
	if err != nil {
		t.Fatal(err)
	}
	c.do(201, "PUT", p.url+"/v2/team/app/manifests/v1", string(raw))
	c.do(202, "POST", p.url+"/v2/team/app/blobs/uploads/", "") // left open
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "backup.tar")
	if out, err := tool(t.Context(), dir, nil, bin, "backup", "--data", p.data, file); err != nil || !strings.Contains(out, "2 blobs") {
		t.Fatal(out, err)
	}
	second := filepath.Join(dir, "second")
	if out, err := tool(t.Context(), dir, nil, bin, "restore", "--data", second, file); err != nil || !strings.Contains(out, "2 blobs") {
		t.Fatal(out, err)
	}
	if out, err := tool(t.Context(), dir, nil, bin, "restore", "--data", second, file); err == nil || !strings.Contains(out, "is a hub already") {
		t.Error(out, err)
	}
	q := start(t, second)
	if _, got := c.do(200, "GET", q.url+"/v2/team/app/manifests/v1", ""); got != string(raw) {
		t.Error(got)
	}
	if _, got := c.do(200, "GET", q.url+"/v2/team/app/blobs/"+string(layer.Digest), ""); got != text {
		t.Error(got)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*", "backup-*")); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
	// A byte that changed, an end that is missing, a file that is something else.
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"changed": bytes.Replace(whole, []byte(text), []byte("A layer"), 1), "short": whole[:len(whole)-2000], "other": []byte("hello"), "empty": nil,
	} {
		into := filepath.Join(dir, name)
		if _, err := hub.Restore(t.Context(), hub.Config{Data: into}, bytes.NewReader(bad)); err == nil {
			t.Errorf("the backup that is %s was taken", name)
		}
		if _, err := os.Stat(filepath.Join(into, "hub.db")); err == nil {
			t.Errorf("the backup that is %s became a hub", name)
		}
	}
}

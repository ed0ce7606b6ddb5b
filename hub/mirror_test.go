package hub_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lighter/hub"
	"lighter/hub/distribution"
	"lighter/hub/hubtest"
	"lighter/oci"
	"lighter/registry"
)

// foreign is Debian's docker-registry with an image in it, team/app:v1.
type foreign struct {
	addr  string
	layer string
	cmd   *exec.Cmd
}

func startForeign(t *testing.T) *foreign {
	t.Helper()
	if testing.Short() {
		t.Skip("short: builds lighterhub and runs it")
	}
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("needs docker-registry: apt-get install docker-registry")
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	f := &foreign{addr: free.Addr().String(), layer: strings.Repeat("a foreign layer ", 1<<16)}
	must(t, free.Close())
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	must(t, os.WriteFile(config, fmt.Appendf(nil, "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: %q}\n", dir, f.addr), 0o600))
	f.cmd = exec.Command(program, "serve", config)
	must(t, f.cmd.Start())
	t.Cleanup(f.stop)
	hubtest.Answers(t, http.DefaultClient, "http://"+f.addr+"/v2/")
	f.push(t, "team/app", "v1", f.layer)
	return f
}

// stop takes it away.
func (f *foreign) stop() {
	_ = f.cmd.Process.Kill()
	_ = f.cmd.Wait() // killed
}

func (f *foreign) push(t *testing.T, name, tag, layer string) {
	t.Helper()
	repo := registry.New(registry.Config{}).Repository(oci.Reference{Domain: f.addr, Path: name}, registry.Credentials{})
	pushImage(t, repo, tag, layer)
}

// pushImage pushes an image of one layer, and gives its manifest.
func pushImage(t *testing.T, repo *registry.Repository, tag, layer string) []byte {
	t.Helper()
	m := oci.Manifest{SchemaVersion: 2, MediaType: oci.MediaManifest}
	put := func(media, text string) oci.Descriptor {
		d := oci.Descriptor{MediaType: media, Digest: oci.FromBytes([]byte(text)), Size: int64(len(text))}
		_, _, err := repo.Push(t.Context(), registry.Upload{Want: d, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }})
		must(t, err)
		return d
	}
	m.Config, m.Layers = put(oci.MediaConfig, fmt.Sprintf(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[%q]}}`, oci.FromBytes([]byte(layer)))), []oci.Descriptor{put(oci.MediaLayer, layer)}
	raw, err := json.Marshal(m)
	must(t, err)
	_, err = repo.PutManifest(t.Context(), tag, m.MediaType, raw)
	must(t, err)
	return raw
}

// pullAll pulls an image as our client does, and gives its first layer.
func pullAll(t *testing.T, addr, name, tag string, creds registry.Credentials) (string, error) {
	t.Helper()
	repo := registry.New(registry.Config{Attempts: 1}).Repository(oci.Reference{Domain: addr, Path: name}, creds)
	_, raw, err := repo.Manifest(t.Context(), tag)
	if err != nil {
		return "", err
	}
	m, _, err := oci.ParseManifest(raw)
	must(t, err)
	var first bytes.Buffer
	for _, d := range append(m.Layers, m.Config) {
		b, err := repo.Blob(t.Context(), d, 0, nil)
		if err != nil {
			return "", err
		}
		to := io.Writer(io.Discard)
		if d.Digest == m.Layers[0].Digest {
			to = &first
		}
		if _, err := io.Copy(to, b); err != nil {
			return "", err
		}
		must(t, b.Close())
	}
	return first.String(), nil
}

// An image of Debian's docker-registry is pulled through the hub, by two hubs that share a
// database and an object store, and once more when that registry is gone.
func TestMirrorOfForeign(t *testing.T) {
	for name, shared := range map[string]bool{"folder": false, "shared": true} {
		t.Run(name, func(t *testing.T) {
			f, dir := startForeign(t), t.TempDir()
			args := []string{"--mirror", "far=http://" + f.addr, "--mirror-fresh", "0s"}
			if shared {
				args = append(args, "--db", postgres(t), "--storage", hubtest.S3(t, "hubtest"))
			}
			hubs := []*process{start(t, filepath.Join(dir, "a"), args...)}
			if shared {
				hubs = append(hubs, start(t, filepath.Join(dir, "b"), args...))
			}
			for _, away := range []bool{false, true} {
				if away {
					f.stop()
				}
				for _, h := range hubs {
					layer, err := pullAll(t, strings.TrimPrefix(h.url, "http://"), "far/team/app", "v1", registry.Credentials{})
					if err != nil || layer != f.layer {
						t.Errorf("away %v: %d bytes, %v", away, len(layer), err)
					}
				}
			}
			if status, body := get(t, hubs[0].url+"/u/far"); status != 200 || !strings.Contains(body, "far/team/app") {
				t.Error(status, body)
			}
			if status, body := get(t, hubs[0].url+"/r/far/team/app"); status != 200 || !strings.Contains(body, "Mirrored from another registry") {
				t.Error(status, body)
			}
		})
	}
}

// mirrorHub is a hub in this process that mirrors a registry, with the users anna and bob.
func mirrorHub(t *testing.T, m hub.Mirrors) (url string) {
	t.Helper()
	dir := t.TempDir()
	h, err := hub.Open(t.Context(), hub.Config{Data: dir, Mirrors: m})
	must(t, err)
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		server.Close()
		must(t, h.Close())
	})
	for _, name := range []string{"anna", "bob"} {
		user(t, filepath.Join(dir, "hub.db"), name, "correct horse battery")
	}
	return server.URL
}

// Who pulls from a mirror, and that nobody pushes to it or takes its name.
func TestMirrorRights(t *testing.T) {
	f := startForeign(t)
	remote, err := distribution.NewRemote("http://"+f.addr, "")
	must(t, err)
	anna, nobody := registry.Credentials{Username: "anna", Password: "correct horse battery"}, registry.Credentials{}
	for _, c := range []struct {
		what, below, image string
		private            bool
	}{
		{"below a name", "far", "far/team/app", false},
		{"below a name, for members", "far", "far/team/app", true},
		{"all names", "", "team/app", false},
		{"all names, for members", "", "team/app", true},
	} {
		t.Run(c.what, func(t *testing.T) {
			url := mirrorHub(t, hub.Mirrors{Of: map[string]*distribution.Remote{c.below: remote}, Fresh: time.Hour, Private: c.private})
			addr := strings.TrimPrefix(url, "http://")
			for range 2 { // when it is not here yet, and when it is
				if layer, err := pullAll(t, addr, c.image, "v1", anna); err != nil || layer != f.layer {
					t.Error(len(layer), err)
				}
				if _, err := pullAll(t, addr, c.image, "v1", nobody); registry.Denied(err) != c.private {
					t.Error("nobody:", err)
				}
			}
			if status, body := get(t, url+"/v2/"+c.image+"/manifests/v1"); (status == 401) != c.private {
				t.Error(status, body)
			}
			_, found := get(t, url+"/v1/search?q=app")
			if strings.Contains(found, c.image) == c.private {
				t.Error(found)
			}
			if c.below == "" && !c.private { // as engines use it that are told --registry-mirror
				mirrored := registry.New(registry.Config{Mirrors: []string{url}}).Repository(oci.Reference{Domain: "docker.io", Path: "team/app"}, nobody)
				if _, raw, err := mirrored.Manifest(t.Context(), "v1"); err != nil || len(raw) == 0 {
					t.Error(err)
				}
			}
			if _, page := get(t, url+"/"); strings.Contains(page, `href="/signup"`) != (c.below != "") {
				t.Error("who may sign up:", page)
			}
			as := client{t, "anna", "correct horse battery"}
			as.do(403, "POST", url+"/v2/"+c.image+"/blobs/uploads/", "")
			as.do(403, "PUT", url+"/v2/"+c.image+"/manifests/v1", "{}")
			as.do(403, "DELETE", url+"/v2/"+c.image+"/manifests/v1", "")
			as.do(202, "POST", url+"/v2/anna/own/blobs/uploads/", "") // what is hers is hers
			// What is somebody's here is never asked for there.
			f.push(t, "bob/secret", "v1", "not bob's")
			if c.below == "" {
				if _, err := pullAll(t, addr, "bob/secret", "v1", anna); err == nil {
					t.Error("a name of bob's led to another registry")
				}
			}
		})
	}
}

// A name that is somebody's already cannot be another registry's.
func TestMirrorNameTaken(t *testing.T) {
	remote, err := distribution.NewRemote("http://127.0.0.1:1", "")
	must(t, err)
	dir := t.TempDir()
	user(t, filepath.Join(dir, "hub.db"), "far", "correct horse battery")
	h, err := hub.Open(t.Context(), hub.Config{Data: dir, Mirrors: hub.Mirrors{Of: map[string]*distribution.Remote{"far": remote}}})
	if err == nil || !strings.Contains(err.Error(), "is an account's") {
		t.Error(err)
		must(t, h.Close())
	}
}

// A hub mirrors another hub's private repository by an access token, for its own users alone.
func TestMirrorWithLogin(t *testing.T) {
	if testing.Short() {
		t.Skip("short: builds lighterhub and runs it with other clients")
	}
	bin, err := program()
	must(t, err)
	dir := t.TempDir()
	a := start(t, filepath.Join(dir, "a"))
	user(t, filepath.Join(a.data, "hub.db"), "anna", word)
	addr := strings.TrimPrefix(a.url, "http://")
	layer := strings.Repeat("private ", 1000)
	pushImage(t, registry.New(registry.Config{}).Repository(oci.Reference{Domain: addr, Path: "anna/app"}, registry.Credentials{Username: "anna", Password: word}), "v1", layer)
	secret, err := tool(t.Context(), dir, nil, bin, "token", "add", "anna", "mirror", "--scope", "read:anna/*", "--data", a.data)
	must(t, err)
	t.Setenv("LIGHTERHUB_MIRROR_LOGINS", "elsewhere.example=x:y "+addr+"=anna:"+strings.TrimSpace(secret))
	b := start(t, filepath.Join(dir, "b"), "--mirror", "near=http://"+addr+"/anna", "--mirror-private", "--mirror-fresh", "0s")
	user(t, filepath.Join(b.data, "hub.db"), "bob", word)
	near, bob := strings.TrimPrefix(b.url, "http://"), registry.Credentials{Username: "bob", Password: word}
	if _, err := pullAll(t, near, "near/app", "v1", registry.Credentials{}); !registry.Denied(err) {
		t.Error("nobody pulls what is private:", err)
	}
	if got, err := pullAll(t, near, "near/app", "v1", bob); err != nil || got != layer {
		t.Error(len(got), err)
	}
	// The token is taken away there: nothing new comes, and what is here is not shown by its tag.
	c := client{t, "anna", word}
	_, list := c.do(200, "GET", a.url+"/v1/tokens", "")
	_, id, _ := strings.Cut(list, `"id":"`)
	id, _, _ = strings.Cut(id, `"`)
	c.do(204, "DELETE", a.url+"/v1/tokens/"+id, "")
	if _, err := pullAll(t, near, "near/app", "v1", bob); !registry.NotFound(err) {
		t.Error("the other hub shows it no more:", err)
	}
}

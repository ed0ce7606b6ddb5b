package hub_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lighter/oci"
	"lighter/registry"
)

// shell runs programs in a folder, with what they need to say who they are.
type shell struct {
	*testing.T
	dir string
	env []string
}

// run runs a command that succeeds, and gives what it prints.
func (s shell) run(in string, args ...string) string {
	s.Helper()
	out, err := s.try(in, args...)
	if err != nil {
		s.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

func (s shell) try(in string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Dir, c.Env, c.Stdin = s.dir, append(os.Environ(), s.env...), strings.NewReader(in)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.String(), err
}

const word = "correct horse battery"

// clientHub is a hub with a user and, in team's public app, an image.
func clientHub(t *testing.T) (addr string, creds registry.Credentials, raw []byte, p *process) {
	t.Helper()
	if testing.Short() {
		t.Skip("short: builds lighterhub and runs it with other clients")
	}
	p = start(t, filepath.Join(t.TempDir(), "hub"))
	user(t, filepath.Join(p.data, "hub.db"), "anna", word)
	addr, creds = strings.TrimPrefix(p.url, "http://"), registry.Credentials{Username: "anna", Password: word}
	raw = pushImage(t, registry.New(registry.Config{}).Repository(oci.Reference{Domain: addr, Path: "anna/app"}, creds), "v1", strings.Repeat("a layer ", 1000))
	bin, err := program()
	must(t, err)
	if out, err := tool(t.Context(), p.data, nil, bin, "repo", "public", "anna/app", "--data", p.data); err != nil {
		t.Fatal(out, err)
	}
	return addr, creds, raw, p
}

// digest asks the hub for a tag's.
func digest(t *testing.T, addr, name, tag string, creds registry.Credentials) oci.Digest {
	t.Helper()
	d, err := registry.New(registry.Config{}).Repository(oci.Reference{Domain: addr, Path: name}, creds).Stat(t.Context(), tag)
	must(t, err)
	return d.Digest
}

// Debian's skopeo logs in, looks, copies from the hub, to it and within it, signs nothing
// off that is not there, and deletes.
func TestSkopeo(t *testing.T) {
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("needs skopeo: apt-get install skopeo")
	}
	addr, creds, raw, p := clientHub(t)
	s := shell{T: t, dir: t.TempDir()}
	auth := "--authfile=" + filepath.Join(s.dir, "auth.json")
	if out, err := s.try("wrong", "skopeo", "login", auth, "--tls-verify=false", "-u", "anna", "--password-stdin", addr); err == nil {
		t.Error("a wrong password:", out)
	}
	s.run(word, "skopeo", "login", auth, "--tls-verify=false", "-u", "anna", "--password-stdin", addr)
	ref := "docker://" + addr + "/anna/"
	if out := s.run("", "skopeo", "inspect", "--raw", "--tls-verify=false", ref+"app:v1"); out != string(raw) { // nobody, as it is public
		t.Error(out)
	}
	if out := s.run("", "skopeo", "list-tags", auth, "--tls-verify=false", ref+"app"); !strings.Contains(out, `"v1"`) {
		t.Error(out)
	}
	s.run("", "skopeo", "copy", auth, "--preserve-digests", "--src-tls-verify=false", ref+"app:v1", "oci:"+filepath.Join(s.dir, "layout")+":v1")
	s.run("", "skopeo", "copy", auth, "--preserve-digests", "--dest-tls-verify=false", "oci:"+filepath.Join(s.dir, "layout")+":v1", ref+"copy:v1")
	s.run("", "skopeo", "copy", auth, "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false", ref+"app:v1", ref+"again:v1")
	s.run("", "skopeo", "copy", auth, "--format=v2s2", "--src-tls-verify=false", "--dest-tls-verify=false", ref+"app:v1", ref+"docker:v1")
	for _, name := range []string{"copy", "again"} {
		if d := digest(t, addr, "anna/"+name, "v1", creds); d != oci.FromBytes(raw) {
			t.Errorf("%s has the digest %s", name, d)
		}
	}
	if layer, err := pullAll(t, addr, "anna/docker", "v1", creds); err != nil || !strings.HasPrefix(layer, "a layer ") {
		t.Error(err)
	}
	if out, err := s.try("", "skopeo", "inspect", "--raw", "--tls-verify=false", ref+"copy:v1"); err == nil {
		t.Error("nobody reads what is private:", out)
	}
	s.run("", "skopeo", "delete", auth, "--tls-verify=false", ref+"copy:v1")
	if out, err := s.try("", "skopeo", "inspect", auth, "--raw", "--tls-verify=false", ref+"copy:v1"); err == nil {
		t.Error("deleted:", out)
	}
	// The hub's folder is an image layout, which can be read without the hub.
	p.stop(t)
	if out := s.run("", "skopeo", "inspect", "--raw", "oci:"+p.data+":anna/app:v1"); out != string(raw) {
		t.Error(out)
	}
	s.run("", "skopeo", "copy", "oci:"+p.data+":anna/app:v1", "dir:"+filepath.Join(s.dir, "alone"))
}

// The real docker client logs in, pushes, pulls and searches, by the engine that PEER names.
func TestDocker(t *testing.T) {
	peer := os.Getenv("PEER")
	if peer == "" {
		t.Skip("PEER=unix://… names no Docker to try")
	}
	addr, creds, raw, _ := clientHub(t)
	s := shell{T: t, dir: t.TempDir()}
	docker := func(in string, args ...string) (string, error) {
		return s.try(in, append([]string{"docker", "-H", peer, "--config", filepath.Join(s.dir, "config")}, args...)...)
	}
	must(t, os.Mkdir(filepath.Join(s.dir, "config"), 0o700))
	ok := func(in string, args ...string) string {
		t.Helper()
		out, err := docker(in, args...)
		if err != nil {
			t.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return out
	}
	names := []string{addr + "/anna/app:v1", addr + "/anna/pushed:v1"}
	t.Cleanup(func() { _, _ = docker("", append([]string{"rmi", "-f"}, names...)...) }) // what is there of them
	if out, err := docker("wrong", "login", "-u", "anna", "--password-stdin", addr); err == nil || !strings.Contains(out, "incorrect username or password") {
		t.Error(out, err)
	}
	if out := ok(word, "login", "-u", "anna", "--password-stdin", addr); !strings.Contains(out, "Login Succeeded") {
		t.Error(out)
	}
	kept, err := os.ReadFile(filepath.Join(s.dir, "config", "config.json"))
	must(t, err)
	if bytes.Contains(kept, []byte("password")) || !bytes.Contains(kept, []byte(addr)) {
		t.Errorf("%s", kept)
	}
	// An image of Docker's making goes there and comes back.
	busybox, err := os.ReadFile("/var/tmp/lighter-cache/busybox.tar")
	if err != nil {
		t.Skip("there is no root file system to make an image of: ", err)
	}
	ok(string(busybox), "import", "-", names[1])
	out := ok("", "push", names[1])
	d := digest(t, addr, "anna/pushed", "v1", creds)
	if !strings.Contains(out, "v1: digest: "+string(d)) {
		t.Error(out)
	}
	if out := ok("", "push", names[1]); !strings.Contains(out, "Layer already exists") {
		t.Error(out)
	}
	ok("", "rmi", names[1])
	if out := ok("", "pull", names[1]); !strings.Contains(out, "Digest: "+string(d)) {
		t.Error(out)
	}
	ok("", "rmi", names[1])
	ok("", "pull", addr+"/anna/pushed@"+string(d))
	ok("", "rmi", addr+"/anna/pushed@"+string(d))
	// One that has no such layer is refused by Docker for what is in it, not by the hub.
	if out, err := docker("", "pull", names[0]); err == nil || !strings.Contains(out, "Pulling from anna/app") {
		t.Error(out, err, oci.FromBytes(raw))
	}
	for query, want := range map[string]string{"app": "anna/app", "pushed": "anna/pushed", "nothinglikeit": ""} {
		out := ok("", "search", "--format", "{{.Name}}", addr+"/"+query)
		if got := strings.TrimSpace(out); got != want && got != addr+"/"+want {
			t.Errorf("search %s: %q", query, got)
		}
	}
	ok("", "logout", addr)
	if out := ok("", "search", "--format", "{{.Name}}", addr+"/pushed"); strings.TrimSpace(out) != "" {
		t.Error("nobody finds what is private:", out)
	}
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"lighter/oci"
	"lighter/registry"
)

// serveHub starts a server, and waits until it answers.
func serveHub(ctx context.Context, s *hubSide, dir string, args ...string) error {
	log, err := os.Create(filepath.Join(dir, s.name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.url, s.cmd = "http://"+s.addr, exec.Command("setpriv", append([]string{"--pdeathsig", "KILL"}, args...)...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			return resp.Body.Close()
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("%s does not answer: %w: %s", s.name, err, text)
		}
	}
}

// startHub starts ours, with a user and with a large blob.
func startHub(ctx context.Context, bin, dir string) (*hubSide, error) {
	program, data := filepath.Join(bin, "lighterhub"), filepath.Join(dir, "hub")
	add := exec.CommandContext(ctx, program, "user", "add", hubUser, "--data", data, "--password-stdin")
	add.Stdin = strings.NewReader(hubWord)
	if out, err := add.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make a user: %w: %s", err, out)
	}
	s := &hubSide{name: "lighter", addr: hubAddr, creds: registry.Credentials{Username: hubUser, Password: hubWord}}
	if err := serveHub(ctx, s, dir, program, "serve", "--data", data, "--listen", hubAddr, "--log-level", "warn"); err != nil {
		return nil, err
	}
	d, err := fillHub(ctx, s)
	if err != nil {
		s.stop()
		return nil, err
	}
	s.path = "/v2/" + hubUser + "/large/blobs/" + string(d)
	token, err := s.token(ctx, hubUser+"/large")
	s.header = "Authorization: Bearer " + token + "\r\n"
	return s, err
}

// startHubPeer starts what a row is measured beside: Debian's packages, which are unpacked
// when they are not installed. An installed nginx would serve by itself.
func startHubPeer(ctx context.Context, kind, dir string, hub *hubSide) (*hubSide, error) {
	if kind == "docker-registry" {
		s := &hubSide{name: kind, addr: peerAddr}
		config := filepath.Join(dir, "registry.yml")
		text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", filepath.Join(dir, "registry"), peerAddr)
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			return nil, err
		}
		return s, serveHub(ctx, s, dir, "docker-registry", "serve", config)
	}
	program, err := exec.LookPath("nginx")
	if err != nil {
		script := `cd "$1" && apt-get download -qq nginx >/dev/null && dpkg -x nginx_*.deb nginx-root`
		if out, err := exec.CommandContext(ctx, "sh", "-c", script, "sh", dir).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("get nginx: %w: %s", err, out)
		}
		program = filepath.Join(dir, "nginx-root/usr/sbin/nginx")
	}
	_, hex, _ := strings.Cut(hub.path, "sha256:")
	s := &hubSide{name: "nginx", addr: nginxAddr, path: "/" + hex}
	config := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off; user root; worker_processes auto; pid %[1]s/nginx.pid; error_log stderr;
events { worker_connections 1024; }
http { access_log off; sendfile on; tcp_nopush on; sendfile_max_chunk 0; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
server { listen %[2]s; root %[1]s/hub/blobs/sha256; } }`, dir, nginxAddr)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return s, serveHub(ctx, s, dir, program, "-c", config, "-p", dir)
}

// token asks the hub for one, for all that may be done with a repository.
func (s *hubSide) token(ctx context.Context, repo string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/token?scope=repository:"+repo+":pull,push", nil)
	if err != nil {
		return "", err
	}
	req.SetBasicAuth(s.creds.Username, s.creds.Password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct{ Token string }
	return answer.Token, json.NewDecoder(resp.Body).Decode(&answer)
}

// fillHub pushes a blob of blobBytes.
func fillHub(ctx context.Context, s *hubSide) (oci.Digest, error) {
	client := registry.New(registry.Config{})
	defer client.Close()
	repo := client.Repository(oci.Reference{Domain: s.addr, Path: hubUser + "/large"}, s.creds)
	open := func() (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(newNoise(), blobBytes)), nil
	}
	d, _, err := repo.Push(ctx, registry.Upload{Want: oci.Descriptor{MediaType: oci.MediaLayer, Size: -1}, Open: open})
	return d.Digest, err
}

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lighter/oci"
	"lighter/registry"
)

// The hub's rows need no engine: `lighterhub serve` on loopback, beside Debian's nginx, which
// serves the very file that the hub keeps, and beside Debian's docker-registry, which knows
// no users. The hub knows who asks in all of them: each request shows a token.

const (
	hubAddr    = "127.0.0.1:28600"
	nginxAddr  = "127.0.0.1:28601"
	peerAddr   = "127.0.0.1:28602"
	hubUser    = "bench"
	hubWord    = "correct horse battery"
	blobBytes  = 1 << 30
	uploads    = 200 // at once
	uploadSize = 100 << 20
)

// hubSide is a server that a row asks.
type hubSide struct {
	name, url, addr string
	creds           registry.Credentials
	cmd             *exec.Cmd
	path            string // of the large blob
	header          string // what each request for it shows
}

func (s *hubSide) stop() {
	_ = s.cmd.Process.Signal(os.Interrupt)
	_ = s.cmd.Wait() // it was told to end
}

// hubRow is one thing that the hub does, and a peer, too.
type hubRow struct {
	name string
	goal float64
	runs int
	peer string // nginx or registry
	once func(context.Context, *hubSide) error
}

var hubRows = []hubRow{
	{"hub: GET a blob of 1 GB, beside nginx", 0.8, 5, "nginx", fetchBlobs(1)},
	{"hub: GET a blob of 1 GB by 8 clients, beside nginx", 0.8, 3, "nginx", fetchBlobs(8)},
	{"hub: 50 pushes of 10 small layers at once, beside docker-registry", 3, 5, "registry", pushMany},
}

// hubFigures measures the hub.
func hubFigures(ctx context.Context, bin, cache, only string, scale float64) (figures []figure, err error) {
	names := []string{"hub: manifests", "hub: 200 uploads of 100 MB at once"}
	for _, r := range hubRows {
		names = append(names, r.name)
	}
	if !wanted(strings.Join(names, " "), only) {
		return nil, nil
	}
	dir, err := os.MkdirTemp(cache, "bench-hub-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	hub, err := startHub(ctx, bin, dir)
	if err != nil {
		return nil, err
	}
	defer hub.stop()
	sides := map[string]*hubSide{}
	for _, r := range hubRows {
		if !wanted(r.name, only) {
			continue
		}
		if sides[r.peer] == nil {
			if sides[r.peer], err = startHubPeer(ctx, r.peer, dir, hub); err != nil {
				return figures, err
			}
			defer sides[r.peer].stop()
		}
		f, err := r.measure(ctx, []*hubSide{hub, sides[r.peer]}, scale)
		if err != nil {
			return figures, fmt.Errorf("%s: %w", r.name, err)
		}
		figures = append(figures, f)
	}
	for i, do := range []func(context.Context, *hubSide) (string, error){manifestRate, uploadMany} {
		name := names[i]
		if !wanted(name, only) {
			continue
		}
		detail, err := do(ctx, hub)
		if err != nil {
			return figures, fmt.Errorf("%s: %w", name, err)
		}
		figures = append(figures, figure{Row: name, Detail: detail})
	}
	return figures, nil
}

func (r hubRow) measure(ctx context.Context, sides []*hubSide, scale float64) (figure, error) {
	times := make([][]float64, len(sides))
	for run := range max(3, int(float64(r.runs)*scale)) + 1 {
		for i, s := range sides {
			began := time.Now()
			if err := r.once(ctx, s); err != nil {
				return figure{}, fmt.Errorf("%s: %w", s.name, err)
			}
			if run > 0 { // the first fills caches
				times[i] = append(times[i], time.Since(began).Seconds())
			}
		}
	}
	f := figure{Row: r.name, Goal: r.goal, Ours: spreadOf(times[0]), Peer: spreadOf(times[1])}
	f.Ratio = f.Peer.Median / f.Ours.Median
	return f, nil
}

// serveHub starts a server, and waits until it answers.
func serveHub(ctx context.Context, s *hubSide, dir string, args ...string) error {
	log, err := os.Create(filepath.Join(dir, s.name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.url, s.cmd = "http://"+s.addr, exec.Command(args[0], args[1:]...)
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
	s := &hubSide{name: "hub", addr: hubAddr, creds: registry.Credentials{Username: hubUser, Password: hubWord}}
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
	if kind == "registry" {
		s := &hubSide{name: "docker-registry", addr: peerAddr}
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

// noise is a megabyte of random bytes over and over; the first eight are of each its own.
type noise struct {
	b  []byte
	at int
}

var megabyte = sync.OnceValue(func() []byte {
	b := make([]byte, 1<<20)
	rand.Read(b)
	return b
})

var noises atomic.Uint64

func newNoise() *noise {
	first := fmt.Appendf(nil, "%08d", noises.Add(1))
	return &noise{b: first}
}

func (n *noise) Read(p []byte) (int, error) {
	if n.at == len(n.b) {
		n.b, n.at = megabyte(), 0
	}
	c := copy(p, n.b[n.at:])
	n.at += c
	return c, nil
}

// fetchBlobs has so many clients read the large blob.
func fetchBlobs(clients int) func(context.Context, *hubSide) error {
	return func(ctx context.Context, s *hubSide) error {
		errs := make([]error, clients)
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				w, err := dialWire(ctx, s.addr)
				if err == nil {
					err = errors.Join(w.fetch("GET "+s.path+" HTTP/1.1\r\nHost: "+s.addr+"\r\n"+s.header+"\r\n", blobBytes), w.c.Close())
				}
				errs[i] = err
			})
		}
		all.Wait()
		return errors.Join(errs...)
	}
}

// pushMany pushes 50 images at once, each of 10 layers of 4 KB and of a config of its own,
// as `lighter push` does: each blob is asked for, begun and sent, then the manifest.
func pushMany(ctx context.Context, s *hubSide) error {
	const clients, layers, size = 50, 10, 4 << 10
	client := registry.New(registry.Config{})
	defer client.Close()
	errs := make([]error, clients)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			repo := client.Repository(oci.Reference{Domain: s.addr, Path: fmt.Sprintf("%s/small%d", hubUser, i)}, s.creds)
			errs[i] = pushSmall(ctx, repo, layers, size)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func pushSmall(ctx context.Context, repo *registry.Repository, layers, size int) error {
	m := oci.Manifest{SchemaVersion: 2, MediaType: oci.MediaManifest}
	put := func(kind string, size int) (oci.Descriptor, error) {
		b := make([]byte, size)
		rand.Read(b)
		d := oci.Descriptor{MediaType: kind, Digest: oci.FromBytes(b), Size: int64(size)}
		has, err := repo.Has(ctx, d.Digest)
		if err == nil && has {
			err = errors.New("the registry has what nobody sent")
		}
		if err == nil {
			_, _, err = repo.Push(ctx, registry.Upload{Want: d, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }})
		}
		return d, err
	}
	var err error
	for range layers {
		var d oci.Descriptor
		if d, err = put(oci.MediaLayer, size); err != nil {
			return err
		}
		m.Layers = append(m.Layers, d)
	}
	if m.Config, err = put(oci.MediaConfig, 500); err != nil {
		return err
	}
	raw, err := json.Marshal(m)
	if err == nil {
		_, err = repo.PutManifest(ctx, "latest", m.MediaType, raw)
	}
	return err
}

// manifestRate asks for manifests by tag and by digest, for two seconds each, from 32
// connections; the clients' work is on the same processors.
func manifestRate(ctx context.Context, s *hubSide) (string, error) {
	client := registry.New(registry.Config{})
	defer client.Close()
	const clients, images, span = 32, 20, 2 * time.Second
	var requests [2][]string
	for i := range images {
		name := fmt.Sprintf("%s/some%d", hubUser, i)
		repo := client.Repository(oci.Reference{Domain: s.addr, Path: name}, s.creds)
		if err := pushSmall(ctx, repo, 5, 100); err != nil {
			return "", err
		}
		d, err := repo.Stat(ctx, "latest")
		if err != nil {
			return "", err
		}
		token, err := s.token(ctx, name)
		if err != nil {
			return "", err
		}
		for j, ref := range []string{"latest", string(d.Digest)} {
			requests[j] = append(requests[j], "GET /v2/"+name+"/manifests/"+ref+" HTTP/1.1\r\nHost: "+s.addr+"\r\nAccept: "+oci.MediaManifest+"\r\nAuthorization: Bearer "+token+"\r\n\r\n")
		}
	}
	var rates [2]float64
	for j := range rates {
		var done atomic.Int64
		errs := make([]error, clients)
		var all sync.WaitGroup
		until := time.Now().Add(span)
		for i := range clients {
			all.Go(func() {
				w, err := dialWire(ctx, s.addr)
				for n := i; err == nil && time.Now().Before(until); n++ {
					err = w.fetch(requests[j][n%images], -1)
					done.Add(1)
				}
				if w != nil {
					err = errors.Join(err, w.c.Close())
				}
				errs[i] = err
			})
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			return "", err
		}
		rates[j] = float64(done.Load()) / span.Seconds()
	}
	return fmt.Sprintf("%.0f/s by tag, %.0f/s by digest (goal 5000), on %d processors with the clients", rates[0], rates[1], runtime.NumCPU()), nil
}

// uploadMany has uploads of uploadSize go on all at once, and gives what the hub held in memory.
func uploadMany(ctx context.Context, s *hubSide) (string, error) {
	rest, err := status(s.cmd.Process.Pid, "VmRSS:")
	if err != nil {
		return "", err
	}
	token, err := s.token(ctx, hubUser+"/uploads")
	if err != nil {
		return "", err
	}
	// The most from now on: a log-in's hash took 64 MB before.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.cmd.Process.Pid), []byte("5"), 0); err != nil {
		return "", err
	}
	began := time.Now()
	errs := make([]error, uploads)
	var all, started sync.WaitGroup
	started.Add(uploads)
	for i := range uploads {
		all.Go(func() { errs[i] = s.upload(ctx, token, &started) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	took := time.Since(began).Seconds()
	peak, err := status(s.cmd.Process.Pid, "VmHWM:")
	return fmt.Sprintf("%.0f MB resident before, %.0f MB at the most meanwhile; %.0f s, %.0f MB/s", rest, peak, took, float64(uploads*uploadSize)/1e6/took), err
}

// upload sends one, of which the first megabyte is there before the second of any other comes.
func (s *hubSide) upload(ctx context.Context, token string, started *sync.WaitGroup) error {
	do := func(method, to string, body io.Reader, size int64, want int) (string, error) {
		req, err := http.NewRequestWithContext(ctx, method, to, body)
		if err != nil {
			return "", err
		}
		req.ContentLength = size
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != want {
			return "", errors.Join(err, fmt.Errorf("%s %s: %s: %s", method, to, resp.Status, text))
		}
		return s.url + resp.Header.Get("Location"), nil
	}
	to, err := do(http.MethodPost, s.url+"/v2/"+hubUser+"/uploads/blobs/uploads/", nil, 0, http.StatusAccepted)
	if err != nil {
		started.Done()
		return err
	}
	all := newNoise()
	first := &once{r: io.LimitReader(all, 1<<20), done: func() { started.Done(); started.Wait() }}
	if to, err = do(http.MethodPatch, to, io.MultiReader(first, io.LimitReader(all, uploadSize-1<<20)), uploadSize, http.StatusAccepted); err != nil {
		return err
	}
	_, err = do(http.MethodDelete, to, nil, 0, http.StatusNoContent) // what is measured has been there
	return err
}

// once tells when its reader has ended.
type once struct {
	r    io.Reader
	done func()
}

func (o *once) Read(p []byte) (int, error) {
	n, err := o.r.Read(p)
	if errors.Is(err, io.EOF) && o.done != nil {
		o.done()
		o.done = nil
	}
	return n, err
}

// status gives a line of /proc/PID/status, in MB.
func status(pid int, line string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(text), line)
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0, fmt.Errorf("no %s of process %d", line, pid)
	}
	kb, err := strconv.ParseFloat(fields[0], 64)
	return kb / 1000, err
}

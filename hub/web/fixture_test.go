package web

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"lighter/hub/account"
	"lighter/hub/hubtest"
	"lighter/hub/meta"
	"lighter/hub/search"
	"lighter/oci"
	"lighter/page"
)

// memory keeps blobs for a test.
type memory struct {
	mu  sync.Mutex
	all map[oci.Digest][]byte
}

type blob struct{ *bytes.Reader }

func (blob) Close() error { return nil }

func (m *memory) Open(_ context.Context, d oci.Digest) (io.ReadSeekCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.all[d]
	if !ok {
		return nil, errors.New("no such blob")
	}
	return blob{bytes.NewReader(b)}, nil
}

// hub is a hub with pages for a test.
type hub struct {
	t     *testing.T
	db    *meta.DB
	acc   *account.Accounts
	blobs *memory
	site  *Site
	url   string
}

func newHub(t *testing.T) *hub {
	ctx, cancel := context.WithCancel(context.Background())
	h := &hub{t: t, blobs: &memory{all: map[oci.Digest][]byte{}}}
	var err error
	if h.db, err = meta.Open(ctx, hubtest.Database(t, t.TempDir())); err != nil {
		t.Fatal(err)
	}
	if h.acc, err = account.New(ctx, h.db, account.Options{Cost: account.Cost{Memory: 64, Passes: 1, Threads: 1}}); err != nil {
		t.Fatal(err)
	}
	find, err := search.New(ctx, h.db, h.acc, nil)
	if err != nil {
		t.Fatal(err)
	}
	if h.site, err = New(Config{DB: h.db, Accounts: h.acc, Search: find, Blobs: h.blobs, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}); err != nil {
		t.Fatal(err)
	}
	h.site.patience = time.Minute
	mux := http.NewServeMux()
	for pattern, handler := range h.site.Handlers() {
		mux.Handle(pattern, handler)
	}
	server := httptest.NewServer(mux)
	h.url = server.URL
	ran := make(chan struct{})
	go func() { h.site.Run(ctx); close(ran) }()
	t.Cleanup(func() {
		server.Close()
		cancel()
		<-ran
		if err := h.db.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *hub) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *hub) exec(query string, args ...any) {
	h.t.Helper()
	_, err := h.db.Exec(h.t.Context(), query, args...)
	h.must(err)
}

// user makes an account whose password is "correct horse".
func (h *hub) user(name string) account.Identity {
	h.t.Helper()
	h.must(h.acc.Users.Add(h.t.Context(), account.Shell(), name, "correct horse"))
	return account.Identity{User: name}
}

// repo makes a repository.
func (h *hub) repo(name string, public bool, description, readme string) int64 {
	h.t.Helper()
	id, n := meta.NewID(), 0
	if public {
		n = 1
	}
	now := meta.Micros(time.Now())
	h.exec(`INSERT INTO repositories (id, name, owner, public, description, readme, created, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		id, name, account.OwnerOf(name), n, description, readme, now, now)
	return id
}

// put keeps a blob for a repository.
func (h *hub) put(repo int64, media string, b []byte) oci.Descriptor {
	h.t.Helper()
	d := oci.FromBytes(b)
	h.blobs.mu.Lock()
	h.blobs.all[d] = b
	h.blobs.mu.Unlock()
	h.exec(`INSERT INTO blobs (digest, size, created, touched) VALUES (?, ?, 1, 1) ON CONFLICT (digest) DO NOTHING`, d, len(b))
	h.exec(`INSERT INTO repo_blobs (repo, digest, touched) VALUES (?, ?, 1) ON CONFLICT (repo, digest) DO NOTHING`, repo, d)
	return oci.Descriptor{MediaType: media, Digest: d, Size: int64(len(b))}
}

// push keeps a manifest, and a tag for it unless that is empty.
func (h *hub) push(repo int64, tag, media string, doc any) oci.Descriptor {
	h.t.Helper()
	raw, err := json.Marshal(doc)
	h.must(err)
	d, now := oci.FromBytes(raw), meta.Micros(time.Now())
	h.exec(`INSERT INTO manifests (repo, digest, media_type, size, raw, pushed) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (repo, digest) DO NOTHING`,
		repo, d, media, len(raw), string(raw), now)
	if tag != "" {
		h.exec(`INSERT INTO tags (repo, name, digest, updated, by_user) VALUES (?, ?, ?, ?, 'ada')`, repo, tag, d, now)
	}
	return oci.Descriptor{MediaType: media, Digest: d, Size: int64(len(raw))}
}

// layerDef is a step of a test's image: what it says, and the files that it has; none for
// an empty one.
type layerDef struct {
	by    string
	files []string // path=content, or path->target
	form  string   // "", gzip, zstd
}

func (l layerDef) bytes(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range l.files {
		h := &tar.Header{Typeflag: tar.TypeReg, Mode: 0o644}
		name, content, _ := strings.Cut(f, "=")
		if from, to, ok := strings.Cut(f, "->"); ok {
			h.Typeflag, name, h.Linkname = tar.TypeSymlink, from, to
			content = ""
		}
		h.Name, h.Size = name, int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, content)
	}
	w.Close()
	var out bytes.Buffer
	switch l.form {
	case "gzip":
		z := gzip.NewWriter(&out)
		z.Write(b.Bytes())
		z.Close()
	case "zstd":
		z, _ := zstd.NewWriter(&out)
		z.Write(b.Bytes())
		z.Close()
	default:
		return b.Bytes()
	}
	return out.Bytes()
}

// image pushes an image of these steps.
func (h *hub) image(repo int64, tag, arch string, config map[string]any, steps ...layerDef) oci.Descriptor {
	h.t.Helper()
	m := oci.Manifest{SchemaVersion: 2, MediaType: oci.MediaManifest}
	var history []map[string]any
	var diffs []oci.Digest
	for _, s := range steps {
		history = append(history, map[string]any{"created_by": s.by, "empty_layer": s.files == nil})
		if s.files != nil {
			b := s.bytes(h.t)
			m.Layers = append(m.Layers, h.put(repo, oci.MediaLayer, b))
			diffs = append(diffs, oci.FromBytes(b))
		}
	}
	raw, err := json.Marshal(map[string]any{"architecture": arch, "os": "linux", "created": time.Now(), "config": config,
		"history": history, "rootfs": map[string]any{"type": "layers", "diff_ids": diffs}})
	h.must(err)
	m.Config = h.put(repo, oci.MediaConfig, raw)
	return h.push(repo, tag, oci.MediaManifest, m)
}

// browser is somebody's browser without JavaScript.
type browser struct {
	t *testing.T
	h *hub
	c *http.Client
}

func (h *hub) browser(t *testing.T) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, h, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// answer is a page.
type answer struct {
	status int
	head   http.Header
	body   string
}

func (b *browser) do(req *http.Request) answer {
	b.t.Helper()
	r, err := b.c.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{r.StatusCode, r.Header, string(body)}
}

func (b *browser) get(path string) answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), "GET", b.h.url+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(req)
}

var csrfOf = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// post sends a form as a page of ours has it: fields are name, value, name, value.
func (b *browser) post(path string, fields ...string) answer {
	b.t.Helper()
	form := url.Values{}
	if m := csrfOf.FindStringSubmatch(b.get("/").body); m != nil {
		form.Set("csrf", m[1])
	}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	req, err := http.NewRequestWithContext(b.t.Context(), "POST", b.h.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(req)
}

func (b *browser) login(name string) *browser {
	b.t.Helper()
	if a := b.post("/login", "name", name, "password", "correct horse"); a.status != http.StatusSeeOther {
		b.t.Fatalf("log in as %s: %d %s", name, a.status, a.problem())
	}
	return b
}

var problemOf = regexp.MustCompile(`(?s)<p class="problem" role="alert">(.*?)</p>`)

// problem is what the page says is wrong.
func (a answer) problem() string {
	if m := problemOf.FindStringSubmatch(a.body); m != nil {
		return m[1]
	}
	return ""
}

// has reports the texts that a page has not.
func (a answer) has(t *testing.T, what string, texts ...string) {
	t.Helper()
	for _, s := range texts {
		if !strings.Contains(a.body, s) {
			t.Errorf("%s (%d) has not %q\n%s", what, a.status, s, page.Clip(a.body, 6000))
		}
	}
}

// seed fills a hub: users ada and bob, the organisation team of ada's, public team/app with
// several tags, private team/secret, public ada/tool.
func seed(t *testing.T) *hub {
	h := newHub(t)
	ada := h.user("ada")
	h.user("bob")
	h.must(h.acc.Orgs.Create(t.Context(), ada, "team", "The Team", ""))
	app := h.repo("team/app", true, "A small web server in Go", sampleReadme)
	base := layerDef{"/bin/sh -c #(nop) ADD file:4b03b5f in / ", manyFiles(300), "gzip"}
	config := map[string]any{"Cmd": []string{"/bin/app", "--port", "8080"}, "Env": []string{"PATH=/usr/bin:/bin", "MODE=production"},
		"ExposedPorts": map[string]any{"8080/tcp": struct{}{}}, "Labels": map[string]string{"org.opencontainers.image.licenses": "MIT"}, "WorkingDir": "/srv", "User": "app"}
	one := []layerDef{base, {`/bin/sh -c #(nop)  CMD ["bash"]`, nil, ""},
		{"RUN /bin/sh -c apt-get update && apt-get install -y --no-install-recommends ca-certificates curl && rm -rf /var/lib/apt/lists/* # buildkit",
			[]string{"etc/ssl/cert.pem=" + strings.Repeat("cert", 5000), "usr/bin/curl=" + strings.Repeat("curl", 30000), "etc/file001.conf=changed", "var/.wh.cache="}, "zstd"},
		{"WORKDIR /srv", nil, ""},
		{"COPY app /bin/app # buildkit", []string{"bin/app=" + strings.Repeat("ELF1", 20000)}, ""}}
	h.image(app, "1.0", "amd64", config, one...)
	two := append([]layerDef{}, one...)
	two[4] = layerDef{"COPY app /bin/app # buildkit", []string{"bin/app=" + strings.Repeat("ELF2", 21000), "srv/index.html=<h1>hi</h1>"}, "gzip"}
	config["Env"] = []string{"PATH=/usr/bin:/bin", "MODE=debug"}
	amd := h.image(app, "2.0", "amd64", config, two...)
	arm := h.image(app, "", "arm64", config, two[:3]...)
	amd.Platform, arm.Platform = &oci.Platform{OS: "linux", Architecture: "amd64"}, &oci.Platform{OS: "linux", Architecture: "arm64"}
	note := oci.Descriptor{MediaType: oci.MediaManifest, Digest: oci.FromBytes([]byte("attestation")), Size: 1,
		Platform: &oci.Platform{OS: "unknown", Architecture: "unknown"}, Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest"}}
	h.push(app, "latest", oci.MediaIndex, oci.Index{SchemaVersion: 2, MediaType: oci.MediaIndex, Manifests: []oci.Descriptor{arm, amd, note}})
	chart := h.put(app, "application/vnd.cncf.helm.chart.content.v1.tar+gzip", []byte("chart"))
	chart.Annotations = map[string]string{"org.opencontainers.image.title": "chart.tgz"}
	h.push(app, "chart", oci.MediaManifest, oci.Manifest{SchemaVersion: 2, MediaType: oci.MediaManifest, Config: h.put(app, "application/vnd.cncf.helm.config.v1+json", []byte("{}")), Layers: []oci.Descriptor{chart}})
	h.image(h.repo("team/secret", false, "Nobody knows", ""), "latest", "amd64", nil, layerDef{"RUN x", []string{"plan=b"}, ""})
	h.repo("ada/tool", true, "A tool of Ada's", "")
	return h
}

func manyFiles(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("etc/file%03d.conf=%d", i, i))
	}
	return append(list, "bin/sh=#!", "bin/bash->sh", "var/cache/one=1", "var/cache/two=22")
}

const sampleReadme = `# The app

A small web server. It starts in *three* milliseconds and **never** sleeps.

## Use

` + "```sh\nlighter run -p 8080:8080 hub.example.org/team/app\n```" + `

| Variable | What it does | Default |
|----------|--------------|---------|
| ` + "`MODE`" + `   | how much it says | production |
| ` + "`PORT`" + `   | where it listens | 8080 |

- [x] serves files
- [ ] makes coffee

See [the manual](https://example.org/manual) and https://example.org/news.

> Small is beautiful.
`

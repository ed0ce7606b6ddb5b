// Package registry is a client of image registries: the OCI distribution specification
// 1.1 with Docker's ways of finding hosts and getting tokens.
//
// A registry is a stranger. Every answer is bounded, every blob is verified, a redirect
// takes no credentials to another host, and a peer that says nothing is not waited for.
// The package keeps nothing on disk: what a pull or a push means for images is
// engine/image's business.
package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"lighter/oci"
)

// Config is how registries are reached. The zero value reaches public ones.
type Config struct {
	Insecure  []string // hosts (with ports) or networks whose TLS is not verified and may be absent; loopback always is such
	Default   string   // the host (with its port) that names without a host lead to; empty for Docker Hub
	Mirrors   []string // URLs that Docker Hub's images are pulled from first
	CertsDir  string   // a folder a host, with ca.crt, client.cert and client.key; empty for none
	UserAgent string
	Proxy     func(*http.Request) (*url.URL, error)                                // nil: as the environment says
	Patience  time.Duration                                                        // how long a peer may say nothing; 0 for 30 s
	Dial      func(ctx context.Context, network, address string) (net.Conn, error) // nil: from where we are
	Attempts  int                                                                  // how often a request is made before its error is believed; 0 for 5
}

// Client is all registries that an engine talks to. It keeps connections, and tokens
// for as long as they are good.
type Client struct {
	cfg   Config
	pause time.Duration // the unit of waits between attempts

	mu    sync.Mutex
	hosts map[string]*host // by domain
}

// New gives a client.
func New(cfg Config) *Client {
	if cfg.Patience == 0 {
		cfg.Patience = 30 * time.Second
	}
	if cfg.Attempts <= 0 {
		cfg.Attempts = 5
	}
	if cfg.Proxy == nil {
		cfg.Proxy = http.ProxyFromEnvironment
	}
	return &Client{cfg: cfg, pause: 100 * time.Millisecond, hosts: map[string]*host{}}
}

// Close lets idle connections go.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.hosts {
		h.close()
	}
}

// Credentials are what a user logged in with; the zero value is nobody.
type Credentials struct {
	Username, Password string
	IdentityToken      string // a refresh token, in place of a password
	RegistryToken      string // a bearer token that is sent as it is
}

// Repository is one repository, as one user sees it.
type Repository struct {
	c      *Client
	domain string
	path   string
	creds  Credentials

	mu   sync.Mutex
	used *endpoint // the one that answered
}

// Repository gives the repository that ref names.
func (c *Client) Repository(ref oci.Reference, creds Credentials) *Repository {
	return &Repository{c: c, domain: ref.Domain, path: ref.Path, creds: creds}
}

// Limits on what a registry may send where all of it is read into memory, in bytes.
const (
	maxManifest = 4 << 20 // as the specification asks registries to take at least
	maxAnswer   = 1 << 20
)

// manifestTypes are those that can be read, the preferred ones first.
var manifestTypes = []string{oci.MediaIndex, oci.MediaManifest, oci.MediaDockerList, oci.MediaDockerManifest}

// Manifest fetches a manifest or an index by tag or digest, and verifies it where a
// digest is known. The descriptor's digest is that of the bytes.
func (r *Repository) Manifest(ctx context.Context, tag string) (oci.Descriptor, []byte, error) {
	resp, err := r.do(ctx, call{
		method: http.MethodGet, path: "manifests/" + tag, header: http.Header{"Accept": {strings.Join(manifestTypes, ", ")}},
	})
	if err != nil {
		return oci.Descriptor{}, nil, err
	}
	defer resp.Body.Close()
	raw, err := readAll(resp.Body, maxManifest)
	if err != nil {
		return oci.Descriptor{}, nil, fmt.Errorf("read manifest %s: %w", tag, err)
	}
	d := oci.Descriptor{MediaType: mediaType(resp.Header), Digest: oci.FromBytes(raw), Size: int64(len(raw))}
	want := oci.Digest(tag)
	if !want.Valid() {
		// A registry may name the bytes that it sends; if so, they must be those.
		want = oci.Digest(resp.Header.Get("Docker-Content-Digest"))
	}
	if want.Valid() && want.Algorithm() == "sha256" && want != d.Digest {
		return oci.Descriptor{}, nil, fmt.Errorf("manifest verification failed for digest %s: the registry sent %s", want, d.Digest)
	}
	if kind := d.MediaType; kind == "application/vnd.docker.distribution.manifest.v1+prettyjws" || kind == "application/vnd.docker.distribution.manifest.v1+json" {
		return d, nil, errors.New("the image is of manifest schema 1, which no registry should hold any more: its owner must push it again")
	}
	return d, raw, nil
}

// Stat asks for a manifest's descriptor without its bytes.
func (r *Repository) Stat(ctx context.Context, tag string) (oci.Descriptor, error) {
	resp, err := r.do(ctx, call{
		method: http.MethodHead, path: "manifests/" + tag, header: http.Header{"Accept": {strings.Join(manifestTypes, ", ")}},
	})
	if err != nil {
		return oci.Descriptor{}, err
	}
	resp.Body.Close()
	d := oci.Descriptor{MediaType: mediaType(resp.Header), Size: resp.ContentLength}
	if d.Digest, err = oci.ParseDigest(resp.Header.Get("Docker-Content-Digest")); err != nil {
		// The header is optional: then the bytes tell.
		d, _, err = r.Manifest(ctx, tag)
	}
	return d, err
}

// Tags lists all tags, over as many pages as there are.
func (r *Repository) Tags(ctx context.Context) ([]string, error) {
	const most, mostPages = 100_000, 10_000
	var tags []string
	pages := 0
	for path := "tags/list"; path != ""; {
		if pages++; pages > mostPages {
			return nil, fmt.Errorf("list the tags of %s: more than %d pages", r.path, mostPages)
		}
		resp, err := r.do(ctx, call{method: http.MethodGet, path: path})
		if err != nil {
			return nil, err
		}
		var page struct{ Tags []string }
		err = decode(resp, &page)
		if err != nil {
			return nil, fmt.Errorf("list the tags of %s: %w", r.path, err)
		}
		if tags = append(tags, page.Tags...); len(tags) > most {
			return nil, fmt.Errorf("list the tags of %s: more than %d", r.path, most)
		}
		path = next(resp, path)
	}
	return tags, nil
}

// next gives the address of the page after, from a Link header (RFC 8288): an absolute
// path, or a URL, which must be on the same host.
func next(resp *http.Response, now string) string {
	link, params, _ := strings.Cut(resp.Header.Get("Link"), ">")
	if link, ok := strings.CutPrefix(strings.TrimSpace(link), "<"); ok && strings.Contains(params, `rel="next"`) && link != now {
		if u, err := resp.Request.URL.Parse(link); err == nil && u.Host == resp.Request.URL.Host {
			return u.RequestURI()
		}
	}
	return ""
}

func mediaType(h http.Header) string {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.TrimSpace(kind)
}

// readAll reads what is at most max bytes long.
func readAll(r io.Reader, max int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, max+1))
	if err == nil && int64(len(b)) > max {
		err = fmt.Errorf("longer than %d bytes", max)
	}
	return b, err
}

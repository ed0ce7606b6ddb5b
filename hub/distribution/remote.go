package distribution

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"lighter/oci"
	"lighter/registry"
)

// Remote is a registry that is mirrored, as a client of it sees it.
type Remote struct {
	client *registry.Client
	creds  registry.Credentials
	domain string
	below  string // what its repositories' names begin with
}

// NewRemote gives the registry at a URL: https://HOST, http://HOST, with a path when only
// what is below it is mirrored. login is NAME:PASSWORD, or empty for nobody.
func NewRemote(address, login string) (*Remote, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is no registry's address: write https://HOST", address)
	}
	if u.User != nil {
		return nil, errors.New("an address with a password in it is seen by everybody on this machine: put NAME:PASSWORD into the environment")
	}
	below := strings.Trim(u.Path, "/")
	if below != "" && !validName(below) {
		return nil, fmt.Errorf("%q: %q is no beginning of repositories' names", address, below)
	}
	cfg := registry.Config{UserAgent: "lighterhub", Patience: 15 * time.Second, Attempts: 2}
	if u.Scheme == "http" {
		cfg.Insecure = []string{u.Host}
	}
	r := &Remote{client: registry.New(cfg), domain: u.Host, below: below}
	if name, word, ok := strings.Cut(login, ":"); ok {
		r.creds = registry.Credentials{Username: name, Password: word}
	}
	switch r.domain {
	case "index.docker.io", "registry-1.docker.io", "hub.docker.com":
		r.domain = dockerHub
	}
	return r, nil
}

const dockerHub = "docker.io"

// repo is a repository there.
func (r *Remote) repo(name string) *registry.Repository {
	if r.below != "" {
		name = r.below + "/" + name
	}
	if r.domain == dockerHub && !strings.Contains(name, "/") {
		name = "library/" + name
	}
	return r.client.Repository(oci.Reference{Domain: r.domain, Path: name}, r.creds)
}

func (r *Remote) stat(ctx context.Context, name, ref string) (oci.Descriptor, error) {
	return r.repo(name).Stat(ctx, ref)
}

func (r *Remote) manifest(ctx context.Context, name, ref string) (oci.Descriptor, []byte, error) {
	return r.repo(name).Manifest(ctx, ref)
}

// blob gives bytes that are verified while they are read: who reads to their end has those of d.
func (r *Remote) blob(ctx context.Context, name string, d oci.Descriptor) (io.ReadCloser, error) {
	return r.repo(name).Blob(ctx, d, 0, nil)
}

func (r *Remote) tags(ctx context.Context, name string) ([]string, error) {
	return r.repo(name).Tags(ctx)
}

func (r *Remote) referrers(ctx context.Context, name string, d oci.Digest) ([]byte, error) {
	return r.repo(name).Referrers(ctx, d)
}

// missing reports whether the other registry says that there is nothing.
func missing(err error) bool { return registry.NotFound(err) }

// gone reports whether the other registry says that there is nothing, or nothing for us.
func gone(err error) bool { return registry.NotFound(err) || registry.Denied(err) }

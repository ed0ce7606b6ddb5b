package image

import (
	"context"
	"net"
	"net/http"
	"strings"
	"time"

	"lighter/api"
	"lighter/oci"
)

// reachTime bounds the question whether a registry is there.
const reachTime = 15 * time.Second

// Pull asks the image's registry whether it speaks the distribution protocol, as every
// pull begins (`GET /v2/`), so that a registry that is not there is told in the words
// that clients know. Fetching is to come: a registry that answers is refused
// (NotImplemented).
func (i *Images) Pull(ctx context.Context, ref oci.Reference) error {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, registryURL(ref.Domain)+"/v2/", nil)
	if err != nil {
		return api.Errorf(api.Invalid, "registry of %s: %w", ref.Familiar(), err)
	}
	// Nothing is to follow, so a connection is not kept, nor a redirect followed.
	client := http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return api.Errorf(api.Internal, "%w", err)
	}
	resp.Body.Close()
	return api.Errorf(api.NotImplemented, "pulling an image from a registry is not built yet in lighter %s", api.Release)
}

// registryURL is where a domain's registry is: Docker Hub's has a name of its own, and
// those of this machine need no TLS.
func registryURL(domain string) string {
	if domain == "docker.io" {
		return "https://registry-1.docker.io"
	}
	host := domain
	if h, _, err := net.SplitHostPort(domain); err == nil {
		host = h
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return "http://" + domain
	}
	return "https://" + domain
}

// PullReference makes the name that a pull asks for; tag may be a digest.
func PullReference(name, tag string) (oci.Reference, error) {
	if tag != "" {
		separator := ":"
		if strings.Contains(tag, ":") {
			separator = "@"
		}
		name += separator + tag
	}
	ref, err := oci.ParseReference(name)
	if err != nil {
		return ref, api.Errorf(api.Invalid, "%w", err)
	}
	return ref, nil
}

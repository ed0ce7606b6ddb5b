package main

import (
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/net/http/httpproxy"

	"lighter/api"
	"lighter/registry"
)

// registryConfig is how the engine meets registries.
type registryConfig struct {
	Insecure  []string `json:"insecure-registries"`
	Mirrors   []string `json:"registry-mirrors"`
	Default   string   `json:"default-registry"`
	Downloads int      `json:"max-concurrent-downloads"`
	Uploads   int      `json:"max-concurrent-uploads"`
	Attempts  int      `json:"max-download-attempts"`
	CertsDir  string   `json:"certs-dir"`

	HTTPProxy  string `json:"http-proxy"`
	HTTPSProxy string `json:"https-proxy"`
	NoProxy    string `json:"no-proxy"`
}

// Where operators keep certificates of registries: ours, and Docker's when there is none.
const (
	ourCerts    = "/etc/lighter/certs.d"
	dockerCerts = "/etc/docker/certs.d"
)

func defaultRegistries() registryConfig {
	dir := ourCerts
	if _, err := os.Stat(dir); err != nil {
		dir = dockerCerts
	}
	return registryConfig{
		Downloads: 3, Uploads: 5, Attempts: 5, CertsDir: dir,
		HTTPProxy: os.Getenv("HTTP_PROXY"), HTTPSProxy: os.Getenv("HTTPS_PROXY"), NoProxy: os.Getenv("NO_PROXY"),
	}
}

func (c *registryConfig) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&c.Insecure, "insecure-registry", nil, "A registry (HOST:PORT or a network) that may do without verified TLS")
	f.StringArrayVar(&c.Mirrors, "registry-mirror", nil, "A URL that Docker Hub's images are pulled from first")
	f.StringVar(&c.Default, "default-registry", "", "The registry (HOST[:PORT]) that names without a host lead to, in place of Docker Hub")
	f.IntVar(&c.Downloads, "max-concurrent-downloads", c.Downloads, "Layers that come at a time")
	f.IntVar(&c.Uploads, "max-concurrent-uploads", c.Uploads, "Layers of an image that go up at a time")
	f.IntVar(&c.Attempts, "max-download-attempts", c.Attempts, "How often a download is tried that breaks")
	f.StringVar(&c.CertsDir, "certs-dir", c.CertsDir, "A folder with certificates of registries, in a folder each")
	f.StringVar(&c.HTTPProxy, "http-proxy", c.HTTPProxy, "The proxy for http:// URLs of registries")
	f.StringVar(&c.HTTPSProxy, "https-proxy", c.HTTPSProxy, "The proxy for https:// URLs of registries")
	f.StringVar(&c.NoProxy, "no-proxy", c.NoProxy, "Hosts that are reached without a proxy")
}

// registries is the configuration of the engine's client of registries, which asks them
// from the host's network.
func (c *config) registries() registry.Config {
	config := c.client()
	config.Dial = c.dial
	return config
}

// client is the configuration of the engine's client of registries.
func (c *registryConfig) client() registry.Config {
	proxy := (&httpproxy.Config{HTTPProxy: c.HTTPProxy, HTTPSProxy: c.HTTPSProxy, NoProxy: c.NoProxy}).ProxyFunc()
	return registry.Config{
		Insecure: c.Insecure, Mirrors: c.Mirrors, Default: c.Default, CertsDir: c.CertsDir, Attempts: c.Attempts,
		UserAgent: "lighter/" + api.Release,
		Proxy:     func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
	}
}

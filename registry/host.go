package registry

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Docker Hub is spoken of by one name and reached by another.
const (
	hub     = "docker.io"
	hubHost = "registry-1.docker.io"
)

// host is one registry: where its name leads.
type host struct {
	endpoints []*endpoint // in the order in which they are tried
	certs     string      // the certificates that it was made with, see certsMark
}

// close lets idle connections go.
func (h *host) close() {
	for _, e := range h.endpoints {
		e.http.CloseIdleConnections()
	}
}

// endpoint is one address of a registry.
type endpoint struct {
	base     url.URL // scheme and host, and a mirror's path
	mirror   bool    // for pulling alone
	insecure bool
	patience time.Duration // see Config
	http     *http.Client
	tokens   tokens
}

// host finds the endpoints of a domain.
func (c *Client) host(domain string) (*host, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := domain
	if domain == hub {
		name = cmp.Or(c.cfg.Default, hubHost)
	}
	certs := c.certsMark(name)
	if h := c.hosts[domain]; h != nil && h.certs == certs {
		return h, nil
	}
	if old := c.hosts[domain]; old != nil {
		old.close()
	}
	h := &host{certs: certs}
	if domain == hub && c.cfg.Default == "" {
		for _, m := range c.cfg.Mirrors {
			u, err := url.Parse(m)
			if err != nil || u.Host == "" {
				return nil, fmt.Errorf("registry mirror %q is not a URL", m)
			}
			e, err := c.endpoint(u.Scheme, u.Host, c.insecure(u.Host))
			if err != nil {
				return nil, err
			}
			e.base.Path, e.mirror = strings.TrimSuffix(u.Path, "/"), true
			h.endpoints = append(h.endpoints, e)
		}
	}
	insecure := c.insecure(name)
	schemes := []string{"https"}
	if insecure {
		schemes = append(schemes, "http")
	}
	for _, scheme := range schemes {
		e, err := c.endpoint(scheme, name, insecure)
		if err != nil {
			return nil, err
		}
		h.endpoints = append(h.endpoints, e)
	}
	c.hosts[domain] = h
	return h, nil
}

// certsMark changes when the certificates that the operator keeps for a host do: an engine need
// not be started again for them.
func (c *Client) certsMark(name string) string {
	if c.cfg.CertsDir == "" || !filepath.IsLocal(name) {
		return ""
	}
	files, err := os.ReadDir(filepath.Join(c.cfg.CertsDir, name))
	if err != nil {
		return ""
	}
	var mark strings.Builder
	for _, f := range files {
		if info, err := os.Stat(filepath.Join(c.cfg.CertsDir, name, f.Name())); err == nil {
			fmt.Fprintln(&mark, f.Name(), info.Size(), info.ModTime().UnixNano())
		}
	}
	return mark.String()
}

// insecure reports whether a host may be spoken to without verified TLS: those of
// this machine, and those that the operator named.
func (c *Client) insecure(name string) bool {
	bare := name
	if h, _, err := net.SplitHostPort(name); err == nil {
		bare = h
	}
	addr, err := netip.ParseAddr(strings.Trim(bare, "[]"))
	if bare == "localhost" || err == nil && addr.IsLoopback() {
		return true
	}
	return slices.ContainsFunc(c.cfg.Insecure, func(entry string) bool {
		if network, bad := netip.ParsePrefix(entry); bad == nil {
			return err == nil && network.Contains(addr)
		}
		return entry == name || entry == bare
	})
}

func (c *Client) endpoint(scheme, name string, insecure bool) (*endpoint, error) {
	secure, err := c.tls(name, insecure)
	if err != nil {
		return nil, err
	}
	dial := c.cfg.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: c.cfg.Patience, KeepAlive: c.cfg.Patience}).DialContext
	}
	e := &endpoint{base: url.URL{Scheme: scheme, Host: name}, insecure: insecure, patience: c.cfg.Patience}
	e.http = &http.Client{
		Transport: &http.Transport{
			Proxy: c.cfg.Proxy, TLSClientConfig: secure, ForceAttemptHTTP2: true,
			DialContext:           dial,
			TLSHandshakeTimeout:   c.cfg.Patience,
			ResponseHeaderTimeout: 2 * c.cfg.Patience, // an upload's end may take its time
			IdleConnTimeout:       90 * time.Second,
			MaxIdleConnsPerHost:   16, MaxResponseHeaderBytes: 1 << 20,
			DisableCompression: true, // blobs are compressed already, and are taken as they are
		},
		CheckRedirect: e.redirect,
	}
	return e, nil
}

// redirect follows to other hosts without our credentials, and never from TLS to none.
func (e *endpoint) redirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	first := via[0].URL
	if first.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("refused to follow a redirect from %s to %s: it would leave TLS", first.Host, req.URL.Redacted())
	}
	if req.URL.Host != first.Host || req.URL.Scheme != first.Scheme {
		req.Header.Del("Authorization")
		req.Header.Del("Cookie")
	}
	return nil
}

// tls reads the certificates that the operator keeps for a host, as Docker lays them
// out: *.crt are authorities, NAME.cert and NAME.key a certificate of ours.
func (c *Client) tls(name string, insecure bool) (*tls.Config, error) {
	config := &tls.Config{InsecureSkipVerify: insecure, MinVersion: tls.VersionTLS12}
	if c.cfg.CertsDir == "" || !filepath.IsLocal(name) {
		return config, nil
	}
	dir := filepath.Join(c.cfg.CertsDir, name)
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return config, nil
	}
	if err != nil {
		return nil, fmt.Errorf("certificates of %s: %w", name, err)
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		switch filepath.Ext(path) {
		case ".crt":
			if config.RootCAs == nil {
				if config.RootCAs, err = x509.SystemCertPool(); err != nil {
					return nil, fmt.Errorf("certificates of this machine: %w", err)
				}
			}
			pem, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("certificates of %s: %w", name, err)
			}
			if !config.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("certificates of %s: %s holds none", name, path)
			}
			config.InsecureSkipVerify = false // whoever gives an authority wants it asked
		case ".cert":
			key := strings.TrimSuffix(path, ".cert") + ".key"
			pair, err := tls.LoadX509KeyPair(path, key)
			if err != nil {
				return nil, fmt.Errorf("certificates of %s: %w", name, err)
			}
			config.Certificates = append(config.Certificates, pair)
		}
	}
	return config, nil
}

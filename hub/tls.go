package hub

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// TLSFiles gives TLS with a certificate from files, which are read again when they
// change: whoever renews them need not tell us.
func TLSFiles(certFile, keyFile string) (*tls.Config, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile}
	if _, err := c.get(nil); err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

type certificate struct {
	certFile, keyFile string
	mu                sync.Mutex
	looked, changed   time.Time
	is                *tls.Certificate
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	const every = 10 * time.Second
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.is != nil && time.Since(c.looked) < every {
		return c.is, nil
	}
	c.looked = time.Now()
	info, err := os.Stat(c.certFile)
	if err == nil && c.is != nil && info.ModTime().Equal(c.changed) {
		return c.is, nil
	}
	pair, loaded := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	switch {
	case loaded == nil && err == nil:
		c.is, c.changed = &pair, info.ModTime()
	case c.is == nil:
		return nil, loaded
	}
	return c.is, nil // half of a renewal: the old one is still good
}

// Authority is an ACME server that certificates come from.
type Authority struct {
	Hosts     []string // that it is asked for
	Email     string   // that it may write to; may be empty
	Directory string   // its URL; empty for Let's Encrypt
	Cache     string   // a folder for its certificates and our account
}

// TLSACME gives TLS with certificates that are fetched when they are first needed, and
// renewed. The authority has to reach the hub at port 443 (TLS-ALPN-01).
func TLSACME(a Authority) *tls.Config {
	m := &autocert.Manager{Prompt: autocert.AcceptTOS, HostPolicy: autocert.HostWhitelist(a.Hosts...), Cache: autocert.DirCache(a.Cache), Email: a.Email}
	if a.Directory != "" {
		m.Client = &acme.Client{DirectoryURL: a.Directory}
	}
	c := m.TLSConfig()
	c.MinVersion = tls.VersionTLS12
	return c
}

package hub

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
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

package hub_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lighter/hub/hubtest"
)

// certificate writes a certificate of its own authority for a host, and its key.
func certificate(t *testing.T, dir, host string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), DNSNames: []string{host}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// hello shakes hands with a hub, and gives the name of who issued its certificate.
func hello(p *process, host string) (issuer string, err error) {
	c, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "http://"), &tls.Config{ServerName: host, InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		return "", err
	}
	defer c.Close()
	state := c.ConnectionState()
	if state.NegotiatedProtocol != "h2" {
		return "", fmt.Errorf("protocol %q", state.NegotiatedProtocol)
	}
	return state.PeerCertificates[0].Issuer.CommonName, state.PeerCertificates[0].VerifyHostname(host)
}

func TestTLSFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("short: builds lighterhub and runs it")
	}
	dir := t.TempDir()
	cert, key := certificate(t, dir, "hub.test")
	p := start(t, filepath.Join(dir, "hub"), "--tls-cert", cert, "--tls-key", key)
	if issuer, err := hello(p, "hub.test"); err != nil || issuer != "hub.test" {
		t.Error(issuer, err)
	}
}

// A certificate comes from an authority that runs here, for the name that the hub was
// told and for no other, and is kept.
func TestTLSACME(t *testing.T) {
	if testing.Short() {
		t.Skip("short: builds two programs and runs them")
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "pebble")
	if out, err := tool(t.Context(), "testdata/acme", []string{"GOFLAGS=-mod=mod", "CGO_ENABLED=0"}, "go", "build", "-o", bin, "github.com/letsencrypt/pebble/v2/cmd/pebble"); err != nil {
		t.Skip("the authority cannot be fetched: ", out)
	}
	cert, key := certificate(t, dir, "localhost")
	var free [2]string
	for i := range free {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		free[i] = l.Addr().String()
		l.Close()
	}
	config := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(config, fmt.Appendf(nil, `{"pebble": {"listenAddress": %q, "managementListenAddress": %q, "certificate": %q, "privateKey": %q,
		"httpPort": 1, "tlsPort": 1, "keyAlgorithm": "ecdsa", "retryAfter": {"authz": 1, "order": 1}, "profiles": {"default": {"description": "x", "validityPeriod": 7776000}}}}`,
		free[0], free[1], cert, key), 0o600); err != nil {
		t.Fatal(err)
	}
	// It takes the hub's word for who it is: it cannot come to port 443 here.
	pebble := exec.Command(bin, "-config", config)
	pebble.Env = append(os.Environ(), "PEBBLE_VA_ALWAYS_VALID=1", "PEBBLE_VA_NOSLEEP=1")
	if err := pebble.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = pebble.Process.Kill()
		_ = pebble.Wait() // killed
	})
	directory := "https://" + free[0] + "/dir"
	insecure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	hubtest.Answers(t, insecure, directory)
	t.Setenv("SSL_CERT_FILE", cert)
	p := start(t, filepath.Join(dir, "hub"), "--acme", "hub.example.org", "--acme-directory", directory)
	if issuer, err := hello(p, "hub.example.org"); err != nil || !strings.HasPrefix(issuer, "Pebble") {
		t.Error(issuer, err)
	}
	if issuer, err := hello(p, "other.example.org"); err == nil {
		t.Error("a certificate for a name that is not the hub's:", issuer)
	}
	if kept, err := filepath.Glob(filepath.Join(p.data, "acme", "hub.example.org*")); err != nil || len(kept) == 0 {
		t.Error(kept, err)
	}
}

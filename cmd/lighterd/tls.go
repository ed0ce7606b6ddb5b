package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/spf13/pflag"
)

// tlsConfig is how TCP is served. As with dockerd, TLS is mutual unless --tlsverify=false is
// said, and --tlsverify, whatever its value, means TLS.
type tlsConfig struct {
	TLS       *bool  `json:"tls"`
	TLSVerify *bool  `json:"tlsverify"`
	TLSCA     string `json:"tlscacert"`
	TLSCert   string `json:"tlscert"`
	TLSKey    string `json:"tlskey"`

	current *atomic.Pointer[tls.Config] // what connections from now on are served by; a reload replaces it
}

// Where the files are when nothing else is said.
func defaultTLS() tlsConfig {
	at := func(name string) string { return filepath.Join(filepath.Dir(defaultConfig), name) }
	return tlsConfig{TLSCA: at("ca.pem"), TLSCert: at("cert.pem"), TLSKey: at("key.pem"), current: &atomic.Pointer[tls.Config]{}}
}

func (t *tlsConfig) flags(f *pflag.FlagSet) {
	f.Var(&optional{&t.TLS}, "tls", "Serve TCP over TLS; --tls=false is the word for TCP that is open to everybody")
	f.Var(&optional{&t.TLSVerify}, "tlsverify", "Serve TCP over TLS and let in only clients with a certificate of the CA, as --tls does alone; =false lets in everybody")
	for _, name := range []string{"tls", "tlsverify"} {
		f.Lookup(name).NoOptDefVal = "true"
	}
	f.StringVar(&t.TLSCA, "tlscacert", t.TLSCA, "The CA that clients' certificates must come from")
	f.StringVar(&t.TLSCert, "tlscert", t.TLSCert, "The engine's certificate; SIGHUP reads it again")
	f.StringVar(&t.TLSKey, "tlskey", t.TLSKey, "The engine's key")
}

// optional is a flag of which it counts whether it was given.
type optional struct{ to **bool }

func (o *optional) String() string {
	if o.to == nil || *o.to == nil {
		return "false"
	}
	return strconv.FormatBool(**o.to)
}

// Type is the word for the value in the help.
func (*optional) Type() string { return "bool" }

// Set reads true or false.
func (o *optional) Set(s string) error {
	v, err := strconv.ParseBool(s)
	if err == nil {
		*o.to = &v
	}
	return err
}

// secure tells that TCP is served over TLS, mutual that clients show a certificate.
func (t *tlsConfig) secure() bool { return t.TLSVerify != nil || t.TLS != nil && *t.TLS }
func (t *tlsConfig) mutual() bool { return t.secure() && (t.TLSVerify == nil || *t.TLSVerify) }

// mayListen refuses TCP that is open by mistake: whoever reaches the port is root on this machine.
func (t *tlsConfig) mayListen(host string) error {
	if !t.secure() && t.TLS == nil {
		return fmt.Errorf("listen on %s: anybody who can connect would be root here; give --tlsverify with --tlscacert, --tlscert and --tlskey, or --tls=false if that is really meant", host)
	}
	if !t.secure() {
		return nil
	}
	_, err := t.load()
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("listen on %s: TLS needs --tlscert and --tlskey, and --tlscacert for clients' certificates: %w", host, err)
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %w", host, err)
	}
	return nil
}

// warn says loudly that a port is open.
func (t *tlsConfig) warn(host string) {
	if t.mutual() {
		return
	}
	slog.Warn("ANYBODY WHO REACHES THIS PORT IS ROOT ON THIS MACHINE, web pages in a browser here included: clients show no certificate (--tls=false or --tlsverify=false)", "host", host)
}

// load reads the files.
func (t *tlsConfig) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(t.TLSCert, t.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("the engine's certificate %s and key %s: %w", t.TLSCert, t.TLSKey, err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if !t.mutual() {
		return conf, nil
	}
	pem, err := os.ReadFile(t.TLSCA)
	if err != nil {
		return nil, fmt.Errorf("the authority of clients' certificates: %w", err)
	}
	conf.ClientCAs, conf.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !conf.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the authority of clients' certificates: %s holds no certificate", t.TLSCA)
	}
	return conf, nil
}

// listenTCP opens a port. Each connection is served by what was loaded last.
func (c *config) listenTCP(addr string) (net.Listener, error) {
	t := &c.tlsConfig
	if t.secure() {
		if err := t.renew(t); err != nil {
			return nil, err
		}
	}
	l, err := c.listenHost(addr)
	if err != nil || !t.secure() {
		return l, err
	}
	return tls.NewListener(l, &tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.current.Load(), nil },
	}), nil
}

// listenHost listens on a TCP port of the host.
func (c *config) listenHost(addr string) (net.Listener, error) {
	if c.outside != nil {
		return c.outside.Listen(context.Background(), "tcp", addr)
	}
	return net.Listen("tcp", addr)
}

// renew loads the files that from names for connections to come. The connections that are
// there stay as they are.
func (t *tlsConfig) renew(from *tlsConfig) error {
	conf, err := from.load()
	if err == nil {
		t.current.Store(conf)
	}
	return err
}

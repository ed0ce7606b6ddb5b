package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSocket makes the socket under hostile umasks and reads its mode.
func TestSocket(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o077, 0o777} {
		// The path is as long as a client can still connect to.
		dir := t.TempDir()
		path := filepath.Join(dir, strings.Repeat("s", maxSocketPath-len(dir)-1))
		c := &config{Hosts: []string{"unix://" + path}}
		if os.Geteuid() != 0 {
			c.Group = strconv.Itoa(os.Getegid())
		}
		old := syscall.Umask(mask)
		ls, err := c.listen()
		syscall.Umask(old)
		if err != nil {
			t.Fatal(mask, err)
		}
		st, err := os.Lstat(path)
		if err != nil || st.Mode() != os.ModeSocket|0o660 {
			t.Errorf("umask %o: %v, %v", mask, st.Mode(), err)
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Error(err)
		} else {
			conn.Close()
		}
		if _, err := c.listen(); err == nil || !strings.Contains(err.Error(), "already listens") {
			t.Errorf("a second listener: %v", err)
		}
		if err := ls[0].Close(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestSocketInTheWay(t *testing.T) {
	dir := t.TempDir()
	c := &config{Group: strconv.Itoa(os.Getegid())}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.listenUnix(file); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Error(err)
	}
	// A socket that a dead engine left is replaced; ours is not taken away with it.
	stale := filepath.Join(dir, "stale")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := c.listenUnix(stale)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c.Group = "no-such-group"
	if _, err := c.listenUnix(filepath.Join(dir, "other")); err == nil || !strings.Contains(err.Error(), "group no-such-group") {
		t.Error(err)
	}
}

func TestPidfile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "lighterd.pid")
	remove, err := writePidfile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != strconv.Itoa(os.Getpid()) {
		t.Errorf("%q", b)
	}
	// Another program has the pid of an engine that died: no engine.
	os.WriteFile(path, []byte("1"), 0o644)
	again, err := writePidfile(path)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(path, []byte("not ours"), 0o644)
	remove()
	again()
	if _, err := os.Stat(path); err != nil {
		t.Error("somebody else's pid file was taken away")
	}
}

// serveTLS listens as --tlsverify has it, and answers every request with a text. In dir are the
// certificates: ca, server, client, and stranger, which is of no authority.
func serveTLS(t *testing.T, answer string) (dir, addr string, c *config) {
	t.Helper()
	dir, yes := t.TempDir(), true
	ca, caKey := certificate(t, dir, "ca", nil, nil)
	certificate(t, dir, "server", ca, caKey)
	certificate(t, dir, "client", ca, caKey)
	certificate(t, dir, "stranger", nil, nil)
	c = &config{Hosts: []string{"tcp://127.0.0.1:0"}, tlsConfig: defaultTLS()}
	c.TLSVerify = &yes
	c.TLSCA, c.TLSCert, c.TLSKey = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
	if err := c.checkHosts(); err != nil {
		t.Fatal(err)
	}
	ls, err := c.listen()
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, answer) }), ErrorLog: log.New(io.Discard, "", 0)}
	go web.Serve(ls[0])
	t.Cleanup(func() { web.Close() })
	return dir, ls[0].Addr().String(), c
}

// TestMutualTLS lets in a client with a certificate of the authority, and nobody else. When the
// files are others, connections to come are served by those.
func TestMutualTLS(t *testing.T) {
	dir, addr, c := serveTLS(t, "in")
	look := func(want map[string]string) {
		t.Helper()
		for who, want := range want {
			if got := askTLS(t, dir, addr, who); got != want {
				t.Errorf("%q gets %q, want %q", who, got, want)
			}
		}
	}
	look(map[string]string{"client": "in", "stranger": "", "": ""})
	next := c.tlsConfig
	next.TLSCA = filepath.Join(dir, "stranger.pem")
	if err := c.renew(&next); err != nil {
		t.Fatal(err)
	}
	look(map[string]string{"client": "", "stranger": "in"})
	next.TLSCA = filepath.Join(dir, "server.key")
	if err := c.renew(&next); err == nil || !strings.Contains(err.Error(), "holds no certificate") {
		t.Error(err)
	}
	look(map[string]string{"client": "", "stranger": "in"})
}

// askTLS gives the answer to a client who shows a certificate, empty without one.
func askTLS(t *testing.T, dir, addr, who string) string {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{RootCAs: x509.NewCertPool()}
	conf.RootCAs.AppendCertsFromPEM(pem)
	if who != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, who+".pem"), filepath.Join(dir, who+".key"))
		if err != nil {
			t.Fatal(err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}}
	res, err := client.Get("https://" + addr + "/")
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body) // what is cut off is not the answer
	return string(b)
}

// TestOpenTCP: who is let in by which words, and that TCP which is open by mistake is none.
func TestOpenTCP(t *testing.T) {
	dir := t.TempDir()
	ca, key := certificate(t, dir, "ca", nil, nil)
	certificate(t, dir, "server", ca, key)
	files := " --tlscacert " + dir + "/ca.pem --tlscert " + dir + "/server.pem --tlskey " + dir + "/server.key"
	for args, want := range map[string]string{
		"":                                "refused",
		"--tls=false":                     "open",
		"--tls" + files:                   "mutual",
		"--tlsverify" + files:             "mutual",
		"--tls=false --tlsverify" + files: "mutual",
		"--tls --tlsverify=false" + files: "secret",
		"--tlsverify=false" + files:       "secret",
		"--tlsverify":                     "refused", // no files
		"--tlsverify" + files + "x":       "refused",
	} {
		c, _, err := parse(append([]string{"-H", "tcp://127.0.0.1:0", "--config-file", "/dev/null"}, strings.Fields(args)...))
		got := "refused"
		switch {
		case err != nil:
		case c.mutual():
			got = "mutual"
		case c.secure():
			got = "secret"
		default:
			got = "open"
		}
		if got != want {
			t.Errorf("%s: %s, want %s (%v)", args, got, want, err)
		}
	}
}

// certificate writes NAME.pem and NAME.key, signed by the CA or, without one, by itself.
func certificate(t *testing.T, dir, name string, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plan := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: ca == nil,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ca == nil {
		ca, caKey = plan, key
	}
	der, err := x509.CreateCertificate(rand.Reader, plan, ca, &key.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

package main

import (
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommandLineTLS: the command line that lighter becomes speaks TLS, shows its
// certificate and checks the engine's.
func TestCommandLineTLS(t *testing.T) {
	dir := t.TempDir()
	ca, caKey := certificate(t, dir, "ca", nil, nil)
	certificate(t, dir, "server", ca, caKey)
	certificate(t, dir, "client", ca, caKey)
	certificate(t, dir, "stranger", nil, nil)
	c := &config{
		Hosts: []string{"tcp://127.0.0.1:0"}, TLS: true, TLSVerify: true,
		TLSCA: filepath.Join(dir, "ca.pem"), TLSCert: filepath.Join(dir, "server.pem"), TLSKey: filepath.Join(dir, "server.key"),
	}
	ls, err := c.listen()
	if err != nil {
		t.Fatal(err)
	}
	defer ls[0].Close()
	web := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"Volumes":[{"Name":"through-tls","Driver":"local"}]}`)
	})}
	go web.Serve(ls[0])
	defer web.Close()
	for _, one := range []struct{ ca, who, out, err string }{
		{"ca", "client", "through-tls\n", ""},
		{"ca", "stranger", "", "tls: "},
		{"stranger", "client", "", "Cannot connect"},
		{"none", "client", "", "Cannot connect"},
		{"ca", "none", "", "Cannot connect"},
	} {
		out, errs := tempFile(t), tempFile(t)
		code := commandLine([]string{"lighter", "-H", "tcp://" + ls[0].Addr().String(), "--tlsverify",
			"--tlscacert", filepath.Join(dir, one.ca+".pem"), "--tlscert", filepath.Join(dir, one.who+".pem"), "--tlskey", filepath.Join(dir, one.who+".key"),
			"volume", "ls", "--format", "{{.Name}}"}, os.Stdin, out, errs)
		text, complaint := contentOf(t, out), contentOf(t, errs)
		if text != one.out || (code == 0) != (one.err == "") || !strings.Contains(complaint, one.err) {
			t.Errorf("%+v: code %d, %q, %q", one, code, text, complaint)
		}
	}
}

func tempFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func contentOf(t *testing.T, f *os.File) string {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommandLineTLS: the command line that lighter becomes speaks TLS, shows its
// certificate and checks the engine's.
func TestCommandLineTLS(t *testing.T) {
	dir, addr, _ := serveTLS(t, `{"Volumes":[{"Name":"through-tls","Driver":"local"}]}`)
	for _, one := range []struct{ ca, who, out, err string }{
		{"ca", "client", "through-tls\n", ""},
		{"ca", "stranger", "", "tls: "},
		{"stranger", "client", "", "certificate signed by unknown authority"},
		{"none", "client", "", "could not read CA certificate"},
		{"ca", "none", "", "could not load X509 key pair"},
	} {
		out, errs := tempFile(t), tempFile(t)
		code := commandLine([]string{"lighter", "-H", "tcp://" + addr, "--tlsverify",
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

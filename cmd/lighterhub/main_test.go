package main

import (
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args     string
		code     int
		out, err string
	}{
		{"version", 0, "lighterhub version ", ""},
		{"help", 0, "Usage:", ""},
		{"serve --help", 0, "--listen", ""},
		{"serve", 2, "", "--data DIR"},
		{"serve --nosuch", 2, "", "nosuch"},
		{"serve word --data " + dir, 2, "", "not 1"},
		{"serve --data " + dir + " --tls-cert x", 2, "", "go together"},
		{"serve --data " + dir + " --tls-cert /nosuch --tls-key /nosuch", 1, "", "read the certificate"},
		{"serve --data " + dir + " --quota much", 2, "", "is no size"},
		{"serve --data " + dir + " --log-format xml", 2, "", "neither text nor json"},
		{"serve --data " + dir + " --log-level loud", 2, "", "loud"},
		{"serve --data " + dir + " --trusted-proxy me", 2, "", "no network"},
		{"serve --data " + dir + " --public-url hub", 2, "", "https://"},
		{"serve --data " + dir + " --acme-email a@b.c", 2, "", "go with --acme"},
		{"serve --data " + dir + " --acme h.example.org --tls-cert a --tls-key b", 2, "", "not both"},
		{"serve --data " + dir + " --redirect 1m", 2, "", "needs --storage"},
		{"serve --data " + dir + " --mirror docker.io", 2, "", "write https://HOST"},
		{"serve --data " + dir + " --mirror https://a:b@example.org", 2, "", "environment"},
		{"serve --data " + dir + " --mirror A/B=https://example.org", 2, "", "no name"},
		{"serve --data " + dir + " --mirror far=https://a.example --mirror far=https://b.example", 2, "", "already"},
		{"serve --data " + dir + " --storage ftp://x", 1, "", "s3://BUCKET"},
		{"serve --data " + dir + " --listen 127.0.0.1:x", 1, "", "x"},
		{"gc --data " + dir + "/nosuch", 1, "", "no hub keeps its things"},
		{"gc --data " + dir, 0, "Removed 0 blobs", ""}, // which a hub was in, above
		{"nosuch", 2, "", `"nosuch" is no command`},
		{"", 2, "", "Usage:"},
	} {
		var out, err strings.Builder
		code := run(t.Context(), strings.Fields(c.args), streams{strings.NewReader(""), &out, &err})
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(err.String(), c.err) {
			t.Errorf("lighterhub %s: %d, %q, %q", c.args, code, out.String(), err.String())
		}
	}
}

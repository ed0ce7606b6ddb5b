package main

import (
	"strings"
	"testing"
)

func TestWebAddress(t *testing.T) {
	for _, c := range []struct{ args, problem string }{
		{"--web 127.0.0.1:8080", ""}, {"--web [::1]:0", ""}, {"--web localhost:80", ""}, {"--web 0.0.0.0:80 --web-plain", ""},
		{"--web 0.0.0.0:80", "others reach that address"}, {"--web :80", "others reach that address"}, {"--web host.example:80", "others reach that address"},
		{"--web 127.0.0.1", "it is HOST:PORT"}, {"--web-plain", "--web where"}, {"--web 0.0.0.0:80 --tls --tlscert /nowhere", "TLS needs"},
		{"--web 0.0.0.0:80 --tls=false", "others reach that address"},
	} {
		_, _, err := parse(append(strings.Fields(c.args), "--config-file", "/dev/null"))
		if c.problem == "" && err != nil || c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)) {
			t.Errorf("%s: %v", c.args, err)
		}
	}
}

package main

import (
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	for _, c := range []struct {
		args     string
		code     int
		out, err string
	}{
		{"version", 0, "lighterhub version ", ""},
		{"help", 0, "Usage:", ""},
		{"serve", 1, "", "not built yet"},
		{"nosuch", 2, "", `"nosuch" is no command`},
		{"", 2, "", "Usage:"},
	} {
		var out, err strings.Builder
		code := run(strings.Fields(c.args), &out, &err)
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(err.String(), c.err) {
			t.Errorf("lighterhub %s: %d, %q, %q", c.args, code, out.String(), err.String())
		}
	}
}

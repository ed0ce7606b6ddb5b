package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestAccounts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	for _, c := range []struct {
		args, in string
		code     int
		out, err string
	}{
		{"user", "", 2, "", "say what to do"},
		{"user help", "", 0, "passwd NAME", ""},
		{"user frob", "", 2, "", `"frob" is no command`},
		{"user add bob", "", 2, "", "--data DIR"},
		{"user add --data " + dir, "", 2, "", "takes NAME"},
		{"user list --data " + dir, "", 1, "", "no hub keeps its things"},
		{"user add bob --data " + dir, "", 2, "", "--password-stdin"},
		{"user add bob --password-stdin --data " + dir, "pw\r\n", 0, "", "WARNING: the password is too short"},
		{"user add bob --password-stdin --data " + dir, "pw", 1, "", "the name bob is taken"},
		{"user add carol --password-stdin --data " + dir, "\n", 1, "", "the password is empty"},
		{"user add admin --password-stdin --data " + dir, "correct horse", 1, "", "not to be had"},
		{"user add Alice --password-stdin --data " + dir, "correct horse", 0, "", ""},
		{"user list --data " + dir, "", 0, "alice ", ""},
		{"user passwd nobody --password-stdin --data " + dir, "correct horse", 1, "", "there is no user nobody"},
		{"user passwd bob --password-stdin --data " + dir, "correct horse", 0, "", ""},
		{"token add bob ci --data " + dir, "", 2, "", "--scope says"},
		{"token add bob ci --scope root --data " + dir, "", 2, "", "read, write or delete"},
		{"token add nobody ci --scope read --data " + dir, "", 1, "", "there is no user nobody"},
		{"token add bob ci --scope read --expires -1h --data " + dir, "", 2, "", "past"},
		{"token add bob ci --scope write:bob/* --scope read --expires 720h --data " + dir, "", 0, "lhub_", ""},
		{"token list bob --data " + dir, "", 0, "write:bob/* read:*", ""},
		{"token list nobody --data " + dir, "", 1, "", "there is no user nobody"},
		{"token rm bob nosuch --data " + dir, "", 1, "", "no such token"},
		{"key rotate --data " + dir, "", 0, "", ""},
		{"key rotate --now --data " + dir, "", 0, "", ""},
		{"key rotate --data " + dir + "/nosuch", "", 1, "", "no hub keeps its things"},
		{"org add team --data " + dir, "", 2, "", "--owner"},
		{"org add team --owner nobody --data " + dir, "", 1, "", "there is no user nobody"},
		{"org add team --owner alice --title Team --data " + dir, "", 0, "", ""},
		{"org add library --owner alice --data " + dir, "", 0, "", ""},
		{"org list --data " + dir, "", 0, "team ", ""},
		{"org member team bob --data " + dir, "", 2, "", "which role"},
		{"org member team bob boss --data " + dir, "", 2, "", `"boss" is no role`},
		{"org member team bob writer --data " + dir, "", 0, "", ""},
		{"org member team --data " + dir, "", 0, "writer", ""},
		{"org member none --data " + dir, "", 1, "", "there is no organisation none"},
		{"org member team alice none --data " + dir, "", 1, "", "needs an owner"},
		{"org member team bob none --data " + dir, "", 0, "", ""},
		{"user rm alice --data " + dir, "", 1, "", "the only owner"},
		{"user rm bob --data " + dir, "", 0, "", ""},
		{"org rm team --data " + dir, "", 0, "", ""},
		{"repo list --data " + dir, "", 0, "SEEN BY", ""},
		{"repo public a/b --data " + dir, "", 1, "", "a/b is not there"},
		{"audit --data " + dir, "", 0, "org.remove", ""},
		{"audit --data " + dir, "", 0, "key.rotate", ""},
		{"gc --audit-after 1ns --data " + dir, "", 0, "changes of the audit log", ""},
		{"user passwd alice --password-stdin --data " + dir, "another long one", 0, "", ""},
		{"audit alice -n 1 --data " + dir, "", 0, "user.password", ""},
	} {
		var out, err strings.Builder
		code := run(t.Context(), strings.Fields(c.args), streams{strings.NewReader(c.in), &out, &err})
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(err.String(), c.err) || c.err == "" && err.String() != "" {
			t.Errorf("lighterhub %s: %d, %q, %q", c.args, code, out.String(), err.String())
		}
	}
}

package dns

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const hostConf = `# a host's
nameserver 127.0.0.1
nameserver 192.168.1.1   # not so
nameserver fe80::1%eth0
nameserver nonsense
domain old.example
search one.example two.example
options edns0 timeout:2
options rotate
sortlist 130.155.160.0
`

// TestConf shows what containers of each kind get of a host's resolv.conf.
func TestConf(t *testing.T) {
	host := ParseConf(hostConf)
	host.source = "F"
	with := func(c Conf, servers, search, options string) Conf {
		c, err := c.With(strings.Fields(servers), strings.Fields(search), strings.Fields(options))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const search, other = "search one.example two.example\n", "sortlist 130.155.160.0\n"
	for name, c := range map[string]struct {
		conf Conf
		text string
	}{
		"bridge": {host.Bridge(false), "nameserver 192.168.1.1\n" + search + "options edns0 timeout:2 rotate\n" + other},
		"bridge with IPv6": {host.Bridge(true),
			"nameserver 192.168.1.1\nnameserver fe80::1%eth0\n" + search + "options edns0 timeout:2 rotate\n" + other},
		"internal": {host.Internal(),
			"nameserver 127.0.0.11\n" + search + "options edns0 timeout:2 rotate ndots:0\n" + other + "# ExtServers: [host(127.0.0.1) host(192.168.1.1) host(fe80::1%eth0)]\n"},
		"nothing": {Conf{source: "F"}.Internal(), "nameserver 127.0.0.11\noptions ndots:0\n# NO EXTERNAL NAMESERVERS DEFINED\n"},
		"no server left": {ParseConf("nameserver 127.0.0.1\n").Bridge(false),
			"nameserver 8.8.8.8\nnameserver 8.8.4.4\n# The host has no server that a container could reach: these are Google's.\n"},
		"the user's": {with(host, "127.0.0.1 1.1.1.1", ".", "ndots:2").Bridge(false),
			"nameserver 127.0.0.1\nnameserver 1.1.1.1\noptions ndots:2\n" + other},
		"the user's, internal": {with(host, "1.1.1.1", "x.example", "ndots:2").Internal(),
			"nameserver 127.0.0.11\nsearch x.example\noptions ndots:2\n" + other + "# ExtServers: [1.1.1.1]\n"},
		"ndots that is none": {with(host, "1.1.1.1", "x.example", "ndots:x ndots:-1").Internal(),
			"nameserver 127.0.0.11\nsearch x.example\noptions ndots:0\n" + other + "# ExtServers: [1.1.1.1]\n"},
	} {
		_, text, _ := strings.Cut(c.conf.Text(), "\n")
		if text != c.text {
			t.Errorf("%s:\n%swant\n%s", name, text, c.text)
		}
	}
	if _, err := host.With([]string{"x"}, nil, nil); err == nil {
		t.Error("a server that is no address passed")
	}
	for name, c := range map[string]struct {
		got  Upstream
		want string
	}{
		"host's": {ParseConf("nameserver 10.0.0.1\nnameserver ::1").Upstream(true), "{[{10.0.0.1:53 true} {[::1]:53 true}] true false}"},
		"user's": {with(host, "10.0.0.1", "", "ndots:1").Upstream(false), "{[{10.0.0.1:53 false}] false true}"},
	} {
		if got := fmt.Sprint(c.got); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestHostChanges sees that the file is read again when it, or what it stands for, changes.
func TestHostChanges(t *testing.T) {
	dir := t.TempDir()
	h := &Host{path: filepath.Join(dir, "resolv.conf"), resolved: filepath.Join(dir, "systemd.conf")}
	step := func(file, text, want string) {
		t.Helper()
		if file != "" {
			new := filepath.Join(dir, "new")
			if err := os.WriteFile(new, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(new, filepath.Join(dir, file)); err != nil {
				t.Fatal(err)
			}
		}
		c, err := h.Conf()
		if got := fmt.Sprint(c.Servers); err != nil || got != want {
			t.Errorf("%s %q: %s, %v, want %s", file, text, got, err, want)
		}
	}
	step("", "", "[]")
	step("resolv.conf", "nameserver 10.0.0.1", "[10.0.0.1]")
	step("", "", "[10.0.0.1]")
	step("resolv.conf", "nameserver 10.0.0.2", "[10.0.0.2]")
	step("resolv.conf", "nameserver 127.0.0.53", "[127.0.0.53]")
	step("systemd.conf", "nameserver 10.0.0.3", "[10.0.0.3]")
	step("systemd.conf", "nameserver 10.0.0.4", "[10.0.0.4]")
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lighter/api"
)

func TestParse(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		path := filepath.Join(dir, "daemon.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct{ name, args, file, want string }{
		{"nothing", "", "", ""},
		{"all that there is", "-D --label a=b -H unix:///x -H tcp://[::1]:1 --tls=false --log-opt max-size=1m --default-ulimit nofile=1:2 --default-shm-size 1g --init", "", ""},
		{"file", "", `{"debug":true,"log-opts":{"max-file":"3"},"default-shm-size":"32m","default-ulimits":{"nofile":{"Name":"nofile","Hard":2,"Soft":1}},"labels":["a=b"]}`, ""},
		{"empty file", "", " ", ""},
		{"twice", "--debug --label c=d", `{"debug":false,"labels":["a=b"]}`, "specified both as a flag and in the configuration file: debug: (from flag: true, from file: false), labels:"},
		{"no JSON", "", `{`, "unexpected end of JSON input"},
		{"unknown key", "", `{"debugg":true}`, `unknown field "debugg"`},
		{"later key", "", `{"rootless":true}`, `"rootless" is not taken: start lighterd as the user whose engine it is to be`},
		{"network keys", "", `{"dns":["1.1.1.1"],"default-address-pools":[{"base":"10.0.0.0/8","size":24}],"bip":"10.9.0.1/24","icc":true,"default-network-opts":{"bridge":{"x":"y"}}}`, ""},
		{"bad pool", "--default-address-pool base=10.0.0.0/8,size=4", "", "size 4 of pool 10.0.0.0/8: it is between 8 and 32"},
		{"bad bip", "--bip 10.0.0.1", "", `--bip: "10.0.0.1" is no address`},
		{"bridge and bip", "--bridge br0 --bip 10.0.0.1/8", "", "You specified -b & --bip"},
		{"icc needs a firewall", "--icc=false --iptables=false", "", "You specified --iptables=false with --icc=false"},
		{"one firewall", "--ip6tables=false", "", "there is one firewall for both"},
		{"later key in the plural", "", `{"authorization-plugins":[]}`, "runs no plugins"},
		{"registry keys", "", `{"registry-mirrors":["https://x"],"insecure-registries":["y:5000"],"max-concurrent-downloads":4}`, ""},
		{"later flag", "--rootless", "", "--rootless is not taken: start lighterd as the user whose engine it is to be"},
		{"unknown flag", "--nosuch", "", "unknown flag: --nosuch"},
		{"argument", "x", "", "takes no arguments"},
		{"same roots", "--data-root /x --exec-root /x", "", "must differ"},
		{"bad label", "--label x", "", "bad attribute format: x"},
		{"bad level", "-l loud", "", `unknown log level "loud"`},
		{"bad driver", "--log-driver ../../bin/sh", "", "unknown log driver"},
		{"bad runtime", "--default-runtime ../../bin/sh", "", "unknown runtime"},
		{"bad size", "--default-shm-size x", "", "invalid size: 'x'"},
		{"bad ulimit", "--default-ulimit nofile=3:2", "", "must be less than or equal to hard limit: 3 > 2"},
		{"unknown ulimit", "--default-ulimit x=3:2", "", "invalid ulimit type: x"},
		{"no live-restore", "--live-restore=false", "", "live-restore cannot be false"},
		{"open tcp", "-H tcp://0.0.0.0:2375", "", "anybody who can connect would be root here"},
		{"no address", "-H nosuch://x", "", "an address is unix://PATH or tcp://HOST:PORT"},
		{"relative socket", "-H unix://x", "", "must be absolute"},
		{"long socket", "-H unix:///" + strings.Repeat("x", 107), "", "longer than 107 bytes"},
		{"TLS without keys", "-H tcp://:1 --tlsverify", "", "TLS needs --tlscert"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := strings.Fields(c.args)
			if c.file != "" {
				args = append(args, "--config-file", file(c.file))
			}
			_, _, err := parse(args)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	got, _, err := parse([]string{"--config-file", file(`{"debug":true,"default-shm-size":"32m","hosts":["unix:///y"],"group":"g"}`)})
	if err != nil || !got.Debug || got.ShmSize != 32<<20 || got.Hosts[0] != "unix:///y" || got.Group != "g" || got.level() >= 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, _, err := parse([]string{"--config-file", filepath.Join(dir, "nosuch")}); err == nil {
		t.Error("a file that was asked for and is not there is passed over")
	}
}

// TestLater holds every option of dockerd 28's against ours: taken or refused with a reason.
func TestLater(t *testing.T) {
	const all = `add-runtime allow-direct-routing authorization-plugin bip bip6 bridge cdi-spec-dir cgroup-parent config-file
		containerd containerd-namespace containerd-plugins-namespace cpu-rt-period cpu-rt-runtime cri-containerd data-root debug
		default-address-pool default-cgroupns-mode default-gateway default-gateway-v6 default-ipc-mode default-network-opt
		default-runtime default-shm-size default-ulimit dns dns-opt dns-search exec-opt exec-root experimental feature fixed-cidr
		fixed-cidr-v6 group help host host-gateway-ip http-proxy https-proxy icc init init-path insecure-registry ip ip-forward
		ip-forward-no-drop ip-masq ip6tables iptables ipv6 label live-restore log-driver log-format log-level log-opt
		max-concurrent-downloads max-concurrent-uploads max-download-attempts metrics-addr mtu network-control-plane-mtu
		no-new-privileges no-proxy node-generic-resource pidfile raw-logs registry-mirror rootless seccomp-profile selinux-enabled
		shutdown-timeout storage-driver storage-opt swarm-default-advertise-addr tls tlscacert tlscert tlskey tlsverify
		userland-proxy userland-proxy-path userns-remap validate version`
	f := defaults().flags()
	for name := range strings.FieldsSeq(all) {
		_, refused := whyNot(name)
		if taken := f.Lookup(name) != nil; taken == refused {
			t.Errorf("--%s: taken %v, refused %v", name, taken, refused)
		}
	}
}

func TestBytes(t *testing.T) {
	for in, want := range map[string]int64{"1": 1, "64m": 64 << 20, "1GiB": 1 << 30, "1.5k": 1536, "2kb": 2048, "10B": 10} {
		var b bytesSize
		if err := b.Set(in); err != nil || int64(b) != want {
			t.Error(in, b, err)
		}
	}
	for _, in := range []string{"", "x", "-1", "m", "1x", "9e99"} {
		var b bytesSize
		if err := b.Set(in); err == nil {
			t.Error(in, b)
		}
	}
}

// The build cache is bounded by the file's key builder.gc, as dockerd's is.
func TestBuilderGC(t *testing.T) {
	read := func(text string) (rules []api.BuildPrune, err error) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "daemon.json")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		c, _, err := parse([]string{"--config-file", file})
		if err != nil {
			return nil, err
		}
		return c.Builder.GC.rules(1 << 40)
	}
	for _, one := range []struct {
		text  string
		rules int
		keep  int64 // of the last one
		err   string
	}{
		{`{}`, 4, 103e9, ""},
		{`{"builder":{"gc":{"enabled":false}}}`, 0, 0, ""},
		{`{"builder":{"gc":{"enabled":true,"defaultKeepStorage":"20GB"}}}`, 4, 20 << 30, ""},
		{`{"builder":{"gc":{"policy":[{"keepStorage":"10GB","filter":["unused-for=2200h"]},{"all":true,"reservedSpace":"5GB"}]}}}`, 2, 5 << 30, ""},
		{`{"builder":{"gc":{"policy":[]}}}`, 0, 0, ""},
		{`{"builder":{"gc":{"defaultMaxUsedSpace":"much"}}}`, 0, 0, "builder.gc: defaultMaxUsedSpace: "},
		{`{"builder":{"gc":{"policy":[{"filter":["nosuch=1"]}]}}}`, 0, 0, "builder.gc.policy[0]: "},
	} {
		rules, err := read(one.text)
		if (err == nil) != (one.err == "") || err != nil && !strings.Contains(err.Error(), one.err) {
			t.Errorf("%s: %v", one.text, err)
			continue
		}
		if len(rules) != one.rules || one.rules > 0 && rules[one.rules-1].Keep != one.keep {
			t.Errorf("%s: %+v", one.text, rules)
		}
	}
}

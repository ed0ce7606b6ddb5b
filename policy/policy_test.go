package policy

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"strings"
	"testing"

	"lighter/api"
)

var routes = []string{"GET /info", "POST /containers/{name}/stop"}

const example = `
# who runs the machine
client operators
	uid   0
	gid   4711
	allow everything
	with  everything

client ci   # the builder's certificate
	cert  ci.example.org *.ci.example.org
	uid   1001
	allow look run pull
	route POST /containers/{name}/stop
	label team=ci
	label stage=test
	with  bind=/srv/ci:ro bind=/srv/cache cap=net_admin device=/dev/kvm runtime=crun
`

func TestClients(t *testing.T) {
	p, err := Parse([]byte(example), routes)
	if err != nil {
		t.Fatal(err)
	}
	cert := func(name string, dns ...string) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: dns}
	}
	for _, row := range []struct {
		who  Who
		want string
	}{
		{Who{}, ""}, // who is nobody is not uid 0
		{Who{Local: true}, "operators"},
		{Who{Local: true, UID: 5, GIDs: []int{5, 4711}}, "operators"},
		{Who{Local: true, UID: 1001, GIDs: []int{4711}}, "operators"}, // the first counts
		{Who{Local: true, UID: 1001, GIDs: []int{1001}}, "ci"},
		{Who{Local: true, UID: 4711, GIDs: []int{1001}}, ""},
		{Who{Cert: cert("ci.example.org")}, "ci"},
		{Who{Cert: cert("", "a.ci.example.org")}, "ci"},
		{Who{Cert: cert("x", "y", "a.ci.example.org")}, "ci"},
		{Who{Cert: cert("a/b.ci.example.org")}, ""}, // * stops at a slash
		{Who{Cert: cert("ci.example.org.evil")}, ""},
		{Who{Cert: cert("")}, ""},
	} {
		got := ""
		if c := p.Of(row.who); c != nil {
			got = c.Name
		}
		if got != row.want {
			t.Errorf("%+v is %q, want %q", row.who, got, row.want)
		}
	}
	ci := p.clients[1]
	for kind, want := range map[string]bool{Look: true, Run: true, Build: false, "": false, free: false} {
		if ci.May("GET /info", kind) != want {
			t.Errorf("%q: %v", kind, !want)
		}
	}
	if !ci.May("POST /containers/{name}/stop", "") || (*Client)(nil).May("GET /info", Look) {
		t.Error("routes")
	}
	if !ci.Owns(map[string]string{"team": "ci", "stage": "test", "x": ""}) || ci.Owns(map[string]string{"team": "ci"}) || ci.Owns(nil) {
		t.Error("labels")
	}
	labels := map[string]string{"team": "ops"}
	if err := ci.Mark(&labels); !api.Is(err, api.Forbidden) {
		t.Error(err)
	}
	if labels = nil; ci.Mark(&labels) != nil || !ci.Owns(labels) {
		t.Error(labels)
	}
	if open, err := Parse([]byte("default allow"), nil); err != nil || !open.Of(Who{}).May("x", Build) || open.Of(Who{}).Grant([]Need{{Word: "privileged"}}) != nil {
		t.Error(err)
	}
	if shut, err := Parse(nil, nil); err != nil || shut.Of(Who{Local: true}) != nil {
		t.Error("a policy that says nothing lets somebody in")
	}
}

const free = "free" // of package server: no kind of a policy's

// TestWrongFiles: each error names its line.
func TestWrongFiles(t *testing.T) {
	for text, want := range map[string]string{
		"\n\nallow look":                            "line 3: allow stands before the first client",
		"client a\n\n# x\n":                         "line 1: the section of client a ends, and says by no uid, gid or cert whom it is for",
		"client a\nclient b\nuid 1":                 "line 2: the section of client a ends",
		"client a b":                                "line 1: client needs one name",
		"client a\nuid 0\nclient a":                 "line 3: there is a client a already",
		"client a\nuid -1":                          "line 2: uid -1: there is no such user",
		"client a\nuid nosuchuser":                  "line 2: uid nosuchuser: there is no such user",
		"client a\ngid nosuchgroup":                 "line 2: gid nosuchgroup: there is no such group",
		"client a\ncert [":                          "line 2: cert [: it is no pattern",
		"client a\nuid 0\nallow root":               "line 3: allow root: it is everything or one of look, run",
		"client a\nuid 0\nallow":                    "line 3: allow needs a value",
		"client a\nuid 0\nallow LOOK":               "line 3: allow LOOK: it is everything or one of",
		"client a\nuid 0\nallows look":              `line 3: "allows" is no directive`,
		"client a\nuid 0\nroute GET /v1.41/info":    `line 3: there is no route "GET /v1.41/info"`,
		"client a\nuid 0\nlabel team":               "line 3: label team: it is KEY=VALUE",
		"client a\nuid 0\nlabel a=b a=c":            "line 3: label a=c: the key was given before",
		"client a\nuid 0\nwith root":                "line 3: with root: it is no right",
		"client a\nuid 0\nwith bind":                "line 3: with bind: it is written bind=…",
		"client a\nuid 0\nwith bind=":               "line 3: with bind=: it is written bind=…",
		"client a\nuid 0\nwith privileged=yes":      "line 3: with privileged=yes: it is written privileged",
		"client a\nuid 0\nwith bind=srv":            "line 3: with bind=srv: it is no clean absolute path",
		"client a\nuid 0\nwith bind=/srv/":          "line 3: with bind=/srv/: it is no clean absolute path",
		"client a\nuid 0\nwith bind=/srv/../etc:ro": "line 3: with bind=/srv/../etc:ro: it is no clean absolute path",
		"default deny\ndefault allow":               "line 2: default was given before",
		"default perhaps":                           `line 1: default is deny or allow, not "perhaps"`,
		"client a\nuid 0\ndefault allow":            "line 3: default stands before the clients",
		strings.Repeat("#", maxFile+1):              "it is larger than 1 MB",
	} {
		if _, err := Parse([]byte(text), routes); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

// TestRights: what reaches the host is refused to who has no right to it, however it is asked for.
func TestRights(t *testing.T) {
	p, err := Parse([]byte(example), routes)
	if err != nil {
		t.Fatal(err)
	}
	ci := p.clients[1]
	bind := func(source string, rw bool) []Need {
		return OfContainer(&api.HostConfig{}, []api.MountPoint{{Type: "bind", Source: source, RW: rw}})
	}
	host := func(h api.HostConfig) []Need { return append(OfContainer(&h, nil), OfCreate(&h)...) }
	for name, row := range map[string]struct {
		needs []Need
		want  string
	}{
		"nothing":            {host(api.HostConfig{CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges"}, LogConfig: api.LogConfig{Type: "local"}}), ""},
		"a folder":           {bind("/srv/cache", true), ""},
		"to read":            {bind("/srv/cache", false), ""},
		"read-only":          {bind("/srv/ci", false), ""},
		"written":            {bind("/srv/ci", true), "bind=/srv/ci"},
		"by its dots":        {bind("/srv/cache/../../etc", true), "bind=/etc"},
		"below":              {bind("/srv/cache/x", true), "bind=/srv/cache/x"},
		"above":              {bind("/", false), "bind=/:ro"},
		"a name with :ro":    {bind("/srv/ci:ro", true), "bind=/srv/ci:ro"},
		"an unknown type":    {OfContainer(&api.HostConfig{}, []api.MountPoint{{Type: "npipe", Source: "/x"}}), "bind=/x:ro"},
		"a capability":       {host(api.HostConfig{CapAdd: []string{"CAP_NET_ADMIN", "net_admin"}}), ""},
		"another":            {host(api.HostConfig{CapAdd: []string{"SYS_ADMIN"}}), "cap=SYS_ADMIN"},
		"all":                {host(api.HostConfig{CapAdd: []string{"all"}}), "cap=ALL"},
		"privileged":         {host(api.HostConfig{Privileged: true}), "privileged"},
		"network":            {host(api.HostConfig{NetworkMode: "host"}), "host-network"},
		"pid":                {host(api.HostConfig{PidMode: "host"}), "host-pid"},
		"ipc":                {host(api.HostConfig{IpcMode: "host"}), "host-ipc"},
		"uts":                {host(api.HostConfig{UTSMode: "host"}), "host-uts"},
		"user":               {host(api.HostConfig{UsernsMode: "host"}), "host-user"},
		"cgroup":             {host(api.HostConfig{CgroupnsMode: "host"}), "host-cgroup"},
		"seccomp":            {host(api.HostConfig{SecurityOpt: []string{"seccomp=unconfined"}}), "unconfined"},
		"new privileges":     {host(api.HostConfig{SecurityOpt: []string{"no-new-privileges=false"}}), "unconfined"},
		"masks":              {host(api.HostConfig{MaskedPaths: []string{}}), "unconfined"},
		"device":             {host(api.HostConfig{Resources: api.Resources{Devices: []api.DeviceMapping{{PathOnHost: "/dev/../dev/kvm"}}}}), ""},
		"another device":     {host(api.HostConfig{Resources: api.Resources{Devices: []api.DeviceMapping{{PathOnHost: "/dev/sda"}}}}), "device=/dev/sda"},
		"rules":              {host(api.HostConfig{Resources: api.Resources{DeviceCgroupRules: []string{"a *:* rwm"}}}), "device=*"},
		"parent":             {host(api.HostConfig{Resources: api.Resources{CgroupParent: "/x"}}), "cgroup-parent=/x"},
		"runtime":            {host(api.HostConfig{Runtime: "crun"}), ""},
		"another runtime":    {host(api.HostConfig{Runtime: "runc"}), "runtime=runc"},
		"log":                {host(api.HostConfig{LogConfig: api.LogConfig{Type: "syslog"}}), "log-driver=syslog"},
		"update":             {OfUpdate(&api.UpdateContainer{Resources: api.Resources{DeviceRequests: []api.DeviceRequest{{}}}}, nil), "device=*"},
		"exec":               {OfExec(&api.CreateExec{Privileged: true}), "privileged"},
		"volume":             {OfVolume(map[string]string{"size": "1g"}), ""},
		"volume of the host": {OfVolume(map[string]string{"type": "none", "o": "bind", "device": "/"}), "mount"},
		"bridge":             {OfNetwork(&api.CreateNetwork{Driver: "bridge", Options: map[string]string{"com.docker.network.driver.mtu": "9000"}}), ""},
		"another's bridge":   {OfNetwork(&api.CreateNetwork{Options: map[string]string{"com.docker.network.bridge.name": "docker0"}}), "link"},
		"macvlan":            {OfNetwork(&api.CreateNetwork{Driver: "macvlan"}), "link"},
		"build":              {OfBuild(&api.BuildRequest{Contexts: map[string]api.BuildContext{"context": {Upload: "x"}}}), ""},
		"build reads":        {OfBuild(&api.BuildRequest{Contexts: map[string]api.BuildContext{"context": {Path: "/root"}}}), "bind=/root:ro"},
		"build binds":        {OfBuild(&api.BuildRequest{Binds: []string{"/srv/ci:/x"}}), "bind=/srv/ci"},
		"build binds to :ro": {OfBuild(&api.BuildRequest{Binds: []string{"/srv/ci:/x:ro"}}), ""},
		"insecure step":      {OfBuild(&api.BuildRequest{Allow: []string{"security.insecure"}}), "privileged"},
		"step on the host":   {OfBuild(&api.BuildRequest{Allow: []string{"network.host"}}), "host-network"},
		"agent":              {OfBuild(&api.BuildRequest{Agents: map[string]string{"a": "/run/docker.sock"}}), "bind=/run/docker.sock"},
		"cache in a folder":  {OfBuild(&api.BuildRequest{From: []api.BuildCacheOption{{Type: "local", Attrs: map[string]string{"src": "/etc", "dest": "/srv/cache"}}}}), "bind=/etc"},
		"step's group":       {OfBuild(&api.BuildRequest{Options: map[string]string{"cgroup-parent": "/x"}}), "cgroup-parent=/x"},
	} {
		err := ci.Grant(row.needs)
		switch {
		case row.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case row.want != "" && (!api.Is(err, api.Forbidden) || !strings.Contains(err.Error(), " have "+row.want+":")):
			t.Errorf("%s: %v, want %s", name, err, row.want)
		case row.want != "" && p.clients[0].Grant(row.needs) != nil:
			t.Errorf("%s: who may have everything may not", name)
		}
	}
}

// FuzzParse: any file is a policy or an error with a line, and what is no section of it gets nothing.
func FuzzParse(f *testing.F) {
	f.Add(example)
	f.Add("default allow\nclient a\ncert *\nwith bind=*:ro cap=* device=*\n")
	f.Add("client \x00\nuid 4294967296\nlabel ==\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse([]byte(text), routes)
		if err != nil {
			var n int
			if _, e := fmt.Sscanf(err.Error(), "line %d: ", &n); e != nil && len(text) <= maxFile {
				t.Fatal(err)
			}
			return
		}
		if c := p.Of(Who{}); c != nil && !p.open {
			t.Fatalf("%q lets in who is nobody, as %s", text, c.Name)
		}
	})
}

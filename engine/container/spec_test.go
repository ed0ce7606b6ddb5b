package container

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
)

// specOf starts a container and gives the spec that the keeper got.
func (w *world) specOf(edit ...func(*api.CreateContainer)) *specs.Spec {
	w.t.Helper()
	id := w.create("", edit...)
	w.must(w.Start(w.t.Context(), id))
	return w.keeper.launches[len(w.keeper.launches)-1].Spec
}

func mountAt(s *specs.Spec, dest string) *specs.Mount {
	for i := range s.Mounts {
		if s.Mounts[i].Destination == dest {
			return &s.Mounts[i]
		}
	}
	return nil
}

func TestDefaultSpec(t *testing.T) {
	w := newWorld(t)
	s := w.specOf()
	id := w.keeper.launches[0].Name.Container
	if got := s.Process.Env; !slices.Equal(got, []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=" + id[:12], "A=1", "HOME=/root"}) {
		t.Error(got)
	}
	if len(s.Process.Capabilities.Bounding) != 14 || s.Process.Capabilities.Inheritable != nil || s.Process.Capabilities.Ambient != nil {
		t.Error(s.Process.Capabilities)
	}
	if s.Linux.Seccomp == nil || len(s.Linux.Seccomp.Syscalls) < 10 {
		t.Error("no seccomp profile")
	}
	if s.Linux.CgroupsPath != "/lighter/"+id || s.Hostname != id[:12] || s.Process.Cwd != "/" {
		t.Error(s.Linux.CgroupsPath, s.Hostname, s.Process.Cwd)
	}
	if len(s.Linux.MaskedPaths) < 12 || len(s.Linux.ReadonlyPaths) != 5 {
		t.Error(s.Linux.MaskedPaths, s.Linux.ReadonlyPaths)
	}
	if s.Linux.Sysctl["net.ipv4.ip_unprivileged_port_start"] != "0" {
		t.Error(s.Linux.Sysctl)
	}
	if m := mountAt(s, "/dev/shm"); m == nil || !slices.Contains(m.Options, "size=67108864") {
		t.Error(m)
	}
	for _, inside := range []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"} {
		m := mountAt(s, inside)
		if m == nil || filepath.Dir(m.Source) != filepath.Join(w.root, "containers", id) {
			t.Errorf("%s: %+v", inside, m)
		}
	}
	text, err := os.ReadFile(mountAt(s, "/etc/hosts").Source)
	w.must(err)
	if !strings.HasPrefix(string(text), "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n") {
		t.Errorf("%s", text)
	}
}

func TestSpecOptions(t *testing.T) {
	w := newWorld(t)
	yes, dir := true, t.TempDir()
	s := w.specOf(func(r *api.CreateContainer) {
		r.Tty, r.WorkingDir, r.Domainname = true, "/w/x", "d.example"
		h := r.HostConfig
		h.NetworkMode, h.PidMode, h.IpcMode, h.UTSMode = "host", "host", "host", ""
		h.ReadonlyRootfs, h.CapDrop, h.CapAdd = true, []string{"all"}, []string{"net_admin", "CAP_KILL"}
		h.SecurityOpt = []string{"no-new-privileges", "seccomp=unconfined"}
		h.Binds = []string{dir + ":/data/in:ro", dir + "/made:/data"}
		h.Tmpfs = map[string]string{"/run": "exec,size=1m"}
		h.Memory, h.NanoCPUs, h.OomScoreAdj, h.GroupAdd = 64<<20, 1_500_000_000, 100, []string{"staff", "77"}
		h.Ulimits = []api.Ulimit{{Name: "nofile", Soft: 10, Hard: 20}}
		h.CgroupParent, h.Sysctls = "/../../up", map[string]string{"kernel.msgmax": "1"}
		h.ExtraHosts = []string{"h1:10.0.0.1"}
		h.Init = &yes // not with the host's processes
	})
	var kinds []string
	for _, n := range s.Linux.Namespaces {
		kinds = append(kinds, string(n.Type))
	}
	if !slices.Equal(kinds, []string{"mount", "uts"}) {
		t.Error(kinds)
	}
	if !slices.Equal(s.Process.Capabilities.Effective, []string{"CAP_NET_ADMIN", "CAP_KILL"}) || !s.Process.NoNewPrivileges || s.Linux.Seccomp != nil {
		t.Error(s.Process.Capabilities)
	}
	if !strings.HasPrefix(s.Linux.CgroupsPath, "/up/") || !s.Root.Readonly || s.Domainname != "d.example" || s.Process.Args[0] != "sleep" {
		t.Errorf("%+v", s)
	}
	if got := s.Process.User; !slices.Equal(got.AdditionalGids, []uint32{0, 10, 50, 77}) {
		t.Error(got)
	}
	if *s.Linux.Resources.Memory.Limit != 64<<20 || *s.Linux.Resources.Memory.Swap != 128<<20 || *s.Linux.Resources.CPU.Quota != 150_000 {
		t.Errorf("%+v", s.Linux.Resources)
	}
	if !slices.Contains(s.Process.Env, "TERM=xterm") || !slices.Contains(s.Process.Env, "HOSTNAME=vm") {
		t.Error(s.Process.Env)
	}
	if m := mountAt(s, "/run"); !slices.Equal(m.Options, []string{"nosuid", "nodev", "rprivate", "exec", "size=1m"}) {
		t.Error(m.Options)
	}
	if m := mountAt(s, "/data/in"); !slices.Equal(m.Options, []string{"rbind", "rro", "rprivate"}) {
		t.Error(m.Options)
	}
	at := func(dest string) int {
		return slices.IndexFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == dest })
	}
	if at("/data") > at("/data/in") {
		t.Error("a parent is mounted over its child")
	}
	if _, err := os.Stat(dir + "/made"); err != nil {
		t.Error(err)
	}
	if m := mountAt(s, "/sys/fs/cgroup"); !slices.Contains(m.Options, "ro") {
		t.Error(m)
	}
	if m := mountAt(s, "/dev/shm"); m.Type != "bind" || m.Source != "/dev/shm" {
		t.Error(m)
	}
	if _, set := s.Linux.Sysctl["net.ipv4.ping_group_range"]; set || s.Linux.Sysctl["kernel.msgmax"] != "1" {
		t.Error(s.Linux.Sysctl)
	}
}

func TestOverDev(t *testing.T) {
	w := newWorld(t)
	s := w.specOf(func(r *api.CreateContainer) { r.HostConfig.Binds = []string{"/dev:/dev"} })
	for _, m := range s.Mounts {
		if strings.HasPrefix(m.Destination, "/dev/") {
			t.Error(m.Destination)
		}
	}
	id := w.create("proc", func(r *api.CreateContainer) { r.HostConfig.Binds = []string{"/tmp:/proc/self/attr"} })
	err := w.Start(t.Context(), id)
	if err == nil || !strings.Contains(err.Error(), `"/proc/self/attr" cannot be mounted because it is inside /proc`) {
		t.Error(err)
	}
}

func TestUsers(t *testing.T) {
	w := newWorld(t)
	const none = "\x00"
	for _, row := range []struct {
		user     string
		uid, gid uint32
		groups   []uint32
		fails    string
	}{
		{user: "", groups: []uint32{0, 10}},
		{user: "0", groups: []uint32{0, 10}},
		{user: "user", uid: 1000, gid: 1000, groups: []uint32{1000, 50, 10}},
		{user: "1000", uid: 1000, gid: 1000, groups: []uint32{1000, 50, 10}}, // and not the user named 1000
		{user: "1", uid: 1, groups: []uint32{0}},
		{user: "65534", uid: 65534, groups: []uint32{0}},
		{user: "1:2", uid: 1, gid: 2, groups: []uint32{2}},
		{user: "user:staff", uid: 1000, gid: 50, groups: []uint32{50}},
		{user: ":50", gid: 50, groups: []uint32{50}},
		{user: "2147483647", uid: 2147483647, groups: []uint32{0}},
		{user: "2147483648", fails: badRange},
		{user: "4294967296", fails: badRange},
		{user: "99999999999999999999999", fails: badRange},
		{user: "-1", fails: badRange},
		{user: "0:-1", fails: badRange},
		{user: "big", fails: badRange},
		{user: "nobody2", fails: "unable to find user nobody2: no matching entries in passwd file"},
		{user: "0:nogrp", fails: "unable to find group nogrp: no matching entries in group file"},
		{user: "us er\n", fails: "unable to find user us er\n: no matching entries in passwd file"},
	} {
		got, err := lookup(w.rootfs, nil, row.user, nil)
		if row.fails != "" {
			if err == nil || err.Error() != row.fails {
				t.Errorf("%q: %v", row.user, err)
			}
			continue
		}
		if err != nil || got.UID != row.uid || got.GID != row.gid || !slices.Equal(got.AdditionalGids, row.groups) {
			t.Errorf("%q: %+v %v", row.user, got, err)
		}
	}
	_ = none
	if _, err := lookup(w.rootfs, nil, "0", []string{"foo"}); err == nil || err.Error() != "unable to find group foo: no matching entries in group file" {
		t.Error(err)
	}
	w.rootfs.group = strings.Repeat("x", maxAccounts+1)
	if _, err := lookup(w.rootfs, nil, "user", nil); err == nil {
		t.Error("a group file without end was read")
	}
	w.rootfs.group = "x\n:::\n" + strings.Repeat("y", 100<<10) + "\nroot:x:notanumber:user\n\n#\n"
	if got, err := lookup(w.rootfs, nil, "user", nil); err != nil || !slices.Equal(got.AdditionalGids, []uint32{1000}) {
		t.Error(got, err)
	}
}

// TestSpecIsShared makes sure that what specs share is not written to.
func TestSpecIsShared(t *testing.T) {
	w := newWorld(t)
	a := w.specOf()
	before, _ := json.Marshal(a.Linux.Seccomp)
	b := w.specOf(func(r *api.CreateContainer) { r.HostConfig.CapAdd = []string{"SYS_ADMIN"} })
	after, _ := json.Marshal(a.Linux.Seccomp)
	if string(before) != string(after) || a.Linux.Seccomp == b.Linux.Seccomp {
		t.Error("profiles mix")
	}
	if w.specOf().Linux.Seccomp != a.Linux.Seccomp {
		t.Error("the profile is made anew")
	}
}

package container

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"lighter/api"
)

// TestImageChoosesNothing has an image whose configuration asks for more than a command
// (CVE-2014-6408, CVE-2026-94603, CVE-2026-53488, CVE-2026-121885), and whose environment
// has entries without a value, which name variables of the engine's (CVE-2026-57231).
func TestImageChoosesNothing(t *testing.T) {
	w := newWorld(t)
	plain := w.specOf()
	var config api.ContainerConfig
	err := json.Unmarshal([]byte(`{"Cmd":["sh"],"Env":["A=1","CANARY","*","=x","","CAN*"],
		"Privileged":true,"CapAdd":["ALL"],"SecurityOpt":["seccomp=unconfined"],"Binds":["/:/host"],
		"HostConfig":{"Privileged":true,"Binds":["/:/host"],"Runtime":"evil","PidMode":"host"},
		"Labels":{"io.lighter.privileged":"true","io.containerd.runtime":"evil","com.docker.volumes":"/:/host",
			"org.systemd.property.X":"y","run.oci.hooks":"file:///bin/sh","io.podman.annotations.seccomp":"unconfined"}}`), &config)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("CANARY", "of the engine")
	img := w.images["busybox"]
	img.Config = &config
	w.images["busybox"] = img
	s := w.specOf()
	if i := slices.IndexFunc(s.Process.Env, func(e string) bool { return strings.Contains(e, "of the engine") }); i >= 0 {
		t.Errorf("the engine's environment is in the container: %q", s.Process.Env)
	}
	same := func(what string, a, b any) {
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		if string(x) != string(y) {
			t.Errorf("%s: %s, of a plain image %s", what, y, x)
		}
	}
	same("capabilities", plain.Process.Capabilities, s.Process.Capabilities)
	same("seccomp", plain.Linux.Seccomp, s.Linux.Seccomp)
	same("masked paths", plain.Linux.MaskedPaths, s.Linux.MaskedPaths)
	same("namespaces", len(plain.Linux.Namespaces), len(s.Linux.Namespaces))
	same("mounts", len(plain.Mounts), len(s.Mounts))
	same("hooks", plain.Hooks, s.Hooks)
	same("annotations", plain.Annotations, s.Annotations)
}

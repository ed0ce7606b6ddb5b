package kernel

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"lighter/oci"
)

func TestPlatforms(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"qemu-s390x":   "enabled\ninterpreter /usr/bin/qemu-s390x-static\nflags: OCF\noffset 0\n",
		"qemu-riscv64": "enabled\ninterpreter /usr/bin/qemu-riscv64-static\nflags: OC\n",
		"qemu-ppc64le": "disabled\ninterpreter /usr/bin/qemu-ppc64le-static\nflags: F\n",
		"python3":      "enabled\ninterpreter /usr/bin/python3\nflags: F\n", "status": "enabled\n", "register": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, p := range Platforms(dir) {
		got = append(got, p.Architecture)
	}
	if got[0] != oci.Host().Architecture || !slices.Contains(got, "s390x") || slices.Contains(got, "riscv64") || slices.Contains(got, "ppc64le") {
		t.Errorf("%q", got)
	}
	if list := Platforms(filepath.Join(dir, "nowhere")); len(list) > 2 {
		t.Errorf("without a registry: %v", list)
	}
}

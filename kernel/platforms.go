package kernel

import (
	"os"
	"path/filepath"
	"strings"

	"lighter/api"
	"lighter/oci"
)

// emulators are the names under which emulators are registered, by the architectures of their programs.
var emulators = map[string]string{
	"qemu-aarch64": "arm64", "qemu-arm": "arm", "qemu-i386": "386", "qemu-x86_64": "amd64", "qemu-ppc64le": "ppc64le", "qemu-s390x": "s390x",
	"qemu-riscv64": "riscv64", "qemu-mips64el": "mips64le", "qemu-mips64": "mips64", "qemu-loongarch64": "loong64",
}

// Platforms are those whose programs this machine runs: its own first, then what is registered with the kernel at this
// moment. registry is binfmt_misc's folder.
func Platforms(registry string) []api.Platform {
	host := oci.Host()
	list := []api.Platform{{OS: host.OS, Architecture: host.Architecture, Variant: host.Variant}}
	if host.Architecture == "amd64" {
		list = append(list, api.Platform{OS: host.OS, Architecture: "386"})
	}
	entries, err := os.ReadDir(registry)
	if err != nil {
		return list // it is not mounted: there are none
	}
	for _, e := range entries {
		name := emulators[e.Name()]
		if name == "" || name == host.Architecture {
			continue
		}
		if text, err := os.ReadFile(filepath.Join(registry, e.Name())); err == nil && reachesIn(string(text)) {
			list = append(list, api.Platform{OS: host.OS, Architecture: name})
		}
	}
	return list
}

// reachesIn tells whether an emulator is enabled, and held open: with the flag F, programs in a container find it, whose
// root has none.
func reachesIn(entry string) bool {
	enabled, held := false, false
	for line := range strings.Lines(entry) {
		line = strings.TrimSpace(line)
		enabled = enabled || line == "enabled"
		if flags, ok := strings.CutPrefix(line, "flags:"); ok {
			held = strings.Contains(flags, "F")
		}
	}
	return enabled && held
}

// Emulators is where the kernel tells which emulators are registered.
const Emulators = "/proc/sys/fs/binfmt_misc"

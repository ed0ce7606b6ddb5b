package kernel

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/moby/sys/capability"

	"lighter/engine/container"
	"lighter/linux/cgroup"
	"lighter/oci"
	tiny "lighter/runtime/init"
	"lighter/store"
)

// capabilities are those that the engine holds, and so may grant.
func capabilities() ([]string, error) {
	self, err := capability.NewPid2(0)
	if err == nil {
		err = self.Load()
	}
	if err != nil {
		return nil, fmt.Errorf("read the engine's capabilities: %w", err)
	}
	var list []string
	for _, c := range capability.ListKnown() {
		if self.Get(capability.EFFECTIVE, c) && self.Get(capability.BOUNDING, c) {
			list = append(list, "CAP_"+strings.ToUpper(c.String()))
		}
	}
	return list, nil
}

// Host is what containers need to know of the machine: cgroupParent is where their
// cgroups go, and the program of --init is laid at init.
func Host(l cgroup.Layout, cgroupParent, init string) (container.Host, error) {
	h := container.Host{
		CPUs: runtime.NumCPU(), CgroupV2: l.Mode == cgroup.V2, Groupless: l.Mode == cgroup.None, CgroupParent: cgroupParent,
		Kernel: Features(l), Init: init,
		AppArmor: readLine("/sys/module/apparmor/parameters/enabled") == "Y", SELinux: readLine("/sys/fs/selinux/enforce") != "",
	}
	is := oci.Host()
	h.Architecture, h.Variant = is.Architecture, is.Variant
	var err error
	if h.Name, err = os.Hostname(); err == nil {
		h.Capabilities, err = capabilities()
	}
	if err == nil {
		err = layInit(h.Init)
	}
	return h, err
}

// layInit puts the program of --init where containers find it: in the data root, as
// the exec root may be on a file system from which nothing is executed.
func layInit(path string) error {
	f, err := tiny.File()
	if err != nil {
		return fmt.Errorf("lay the init program: %w", err)
	}
	program, err := io.ReadAll(io.NewSectionReader(f, 0, maxInit))
	if err != nil {
		return fmt.Errorf("lay the init program: %w", err)
	}
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, program) {
		return nil
	}
	return store.WriteFile(path, program, 0o555, false)
}

const maxInit = 1 << 20 // bytes; it is about 2000

package task

import (
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Step asks for one program that runs to its end, as a build's RUN does. No keeper holds it: it
// ends with the engine. The descriptors stay the caller's.
type Step struct {
	ID             string // names its cgroup, the last part of Spec's CgroupsPath
	Spec           *specs.Spec
	Rootfs         *os.File            // a detached mount that becomes its /
	Sources        map[string]*os.File // as in Launch
	Files          []File              // bind mounts of what lies in memory alone
	Stdout, Stderr *os.File            // nil for /dev/null
}

// File is a file that a program finds and that no disk holds.
type File struct {
	Path     string // where the program finds it; it becomes one more mount of the spec
	Data     []byte
	Mode     uint32 // permissions
	UID, GID uint32
	Options  []string // of the mount: nosuid, ro…
}

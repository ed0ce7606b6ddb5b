package task

import (
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Step asks for one program that runs to its end, as a build's RUN does. No keeper holds it: it
// ends with the engine. The descriptors stay the caller's.
type Step struct {
	ID             string // names its cgroup
	Spec           *specs.Spec
	Rootfs         *os.File            // a detached mount that becomes its /
	Sources        map[string]*os.File // as in Launch
	Stdout, Stderr *os.File            // nil for /dev/null
}

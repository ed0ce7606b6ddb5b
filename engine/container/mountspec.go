package container

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// insideProc lists what may be mounted over single files of /proc: what lxcfs and
// its like fake. Nothing else may come between a container and its true procfs.
var insideProc = []string{"cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev", "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"}

// spec turns the mount into the runtime's form, and makes its source if it has to be.
func (m *mount) spec(root [2]int) (specs.Mount, error) {
	if m.overProc() {
		return specs.Mount{}, startErrorf(128, "%q cannot be mounted because it is inside /proc", m.Destination)
	}
	out := specs.Mount{Destination: m.inside(), Type: "bind", Source: m.Source, Options: m.options()}
	switch m.Type {
	case tmpfsMount:
		out.Type, out.Source = "tmpfs", "tmpfs"
		return out, knownTmpfs(out.Options)
	case bindMount:
		if err := m.conflicts(); err != nil {
			return out, err
		}
		err := m.ready(root)
		out.Options = m.options()
		return out, err
	}
	return out, nil
}

// overProc reports whether it would come between the container and its procfs.
func (m *mount) overProc() bool {
	rest, below := strings.CutPrefix(m.inside(), "/proc/")
	return below && !slices.Contains(insideProc, rest) || m.inside() == "/proc"
}

// inside is where the container sees it: a path that was given without a beginning slash
// begins at the root.
func (m *mount) inside() string { return path.Join("/", m.Destination) }

// ready sees that the source of a bind is there, and can take part in the propagation
// asked for.
func (m *mount) ready(root [2]int) error {
	if _, err := os.Stat(m.Source); errors.Is(err, os.ErrNotExist) {
		if !m.Make {
			return invalid("invalid mount config for type \"bind\": bind source path does not exist: %s", m.Source)
		}
		if err := makeSource(m.Source, root); err != nil {
			return fmt.Errorf("error while creating mount source path '%s': %w", m.Source, err)
		}
	} else if err != nil {
		return fmt.Errorf("mount %s: %w", m.Source, err)
	}
	err := m.propagates()
	if o := m.Spec.BindOptions; err != nil && (o == nil || o.Propagation == "") {
		// Nobody asked for it (besideRoot): what the host's mount cannot take part in is private.
		m.Propagation, err = "rprivate", nil
	}
	return err
}

// propagates checks that the host's mount can take part in the propagation asked for.
func (m *mount) propagates() error {
	var marks []string
	kind := strings.TrimPrefix(m.Propagation, "r")
	switch kind {
	case "shared":
		marks = []string{"shared:"}
	case "slave":
		marks = []string{"shared:", "master:"}
	default:
		return nil
	}
	source, err := filepath.EvalSymlinks(m.Source)
	if err != nil {
		return fmt.Errorf("mount %s: %w", m.Source, err)
	}
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("mount %s: %w", m.Source, err)
	}
	point, optional := "", ""
	for line := range strings.Lines(string(info)) {
		head, _, _ := strings.Cut(line, " - ")
		f := strings.Fields(head)
		if len(f) < 6 || len(f[4]) < len(point) {
			continue
		}
		if at := f[4]; at == "/" || source == at || strings.HasPrefix(source, at+"/") {
			point, optional = at, strings.Join(f[6:], " ")
		}
	}
	if !slices.ContainsFunc(marks, func(mark string) bool { return strings.Contains(optional, mark) }) {
		noun := map[string]string{"shared": "shared", "slave": "shared or slave"}[kind]
		return fmt.Errorf("path %s is mounted on %s but it is not a %s mount", m.Source, point, noun)
	}
	return nil
}

// makeSource makes a folder of the host, and those above it, for the containers' root.
func makeSource(path string, root [2]int) error {
	if root == [2]int{} {
		return os.MkdirAll(path, 0o755)
	}
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return nil
	}
	if err := makeSource(filepath.Dir(path), root); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	return os.Chown(path, root[0], root[1])
}

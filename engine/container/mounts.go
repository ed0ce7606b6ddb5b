package container

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
)

// mount is a mount that the user asked for, in one form.
type mount struct {
	api.MountPoint
	options []string // of the runtime spec
	make    bool     // the source folder when it is missing
	listed  bool     // inspect shows it
}

var (
	propagations = []string{"private", "rprivate", "slave", "rslave", "shared", "rshared"}
	consistency  = []string{"consistent", "cached", "delegated"}
)

// parseMounts reads binds, mounts and tmpfs, in the order in which they are mounted:
// a parent before what lies below it.
func parseMounts(h *api.HostConfig) ([]mount, error) {
	var list []mount
	taken := map[string]bool{}
	add := func(m mount) error {
		if taken[m.Destination] {
			return invalid("Duplicate mount point: %s", m.Destination)
		}
		taken[m.Destination] = true
		list = append(list, m)
		return nil
	}
	for _, b := range h.Binds {
		m, err := parseBind(b)
		if err != nil {
			return nil, err
		}
		if _, dup := h.Tmpfs[m.Destination]; dup {
			return nil, invalid("Duplicate mount point: %s", m.Destination)
		}
		if err := add(m); err != nil {
			return nil, err
		}
	}
	for i := range h.Mounts {
		m, err := parseMount(&h.Mounts[i])
		if err != nil {
			return nil, err
		}
		if err := add(m); err != nil {
			return nil, err
		}
	}
	for dest, data := range h.Tmpfs {
		m := mount{MountPoint: api.MountPoint{Type: "tmpfs", Destination: path.Clean(dest), RW: true}}
		m.options = tmpfsOptions(strings.Split(data, ","))
		if err := add(m); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(list, func(a, b mount) int {
		return cmp.Or(cmp.Compare(strings.Count(a.Destination, "/"), strings.Count(b.Destination, "/")), cmp.Compare(a.Destination, b.Destination))
	})
	return list, nil
}

func mountPoints(list []mount) []api.MountPoint {
	points := []api.MountPoint{}
	for _, m := range list {
		if m.listed {
			points = append(points, m.MountPoint)
		}
	}
	return points
}

// parseBind reads source:destination[:mode].
func parseBind(raw string) (mount, error) {
	bad := func(err error) (mount, error) {
		if err == nil {
			return mount{}, invalid("invalid volume specification: '%s'", raw)
		}
		return mount{}, invalid("invalid volume specification: '%s': %w", raw, err)
	}
	parts := strings.SplitN(raw, ":", 4)
	if parts[0] == "" || len(parts) > 3 || len(parts) == 2 && modesOK(parts[1]) {
		return bad(nil)
	}
	mode := ""
	if len(parts) == 3 {
		mode = parts[2]
	}
	if !modesOK(mode) {
		return mount{}, invalid("invalid mode: %s", mode)
	}
	spec := api.Mount{Type: "bind", Target: parts[len(parts)-1]}
	if len(parts) > 1 {
		spec.Source, spec.Target = parts[0], parts[1]
	}
	for m := range strings.SplitSeq(mode, ",") {
		spec.ReadOnly = spec.ReadOnly || m == "ro"
		if slices.Contains(propagations, m) {
			spec.BindOptions = &api.BindOptions{Propagation: m}
		}
	}
	if len(parts) == 1 || !path.IsAbs(spec.Source) {
		spec.Type = "volume"
		if spec.BindOptions != nil {
			return bad(errors.New(`invalid mount config for type "volume": field BindOptions must not be specified`))
		}
	}
	if err := validateMount(&spec, false); err != nil {
		return bad(err)
	}
	m, err := parseMount(&spec)
	m.Mode, m.make = mode, true
	return m, err
}

// modesOK reports whether each word of a mode is known, and none of a kind comes twice.
func modesOK(mode string) bool {
	if mode == "" {
		return true
	}
	kinds := [][]string{{"rw", "ro"}, {"z", "Z"}, propagations, {"nocopy"}, consistency}
	seen := make([]bool, len(kinds))
	for word := range strings.SplitSeq(mode, ",") {
		kind := slices.IndexFunc(kinds, func(k []string) bool { return slices.Contains(k, word) })
		if kind < 0 || seen[kind] {
			return false
		}
		seen[kind] = true
	}
	return true
}

// validateMount checks a mount as the API's Mounts have it. The source of a bind must
// be there unless it is to be made.
func validateMount(m *api.Mount, mustExist bool) error {
	bad := func(format string, args ...any) error {
		return invalid("invalid mount config for type %q: %s", m.Type, fmt.Sprintf(format, args...))
	}
	extra := func(field string) error { return bad("field %s must not be specified", field) }
	switch {
	case m.Target == "":
		return bad("field Target must not be empty")
	case path.Clean(m.Target) == "/":
		return bad("invalid specification: destination can't be '/'")
	case !path.IsAbs(m.Target):
		return bad("invalid mount path: '%s' mount path must be absolute", m.Target)
	case m.Type != "bind" && m.BindOptions != nil:
		return extra("BindOptions")
	case m.Type == "bind" && m.VolumeOptions != nil:
		return extra("VolumeOptions")
	case m.Type != "image" && m.ImageOptions != nil:
		return extra("ImageOptions")
	case m.Type != "tmpfs" && m.TmpfsOptions != nil && m.Type != "volume":
		return extra("TmpfsOptions")
	}
	switch m.Type {
	case "bind":
		if m.Source == "" {
			return bad("field Source must not be empty")
		}
		if o := m.BindOptions; o != nil && o.Propagation != "" && !slices.Contains(propagations, o.Propagation) {
			return bad("invalid propagation mode: %s", o.Propagation)
		}
		if !path.IsAbs(m.Source) {
			return bad("invalid mount path: '%s' mount path must be absolute", m.Source)
		}
		if mustExist && (m.BindOptions == nil || !m.BindOptions.CreateMountpoint) {
			if _, err := os.Stat(m.Source); errors.Is(err, os.ErrNotExist) {
				return bad("bind source path does not exist: %s", m.Source)
			}
		}
	case "tmpfs":
		if m.Source != "" {
			return extra("Source")
		}
		if _, err := tmpfsData(m.TmpfsOptions, m.ReadOnly); err != nil {
			return bad("%s", err)
		}
	case "volume":
		if m.ReadOnly && m.Source == "" {
			return bad("must not set ReadOnly mode when using anonymous volumes")
		}
	case "image", "cluster", "npipe":
	default:
		return bad("mount type unknown")
	}
	return nil
}

func parseMount(spec *api.Mount) (mount, error) {
	m := mount{listed: true}
	m.Type, m.Destination, m.RW = spec.Type, path.Clean(spec.Target), !spec.ReadOnly
	switch spec.Type {
	case "tmpfs":
		data, err := tmpfsData(spec.TmpfsOptions, spec.ReadOnly)
		if err != nil {
			return m, invalid("%w", err)
		}
		m.options = tmpfsOptions(data)
	case "bind":
		o := api.BindOptions{}
		if spec.BindOptions != nil {
			o = *spec.BindOptions
		}
		m.Source, m.make = path.Clean(spec.Source), o.CreateMountpoint
		m.Propagation = cmp.Or(o.Propagation, "rprivate")
		if o.ReadOnlyNonRecursive && o.ReadOnlyForceRecursive {
			return m, invalid("mount options conflict: ReadOnlyNonRecursive && ReadOnlyForceRecursive")
		}
		m.options = append(m.options, "rbind")
		if o.NonRecursive {
			m.options[0] = "bind"
		}
		switch {
		case !spec.ReadOnly:
		case o.ReadOnlyNonRecursive || o.NonRecursive:
			m.options = append(m.options, "ro")
		default:
			m.options = append(m.options, "rro")
		}
		m.options = append(m.options, m.Propagation)
	case "volume":
		return m, api.Errorf(api.NotImplemented, "volumes are not built yet: %q", cmp.Or(spec.Source, spec.Target))
	default:
		return m, api.Errorf(api.NotImplemented, "mounts of type %q are not built yet", spec.Type)
	}
	return m, nil
}

// tmpfsData turns the API's options into mount options.
func tmpfsData(o *api.TmpfsOptions, readOnly bool) (data []string, err error) {
	if readOnly {
		data = append(data, "ro")
	}
	if o == nil {
		return data, nil
	}
	if o.Mode != 0 {
		data = append(data, fmt.Sprintf("mode=%o", o.Mode))
	}
	if o.SizeBytes != 0 {
		data = append(data, fmt.Sprintf("size=%d", o.SizeBytes))
	}
	for _, opt := range o.Options {
		switch {
		case len(opt) < 1 || len(opt) > 2:
			return nil, errors.New("invalid option array length")
		case opt[0] != "exec" && opt[0] != "noexec":
			return nil, errors.New("invalid option: " + opt[0])
		}
		data = append(data, strings.Join(opt, "="))
	}
	return data, nil
}

// tmpfsOptions lays the user's options over the defaults: the last of a kind counts.
func tmpfsOptions(data []string) []string {
	opposite := map[string]string{"exec": "noexec", "suid": "nosuid", "dev": "nodev", "rw": "ro"}
	for k, v := range map[string]string{"exec": "noexec", "suid": "nosuid", "dev": "nodev", "rw": "ro"} {
		opposite[v] = k
	}
	options := []string{"noexec", "nosuid", "nodev", "rprivate"}
	for _, o := range data {
		if o == "" {
			continue
		}
		key, _, valued := strings.Cut(o, "=")
		options = slices.DeleteFunc(options, func(have string) bool {
			return have == o || have == opposite[o] || valued && strings.HasPrefix(have, key+"=") ||
				slices.Contains(propagations, o) && slices.Contains(propagations, have)
		})
		options = append(options, o)
	}
	return options
}

// insideProc lists what may be mounted over single files of /proc: what lxcfs and
// its like fake. Nothing else may come between a container and its true procfs.
var insideProc = []string{"cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev", "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"}

// spec turns the mount into the runtime's form, and makes its source if it has to be.
func (m *mount) spec() (specs.Mount, error) {
	if rest, inside := strings.CutPrefix(m.Destination, "/proc/"); inside && !slices.Contains(insideProc, rest) || m.Destination == "/proc" {
		return specs.Mount{}, startErrorf(128, "%q cannot be mounted because it is inside /proc", m.Destination)
	}
	if m.Type == "tmpfs" {
		return specs.Mount{Destination: m.Destination, Type: "tmpfs", Source: "tmpfs", Options: m.options}, nil
	}
	if _, err := os.Stat(m.Source); errors.Is(err, os.ErrNotExist) {
		if !m.make {
			return specs.Mount{}, invalid("invalid mount config for type \"bind\": bind source path does not exist: %s", m.Source)
		}
		if err := os.MkdirAll(m.Source, 0o755); err != nil {
			return specs.Mount{}, fmt.Errorf("error while creating mount source path '%s': %w", m.Source, err)
		}
	} else if err != nil {
		return specs.Mount{}, fmt.Errorf("mount %s: %w", m.Source, err)
	}
	if err := m.propagates(); err != nil {
		return specs.Mount{}, err
	}
	return specs.Mount{Destination: m.Destination, Type: "bind", Source: m.Source, Options: m.options}, nil
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

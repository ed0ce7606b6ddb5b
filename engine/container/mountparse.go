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

	"lighter/api"
)

var (
	propagations = []string{"private", "rprivate", "slave", "rslave", "shared", "rshared"}
	consistency  = []string{"consistent", "cached", "delegated"}
)

// parseBind reads source:destination[:mode]; a source that is no path is the name of a
// volume, of the driver given if any.
func parseBind(raw, driver string) (mount, error) {
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
	spec := api.Mount{Type: bindMount, Target: parts[len(parts)-1]}
	if len(parts) > 1 {
		spec.Source, spec.Target = parts[0], parts[1]
	}
	if len(parts) == 1 || !path.IsAbs(spec.Source) {
		spec.Type = volumeMount
		if driver != "" {
			spec.VolumeOptions = &api.VolumeOptions{DriverConfig: &api.VolumeDriver{Name: driver}}
		}
	}
	for word := range strings.SplitSeq(mode, ",") {
		switch {
		case word == "ro":
			spec.ReadOnly = true
		case word == "nocopy" && spec.VolumeOptions == nil:
			spec.VolumeOptions = &api.VolumeOptions{NoCopy: true}
		case word == "nocopy":
			spec.VolumeOptions.NoCopy = true
		case slices.Contains(propagations, word):
			spec.BindOptions = &api.BindOptions{Propagation: word}
		}
	}
	if err := validateMount(&spec, false); err != nil {
		return bad(err)
	}
	m := parseMount(spec)
	m.Mode, m.Make = mode, true
	return m, nil
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

// parseVolumesFrom reads container[:mode].
func parseVolumesFrom(raw string) (ref string, readOnly bool, err error) {
	if raw == "" {
		return "", false, invalid("volumes-from specification cannot be an empty string")
	}
	ref, mode, _ := strings.Cut(raw, ":")
	words := strings.Split(mode, ",")
	taken := func(word string) bool { return word == "nocopy" || slices.Contains(propagations, word) }
	if mode != "" && (!modesOK(mode) || slices.ContainsFunc(words, taken)) {
		return "", false, invalid("invalid mode: %s", mode)
	}
	return ref, slices.Contains(words, "ro"), nil
}

// validateMount checks a mount as the API's Mounts have it. The source of a bind must
// be there unless it is to be made.
func validateMount(m *api.Mount, mustExist bool) error {
	bad := func(format string, args ...any) error {
		return invalid("invalid mount config for type %q: %s", m.Type, fmt.Sprintf(format, args...))
	}
	switch {
	case m.Target == "":
		return bad("field Target must not be empty")
	case path.Clean(m.Target) == "/":
		return bad("invalid specification: destination can't be '/'")
	case !path.IsAbs(m.Target):
		return bad("invalid mount path: '%s' mount path must be absolute", m.Target)
	}
	check, known := mountChecks[m.Type]
	if !known {
		return bad("mount type unknown")
	}
	for _, o := range []struct {
		field, of string
		set       bool
	}{
		{"BindOptions", bindMount, m.BindOptions != nil}, {"VolumeOptions", volumeMount, m.VolumeOptions != nil},
		{"ImageOptions", imageMount, m.ImageOptions != nil}, {"TmpfsOptions", tmpfsMount, m.TmpfsOptions != nil},
	} {
		if o.set && o.of != m.Type {
			return bad("field %s must not be specified", o.field)
		}
	}
	if err := check(m, mustExist); err != nil {
		return bad("%s", err)
	}
	return nil
}

// mountChecks are the checks of each type.
var mountChecks = map[string]func(m *api.Mount, mustExist bool) error{
	bindMount: checkBind, volumeMount: checkVolume, tmpfsMount: checkTmpfs, imageMount: checkImage,
}

func checkBind(m *api.Mount, mustExist bool) error {
	o := m.BindOptions
	switch {
	case m.Source == "":
		return errors.New("field Source must not be empty")
	case o != nil && o.Propagation != "" && !slices.Contains(propagations, o.Propagation):
		return fmt.Errorf("invalid propagation mode: %s", o.Propagation)
	case !path.IsAbs(m.Source):
		return fmt.Errorf("invalid mount path: '%s' mount path must be absolute", m.Source)
	}
	if mustExist && (o == nil || !o.CreateMountpoint) {
		if _, err := os.Stat(m.Source); errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("bind source path does not exist: %s", m.Source)
		}
	}
	return nil
}

var errSubpath = errors.New("subpath must be a relative path within the volume")

func checkVolume(m *api.Mount, _ bool) error {
	if o := m.VolumeOptions; o != nil && o.Subpath != "" {
		if m.Source == "" {
			return errors.New("must not set Subpath when using anonymous volumes")
		}
		if !filepath.IsLocal(o.Subpath) {
			return errSubpath
		}
	}
	if m.ReadOnly && m.Source == "" {
		return errors.New("must not set ReadOnly mode when using anonymous volumes")
	}
	return nil
}

func checkTmpfs(m *api.Mount, _ bool) error {
	if m.Source != "" {
		return errors.New("field Source must not be specified")
	}
	_, err := tmpfsData(m.TmpfsOptions, m.ReadOnly)
	return err
}

func checkImage(m *api.Mount, _ bool) error {
	switch {
	case m.Source == "":
		return errors.New("field Source must not be empty")
	case m.ImageOptions != nil && m.ImageOptions.Subpath != "" && !filepath.IsLocal(m.ImageOptions.Subpath):
		return errSubpath
	}
	return nil
}

// parseMount turns what was checked into a mount. What volumes and images are found or
// made for it is filled in when the container is.
func parseMount(spec api.Mount) mount {
	m := mount{Spec: spec, MountPoint: api.MountPoint{Type: spec.Type, Destination: path.Clean(spec.Target), RW: !spec.ReadOnly}}
	switch spec.Type {
	case bindMount:
		m.Source, m.Propagation = path.Clean(spec.Source), "rprivate"
		if o := spec.BindOptions; o != nil {
			m.Make, m.Propagation = o.CreateMountpoint, cmp.Or(o.Propagation, m.Propagation)
		}
	case volumeMount:
		m.Name = spec.Source
		if o := spec.VolumeOptions; o != nil && o.DriverConfig != nil {
			m.Driver = o.DriverConfig.Name
		}
	case imageMount:
		m.Name, m.Propagation, m.RW = spec.Source, "rprivate", false
	}
	return m
}

// conflicts refuses options of a bind that contradict one another.
func (m *mount) conflicts() error {
	o := m.Spec.BindOptions
	if o == nil {
		return nil
	}
	for _, c := range []struct {
		both bool
		text string
	}{
		{!m.Spec.ReadOnly && o.ReadOnlyNonRecursive, "!ReadOnly && BindOptions.ReadOnlyNonRecursive"},
		{!m.Spec.ReadOnly && o.ReadOnlyForceRecursive, "!ReadOnly && BindOptions.ReadOnlyForceRecursive"},
		{o.ReadOnlyNonRecursive && o.ReadOnlyForceRecursive, "ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive"},
	} {
		if c.both {
			return fmt.Errorf("mount options conflict: %s", c.text)
		}
	}
	return nil
}

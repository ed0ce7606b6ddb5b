package container

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"lighter/api"
)

// resolveMounts collects the mounts of a container that is being created, in Docker's
// order: those of other containers, then binds and mounts over them, and a volume for
// each path left that the config names. A path that is asked for twice is refused.
func (d *draft) resolveMounts() ([]mount, error) {
	h := d.host
	if len(h.VolumesFrom)+len(h.Binds)+len(h.Mounts)+len(d.config.Volumes) == 0 {
		return nil, nil
	}
	list, err := d.borrowMounts()
	if err != nil {
		return nil, err
	}
	asked := map[string]bool{}
	add := func(m mount, target string) error {
		if asked[m.Destination] {
			return invalid("Duplicate mount point: %s", target)
		}
		asked[m.Destination] = true
		list = slices.DeleteFunc(list, func(other mount) bool { return other.Destination == m.Destination })
		list = append(list, m)
		return nil
	}
	for _, raw := range h.Binds {
		m, err := parseBind(raw, h.VolumeDriver)
		if err == nil {
			err = d.cs.besideRoot(&m)
		}
		if err != nil {
			return nil, err
		}
		if _, over := h.Tmpfs[m.Destination]; over {
			return nil, invalid("Duplicate mount point: %s", m.Destination)
		}
		if err := add(m, m.Destination); err != nil {
			return nil, err
		}
	}
	for _, spec := range h.Mounts {
		m, err := d.cs.wholeMount(spec)
		if err != nil {
			return nil, err
		}
		if err := add(m, spec.Target); err != nil {
			return nil, err
		}
	}
	return append(list, d.imageVolumes(list)...), nil
}

// wholeMount turns one of the API's Mounts into a mount, and finds its image.
func (d *Deps) wholeMount(spec api.Mount) (mount, error) {
	if err := validateMount(&spec, true); err != nil {
		return mount{}, err
	}
	m := parseMount(spec)
	if spec.Type != imageMount {
		return m, d.besideRoot(&m)
	}
	image, err := d.Images.Resolve(spec.Source, nil)
	if err != nil {
		return m, err
	}
	m.Image, m.Top, m.Source = image.ID, image.Top, image.ID
	return m, nil
}

// borrowMounts takes over the mounts of the containers that --volumes-from names; of
// two at the same path the later.
func (d *draft) borrowMounts() ([]mount, error) {
	var list []mount
	for _, raw := range d.host.VolumesFrom {
		ref, readOnly, err := parseVolumesFrom(raw)
		if err != nil {
			return nil, err
		}
		from, err := d.cs.index.find(ref)
		if err != nil {
			return nil, invalid("%w", err)
		}
		for _, m := range from.now().Mounts {
			m.borrowed, m.RW, m.Mode = true, m.RW && !readOnly, ""
			list = slices.DeleteFunc(list, func(other mount) bool { return other.Destination == m.Destination })
			list = append(list, m)
		}
	}
	return list, nil
}

// imageVolumes are the anonymous volumes of the paths that the config names and where
// nothing else is mounted.
func (d *draft) imageVolumes(others []mount) []mount {
	var list []mount
	for _, raw := range sortedKeys(d.config.Volumes) {
		dest := path.Clean(raw)
		at := func(m mount) bool { return m.Destination == dest }
		if _, over := d.host.Tmpfs[dest]; over || slices.ContainsFunc(others, at) || slices.ContainsFunc(list, at) {
			continue
		}
		m := mount{MountPoint: api.MountPoint{Type: volumeMount, Destination: dest, RW: true, Driver: d.host.VolumeDriver}}
		list = append(list, m)
	}
	return list
}

// besideRoot has mounts that come to lie in the data root, or over it, follow the
// host's: a container must not hold on to what the engine unmounts.
func (d *Deps) besideRoot(m *mount) error {
	root := filepath.Dir(d.Dir)
	if m.Type != bindMount || !strings.HasPrefix(m.Source, root) && !strings.HasPrefix(root, m.Source) {
		return nil
	}
	asked := ""
	if m.Spec.BindOptions != nil {
		asked = m.Spec.BindOptions.Propagation
	}
	switch asked {
	case "":
		m.Propagation = "rslave"
	case "rslave", "rshared":
	default:
		return invalid(`invalid mount config: must use either propagation mode "rslave" or "rshared" when mount source is within the daemon root, daemon root: %q, bind mount source: %q, propagation: %q`, root, m.Source, asked)
	}
	return nil
}

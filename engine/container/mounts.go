package container

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"lighter/api"
)

// The types of mounts.
const (
	bindMount   = "bind"
	volumeMount = "volume"
	tmpfsMount  = "tmpfs"
	imageMount  = "image"
)

// mount is one mount of a container, as it was asked for and as that was resolved.
type mount struct {
	api.MountPoint           // as inspect shows it
	Spec           api.Mount // as it was asked for; -v is turned into this, too
	Make           bool      `json:",omitempty"` // a folder where the source of a bind is missing
	Image          string    `json:",omitempty"` // id of the image that is mounted
	Top            string    `json:",omitempty"` // chain id of its layers

	borrowed bool     // of another container: nothing is copied into it
	tmpfs    []string // the options of a --tmpfs, which inspect does not list
}

// anonymous reports whether it is a volume that nobody named: it goes with `rm -v`.
func (m *mount) anonymous() bool { return m.Type == volumeMount && m.Spec.Source == "" }

// sortMounts puts a parent before what lies below it.
func sortMounts(list []mount) {
	slices.SortStableFunc(list, func(a, b mount) int {
		return cmp.Or(cmp.Compare(strings.Count(a.Destination, "/"), strings.Count(b.Destination, "/")), cmp.Compare(a.Destination, b.Destination))
	})
}

// mountPoints is what inspect and lists show.
func (r *record) mountPoints() []api.MountPoint {
	points := make([]api.MountPoint, len(r.Mounts))
	for i := range r.Mounts {
		points[i] = r.Mounts[i].MountPoint
	}
	return points
}

// mountList is all mounts of a start, in the order in which they are made: those of
// the record, and the tmpfs of the host config, which are made anew and so need no
// record, in the place of others at the same path.
func (r *record) mountList() []mount {
	if len(r.Mounts)+len(r.Host.Tmpfs) == 0 {
		return nil
	}
	var list []mount
	for _, m := range r.Mounts {
		if _, over := r.Host.Tmpfs[m.Destination]; !over {
			list = append(list, m)
		}
	}
	for dest, data := range r.Host.Tmpfs {
		list = append(list, mount{
			MountPoint: api.MountPoint{Type: tmpfsMount, Destination: path.Clean(dest), RW: true},
			tmpfs:      tmpfsOptions(strings.Split(data, ",")),
		})
	}
	sortMounts(list)
	return list
}

// options are those of the runtime spec.
func (m *mount) options() []string {
	switch m.Type {
	case tmpfsMount:
		if m.tmpfs != nil {
			return m.tmpfs
		}
		data, _ := tmpfsData(m.Spec.TmpfsOptions, m.Spec.ReadOnly) // was looked at when it was made
		return tmpfsOptions(data)
	case bindMount:
		return m.bindOptions()
	}
	options := []string{"rbind"}
	if !m.RW {
		options = append(options, "rro")
	}
	if m.Propagation != "" {
		options = append(options, m.Propagation)
	}
	return options
}

func (m *mount) bindOptions() []string {
	o := api.BindOptions{}
	if m.Spec.BindOptions != nil {
		o = *m.Spec.BindOptions
	}
	options := []string{"rbind"}
	if o.NonRecursive {
		options[0] = "bind"
	}
	switch {
	case m.RW:
	case o.ReadOnlyNonRecursive:
		options = append(options, "ro")
	default:
		options = append(options, "rro")
	}
	return append(options, m.Propagation)
}

package container

import (
	"maps"
	"slices"
	"strings"

	"lighter/api"
)

// Known is what decides who may do what with a container. It is not to be changed.
type Known struct {
	ID       string
	Labels   map[string]string
	Host     *api.HostConfig // what is masked of /proc as it was asked for: nil for the default
	Mounts   []api.MountPoint
	Networks []string
	Begun    bool // it has run: its networks are known by their ids
}

// Know finds a container as all verbs do.
func Know(cs *Containers, ref string) (Known, error) {
	c, err := cs.index.find(ref)
	if err != nil {
		return Known{}, err
	}
	return knownOf(c), nil
}

// KnowExec finds the container of an exec, and what the exec was asked to be.
func KnowExec(cs *Containers, id string) (Known, api.CreateExec, error) {
	e := cs.execs.get(id)
	if e == nil {
		return Known{}, api.CreateExec{}, api.Errorf(api.NotFound, "No such exec instance: %s", id)
	}
	return knownOf(e.container), e.asked, nil
}

func knownOf(c *container) Known {
	s := c.now()
	host := *s.Host
	host.MaskedPaths, host.ReadonlyPaths = nil, nil
	if a := s.Asked; a != nil && a.Host != nil {
		host.MaskedPaths, host.ReadonlyPaths = a.Host.MaskedPaths, a.Host.ReadonlyPaths
	}
	return Known{ID: s.ID, Labels: s.Config.Labels, Host: &host, Mounts: s.mountPoints(), Networks: slices.Sorted(maps.Keys(s.Networks)), Begun: len(s.NetworkIDs) > 0}
}

// MountsOf reads what -v and --mount ask for, as creation and updates do. The source of a bind that
// is read-only at its top alone can be written to.
func MountsOf(binds []string, mounts []api.Mount) (list []api.MountPoint, err error) {
	for _, raw := range binds {
		m, err := parseBind(raw, "")
		if err != nil {
			return nil, err
		}
		list = append(list, m.MountPoint)
	}
	for _, spec := range mounts {
		m := parseMount(spec)
		if o := spec.BindOptions; o != nil && o.ReadOnlyNonRecursive {
			m.RW = true
		}
		list = append(list, m.MountPoint)
	}
	return list, nil
}

// Joins gives the containers that a creation asks to share something with, by the client's words, and
// puts others in their place, by those.
type Joins struct {
	Refs []string
	host *api.HostConfig
}

// JoinsOf reads them.
func JoinsOf(h *api.HostConfig) (j Joins, err error) {
	j.host = h
	for _, mode := range j.modes() {
		if ref, joins := shared(*mode); joins {
			j.Refs = append(j.Refs, ref)
		}
	}
	for _, raw := range h.VolumesFrom {
		ref, _, err := parseVolumesFrom(raw)
		if err != nil {
			return j, err
		}
		j.Refs = append(j.Refs, ref)
	}
	for _, raw := range h.Links {
		ref, _, err := parseLink(raw)
		if err != nil {
			return j, err
		}
		j.Refs = append(j.Refs, ref)
	}
	return j, nil
}

func (j Joins) modes() []*string {
	return []*string{&j.host.NetworkMode, &j.host.PidMode, &j.host.IpcMode}
}

// Replace writes for each reference what it stands for.
func (j Joins) Replace(to map[string]string) {
	for _, mode := range j.modes() {
		if ref, joins := shared(*mode); joins {
			*mode = "container:" + to[ref]
		}
	}
	for i, raw := range j.host.VolumesFrom {
		ref, mode, has := strings.Cut(raw, ":")
		if has {
			mode = ":" + mode
		}
		j.host.VolumesFrom[i] = to[ref] + mode
	}
	for i, raw := range j.host.Links {
		ref, alias, _ := parseLink(raw) // it could be read above
		j.host.Links[i] = to[ref] + ":" + alias
	}
}

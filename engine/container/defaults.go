package container

import (
	"slices"
	"strings"

	"lighter/api"
)

// Defaults is what a container gets where its creator says nothing. The zero value is
// Docker's own defaults.
type Defaults struct {
	ShmSize         int64  // bytes
	IpcMode         string // private or shareable
	CgroupnsMode    string // private or host
	Ulimits         []api.Ulimit
	Init            bool
	NoNewPrivileges bool
	DNS             []string // servers, and what else resolv.conf says
	DNSSearch       []string
	DNSOptions      []string
	Seccomp         string // unconfined, or a profile's JSON; empty for the built-in one
}

// fill puts them where nothing is said.
func (d *Defaults) fill(h *api.HostConfig) {
	if h.ShmSize == 0 {
		h.ShmSize = d.ShmSize
	}
	if h.IpcMode == "" {
		h.IpcMode = d.IpcMode
	}
	if h.CgroupnsMode == "" {
		h.CgroupnsMode = d.CgroupnsMode
	}
	h.Ulimits = slices.Clone(h.Ulimits)
	for _, u := range d.Ulimits {
		if !slices.ContainsFunc(h.Ulimits, func(have api.Ulimit) bool { return have.Name == u.Name }) {
			h.Ulimits = append(h.Ulimits, u)
		}
	}
	if h.Init == nil && d.Init {
		h.Init = &d.Init
	}
	said := func(what string) bool {
		return slices.ContainsFunc(h.SecurityOpt, func(o string) bool { return strings.HasPrefix(o, what) })
	}
	h.SecurityOpt = slices.Clone(h.SecurityOpt)
	if d.NoNewPrivileges && !said("no-new-privileges") {
		h.SecurityOpt = append(h.SecurityOpt, "no-new-privileges")
	}
	if d.Seccomp != "" && !h.Privileged && !said("seccomp") {
		h.SecurityOpt = append(h.SecurityOpt, "seccomp="+d.Seccomp)
	}
}

package server

import (
	"maps"
	"slices"
	"strings"

	"lighter/api"
	"lighter/oci"
)

// modernise turns the body of a creation, as a client of an older API means it, into
// what it means today, and refuses what that version did not have.
func (r *request) modernise(body *api.CreateContainer) (warnings []string, err error) {
	if body.ContainerConfig == nil {
		return nil, api.Errorf(api.Invalid, "config cannot be empty in order to create a container")
	}
	if body.HostConfig == nil {
		body.HostConfig = &api.HostConfig{}
	}
	if body.NetworkingConfig == nil {
		body.NetworkingConfig = &api.NetworkingConfig{}
	}
	if body.NetworkingConfig.EndpointsConfig == nil {
		body.NetworkingConfig.EndpointsConfig = map[string]*api.EndpointSettings{}
	}
	host, ends := body.HostConfig, body.NetworkingConfig.EndpointsConfig
	for name, end := range ends {
		if end == nil {
			ends[name] = &api.EndpointSettings{}
		}
	}
	r.forgetUnknown(body)
	if err := r.checkMounts(host.Mounts); err != nil {
		return nil, err
	}
	if r.older("1.44") && len(ends) > 1 {
		return nil, api.Errorf(api.Invalid, "Container cannot be created with multiple network endpoints: %s", strings.Join(slices.Sorted(maps.Keys(ends)), ", "))
	}
	if w := r.volumeDriver(host); w != "" {
		warnings = append(warnings, w)
	}
	w, err := r.macAddress(body)
	if err != nil {
		return nil, err
	}
	if w != "" {
		warnings = append(warnings, w)
	}
	if host.PidsLimit != nil && *host.PidsLimit <= 0 {
		host.PidsLimit = nil // no limit, however it was written
	}
	return warnings, nil
}

// forgetUnknown clears fields that the client's version did not have, and fills in
// the defaults that it had.
func (r *request) forgetUnknown(body *api.CreateContainer) {
	host := body.HostConfig
	if r.older("1.25") {
		host.AutoRemove = false // such clients remove by themselves
	}
	if r.older("1.40") {
		host.KernelMemoryTCP = 0
		if host.IpcMode == "" {
			host.IpcMode = "shareable"
		}
	}
	if r.older("1.42") {
		host.ConsoleSize = [2]uint{}
	} else {
		host.KernelMemory = 0
	}
	if r.older("1.43") {
		host.Annotations = nil
	}
	if r.older("1.44") && body.Healthcheck != nil {
		body.Healthcheck.StartInterval = 0
	}
	if r.older("1.48") {
		for _, end := range body.NetworkingConfig.EndpointsConfig {
			end.GwPriority = 0
		}
	}
	for i := range host.Mounts {
		m := &host.Mounts[i]
		if bind := m.BindOptions; bind != nil {
			bind.NonRecursive = bind.NonRecursive && !r.older("1.40")
			bind.CreateMountpoint = bind.CreateMountpoint && !r.older("1.42")
		}
		if r.older("1.42") && m.Type != "volume" {
			m.VolumeOptions = nil
		}
		if r.older("1.42") && m.Type != "tmpfs" {
			m.TmpfsOptions = nil
		}
		if r.older("1.44") && m.Type == "bind" && m.ReadOnly {
			// Before, read-only held for the mount alone, not for those below.
			if m.BindOptions == nil {
				m.BindOptions = &api.BindOptions{}
			}
			if !m.BindOptions.ReadOnlyForceRecursive {
				m.BindOptions.ReadOnlyNonRecursive = true
			}
		}
	}
}

// checkMounts refuses options that are of another type's mount, or too new.
func (r *request) checkMounts(mounts []api.Mount) error {
	for _, m := range mounts {
		for _, o := range []struct {
			name, typ string
			set       bool
		}{
			{"VolumeOptions", "volume", m.VolumeOptions != nil},
			{"BindOptions", "bind", m.BindOptions != nil},
			{"TmpfsOptions", "tmpfs", m.TmpfsOptions != nil},
		} {
			if o.set && m.Type != o.typ && !r.older("1.42") {
				return api.Errorf(api.Invalid, "%s must not be specified on mount type %q", o.name, m.Type)
			}
		}
		switch {
		case r.older("1.44") && m.BindOptions != nil && m.BindOptions.ReadOnlyForceRecursive:
			return api.Errorf(api.Invalid, "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")
		case r.older("1.45") && m.VolumeOptions != nil && m.VolumeOptions.Subpath != "":
			return api.Errorf(api.Invalid, "VolumeOptions.Subpath needs API v1.45 or newer")
		case r.older("1.48") && m.Type == "image":
			return api.Errorf(api.Invalid, `Mount type "Image" needs API v1.48 or newer`)
		}
	}
	return nil
}

// volumeDriver warns of a driver that named mounts do not heed.
func (r *request) volumeDriver(host *api.HostConfig) string {
	if host.VolumeDriver == "" || r.older("1.48") {
		return ""
	}
	for _, m := range host.Mounts {
		if m.Type == "volume" && (m.VolumeOptions == nil || m.VolumeOptions.DriverConfig == nil || m.VolumeOptions.DriverConfig.Name == "") {
			return "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. Use '--mount type=volume,volume-driver=...' instead"
		}
	}
	return ""
}

// macAddress moves the address of the container, which older clients give, to the
// endpoint of its network.
func (r *request) macAddress(body *api.CreateContainer) (warning string, err error) {
	mac, ends := body.MacAddress, body.NetworkingConfig.EndpointsConfig
	if mac == "" {
		if r.older("1.44") {
			for _, end := range ends {
				end.MacAddress = ""
			}
		}
		return "", nil
	}
	mode := body.HostConfig.NetworkMode
	private := mode != "host" && mode != "none" && !strings.HasPrefix(mode, "container:")
	if !private && r.older("1.44") {
		return "", api.Errorf(api.Invalid, "conflicting options: mac-address and the network mode")
	}
	if private {
		if mode == "" || mode == "default" {
			mode = "bridge"
		}
		end, ok := ends[mode]
		switch {
		case ok:
		case len(ends) == 0:
			end = &api.EndpointSettings{}
			ends[mode] = end
		case r.older("1.44"):
			for _, end = range ends { // there is one at most
			}
		default:
			return "", api.Errorf(api.Invalid, "unable to migrate container-wide MAC address to a specific network: HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks")
		}
		if end.MacAddress != "" && end.MacAddress != mac && !r.older("1.44") {
			return "", api.Errorf(api.Invalid, "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty")
		}
		end.MacAddress = mac
	}
	if r.older("1.44") {
		return "", nil
	}
	body.MacAddress = ""
	return "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.", nil
}

// parsePlatform reads os[/arch[/variant]].
func parsePlatform(s string) (*api.Platform, error) {
	p, err := oci.ParsePlatform(s)
	if err != nil {
		return nil, api.Errorf(api.Invalid, "%w", err)
	}
	return &api.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}, nil
}

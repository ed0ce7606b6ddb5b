package container

import (
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/signal"

	"lighter/api"
)

// validate refuses what cannot be created, check by check in Docker's order and
// words, before any image is looked for. It fills in nothing but what Docker cleans:
// an absolute working folder.
func (host *Host) validate(c *api.ContainerConfig, h *api.HostConfig) (warnings []string, err error) {
	if err := validateNetMode(c, h); err != nil {
		return nil, err
	}
	if err := validateConfig(c); err != nil {
		return nil, err
	}
	if err := validateHost(h, host.Capabilities); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(h.Mounts, func(m api.Mount) bool { return m.Type == imageMount }) {
		warnings = append(warnings, "Image mount is an experimental feature")
	}
	limits, err := host.limits(&h.Resources, false)
	if warnings = append(warnings, limits...); err != nil {
		return warnings, err
	}
	more, err := host.validatePlatform(h)
	return append(warnings, more...), err
}

func invalid(format string, args ...any) error { return api.Errorf(api.Invalid, format, args...) }

// shared gives the container that a mode such as container:X names.
func shared(mode string) (ref string, is bool) { return strings.CutPrefix(mode, "container:") }

func validateNetMode(c *api.ContainerConfig, h *api.HostConfig) error {
	ref, joins := shared(h.NetworkMode)
	switch {
	case !joins && h.NetworkMode != "container":
	case ref == "":
		return invalid("invalid network mode: invalid container format container:<name|id>")
	case c.Hostname != "":
		return invalid("conflicting options: hostname and the network mode")
	case len(h.Links) > 0:
		return invalid("conflicting options: container type network can't be used with links. This would result in undefined behavior")
	case len(h.DNS) > 0:
		return invalid("conflicting options: dns and the network mode")
	case len(h.ExtraHosts) > 0:
		return invalid("conflicting options: custom host-to-IP mapping and the network mode")
	case len(h.PortBindings) > 0 || h.PublishAllPorts:
		return invalid("conflicting options: port publishing and the container type network mode")
	case len(c.ExposedPorts) > 0:
		return invalid("conflicting options: port exposing and the container type network mode")
	}
	switch {
	case h.UTSMode == "host" && c.Hostname != "":
		return invalid("conflicting options: hostname and the UTS mode")
	case h.NetworkMode == "host" && len(h.Links) > 0:
		return invalid("conflicting options: host type networking can't be used with links. This would result in undefined behavior")
	case h.Isolation != "" && h.Isolation != "default":
		return invalid("invalid isolation (%s): linux only supports 'default'", h.Isolation)
	case h.IOMaximumBandwidth != 0:
		return invalid("invalid option: QoS maximum bandwidth configuration is not supported on linux")
	case h.IOMaximumIOps != 0:
		return invalid("invalid option: QoS maximum IOPs configuration is not supported on linux")
	case h.CPUShares < 0:
		return invalid("invalid CPU shares (%d): value must be a positive integer", h.CPUShares)
	}
	return nil
}

func validateConfig(c *api.ContainerConfig) error {
	if c.WorkingDir != "" {
		if !path.IsAbs(c.WorkingDir) {
			return invalid("the working directory '%s' is invalid, it needs to be an absolute path", c.WorkingDir)
		}
		c.WorkingDir = path.Clean(c.WorkingDir)
	}
	if c.StopSignal != "" {
		if _, err := signal.ParseSignal(c.StopSignal); err != nil {
			return invalid("%w", err)
		}
	}
	for _, e := range c.Env {
		if key, _, _ := strings.Cut(e, "="); key == "" {
			return invalid("invalid environment variable: %s", e)
		}
	}
	return validateHealth(c.Healthcheck)
}

func validateHealth(h *api.Healthcheck) error {
	if h == nil {
		return nil
	}
	for _, row := range []struct {
		name  string
		value time.Duration
	}{{"Interval", h.Interval}, {"Timeout", h.Timeout}, {"", time.Duration(h.Retries)}, {"StartPeriod", h.StartPeriod}, {"StartInterval", h.StartInterval}} {
		switch {
		case row.name == "" && row.value < 0:
			return invalid("Retries in Healthcheck cannot be negative")
		case row.name != "" && row.value != 0 && row.value < time.Millisecond:
			return invalid("%s in Healthcheck cannot be less than 1ms", row.name)
		}
	}
	return nil
}

func validateHost(h *api.HostConfig, available []string) error {
	if h.AutoRemove && h.RestartPolicy.Name != "" && h.RestartPolicy.Name != "no" {
		return invalid("can't create 'AutoRemove' container with restart policy")
	}
	for i := range h.Mounts {
		if err := validateMount(&h.Mounts[i], true); err != nil {
			return err
		}
	}
	for _, extra := range h.ExtraHosts {
		name, ip, ok := strings.Cut(extra, ":")
		if !ok || name == "" {
			return invalid("bad format for add-host: %q", extra)
		}
		if ip != "host-gateway" && net.ParseIP(ip) == nil {
			return invalid("invalid IP address in add-host: %q", ip)
		}
	}
	if err := validatePorts(h.PortBindings); err != nil {
		return err
	}
	if err := validateRestart(h.RestartPolicy); err != nil {
		return err
	}
	if _, err := normalizeCaps(h.CapAdd, available); err != nil {
		return invalid("invalid CapAdd: %w", err)
	}
	if _, err := normalizeCaps(h.CapDrop, available); err != nil {
		return invalid("invalid CapDrop: %w", err)
	}
	if _, ok := h.Annotations[""]; ok {
		return invalid("invalid Annotations: the empty string is not permitted as an annotation key")
	}
	return nil
}

func validatePorts(bindings map[string][]api.PortBinding) error {
	for port, hosts := range bindings {
		number, _, _ := strings.Cut(port, "/")
		if n, err := strconv.ParseUint(number, 10, 16); err != nil || n == 0 && number != "0" {
			return invalid("invalid port specification: %q", number)
		}
		for _, b := range hosts {
			number, _, _ := strings.Cut(b.HostPort, "/")
			first, last, isRange := strings.Cut(number, "-")
			if !isRange {
				last = first
			}
			a, err := strconv.ParseUint("0"+first, 10, 16)
			z, err2 := strconv.ParseUint("0"+last, 10, 16)
			if err != nil || err2 != nil || z < a {
				return invalid("invalid port specification: %q", b.HostPort)
			}
		}
	}
	return nil
}

func validateRestart(p api.RestartPolicy) error {
	switch p.Name {
	case "always", "unless-stopped", "no":
		if p.MaximumRetryCount < 0 {
			return invalid("invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative")
		}
		if p.MaximumRetryCount != 0 {
			return invalid("invalid restart policy: maximum retry count can only be used with 'on-failure'")
		}
	case "on-failure":
		if p.MaximumRetryCount < 0 {
			return invalid("invalid restart policy: maximum retry count cannot be negative")
		}
	case "":
	default:
		return invalid("invalid restart policy: unknown policy '%s'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'", p.Name)
	}
	return nil
}

// ownRuntimes are the names that lighter's own runtime answers to.
var ownRuntimes = []string{"runc", "io.containerd.runc.v2", "lighter"}

func (host *Host) validatePlatform(h *api.HostConfig) (warnings []string, err error) {
	mode := func(m string, values ...string) bool {
		ref, joins := shared(m)
		return slices.Contains(values, m) || joins && ref != ""
	}
	switch {
	case !mode(h.IpcMode, "", "none", "private", "host", "shareable") && !strings.HasPrefix(h.IpcMode, "container:"):
		return nil, invalid("invalid IPC mode: %s", h.IpcMode)
	case !mode(h.PidMode, "", "host"):
		return nil, invalid("invalid PID mode: %s", h.PidMode)
	case h.ShmSize < 0:
		return nil, invalid("SHM size can not be less than 0")
	case h.UTSMode != "" && h.UTSMode != "host":
		return nil, invalid("invalid UTS mode: %s", h.UTSMode)
	case h.OomScoreAdj < -1000 || h.OomScoreAdj > 1000:
		return nil, invalid("Invalid value %d, range for oom score adj is [-1000, 1000]", h.OomScoreAdj)
	}
	if host.Remapped {
		if err := host.checkRemapped(h); err != nil {
			return nil, err
		}
	}
	if host.Rootless {
		if err := host.checkRootless(h); err != nil {
			return nil, err
		}
	}
	if h.NetworkMode == "host" && len(h.PortBindings) > 0 {
		warnings = append(warnings, "Published ports are discarded when using host network mode")
	}
	if h.Runtime != "" && !slices.Contains(ownRuntimes, h.Runtime) && host.Runtimes[h.Runtime] == nil {
		return warnings, invalid("unknown or invalid runtime name: %s", h.Runtime)
	}
	for dest := range h.Tmpfs {
		if path.Clean(dest) == "/" {
			return warnings, invalid("invalid specification: destination can't be '/'")
		}
		if !path.IsAbs(dest) {
			return warnings, invalid("invalid mount path: '%s' mount path must be absolute", dest)
		}
	}
	if h.CgroupnsMode != "" && h.CgroupnsMode != "private" && h.CgroupnsMode != "host" {
		return warnings, invalid("invalid cgroup namespace mode: %s", h.CgroupnsMode)
	}
	return warnings, nil
}

// unbuilt refuses, with a sentence, what this engine cannot do: nothing that was
// asked for is taken and then left out.
func unbuilt(c *api.ContainerConfig, h *api.HostConfig) error {
	not := func(what string) error { return api.Errorf(api.NotImplemented, "%s not built yet", what) }
	switch {
	case h.UsernsMode != "" && h.UsernsMode != "host":
		return invalid("invalid USER mode: %s", h.UsernsMode)
	case h.Cgroup != "":
		return not("joining another container's cgroup is")
	}
	for key := range h.StorageOpt {
		if key != "size" {
			return api.Errorf(api.Internal, "Unknown option %s", key)
		}
		return api.Errorf(api.Internal, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option")
	}
	return nil
}
